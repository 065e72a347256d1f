"""The shell scripts: they parse, and call the commands that their first lines name."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ..conftest import REPOSITORY

SCRIPTS = sorted(
    path
    for path in (REPOSITORY / ".ci" / "run", *(REPOSITORY / "scripts").rglob("*"))
    if path.is_file() and not path.suffix and "bash" in path.read_text().partition("\n")[0]
)
COMMANDS = ("freezeframe", "extract-features", "fit-classifier", "python")

STUB = """#!/bin/sh
line="$PWD: {name}"
for argument; do line="$line $(echo "$argument" | tr ' ' '~')"; done
echo "$line" >> "{calls}"
"""
"""A command that writes down where and how it was called; spaces within arguments become "~"."""

pytestmark = pytest.mark.skipif(not shutil.which("bash"), reason="no bash here")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the scripts, beside commands that only write down how they were called."""
    shutil.copytree(REPOSITORY / "scripts", tmp_path / "scripts")
    folder = tmp_path / ".venv" / "bin"
    folder.mkdir(parents=True)
    for path in (*(folder / name for name in COMMANDS), tmp_path / "scripts" / "install"):
        path.write_text(STUB.format(name=path.name, calls=tmp_path / "calls"))
        path.chmod(0o755)
    return tmp_path


def calls(checkout: Path, script: str, *arguments: object, folder: Path) -> list[str]:
    """Run a script in a folder; return the calls that it made, without those that ask a version."""
    command = ["bash", str(checkout / "scripts" / script), *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ})
    assert done.returncode == 0, done.stderr
    lines = (checkout / "calls").read_text().splitlines()
    (checkout / "calls").write_text("")
    return [line for line in lines if not line.endswith("--version")]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_parses(path: Path) -> None:
    done = subprocess.run(["bash", "-n", path], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_demo_installs_and_runs_a_study_where_it_is_called(checkout: Path, tmp_path: Path) -> None:
    place = tmp_path / "work here"
    place.mkdir()
    assert calls(checkout, "demo", "my scans", "--quick", folder=place) == [
        f"{place}: install cpu,offline",
        f"{place}: freezeframe run my~scans --quick",
    ]


def test_reproduce_is_a_study_then_networks_then_its_report(checkout: Path) -> None:
    for name in ("brain", "other"):
        (checkout / name).mkdir()
    sets = (checkout / "brain", checkout / "other", "no=healthy")
    whole = calls(checkout, "reproduce", *sets, folder=checkout)
    place = checkout / "demo" / "reproduce"
    assert whole[0] == (
        f"{place}: freezeframe run {sets[0]} --test {sets[1]} --classes no=healthy --output study"
    )
    assert whole[-3].endswith("freezeframe leaderboard study/leaderboard.csv")
    assert whole[-2].endswith("results.py study/leaderboard.csv .")
    assert whole[-1].endswith("freezeframe report study")
    fits = [line for line in whole if "fit-cnn" in line or "fit-classifier" in line]
    assert len(fits) > 20
    # All are rows of the study; each is tested as the article or on the study's hold-out.
    assert all(" --leaderboard study/leaderboard.csv" in line for line in fits)
    for line in fits:
        assert (" random." in line) + (" --hold-out" in line) + (" --stress" in line) == 1, line
        assert "--test" in line or "--stress" in line
    # `results.py` reads the seconds of a step of this name.
    assert (place / "steps" / "study").exists()
    # A second call repeats no step.
    assert calls(checkout, "reproduce", *sets, folder=checkout) == whole[-3:]
    refused = subprocess.run(
        ["bash", checkout / "scripts" / "reproduce", sets[1], sets[0], "a=b"],
        capture_output=True,
        text=True,
    )
    assert refused.returncode == 1
    assert "holds the results of" in refused.stderr
