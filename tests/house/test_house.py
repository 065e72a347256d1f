"""The shape of the house: who may import whom, and what gets installed."""

from __future__ import annotations

import ast
import configparser
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = {"data": 0, "features": 1, "extract": 2, "classify": 3}
HEAVY = ("tensorflow", "keras", "jax", "torch", "onnx")


def imported_rooms(file: Path) -> set[str]:
    """Rooms that a file imports, at any depth of its code."""
    own = file.relative_to(ROOT).parts[:-1]
    rooms = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = own[: len(own) - node.level + 1] if node.level else ()
            module = [*base, *(node.module or "").split(".")]
            names = [[*module, alias.name] for alias in node.names] if node.level else [module]
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        else:
            continue
        for name in names:
            parts = [part for part in name if part and part != "freezeframe"]
            if (
                parts
                and parts[0] in ROOMS
                and ((isinstance(node, ast.ImportFrom) and node.level) or "freezeframe" in name)
            ):
                rooms.add(parts[0])
    return rooms - {own[0]} if own else rooms


def source_files() -> list[Path]:
    return [file for room in ROOMS for file in sorted((ROOT / room).rglob("*.py"))]


@pytest.mark.parametrize("file", source_files(), ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_go_down_only(file: Path) -> None:
    own = ROOMS[file.relative_to(ROOT).parts[0]]
    assert [room for room in imported_rooms(file) if ROOMS[room] >= own] == []


def test_the_import_check_sees_an_import_that_runs_the_wrong_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    (tmp_path / "features").mkdir()
    bad = tmp_path / "features" / "bad.py"
    for line in (
        "from ..extract.backbone import BACKBONES",
        "from .. import extract",
        "import freezeframe.extract",
        "def f():\n    from freezeframe.extract import backbone",
    ):
        bad.write_text(line)
        assert imported_rooms(bad) == {"extract"}, line
    bad.write_text("from .store import FeatureStore\nfrom .. import StoreError\nimport extract_msg")
    assert imported_rooms(bad) == set()


def test_every_package_is_listed() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = set(config["options"]["packages"].split())
    on_disk = {
        ".".join(["freezeframe", *file.relative_to(ROOT).parts[:-1]])
        for room in ("", *ROOMS)
        for file in [ROOT / room / "__init__.py", *(ROOT / room).glob("*/__init__.py")]
        if file.exists()
        and (not room or room in ROOMS)
        and file.relative_to(ROOT).parts[0] not in ("tests", "scripts")
    }
    assert listed == on_disk


def test_only_what_was_agreed_stands_at_the_top() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    folders = {line.split("/")[0] for line in tracked.stdout.splitlines() if "/" in line}
    assert folders <= {*ROOMS, "scripts", "tests", ".ci"}
    modules = {
        line for line in tracked.stdout.splitlines() if line.endswith(".py") and "/" not in line
    }
    assert modules == {"__init__.py", "__main__.py"}


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
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_public_names_are_there() -> None:
    import freezeframe

    for name in freezeframe._PUBLIC:
        assert name in dir(freezeframe)
        assert getattr(freezeframe, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = freezeframe.Nothing


def test_every_error_is_told_as_one_line_with_an_exit_code() -> None:
    import freezeframe

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
        assert kind.__name__ in (freezeframe.__doc__ or "")
