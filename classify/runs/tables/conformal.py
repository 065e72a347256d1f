"""Files of prediction sets: how often a head cannot say, and how often its sets are right.

`conformal.csv` in a run's folder has one line for each test set. Shares are those of a random image
of a random group: each group has the same weight, as in the calibration. Images with a relative in
training are left out, and those that a fold judged whose head has too few groups for a threshold:
it withholds no answer. Each share has a 95 % interval, Wilson's for as many observations as groups:
it is too wide, if anything, where images of a group differ. Its columns:

    test_id, test_set, split   the test set, as in the leaderboard
    error_rate                 share of images whose set may lack their class, as promised
    threshold                  least probability of a class in a set; empty if nothing is promised
    n_calibration              groups that the threshold was chosen by
    calibrated_on              `out of fold` or `held out`, see `Conformal`
    n_test, n_test_groups      test images that count here, and their groups
    coverage                   share whose class is in the set; `_low`, `_high` are the interval;
                               empty, as the shares below, if no image counts
    cannot_say                 share without an answer, likewise
    wrong                      share with a wrong answer, likewise; it is not above 1 - coverage

With cross-validation, each fold has a threshold of its own; that of the kept head is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ....data.output.csv import csv_line
from ....data.output.terminal import percent
from ...heads.conformal import Conformal
from ...scores.intervals import wilson
from ...scores.predictions import group_numbers
from ..part_result import PartResult

CONFORMAL_NAME = "conformal.csv"
SET_SHARES = ("coverage", "cannot_say", "wrong")
SHARE_COLUMNS = tuple(f"{name}{end}" for name in SET_SHARES for end in ("", "_low", "_high"))
CONFORMAL_COLUMNS = (
    *("test_id", "test_set", "split", "error_rate", "threshold", "n_calibration"),
    *("calibrated_on", "n_test", "n_test_groups", *SHARE_COLUMNS),
)


@dataclass(frozen=True)
class MeasuredSets:
    """The prediction sets of one test set.

    Attributes:
        conformal: the rule that made them.
        result: the result that they are part of.
        n_images, n_groups: images that count, and their groups.
        shares: each of `SET_SHARES` with the ends of its interval, by name; none without images.
    """

    conformal: Conformal
    result: PartResult
    n_images: int
    n_groups: int
    shares: dict[str, tuple[float, float, float]]

    @property
    def broken(self) -> str:
        """Say that the sets are wrong more often than promised; "" if they may be right."""
        if "coverage" not in self.shares or self.conformal.threshold is None:
            return ""
        coverage, low, high = self.shares["coverage"]
        promised = 1 - self.conformal.error_rate
        if high >= promised:
            return ""
        evaluation = self.result.evaluation
        return (
            f'"cannot say" on {evaluation.test_set}, {evaluation.split}: {percent(coverage)} % '
            f"({percent(low)}-{percent(high)}) of the prediction sets hold the class, and "
            f"{percent(promised)} % are promised: the error rate does not hold for this test set"
        )

    @property
    def cells(self) -> list[str]:
        """Cells of its line in the file."""
        of = self.result.evaluation
        rule = self.conformal
        threshold = "" if rule.threshold is None else repr(rule.threshold)
        names = [of.test_id, of.test_set, of.split, f"{rule.error_rate:g}", threshold]
        counts = [str(rule.n_groups), rule.source, str(self.n_images), str(self.n_groups)]
        shares = [f"{end:.6f}" for name in SET_SHARES for end in self.shares.get(name, ())]
        return [*names, *counts, *(shares or [""] * len(SHARE_COLUMNS))]


def measure_sets(result: PartResult, conformal: Conformal) -> MeasuredSets:
    """Measure the prediction sets of a result, each group with the same weight."""
    evaluation = result.evaluation
    predictions = evaluation.predictions
    counted = ~evaluation.leaking
    if result.in_sets is not None:
        counted &= ~np.isnan(result.in_sets).any(axis=2).all(axis=0)
    groups = group_numbers(predictions.groups[counted])
    n_groups = len(np.unique(groups))
    n_images = int(counted.sum())
    if result.in_sets is None or conformal.threshold is None or not n_images:
        return MeasuredSets(conformal, result, n_images, n_groups, {})
    # (n_repeats, n_rows, n_classes) -> those that count
    sets = result.in_sets[:, counted]
    y, answers = predictions.y[counted], predictions.predicted[:, counted]
    has_rule = ~np.isnan(sets).any(axis=2)
    in_set = np.take_along_axis(sets, answers[..., None], axis=2)[..., 0]
    answered = (in_set == 1) & (sets.sum(axis=2) == 1)
    # Each of shape (n_repeats, n_rows).
    facts = {
        "coverage": sets[:, np.arange(n_images), y] == 1,
        "cannot_say": ~answered,
        "wrong": answered & (answers != y),
    }
    shares = {}
    for name, fact in facts.items():
        of_image = fact.mean(axis=0, where=has_rule)
        by_group = np.bincount(groups, of_image) / np.bincount(groups)
        share = float(by_group.mean())
        shares[name] = (share, *wilson(share, n_groups))
    return MeasuredSets(conformal, result, n_images, n_groups, shares)


def write_conformal(folder: Path, lines: Sequence[MeasuredSets]) -> None:
    """Write the measured sets into a run's folder; heads without a rule need no file.

    Raises:
        OSError: the file exists, or cannot be written.
    """
    if lines:
        with (folder / CONFORMAL_NAME).open("x", newline="", encoding="utf-8") as file:
            file.writelines(map(csv_line, [CONFORMAL_COLUMNS, *(line.cells for line in lines)]))
