"""The row that a report is about: chosen by a rule that does not look at scores."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ....data.output.terminal import number
from ....errors import ParameterError
from ...board.choices import is_control
from ...scores.grades import grade_rank
from .study import Row, Study

DEFAULT_HEAD = "logreg"
"""The head that `fit-classifier` fits where no other is named."""

BASELINE = "majority"

IMAGE_CONTROLS = ("image-size", "image-border")
"""Heads that see something else than the content of an image."""


@dataclass(frozen=True)
class Choice:
    """The row that the first sentence of a report is about.

    Attributes:
        row: the row.
        reason: how it was chosen, in a sentence.
    """

    row: Row
    reason: str


def is_candidate(row: Row) -> bool:
    """Return True for a row that is neither a control nor the baseline."""
    return row["head"] not in (BASELINE, *IMAGE_CONTROLS) and not is_control(row)


def is_external(row: Row) -> bool:
    """Return True for a row that another image set tests."""
    return row["split"] == "external"


def is_random_split(row: Row) -> bool:
    """Return True for a row whose test images were held out whatever their relatives are."""
    return row["split"].startswith("random")


def is_by_folds(row: Row) -> bool:
    """Return True for a row of a cross-validation."""
    return "-fold" in row["split"]


def choose_row(study: Study, run: str | None = None) -> Choice:
    """Choose the row that the report is about.

    The run that is named; else the default head on the deepest layer, whatever its scores; else
    the row with the best accuracy. Of the rows of one head, the one of the best grade counts, then
    that of the largest test set, then the latest.

    Args:
        study: the study.
        run: a run id, or its beginning; None for the rule.

    Raises:
        ParameterError: no run begins so, or several do, or no row has a score.
    """
    scored = [row for row in study.rows if number(row["accuracy"]) >= 0]
    if run is not None:
        return Choice(_first(_rows_of(scored, run)), "chosen by --run")
    candidates = [row for row in scored if is_candidate(row)] or scored
    if not candidates:
        raise ParameterError(f"{study.folder}: no run has an accuracy; fit a head first")
    of_default = [row for row in candidates if row["head"] == DEFAULT_HEAD]
    if of_default:
        deepest = max((row["layer"] for row in of_default), key=_depth)
        rows = [row for row in of_default if row["layer"] == deepest]
        return Choice(
            _first(rows),
            f"{DEFAULT_HEAD} is the default head and {deepest} the deepest layer: no score took "
            "part in this choice; --run RUN chooses another",
        )
    best = max(candidates, key=lambda row: number(row["accuracy"]))
    return Choice(
        best,
        f"best accuracy of {len(candidates)} rows, so the images that test it also chose it, and "
        f"the number is too high by some amount; --run RUN, or a run of {DEFAULT_HEAD}, avoids "
        "this",
    )


def _rows_of(rows: Sequence[Row], run: str) -> list[Row]:
    """Return the rows of the run whose id is, or begins with, a text."""
    matching = sorted({row["run_id"] for row in rows if row["run_id"].startswith(run)})
    matching = [run] if run in matching else matching
    if len(matching) != 1 or not run:
        problem = f"begins {len(matching)} run ids" if matching else "is no run of the leaderboard"
        raise ParameterError(f"--run {run}: {problem}; give a run id of leaderboard.csv")
    return [row for row in rows if row["run_id"] == matching[0]]


def _first(rows: Sequence[Row]) -> Row:
    """Return the row of the best grade, then of the largest test set, then the latest."""
    latest_first = sorted(rows, key=lambda row: row["time"], reverse=True)
    # The sort is stable.
    return min(latest_first, key=lambda row: (grade_rank(row), -int(row["n_test"] or 0)))


def _depth(layer: str) -> tuple[tuple[int, int, str], ...]:
    """Return a key that sorts names of layers as a reader does: block10 comes after block2.

    Examples:
        >>> max(["block5_pool", "block10_pool", "block3_pool"], key=_depth)
        'block10_pool'
    """
    parts = re.findall(r"\d{1,9}|\D+", layer)
    return tuple((1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts)
