"""95 % intervals of metrics, for rows that may come in groups.

Groups (copies of a picture, images of a patient) are taken for a random sample; rows of one group
are not independent.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .bootstrap import (
    N_RESAMPLES,
    bca_interval,
    bootstrap,
    calibration_interval,
    logit_interval,
    studentized_interval,
    unseen_errors,
)
from .metrics import LOSSES, LOWER_IS_BETTER, NAMES, Floats, WeightedMetrics, point_values
from .predictions import Predictions, group_numbers
from .roc_area import ALPHA, UNKNOWN, Interval, area_interval

PROPORTIONS = ("sensitivity", "specificity", "ppv", "npv")


def intervals(
    predictions: Predictions, seed: int = 0, n_resamples: int = N_RESAMPLES
) -> dict[str, Interval]:
    """The 95 % interval of each metric. The metric itself always lies inside; (NaN, NaN) where it is not defined.

    - Accuracy, and with a positive class sensitivity, specificity, PPV and NPV: Wilson's score
      interval, for as many independent rows as the groups are worth (`effective_size`). With every
      row its own group it is plain Wilson.
    - The area under the ROC curve: from DeLong's variance, on the logit scale, with Student's t; at
      0 and 1, where that variance is 0, Newcombe's method 5 (`area_interval`).
    - The expected calibration error: `calibration_interval`.
    - All others: bootstrap of whole groups, one set of resamples for all. Average precision by
      `logit_interval`, log loss and Brier score by bootstrap-t (`studentized_interval`), the rest
      by the BCa method (`bca_interval`). Resamples in which a metric is not defined are left out. A
      perfect score, which no resample can lower, gets the lower end that unseen errors might leave
      (`unseen_errors`).

    One group alone says nothing of how groups differ: its bootstrapped intervals are (NaN, NaN),
    its proportions get Wilson's interval for a single row, its area Newcombe's for one row of each
    class. The bootstrap cannot know losses that it has not met: a head that is sure and right in
    every row gets too narrow intervals of its log loss, Brier score and calibration error.

    How often they held the truth, per cent of 2,000 simulated test sets each (so +-1), as the slow
    tests print it: rows, AUC of the head, and whether rows stand alone, in groups of one to five of
    one class (a patient's images, alike), or in groups of mixed classes.

                              acc.  bal. sens. spec.   PPV   NPV    F1   MCC   AUC    AP  loss Brier   ECE
        150, 0.80, alone      95.0  95.6  95.8  94.8  95.2  94.3  95.8  95.4  95.7  94.6  95.5  95.4  95.0
        300, 0.90, alone      95.5  95.0  94.8  95.2  94.8  95.0  94.7  95.2  96.0  95.1  96.0  95.5  94.7
        400, 0.95, alone      95.2  94.5  94.8  95.5  94.7  94.8  95.2  94.5  94.8  95.3  95.5  95.2  95.1
        150, 0.80, patients   94.2  94.0  94.0  94.2  94.0  94.2  95.3  93.9  94.8  94.0  94.5  95.2  95.3
        300, 0.90, patients   94.4  94.4  94.3  94.8  94.6  94.5  94.5  94.5  94.6  94.3  95.2  95.2  94.0
        400, 0.95, patients   94.5  94.7  94.8  94.6  94.2  94.1  94.7  95.2  94.3  94.7  94.8  95.6  94.7
        300, 0.90, mixed      94.8  95.0  94.7  94.8  95.3  94.5  95.2  95.1  95.2  94.8  95.2  95.2  94.0

    These heads are too sure of themselves; the calibration errors of two that are not were held in
    97.3 and 97.3 per cent. Least to be trusted are the intervals of a head that is nearly perfect
    on few groups.

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
    found = {
        "accuracy": proportion_interval(predictions, "accuracy"),
        "roc_auc": area_interval(predictions),
    }
    if predictions.positive is not None:
        found |= {name: proportion_interval(predictions, name) for name in PROPORTIONS}
    rest = [name for name in NAMES if name not in found]
    found |= _bootstrapped(predictions, {name: values[name] for name in rest}, seed, n_resamples)
    # Rounding, or a value biased as the calibration error is, may leave the value outside.
    return {
        name: (_smaller(low, values[name]), -_smaller(-high, -values[name]))
        for name, (low, high) in found.items()
    }


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
    return wilson(
        share,
        effective_size(residuals, counted.mean(axis=0), share * (1 - share), predictions.groups),
    )


def _hits_and_counted(predictions: Predictions, name: str) -> tuple[Floats, Floats]:
    """Which rows the proportion counts and which of those are hits, each of shape (n_repeats, n_rows)."""
    truth, called = (
        predictions.y == predictions.positive,
        predictions.predicted == predictions.positive,
    )
    right = predictions.predicted == predictions.y
    counted = {
        "accuracy": np.ones_like(right),
        "sensitivity": np.broadcast_to(truth, right.shape),
        "specificity": np.broadcast_to(~truth, right.shape),
        "ppv": called,
        "npv": ~called,
    }[name]
    # With more than two classes one may be wrong about a row and yet not take it for the positive
    # class.
    hits = right if name == "accuracy" else truth == called
    return (hits & counted).astype(np.float64), counted.astype(np.float64)


def effective_size(
    residuals: Floats, counted: Floats, variance: float, groups: NDArray[np.intp]
) -> float:
    """How many independent rows tell as much of a proportion as these rows do.

    Their number over the design effect, which is the variance between groups over that of as many
    independent rows, and at least 1. Where it cannot be told (no variance, or one group) rows of a
    group are taken to say all the same (Kish 1965). Few groups are allowed for as Korn and Graubard
    (1998) do. It is the number of rows itself if each is a group.

    Args:
        residuals: each row's hit minus the expected hit, of shape (n_rows,); their sum is 0.
        counted: how far each row counts, 0 to 1, of shape (n_rows,).
        variance: of one row.
        groups: of shape (n_rows,).

    References:
        Rao and Scott (1992): A simple method for the analysis of clustered binary data. Biometrics
        48, 577-585.
        Korn and Graubard (1998): Confidence intervals for proportions with small expected number of
        positive counts estimated from survey data. Survey Methodology 24, 193-201.

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


def _bootstrapped(
    predictions: Predictions, values: dict[str, float], seed: int, n_resamples: int
) -> dict[str, Interval]:
    """Intervals of the given metrics by one bootstrap of the groups."""
    metrics = WeightedMetrics(predictions, values)
    errors = {
        name: _standard_error(
            np.mean([repeat.losses[name] for repeat in metrics.repeats], axis=0), predictions.groups
        )
        for name in LOSSES
    }

    def measure(weights: Floats) -> dict[str, Floats]:
        found = metrics(weights) | {"gaps": metrics.gaps(weights)}
        return found | {
            f"{name} error": error(weights, found[name]) for name, error in errors.items()
        }

    resampled, left_out = bootstrap(measure, predictions.groups, seed, n_resamples)
    n_groups = len(np.unique(predictions.groups))
    if n_groups < 2:
        return dict.fromkeys(values, UNKNOWN)
    found = {
        name: bca_interval(values[name], resampled[name], left_out[name], n_groups)
        for name in values
    }
    found["average_precision"] = logit_interval(
        values["average_precision"], resampled["average_precision"], n_groups
    )
    everywhere = measure(np.ones((1, len(predictions.y))))
    for name in LOSSES:
        drawn = resampled[name], resampled[f"{name} error"]
        found[name] = studentized_interval(
            values[name], float(everywhere[f"{name} error"][0]), *drawn, n_groups
        )
    found["ece"] = calibration_interval(
        everywhere["gaps"][0], resampled["gaps"] - everywhere["gaps"], n_groups
    )
    perfect = [
        name for name in set(found) - LOWER_IS_BETTER if values[name] == 1 and found[name] == (1, 1)
    ]
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
