"""The leaderboard as the pages show it: ranked rows of each test set, and one run's details."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...data.output.terminal import counted, number, printable
from ..board.choices import combination_of
from ..board.ranking import RankedRow, rank_rows
from ..board.run_folders import RunFolders
from ..board.sentences import legend, title_of_test_set
from ..board.tables import SHOWN_BY_PATIENT, metric_text, metric_with_interval, rank_text
from ..runs.leaderboard import read_rows
from ..runs.prediction_file import held_out_paths
from ..scores.clean import leak_count
from ..scores.evaluation import Evaluation
from ..scores.grades import clean_grade, grade_text
from ..scores.metric_names import BY_PATIENT, is_clean

RANKED_BY = "accuracy"
SHOWN = {
    "accuracy": "accuracy",
    "clean_accuracy": "clean accuracy",
    "roc_auc": "AUC",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "brier": "Brier score",
}
"""Metrics with a column of their own and its heading; each has its interval drawn."""


@dataclass(frozen=True)
class Cell:
    """A number of a table.

    Attributes:
        text: the number with its interval.
        value: sorts the column; "" without a number.
        interval: low end, value and high end, from 0 to 1; None where it is not defined.
    """

    text: str
    value: float | str
    interval: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class ScoresByPatient:
    """The scores by patient of one run on one test set.

    Attributes:
        units: "12 patients", say.
        combination: how the probabilities of a patient's images were combined.
        grade: grade of these scores.
        cells: scores by metric.
    """

    units: Cell
    combination: str
    grade: str
    cells: dict[str, Cell]


@dataclass(frozen=True)
class BoardRow:
    """A row of a table: one run on one test set."""

    run_id: str
    test_id: str
    rank: str
    head: str
    features: str
    cells: dict[str, Cell]
    leaked: Cell
    by_patient: ScoresByPatient | None


@dataclass(frozen=True)
class TestSetBoard:
    """The table of one test set, and a second one where patients are scored.

    Attributes:
        title: its name, images and classes.
        rows: the ranked runs.
        shown: headings of the columns of the first table, by metric.
        notes: explanations of marks and grades.
    """

    title: str
    rows: list[BoardRow]
    shown: dict[str, str]
    notes: list[str]

    @property
    def rows_by_patient(self) -> list[BoardRow]:
        """The rows that have scores by patient."""
        return [row for row in self.rows if row.by_patient]


class Leaderboard:
    """A leaderboard file, read again whenever it has changed.

    Args:
        path: the CSV file.
        runs: the folder of the runs.
    """

    def __init__(self, path: Path, runs: Path) -> None:
        self.path = path
        self._runs = runs
        self._lock = threading.Lock()
        self._state: tuple[int, int] | None = None
        self._boards: list[TestSetBoard] = []
        self._folders = RunFolders(runs)

    def boards(self) -> list[TestSetBoard]:
        """Return the tables of all test sets.

        Raises:
            FreezeframeError: the file is missing or damaged.
        """
        with self._lock:
            about = self.path.stat() if self.path.exists() else None
            state = (about.st_mtime_ns, about.st_size) if about else None
            # Paired tests take a moment, so that they are computed once.
            if state is None or state != self._state:
                self._folders = RunFolders(self._runs)
                ranked = rank_rows(read_rows(self.path), RANKED_BY, self._folders)
                self._boards = [_board(rows) for rows in ranked]
                self._state = state
            return self._boards

    def held_out(self, run_id: str) -> frozenset[str]:
        """Return the paths of the images that a run held out of its training."""
        return held_out_paths(self._runs / run_id)

    def evaluation(self, run_id: str, test_id: str) -> tuple[BoardRow, Evaluation | None] | None:
        """Return a row and its predictions; None if the leaderboard has no such row.

        Only ids that the leaderboard lists are looked up: no text of a request becomes a path.
        """
        for board in self.boards():
            for row in board.rows:
                if (row.run_id, row.test_id) == (run_id, test_id):
                    with self._lock:
                        return row, self._folders.evaluation(row.run_id, row.test_id)
        return None


def _board(ranked: Sequence[RankedRow]) -> TestSetBoard:
    rows = [_row(place) for place in ranked]
    # Without leaks, the clean score is the score itself.
    leaks = any(row.leaked.value for row in rows)
    shown = {name: text for name, text in SHOWN.items() if leaks or not is_clean(name)}
    return TestSetBoard(title_of_test_set(ranked), rows, shown, legend(ranked, RANKED_BY))


def _row(place: RankedRow) -> BoardRow:
    row = place.row
    count, _ = leak_count(row)
    return BoardRow(
        run_id=row["run_id"],
        test_id=row["test_id"],
        rank=rank_text(place),
        head=printable(row["head"]),
        features=printable(f"{row['layer']} {row['pooling']}"),
        cells={name: _cell(row, name) for name in SHOWN},
        leaked=Cell(grade_text(row), count),
        by_patient=_scores_by_patient(row),
    )


def _scores_by_patient(row: Mapping[str, str]) -> ScoresByPatient | None:
    """Return the scores by patient of a row; None without any."""
    if not row["n_test_patients"]:
        return None
    n = int(row["n_test_patients"])
    return ScoresByPatient(
        Cell(counted(n, printable(row["patient_unit"])), n),
        printable(combination_of(row)),
        clean_grade(row),
        {name: _cell(row, BY_PATIENT + name) for name in SHOWN_BY_PATIENT},
    )


def _cell(row: Mapping[str, str], name: str) -> Cell:
    values = [number(row.get(column, "")) for column in (f"{name}_low", name, f"{name}_high")]
    # NaN means "not defined", and is in no range.
    defined = all(0 <= value <= 1 for value in values)
    value = values[1] if metric_text(name, row[name]) != "-" else ""
    star = " *" * bool(is_clean(name) and value != "" and row["clean_missing"])
    return Cell(
        metric_with_interval(row, name) + star,
        value,
        (values[0], values[1], values[2]) if defined else None,
    )
