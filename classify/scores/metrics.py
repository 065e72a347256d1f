"""ONE table of metrics: a new metric is one row of `METRIC_TABLE` and one formula above it.

Headings, orders, units, intervals and the leaderboard's columns follow from the table. New columns
need the next number in `runs/schema.py`, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .confusion import Confusion, mean_defined, one_hot, ratio
from .predictions import Floats
from .ranking_curve import Sweep

# Formulas of the predicted classes: from a `Confusion` to an array of shape (n_matrices,).


def accuracy(confusion: Confusion) -> Floats:
    """Compute the share of right rows."""
    # A row without weight in a resample does not count, so the total may differ between resamples.
    shares: Floats = confusion.hits.sum(axis=1) / confusion.total
    return shares


def balanced_accuracy(confusion: Confusion) -> Floats:
    """Compute the mean share of right rows of each class that has rows."""
    return mean_defined(ratio(confusion.hits, confusion.actual))


def sensitivity(confusion: Confusion) -> Floats:
    """Compute the share of a class's rows that are predicted as it."""
    return confusion.choose(ratio(confusion.hits, confusion.actual))


def specificity(confusion: Confusion) -> Floats:
    """Compute the share of the other classes' rows that are not predicted as a class."""
    actual_others = confusion.everything - confusion.actual
    return confusion.choose(ratio(confusion.rejected, actual_others))


def ppv(confusion: Confusion) -> Floats:
    """Compute the share of the rows predicted as a class that are of it."""
    return confusion.choose(ratio(confusion.hits, confusion.called))


def npv(confusion: Confusion) -> Floats:
    """Compute the share of the rows not predicted as a class that are not of it."""
    called_others = confusion.everything - confusion.called
    return confusion.choose(ratio(confusion.rejected, called_others))


def f1(confusion: Confusion) -> Floats:
    """Compute the harmonic mean of sensitivity and positive predictive value."""
    return confusion.choose(ratio(2 * confusion.hits, confusion.actual + confusion.called))


def mcc(confusion: Confusion) -> Floats:
    """Compute Matthews' correlation, for several classes Gorodkin's."""
    total = confusion.total
    spread = total**2 - (confusion.called**2).sum(axis=1)
    agreement = confusion.hits.sum(axis=1) * total - (confusion.actual * confusion.called).sum(
        axis=1
    )
    truth = total**2 - (confusion.actual**2).sum(axis=1)
    # Where weights are not whole numbers, rounding may leave a little less than 0.
    product = np.maximum(spread * truth, 0)
    return np.where(truth > 0, ratio(agreement, np.sqrt(product), 0), np.nan)


# Formulas of the ranking: from a class's `Sweep` to an array of shape (n_resamples,).


def roc_auc(sweep: Sweep) -> Floats:
    """Compute the area under the ROC curve: how often a row of the class has the higher score."""
    # A pair of a hit and a row of lower score counts 1, of the same score 1/2. Pairs of two hits
    # are taken out.
    pairs = (
        np.einsum("ij,ij->i", sweep.called, sweep.hits_so_far)
        - np.einsum("ij,ij->i", sweep.called, sweep.hits) / 2
        - sweep.n_hits**2 / 2
    )
    return ratio(pairs, sweep.n_hits * (sweep.n_called - sweep.n_hits))


def average_precision(sweep: Sweep) -> Floats:
    """Compute the mean precision at the rows of the class."""
    # Before the first row with weight nothing is called, and nothing is a hit.
    precision = ratio(sweep.hits_so_far, sweep.called_so_far, 0)
    return ratio(np.einsum("ij,ij->i", sweep.hits, precision), sweep.n_hits)


# Losses: from true classes of shape (n_rows,) and probabilities of shape (n_rows, n_classes) to a
# loss of each row, of shape (n_rows,). The metric is their mean.


def log_losses(y: NDArray[np.intp], proba: Floats) -> Floats:
    """Compute minus the logarithm of the true class's probability."""
    # A probability of 0 would make the mean infinite, whatever the other rows are.
    tiny = np.finfo(np.float64).eps
    losses: Floats = -np.log(np.clip(proba[np.arange(len(y)), y], tiny, 1 - tiny))
    return losses


def squared_errors(y: NDArray[np.intp], proba: Floats) -> Floats:
    """Compute squared distances from the truth; of two classes, those of one of them."""
    squares: Floats = (proba - one_hot(y, proba.shape[1])) ** 2
    # With two classes both squares are equal: one is enough.
    return squares[:, 1] if proba.shape[1] == 2 else squares.sum(axis=1)


# Calibration: from gaps of shape (n_resamples, n_bins) to an array of shape (n_resamples,).


def sum_of_gaps(gaps: Floats) -> Floats:
    """Add up the absolute gaps of all bins."""
    sums: Floats = np.abs(gaps).sum(axis=1)
    return sums


@dataclass(frozen=True)
class Metric:
    """One metric: its names, its formula, its interval, and its place in tables.

    Attributes:
        name: its column in the leaderboard.
        heading: its name at the head of a table's column, and in a sentence.
        family: input of its formula. "classes": the confusion matrix of the predicted classes.
            "ranks": the order of the rows by the probability of a class. "losses": true classes and
            probabilities of each row. "calibration": gaps between confidence and the share of right
            rows.
        formula: see the comments above the formulas of each family.
        interval: kind of its 95 % interval, see `intervals.intervals`. "wilson" is "bca" where a
            proportion is averaged over the classes.
        counted: rows that a proportion counts, for "wilson": "all"; those "of the class" or "of the
            rest"; those "called" or "rejected", that is, predicted as the class or not.
        unit: "share", shown in per cent, or "number".
        better: "higher" or "lower".
        negative: True if it can be below 0.
        of_class: True if, with two classes, its value depends on which one is positive. The area
            under the ROC curve is one of these: where a head is sure, 1 - p rounds to 1, and images
            tie for one class that do not tie for the other.
        place: place of its column in a table that is sorted by another metric; 0: none.
        keep: priority of the column where room is short: the least number is dropped first.
    """

    name: str
    heading: str
    family: Literal["classes", "ranks", "losses", "calibration"]
    formula: Callable[..., Floats]
    interval: Literal["wilson", "delong", "bca", "logit", "bootstrap-t", "calibration"] = "bca"
    counted: Literal["all", "of the class", "of the rest", "called", "rejected"] = "all"
    unit: Literal["share", "number"] = "share"
    better: Literal["higher", "lower"] = "higher"
    negative: bool = False
    of_class: bool = False
    place: int = 0
    keep: int = 0

    @property
    def sign(self) -> int:
        """1 if higher values are better, else -1."""
        return 1 if self.better == "higher" else -1


_ROWS = (
    Metric("accuracy", "accuracy", "classes", accuracy, "wilson", place=1, keep=9),
    Metric("balanced_accuracy", "bal. acc.", "classes", balanced_accuracy),
    Metric(
        *("sensitivity", "sens.", "classes", sensitivity, "wilson", "of the class"),
        of_class=True,
        place=3,
        keep=7,
    ),
    Metric(
        *("specificity", "spec.", "classes", specificity, "wilson", "of the rest"),
        of_class=True,
        place=4,
        keep=6,
    ),
    Metric("ppv", "PPV", "classes", ppv, "wilson", "called", of_class=True),
    Metric("npv", "NPV", "classes", npv, "wilson", "rejected", of_class=True),
    Metric("f1", "F1", "classes", f1, of_class=True),
    Metric("mcc", "MCC", "classes", mcc, unit="number", negative=True),
    Metric("roc_auc", "AUC", "ranks", roc_auc, "delong", of_class=True, place=2, keep=8),
    Metric(
        "average_precision",
        "AP",
        "ranks",
        average_precision,
        "logit",
        of_class=True,
        place=5,
        keep=3,
    ),
    Metric(
        *("log_loss", "log loss", "losses", log_losses, "bootstrap-t"),
        unit="number",
        better="lower",
    ),
    Metric(
        *("brier", "Brier", "losses", squared_errors, "bootstrap-t"),
        unit="number",
        better="lower",
        place=6,
        keep=4,
    ),
    Metric(
        *("ece", "ECE", "calibration", sum_of_gaps, "calibration"),
        unit="number",
        better="lower",
        place=7,
        keep=2,
    ),
)
METRIC_TABLE = {metric.name: metric for metric in _ROWS}
"""Every metric by its name, in the order of the leaderboard's columns."""

METRIC_NAMES = tuple(METRIC_TABLE)

SHOWN_METRICS = tuple(
    sorted((metric for metric in _ROWS if metric.place), key=lambda metric: metric.place)
)
"""Metrics that have a column in a table that is sorted by another metric, in the table's order."""


def columns_of(name: str) -> tuple[str, str, str]:
    """Return the leaderboard's columns of a metric: itself and the ends of its 95 % interval."""
    return name, f"{name}_low", f"{name}_high"


METRIC_COLUMNS = tuple(column for name in METRIC_NAMES for column in columns_of(name))
"""Columns of the leaderboard: each metric and the ends of its 95 % interval."""
