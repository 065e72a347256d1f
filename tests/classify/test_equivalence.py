"""Tests of equivalence: statsmodels, a chance of error of 5 %, and the four outcomes."""

from __future__ import annotations

import numpy as np
import pytest

from freezeframe.classify.scores.paired.paired_tests import compare
from freezeframe.classify.scores.paired.scatter import Equivalence
from freezeframe.classify.scores.predictions import Predictions

MARGIN = 0.02


def heads(gains: np.ndarray, groups: np.ndarray | None = None) -> tuple[Predictions, Predictions]:
    """Return two heads: 1 where the first alone is right, -1 where the second alone, else 0."""
    y = np.arange(len(gains)) % 2
    first, second = (np.where(gains == wrong, 1 - y, y) for wrong in (-1, 1))
    a, b = (
        Predictions.of(y, np.column_stack([1 - says, says]) * 0.8 + 0.1, groups=groups, positive=1)
        for says in (first, second)
    )
    return a, b


def against_margin(
    a: Predictions, b: Predictions, metric: str = "accuracy", margin: float = MARGIN
) -> Equivalence:
    result = compare(a, b, metric, margin=margin).equivalence
    assert result is not None
    return result


@pytest.mark.parametrize(
    ("n", "gained", "lost"), [(900, 20, 15), (1000, 5, 5), (300, 2, 30), (150, 0, 0), (60, 0, 4)]
)
@pytest.mark.parametrize("copies", [1, 3])
def test_two_one_sided_tests_are_those_of_statsmodels(
    n: int, gained: int, lost: int, copies: int
) -> None:
    """Bonett and Price's interval is the normal one with two more rows, one for each head.

    Copies of an image in one group add nothing.
    """
    from statsmodels.stats.weightstats import zconfint, ztost

    gains = np.repeat([1, -1, 0], [gained, lost, n - gained - lost])
    rows = np.append(gains, [1, -1])
    p, _, _ = ztost(rows, -MARGIN, MARGIN, ddof=0)
    result = against_margin(*heads(np.repeat(gains, copies), np.repeat(np.arange(n), copies)))
    # Of rows that are copies, few groups count as a little fewer (Korn and Graubard 1998).
    precision = 1e-12 if copies == 1 else 1e-2
    assert result.p == pytest.approx(p, abs=precision)
    low, high = zconfint(rows, alpha=0.1, ddof=0)
    difference = gains.mean()
    expected = (min(low, difference), max(high, difference))
    assert (result.low, result.high) == pytest.approx(expected, abs=precision)


def test_images_of_a_group_count_as_statsmodels_counts_their_means() -> None:
    from statsmodels.stats.weightstats import ttost_paired

    rng = np.random.default_rng(0)
    by_group = rng.choice([1, -1, 0], p=[0.06, 0.05, 0.89], size=30_000)
    # Two images of each group: the heads differ on both of them, or on the first alone.
    gains = np.column_stack([by_group, by_group * (rng.random(30_000) < 0.7)])
    groups = np.repeat(np.arange(30_000), 2)
    a, b = heads(gains.ravel(), groups)
    right = [(head.predicted[0] == head.y).reshape(-1, 2).mean(axis=1) for head in (a, b)]
    for margin in (0.005, 0.0107, 0.0115):
        p, _, _ = ttost_paired(*right, -margin, margin)
        assert against_margin(a, b, margin=margin).p == pytest.approx(p, abs=5e-5)
    # As if all images were independent, the test would be too sure.
    singles = against_margin(*heads(gains.ravel()), margin=0.0107).p
    assert against_margin(a, b, margin=0.0107).p > 2 * singles


def test_areas_are_tested_with_the_error_of_delong() -> None:
    from scipy.stats import norm

    rng = np.random.default_rng(1)
    y = np.arange(600) % 2
    score = y + rng.normal(size=600)
    a, b = (
        Predictions.of(y, np.column_stack([1 - p, p]), positive=1)
        for p in (1 / (1 + np.exp(-score)), 1 / (1 + np.exp(-score - rng.normal(0, 0.4, 600))))
    )
    whole = compare(a, b, "roc_auc")
    error = (whole.high - whole.low) / 2 / norm.ppf(0.975)
    p = norm.sf((0.05 - abs(whole.difference)) / error)
    result = against_margin(a, b, "roc_auc", 0.05)
    assert result.p == pytest.approx(p, rel=1e-9)
    assert 0 < p < 0.05
    half = error * norm.ppf(0.95)
    assert (result.low, result.high) == pytest.approx(
        (whole.difference - half, whole.difference + half)
    )


@pytest.mark.parametrize("metric", ["accuracy", "roc_auc", "sensitivity", "balanced_accuracy"])
def test_few_images_prove_no_equivalence_of_heads_that_agree(metric: str) -> None:
    """Heads that agree on 40 images may differ on one in ten of the next ones."""
    assert against_margin(*heads(np.zeros(40, int)), metric).p > 0.05
    assert against_margin(*heads(np.zeros(600, int)), metric).p < 0.05
    groups = np.repeat(np.arange(40), 15)
    assert against_margin(*heads(np.zeros(600, int), groups), metric).p > 0.05


@pytest.mark.parametrize("metric", ["accuracy", "roc_auc", "specificity", "f1"])
@pytest.mark.parametrize("share", [0.01, 0.04])
def test_the_interval_is_within_the_margin_if_p_is_small(metric: str, share: float) -> None:
    rng = np.random.default_rng(2)
    for n in (150, 900):
        gains = rng.choice([1, -1, 0], p=[share, share, 1 - 2 * share], size=n)
        a, b = heads(gains)
        for margin in (0.01, 0.03, 0.1):
            result = against_margin(a, b, metric, margin)
            within = -margin < result.low and result.high < margin
            assert within == (result.p < 0.05), (n, margin, result)
            whole = compare(a, b, metric)
            assert result.low <= whole.difference <= result.high
            if metric == "accuracy":
                assert whole.low < result.low
                assert result.high < whole.high


def test_a_difference_of_the_margin_or_more_is_no_equivalence() -> None:
    gains = np.repeat([1, 0], [60, 940])
    assert against_margin(*heads(gains), "accuracy").p > 0.99
    assert against_margin(*heads(gains), "balanced_accuracy").p > 0.99


def test_metrics_that_are_no_shares_have_no_margin_in_points() -> None:
    a, b = heads(np.repeat([1, 0], [5, 95]))
    assert compare(a, b, "brier", margin=MARGIN).equivalence is None
    assert compare(a, b, "accuracy").equivalence is None


def test_undefined_metrics_are_not_tested() -> None:
    y = np.zeros(20, int)
    a = Predictions.of(y, np.full((20, 2), 0.5), positive=1)
    assert np.isnan(against_margin(a, a, "roc_auc").p)


def test_heads_that_differ_by_the_margin_are_seldom_called_equivalent() -> None:
    """At the margin itself, the test errs in 5 % of the sets at most."""
    rng = np.random.default_rng(3)
    chances = [0.05 + MARGIN / 2, 0.05 - MARGIN / 2, 0.9]
    p = [against_margin(*heads(rng.choice([1, -1, 0], p=chances, size=500))).p for _ in range(400)]
    assert np.mean(np.array(p) <= 0.05) <= 0.07
