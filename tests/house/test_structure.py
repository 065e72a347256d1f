"""The structure of the house: who imports whom, how places are named, and what is installed."""

from __future__ import annotations

import ast
import configparser
import graphlib
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

import freezeframe
from freezeframe.__main__ import COMMANDS

from .sources import (
    ROOMS,
    ROOT,
    arrows,
    defined_names,
    imported_files,
    module_file,
    package_files,
    strings,
    tree_of,
)

ORDER = {
    "": ("errors.py", "data", "features", "extract", "classify", "__init__.py", "__main__.py"),
    "classify": (
        "matrix.py",
        "task",
        "scores",
        "solvers",
        "heads",
        "trust",
        "runs",
        "fit",
        "board",
        "prediction",
        "serve",
        "study",
        "commands",
    ),
}
"""For a folder whose places have a fixed order: the places, lowest first."""

APART = {
    "matrix.py": {"task", "scores"},
    "solvers": {"task", "scores"},
    "heads": {"task", "scores"},
    "trust": {"scores", "solvers"},
    "fit": {"board", "prediction"},
    "board": {"heads", "fit", "prediction"},
    "prediction": {"fit", "board"},
    "serve": {"fit"},
}
"""Places in classify, and those that they do not import although the order would allow it."""

TOP_FOLDERS = {*ROOMS, "scripts", "tests", ".ci"}
TOP_FILES = {
    ".gitignore",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "README.md",
    "__init__.py",
    "__main__.py",
    "errors.py",
    "py.typed",
    "pyproject.toml",
    "setup.cfg",
}
MOST_PLACES = 15
MOST_ARROWS = 40
NOUNS_IN_ING = {
    "boosting",
    "copying",
    "drawing",
    "filling",
    "fitting",
    "pooling",
    "ranking",
    "training",
}
HEAVY = ("tensorflow", "keras", "jax", "torch", "onnx")


def write(root: Path, files: dict[str, str]) -> Path:
    """Write a small package to show that a check can fail."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def wrong_imports(root: Path = ROOT) -> list[str]:
    """Return the imports that go up, against the order of a folder's places."""
    wrong = []
    for hall, places in arrows(root).items():
        order = ORDER.get(hall.relative_to(root).as_posix().removeprefix("."), ())
        for place, targets in places.items():
            for target in targets & set(order):
                if place in order and order.index(target) > order.index(place):
                    wrong.append(f"{hall.name}: {place} imports {target}")
    return wrong


def circles(root: Path = ROOT) -> list[str]:
    """Return one circle of each folder that has one."""
    found = []
    for hall, places in arrows(root).items():
        try:
            graphlib.TopologicalSorter(places).prepare()
        except graphlib.CycleError as error:
            found.append(f"{hall.name}: {' <- '.join(error.args[1])}")
    return found


def test_imports_go_down_only() -> None:
    assert wrong_imports() == []


def test_the_order_names_every_place() -> None:
    """A place that the order does not name could import anything."""
    for hall, order in ORDER.items():
        places = {
            file.relative_to(ROOT / hall).parts[0]
            for file in package_files()
            if file.is_relative_to(ROOT / hall)
        }
        assert places - {"__init__.py"} == set(order) - {"__init__.py"}


@pytest.mark.parametrize(
    "line",
    [
        "from ..extract.settings import BACKBONES",
        "from .. import extract",
        "import freezeframe.extract.settings",
        "from freezeframe.extract import settings",
        "def read():\n    from ..extract import settings",
        "if TYPE_CHECKING:\n    from ..extract.settings import Backbone",
        "TABLE = {'vgg16': '..extract.settings:Backbone'}",
    ],
)
def test_an_import_that_goes_up_is_noticed(tmp_path: Path, line: str) -> None:
    write(
        tmp_path, {"features/store.py": line, "extract/__init__.py": "", "extract/settings.py": ""}
    )
    assert wrong_imports(tmp_path) == [f"{tmp_path.name}: features imports extract"]


def test_imports_that_go_down_are_allowed(tmp_path: Path) -> None:
    line = "import extract_msg\nfrom .rows import Rows\nfrom .. import StoreError\nimport extract"
    write(tmp_path, {"features/store.py": line, "features/rows.py": "", "extract/__init__.py": ""})
    assert wrong_imports(tmp_path) == []


def test_no_circle_between_files_or_folders() -> None:
    """Imports inside functions and imports for type checking count."""
    assert circles() == []


@pytest.mark.parametrize(
    "files",
    [
        {
            "data/a.py": "from .b import B",
            "data/b.py": "if TYPE_CHECKING:\n    from .a import A",
        },
        {
            "data/one/a.py": "from ..two.b import B",
            "data/two/b.py": "",
            "data/two/c.py": "def call():\n    from ..one import a",
        },
    ],
    ids=["files", "folders"],
)
def test_a_circle_is_noticed(tmp_path: Path, files: dict[str, str]) -> None:
    (circle,) = circles(write(tmp_path, files))
    assert circle.startswith("data: ")


def test_features_use_only_output_and_groups_of_data() -> None:
    for file in package_files():
        if file.relative_to(ROOT).parts[0] == "features":
            below = {target for target in imported_files(file) if ROOT / "data" in target.parents}
            output = {target for target in below if target.parent == ROOT / "data" / "output"}
            assert below - output <= {ROOT / "data" / "groups.py"}, file


def test_output_imports_nothing_else_of_data() -> None:
    output = ROOT / "data" / "output"
    for file in output.glob("*.py"):
        for target in imported_files(file):
            assert target.parent == output or target == ROOT / "errors.py", file


def test_folders_of_classify_that_do_not_know_each_other() -> None:
    places = arrows()[ROOT / "classify"]
    assert {place: places.get(place, set()) & banned for place, banned in APART.items()} == {
        place: set() for place in APART
    }


def test_only_main_imports_commands() -> None:
    commands = {
        ROOT.joinpath(*module[1:].partition(":")[0].split(".")).with_suffix(".py")
        for module in COMMANDS.values()
    }
    for file in package_files():
        targets = {path for path in imported_files(file) if path.parent.name == "commands"}
        if file == ROOT / "__main__.py":
            assert targets == commands
        elif file.parent.name == "commands":
            # Commands of one room may share a file that is itself no command.
            assert {path.parent for path in targets} <= {file.parent}, file
            assert targets.isdisjoint(commands), file
        else:
            assert targets == set(), file


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_in_the_file_of_its_name(name: str) -> None:
    noun = name.replace("-", "_")
    assert re.fullmatch(rf"\.({'|'.join(ROOMS)})\.commands\.{noun}:{noun}", COMMANDS[name])


def prints(file: Path) -> list[int]:
    """Return the lines where a file prints."""
    calls = [node for node in ast.walk(tree_of(file)) if isinstance(node, ast.Call)]
    return [
        call.lineno
        for call in calls
        if (isinstance(call.func, ast.Name) and call.func.id == "print")
        or (isinstance(call.func, ast.Attribute) and call.func.attr in ("print", "echo", "secho"))
    ]


def test_only_commands_print(tmp_path: Path) -> None:
    printing = {file for file in package_files() if prints(file)}
    assert {file for file in printing if file.parent.name != "commands"} == {ROOT / "__main__.py"}
    bad = tmp_path / "bad.py"
    bad.write_text("import click\nclick.echo(1)\n\n\ndef show():\n    console().print(2)\n")
    assert prints(bad) == [2, 6]


SAFE_TEXTS = {"printable", "counted", "json_text", "as_csv", "as_json", "as_markdown", "as_text"}
"""Functions whose results hold no control characters that a terminal would obey."""


def unsafe_prints(file: Path) -> list[int]:
    """Return the lines where a command prints a text that may hold control characters."""

    def is_safe(text: ast.expr) -> bool:
        if isinstance(text, ast.Call):
            # A method of a safe text, such as `encode`, is safe, too.
            if isinstance(text.func, ast.Attribute):
                return is_safe(text.func.value)
            return isinstance(text.func, ast.Name) and text.func.id in SAFE_TEXTS
        if isinstance(text, ast.JoinedStr):
            return all(is_safe(value) for value in text.values)
        if isinstance(text, ast.FormattedValue):
            return is_safe(text.value)
        if isinstance(text, ast.IfExp):
            return is_safe(text.body) and is_safe(text.orelse)
        # A name in capitals is a constant of the program.
        return isinstance(text, ast.Constant) or (isinstance(text, ast.Name) and text.id.isupper())

    calls = [node for node in ast.walk(tree_of(file)) if isinstance(node, ast.Call)]
    return [
        call.lineno
        for call in calls
        if isinstance(call.func, ast.Attribute)
        and call.func.attr in ("echo", "secho")
        and call.args
        and not is_safe(call.args[0])
    ]


def test_commands_print_no_control_character(tmp_path: Path) -> None:
    commands = [file for file in package_files() if file.parent.name == "commands"]
    unsafe = {(file.name, line) for file in commands for line in unsafe_prints(file)}
    assert unsafe == set()
    bad = tmp_path / "bad.py"
    bad.write_text("click.echo(f'{path}: 1')\nclick.echo(printable(text))\nclick.echo('a' + b)\n")
    assert unsafe_prints(bad) == [1, 3]


def test_only_what_was_agreed_is_at_the_top() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    paths = [Path(line) for line in tracked.stdout.splitlines()]
    assert {path.parts[0] for path in paths if len(path.parts) > 1} <= TOP_FOLDERS
    assert {path.name for path in paths if len(path.parts) == 1} <= TOP_FILES


def test_every_package_is_listed() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    on_disk = [
        ".".join(["freezeframe", *file.relative_to(ROOT).parts[:-1]])
        for file in package_files()
        if file.name == "__init__.py"
    ]
    assert sorted(config["options"]["packages"].split()) == sorted(on_disk)


def test_every_folder_with_code_is_a_package() -> None:
    for file in package_files():
        init = file.parent / "__init__.py"
        assert init.is_file(), f"{file.parent} needs an __init__.py that says what it holds"
        text = ast.get_docstring(tree_of(init))
        assert text, init
        assert "\n" not in text or file.parent == ROOT, init


def test_every_module_named_in_a_string_exists() -> None:
    """A subprocess, a patch or a table that names a moved module would otherwise fail late."""
    missing = []
    for file in [*package_files(), *(ROOT / "tests").rglob("*.py"), *(ROOT / "scripts").rglob("*")]:
        if file.suffix == ".py":
            texts = list(strings(file))
        elif file.is_file() and file.suffix in ("", ".md"):
            texts = [file.read_text(encoding="utf-8")]
        else:
            texts = []
        names = {name for text in texts for name in re.findall(r"\bfreezeframe(?:\.\w+)+", text)}
        missing += [f"{file.name}: {name}" for name in sorted(names) if not exists(name)]
    assert missing == []


def exists(name: str) -> bool:
    """Return whether a dotted name is a module of the package or a name that a module defines."""
    parts = tuple(name.split(".")[1:])
    for length in range(len(parts), -1, -1):
        file = module_file(parts[:length])
        if file is not None:
            if length == len(parts) or parts[length].startswith("__"):
                return True
            return parts[length] in defined_names(tree_of(file))
    return False


def test_a_module_that_does_not_exist_is_noticed() -> None:
    assert exists("freezeframe.data.manifest")
    assert exists("freezeframe.data.manifest.read_manifest")
    for name in ("moved", "data.moved", "data.manifest.moved"):
        assert not exists(f"freezeframe.{name}")


def places_of(folder: Path) -> list[str]:
    """Return the stems of a folder's files and folders of code."""
    files = [file.stem for file in folder.glob("*.py") if file.name != "__init__.py"]
    return sorted(files + [init.parent.name for init in folder.glob("*/__init__.py")])


FOLDERS = sorted({file.parent for file in package_files()} - {ROOT})


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_folder_can_be_overlooked(folder: Path) -> None:
    """It has few places, few arrows, and names that are nouns and easy to tell apart."""
    places = places_of(folder)
    assert len(places) <= MOST_PLACES
    assert sum(map(len, arrows().get(folder, {}).values())) <= MOST_ARROWS
    assert {name for name in places if name.endswith("ing")} <= NOUNS_IN_ING
    assert alike(places) == []


def alike(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return the pairs of names that one changed, added or missing letter tells apart."""
    names = sorted(names)
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    return [(a, b) for a, b in pairs if one_letter_apart(a, b)]


def one_letter_apart(a: str, b: str) -> bool:
    """Return whether one edit of a letter makes one name the other."""
    short, long = sorted((a, b), key=len)
    if len(long) - len(short) > 1:
        return False
    for place in range(len(long)):
        rest = short[place:] if len(short) < len(long) else short[place + 1 :]
        if short[:place] == long[:place] and rest == long[place + 1 :]:
            return True
    return False


def test_names_one_letter_apart_are_noticed() -> None:
    names = ["image", "images", "imago", "inspect", "store"]
    assert alike(names) == [("image", "images"), ("image", "imago")]


def repeated(files: Iterable[Path]) -> list[str]:
    """Return the names of classes and module constants that several places define."""
    counts: Counter[str] = Counter()
    for file in files:
        for node in tree_of(file).body:
            if isinstance(node, ast.ClassDef):
                counts[node.name] += 1
            targets = node.targets if isinstance(node, ast.Assign) else []
            targets += [node.target] if isinstance(node, ast.AnnAssign) else []
            counts.update(
                target.id
                for target in targets
                if isinstance(target, ast.Name) and target.id.isupper()
            )
    return sorted(name for name, count in counts.items() if count > 1 and not name.startswith("_"))


def test_no_two_classes_or_constants_have_one_name(tmp_path: Path) -> None:
    assert repeated(package_files()) == []
    write(tmp_path, {"a.py": "SIZE = 1\nclass Row: ...", "b.py": "SIZE: int = 2\nclass Row: ..."})
    assert repeated(sorted(tmp_path.glob("*.py"))) == ["Row", "SIZE"]


@pytest.mark.parametrize(
    "module",
    [
        "freezeframe",
        "freezeframe.__main__",
        "freezeframe.extract.extraction",
        "freezeframe.classify.fit.fitting",
    ],
)
def test_imports_load_no_deep_learning_library(module: str) -> None:
    code = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert loaded.stdout.strip() == "[]"


def test_every_public_name_loads() -> None:
    for name in freezeframe._PUBLIC:
        assert name in dir(freezeframe)
        assert getattr(freezeframe, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = freezeframe.Nothing


def test_every_error_has_an_exit_code_and_is_documented() -> None:
    errors = [
        kind
        for kind in vars(freezeframe).values()
        if isinstance(kind, type) and issubclass(kind, Exception)
    ]
    assert len(errors) == 9
    assert all(issubclass(kind, freezeframe.FreezeframeError) for kind in errors)
    codes = {kind.__name__: kind.exit_code for kind in errors if kind.exit_code != 1}
    assert codes == {"ParameterError": 2, "LeakError": 3}
    for kind in errors:
        assert kind.__name__ in (freezeframe.errors.__doc__ or "")
