"""Paired tests of two heads on the same test rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ....errors import ParameterError
from ..bootstrap import N_RESAMPLES, bootstrap, tail
from ..intervals import effective_size
from ..metrics import METRIC_NAMES, METRIC_TABLE
from ..predictions import Floats, Predictions, group_numbers
from ..roc_area import ALPHA, Area, area_under_curve, hanley_variance
from ..weighted_metrics import WeightedMetrics, point_values
from .scatter import Equivalence, NormalScatter, ResampledScatter, Scatter, equivalence

NO_SCATTER = 1e-9
"""Least width of an interval that is not that of two heads that rank all images alike."""


@dataclass(frozen=True)
class Difference:
    """A metric of two heads on the same rows, and the test of their difference.

    Attributes:
        metric: its name.
        first: the metric of the first head.
        second: of the second head.
        difference: first minus second.
        low: lower end of the difference's 95 % interval.
        high: its upper end.
        p: two-sided p-value of no difference.
        test: name of the test that p comes from.
        equivalence: the tests against a margin; None without one.
    """

    metric: str
    first: float
    second: float
    difference: float
    low: float
    high: float
    p: float
    test: str
    equivalence: Equivalence | None = None


def compare(
    a: Predictions,
    b: Predictions,
    metric: str,
    *,
    margin: float | None = None,
    seed: int = 0,
    n_resamples: int = N_RESAMPLES,
) -> Difference:
    """Test whether two heads differ in a metric; all results are NaN if it is not defined.

    - Accuracy: McNemar's exact test. With groups or repeats, the difference in right answers is
      summed within each group. p is the share of all ways to swap the heads, group by group, that
      bring at least the measured difference (`sign_flip_p`). The interval is Bonett and Price's
      (2012), for as many rows as the groups are worth. Exact tests are cautious: sometimes the
      interval excludes 0 although p is above 5 %.
    - Area under the ROC curve: DeLong's test, its variance over groups.
    - All others: bootstrap of the groups, with the same resamples for both heads. The distance of a
      resample is that of its difference from the measured difference. p is the share of resamples
      whose distance is at least the measured difference, never below 1 / (n_resamples + 1). The
      interval reaches as far as 95 % of the distances (Hall 1988). Both allow for few groups.

    The slow tests print how often each test at 5 % separates two equally good heads. They draw
    2,000 pairs in each of six settings: 200 rows and an AUC of 0.85, 400 and 0.92; rows alone, in
    patients' groups, in mixed groups. The tests separated 3.4 to 6.4 per cent of the pairs. The
    test of the calibration error is cautious, with 1.7 to 3.4.

    With a margin, two one-sided tests (`equivalence`) ask if the true difference may be the margin
    or more, in either direction. They use the scatter of the interval: Bonett and Price's, which is
    above 0 also where two heads never disagree, DeLong's, or the bootstrap's.

    Args:
        a: predictions of the first head.
        b: those of the second, on the same rows in the same order, with as many repeats.
        metric: one of `METRIC_NAMES`.
        margin: least difference that matters, as a share; None, and metrics that are no shares, are
            not tested for equivalence.
        seed: seed of the bootstrap.
        n_resamples: number of resamples.

    Raises:
        ParameterError: there is no such metric, or the rows differ.

    References:
        McNemar (1947): Note on the sampling error of the difference between correlated proportions
        or percentages. Psychometrika 12, 153-157.
        DeLong, DeLong and Clarke-Pearson (1988): Comparing the areas under two or more correlated
        receiver operating characteristic curves: a nonparametric approach. Biometrics 44, 837-845.
        Bonett and Price (2012): Adjusted Wald confidence interval for a difference of binomial
        proportions based on paired data. Journal of Educational and Behavioral Statistics 37,
        479-488.
        Hall (1988): On symmetric bootstrap confidence intervals. JRSS B 50, 35-45.

    Examples:
        >>> y = np.repeat([0, 1], 10)
        >>> good = Predictions.of(y, np.column_stack([1 - y, y]) * 0.8 + 0.1, positive=1)
        >>> bad = Predictions.of(y, np.full((20, 2), 0.5), positive=1)
        >>> result = compare(good, bad, "accuracy")
        >>> result.difference, round(result.p, 4), result.test
        (0.5, 0.002, 'exact McNemar')
    """
    _check(a, b, metric)
    first = point_values(a, [metric])[metric]
    second = point_values(b, [metric])[metric]
    difference = first - second
    grouped = len(np.unique(a.groups)) < len(a.y)
    scatter: Scatter | None
    if metric == "accuracy":
        test = "exact sign flips of groups" if grouped or len(a.proba) > 1 else "exact McNemar"
        scatter, p = _compare_accuracies(a, b)
    elif metric == "roc_auc":
        test = "DeLong, over groups" if grouped else "DeLong"
        scatter = _compare_areas(area_under_curve(a), area_under_curve(b))
        # Equal areas differ by rounding at most, and 0 / 0 is no z value.
        p = 1.0 if abs(difference) < 1e-12 else 2 * scatter.tail(abs(difference))
    else:
        test = "paired bootstrap"
        scatter = _compare_resampled(a, b, metric, difference, seed, n_resamples)
        p = 2 * scatter.tail(abs(difference)) if scatter else float("nan")
    scatters: list[Scatter] = [] if scatter is None or np.isnan(difference) else [scatter]
    low = high = float("nan")
    if scatters:
        low, high = scatters[0].interval(ALPHA)
    else:
        p = float("nan")
    tested = None
    if margin is not None and METRIC_TABLE[metric].unit == "share":
        # Ranks of all images scatter also where heads seldom disagree; answers do not.
        answers = METRIC_TABLE[metric].family == "classes" and metric != "accuracy"
        if scatters and (answers or high - low < NO_SCATTER):
            scatters.append(_least_scatter(a, difference))
        tested = equivalence(scatters, difference, margin)
    return Difference(
        metric,
        first,
        second,
        difference,
        min(low, difference),
        max(high, difference),
        p,
        test,
        tested,
    )


def _least_scatter(predictions: Predictions, difference: float) -> NormalScatter:
    """Return the least scatter that a test of equivalence believes.

    Two heads that agree on every image scatter by 0, however few the images are. So the scatter
    counts as at least that of two more images, on each of which one head alone is right, as Bonett
    and Price have it, among the images of the rarest class.
    """
    numbers = predictions.groups
    n = min(len(np.unique(numbers[predictions.y == label])) for label in set(predictions.y))
    return NormalScatter(difference, float(np.sqrt(2)) / (n + 2))


def _check(a: Predictions, b: Predictions, metric: str) -> None:
    """Raise ParameterError if there is no such metric, or if the rows differ."""
    if metric not in METRIC_NAMES:
        raise ParameterError(f"metric must be one of {', '.join(METRIC_NAMES)}, got {metric!r}")
    for name, same in (
        ("test rows", np.array_equal(a.y, b.y) and a.n_classes == b.n_classes),
        ("groups", np.array_equal(a.groups, b.groups)),
        ("positive classes", a.positive == b.positive),
        ("numbers of repeats", len(a.proba) == len(b.proba)),
    ):
        if not same:
            raise ParameterError(
                f"two heads are compared on the same rows, but their {name} differ; "
                "give predictions of one test set"
            )


def _compare_accuracies(a: Predictions, b: Predictions) -> tuple[NormalScatter, float]:
    """Compare accuracies: the scatter of their difference, and the p-value."""
    gains = (a.predicted == a.y).astype(np.intp) - (b.predicted == b.y).astype(np.intp)
    numbers = group_numbers(a.groups)
    # Under the null hypothesis the heads are interchangeable in each group, not in each row.
    p = sign_flip_p(np.rint(np.bincount(numbers, gains.sum(axis=0))).astype(np.intp))
    gained = (gains > 0).mean()
    lost = (gains < 0).mean()
    mean = gains.mean()
    variance = float(gained + lost - mean**2)
    n = effective_size(gains.mean(axis=0) - mean, np.ones(len(a.y)), variance, a.groups)
    # Bonett and Price add one row to each kind of disagreement.
    gained = (n * gained + 1) / (n + 2)
    lost = (n * lost + 1) / (n + 2)
    variance = (gained + lost - (gained - lost) ** 2) / (n + 2)
    return NormalScatter(float(gained - lost), float(np.sqrt(variance))), p


def sign_flip_p(differences: NDArray[np.intp]) -> float:
    """Return the share of all choices of signs whose sum is at least as far from 0 as the real one.

    The distribution of the sum is the convolution of those of the single differences. Equal
    differences are taken together as a binomial one. Long distributions are convolved by Fourier
    transform; the exact size of a p-value below 1e-14 then means nothing.

    Args:
        differences: whole numbers, of shape (n,).

    Examples:
        >>> sign_flip_p(np.array([3, 1, 1])), sign_flip_p(np.array([3, -1, -1, 0]))
        (0.25, 1.0)
        >>> sign_flip_p(np.array([0]))
        1.0
    """
    from scipy.signal import convolve
    from scipy.stats import binom

    sizes = np.abs(differences[differences != 0])
    if not sizes.size:
        return 1.0
    # Differences in units of their common divisor keep the grid of sums short.
    unit = np.gcd.reduce(sizes)
    chances = np.ones(1)
    # The sum of the differences that get a plus needs a grid half as fine as the whole sum.
    for size, count in zip(*np.unique(sizes // unit, return_counts=True), strict=True):
        steps = np.zeros(size * count + 1)
        steps[::size] = binom.pmf(np.arange(count + 1), count, 0.5)
        long = chances.size * steps.size > 10**7 and chances.size > 1
        # Fourier transforms may leave tiny negative chances.
        chances = np.maximum(convolve(chances, steps, method="fft" if long else "direct"), 0)
    sums = 2 * np.arange(chances.size) - (chances.size - 1)
    return float(min(1, chances[np.abs(sums) >= abs(differences.sum()) // unit].sum()))


def _compare_areas(a: Area, b: Area) -> NormalScatter:
    """Return the scatter of the difference of two areas under the ROC curve."""
    difference = a.value - b.value
    variance = float(((a.influences - b.influences) ** 2).sum())
    if np.isnan(variance) or (variance < 1e-20 and abs(difference) > 1e-10):
        variance = _variance_of_independent(a, b)
    return NormalScatter(difference, float(np.sqrt(variance)))


def _variance_of_independent(a: Area, b: Area) -> float:
    """Compute the variance of the difference of two areas as if of independent rows.

    It replaces a variance of 0, for example of a perfect and a constant curve. It is cautious.
    """
    if not a.sizes:
        return float("nan")
    variances = []
    for size, size_b in zip(a.sizes, b.sizes, strict=True):
        mean = (size[0] + size_b[0]) / 2
        variances.append(hanley_variance(mean, *size[1:]))
    return 2 * float(np.mean(variances))


def _compare_resampled(
    a: Predictions, b: Predictions, metric: str, difference: float, seed: int, n_resamples: int
) -> ResampledScatter | None:
    """Return the scatter of a metric's difference by the bootstrap; None with one group."""
    from scipy.special import ndtri

    n_groups = len(np.unique(a.groups))
    if n_groups < 2:
        return None
    first = WeightedMetrics(a, [metric])
    second = WeightedMetrics(b, [metric])

    def measure(weights: Floats) -> dict[str, Floats]:
        return {metric: first(weights)[metric] - second(weights)[metric]}

    drawn = bootstrap(measure, a.groups, seed, n_resamples)[0][metric]
    # Few groups scatter less than the population: distances are widened as intervals are.
    few = ndtri(tail(n_groups)) / ndtri(ALPHA / 2)
    distances = few * np.abs(drawn[~np.isnan(drawn)] - difference)
    return ResampledScatter(difference, distances) if distances.size else None


def holm(p_values: Sequence[float] | Floats) -> Floats:
    """Adjust p-values for their number (Holm 1979); NaN stays NaN and does not count.

    Args:
        p_values: of shape (n,).

    Returns:
        Adjusted p-values, of the same shape.

    References:
        Holm (1979): A simple sequentially rejective multiple test procedure. Scandinavian Journal
        of Statistics 6, 65-70.

    Examples:
        >>> holm([0.01, 0.04, float("nan")])
        array([0.02, 0.04,  nan])
    """
    adjusted = np.array(p_values, dtype=np.float64)
    defined = ~np.isnan(adjusted)
    # A single p-value stays as it is. The library takes about a second to load.
    if np.count_nonzero(defined) > 1:
        from statsmodels.stats.multitest import multipletests

        adjusted[defined] = multipletests(adjusted[defined], method="holm")[1]
    return adjusted
