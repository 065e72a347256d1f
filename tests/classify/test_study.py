"""Studies: their steps as real processes, and what a second run repeats."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from freezeframe.__main__ import cli
from freezeframe.classify.runs.leaderboard import read_rows
from freezeframe.classify.study.child import Screen, _Relay
from freezeframe.classify.study.inputs import ImageFiles, image_files
from freezeframe.classify.study.journal import STEP_DONE, StepRecord, read_journal
from freezeframe.classify.study.plan import study_steps
from freezeframe.classify.study.runner import StudyRunner, locked
from freezeframe.classify.study.settings import StudySettings
from freezeframe.classify.study.sources import StudyImages
from freezeframe.classify.study.step import Step
from freezeframe.classify.study.time_left import time_left
from freezeframe.data.manifest import read_manifest

from ..conftest import fast_environment

PIXELS = ("--backbone", "pixels-16", "--layer", "pixels", "--model", "logreg")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["run", *map(str, arguments)])


def start(*arguments: object, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "freezeframe", "run", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=fast_environment(),
    )


# Time left.


def test_time_left_is_that_of_earlier_steps_or_a_guess_that_is_called_one() -> None:
    kinds = ["audit", "audit", "extract", "map", "new", "robustness"]
    steps = [Step(f"s{n}", "", (), (Path("a"),), kind=kind) for n, kind in enumerate(kinds)]
    sets = {Path("a"): ImageFiles("", 2000)}
    assert time_left(steps[4:5], steps, {}, sets) == "unknown yet"
    # The usual times: 3 + 2 x 1 s twice, 3 + 2 x 64 and 3 + 2 x 0.5.
    usual = "about 2 min and 1 step of unknown length, a guess"
    assert time_left(steps[:5], steps, {}, sets) == usual
    assert time_left(steps[3:4], steps, {}, sets) == "about 4 s, a guess"
    # This step looks at a few images of any set.
    assert time_left(steps[5:], steps, {}, sets) == "about 45 s, a guess"
    # A step of a kind that was run takes as long per file.
    done = StepRecord("s0", "", "", "20", STEP_DONE, "", "1000")
    records = {"s0": done, "s2": replace(done, step="s2", seconds="335")}
    assert time_left(steps[1:2], steps, records, sets) == "about 40 s"
    # This machine took 20 and 335 s for what usually takes 4 and 67: all is five times as slow.
    assert time_left(steps[3:4], steps, records, sets) == "about 20 s, a guess"
    assert time_left(steps[1:4], steps, records, sets) == "about 12 min, a guess"
    failed = {"s0": replace(done, status="failed")}
    assert time_left(steps[3:4], steps, failed, sets) == "about 4 s, a guess"


# What a step writes.


def test_bars_are_shown_but_not_kept_and_no_line_is_shown_twice() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"\r\x1b[2Kimages 1/9\r\x1b[2Kimages 2/9\r\x1b[2Kwarning: a leak\r\n")
    os.write(writer, b"\rimages 3/9\r\x1b[2Kwarning: a leak\nend")
    os.close(writer)
    shown: list[bytes] = []
    kept: list[bytes] = []
    _Relay(Screen(print, shown.append), kept.append).run(reader)
    assert b"".join(kept) == b"warning: a leak\nwarning: a leak\nend\n"
    assert b"images 2/9" in b"".join(shown)
    assert b"".join(shown).count(b"a leak") == 1


# Steps as real processes.


class Trial:
    """A study in a folder, and the lines that it says."""

    def __init__(self, folder: Path, steps: Sequence[Step], *sources: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.lines: list[str] = []
        sets = {source: image_files(source) for source in sources}
        self.study = StudyRunner(folder, steps, sets, Screen(self.lines.append, lambda block: None))
        self.study.run()

    def changed(self) -> list[int]:
        """Return the numbers of the steps that were run."""
        return [int(line[1]) for line in self.lines if "(left: " in line]


def test_a_failed_step_ends_those_that_need_it_and_is_named(tmp_path: Path) -> None:
    study = tmp_path / "a study"
    steps = [
        Step(
            "first", "one", ("make-demo-images", "drawn", "--per-class", "10"), outputs=("drawn",)
        ),
        Step("second", "two", ("store", "info", "no.h5")),
        Step("third", "three", ("--version",), needs=("second",)),
        Step("fourth", "four", ("--version",), printed="version.txt", outputs=("version.txt",)),
    ]
    trial = Trial(study, steps)
    assert trial.study.failed == ["second", "third"]
    assert f"cd '{study}' && freezeframe store info no.h5" in trial.lines[-4].strip()
    assert "exit code 1" in trial.lines[-5]
    log = study / "logs" / "second.txt"
    assert str(log) in trial.lines[-5]
    assert "no.h5" in log.read_text()
    assert "freezeframe" in (study / "version.txt").read_text()
    assert [record.status for record in read_journal(study).values()] == [
        "done",
        "failed",
        "skipped",
        "done",
    ]
    # The next run repeats only what failed.
    assert Trial(study, steps).changed() == [2]
    # A lost output is made again.
    (study / "version.txt").unlink()
    assert Trial(study, steps).changed() == [2, 4]
    # Another option is another step.
    steps[3] = replace(steps[3], arguments=("--help",))
    assert Trial(study, steps).changed() == [2, 4]


def test_a_changed_image_repeats_what_depends_on_it_and_doubles_no_row(
    tmp_path: Path, folder: Path
) -> None:
    study = tmp_path / "study"
    settings = StudySettings(
        model=("majority",), layer=("pixels",), backbone="pixels-16", output=str(study)
    )
    all_steps = study_steps(settings, StudyImages(folder), [], study)
    steps = [step for step in all_steps if step.name in ("extract-training", "heads-pixels")]
    assert Trial(study, steps, folder).changed() == [1, 2]
    (first,) = read_rows(study / "leaderboard.csv")
    assert Trial(study, steps, folder).changed() == []

    Image.fromarray(np.full((20, 30, 3), 9, np.uint8)).save(folder / "healthy" / "00.png")
    # A row that somebody else appended stays.
    board = (study / "leaderboard.csv").read_text()
    other = board.splitlines()[1].replace(first["run_id"], "by-hand")
    (study / "leaderboard.csv").write_text(f"{board}{other}\n")
    assert Trial(study, steps, folder).changed() == [1, 2]
    rows = [row["run_id"] for row in read_rows(study / "leaderboard.csv")]
    assert rows[0] == "by-hand"
    assert len(rows) == 2
    assert first["run_id"] not in rows
    assert [path.name for path in (study / "runs").iterdir()] == rows[1:]


def test_two_runs_on_one_study_are_refused(tmp_path: Path, folder: Path) -> None:
    study = tmp_path / "study"
    study.mkdir()
    with locked(study):
        result = call(folder, "--output", study)
    assert result.exit_code == 1
    assert f"{study}: another freezeframe run is at work here" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_folder_of_something_else_is_not_filled(tmp_path: Path, folder: Path) -> None:
    study = tmp_path / "study"
    study.mkdir()
    (study / "run.toml").write_text('source = "/another/folder"\n')
    result = call(folder, "--output", study)
    assert "holds the study of /another/folder; give another --output" in result.stderr
    (study / "run.toml").rename(study / "notes.txt")
    result = call(folder, "--output", study)
    assert "has files, but no run.toml of a study" in result.stderr
    result = call(folder, "--output", folder / "study")
    assert result.exit_code == 2


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_stopped_run_leaves_no_process_and_no_lock(
    tmp_path: Path, folder: Path, number: signal.Signals
) -> None:
    """The signal reaches the first process only, as `kill` sends it."""
    process = start(folder, *PIXELS, "--output", "study", folder=tmp_path)
    assert process.stderr is not None
    assert process.stderr.readline().startswith("[1/")
    # Python must have begun, or the child's end is that of its start.
    time.sleep(0.3)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same command again to continue" in stderr
    assert "Traceback" not in stderr
    with locked(tmp_path / "study"):
        pass
    assert read_journal(tmp_path / "study") == {}


@pytest.mark.slow
def test_a_killed_run_continues_to_its_end(tmp_path: Path, folder: Path) -> None:
    """The whole command: killed in a fit, continued, repeated from its run.toml."""
    process = start(folder, *PIXELS, "--output", "study", folder=tmp_path)
    assert process.stderr is not None
    while not process.stderr.readline().startswith("[4/"):
        assert process.poll() is None
    process.kill()
    process.communicate()
    study = tmp_path / "study"
    # The step that was at work may still hold the lock.
    for _ in range(600):
        ended = start(folder, *PIXELS, "--output", "study", folder=tmp_path)
        output, errors = ended.communicate(timeout=300)
        if ended.returncode == 0:
            break
        assert "another freezeframe run is at work here" in errors
        time.sleep(0.1)
    assert "[3/" in errors
    assert errors.count("nothing changed") == 3
    assert str(study) in output
    ids = [row["run_id"] for row in read_rows(study / "leaderboard.csv")]
    assert len(ids) == len(set(ids)) == 4
    assert {path.name for path in (study / "runs").iterdir() if path.name[0] != "."} == set(ids)
    with (study / "steps.csv").open() as file:
        assert {row["status"] for row in csv.DictReader(file)} == {"done"}
    again = start("--config", study / "run.toml", folder=tmp_path)
    _, errors = again.communicate(timeout=60)
    assert again.returncode == 0
    assert "(left:" not in errors
    # A finding that must not be is exit code 3, as for a leak; all other steps are current.
    code = "few-independent-images"
    strict = start("--config", study / "run.toml", "--strict", code, folder=tmp_path)
    _, errors = strict.communicate(timeout=60)
    assert strict.returncode == 3
    assert errors.count("(left:") == 1
    assert f"--strict: the report has findings that it names; see {study / 'report.html'}" in errors


def test_a_quick_study_says_what_it_takes(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StudyRunner, "run", lambda self: None)
    monkeypatch.setattr("freezeframe.classify.study.sources.QUICK_IMAGES", 4)
    monkeypatch.chdir(tmp_path)
    result = call(folder, "--quick")
    assert result.exit_code == 0, result.output
    study = tmp_path / "studies" / "scans-quick"
    assert "quick: 8 of 24 images of scans; the scores are a try" in result.stderr
    few = read_manifest(study / "scans-quick.csv")
    assert few.classes == {"healthy": 4, "tumour": 4}
    assert StudySettings(quick=True).layers == ("block5_pool",)
