"""Paired tests: other implementations, published numbers, and simulated error rates."""

from __future__ import annotations

import itertools
import time
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freezeframe import ParameterError
from freezeframe.classify.scores.metrics import METRIC_NAMES
from freezeframe.classify.scores.paired.paired_tests import Difference, compare, holm, sign_flip_p
from freezeframe.classify.scores.predictions import Predictions
from freezeframe.classify.scores.weighted_metrics import point_values

from .test_intervals import draw_heads, of_scores, ovarian


def noisy(
    y: np.ndarray, share_right: float, seed: int, groups: np.ndarray | None = None
) -> Predictions:
    """Make predictions that are right for about that share of the rows."""
    rng = np.random.default_rng(seed)
    right = rng.random(len(y)) < share_right
    return of_scores(y, np.where(right == y, 1, -1) * rng.uniform(0.01, 0.5, len(y)) + 0.5, groups)


@given(st.integers(1, 80), st.floats(0, 1), st.floats(0, 1), st.integers(0, 10**6))
def test_accuracies_of_independent_rows_are_compared_by_mcnemar(
    n: int, first: float, second: float, seed: int
) -> None:
    from statsmodels.stats.contingency_tables import mcnemar

    y = np.random.default_rng(seed).integers(0, 2, n)
    a, b = noisy(y, first, seed), noisy(y, second, seed + 1)
    right = [(head.predicted[0] == y).astype(int) for head in (a, b)]
    table = np.histogram2d(*right, bins=2, range=[[0, 1], [0, 1]])[0]
    result = compare(a, b, "accuracy")
    assert result.p == pytest.approx(mcnemar(table, exact=True).pvalue)
    assert result.test == "exact McNemar"
    assert result.difference == pytest.approx((table[1, 0] - table[0, 1]) / n)
    assert result.low < result.high
    assert -1 <= result.low <= result.difference <= result.high <= 1


@settings(max_examples=50)
@given(st.lists(st.integers(-9, 9), min_size=1, max_size=9))
def test_p_is_the_share_of_sign_choices_with_at_least_that_difference(
    differences: list[int],
) -> None:
    sums = [
        abs(sum(sign * size for sign, size in zip(signs, differences, strict=True)))
        for signs in itertools.product([1, -1], repeat=len(differences))
    ]
    assert sign_flip_p(np.array(differences)) == pytest.approx(
        np.mean(np.array(sums) >= abs(sum(differences)))
    )


def test_many_large_differences_are_cheap() -> None:
    from scipy.stats import binom, norm

    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 100, 20_000)
    signs = np.where(rng.random(20_000) < 0.51, 1, -1)
    started = time.process_time()
    p = sign_flip_p(sizes * signs)
    assert time.process_time() - started < 10
    assert p == pytest.approx(
        2 * norm.sf(abs((sizes * signs).sum()) / np.sqrt((sizes**2).sum())), rel=0.01
    )
    # Tiny p-values of plain McNemar tests are exact.
    assert sign_flip_p(np.repeat([1, -1], [900, 100])) == pytest.approx(
        2 * binom.cdf(100, 1000, 0.5), rel=1e-9
    )


def test_groups_are_swapped_as_a_whole() -> None:
    y = np.repeat([0, 1], 12)
    groups = np.arange(24) // 4
    good, bad = of_scores(y, y * 1.0, groups), of_scores(y, 1 - y * 1.0, groups)
    result = compare(good, bad, "accuracy")
    assert result.p == pytest.approx(2 / 2**6)
    assert result.test == "exact sign flips of groups"
    assert (result.first, result.second, result.difference) == (1, 0, 1)
    singles = compare(of_scores(y, y * 1.0), of_scores(y, 1 - y * 1.0), "accuracy")
    assert result.low < singles.low


def test_right_answers_of_all_repeats_are_counted() -> None:
    y = np.repeat([0, 1], 3)
    good, bad = np.column_stack([1 - y, y]) * 0.8 + 0.1, np.column_stack([y, 1 - y]) * 0.8 + 0.1
    a, b = (Predictions.of(y, np.stack(proba), positive=1) for proba in ([good, good], [bad, good]))
    result = compare(a, b, "accuracy")
    assert (result.difference, result.p) == pytest.approx((0.5, 2 / 2**6))
    with pytest.raises(ParameterError, match="numbers of repeats differ"):
        compare(a, Predictions.of(y, good, positive=1), "accuracy")


def test_areas_are_compared_as_published_of_ovarian_cancer() -> None:
    # SAS/STAT User's Guide, The LOGISTIC Procedure, "Comparing Receiver Operating Characteristic
    # Curves", the table "ROC Contrast Estimation and Testing Results by Row": estimate, 95 %
    # limits, p.
    for test, published in (
        ("albumin", (0.0108, -0.1761, 0.1976, 0.9102)),
        ("protein", (-0.0780, -0.2830, 0.1271, 0.4561)),
    ):
        result = compare(ovarian(test), ovarian("K-G"), "roc_auc")
        assert (result.difference, result.low, result.high, result.p) == pytest.approx(
            published, abs=5e-5
        )
        assert result.test == "DeLong"


def test_areas_without_scatter() -> None:
    y = np.repeat([0, 1], 20)
    perfect, constant = of_scores(y, y * 1.0), of_scores(y, np.full(40, 0.5))
    result = compare(perfect, constant, "roc_auc")
    assert result.p < 1e-3
    assert 0 < result.low < 0.5 < result.high
    same = compare(perfect, of_scores(y, y * 0.6), "roc_auc")
    assert (same.difference, same.p) == (0, 1)


@pytest.mark.parametrize("metric", METRIC_NAMES)
@pytest.mark.parametrize("groups", ["", "mixed"])
def test_differences(metric: str, groups: str) -> None:
    (good,) = draw_heads(np.random.default_rng(0), 150, 0.95, groups=groups)
    rng = np.random.default_rng(1)
    bad = of_scores(good.y, rng.random(150), good.groups)
    result, turned = compare(good, bad, metric), compare(bad, good, metric)
    assert result.difference == point_values(good)[metric] - point_values(bad)[metric]
    assert result.low <= result.difference <= result.high
    assert not result.low <= 0 <= result.high
    assert 0 < result.p < 0.05
    if result.test == "paired bootstrap":
        assert result.p >= 1 / 2001
    assert (turned.first, turned.difference) == (result.second, -result.difference)
    assert turned.p == pytest.approx(result.p)
    assert (turned.low, turned.high) == pytest.approx((-result.high, -result.low), abs=0.02)
    same = compare(good, good, metric)
    assert (same.difference, same.p) == (0, 1)


def test_undefined_differences_are_nan() -> None:
    y = np.ones(5, int)
    a, b = of_scores(y, np.linspace(0.2, 0.9, 5)), of_scores(y, np.linspace(0.4, 0.8, 5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for metric in ("roc_auc", "mcc", "specificity"):
            result = compare(a, b, metric)
            assert np.isnan([result.difference, result.low, result.high, result.p]).all()
        for metric in METRIC_NAMES:
            compare(of_scores(y[:1], np.array([0.6])), of_scores(y[:1], np.array([0.4])), metric)


def test_heads_with_different_rows_are_refused() -> None:
    y = np.array([0, 1, 1, 0])
    a = of_scores(y, np.array([0.1, 0.6, 0.7, 0.8]))
    for stranger, quantity in (
        (of_scores(1 - y, a.proba[0, :, 1]), "test rows"),
        (of_scores(y[:3], a.proba[0, :3, 1]), "test rows"),
        (Predictions.of(y, np.full((4, 3), 1 / 3), positive=1), "test rows"),
        (of_scores(y, a.proba[0, :, 1], np.array([0, 0, 1, 2])), "groups"),
        (Predictions.of(y, a.proba), "positive classes"),
    ):
        with pytest.raises(ParameterError, match=f"but their {quantity} differ"):
            compare(a, stranger, "accuracy")
    with pytest.raises(ParameterError, match=r"metric must be one of accuracy, .*, got 'f2'"):
        compare(a, a, "f2")


def test_holm() -> None:
    from statsmodels.stats.multitest import multipletests

    np.testing.assert_allclose(holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])
    np.testing.assert_allclose(holm([0.01, float("nan"), 0.04]), [0.02, np.nan, 0.04])
    assert holm([]).shape == (0,)
    p_values = np.random.default_rng(0).integers(0, 20, 30) / 50
    expected = multipletests(p_values, method="holm")[1]
    np.testing.assert_array_equal(holm(p_values), expected)


COMPARED = (
    "accuracy",
    "roc_auc",
    "balanced_accuracy",
    "f1",
    "mcc",
    "average_precision",
    "log_loss",
    "brier",
    "ece",
)


def test_a_difference_can_be_shown() -> None:
    y = np.repeat([0, 1], 10)
    assert isinstance(
        compare(noisy(y, 0.9, 0), noisy(y, 0.5, 1), "f1", n_resamples=100), Difference
    )


@pytest.mark.slow
@pytest.mark.parametrize("groups", ["", "patients", "mixed"])
@pytest.mark.parametrize(("n", "auc"), [(200, 0.85), (400, 0.92)])
def test_equally_good_heads_are_seldom_told_apart(n: int, auc: float, groups: str) -> None:
    """Each test at 5 % separates about 5 % of 2,000 pairs; 95 % of the intervals hold 0."""
    rng = np.random.default_rng(31)
    rejected, held = dict.fromkeys(COMPARED, 0), dict.fromkeys(COMPARED, 0)
    for seed in range(2000):
        a, b = draw_heads(rng, n, auc, n_heads=2, groups=groups)
        for metric in COMPARED:
            result = compare(a, b, metric, seed=seed, n_resamples=300)
            rejected[metric] += result.p <= 0.05
            held[metric] += result.low <= 0 <= result.high
    print(n, auc, groups, {metric: f"{100 * n / 2000:.1f}" for metric, n in rejected.items()})
    # McNemar's exact test is cautious by nature (47 and 74 discordant rows on average). So is the
    # test of calibration errors: those of resamples scatter more than those of new rows.
    shares = {metric: n / 2000 for metric, n in rejected.items() if metric != "ece"}
    assert {metric: share for metric, share in shares.items() if not 0.03 <= share <= 0.07} == {}
    assert 0.01 <= rejected["ece"] / 2000 <= 0.07
    missed = {metric: 1 - n / 2000 for metric, n in held.items() if metric != "ece"}
    assert {metric: share for metric, share in missed.items() if not 0.03 <= share <= 0.07} == {}
    assert 0.01 <= 1 - held["ece"] / 2000 <= 0.07
