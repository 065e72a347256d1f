"""The language of the code and the pages: words, names and first lines that a machine can check."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from ..conftest import script
from .sources import ROOT, package_files, tree_of

house = script("house")
SCRIPTS = sorted((ROOT / "scripts").rglob("*.py"))
SHELL_SCRIPTS = [
    path
    for path in [*(ROOT / "scripts").rglob("*"), ROOT / ".ci" / "run"]
    if path.is_file() and path.suffix == "" and "__pycache__" not in path.parts
]
TESTS = sorted((ROOT / "tests").rglob("*.py"))
PAGES = [
    path
    for path in [*ROOT.glob("*.md"), *ROOT.glob("[a-z]*/**/*.md")]
    if path.relative_to(ROOT).parts[0] not in ("build", "demo", "studies")
]
WITH_CODE = [*package_files(), *SCRIPTS]

MOST_README_LINES = 150
MOST_README_WORDS = 1500

# The pattern of words to avoid is itself written with them.
OWN_LISTS = {ROOT / "scripts" / "checks" / "house.py", Path(__file__)}


def name_of(path: Path) -> str:
    """Return the path of a file below the checkout."""
    return path.relative_to(ROOT).as_posix()


def text_of(path: Path) -> str:
    """Return the text of a file."""
    return path.read_text(encoding="utf-8")


def words_of_tests(file: Path) -> list[str]:
    """Return what a file of tests says to its readers, the names of its tests included."""
    texts = [node.value for node in house.docstrings(tree_of(file))]
    names = [name for name in house.defined(tree_of(file)) if name.startswith("test_")]
    comments = house.comments(text_of(file))
    return [*texts, *comments, *(name.replace("_", " ") for name in names)]


def bad_files(files: Iterable[Path], check: Callable[[Path], list[str]]) -> dict[str, list[str]]:
    """Return what a check finds, by file; a test for each of so many files would take longer."""
    return {name_of(file): bad for file in files if (bad := check(file))}


def test_names_say_what_they_hold() -> None:
    assert bad_files(WITH_CODE, lambda file: house.bad_names(tree_of(file))) == {}


def test_docstrings_begin_with_a_sentence_that_makes_sense_alone() -> None:
    files = [*WITH_CODE, *TESTS]
    assert bad_files(files, lambda file: house.bad_beginnings(tree_of(file))) == {}


def test_docstrings_comments_and_messages_use_plain_words() -> None:
    files = {*WITH_CODE} - OWN_LISTS
    assert bad_files(files, lambda file: house.bad_words(house.prose(text_of(file)))) == {}


def test_names_docstrings_and_comments_of_tests_use_plain_words() -> None:
    assert bad_files({*TESTS} - OWN_LISTS, lambda file: house.bad_words(words_of_tests(file))) == {}


def test_pages_use_plain_words() -> None:
    pages = [*PAGES, *SHELL_SCRIPTS]
    assert bad_files(pages, lambda page: house.bad_words([text_of(page)])) == {}


def test_the_readme_is_a_screen_and_a_half() -> None:
    text = text_of(ROOT / "README.md")
    assert len(text.splitlines()) <= MOST_README_LINES
    assert len(text.split()) <= MOST_README_WORDS


@pytest.mark.parametrize(
    "code",
    [
        "told = 1",
        "def found(): ...",
        "class Run:\n    def __init__(self):\n        self.kept = 1",
        "def read(given): ...",
        "[one for one in rows]",
        "with open(path) as other: ...",
        "_made = 1",
        "lambda each: 1",
    ],
)
def test_a_name_to_avoid_is_noticed(code: str) -> None:
    assert len(house.bad_names(ast.parse(code))) == 1


def test_names_of_libraries_are_not_ours_to_choose() -> None:
    code = "from hypothesis import given\nrows.other(each=1)\nhow_many = there_are = 1"
    assert house.bad_names(ast.parse(code)) == []


@pytest.mark.parametrize(
    ("line", "bad"),
    [
        ("Read a manifest.", False),
        ("What was learnt.", True),
        ("Which rows are missing, and why.", True),
        ("Return the rows", True),
        ("Whatever is left of a store is read.", False),
    ],
)
@pytest.mark.parametrize(
    "code",
    [
        '"""{}"""',
        'def read():\n    """{}\n\n    More.\n    """',
        'class Row:\n    """{}"""',
        'SIZE = 1\n"""{}"""',
        'class Row:\n    size: int\n    """{}"""',
    ],
    ids=["module", "function", "class", "constant", "attribute"],
)
def test_a_bad_beginning_is_noticed(code: str, line: str, bad: bool) -> None:
    assert house.bad_beginnings(ast.parse(code.format(line))) == [line] * bad


@pytest.mark.parametrize(
    ("text", "bad"),
    [
        ("# Skipped files are told.", 1),
        ("# Names are shown as they are.", 1),
        ("# Files vanish as soon as they are written.", 0),
        ("# The two cannot be told apart.", 0),
        ('"""Return the rows that stand there anew."""', 1),
        ("click.option('--cv', help='Of use where it stands first.')", 2),
        ("raise ValueError(f'{path}: there is none, whoever looks')", 2),
        ("# A 0 stands for an unknown group.", 0),
        ("told = lest = 1", 0),
        ("kind = 'lies'", 0),
    ],
)
def test_a_word_to_avoid_is_noticed(text: str, bad: int) -> None:
    assert len(house.bad_words(house.prose(text))) == bad


def test_the_figures_of_a_checkout_are_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "README.md").write_text("# Small\n\nRun pip install small.\n")
    (tmp_path / "errors.py").write_text('"""What fails."""\nSIZE = 1\n')
    code = "# Why.\nSIZE = 2\ntold, rest = 1, SIZE\nprint(told)\nprint(rest)\n"
    (tmp_path / "data" / "rows.py").write_text(code)
    house.main([str(tmp_path)])
    lines = [re.split(r"  +", line) for line in capsys.readouterr().out.splitlines()]
    figures = {heading: value for heading, value, *_ in lines}
    assert figures["data: files, lines"] == "1, 5"
    assert figures["package: files, lines"] == "2, 7"
    assert figures["comments per 100 lines of code"] == "20.0"
    assert figures["tuple assignments per 1,000 lines of code"] == "200.0"
    assert figures["names to avoid: uses"] == "2"
    assert figures["names to avoid: definitions"] == "1 (told 1)"
    assert figures["docstrings that begin badly"] == "1"
    assert figures["names of several classes or constants"] == "1 (SIZE)"
    assert figures["README: words, lines"] == "6, 3"
    assert figures["README: line of the first pip install"] == "3"
