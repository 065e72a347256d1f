"""The bootstrap of groups, and intervals computed from its resamples."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .confusion import Confusion, mean_defined
from .metrics import METRIC_TABLE
from .predictions import Floats, Predictions, group_numbers
from .roc_area import ALPHA, UNDEFINED, Interval, kish

N_RESAMPLES = 2000
N_BLOCKS = 200
CHUNK = 500_000
"""Weights that are held at a time: few enough to stay in a processor's cache."""

Measure = Callable[[Floats], dict[str, Floats]]
"""Called with weights of the rows, of shape (n, n_rows); returns arrays of length n."""


def bootstrap(
    measure: Measure, groups: NDArray[np.intp], seed: int, n_resamples: int = N_RESAMPLES
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Measure the metrics on resamples of the groups, and on all rows without each block of groups.

    Args:
        measure: computes the metrics of weighted rows.
        groups: group number of each row, of shape (n_rows,).
        seed: seed of the resamples and of the blocks.
        n_resamples: number of resamples.

    Returns:
        Values by name on each resample, of shape (n_resamples,), and without each block, of shape
        (n_blocks,). There are as many blocks as groups, up to `N_BLOCKS`.
    """
    rng = np.random.default_rng(seed)
    numbers = group_numbers(groups)
    n_groups = int(numbers.max()) + 1
    # Resamples are measured in chunks, so that memory does not grow with their number.
    step = max(1, CHUNK // len(groups))

    def draw(n: int) -> Floats:
        """Draw n resamples: weights of shape (n, n_rows), equal within a group."""
        # Each resample has numbers of its own, so that one bincount counts them all.
        drawn = rng.integers(0, n_groups, (n, n_groups)) + n_groups * np.arange(n)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=n * n_groups).reshape(n, n_groups)
        return counts[:, numbers].astype(np.float64)

    resampled = [
        measure(draw(min(step, n_resamples - start))) for start in range(0, n_resamples, step)
    ]
    n_blocks = min(n_groups, N_BLOCKS)
    # Groups may be sorted by class: blocks are drawn, so that none is of one class only.
    block = (rng.permutation(n_groups) % n_blocks)[numbers]
    without_block = resampled
    if n_blocks > 1:
        ranges = [
            np.arange(start, min(start + step, n_blocks)) for start in range(0, n_blocks, step)
        ]
        without_block = [
            measure((block != blocks[:, None]).astype(np.float64)) for blocks in ranges
        ]
    return _join(resampled), _join(without_block)


def _join(chunks: list[dict[str, Floats]]) -> dict[str, Floats]:
    """Concatenate the values of several chunks by name."""
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def tail(n_groups: int) -> float:
    """Return the share of resamples below a two-sided interval (Hesterberg 2015).

    It is less than 2.5 % for few groups, which widens the interval.

    References:
        Hesterberg (2015): What teachers should know about the bootstrap. American Statistician 69,
        371-386.
    """
    from scipy.special import ndtr, stdtrit

    return float(ndtr(np.sqrt(n_groups / (n_groups - 1)) * stdtrit(n_groups - 1, ALPHA / 2)))


def bca_interval(value: float, resampled: Floats, left_out: Floats, n_groups: int) -> Interval:
    """Compute Efron's (1987) bias-corrected and accelerated interval; `tail` widens it.

    Args:
        value: of all rows.
        resampled: of each resample; NaN where it is not defined.
        left_out: without each block of groups.
        n_groups: number of groups, at least 2.
    """
    from scipy.special import ndtr, ndtri

    drawn = resampled[~np.isnan(resampled)]
    jackknife = left_out[~np.isnan(left_out)]
    if np.isnan(value) or not drawn.size:
        return UNDEFINED
    # The skewness of the jackknife values is the acceleration.
    deviations = jackknife.mean() - jackknife if jackknife.size else np.zeros(1)
    spread = (deviations**2).sum()
    acceleration = (deviations**3).sum() / (6 * spread**1.5) if spread > 0 else 0.0
    # Resamples that equal the value count half, and never all of them count as below or above.
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
    """Compute the bootstrap-t interval of a mean loss.

    Losses are skewed: where their mean is high, its standard error is high, too.

    Args:
        value: the mean loss.
        error: its standard error.
        resampled: the mean loss of each resample.
        errors: the standard error of each resample.
        n_groups: number of groups, at least 2.
        floor: least standard error of a resample, as a share of `error`. It matters for a head that
            is sure and right in all rows but one. Without it, the few resamples that miss this one
            bad loss would decide the upper end by chance.

    References:
        Efron and Tibshirani (1993): An Introduction to the Bootstrap, chapter 12. Chapman and Hall.
    """
    if not error > 0:
        return value, value
    share = tail(n_groups)
    distances = (resampled - value) / np.maximum(errors, floor * error)
    low, high = np.quantile(distances, [share, 1 - share])
    return float(max(0, value - high * error)), float(value - low * error)


def logit_interval(value: float, resampled: Floats, n_groups: int) -> Interval:
    """Compute the interval of average precision, with Student's t on the logit scale.

    Its centre is the median of the resamples' logits, its scale their middle two thirds. Average
    precision is biased upward and skewed, more than `bca_interval` corrects in small samples. On
    the logit scale it is neither (Boyd et al. 2013).

    Args:
        value: of all rows.
        resampled: of each resample; NaN where it is not defined.
        n_groups: number of groups, at least 2.

    References:
        Boyd, Eng and Page (2013): Area under the precision-recall curve: point estimates and
        confidence intervals. ECML PKDD, 451-466.
    """
    from scipy.special import expit, logit, stdtrit

    inside = resampled[(resampled > 0) & (resampled < 1)]
    if np.isnan(value) or not 0 < value < 1 or not inside.size:
        return value, value
    # The logit of a perfect resample is infinite: it counts as the best of the rest.
    drawn = np.clip(resampled[~np.isnan(resampled)], inside.min(), inside.max())
    # These quantiles are one standard deviation from the middle of a normal distribution.
    lower, middle, upper = np.quantile(logit(drawn), [0.1587, 0.5, 0.8413])
    half = (
        stdtrit(n_groups - 1, 1 - ALPHA / 2)
        * np.sqrt(n_groups / (n_groups - 1))
        * (upper - lower)
        / 2
    )
    low, high = expit(2 * logit(value) - middle + np.array([-half, half]))
    return float(low), float(high)


def calibration_interval(gaps: Floats, noise: Floats, n_groups: int) -> Interval:
    """Compute the interval of the expected calibration error.

    Chance errors of the bins bias this error upward, by half of it and more. The function therefore
    looks for true errors between 0 and about the measured one. It supposes that the true gaps of
    the bins are the measured gaps times a factor. Measured errors then scatter like those of the
    supposed gaps plus the bootstrap's deviations. The interval contains the factors for which the
    measured error is not extreme. Its lower end is 0 unless the head is clearly miscalibrated. The
    measured error may be its upper end.

    Args:
        gaps: share of right rows minus confidence, times the bin's share of the rows, of shape
            (n_repeats, ECE_BINS).
        noise: deviations of resamples from it, of shape (n_resamples, n_repeats, ECE_BINS).
        n_groups: number of groups, at least 2.
    """
    error = np.abs(gaps).sum() / len(gaps)
    share = tail(n_groups)
    largest = np.abs(noise).sum(axis=(1, 2)).max() / max(np.abs(gaps).sum(), 1e-300)

    def factor(quantile: float) -> float:
        """Find the factor whose errors have the measured one as this quantile, by bisection."""
        low = 0.0
        high = 1.0 + float(largest)
        for _ in range(25):
            middle = (low + high) / 2
            errors = np.abs(middle * gaps + noise).sum(axis=(1, 2)) / len(gaps)
            if np.quantile(errors, quantile) >= error:
                high = middle
            else:
                low = middle
        return low

    return float(error * factor(1 - share)), float(min(1, error * factor(share)))


def unseen_errors(predictions: Predictions, seed: int, n_resamples: int) -> dict[str, Floats]:
    """Draw scores that a head may have on unseen images although all test rows are right.

    The share of errors in each class has Jeffreys' posterior after as many right rows as the class
    has independent groups (`kish`). In the ranking, a positive of that weight is at a random place
    among the negatives. A negative is at a random place among the positives.

    Returns:
        Metrics of the family "classes", and average precision; each of shape (n_resamples,).
    """
    rng = np.random.default_rng(seed)
    y = predictions.y
    n_classes = predictions.n_classes
    counts = np.bincount(y, minlength=n_classes)
    present = np.flatnonzero(counts)
    # Errors go to other classes that have rows; without such a class, to any class.
    targets = present if len(present) > 1 else np.arange(n_classes)
    matrices = np.zeros((n_resamples, n_classes, n_classes))
    error = np.zeros((n_resamples, n_classes))
    for number in present:
        error[:, number] = rng.beta(0.5, kish(predictions.groups[y == number]) + 0.5, n_resamples)
        # Wrong rows are divided evenly among the other classes.
        wrong = error[:, number] * counts[number] / (len(targets) - 1)
        matrices[:, number, targets] = wrong[:, None]
        matrices[:, number, number] = (1 - error[:, number]) * counts[number]
    # Without a class to rank, average precision is not defined.
    areas = [np.full(n_resamples, np.nan)]
    for number in np.intersect1d(predictions.ranked_classes, present):
        hits = counts[number]
        misses = len(y) - hits
        # Rows of the other classes that may be ranked among the hits.
        strays = np.where(np.arange(n_classes) == number, 0, error * counts).sum(axis=1)
        late = error[:, number] * hits
        above, below = rng.random((2, n_resamples))
        before = hits - late
        area = before - strays * np.log((before + strays) / (above * before + strays))
        areas.append((area + late * hits / (hits + strays + below * misses)) / hits)
    confusion = Confusion.of(matrices, predictions.positive)
    scores = {
        name: metric.formula(confusion)
        for name, metric in METRIC_TABLE.items()
        if metric.family == "classes"
    }
    return scores | {"average_precision": mean_defined(np.stack(areas, axis=1))}
