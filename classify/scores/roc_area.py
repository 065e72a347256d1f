"""The area under the ROC curve of rows that may come in groups: its variance and its interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .metrics import Floats, ranked_classes
from .predictions import Predictions, group_numbers

ALPHA = 0.05
"""Intervals leave out what is as improbable as this; p-values below it tell two heads apart."""

UNKNOWN = (float("nan"), float("nan"))

Interval = tuple[float, float]


@dataclass(frozen=True)
class Area:
    """An area under the ROC curve, or the mean of several, and what it owes to each group.

    Attributes:
        value: NaN if it is not defined.
        influences: of shape (n_groups,); the sum of their squares is the variance, the sum of their
            products with those of another head that of the covariance. NaN if a class is found in
            one group only.
        sizes: for each area that `value` is the mean of: the area, and how many independent rows
            those of the class, and the others, are worth at least.
        freedom: degrees of freedom of the variance.
    """

    value: float
    influences: Floats
    sizes: list[tuple[float, float, float]]
    freedom: int


def area_under_curve(predictions: Predictions) -> Area:
    """The area under the ROC curve with its variance over groups.

    Of rows that are groups of their own it is the variance of DeLong et al. (1988), of others in
    essence that of
    Obuchowski (1997). Placement values come from midranks (Sun and Xu 2014).

    References:
        DeLong, DeLong and Clarke-Pearson (1988): Comparing the areas under two or more correlated
        receiver operating characteristic curves: a nonparametric approach. Biometrics 44, 837-845.
        Obuchowski (1997): Nonparametric analysis of clustered ROC curve data. Biometrics 53,
        567-578.
        Sun and Xu (2014): Fast implementation of DeLong's algorithm. IEEE Signal Processing Letters
        21, 1389-1393.

    Examples:
        >>> y, score = np.array([0, 0, 0, 1, 1, 1]), np.array([0.1, 0.2, 0.6, 0.4, 0.7, 0.9])
        >>> area = area_under_curve(Predictions.of(y, np.column_stack([1 - score, score]), positive=1))
        >>> round(area.value, 4), round(float((area.influences**2).sum()), 4)
        (0.8889, 0.0247)
    """
    numbers = group_numbers(predictions.groups)
    present = [
        c
        for c in ranked_classes(predictions)
        if 0 < np.count_nonzero(predictions.y == c) < len(predictions.y)
    ]
    influence, values, sizes, freedom = np.zeros(len(numbers)), [], [], len(numbers)
    for number in present:
        sides = [predictions.y == number, predictions.y != number]
        n_groups = [len(np.unique(numbers[side])) for side in sides]
        freedom = min(freedom, *(n - 1 for n in n_groups))
        areas = []
        for proba in predictions.proba[:, :, number]:
            placements = placement_values(sides[0], proba)
            areas.append(float(placements[sides[0]].mean()))
            for side, n in zip(sides, n_groups, strict=True):
                scale = np.sqrt(n / (n - 1)) if n > 1 else np.nan
                influence[side] += scale * (placements[side] - areas[-1]) / np.count_nonzero(side)
        values.append(float(np.mean(areas)))
        sizes.append((values[-1], kish(numbers[sides[0]]), kish(numbers[sides[1]])))
    if not present:
        return Area(float("nan"), np.full(numbers.max() + 1, np.nan), [], 0)
    influence = np.bincount(
        numbers, influence / (len(present) * predictions.proba.shape[0])
    ).astype(np.float64)
    return Area(float(np.mean(values)), influence, sizes, freedom)


def placement_values(positives: NDArray[np.bool_], scores: Floats) -> Floats:
    """For each row the share of the other side's rows that it is on the right side of, a tie counting half."""
    from scipy.stats import rankdata

    ranks, placements = rankdata(scores), np.empty(len(scores))
    for side in (positives, ~positives):
        placements[side] = (ranks[side] - rankdata(scores[side])) / np.count_nonzero(~side)
    return np.where(positives, placements, 1 - placements)


def kish(numbers: NDArray[np.intp]) -> float:
    """How many independent rows rows of these groups are worth if those of a group say all the same (Kish 1965)."""
    sizes = np.bincount(numbers).astype(np.float64)
    return float(len(numbers) ** 2 / (sizes**2).sum())


def area_interval(predictions: Predictions) -> Interval:
    """Of the area under the ROC curve: on the logit scale, with Student's t of the smaller class's number of groups.

    Where the area is 0 or 1, or all rows of a class are of one group, it is Newcombe's; where all
    scores are equal it is the area itself.
    """
    from scipy.special import expit, logit
    from scipy.stats import t

    area = area_under_curve(predictions)
    if np.isnan(area.value):
        return UNKNOWN
    error = float(np.sqrt((area.influences**2).sum()))
    if area.value in (0, 1) or np.isnan(error):
        low, high = np.mean([newcombe(*size) for size in area.sizes], axis=0)
        return float(low), float(high)
    half = t.ppf(1 - ALPHA / 2, area.freedom) * error / (area.value * (1 - area.value))
    return float(expit(logit(area.value) - half)), float(expit(logit(area.value) + half))


def newcombe(area: float, n_positives: float, n_negatives: float) -> Interval:
    """Method 5 of Newcombe (2006): those true areas from which the found one is not too far away.

    References:
        Newcombe (2006): Confidence intervals for an effect size measure based on the Mann-Whitney
        statistic. Part 2: asymptotic methods and evaluation. Statistics in Medicine 25, 559-573.

    Examples:
        >>> low, high = newcombe(1.0, 30, 30)
        >>> round(low, 3), high
        (0.933, 1.0)
    """
    from scipy.optimize import brentq
    from scipy.special import ndtri

    z = -ndtri(ALPHA / 2)

    def excess(true: float) -> float:
        return float(
            abs(true - area) - z * np.sqrt(hanley_variance(true, n_positives, n_negatives))
        )

    # At 0 and 1 the variance is 0, too: a root that is not meant.
    low = brentq(excess, 0, min(area, 1 - 1e-12)) if area > 0 else 0.0
    high = brentq(excess, max(area, 1e-12), 1) if area < 1 else 1.0
    return float(low), float(high)


def hanley_variance(area: float, n_positives: float, n_negatives: float) -> float:
    """Hanley and McNeil's variance of a known area, with Newcombe's mean class size in place of both."""
    others = (n_positives + n_negatives) / 2 - 1
    one = area * (1 - area) / (n_positives * n_negatives)
    return float(one * (1 + others * (1 - area) / (2 - area) + others * area / (1 + area)))
