"""The pages: commands, options and links on them exist, and their examples name real things."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from freezeframe.__main__ import COMMANDS, cli

from ..conftest import REPOSITORY

PAGES = sorted(
    path
    for path in REPOSITORY.rglob("*.md")
    if not any(part.startswith(".") or part in ("build", "demo", "studies") for part in path.parts)
)
STORE_COMMANDS = ("info", "verify", "map", "export", "restore", "merge", "diff")


def anchors_of(page: Path) -> set[str]:
    """Return the anchors of a page's headings, made as GitHub makes them."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links_of(page: Path) -> list[str]:
    """Return the targets of a page's links, those to the web left out."""
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    return [target for target in targets if not target.startswith("http")]


def help_texts() -> str:
    """Return the help of every command, and the text of every script."""
    runner = CliRunner()
    calls = [[name, "--help"] for name in COMMANDS]
    calls += [["store", name, "--help"] for name in STORE_COMMANDS]
    outputs = [runner.invoke(cli, call, prog_name="freezeframe").stdout for call in calls]
    scripts = (path for path in (REPOSITORY / "scripts").rglob("*") if path.is_file())
    sources = [path.read_text() for path in scripts if path.suffix not in (".png", ".pyc")]
    return "".join([*outputs, *sources])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in links_of(page):
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), target
        assert not anchor or anchor in anchors_of(path), target


def test_every_command_of_the_program_is_on_a_page() -> None:
    text = "".join(page.read_text() for page in PAGES)
    readme = (REPOSITORY / "README.md").read_text()
    for name in COMMANDS:
        assert name in readme, name
    for name in STORE_COMMANDS:
        assert f"`{name} " in text, name


def test_every_option_on_a_page_exists() -> None:
    helps = help_texts()
    for page in PAGES:
        for option in set(re.findall(r"(?<![\w-])--[a-z][\w-]+", page.read_text())):
            assert option in helps, (page.name, option)


def test_every_path_in_contributing_exists() -> None:
    text = (REPOSITORY / "CONTRIBUTING.md").read_text()
    names = re.findall(r"`([\w.]+(?:/[\w.]+)*/?)`", text)
    paths = [name for name in names if "/" in name]
    assert len(paths) > 20
    for name in paths:
        assert (REPOSITORY / name).exists(), name


def test_python_on_the_pages_names_what_can_be_imported() -> None:
    imports = 0
    for page in PAGES:
        for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
            for node in ast.walk(ast.parse(block)):
                if isinstance(node, ast.ImportFrom) and node.module:
                    module = importlib.import_module(node.module)
                    imports += sum(hasattr(module, alias.name) for alias in node.names)
                    assert all(hasattr(module, alias.name) for alias in node.names)
    assert imports >= 10
