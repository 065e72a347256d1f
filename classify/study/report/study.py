"""A study as its report reads it: the files that commands left in one folder."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ....data.audit.report import GROUP_COLUMNS, PAIR_COLUMNS
from ....data.explore.summary import IMAGE_COLUMNS
from ....data.formats.regular_file import read_regular
from ....data.output.terminal import number
from ....errors import FreezeframeError, ImageError
from ...board.run_folders import RunFolders
from ...runs.leaderboard import read_rows
from ...runs.robustness import ROBUSTNESS_COLUMNS, ROBUSTNESS_NAME
from ...runs.stress_file import STRESS_COLUMNS, STRESS_NAME, judged_level
from ...runs.tables.conformal import CONFORMAL_COLUMNS, CONFORMAL_NAME
from ...runs.warning_file import WARNING_COLUMNS, WARNINGS_NAME
from ...scores.clean import leak_count
from ...scores.evaluation import Evaluation
from ...scores.metric_names import CLEAN
from .tables import Line, read_table

Row = Mapping[str, str]
"""A row of the leaderboard, by column."""

LEADERBOARD_NAME = "leaderboard.csv"
EXPLORED = "explore/explore.csv"
PAIRS = "audit/audit.csv"
GROUPS = "audit/groups.csv"
COMPARISONS = "compare.csv"
STEPS_NAME = "steps.csv"
PICTURES_NAME = "pictures.csv"
SETTINGS = "run.toml"

COMPARED_NUMBERS = ("difference", "low", "high", "p_holm", "margin", "low_90", "high_90")
COMPARED_COLUMNS = (
    *("test_id", "test_set", "split", "metric", "first_run", "second_run", "outcome", "equivalent"),
    *("test", *COMPARED_NUMBERS),
)
"""Columns of compare.csv that a report reads; files of earlier versions lack some of them."""

PICTURE_COLUMNS = ("kind", "title", "path", "caption")
STEP_COLUMNS = ("step", "command", "started", "seconds", "status")

_MOST_SETTINGS = 20_000
"""Most letters of the settings that a page shows."""


@dataclass(frozen=True)
class Study:
    """The files of a study's folder. Each is read when it is first needed.

    A file that cannot be used counts as missing, and `problems` says why.

    Attributes:
        folder: the folder.
        rows: rows of the leaderboard.
        runs: the runs' folders.
        problems: one line for each file that exists and cannot be used.
    """

    folder: Path
    rows: Sequence[Row]
    runs: RunFolders
    problems: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path) -> Study:
        """Read the leaderboard of a study.

        Raises:
            FreezeframeError: it is missing or damaged, or has no rows.
        """
        path = folder / LEADERBOARD_NAME
        rows = read_rows(path)
        if not rows:
            raise FreezeframeError(f"{path}: has no runs yet; fit-classifier appends them")
        return cls(folder, rows, RunFolders(folder / "runs"))

    @cached_property
    def images(self) -> list[Line] | None:
        """The lines of explore.csv, one for each file; None without an exploration."""
        numbers = ("height", "width", "frames", "brightness", "contrast", "bytes")
        return self._table(EXPLORED, IMAGE_COLUMNS, numbers)

    @cached_property
    def pairs(self) -> list[Line] | None:
        """The lines of audit.csv, one for each pair; None without an audit."""
        return self._table(PAIRS, PAIR_COLUMNS)

    @cached_property
    def groups(self) -> list[Line] | None:
        """The lines of groups.csv, one for each image; None without an audit."""
        return self._table(GROUPS, GROUP_COLUMNS)

    @cached_property
    def comparisons(self) -> list[Line] | None:
        """The lines of compare.csv, one for each pair of runs; None without a comparison."""
        return self._table(COMPARISONS, COMPARED_COLUMNS, COMPARED_NUMBERS)

    def accuracy_pairs(self, test_id: str) -> list[Line]:
        """Return the lines of compare.csv on the accuracy of a test set.

        Where test images have relatives in the training of a compared run, they are those on the
        other images; none if too few are left.
        """
        pairs = [pair for pair in self.comparisons or [] if pair["test_id"] == test_id]
        runs = {pair[name] for pair in pairs for name in ("first_run", "second_run")}
        compared = [row for row in self.rows if row["run_id"] in runs and row["test_id"] == test_id]
        leaks = any(leak_count(row)[0] for row in compared)
        metric = f"{CLEAN}accuracy" if leaks else "accuracy"
        return [pair for pair in pairs if pair["metric"] == metric]

    @cached_property
    def steps(self) -> list[Line] | None:
        """The steps that filled the folder; None where no `run` did."""
        return self._table(STEPS_NAME, STEP_COLUMNS, ("seconds",))

    @cached_property
    def pictures(self) -> list[Line] | None:
        """The small pictures that `run` made; None where no `run` did."""
        return self._table(PICTURES_NAME, PICTURE_COLUMNS)

    @cached_property
    def settings(self) -> str:
        """The text of the settings that repeat the study; "" without them."""
        path = self.folder / SETTINGS
        try:
            return read_regular(path).decode()[:_MOST_SETTINGS] if path.exists() else ""
        except (OSError, ImageError, UnicodeError) as error:
            self.problems.append(f"{path}: cannot be read ({error})")
            return ""

    def evaluation(self, row: Row) -> Evaluation | None:
        """Return the predictions of a row; None where its file is missing or broken."""
        return self.runs.evaluation(row["run_id"], row["test_id"]) if row["test_id"] else None

    def stress(self, row: Row) -> list[Line] | None:
        """Return the levels of a run's stress test; None without one."""
        # Older files lack the last column.
        return self._of_run(row, STRESS_NAME, STRESS_COLUMNS[:-1], STRESS_COLUMNS[1:-1])

    def robustness(self, row: Row) -> list[Line] | None:
        """Return what edits do to a run's answers, the unedited images first; None without it."""
        return self._of_run(row, ROBUSTNESS_NAME, ROBUSTNESS_COLUMNS, ROBUSTNESS_COLUMNS[2:])

    def prediction_sets(self, row: Row) -> list[Line] | None:
        """Return the prediction sets of a run, a line for each test set; None without any."""
        names = CONFORMAL_COLUMNS[:3]
        numbers = [name for name in CONFORMAL_COLUMNS if name not in (*names, "calibrated_on")]
        return self._of_run(row, CONFORMAL_NAME, CONFORMAL_COLUMNS, numbers)

    def judged_level(self, row: Row) -> int:
        """Return the number of the stress level that is compared with the first; 0 without one."""
        levels = self.stress(row)
        if not levels:
            return 0
        sizes = [number(level["n_groups"]) for level in levels]
        return judged_level(sizes, number(levels[0]["n_folds"]))

    def warnings(self, row: Row) -> list[Line] | None:
        """Return the warnings of a run; None for runs of older versions, which kept none."""
        return self._of_run(row, WARNINGS_NAME, WARNING_COLUMNS)

    def _of_run(
        self, row: Row, name: str, columns: Sequence[str], numbers: Collection[str] = ()
    ) -> list[Line] | None:
        try:
            folder = self.runs.folder(row["run_id"])
        except FreezeframeError as error:
            self._note(str(error))
            return None
        return self._table(f"runs/{folder.name}/{name}", columns, numbers)

    def _table(
        self, name: str, columns: Sequence[str], numbers: Collection[str] = ()
    ) -> list[Line] | None:
        path = self.folder / name
        try:
            return read_table(path, columns, numbers) if path.exists() else None
        except (FreezeframeError, OSError) as error:
            self._note(str(error))
            return None

    def _note(self, problem: str) -> None:
        """Keep a problem once: a file of a run is read for several rows."""
        if problem not in self.problems:
            self.problems.append(problem)
