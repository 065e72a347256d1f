"""The examples in docstrings print what they show, and the programs to copy from run."""

from __future__ import annotations

import doctest
import importlib
import re
import runpy
import shutil
import sys
import types
from pathlib import Path

import pytest
from click.testing import CliRunner

import freezeframe
from freezeframe.__main__ import cli
from freezeframe.classify.study.settings import read_settings
from freezeframe.data.demo.images import make_demo_images

from ..conftest import REPOSITORY

PACKAGE = Path(freezeframe.__file__).parent
MODULES = sorted(
    ".".join(["freezeframe", *file.relative_to(PACKAGE).with_suffix("").parts])
    for room in ("data", "features", "extract", "classify")
    for file in (PACKAGE / room).rglob("*.py")
    if ">>>" in file.read_text(encoding="utf-8")
)

NOT_RUN = {
    "freezeframe.classify.fit.fitting",
    "freezeframe.classify.prediction.predictor",
    "freezeframe.features.archive.restoration",
    "freezeframe.features.rows.feature_rows",
    "freezeframe.features.store",
}
"""Modules whose examples are all skipped: they need a backbone or a finished store."""


@pytest.mark.parametrize("name", MODULES)
def test_examples_print_what_they_show(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0
    assert result.attempted > 0 or name in NOT_RUN


def test_every_public_name_has_an_example() -> None:
    for name, module in freezeframe._PUBLIC.items():
        assert f"freezeframe{module}" in MODULES
        assert ">>>" in (getattr(freezeframe, name).__doc__ or ""), name


def test_a_wrong_example_is_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    module = types.ModuleType("wrong", ">>> 1 + 1\n3")
    assert doctest.testmod(module) == (1, 1)
    assert "Expected:\n    3\nGot:\n    2" in capsys.readouterr().out


PROGRAMS = REPOSITORY / "scripts" / "examples"
PIXELS = ["--backbone", "pixels-32", "--layer", "pixels"]
"""The quick backbone of README's examples."""


def call(*arguments: str) -> None:
    result = CliRunner().invoke(cli, arguments, prog_name="freezeframe")
    assert result.exit_code == 0, result.output


LINES = {
    "features.py features.h5": r"^lesion: 20 images, 3072 features each\n  lesion/\S+: dist",
    "pipeline.py scans pixels-32 pixels": r"^C = \S+: 0\.\d{3}\nscans/.*: (no_)?lesion\n$",
    "own_head.py features.h5": r"^random folds: .*\nrelatives in one fold: .* of 5 folds\)\n$",
    "plain_h5py.py features.h5": r"^pixels-32 3\npixels: \(40, 32, 32, 3\), float32\n  lesion",
    "audit_sets.py scans other": r"^40 of 60 images show a picture that both sets have$",
    "answer.py RUN scans/lesion/slice_0002.png": r"^most evidence in cell .* of \(32, 32\)",
    "compare_runs.py leaderboard.csv": r"^\+\d+\.\d points \(.*\): on scans, .* logreg and knn",
}
"""Command lines of the page of the programs, and what each prints."""


# One test for all: what they read is made once.
def test_the_programs_run_on_what_the_commands_of_their_page_make(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    make_demo_images(tmp_path / "scans", per_class=20)
    shutil.copytree("scans/lesion", "other/lesion")
    call("extract-features", "scans", *PIXELS)
    call("fit-classifier", "--model", "logreg", "--model", "knn")
    (run,) = Path("runs").glob("*-logreg-*")
    for line, printed in LINES.items():
        name, *arguments = line.replace("RUN", str(run)).split()
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        runpy.run_path(str(PROGRAMS / name), run_name="__main__")
        assert re.search(printed, capsys.readouterr().out, re.MULTILINE), name
    assert Path("why.png").read_bytes().startswith(b"\x89PNG")


def test_the_page_of_the_programs_lists_each_of_them() -> None:
    files = {file.name for file in PROGRAMS.iterdir() if file.suffix in (".py", ".toml")}
    page = (PROGRAMS / "README.md").read_text()
    assert set(re.findall(r"^\| `(\S+?\.(?:py|toml))", page, re.MULTILINE)) == files
    assert {line.split()[0] for line in LINES} == {file for file in files if file.endswith(".py")}
    for file in PROGRAMS.glob("*.py"):
        n_lines = len(file.read_text().splitlines())
        assert 10 <= n_lines <= 32, file
        # A program uses public names: others may change.
        imported = re.findall(r"^from freezeframe import (.*)$", file.read_text(), re.MULTILINE)
        assert "from freezeframe." not in file.read_text()
        assert all(name in freezeframe._PUBLIC for names in imported for name in names.split(", "))


def test_the_study_is_read(tmp_path: Path) -> None:
    settings = read_settings(Path(shutil.copy(PROGRAMS / "study.toml", tmp_path)))
    assert settings["output"] == str(tmp_path / "study")
    assert settings["model"] == ("lda", "majority")


@pytest.mark.slow
def test_the_study_ends_in_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    call("run", "--config", shutil.copy(PROGRAMS / "study.toml", tmp_path))
    assert (tmp_path / "study" / "report.html").is_file()
