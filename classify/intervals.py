"""95 % intervals of metrics, for rows that may come in groups.

Groups (copies of a picture, images of a patient) are taken for a random sample; rows of one group are not independent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .metrics import (
    LOSSES,
    LOWER_IS_BETTER,
    NAMES,
    Floats,
    WeightedMetrics,
    mean_defined,
    of_confusion,
    point_values,
    ranked_classes,
)
from .predictions import Predictions

ALPHA = 0.05
N_RESAMPLES = 2000
N_BLOCKS = 200
CHUNK = 500_000
"""Weights that are held at a time: few enough to stay in a processor's cache."""

PROPORTIONS = ("sensitivity", "specificity", "ppv", "npv")
UNKNOWN = (float("nan"), float("nan"))

Interval = tuple[float, float]
Measure = Callable[[Floats], dict[str, Floats]]


def intervals(predictions: Predictions, seed: int = 0, n_resamples: int = N_RESAMPLES) -> dict[str, Interval]:
    """The 95 % interval of each metric. The metric itself always lies inside; (NaN, NaN) where it is not defined.

    - Accuracy, and with a positive class sensitivity, specificity, PPV and NPV: Wilson's score interval, for as many
      independent rows as the groups are worth (`effective_size`). With every row its own group it is plain Wilson.
    - The area under the ROC curve: from DeLong's variance, on the logit scale, with Student's t; at 0 and 1, where that
      variance is 0, Newcombe's method 5 (`area_interval`).
    - The expected calibration error: `calibration_interval`.
    - All others: bootstrap of whole groups, one set of resamples for all. Average precision by `logit_interval`, log
      loss and Brier score by bootstrap-t (`studentized_interval`), the rest by the BCa method (`bca_interval`).
      Resamples in which a metric is not defined are left out. A perfect score, which no resample can lower, gets the
      lower end that unseen errors might leave (`unseen_errors`).

    One group alone says nothing of how groups differ: its bootstrapped intervals are (NaN, NaN), its proportions get
    Wilson's interval for a single row, its area Newcombe's for one row of each class. The bootstrap cannot know losses
    that it has not met: a head that is sure and right in every row gets too narrow intervals of its log loss, Brier
    score and calibration error.

    How often they held the truth, per cent of 2,000 simulated test sets each (so +-1), counted as the slow tests count:
    rows, AUC of the head, and whether rows stand alone, in groups of one to five of one class (a patient's images,
    alike), or in groups of mixed classes.

                              acc.  bal. sens. spec.   PPV   NPV    F1   MCC   AUC    AP  loss Brier   ECE
        150, 0.80, alone      95.0  95.6  95.8  94.8  95.2  94.3  95.9  95.4  95.7  94.6  95.5  95.4  95.0
        300, 0.90, alone      95.5  95.0  94.8  95.2  94.8  95.0  94.7  95.2  96.0  95.1  96.0  95.5  94.7
        400, 0.95, alone      95.2  94.5  94.8  95.5  94.7  94.8  95.2  94.5  94.8  95.3  95.5  95.2  95.1
        150, 0.80, patients   94.2  94.0  94.0  94.2  94.0  94.2  95.3  93.9  94.8  94.0  94.5  95.2  95.3
        300, 0.90, patients   94.4  94.4  94.3  94.8  94.6  94.5  94.5  94.5  94.6  94.3  95.2  95.2  94.0
        150, 0.80, mixed      96.2  95.0  94.2  94.1  94.5  95.3  94.5  95.0  95.5  93.3  96.2  96.5  95.5
        200, 0.99, patients   95.5  95.2  96.1  96.7  97.1  96.4  95.9  95.7  92.4  97.2  95.0  97.2  98.3

    A head that is nearly perfect on few groups, the last line, is where they are least to be trusted.

    Args:
        predictions: of at least one row.
        seed: of the bootstrap.
        n_resamples: of the bootstrap.

    References:
        Efron (1987): Better bootstrap confidence intervals. JASA 82, 171-185.

    Examples:
        >>> y = np.repeat([0, 1], 20)
        >>> proba = np.column_stack([1 - y, y]) * 0.8 + 0.1
        >>> found = intervals(Predictions.of(y, proba, positive=1))
        >>> [round(found[name][0], 3) for name in ("accuracy", "sensitivity", "roc_auc")]
        [0.912, 0.839, 0.899]
    """
    values = point_values(predictions)
    found = {"accuracy": proportion_interval(predictions, "accuracy"), "roc_auc": area_interval(predictions)}
    if predictions.positive is not None:
        found |= {name: proportion_interval(predictions, name) for name in PROPORTIONS}
    rest = [name for name in NAMES if name not in found]
    found |= _bootstrapped(predictions, {name: values[name] for name in rest}, seed, n_resamples)
    # Rounding, or a value biased as the calibration error is, may leave the value outside.
    return {name: (_smaller(low, values[name]), -_smaller(-high, -values[name])) for name, (low, high) in found.items()}


def _smaller(end: float, value: float) -> float:
    return end if np.isnan(end) else min(end, value)


def proportion_interval(predictions: Predictions, name: str) -> Interval:
    """Wilson's interval of the accuracy, or of the positive class's sensitivity, specificity, PPV or NPV.

    Several repeats enter as each row's mean over them.
    """
    hits, counted = _hits_and_counted(predictions, name)
    counts = counted.sum(axis=1)
    if not counts.any():
        return UNKNOWN
    hits, counted, counts = hits[counts > 0], counted[counts > 0], counts[counts > 0]
    shares = hits.sum(axis=1) / counts
    share, n = float(shares.mean()), float(counts.mean())
    residuals = ((hits - shares[:, None] * counted) / counts[:, None]).mean(axis=0) * n
    return wilson(share, effective_size(residuals, counted.mean(axis=0), share * (1 - share), predictions.groups))


def _hits_and_counted(predictions: Predictions, name: str) -> tuple[Floats, Floats]:
    """Which rows the proportion counts and which of those are hits, each of shape (n_repeats, n_rows)."""
    truth, called = predictions.y == predictions.positive, predictions.predicted == predictions.positive
    right = predictions.predicted == predictions.y
    counted = {
        "accuracy": np.ones_like(right),
        "sensitivity": np.broadcast_to(truth, right.shape),
        "specificity": np.broadcast_to(~truth, right.shape),
        "ppv": called,
        "npv": ~called,
    }[name]
    # With more than two classes one may be wrong about a row and yet not take it for the positive class.
    hits = right if name == "accuracy" else truth == called
    return (hits & counted).astype(np.float64), counted.astype(np.float64)


def effective_size(residuals: Floats, counted: Floats, variance: float, groups: NDArray[np.intp]) -> float:
    """How many independent rows tell as much of a proportion as these rows do.

    Their number over the design effect, which is the variance between groups over that of as many independent rows,
    and at least 1. Where it cannot be told (no variance, or one group) rows of a group are taken to say all the same
    (Kish 1965). Few groups are allowed for as Korn and Graubard (1998) do. It is the number of rows itself if each is
    a group.

    Args:
        residuals: each row's hit minus the expected hit, of shape (n_rows,); their sum is 0.
        counted: how far each row counts, 0 to 1, of shape (n_rows,).
        variance: of one row.
        groups: of shape (n_rows,).

    References:
        Rao and Scott (1992): A simple method for the analysis of clustered binary data. Biometrics 48, 577-585.
        Korn and Graubard (1998): Confidence intervals for proportions with small expected number of positive counts
        estimated from survey data. Survey Methodology 24, 193-201.

    Examples:
        >>> hits = np.array([1, 1, 1, 0])
        >>> round(effective_size(hits - 0.75, np.ones(4), 0.1875, np.arange(4)), 9)
        4.0
    """
    from scipy.stats import t

    numbers = group_numbers(groups)
    n, sizes = counted.sum(), np.bincount(numbers, counted)
    n_groups = np.count_nonzero(sizes)
    if n_groups < 2:
        return float(n**2 / (sizes**2).sum())
    if variance * n * (n - 1) > 0:
        between = n_groups / (n_groups - 1) * (np.bincount(numbers, residuals) ** 2).sum()
        effect = between / (variance * n * n / (n - 1))
    else:
        effect = (sizes**2).sum() / n
    few = (t.ppf(ALPHA / 2, max(n - 1, 1)) / t.ppf(ALPHA / 2, n_groups - 1)) ** 2
    return float(n / max(1, effect) * min(1, few))


def wilson(share: float, n: float) -> Interval:
    """Wilson's score interval (JASA 22, 209-212, 1927) of a share of n rows; n need not be an integer."""
    from scipy.special import ndtri

    z2 = ndtri(ALPHA / 2) ** 2
    middle, half = share + z2 / (2 * n), np.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n)))
    return float((middle - half) / (1 + z2 / n)), float((middle + half) / (1 + z2 / n))


@dataclass(frozen=True)
class Area:
    """An area under the ROC curve, or the mean of several, and what it owes to each group.

    Attributes:
        value: NaN if it is not defined.
        influences: of shape (n_groups,); the sum of their squares is the variance, the sum of their products with
            those of another head that of the covariance. NaN if a class is found in one group only.
        sizes: for each area that `value` is the mean of: the area, and how many independent rows those of the class,
            and the others, are worth at least.
        freedom: degrees of freedom of the variance.
    """

    value: float
    influences: Floats
    sizes: list[tuple[float, float, float]]
    freedom: int


def area_under_curve(predictions: Predictions) -> Area:
    """The area under the ROC curve with its variance over groups.

    Of rows that are groups of their own it is the variance of DeLong et al. (1988), of others in essence that of
    Obuchowski (1997). Placement values come from midranks (Sun and Xu 2014).

    References:
        DeLong, DeLong and Clarke-Pearson (1988): Comparing the areas under two or more correlated receiver operating
        characteristic curves: a nonparametric approach. Biometrics 44, 837-845.
        Obuchowski (1997): Nonparametric analysis of clustered ROC curve data. Biometrics 53, 567-578.
        Sun and Xu (2014): Fast implementation of DeLong's algorithm. IEEE Signal Processing Letters 21, 1389-1393.

    Examples:
        >>> y, score = np.array([0, 0, 0, 1, 1, 1]), np.array([0.1, 0.2, 0.6, 0.4, 0.7, 0.9])
        >>> area = area_under_curve(Predictions.of(y, np.column_stack([1 - score, score]), positive=1))
        >>> round(area.value, 4), round(float((area.influences**2).sum()), 4)
        (0.8889, 0.0247)
    """
    numbers = group_numbers(predictions.groups)
    present = [c for c in ranked_classes(predictions) if 0 < np.count_nonzero(predictions.y == c) < len(predictions.y)]
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
        sizes.append((values[-1], _kish(numbers[sides[0]]), _kish(numbers[sides[1]])))
    if not present:
        return Area(float("nan"), np.full(numbers.max() + 1, np.nan), [], 0)
    influence = np.bincount(numbers, influence / (len(present) * predictions.proba.shape[0])).astype(np.float64)
    return Area(float(np.mean(values)), influence, sizes, freedom)


def placement_values(positives: NDArray[np.bool_], scores: Floats) -> Floats:
    """For each row the share of the other side's rows that it is on the right side of, a tie counting half."""
    from scipy.stats import rankdata

    ranks, placements = rankdata(scores), np.empty(len(scores))
    for side in (positives, ~positives):
        placements[side] = (ranks[side] - rankdata(scores[side])) / np.count_nonzero(~side)
    return np.where(positives, placements, 1 - placements)


def _kish(numbers: NDArray[np.intp]) -> float:
    """How many independent rows rows of these groups are worth if those of a group say all the same (Kish 1965)."""
    sizes = np.bincount(numbers).astype(np.float64)
    return float(len(numbers) ** 2 / (sizes**2).sum())


def area_interval(predictions: Predictions) -> Interval:
    """Of the area under the ROC curve: on the logit scale, with Student's t of the smaller class's number of groups.

    Where the area is 0 or 1, or all rows of a class are of one group, it is Newcombe's; where all scores are equal it
    is the area itself.
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
        Newcombe (2006): Confidence intervals for an effect size measure based on the Mann-Whitney statistic. Part 2:
        asymptotic methods and evaluation. Statistics in Medicine 25, 559-573.

    Examples:
        >>> low, high = newcombe(1.0, 30, 30)
        >>> round(low, 3), high
        (0.933, 1.0)
    """
    from scipy.optimize import brentq
    from scipy.special import ndtri

    z = -ndtri(ALPHA / 2)

    def excess(true: float) -> float:
        return float(abs(true - area) - z * np.sqrt(hanley_variance(true, n_positives, n_negatives)))

    # At 0 and 1 the variance is 0, too: a root that is not meant.
    low = brentq(excess, 0, min(area, 1 - 1e-12)) if area > 0 else 0.0
    high = brentq(excess, max(area, 1e-12), 1) if area < 1 else 1.0
    return float(low), float(high)


def hanley_variance(area: float, n_positives: float, n_negatives: float) -> float:
    """Hanley and McNeil's variance of a known area, with Newcombe's mean class size in place of both."""
    others = (n_positives + n_negatives) / 2 - 1
    one = area * (1 - area) / (n_positives * n_negatives)
    return float(one * (1 + others * (1 - area) / (2 - area) + others * area / (1 + area)))


def group_numbers(groups: NDArray[np.intp]) -> NDArray[np.intp]:
    """Groups numbered from 0 on without gaps."""
    return np.unique(groups, return_inverse=True)[1].reshape(-1)


def _bootstrapped(
    predictions: Predictions, values: dict[str, float], seed: int, n_resamples: int
) -> dict[str, Interval]:
    """Intervals of the given metrics by one bootstrap of the groups."""
    metrics = WeightedMetrics(predictions, values)
    errors = {
        name: _standard_error(np.mean([repeat.losses[name] for repeat in metrics.repeats], axis=0), predictions.groups)
        for name in LOSSES
    }

    def measure(weights: Floats) -> dict[str, Floats]:
        found = metrics(weights) | {"gaps": metrics.gaps(weights)}
        return found | {f"{name} error": error(weights, found[name]) for name, error in errors.items()}

    resampled, left_out = bootstrap(measure, predictions.groups, seed, n_resamples)
    n_groups = len(np.unique(predictions.groups))
    if n_groups < 2:
        return dict.fromkeys(values, UNKNOWN)
    found = {name: bca_interval(values[name], resampled[name], left_out[name], n_groups) for name in values}
    found["average_precision"] = logit_interval(values["average_precision"], resampled["average_precision"], n_groups)
    everywhere = measure(np.ones((1, len(predictions.y))))
    for name in LOSSES:
        drawn = resampled[name], resampled[f"{name} error"]
        found[name] = studentized_interval(values[name], float(everywhere[f"{name} error"][0]), *drawn, n_groups)
    found["ece"] = calibration_interval(everywhere["gaps"][0], resampled["gaps"] - everywhere["gaps"], n_groups)
    perfect = [name for name in set(found) - LOWER_IS_BETTER if values[name] == 1 and found[name] == (1, 1)]
    if perfect:
        worse = unseen_errors(predictions, seed, n_resamples)
        found |= {name: (float(np.quantile(worse[name], ALPHA / 2)), 1.0) for name in perfect}
    return found


def _standard_error(losses: Floats, groups: NDArray[np.intp]) -> Callable[[Floats, Floats], Floats]:
    """Gives the standard error of the mean loss under weights that are equal within groups."""
    numbers = group_numbers(groups)
    sums, sizes = np.bincount(numbers, losses)[numbers], np.bincount(numbers)[numbers]
    columns = np.column_stack([sums**2 / sizes, sums, sizes])

    def error(weights: Floats, means: Floats) -> Floats:
        squares, products, sizes = (weights @ columns).T
        scatter = np.maximum(squares - 2 * means * products + means**2 * sizes, 0)
        found: Floats = np.sqrt(scatter) / weights.sum(axis=1)
        return found

    return error


def bootstrap(
    measure: Measure, groups: NDArray[np.intp], seed: int, n_resamples: int = N_RESAMPLES
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """What is measured on resamples of the groups, and with each of up to `N_BLOCKS` blocks of groups left out.

    Args:
        measure: takes weights of the rows, of shape (n, n_rows), and gives arrays of length n.
        groups: of shape (n_rows,).
    """
    rng = np.random.default_rng(seed)
    numbers = group_numbers(groups)
    n_groups = int(numbers.max()) + 1
    step = max(1, CHUNK // len(groups))

    def resampled(n: int) -> Floats:
        drawn = rng.integers(0, n_groups, (n, n_groups)) + n_groups * np.arange(n)[:, None]
        return np.bincount(drawn.ravel(), minlength=n * n_groups).reshape(n, n_groups)[:, numbers].astype(np.float64)

    parts = [measure(resampled(min(step, n_resamples - start))) for start in range(0, n_resamples, step)]
    n_blocks = min(n_groups, N_BLOCKS)
    # Groups may be sorted by class: blocks are drawn, so that none is of one class only.
    block = (rng.permutation(n_groups) % n_blocks)[numbers]
    ranges = [np.arange(start, min(start + step, n_blocks)) for start in range(0, n_blocks, step)]
    without = [measure((block != blocks[:, None]).astype(np.float64)) for blocks in ranges] if n_blocks > 1 else parts
    joined = [{name: np.concatenate([part[name] for part in found]) for name in found[0]} for found in (parts, without)]
    return joined[0], joined[1]


def tail(n_groups: int) -> float:
    """Share of resamples below a two-sided interval: less than 2.5 % for few groups (Hesterberg 2015).

    References:
        Hesterberg (2015): What teachers should know about the bootstrap. American Statistician 69, 371-386.
    """
    from scipy.special import ndtr
    from scipy.stats import t

    return float(ndtr(np.sqrt(n_groups / (n_groups - 1)) * t.ppf(ALPHA / 2, n_groups - 1)))


def bca_interval(value: float, resampled: Floats, left_out: Floats, n_groups: int) -> Interval:
    """Efron's (1987) bias-corrected and accelerated interval, widened for few groups by `tail`.

    Args:
        value: of all rows.
        resampled: of each resample; NaN where it is not defined.
        left_out: with each block of groups left out.
        n_groups: at least 2.
    """
    from scipy.special import ndtr, ndtri

    drawn, left = resampled[~np.isnan(resampled)], left_out[~np.isnan(left_out)]
    if np.isnan(value) or not drawn.size:
        return UNKNOWN
    pulls = left.mean() - left if left.size else np.zeros(1)
    spread = (pulls**2).sum()
    acceleration = (pulls**3).sum() / (6 * spread**1.5) if spread > 0 else 0.0
    below = ((drawn < value).mean() + (drawn <= value).mean()) / 2
    bias = ndtri(np.clip(below, 1 / (drawn.size + 1), drawn.size / (drawn.size + 1)))
    ends = bias + ndtri(tail(n_groups)) * np.array([1, -1])
    low, high = np.quantile(drawn, ndtr(bias + ends / np.maximum(1 - acceleration * ends, 1e-9)))
    return float(low), float(high)


def studentized_interval(
    value: float, error: float, resampled: Floats, errors: Floats, n_groups: int, floor: float = 1 / 3
) -> Interval:
    """The bootstrap-t interval of a mean loss: losses are skewed, and their mean goes with its standard error.

    Args:
        value: the mean loss.
        error: its standard error.
        resampled: of each resample.
        errors: of each resample.
        n_groups: at least 2.
        floor: share of `error` that a resample's counts as at least. Without it the few resamples that miss the one
            bad loss of a head that is nearly always right, and sure, would leave the mean's upper end to chance.

    References:
        Efron and Tibshirani (1993): An Introduction to the Bootstrap, chapter 12. Chapman and Hall.
    """
    if not error > 0:
        return value, value
    share = tail(n_groups)
    low, high = np.quantile((resampled - value) / np.maximum(errors, floor * error), [share, 1 - share])
    return float(max(0, value - high * error)), float(value - low * error)


def logit_interval(value: float, resampled: Floats, n_groups: int) -> Interval:
    """Centred and scaled by the median and the middle two thirds of the resamples' logits, with Student's t.

    Average precision is biased upward and skewed, more than `bca_interval` makes up for in small samples; on the logit
    scale it is neither (Boyd et al. 2013). Arguments are those of `bca_interval`.

    References:
        Boyd, Eng and Page (2013): Area under the precision-recall curve: point estimates and confidence intervals.
        ECML PKDD, 451-466.
    """
    from scipy.special import expit, logit
    from scipy.stats import t

    drawn = resampled[(resampled > 0) & (resampled < 1)]
    if np.isnan(value) or not 0 < value < 1 or not drawn.size:
        return value, value
    # Perfect resamples, whose logit is infinite, count as the best of the others.
    drawn = np.clip(resampled[~np.isnan(resampled)], drawn.min(), drawn.max())
    lower, middle, upper = np.quantile(logit(drawn), [0.1587, 0.5, 0.8413])
    half = t.ppf(1 - ALPHA / 2, n_groups - 1) * np.sqrt(n_groups / (n_groups - 1)) * (upper - lower) / 2
    low, high = expit(2 * logit(value) - middle + np.array([-half, half]))
    return float(low), float(high)


def calibration_interval(gaps: Floats, noise: Floats, n_groups: int) -> Interval:
    """Of the expected calibration error, which the bins' chance errors bias upward (by half itself and more).

    The true error is sought on the line from none to what was found: if the true gaps of the bins were the found ones
    times a factor, the error found would scatter as that of those gaps plus the bootstrap's deviations. The interval
    holds the factors for which what was found is not extreme. Its lower end is 0 unless the head is found to be
    miscalibrated; the found error may be its upper end.

    Args:
        gaps: share of right rows minus confidence, times the bin's share of the rows, of shape (n_repeats, ECE_BINS).
        noise: deviations of resamples from it, of shape (n_resamples, n_repeats, ECE_BINS).
    """
    error = np.abs(gaps).sum() / len(gaps)
    share = tail(n_groups)

    def factor(quantile: float) -> float:
        low, high = 0.0, 1.0 + float(np.abs(noise).sum(axis=(1, 2)).max() / max(np.abs(gaps).sum(), 1e-300))
        for _ in range(25):
            middle = (low + high) / 2
            found = np.abs(middle * gaps + noise).sum(axis=(1, 2)) / len(gaps)
            low, high = (low, middle) if np.quantile(found, quantile) >= error else (middle, high)
        return low

    return float(error * factor(1 - share)), float(min(1, error * factor(share)))


def unseen_errors(predictions: Predictions, seed: int, n_resamples: int) -> dict[str, Floats]:
    """What scores could be though all rows are right, and ranked right: draws, of shape (n_resamples,) each.

    The share of errors in each class has Jeffreys' posterior after as many faultless rows as the class has groups
    (`_kish`). In the ranking a positive of that uncertain weight stands at a random place among the negatives, and a
    negative among the positives.
    """
    rng = np.random.default_rng(seed)
    y, n_classes = predictions.y, predictions.n_classes
    counts = np.bincount(y, minlength=n_classes)
    there = np.flatnonzero(counts)
    targets = there if len(there) > 1 else np.arange(n_classes)
    confusion = np.zeros((n_resamples, n_classes, n_classes))
    error = np.zeros((n_resamples, n_classes))
    for number in there:
        error[:, number] = rng.beta(0.5, _kish(predictions.groups[y == number]) + 0.5, n_resamples)
        confusion[:, number, targets] = (error[:, number] * counts[number] / (len(targets) - 1))[:, None]
        confusion[:, number, number] = (1 - error[:, number]) * counts[number]
    areas = [np.full(n_resamples, np.nan)]
    for number in np.intersect1d(ranked_classes(predictions), there):
        hits, misses = counts[number], len(y) - counts[number]
        strays = np.where(np.arange(n_classes) == number, 0, error * counts).sum(axis=1)
        late = error[:, number] * hits
        above, below = rng.random((2, n_resamples))
        before = hits - late
        area = before - strays * np.log((before + strays) / (above * before + strays))
        areas.append((area + late * hits / (hits + strays + below * misses)) / hits)
    return of_confusion(confusion, predictions.positive) | {"average_precision": mean_defined(np.stack(areas, axis=1))}
