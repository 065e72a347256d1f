"""Who is best on each test set of a leaderboard, and who cannot be told from the best."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...data.output.terminal import number
from ...errors import FreezeframeError
from ..runs.prediction_file import NAME, read_predictions
from ..scores.clean import enough, metric_of, plain_metric
from ..scores.evaluation import Evaluation
from ..scores.roc_area import ALPHA


@dataclass(frozen=True)
class Place:
    """A row of the leaderboard among those of its test set.

    Attributes:
        row: by column.
        rank: 1 for the best; rows that are alike share one. None, where the metric is not defined.
        p: of the paired test against the best row, adjusted after Holm; NaN if there was none, or
            none that counts.
        standing: "best"; "equal", if the test cannot tell it from the best; "worse"; or "untested".
    """

    row: Mapping[str, str]
    rank: int | None
    p: float
    standing: Literal["best", "equal", "worse", "untested"]


class RunFolders:
    """Predictions of runs by their names, each file read once.

    Attributes:
        problems: what was wrong with files that are there.
    """

    def __init__(self, runs: str | os.PathLike[str]) -> None:
        self.runs = Path(runs)
        self.problems: list[str] = []
        self._read: dict[str, dict[str, Evaluation]] = {}

    def folder(self, run_id: str) -> Path:
        """Where a run is kept; its name is one of a folder, whatever the leaderboard says."""
        if not run_id or Path(run_id).name != run_id or run_id == "..":
            raise FreezeframeError(f"{run_id!r} is no name of a run's folder")
        return self.runs / run_id

    def evaluation(self, run_id: str, test_id: str) -> Evaluation | None:
        """What a run said of a test set; None where its file is missing or broken."""
        if run_id not in self._read:
            self._read[run_id] = {}
            try:
                folder = self.folder(run_id)
                if (folder / NAME).exists():
                    self._read[run_id] = read_predictions(folder)
            except (FreezeframeError, OSError) as error:
                self.problems.append(str(error))
        return self._read[run_id].get(test_id)


def rank_rows(
    rows: Sequence[Mapping[str, str]], metric: str, folders: RunFolders
) -> list[list[Place]]:
    """Rows of each test set, best first; the largest test set first, of those of one size the one used last.

    Rows are of one test set if they were tested on the very same images. Of schema 1 that is not
    known: there they have the same test set, split, size and seed.

    Args:
        rows: of a leaderboard.
        metric: one of `METRIC_NAMES` or `CLEAN_NAMES`.
        folders: where the predictions are, for the tests against the best.
    """
    sets: dict[tuple[str, ...], list[Mapping[str, str]]] = {}
    for row in rows:
        test_id = row["test_id"]
        key = (
            (test_id,)
            if test_id
            else ("", row["test_set"], row["split"], row["n_test"], row["seed"])
        )
        sets.setdefault(key, []).append(row)
    order = sorted(sets.values(), key=lambda found: max(row["time"] for row in found), reverse=True)
    order.sort(key=lambda found: int(found[0]["n_test"] or 0), reverse=True)
    return [_rank(found, metric, folders) for found in order]


def _rank(rows: Sequence[Mapping[str, str]], metric: str, folders: RunFolders) -> list[Place]:
    sign = -metric_of(metric).sign
    defined = [row for row in rows if number(row[metric]) == number(row[metric])]
    defined.sort(
        key=lambda row: sign * number(row[metric])
    )  # stable: of equal ones the first stays first
    if not defined:
        return [Place(row, None, float("nan"), "untested") for row in rows]
    values = [number(row[metric]) for row in defined]
    ranks = [values.index(value) + 1 for value in values]
    best, *others = defined
    places = [Place(best, 1, float("nan"), "best")]
    for row, rank, p in zip(
        others, ranks[1:], _against(best, others, metric, folders), strict=True
    ):
        places.append(
            Place(row, rank, p, "untested" if p != p else "equal" if p > ALPHA else "worse")
        )
    undefined = [row for row in rows if number(row[metric]) != number(row[metric])]
    return places + [Place(row, None, float("nan"), "untested") for row in undefined]


def _against(
    best: Mapping[str, str], others: Sequence[Mapping[str, str]], metric: str, folders: RunFolders
) -> list[float]:
    """Adjusted p-values of paired tests of one row against others; NaN where predictions are missing.

    The best was chosen by the very images that test it, which makes the p-values somewhat too
    small.

    Clean scores are each of a run's own clean images, but the test is on those that are clean for
    both. If there the other one is better, and not by chance, nothing says that it is worse: NaN,
    too.
    """
    from ..scores.paired_tests import holm

    found, better = [float("nan")] * len(others), [False] * len(others)
    first = (
        folders.evaluation(best["run_id"], best["test_id"]) if best["test_id"] and others else None
    )
    if first is None:
        return found
    for place, row in enumerate(others):
        second = folders.evaluation(row["run_id"], row["test_id"])
        if second is not None:
            try:
                found[place], better[place] = _tested(first, second, metric)
            except FreezeframeError as error:
                folders.problems.append(str(error))
    adjusted: list[float] = holm(found).tolist()
    return [
        float("nan") if turned and p <= ALPHA else p
        for p, turned in zip(adjusted, better, strict=True)
    ]


def _tested(first: Evaluation, second: Evaluation, metric: str) -> tuple[float, bool]:
    """The p-value of a difference, and whether the second is better on the images that were compared.

    A clean metric is compared on the images that have a relative in neither run's training; NaN if
    those are too few.
    """
    from ..scores.paired_tests import compare

    one, other = first.predictions, second.like(first)
    if metric != plain_metric(metric):
        clean = first.clean & second.clean[second.rows_like(first)]
        if not enough(one, clean):
            return float("nan"), False
        one, other = one.take(clean), other.take(clean)
    found = compare(one, other, plain_metric(metric))
    sign = -metric_of(metric).sign
    return found.p, sign * found.difference > 0
