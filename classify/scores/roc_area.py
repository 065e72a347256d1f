"""The area under the ROC curve of rows that may come in groups: its variance and its interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .predictions import Floats, Predictions, group_numbers

ALPHA = 0.05
"""Share of the probability outside an interval; two heads differ if p is at most this."""

Interval = tuple[float, float]

UNDEFINED: Interval = (float("nan"), float("nan"))
"""The interval of a metric that is not defined."""


@dataclass(frozen=True)
class Area:
    """An area under the ROC curve, or the mean of several, and what each group contributes to it.

    Attributes:
        value: NaN if it is not defined.
        influences: of shape (n_groups,). The sum of their squares is the variance; the sum of their
            products with those of another head is the covariance. NaN if a class has one group
            only.
        sizes: one triple for each area that `value` is the mean of. It has the area, the least
            number of independent rows that the class is worth, and that of all other rows.
        freedom: degrees of freedom of the variance.
    """

    value: float
    influences: Floats
    sizes: list[tuple[float, float, float]]
    freedom: int


def area_under_curve(predictions: Predictions) -> Area:
    """Compute the area under the ROC curve with its variance over groups.

    If each row is a group of its own, this is the variance of DeLong et al. (1988); otherwise it is
    in essence that of Obuchowski (1997). Placement values come from midranks (Sun and Xu 2014).

    References:
        DeLong, DeLong and Clarke-Pearson (1988): Comparing the areas under two or more correlated
        receiver operating characteristic curves: a nonparametric approach. Biometrics 44, 837-845.
        Obuchowski (1997): Nonparametric analysis of clustered ROC curve data. Biometrics 53,
        567-578.
        Sun and Xu (2014): Fast implementation of DeLong's algorithm. IEEE Signal Processing Letters
        21, 1389-1393.

    Examples:
        >>> y, score = np.array([0, 0, 0, 1, 1, 1]), np.array([0.1, 0.2, 0.6, 0.4, 0.7, 0.9])
        >>> proba = np.column_stack([1 - score, score])
        >>> area = area_under_curve(Predictions.of(y, proba, positive=1))
        >>> round(area.value, 4), round(float((area.influences**2).sum()), 4)
        (0.8889, 0.0247)
    """
    numbers = group_numbers(predictions.groups)
    classes = [
        number
        for number in predictions.ranked_classes
        if 0 < np.count_nonzero(predictions.y == number) < len(predictions.y)
    ]
    if not classes:
        return Area(float("nan"), np.full(numbers.max() + 1, np.nan), [], 0)
    # Each row's share of the deviation, summed up over classes and repeats.
    influence = np.zeros(len(numbers))
    sizes: list[tuple[float, float, float]] = []
    freedom = len(numbers)
    for number in classes:
        sides = [predictions.y == number, predictions.y != number]
        n_groups = [len(np.unique(numbers[side])) for side in sides]
        # The side with the fewest groups limits what is known of the variance.
        freedom = min(freedom, *(n - 1 for n in n_groups))
        areas = []
        for proba in predictions.proba[:, :, number]:
            placements = placement_values(sides[0], proba)
            areas.append(float(placements[sides[0]].mean()))
            for side, n in zip(sides, n_groups, strict=True):
                # The variance between n groups is divided by n - 1.
                scale = np.sqrt(n / (n - 1)) if n > 1 else np.nan
                influence[side] += scale * (placements[side] - areas[-1]) / np.count_nonzero(side)
        sizes.append((float(np.mean(areas)), kish(numbers[sides[0]]), kish(numbers[sides[1]])))
    n_areas = len(classes) * predictions.proba.shape[0]
    # Rows of a group are not independent: their influences add up before they are squared.
    by_group = np.bincount(numbers, influence / n_areas).astype(np.float64)
    value = float(np.mean([area for area, _, _ in sizes]))
    return Area(value, by_group, sizes, freedom)


def placement_values(positives: NDArray[np.bool_], scores: Floats) -> Floats:
    """Return the share of the other side's rows that each row is ranked correctly against.

    A positive should have the higher score. A tie counts half.

    Args:
        positives: True on one side, False on the other, of shape (n_rows,).
        scores: of shape (n_rows,).
    """
    from scipy.stats import rankdata

    # The rank among all rows minus the rank on the own side counts the other side's lower rows.
    ranks = rankdata(scores)
    placements = np.empty(len(scores))
    for side in (positives, ~positives):
        placements[side] = (ranks[side] - rankdata(scores[side])) / np.count_nonzero(~side)
    return np.where(positives, placements, 1 - placements)


def kish(numbers: NDArray[np.intp]) -> float:
    """Return the number of independent rows that these groups are worth (Kish 1965).

    The formula supposes that all rows of a group carry the same information.
    """
    sizes = np.bincount(numbers).astype(np.float64)
    return float(len(numbers) ** 2 / (sizes**2).sum())


def area_interval(predictions: Predictions) -> Interval:
    """Compute the interval of the area under the ROC curve.

    It is computed on the logit scale, with Student's t of the smaller class's number of groups.
    Where the area is 0 or 1, or all rows of a class are of one group, it is Newcombe's. Where all
    scores are equal, it is the area itself.
    """
    from scipy.special import expit, logit, stdtrit

    area = area_under_curve(predictions)
    if np.isnan(area.value):
        return UNDEFINED
    error = float(np.sqrt((area.influences**2).sum()))
    if area.value in (0, 1) or np.isnan(error):
        low, high = np.mean([newcombe(*size) for size in area.sizes], axis=0)
        return float(low), float(high)
    # On the logit scale the interval cannot leave (0, 1). Its slope is 1 / (area (1 - area)).
    half = stdtrit(area.freedom, 1 - ALPHA / 2) * error / (area.value * (1 - area.value))
    return float(expit(logit(area.value) - half)), float(expit(logit(area.value) + half))


def newcombe(area: float, n_positives: float, n_negatives: float) -> Interval:
    """Compute the interval by method 5 of Newcombe (2006).

    The interval contains each true area from which the measured area is not too far away.

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
        """Return the distance of the measured area from a true one, minus the allowed distance."""
        half = z * np.sqrt(hanley_variance(true, n_positives, n_negatives))
        return float(abs(true - area) - half)

    # At 0 and 1 the variance is 0, too. That root is not the end of the interval.
    low = brentq(excess, 0, min(area, 1 - 1e-12)) if area > 0 else 0.0
    high = brentq(excess, max(area, 1e-12), 1) if area < 1 else 1.0
    return float(low), float(high)


def hanley_variance(area: float, n_positives: float, n_negatives: float) -> float:
    """Compute Hanley and McNeil's variance of a true area.

    Newcombe's mean class size takes the place of both class sizes.
    """
    mean_size = (n_positives + n_negatives) / 2 - 1
    single = area * (1 - area) / (n_positives * n_negatives)
    return float(single * (1 + mean_size * (1 - area) / (2 - area) + mean_size * area / (1 + area)))
