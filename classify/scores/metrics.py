"""Scores of predicted probabilities against true classes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .predictions import Predictions

Floats = NDArray[np.float64]


OF_CLASSES = (
    "accuracy",
    "balanced_accuracy",
    "sensitivity",
    "specificity",
    "ppv",
    "npv",
    "f1",
    "mcc",
)
"""Metrics of the predicted classes: functions of the confusion matrix."""

OF_RANKS = ("roc_auc", "average_precision")
"""Metrics of the order that the probabilities of a class put the rows in."""

OF_PROBABILITIES = ("log_loss", "brier", "ece")
"""Metrics of the probabilities themselves."""

NAMES = OF_CLASSES + OF_RANKS + OF_PROBABILITIES

METRICS: tuple[str, ...] = tuple(
    column for name in NAMES for column in (name, f"{name}_low", f"{name}_high")
)
"""Columns of the leaderboard: each metric and the ends of its 95 % interval."""

LOWER_IS_BETTER = frozenset(OF_PROBABILITIES)

ECE_BINS = 15


def point_values(predictions: Predictions, names: Collection[str] = NAMES) -> dict[str, float]:
    """The metrics without their intervals; NaN where one is not defined."""
    weights = np.ones((1, len(predictions.y)))
    return {
        name: float(values[0])
        for name, values in WeightedMetrics(predictions, names)(weights).items()
    }


def columns_of(name: str) -> tuple[str, str, str]:
    return name, f"{name}_low", f"{name}_high"


class WeightedMetrics:
    """The metrics of given predictions as functions of the rows' weights: all resamples of a bootstrap at once.

    Args:
        predictions: with n_rows rows.
        names: of the metrics that are wanted.

    Examples:
        >>> predictions = Predictions.of(np.array([0, 1]), np.array([[0.9, 0.1], [0.8, 0.2]]))
        >>> WeightedMetrics(predictions, ["accuracy"])(np.array([[1.0, 1.0], [2.0, 0.0]]))
        {'accuracy': array([0.5, 1. ])}
    """

    def __init__(self, predictions: Predictions, names: Collection[str] = NAMES) -> None:
        self.names = [name for name in NAMES if name in names]
        self.positive = predictions.positive
        self.repeats = [
            _Repeat.of(predictions, repeat, self.names)
            for repeat in range(predictions.proba.shape[0])
        ]

    def __call__(self, weights: Floats) -> dict[str, Floats]:
        """Each metric for each row of `weights`.

        Args:
            weights: how often each row counts, float64 of shape (n_resamples, n_rows), with a
                positive sum.

        Returns:
            For each name an array of shape (n_resamples,), the mean over the repeats in which it is
            defined.
        """
        by_repeat = [self._of_repeat(repeat, weights) for repeat in self.repeats]
        return {
            name: mean_defined(np.stack([found[name] for found in by_repeat], axis=1))
            for name in self.names
        }

    def gaps(self, weights: Floats) -> Floats:
        """Share of right rows minus confidence in each bin of confidence, times the bin's share of the rows.

        Returns:
            Of shape (n_resamples, n_repeats, ECE_BINS). "ece" must be among the names.
        """
        gaps = [repeat.gaps for repeat in self.repeats if repeat.gaps is not None]
        found: Floats = (
            np.stack([weights @ gap for gap in gaps], axis=1) / weights.sum(axis=1)[:, None, None]
        )
        return found

    def _of_repeat(self, repeat: _Repeat, weights: Floats) -> dict[str, Floats]:
        found: dict[str, Floats] = {}
        total = weights.sum(axis=1)
        if repeat.cells is not None:
            n_classes = int(np.sqrt(repeat.cells.shape[1]))
            found |= of_confusion(
                (weights @ repeat.cells).reshape(-1, n_classes, n_classes), self.positive
            )
        if repeat.curves:
            both = [curve.areas(weights) for curve in repeat.curves]
            for number, name in enumerate(OF_RANKS):
                found[name] = mean_defined(np.stack([areas[number] for areas in both], axis=1))
        for name, loss in repeat.losses.items():
            found[name] = weights @ loss / total
        if repeat.gaps is not None:
            found["ece"] = np.abs(weights @ repeat.gaps).sum(axis=1) / total
        return found


@dataclass(frozen=True)
class _Repeat:
    """What the metrics of one repeat need of each row.

    Attributes:
        cells: which cell of the confusion matrix a row falls into, one-hot, of shape (n_rows,
            n_classes ** 2).
        curves: of the positive class, or of each class.
        losses: by metric, of shape (n_rows,).
        gaps: right (0 or 1) minus confidence, in the column of the row's bin, of shape (n_rows,
            ECE_BINS).
    """

    cells: Floats | None
    curves: list[_Curve]
    losses: dict[str, Floats]
    gaps: Floats | None

    @classmethod
    def of(cls, predictions: Predictions, repeat: int, names: Collection[str]) -> _Repeat:
        y, proba, n_classes = predictions.y, predictions.proba[repeat], predictions.n_classes
        cells = None
        if not set(OF_CLASSES).isdisjoint(names):
            cells = one_hot(y * n_classes + predictions.predicted[repeat], n_classes**2)
        curves = []
        if not set(OF_RANKS).isdisjoint(names):
            curves = [
                _Curve.of(y == number, proba[:, number]) for number in ranked_classes(predictions)
            ]
        losses = {name: LOSSES[name](y, proba) for name in names if name in LOSSES}
        gaps = None
        if "ece" in names:
            likeliest, confidence = proba.argmax(axis=1), proba.max(axis=1)
            # Guo's bins hold their upper end.
            bins = np.clip(np.ceil(confidence * ECE_BINS).astype(np.intp) - 1, 0, ECE_BINS - 1)
            gaps = one_hot(bins, ECE_BINS) * ((likeliest == y) - confidence)[:, None]
        return cls(cells, curves, losses, gaps)


@dataclass(frozen=True)
class _Curve:
    """The order that a score puts the rows in, for the areas under the ROC and the precision-recall curve.

    Attributes:
        order: the rows, highest score first, of shape (n_rows,).
        hits: whether each row, in this order, is of the class, float64 of shape (n_rows,).
        starts: the first place of each run of equal scores, of shape (n_scores,).
    """

    order: NDArray[np.intp]
    hits: Floats
    starts: NDArray[np.intp]

    @classmethod
    def of(cls, positives: NDArray[np.bool_], scores: Floats) -> _Curve:
        order = np.argsort(-scores, kind="stable")
        falls = np.append(True, np.diff(scores[order]) != 0)
        return cls(order, positives[order].astype(np.float64), np.flatnonzero(falls))

    def areas(self, weights: Floats) -> tuple[Floats, Floats]:
        """The area under the ROC curve, and average precision, each of shape (n_resamples,)."""
        called = weights[:, self.order]
        hits = called * self.hits
        if len(self.starts) < len(self.order):
            called, hits = (
                np.add.reduceat(values, self.starts, axis=1) for values in (called, hits)
            )
        hits_so_far, called_so_far = np.cumsum(hits, axis=1), np.cumsum(called, axis=1)
        n_hits, n_called = hits_so_far[:, -1].copy(), called_so_far[:, -1]
        # A pair of a hit and a row of lower score counts 1, of the same score 1/2; pairs of two
        # hits are taken out.
        pairs = (
            np.einsum("ij,ij->i", called, hits_so_far)
            - np.einsum("ij,ij->i", called, hits) / 2
            - n_hits**2 / 2
        )
        precision = np.divide(hits_so_far, called_so_far, out=hits_so_far, where=called_so_far > 0)
        average = ratio(np.einsum("ij,ij->i", hits, precision), n_hits)
        return ratio(pairs, n_hits * (n_called - n_hits)), average


def of_confusion(confusion: Floats, positive: int | None) -> dict[str, Floats]:
    """`OF_CLASSES` from confusion matrices of shape (n_matrices, n_classes true, n_classes predicted)."""
    hits = np.diagonal(confusion, axis1=1, axis2=2)
    actual, called, total = confusion.sum(axis=2), confusion.sum(axis=1), confusion.sum(axis=(1, 2))
    every = total[:, None]
    rejected = every - actual - called + hits
    recall = ratio(hits, actual)
    by_class = {
        "sensitivity": recall,
        "specificity": ratio(rejected, every - actual),
        "ppv": ratio(hits, called),
        "npv": ratio(rejected, every - called),
        "f1": ratio(2 * hits, actual + called),
    }
    chosen = {
        name: mean_defined(values) if positive is None else values[:, positive]
        for name, values in by_class.items()
    }
    spread = total**2 - (called**2).sum(axis=1)
    agreement = hits.sum(axis=1) * total - (actual * called).sum(axis=1)
    truth = total**2 - (actual**2).sum(axis=1)
    both = np.maximum(
        spread * truth, 0
    )  # where weights are no whole numbers, rounding may leave less than 0
    return {
        "accuracy": hits.sum(axis=1) / total,
        "balanced_accuracy": mean_defined(recall),
        **chosen,
        "mcc": np.where(truth > 0, ratio(agreement, np.sqrt(both), 0), np.nan),
    }


def ranked_classes(predictions: Predictions) -> list[int]:
    """Those whose curves are averaged: the positive one, or all."""
    return (
        list(range(predictions.n_classes))
        if predictions.positive is None
        else [predictions.positive]
    )


def log_losses(y: NDArray[np.intp], proba: Floats) -> Floats:
    """Minus the logarithm of the true class's probability, of shape (n_rows,)."""
    tiny = np.finfo(np.float64).eps
    losses: Floats = -np.log(np.clip(proba[np.arange(len(y)), y], tiny, 1 - tiny))
    return losses


def squared_errors(y: NDArray[np.intp], proba: Floats) -> Floats:
    """Squared distance of the probabilities from the truth; of two classes, of one of them. Of shape (n_rows,)."""
    squares: Floats = (proba - one_hot(y, proba.shape[1])) ** 2
    return squares[:, 1] if proba.shape[1] == 2 else squares.sum(axis=1)


LOSSES = {"log_loss": log_losses, "brier": squared_errors}


def one_hot(numbers: NDArray[np.intp], n: int) -> Floats:
    """A 1 in the column of each row's number, of shape (n_rows, n)."""
    found = np.zeros((len(numbers), n))
    found[np.arange(len(numbers)), numbers] = 1
    return found


def ratio(part: Floats, whole: Floats, undefined: float = np.nan) -> Floats:
    """part / whole, and `undefined` where the whole is 0."""
    part, whole = np.broadcast_arrays(part, whole)
    found = np.full(part.shape, undefined, dtype=np.float64)
    np.divide(part, whole, out=found, where=whole > 0)
    return found


def mean_defined(values: Floats) -> Floats:
    """Mean along the last axis over what is not NaN."""
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0).sum(axis=-1), defined.sum(axis=-1).astype(np.float64))
