"""Runs the steps of a study, skips those whose inputs have not changed, and keeps what was run."""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path

from ...data.output.locks import lock_open_file
from ...errors import FreezeframeError
from ..runs.leaderboard import append_rows, read_rows, remove_runs
from .child import Screen, run_child
from .inputs import ImageFiles
from .journal import STEP_DONE, STEP_FAILED, STEP_SKIPPED, StepRecord, read_journal, write_journal
from .plan import BOARD
from .settings import LOCK_FILE
from .step import Step
from .time_left import duration, n_files, time_left

LEAKS = 3
"""Exit code of a command that finds what its --strict names."""


@contextmanager
def locked(folder: Path) -> Iterator[int | None]:
    """Hold the lock of a study; yield its descriptor, or None where the system has no locks.

    Raises:
        FreezeframeError: another process holds it, or it cannot be made.
    """
    try:
        # The file stays: a name that is removed could be locked twice.
        with FileIO(str(folder / LOCK_FILE), "a+") as file:
            yield file.fileno() if lock_open_file(file) else None
    except BlockingIOError:
        raise FreezeframeError(
            f"{folder}: another freezeframe run is at work here, or a step of one that was killed; "
            "wait until it ends, or give another --output"
        ) from None


class StudyRunner:
    """Runs the steps that fill the folder of a study.

    Args:
        folder: the folder.
        steps: its steps, in order.
        sets: the files of each image set that a step reads.
        screen: shows what is done.
        lock: descriptor of the lock, from `locked`.

    Attributes:
        failed: names of the steps that failed in this process.
        strict: names of the steps that find what their --strict names.
    """

    def __init__(
        self,
        folder: Path,
        steps: Sequence[Step],
        sets: Mapping[Path, ImageFiles],
        screen: Screen,
        lock: int | None = None,
    ) -> None:
        self.folder = folder
        self.steps = steps
        self.failed: list[str] = []
        self.strict: list[str] = []
        self._sets = sets
        self._screen = screen
        self._lock = lock
        self._records = read_journal(folder)
        for name in ("fits", "logs", "runs"):
            (folder / name).mkdir(exist_ok=True)

    def run(self) -> None:
        """Run all steps; one that fails ends only those that need it.

        Raises:
            KeyboardInterrupt: the user stopped the study.
            FreezeframeError: the folder's files are damaged or cannot be written.
        """
        self._forget_steps_of_other_settings()
        for number, step in enumerate(self.steps, 1):
            place = f"[{number}/{len(self.steps)}] {step.title}"
            whole = step.with_late_arguments()
            blocking = [name for name in step.needs if name in self.failed]
            if blocking:
                self._screen.say(f"{place}: not possible without {', '.join(blocking)}")
                self._keep(step, STEP_SKIPPED)
                self.failed.append(step.name)
            elif whole is None:
                self._screen.say(f"{place}: nothing to do")
            elif self._is_current(whole):
                self._screen.say(f"{place}: nothing changed")
            else:
                left = time_left(self._to_do(number - 1), self.steps, self._records, self._sets)
                self._screen.say(f"{place} (left: {left})")
                self._run(whole)

    def _is_current(self, step: Step) -> bool:
        """Return True if the step was done with the same inputs and its outputs exist."""
        record = self._records.get(step.name)
        if record is None or record.status != STEP_DONE or step.always:
            return False
        return step.is_there(self.folder) and record.inputs == step.key(self.folder, self._sets)

    def _to_do(self, start: int) -> list[Step]:
        """Return the steps from a place on that have to be run, as far as is known now."""
        dirty: list[Step] = []
        for step in self.steps[start:]:
            changed = {
                name for earlier in dirty for name in (*earlier.outputs, earlier.leaderboard)
            }
            boards = any(earlier.leaderboard for earlier in dirty) and BOARD in step.files
            late = step.late is not None and step.name in self._records
            if boards or changed & set(step.files) or not (late or self._is_current(step)):
                dirty.append(step)
        return dirty

    def _run(self, step: Step) -> None:
        """Run a step, and keep its outcome."""
        # A kill in the middle must not leave the record of an earlier run.
        self._records.pop(step.name, None)
        write_journal(self.folder, self._records)
        if step.leaderboard:
            self._forget(step.leaderboard)
        # Inputs that change while the step runs make it run again.
        key = step.key(self.folder, self._sets)
        log = self.folder / "logs" / f"{step.name}.txt"
        started = datetime.now(UTC)
        clock = time.monotonic()
        code = run_child(
            step.arguments,
            self.folder,
            log,
            self._screen,
            printed=self.folder / step.printed if step.printed else None,
            show_results=step.shown,
            lock=self._lock,
        )
        seconds = time.monotonic() - clock
        if step.leaderboard:
            self._collect(step.leaderboard)
        time_text = f"{started:%Y-%m-%dT%H:%M:%SZ}"
        done = code in (0, LEAKS) and step.is_there(self.folder)
        if code == LEAKS:
            self.strict.append(step.name)
        self._keep(step, STEP_DONE if done else STEP_FAILED, key, time_text, seconds)
        if done:
            self._screen.say(f"    done in {duration(seconds)}")
        else:
            self.failed.append(step.name)
            self._explain_failure(step, code, log)

    def _explain_failure(self, step: Step, code: int, log: Path) -> None:
        """Name the command of a failed step and its log."""
        reason = f"exit code {code}" if code >= 0 else f"killed by signal {-code}"
        if code == -9:
            reason += ", perhaps for lack of memory"
        self._screen.say(f"    failed ({reason}); its log is {log}; to repeat it alone:")
        self._screen.say(f"    cd {shlex.quote(str(self.folder))} && {step.command}")

    def _keep(
        self, step: Step, status: str, key: str = "", started: str = "", seconds: float = 0
    ) -> None:
        """Write a step into the journal."""
        files = str(n_files(step, self._sets))
        record = StepRecord(step.name, step.command, started, f"{seconds:.1f}", status, key, files)
        records = {**self._records, step.name: record}
        self._records = {
            step.name: records[step.name] for step in self.steps if step.name in records
        }
        write_journal(self.folder, self._records)

    def _forget_steps_of_other_settings(self) -> None:
        """Remove fits that the settings had before and have no more."""
        boards = {step.leaderboard for step in self.steps}
        for path in sorted((self.folder / "fits").glob("*.csv")):
            name = f"fits/{path.name}"
            if name not in boards:
                self._forget(name)

    def _forget(self, leaderboard: str) -> None:
        """Remove the rows and runs of a fit that is repeated, so that none is there twice."""
        path = self.folder / leaderboard
        if not path.exists():
            return
        run_ids = {row["run_id"] for row in read_rows(path)}
        remove_runs(self.folder / BOARD, run_ids)
        runs = self.folder / "runs"
        # A changed leaderboard could name any folder.
        for entry in runs.iterdir():
            if entry.name in run_ids and entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
        path.unlink()

    def _collect(self, leaderboard: str) -> None:
        """Add the rows of a fit to the leaderboard of the study."""
        path = self.folder / leaderboard
        if path.exists():
            append_rows(self.folder / BOARD, read_rows(path))
