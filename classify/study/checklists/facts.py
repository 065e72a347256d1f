"""The study as checklists see it: its chosen row, rows beside it, and its settings."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

from ...board.choices import is_control
from ...runs.prediction_file import PREDICTIONS_NAME
from ..report.choice import BASELINE, Choice, is_candidate
from ..report.findings.outcome import Finding, head_name
from ..report.study import LEADERBOARD_NAME, SETTINGS, Row, Study
from .citation import FileLine

"""Cell `split` of rows on another set than that of the training images."""


@dataclass(frozen=True)
class Facts:
    """A study with the row that its report is about.

    Attributes:
        study: the study.
        choice: the row.
        findings: what the report found.
    """

    study: Study
    choice: Choice
    findings: Sequence[Finding]

    @cached_property
    def row(self) -> FileLine:
        """The chosen row of the leaderboard."""
        return row_line(self.choice.row)

    @cached_property
    def predictions_file(self) -> str:
        """Path of the predictions of the chosen row."""
        return f"runs/{self.choice.row['run_id']}/{PREDICTIONS_NAME}"

    @cached_property
    def same_head(self) -> list[Row]:
        """Rows of the chosen row's head, layer and pooling, the chosen one first."""
        chosen = self.choice.row
        beside = [
            row
            for row in filter(is_candidate, self.study.rows)
            if head_name(row) == head_name(chosen)
            and row["pooling"] == chosen["pooling"]
            and row is not chosen
        ]
        return [chosen, *beside]

    @cached_property
    def same_images(self) -> list[Row]:
        """Rows that were tested on the images of the chosen row, without controls."""
        chosen = self.choice.row
        names = ("test_id", "test_set", "split")
        return [
            row
            for row in self.study.rows
            if all(row[name] == chosen[name] for name in names) and not is_control(row)
        ]

    @cached_property
    def baseline(self) -> Row | None:
        """The row of the commonest class on the same images."""
        return next((row for row in self.same_images if row["head"] == BASELINE), None)

    @cached_property
    def settings(self) -> FileLine:
        """The settings of the study that are text or lists of it, numbers, or true and false."""
        cells = {}
        # The file comes from a folder of a stranger: it may hold anything.
        with suppress(tomllib.TOMLDecodeError, RecursionError):
            for name, value in tomllib.loads(self.study.settings).items():
                texts = isinstance(value, list) and all(isinstance(text, str) for text in value)
                if texts or isinstance(value, bool | int | str):
                    cells[name] = value if isinstance(value, str) else json.dumps(value)
        return FileLine(SETTINGS, {}, cells)


def row_line(row: Row) -> FileLine:
    """Return a row of the leaderboard with the cells that find it."""
    # Rows of schema 1 have no test_id.
    names = ("run_id", "test_id") if row["test_id"] else ("run_id", "test_set", "split")
    return FileLine(LEADERBOARD_NAME, {name: row[name] for name in names}, row)


def json_cell(cell: str) -> object:
    """Return what a cell of JSON holds; None for another text."""
    # The cell comes from a file: it may hold anything.
    with suppress(ValueError, RecursionError):
        return json.loads(cell)
    return None


def class_names(row: Row) -> list[str]:
    """Return the classes of a row; none if the cell is damaged."""
    value = json_cell(row["classes"])
    return [name for name in value if isinstance(name, str)] if isinstance(value, list) else []
