"""The installed package is whole: every file, every module, every command, and one small job."""

from __future__ import annotations

import configparser
import importlib
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import freezeframe
from freezeframe.__main__ import COMMANDS

from ..conftest import fast_environment
from .sources import ROOMS, ROOT, package_files

pytestmark = pytest.mark.installed
PACKAGE = Path(freezeframe.__file__).parent
COMMAND = Path(sys.executable).with_name("freezeframe")


def package_data() -> list[Path]:
    """Return the files that setup.cfg lists as data of a package."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return [
        file
        for package, patterns in config["options.package_data"].items()
        for pattern in patterns.split()
        for file in ROOT.joinpath(*package.split(".")[1:]).glob(pattern)
    ]


def test_every_file_is_installed() -> None:
    files = [*package_files(), *package_data()]
    assert [file for file in files if not (PACKAGE / file.relative_to(ROOT)).is_file()] == []


def test_the_licence_and_the_page_are_installed() -> None:
    installed = metadata.distribution("freezeframe")
    names = {file.name for file in installed.files or ()}
    assert "LICENSE" in names
    assert installed.metadata["License"] == "MIT"
    assert (
        installed.metadata["Description"].strip()
        == (ROOT / "README.md").read_text(encoding="utf-8").strip()
    )


def test_every_file_that_is_no_code_is_package_data() -> None:
    """A template or a table that setup.cfg does not list would be missing once installed."""
    pages = {"README.md", "LEADERBOARD.md"}
    files = [
        file
        for room in ROOMS
        for file in (ROOT / room).rglob("*.*")
        if file.is_file() and file.suffix not in (".py", ".pyc") and file.name not in pages
    ]
    assert sorted(files) == sorted(file for file in package_data() if file.name != "py.typed")


def test_every_module_can_be_imported() -> None:
    for file in package_files():
        if file.name not in ("__main__.py", "process.py"):
            parts = file.relative_to(ROOT).with_suffix("").parts
            importlib.import_module(".".join(["freezeframe", *parts]).removesuffix(".__init__"))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_its_help(name: str) -> None:
    shown = subprocess.run([COMMAND, name, "--help"], capture_output=True, text=True, check=True)
    assert shown.stdout.startswith(f"Usage: freezeframe {name} ")


def test_a_small_job(tmp_path: Path) -> None:
    """From drawn images to predictions, with an engine that is at hand in every installation."""
    layer = ["--layer", "block1_pool"]
    for arguments in (
        ["make-demo-images", "images", "--per-class", "10"],
        ["explore", "images"],
        ["audit", "images"],
        ["extract-features", "images", *layer, "--weights", "random", "--dtype", "float16"],
        ["fit-classifier", *layer, "--model", "logreg", "--pooling", "avg"],
        ["leaderboard"],
        ["store", "info", "features.h5"],
    ):
        done = subprocess.run(
            [COMMAND, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env=fast_environment(),
        )
        assert done.returncode == 0, done.stderr
    (model,) = tmp_path.glob("runs/*/model.safetensors")
    images = sorted(tmp_path.glob("images/*/*"))[:2]
    shown = subprocess.run([COMMAND, "predict", model, *images], capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert all(str(image) in shown.stdout for image in images)
