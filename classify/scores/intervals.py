"""95 % intervals of metrics, for rows that may come in groups.

The intervals treat groups (copies of a picture, images of a patient) as a random sample, because
rows of one group are not independent.
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
from .metrics import METRIC_TABLE
from .predictions import Floats, Predictions, group_numbers
from .roc_area import ALPHA, UNDEFINED, Interval, area_interval
from .weighted_metrics import WeightedMetrics, point_values


def intervals(
    predictions: Predictions, seed: int = 0, n_resamples: int = N_RESAMPLES
) -> dict[str, Interval]:
    """Compute the 95 % interval of each metric; (NaN, NaN) where the metric is not defined.

    The metric itself is always inside. `METRIC_TABLE` names the kind of each interval:

    - "wilson", for accuracy, and with a positive class sensitivity, specificity, PPV and NPV:
      Wilson's score interval, for as many independent rows as the groups are worth
      (`effective_size`). If every row is its own group, it is plain Wilson.
    - "delong", for the area under the ROC curve: from DeLong's variance, on the logit scale, with
      Student's t; at 0 and 1, where that variance is 0, Newcombe's method 5 (`area_interval`).
    - "calibration", for the expected calibration error: `calibration_interval`.
    - All others: a bootstrap of whole groups, with the same resamples for all. "logit", for average
      precision: `logit_interval`. "bootstrap-t", for log loss and Brier score:
      `studentized_interval`. "bca", for the rest: the BCa method (`bca_interval`). Resamples in
      which a metric is not defined are ignored. No resample can lower a perfect score: its lower
      end allows for errors that the test set does not show (`unseen_errors`).

    A single group does not show how groups differ. Its bootstrapped intervals are (NaN, NaN), its
    proportions get Wilson's interval for a single row, its area Newcombe's for one row of each
    class. The bootstrap cannot foresee losses that no test row has. A head that is sure and right
    in every row therefore gets too narrow intervals of its log loss, Brier score and calibration
    error.

    The slow tests print this table. It shows how often the intervals contain the true value, in
    per cent of 2,000 simulated test sets each (so +-1). Each line gives the number of rows, the
    AUC of the head, and the kind of groups. Rows are alone; in groups of one to five similar rows
    of one class ("patients"); or in groups of mixed classes.

                             acc  bal sens spec  PPV  NPV   F1  MCC  AUC   AP loss Brier  ECE
        150, 0.80, alone    95.0 95.6 95.8 94.8 95.2 94.3 95.8 95.4 95.7 94.6 95.5  95.4 95.0
        300, 0.90, alone    95.5 95.0 94.8 95.2 94.8 95.0 94.7 95.2 96.0 95.1 96.0  95.5 94.7
        400, 0.95, alone    95.2 94.5 94.8 95.5 94.7 94.8 95.2 94.5 94.8 95.3 95.5  95.2 95.1
        150, 0.80, patients 94.2 94.0 94.0 94.2 94.0 94.2 95.3 93.9 94.8 94.0 94.5  95.2 95.3
        300, 0.90, patients 94.4 94.4 94.3 94.8 94.6 94.5 94.5 94.5 94.6 94.3 95.2  95.2 94.0
        400, 0.95, patients 94.5 94.7 94.8 94.6 94.2 94.1 94.7 95.2 94.3 94.7 94.8  95.6 94.7
        300, 0.90, mixed    94.8 95.0 94.7 94.8 95.3 94.5 95.2 95.1 95.2 94.8 95.2  95.2 94.0

    These heads give too extreme probabilities. For two heads that do not, the intervals of the
    calibration error contain the true value in 97.3 and 97.3 per cent. The least reliable intervals
    are those of a head that is nearly perfect on few groups.

    Args:
        predictions: of at least one row.
        seed: seed of the bootstrap.
        n_resamples: number of resamples.

    References:
        Efron (1987): Better bootstrap confidence intervals. JASA 82, 171-185.

    Examples:
        >>> y = np.repeat([0, 1], 20)
        >>> proba = np.column_stack([1 - y, y]) * 0.8 + 0.1
        >>> ends = intervals(Predictions.of(y, proba, positive=1))
        >>> [round(ends[name][0], 3) for name in ("accuracy", "sensitivity", "roc_auc")]
        [0.912, 0.839, 0.899]
    """
    values = point_values(predictions)
    ends: dict[str, Interval] = {}
    for name, metric in METRIC_TABLE.items():
        # A mean over classes is not a proportion of rows: it is bootstrapped.
        proportion = metric.counted == "all" or predictions.positive is not None
        if metric.interval == "wilson" and proportion:
            ends[name] = proportion_interval(predictions, name)
        elif metric.interval == "delong":
            ends[name] = area_interval(predictions)
    rest = {name: values[name] for name in METRIC_TABLE if name not in ends}
    ends |= _bootstrap_intervals(predictions, rest, seed, n_resamples)
    # Rounding, or a value biased as the calibration error is, may leave the value outside.
    return {
        name: (_smaller(low, values[name]), -_smaller(-high, -values[name]))
        for name, (low, high) in ends.items()
    }


def _smaller(end: float, value: float) -> float:
    """Return the smaller of the two; NaN if the end is NaN."""
    # An interval that is not defined must stay so, and `min` would drop the NaN.
    return end if np.isnan(end) else min(end, value)


def proportion_interval(predictions: Predictions, name: str) -> Interval:
    """Compute Wilson's interval of the accuracy, or of a proportion of the positive class.

    Several repeats enter as each row's mean over them.

    Args:
        predictions: with a positive class, unless it is the accuracy.
        name: "accuracy", "sensitivity", "specificity", "ppv" or "npv".
    """
    hits, counted = _hits_and_counted(predictions, name)
    counts = counted.sum(axis=1)
    if not counts.any():
        return UNDEFINED
    # Repeats in which the proportion counts no row have no share.
    used = counts > 0
    hits = hits[used]
    counted = counted[used]
    counts = counts[used]
    # A repeat is no new sample: shares and rows are averaged over the repeats, not added up.
    shares = hits.sum(axis=1) / counts
    share = float(shares.mean())
    n = float(counts.mean())
    residuals = ((hits - shares[:, None] * counted) / counts[:, None]).mean(axis=0) * n
    variance = share * (1 - share)
    return wilson(
        share, effective_size(residuals, counted.mean(axis=0), variance, predictions.groups)
    )


def _hits_and_counted(predictions: Predictions, name: str) -> tuple[Floats, Floats]:
    """Return hits and counted rows of a proportion, each of shape (n_repeats, n_rows)."""
    truth = predictions.y == predictions.positive
    called = predictions.predicted == predictions.positive
    right = predictions.predicted == predictions.y
    counted = {
        "all": np.ones_like(right),
        "of the class": np.broadcast_to(truth, right.shape),
        "of the rest": np.broadcast_to(~truth, right.shape),
        "called": called,
        "rejected": ~called,
    }[METRIC_TABLE[name].counted]
    # With more than two classes, a row may be wrong and yet not be taken for the positive class.
    hits = right if METRIC_TABLE[name].counted == "all" else truth == called
    return (hits & counted).astype(np.float64), counted.astype(np.float64)


def effective_size(
    residuals: Floats, counted: Floats, variance: float, groups: NDArray[np.intp]
) -> float:
    """Return the number of independent rows that determine a proportion as well as these rows.

    It is the number of rows divided by the design effect. The design effect is the variance between
    groups, divided by the variance of as many independent rows, and at least 1. Where it is not
    defined (no variance, or one group), all rows of a group count as one piece of information (Kish
    1965). Few groups reduce the result as in Korn and Graubard (1998). If each row is a group, the
    result is the number of rows.

    Args:
        residuals: each row's hit minus the expected hit, of shape (n_rows,); their sum is 0.
        counted: how far each row counts, 0 to 1, of shape (n_rows,).
        variance: of one row.
        groups: group number of each row, of shape (n_rows,).

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
    from scipy.special import stdtrit

    numbers = group_numbers(groups)
    n = counted.sum()
    sizes = np.bincount(numbers, counted)
    n_groups = np.count_nonzero(sizes)
    if n_groups < 2:
        return float(n**2 / (sizes**2).sum())
    if variance * n * (n - 1) > 0:
        between = n_groups / (n_groups - 1) * (np.bincount(numbers, residuals) ** 2).sum()
        effect = between / (variance * n * n / (n - 1))
    else:
        effect = (sizes**2).sum() / n
    # Wilson's interval has no degrees of freedom: few groups count as fewer rows instead.
    few = (stdtrit(max(n - 1, 1), ALPHA / 2) / stdtrit(n_groups - 1, ALPHA / 2)) ** 2
    return float(n / max(1, effect) * min(1, few))


def wilson(share: float, n: float) -> Interval:
    """Compute Wilson's score interval (JASA 22, 209-212, 1927) of a share of n rows.

    Args:
        share: between 0 and 1.
        n: number of rows; it need not be an integer.
    """
    from scipy.special import ndtri

    z2 = ndtri(ALPHA / 2) ** 2
    middle = share + z2 / (2 * n)
    half = np.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n)))
    low = (middle - half) / (1 + z2 / n)
    high = (middle + half) / (1 + z2 / n)
    # Rounding may leave an end of 0 or 1 slightly outside.
    return max(float(low), 0.0), min(float(high), 1.0)


def _bootstrap_intervals(
    predictions: Predictions, values: dict[str, float], seed: int, n_resamples: int
) -> dict[str, Interval]:
    """Compute intervals of metrics, given with their values, by one bootstrap of the groups."""
    metrics = WeightedMetrics(predictions, values)
    errors = {
        name: _standard_error(
            np.mean([repeat.losses[name] for repeat in metrics.repeats], axis=0), predictions.groups
        )
        for name in values
        if METRIC_TABLE[name].interval == "bootstrap-t"
    }

    def measure(weights: Floats) -> dict[str, Floats]:
        """Compute the metrics, the gaps of the bins, and the standard errors of the mean losses."""
        measured = metrics(weights) | {"gaps": metrics.gaps(weights)}
        return measured | {
            _error_name(name): error(weights, measured[name]) for name, error in errors.items()
        }

    resampled, left_out = bootstrap(measure, predictions.groups, seed, n_resamples)
    n_groups = len(np.unique(predictions.groups))
    if n_groups < 2:
        return dict.fromkeys(values, UNDEFINED)
    all_rows = measure(np.ones((1, len(predictions.y))))
    ends = {
        name: _interval_of(name, value, resampled, left_out, all_rows, n_groups)
        for name, value in values.items()
    }
    # No resample of a perfect score shows how much worse the score may be.
    perfect = [
        name
        for name in values
        if METRIC_TABLE[name].better == "higher" and values[name] == 1 and ends[name] == (1, 1)
    ]
    if perfect:
        worse = unseen_errors(predictions, seed, n_resamples)
        ends |= {
            name: (float(np.quantile(worse[name], ALPHA / 2)), 1.0)
            for name in perfect
            if name in worse
        }
    return ends


def _interval_of(
    name: str,
    value: float,
    resampled: dict[str, Floats],
    left_out: dict[str, Floats],
    all_rows: dict[str, Floats],
    n_groups: int,
) -> Interval:
    """Compute the interval of one metric from its values on resamples and on all rows."""
    kind = METRIC_TABLE[name].interval
    if kind == "logit":
        return logit_interval(value, resampled[name], n_groups)
    if kind == "bootstrap-t":
        error = float(all_rows[_error_name(name)][0])
        return studentized_interval(
            value, error, resampled[name], resampled[_error_name(name)], n_groups
        )
    if kind == "calibration":
        noise = resampled["gaps"] - all_rows["gaps"]
        return calibration_interval(all_rows["gaps"][0], noise, n_groups)
    return bca_interval(value, resampled[name], left_out[name], n_groups)


def _error_name(name: str) -> str:
    return f"{name} error"


def _standard_error(losses: Floats, groups: NDArray[np.intp]) -> Callable[[Floats, Floats], Floats]:
    """Return a function of weights and mean losses that computes the standard error of the mean.

    The weights must be equal within groups.
    """
    numbers = group_numbers(groups)
    sums = np.bincount(numbers, losses)[numbers]
    sizes = np.bincount(numbers)[numbers]
    # Three sums of weighted columns give the scatter of the groups for all resamples at once.
    columns = np.column_stack([sums**2 / sizes, sums, sizes])

    def error(weights: Floats, means: Floats) -> Floats:
        squares, products, sizes = (weights @ columns).T
        # Rounding may leave a little less than 0.
        scatter = np.maximum(squares - 2 * means * products + means**2 * sizes, 0)
        errors: Floats = np.sqrt(scatter) / weights.sum(axis=1)
        return errors

    return error
