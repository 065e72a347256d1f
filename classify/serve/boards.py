"""The leaderboard as the pages show it: ranked rows of each test set, and one run's details."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...data.output.terminal import number, printable
from ..board.ranking import RankedRow, rank_rows
from ..board.run_folders import RunFolders
from ..board.sentences import legend, title_of_test_set
from ..board.tables import metric_text, metric_with_interval, rank_text
from ..runs.leaderboard import read_rows
from ..runs.prediction_file import PREDICTIONS_NAME, read_predictions
from ..scores.clean import leak_count
from ..scores.evaluation import Evaluation
from ..scores.grades import grade_text
from ..task.store_split import HOLD_OUT

RANKED_BY = "accuracy"
SHOWN = ("accuracy", "roc_auc", "sensitivity", "specificity", "brier")
"""Metrics with a column of their own; each has its interval drawn."""


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
class BoardRow:
    """A row of a table: one run on one test set."""

    run_id: str
    test_id: str
    rank: str
    head: str
    features: str
    cells: dict[str, Cell]
    leaked: Cell


@dataclass(frozen=True)
class TestSetBoard:
    """The table of one test set."""

    title: str
    rows: list[BoardRow]
    notes: list[str]


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
        """Return the paths of the images that a run held out of its training.

        They are known by its predictions: without them, no image is held out.
        """
        folder = self._runs / run_id
        if not (folder / PREDICTIONS_NAME).is_file():
            return frozenset()
        evaluations = read_predictions(folder).values()
        splits = [item for item in evaluations if item.split.startswith(HOLD_OUT)]
        return frozenset(str(path) for item in splits for path in item.paths)

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
    return TestSetBoard(title_of_test_set(ranked), rows, legend(ranked, RANKED_BY))


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
    )


def _cell(row: Any, name: str) -> Cell:
    values = [number(row.get(column, "")) for column in (f"{name}_low", name, f"{name}_high")]
    # NaN means "not defined", and is in no range.
    defined = all(0 <= value <= 1 for value in values)
    value = values[1] if metric_text(name, row[name]) != "-" else ""
    return Cell(
        metric_with_interval(row, name),
        value,
        (values[0], values[1], values[2]) if defined else None,
    )
