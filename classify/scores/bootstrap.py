"""The bootstrap of groups, and the intervals that are made of its resamples."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .metrics import Floats, mean_defined, of_confusion, ranked_classes
from .predictions import Predictions, group_numbers
from .roc_area import ALPHA, UNKNOWN, Interval, kish

N_RESAMPLES = 2000
N_BLOCKS = 200
CHUNK = 500_000
"""Weights that are held at a time: few enough to stay in a processor's cache."""

Measure = Callable[[Floats], dict[str, Floats]]


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
        return (
            np.bincount(drawn.ravel(), minlength=n * n_groups)
            .reshape(n, n_groups)[:, numbers]
            .astype(np.float64)
        )

    parts = [
        measure(resampled(min(step, n_resamples - start))) for start in range(0, n_resamples, step)
    ]
    n_blocks = min(n_groups, N_BLOCKS)
    # Groups may be sorted by class: blocks are drawn, so that none is of one class only.
    block = (rng.permutation(n_groups) % n_blocks)[numbers]
    ranges = [np.arange(start, min(start + step, n_blocks)) for start in range(0, n_blocks, step)]
    without = (
        [measure((block != blocks[:, None]).astype(np.float64)) for blocks in ranges]
        if n_blocks > 1
        else parts
    )
    joined = [
        {name: np.concatenate([part[name] for part in found]) for name in found[0]}
        for found in (parts, without)
    ]
    return joined[0], joined[1]


def tail(n_groups: int) -> float:
    """Share of resamples below a two-sided interval: less than 2.5 % for few groups (Hesterberg 2015).

    References:
        Hesterberg (2015): What teachers should know about the bootstrap. American Statistician 69,
        371-386.
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
    value: float,
    error: float,
    resampled: Floats,
    errors: Floats,
    n_groups: int,
    floor: float = 1 / 3,
) -> Interval:
    """The bootstrap-t interval of a mean loss: losses are skewed, and their mean goes with its standard error.

    Args:
        value: the mean loss.
        error: its standard error.
        resampled: of each resample.
        errors: of each resample.
        n_groups: at least 2.
        floor: share of `error` that a resample's counts as at least. Without it the few resamples
            that miss the one bad loss of a head that is nearly always right, and sure, would leave
            the mean's upper end to chance.

    References:
        Efron and Tibshirani (1993): An Introduction to the Bootstrap, chapter 12. Chapman and Hall.
    """
    if not error > 0:
        return value, value
    share = tail(n_groups)
    low, high = np.quantile(
        (resampled - value) / np.maximum(errors, floor * error), [share, 1 - share]
    )
    return float(max(0, value - high * error)), float(value - low * error)


def logit_interval(value: float, resampled: Floats, n_groups: int) -> Interval:
    """Centred and scaled by the median and the middle two thirds of the resamples' logits, with Student's t.

    Average precision is biased upward and skewed, more than `bca_interval` makes up for in small
    samples; on the logit scale it is neither (Boyd et al. 2013). Arguments are those of
    `bca_interval`.

    References:
        Boyd, Eng and Page (2013): Area under the precision-recall curve: point estimates and
        confidence intervals. ECML PKDD, 451-466.
    """
    from scipy.special import expit, logit
    from scipy.stats import t

    drawn = resampled[(resampled > 0) & (resampled < 1)]
    if np.isnan(value) or not 0 < value < 1 or not drawn.size:
        return value, value
    # Perfect resamples, whose logit is infinite, count as the best of the others.
    drawn = np.clip(resampled[~np.isnan(resampled)], drawn.min(), drawn.max())
    lower, middle, upper = np.quantile(logit(drawn), [0.1587, 0.5, 0.8413])
    half = (
        t.ppf(1 - ALPHA / 2, n_groups - 1)
        * np.sqrt(n_groups / (n_groups - 1))
        * (upper - lower)
        / 2
    )
    low, high = expit(2 * logit(value) - middle + np.array([-half, half]))
    return float(low), float(high)


def calibration_interval(gaps: Floats, noise: Floats, n_groups: int) -> Interval:
    """Of the expected calibration error, which the bins' chance errors bias upward (by half itself and more).

    The true error is sought on the line from none to what was found: if the true gaps of the bins
    were the found ones times a factor, the error found would scatter as that of those gaps plus the
    bootstrap's deviations. The interval holds the factors for which what was found is not extreme.
    Its lower end is 0 unless the head is found to be miscalibrated; the found error may be its
    upper end.

    Args:
        gaps: share of right rows minus confidence, times the bin's share of the rows, of shape
            (n_repeats, ECE_BINS).
        noise: deviations of resamples from it, of shape (n_resamples, n_repeats, ECE_BINS).
    """
    error = np.abs(gaps).sum() / len(gaps)
    share = tail(n_groups)

    def factor(quantile: float) -> float:
        low, high = (
            0.0,
            1.0 + float(np.abs(noise).sum(axis=(1, 2)).max() / max(np.abs(gaps).sum(), 1e-300)),
        )
        for _ in range(25):
            middle = (low + high) / 2
            found = np.abs(middle * gaps + noise).sum(axis=(1, 2)) / len(gaps)
            low, high = (low, middle) if np.quantile(found, quantile) >= error else (middle, high)
        return low

    return float(error * factor(1 - share)), float(min(1, error * factor(share)))


def unseen_errors(predictions: Predictions, seed: int, n_resamples: int) -> dict[str, Floats]:
    """What scores could be though all rows are right, and ranked right: draws, of shape (n_resamples,) each.

    The share of errors in each class has Jeffreys' posterior after as many faultless rows as the
    class has groups (`kish`). In the ranking a positive of that uncertain weight stands at a random
    place among the negatives, and a negative among the positives.
    """
    rng = np.random.default_rng(seed)
    y, n_classes = predictions.y, predictions.n_classes
    counts = np.bincount(y, minlength=n_classes)
    there = np.flatnonzero(counts)
    targets = there if len(there) > 1 else np.arange(n_classes)
    confusion = np.zeros((n_resamples, n_classes, n_classes))
    error = np.zeros((n_resamples, n_classes))
    for number in there:
        error[:, number] = rng.beta(0.5, kish(predictions.groups[y == number]) + 0.5, n_resamples)
        confusion[:, number, targets] = (error[:, number] * counts[number] / (len(targets) - 1))[
            :, None
        ]
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
    return of_confusion(confusion, predictions.positive) | {
        "average_precision": mean_defined(np.stack(areas, axis=1))
    }
