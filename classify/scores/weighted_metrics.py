"""Metrics as functions of the rows' weights: all resamples of a bootstrap at once."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from .confusion import Confusion, mean_defined, one_hot
from .metrics import METRIC_NAMES, METRIC_TABLE
from .predictions import Floats, Predictions
from .ranking_curve import RankingCurve

ECE_BINS = 15
"""Bins of equal width that the confidence is divided into."""


def point_values(
    predictions: Predictions, names: Collection[str] = METRIC_NAMES
) -> dict[str, float]:
    """Compute metrics without their intervals; NaN where one is not defined."""
    # All rows with weight 1 are the one resample that equals the test set.
    weights = np.ones((1, len(predictions.y)))
    return {
        name: float(values[0])
        for name, values in WeightedMetrics(predictions, names)(weights).items()
    }


class WeightedMetrics:
    """The metrics of some predictions as functions of the rows' weights.

    Args:
        predictions: with n_rows rows.
        names: of the metrics to compute.

    Examples:
        >>> predictions = Predictions.of(np.array([0, 1]), np.array([[0.9, 0.1], [0.8, 0.2]]))
        >>> WeightedMetrics(predictions, ["accuracy"])(np.array([[1.0, 1.0], [2.0, 0.0]]))
        {'accuracy': array([0.5, 1. ])}
    """

    def __init__(self, predictions: Predictions, names: Collection[str] = METRIC_NAMES) -> None:
        self.names = [name for name in METRIC_NAMES if name in names]
        self.positive = predictions.positive
        self.repeats = [
            _Repeat.of(predictions, repeat, self.names)
            for repeat in range(predictions.proba.shape[0])
        ]

    def __call__(self, weights: Floats) -> dict[str, Floats]:
        """Compute each metric for each row of `weights`.

        Args:
            weights: how often each row counts, float64 of shape (n_resamples, n_rows), with a
                positive sum.

        Returns:
            For each name an array of shape (n_resamples,), the mean over the repeats in which it is
            defined.
        """
        # Scored one by one: repeats are no further test images, so they must not be pooled.
        by_repeat = [self._values(repeat, weights) for repeat in self.repeats]
        return {
            name: mean_defined(np.stack([values[name] for values in by_repeat], axis=1))
            for name in self.names
        }

    def gaps(self, weights: Floats) -> Floats:
        """Compute the gap of each bin: (share of right rows - confidence) * share of all rows.

        Returns:
            Gaps of shape (n_resamples, n_repeats, ECE_BINS). A metric of the family "calibration"
            must be among the names.
        """
        gaps = [repeat.gaps for repeat in self.repeats if repeat.gaps is not None]
        sums: Floats = np.stack([weights @ gap for gap in gaps], axis=1)
        gaps_of_all: Floats = sums / weights.sum(axis=1)[:, None, None]
        return gaps_of_all

    def _values(self, repeat: _Repeat, weights: Floats) -> dict[str, Floats]:
        """Compute each metric in one repeat; each value is an array of shape (n_resamples,)."""
        total = weights.sum(axis=1)
        # Several metrics of a family share one input, which is computed once.
        confusion = sweeps = gaps = None
        if repeat.cells is not None:
            n_classes = int(np.sqrt(repeat.cells.shape[1]))
            matrices = (weights @ repeat.cells).reshape(-1, n_classes, n_classes)
            confusion = Confusion.of(matrices, self.positive)
        if repeat.curves:
            sweeps = [curve.sweep(weights) for curve in repeat.curves]
        if repeat.gaps is not None:
            gaps = weights @ repeat.gaps
        values: dict[str, Floats] = {}
        for name in self.names:
            metric = METRIC_TABLE[name]
            if metric.family == "classes":
                values[name] = metric.formula(confusion)
            elif metric.family == "ranks":
                areas = [metric.formula(sweep) for sweep in sweeps or ()]
                values[name] = mean_defined(np.stack(areas, axis=1))
            elif metric.family == "losses":
                values[name] = weights @ repeat.losses[name] / total
            else:
                values[name] = metric.formula(gaps) / total
        return values


@dataclass(frozen=True)
class _Repeat:
    """The rows of one repeat, prepared for its metrics.

    Attributes:
        cells: cell of the confusion matrix of each row, one-hot, of shape (n_rows, n_classes ** 2);
            None if no metric needs it.
        curves: curves of the positive class, or of each class; empty if no metric needs them.
        losses: losses of the rows by metric, each of shape (n_rows,).
        gaps: right (0 or 1) minus confidence, in the column of the row's bin, of shape (n_rows,
            ECE_BINS); None if no metric needs them.
    """

    cells: Floats | None
    curves: list[RankingCurve]
    losses: dict[str, Floats]
    gaps: Floats | None

    @classmethod
    def of(cls, predictions: Predictions, repeat: int, names: Collection[str]) -> _Repeat:
        """Prepare one repeat for the metrics of these names."""
        y = predictions.y
        proba = predictions.proba[repeat]
        families = {METRIC_TABLE[name].family for name in names}
        cells = gaps = None
        curves: list[RankingCurve] = []
        if "classes" in families:
            n_classes = predictions.n_classes
            # One matrix product with the weights then counts the cells of all resamples.
            cells = one_hot(y * n_classes + predictions.predicted[repeat], n_classes**2)
        if "ranks" in families:
            curves = [
                RankingCurve.of(y == number, proba[:, number])
                for number in predictions.ranked_classes
            ]
        losses = {
            name: METRIC_TABLE[name].formula(y, proba)
            for name in names
            if METRIC_TABLE[name].family == "losses"
        }
        if "calibration" in families:
            confidence = proba.max(axis=1)
            # In Guo's definition, a bin contains its upper end.
            bins = np.clip(np.ceil(confidence * ECE_BINS).astype(np.intp) - 1, 0, ECE_BINS - 1)
            gaps = one_hot(bins, ECE_BINS) * ((proba.argmax(axis=1) == y) - confidence)[:, None]
        return cls(cells, curves, losses, gaps)
