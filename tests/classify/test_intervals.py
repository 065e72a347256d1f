"""95 % intervals: published numbers, other implementations, and simulated coverage."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freezeframe.classify.scores import bootstrap as module
from freezeframe.classify.scores.bootstrap import bca_interval, bootstrap
from freezeframe.classify.scores.intervals import (
    effective_size,
    intervals,
    proportion_interval,
    wilson,
)
from freezeframe.classify.scores.metrics import METRIC_NAMES
from freezeframe.classify.scores.predictions import Predictions
from freezeframe.classify.scores.roc_area import Area, area_interval, area_under_curve, newcombe
from freezeframe.classify.scores.score import score
from freezeframe.classify.scores.weighted_metrics import WeightedMetrics, point_values

PROPORTIONS = ("accuracy", "sensitivity", "specificity", "ppv", "npv")

# 43 of the patients of DeLong et al. (1988): albumin, total protein, Krebs-Goplerud score, and 0
# where surgery helped. As printed in the SAS/STAT User's Guide, The LOGISTIC Procedure, "Comparing
# Receiver Operating Characteristic Curves".
OVARIAN_TEXT = """
    3.0 5.8 10 0  3.2 6.3 5 1  3.9 6.8 3 1  2.8 4.8 6 0  3.2 5.8 3 1  0.9 4.0 5 0  2.5 5.7 8 0
    1.6 5.6 5 1  3.8 5.7 5 1  3.7 6.7 6 1  3.2 5.4 4 1  3.8 6.6 6 1  4.1 6.6 5 1  3.6 5.7 5 1
    4.3 7.0 4 1  3.6 6.7 4 0  2.3 4.4 6 1  4.2 7.6 4 0  4.0 6.6 6 0  3.5 5.8 6 1  3.8 6.8 7 1
    3.0 4.7 8 0  4.5 7.4 5 1  3.7 7.4 5 1  3.1 6.6 6 1  4.1 8.2 6 1  4.3 7.0 5 1  4.3 6.5 4 1
    3.2 5.1 5 1  2.6 4.7 6 1  3.3 6.8 6 0  1.7 4.0 7 0  3.7 6.1 5 1  3.3 6.3 7 1  4.2 7.7 6 1
    3.5 6.2 5 1  2.9 5.7 9 0  2.1 4.8 7 1  2.8 6.2 8 0  4.0 7.0 7 1  3.3 5.7 6 1  3.7 6.9 5 1
    3.6 6.6 5 1
"""
OVARIAN = np.array(OVARIAN_TEXT.split(), dtype=float).reshape(-1, 4)


def of_scores(y: np.ndarray, scores: np.ndarray, groups: np.ndarray | None = None) -> Predictions:
    """Make predictions of class 1 from scores between 0 and 1."""
    return Predictions.of(y, np.column_stack([1 - scores, scores]), groups=groups, positive=1)


def ovarian(test: str) -> Predictions:
    y = (OVARIAN[:, 3] == 0).astype(int)
    return of_scores(
        y,
        {"albumin": 1 - OVARIAN[:, 0] / 10, "protein": 1 - OVARIAN[:, 1] / 10}.get(
            test, OVARIAN[:, 2] / 10
        ),
    )


def draw_heads(
    rng: np.random.Generator,
    n: int,
    auc: float,
    *,
    n_heads: int = 1,
    groups: str = "",
    overconfidence: float = 1.5,
    positives: float = 0.4,
) -> list[Predictions]:
    """Draw equally good heads on the same rows.

    Their scores are normal, correlate by a half, and are too sure.

    Args:
        rng: draws everything.
        n: number of rows.
        auc: the area under each head's true curve.
        n_heads: number of heads.
        groups: "" for none; "patients", of 1 to 5 rows of one class whose scores correlate by a
            half; or such groups of "mixed" classes.
        overconfidence: factor of the true log odds.
        positives: share of class 1.
    """
    from scipy.special import expit, logit, ndtri

    distance = ndtri(auc) * np.sqrt(2)
    numbers = np.repeat(np.arange(n), rng.integers(1, 6, n) if groups else 1)[:n]
    n_groups = numbers[-1] + 1
    y = (rng.random(n_groups)[numbers] if groups == "patients" else rng.random(n)) < positives
    shared = np.sqrt(0.5) if groups else 0.0

    def noise() -> np.ndarray:
        return shared * rng.normal(size=n_groups)[numbers] + np.sqrt(1 - shared**2) * rng.normal(
            size=n
        )

    common, heads = noise(), []
    for _ in range(n_heads):
        scores = distance * y + (common + noise()) * np.sqrt(0.5)
        odds = distance * scores - distance**2 / 2 + logit(positives)
        heads.append(of_scores(y.astype(int), expit(overconfidence * odds), numbers))
    return heads


@cache
def true_values(auc: float, overconfidence: float) -> dict[str, float]:
    """Compute the scores of the heads of `draw_heads` on 2,000,000 rows."""
    rng = np.random.default_rng(0)
    draws = [
        point_values(*draw_heads(rng, 500_000, auc, overconfidence=overconfidence))
        for _ in range(4)
    ]
    return {name: float(np.mean([values[name] for values in draws])) for name in METRIC_NAMES}


# ---- proportions


@given(st.integers(1, 60), st.integers(0, 10**6))
def test_proportions_of_independent_rows_have_wilson_s_interval(n: int, seed: int) -> None:
    from statsmodels.stats.proportion import proportion_confint

    rng = np.random.default_rng(seed)
    predictions = of_scores(rng.integers(0, 2, n), rng.random(n))
    y, called = predictions.y == 1, predictions.predicted[0] == 1
    for name, hits, counted in (
        ("accuracy", y == called, np.ones(n, bool)),
        ("sensitivity", called, y),
        ("specificity", ~called, ~y),
        ("ppv", y, called),
        ("npv", ~y, ~called),
    ):
        got = proportion_interval(predictions, name)
        if counted.any():
            expected = proportion_confint((hits & counted).sum(), counted.sum(), method="wilson")
            assert got == pytest.approx(expected, abs=1e-12)
        else:
            assert np.isnan(got).all()


def test_wilson_interval_of_the_article_s_score() -> None:
    y = np.zeros(253, dtype=int)
    y[:155] = 1
    scores = y.astype(float)
    scores[0] = 0
    got = score(of_scores(y, scores))
    # 252 of 253: Wilson's interval, by the formula of his paper worked out by hand.
    assert got["accuracy"] == pytest.approx(252 / 253)
    assert (got["accuracy_low"], got["accuracy_high"]) == pytest.approx(
        (0.97797, 0.99930), abs=5e-5
    )
    none_right = score(of_scores(np.zeros(14, dtype=int), np.ones(14)))
    assert (none_right["accuracy_low"], none_right["accuracy"]) == (0, 0)


def test_copies_of_rows_add_nothing() -> None:
    rng = np.random.default_rng(0)
    once = of_scores(rng.integers(0, 2, 100), rng.random(100))
    thrice = of_scores(
        np.repeat(once.y, 3), np.repeat(once.proba[0, :, 1], 3), np.repeat(np.arange(100) * 5, 3)
    )
    few, many, copies = (
        intervals(once),
        intervals(of_scores(thrice.y, thrice.proba[0, :, 1])),
        intervals(thrice),
    )
    for name in METRIC_NAMES:
        widths = [high - low for low, high in (few[name], many[name], copies[name])]
        assert widths[1] < 0.7 * widths[0]
        assert 0.95 * widths[0] < widths[2] < 1.1 * widths[0], name


def test_without_scatter_rows_of_a_group_count_as_one() -> None:
    right = of_scores(np.ones(12, int), np.ones(12), np.repeat(np.arange(4), 3))
    low, high = proportion_interval(right, "accuracy")
    assert low < wilson(1.0, 4)[0]
    assert high == pytest.approx(1)
    # All rows of one group: as of a single row.
    scores = np.array([0.9, 0.9, 0.2, 0.9, 0.9])
    one_group = of_scores(np.ones(5, int), scores, np.full(5, 3))
    assert proportion_interval(one_group, "accuracy") == pytest.approx(wilson(0.8, 1))


def test_groups_that_differ_little_are_worth_no_more_than_their_rows() -> None:
    # One right and one wrong in each group: less scatter than chance would have.
    hits = np.tile([1.0, 0.0], 20)
    assert effective_size(
        hits - 0.5, np.ones(40), 0.25, np.repeat(np.arange(20), 2)
    ) == pytest.approx(40, rel=0.1)
    assert effective_size(hits - 0.5, np.ones(40), 0.25, np.repeat(np.arange(20), 2)) <= 40


def test_repeats_enter_as_their_mean() -> None:
    y = np.repeat([0, 1], 20)
    first, second = np.where(y == 1, 0.9, 0.1), np.where(y == 1, 0.9, 0.1)
    first[:4], second[:2] = 0.9, 0.9
    both = Predictions.of(
        y, np.stack([np.column_stack([1 - p, p]) for p in (first, second)]), positive=1
    )
    assert point_values(both)["accuracy"] == pytest.approx(37 / 40)
    assert proportion_interval(both, "accuracy") == pytest.approx(wilson(37 / 40, 40))
    assert proportion_interval(both, "specificity") == pytest.approx(wilson(17 / 20, 20))


# ---- the area under the ROC curve


def standard_error(area: Area) -> float:
    return float(np.sqrt((area.influences**2).sum()))


def test_areas_are_those_published_of_ovarian_cancer() -> None:
    # Areas and standard errors: SAS/STAT User's Guide, as above.
    for test, published in (
        ("albumin", (0.7366, 0.0927)),
        ("K-G", (0.7258, 0.1028)),
        ("protein", (0.6478, 0.1000)),
    ):
        area = area_under_curve(ovarian(test))
        assert (area.value, standard_error(area)) == pytest.approx(published, abs=5e-5)


def test_area_is_that_published_of_subarachnoid_haemorrhage() -> None:
    # Grades 1 to 5 of 113 patients with good and poor outcome (data set aSAH of the R package pROC,
    # Turck et al. 2010); the area and DeLong's variance are those that pROC's own tests give.
    good, poor = [37, 20, 3, 8, 4], [2, 12, 1, 8, 18]
    grades = np.concatenate([np.repeat(np.arange(1, 6), counts) for counts in (good, poor)])
    area = area_under_curve(of_scores(np.repeat([0, 1], [72, 41]), grades / 10))
    assert area.value == pytest.approx(0.82367886178861793, abs=1e-14)
    assert standard_error(area) ** 2 == pytest.approx(0.00146991470882363, abs=1e-14)


def pairs_won(y: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return 1 for each pair whose positive has the higher score, 1/2 for a tie."""
    first, second = scores[y == 1][:, None], scores[y == 0]
    return (first > second) + (first == second) / 2


@given(st.integers(2, 30), st.integers(2, 30), st.integers(1, 40), st.integers(0, 10**6))
def test_variance_of_independent_rows_is_delong_s(
    n_positives: int, n_negatives: int, n_scores: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.repeat([1, 0], [n_positives, n_negatives]))
    scores = rng.integers(0, n_scores, len(y)) / n_scores
    won, area = pairs_won(y, scores), area_under_curve(of_scores(y, scores))
    variance = (
        won.mean(axis=1).var(ddof=1) / n_positives + won.mean(axis=0).var(ddof=1) / n_negatives
    )
    assert area.value == pytest.approx(won.mean())
    assert standard_error(area) ** 2 == pytest.approx(variance, abs=1e-15)
    turned = area_under_curve(Predictions.of(y, np.column_stack([1 - scores, scores]), positive=0))
    assert (turned.value, standard_error(turned)) == pytest.approx(
        (area.value, standard_error(area))
    )
    mean = area_under_curve(Predictions.of(y, np.column_stack([1 - scores, scores])))
    assert (mean.value, standard_error(mean)) == pytest.approx((area.value, standard_error(area)))


@given(st.integers(2, 12), st.integers(0, 10**6))
def test_variance_of_groups_is_obuchowski_s(n_groups: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Each group has rows of both classes.
    groups = np.concatenate([np.arange(n_groups)] * 2 + [rng.integers(0, n_groups, 3 * n_groups)])
    y = np.concatenate([np.repeat([0, 1], n_groups), rng.integers(0, 2, 3 * n_groups)])
    scores = rng.integers(0, 20, len(y)) / 20
    won, area = pairs_won(y, scores), area_under_curve(of_scores(y, scores, groups))
    m, n, value = won.shape[0], won.shape[1], won.mean()
    of_group = np.arange(n_groups)[:, None]
    positives = ((groups[y == 1] == of_group) * (won.mean(axis=1) - value)).sum(axis=1)
    negatives = ((groups[y == 0] == of_group) * (won.mean(axis=0) - value)).sum(axis=1)
    s10, s01, s11 = (
        n_groups
        / (n_groups - 1)
        * np.array([positives @ positives / m, negatives @ negatives / n, positives @ negatives])
    )
    assert standard_error(area) ** 2 == pytest.approx(
        s10 / m + s01 / n + 2 * s11 / (m * n), abs=1e-14
    )


def test_area_of_several_classes_and_repeats_is_a_mean() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 60)
    proba = rng.dirichlet(np.ones(3), (2, 60))
    mean = area_under_curve(Predictions.of(y, proba))
    areas = [
        area_under_curve(of_scores((y == number).astype(int), proba[repeat, :, number]))
        for number in range(3)
        for repeat in range(2)
    ]
    assert mean.value == pytest.approx(np.mean([area.value for area in areas]))
    np.testing.assert_allclose(
        mean.influences, np.mean([area.influences for area in areas], axis=0), atol=1e-15
    )


@given(st.floats(0, 1), st.integers(1, 500), st.integers(1, 500))
def test_newcombe_s_ends_are_as_far_off_as_they_may_be(area: float, m: int, n: int) -> None:
    low, high = newcombe(area, m, n)
    assert 0 <= low <= area + 1e-9
    assert area - 1e-9 <= high <= 1
    for end in (low, high):
        if 0 < end < 1:
            mean = (m + n) / 2
            # The variance as Newcombe (2006) writes it.
            factor = (2 * mean - 1) - (3 * mean - 3) / ((2 - end) * (1 + end))
            assert abs(end - area) == pytest.approx(
                1.959964 * np.sqrt(end * (1 - end) / (m * n) * factor), abs=1e-6
            )


def test_a_perfect_area_is_not_beyond_doubt() -> None:
    y = np.repeat([0, 1], [30, 20])
    low, high = area_interval(of_scores(y, y * 0.5))
    assert (low, high) == pytest.approx((newcombe(1, 20, 30)[0], 1))
    assert 0.85 < low < 0.95
    grouped = area_interval(of_scores(y, y * 0.5, np.arange(50) // 5))
    assert grouped == pytest.approx(newcombe(1, 4, 6))
    assert area_interval(of_scores(y, 1 - y * 0.5)) == pytest.approx((0, 1 - low))
    # Positives of one group only: nothing is known of how groups differ.
    groups = np.where(y == 1, 99, np.arange(50))
    scores = np.linspace(0, 1, 50)[np.random.default_rng(0).permutation(50)]
    low, high = area_interval(of_scores(y, scores, groups))
    assert (low, high) == pytest.approx(
        newcombe(area_under_curve(of_scores(y, scores)).value, 1, 30)
    )
    assert area_interval(of_scores(y, np.full(50, 0.5))) == (0.5, 0.5)


# ---- the bootstrap


def test_bca_is_scipy_s() -> None:
    from scipy.stats import bootstrap as scipy_s

    losses = np.random.default_rng(0).exponential(size=200)
    expected = scipy_s(
        (losses,), np.mean, n_resamples=20_000, rng=np.random.default_rng(1)
    ).confidence_interval

    def measure(weights: np.ndarray) -> dict[str, np.ndarray]:
        return {"mean": weights @ losses / weights.sum(axis=1)}

    resampled, left_out = bootstrap(measure, np.arange(200), seed=0, n_resamples=20_000)
    assert (resampled["mean"].shape, left_out["mean"].shape) == ((20_000,), (200,))
    got = bca_interval(float(losses.mean()), resampled["mean"], left_out["mean"], 200)
    # `tail` makes ours wider by 1 %.
    assert got == pytest.approx(tuple(expected), abs=0.03 * (expected.high - expected.low))


def test_bootstrap_t_of_losses() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(100)
    head = of_scores((rng.random(100) < scores).astype(int), scores)
    losses = (head.proba[0, :, 1] - head.y) ** 2
    mean, error = losses.mean(), losses.std() / 10
    drawn = losses[rng.integers(0, 100, (20_000, 100))]
    low, high = np.quantile((drawn.mean(axis=1) - mean) / (drawn.std(axis=1) / 10), [0.025, 0.975])
    expected = (mean - high * error, mean - low * error)
    # `tail` makes ours wider by 2 %.
    assert intervals(head, n_resamples=20_000)["brier"] == pytest.approx(
        expected, abs=0.05 * (expected[1] - expected[0])
    )
    # Always right, sure, and once badly wrong: the upper end is far, but not beyond measure.
    scores = head.y * 0.999 + 0.0005
    scores[0] = 1 - scores[0]
    low, high = intervals(of_scores(head.y, scores))["log_loss"]
    assert 0 <= low < 0.01
    assert 0.15 < high < 1


def test_groups_are_drawn_and_omitted_as_a_whole() -> None:
    groups = np.array([7, 3, 3, 9, 7, 7])

    def measure(weights: np.ndarray) -> dict[str, np.ndarray]:
        return {"weights": weights}

    drawn, left_out = (
        measured["weights"] for measured in bootstrap(measure, groups, seed=0, n_resamples=500)
    )
    for weights in (drawn, left_out):
        assert (weights[:, [0, 0, 1]] == weights[:, [4, 5, 2]]).all()
    assert (drawn[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert drawn[:, 3].mean() == pytest.approx(1, abs=0.15)
    assert (left_out[:, [0, 1, 3]].sum(axis=1) == 2).all()


def test_intervals_depend_on_the_seed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    (predictions,) = draw_heads(np.random.default_rng(0), 80, 0.9, groups="mixed")
    first = intervals(predictions, seed=3)
    assert intervals(predictions, seed=3) == first
    assert intervals(predictions, seed=4) != first
    monkeypatch.setattr(module, "CHUNK", 1000)
    in_parts = intervals(predictions, seed=3)
    for name in METRIC_NAMES:
        assert in_parts[name] == pytest.approx(first[name])


def test_little_memory_is_needed() -> None:
    (predictions,) = draw_heads(np.random.default_rng(0), 5000, 0.9)
    tracemalloc.start()
    intervals(predictions)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100e6


def test_one_group_cannot_be_resampled() -> None:
    (predictions,) = draw_heads(np.random.default_rng(0), 20, 0.9)
    ends = intervals(
        Predictions.of(predictions.y, predictions.proba, groups=np.zeros(20, int), positive=1)
    )
    resampled = [name for name, interval in ends.items() if np.isnan(interval).all()]
    assert set(resampled) == set(METRIC_NAMES) - set(PROPORTIONS) - {"roc_auc"}
    low, high = ends["roc_auc"]
    assert (high - low) > 0.7


@pytest.mark.parametrize("n_classes", [2, 3])
def test_no_perfect_score_is_beyond_doubt(n_classes: int) -> None:
    y = np.arange(60) % n_classes
    proba = np.eye(n_classes)[y] * 0.8 + 0.2 / n_classes
    positive = 1 if n_classes == 2 else None
    ends = intervals(Predictions.of(y, proba, positive=positive))
    copies = intervals(
        Predictions.of(y, proba, positive=positive, groups=np.arange(60) // (2 * n_classes))
    )
    for name in set(METRIC_NAMES) - {"log_loss", "brier", "ece"}:
        low, high = ends[name]
        assert high == pytest.approx(1)
        assert 0.8 < low < 0.99, name
        assert copies[name][0] < low


def test_the_interval_of_a_calibrated_head_s_error_begins_at_0() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(300)
    calibrated, sure = (
        of_scores((rng.random(300) < scores).astype(int), scores),
        of_scores(rng.integers(0, 2, 300), scores),
    )
    ends = intervals(calibrated)["ece"]
    assert ends[0] == 0
    assert ends[1] >= point_values(calibrated)["ece"]
    # Without any bearing on the truth the mean confidence of 75 % is 25 % too high.
    low, high = intervals(sure)["ece"]
    assert 0.15 < low < 0.25 < high


# ---- coverage


def coverage(
    n: int, auc: float, groups: str, names: Sequence[str], overconfidence: float = 1.5
) -> dict[str, float]:
    """Return the share of 2,000 simulated test sets whose interval holds the true value."""
    truth, rng = true_values(auc, overconfidence), np.random.default_rng(21)
    held = dict.fromkeys(names, 0)
    for seed in range(2000):
        (head,) = draw_heads(rng, n, auc, groups=groups, overconfidence=overconfidence)
        ends = intervals(head, seed=seed, n_resamples=1000)
        for name in names:
            held[name] += ends[name][0] <= truth[name] <= ends[name][1]
    print(
        n, auc, groups, overconfidence, {name: f"{count / 20:.1f}" for name, count in held.items()}
    )
    return {name: count / 2000 for name, count in held.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "auc", "groups"),
    [
        (150, 0.80, ""),
        (300, 0.90, ""),
        (400, 0.95, ""),
        (150, 0.80, "patients"),
        (300, 0.90, "patients"),
        (400, 0.95, "patients"),
        (300, 0.90, "mixed"),
    ],
)
def test_intervals_hold_the_truth_as_often_as_they_say(n: int, auc: float, groups: str) -> None:
    shares = coverage(n, auc, groups, METRIC_NAMES)
    assert {name: share for name, share in shares.items() if not 0.93 <= share <= 0.97} == {}


@pytest.mark.slow
@pytest.mark.parametrize("groups", ["", "patients"])
def test_a_calibrated_head_s_error_is_held(groups: str) -> None:
    shares = coverage(300, 0.90, groups, ["ece"], overconfidence=1)
    assert 0.94 <= shares["ece"] <= 0.99


@pytest.mark.slow
def test_intervals_of_repeated_cross_validation_hold_the_truth() -> None:
    """Three noisy heads score the same rows; the truth is the value of a single one."""
    truth, rng = true_values(0.9, 1.5), np.random.default_rng(5)
    held = dict.fromkeys(METRIC_NAMES, 0)
    for seed in range(2000):
        heads = draw_heads(rng, 200, 0.9, n_heads=3)
        head = Predictions.of(
            heads[0].y,
            np.concatenate([head_of_repeat.proba for head_of_repeat in heads]),
            positive=1,
        )
        ends = intervals(head, seed=seed, n_resamples=1000)
        for name in METRIC_NAMES:
            held[name] += ends[name][0] <= truth[name] <= ends[name][1]
    shares = {name: count / 2000 for name, count in held.items()}
    # Proportions are taken for those of one opinion, so that their intervals are on the wide side.
    assert all(shares[name] >= 0.95 for name in PROPORTIONS)
    assert {
        name: share
        for name, share in shares.items()
        if name not in PROPORTIONS and not 0.93 <= share <= 0.975
    } == {}


def test_resamples_equal_the_metrics_of_the_rows_drawn() -> None:
    (head,) = draw_heads(np.random.default_rng(0), 50, 0.8, groups="mixed")

    def measure(weights: np.ndarray) -> dict[str, np.ndarray]:
        return WeightedMetrics(head)(weights) | {"weights": weights}

    resampled, _ = bootstrap(measure, head.groups, seed=0, n_resamples=5)
    for number, weights in enumerate(resampled.pop("weights")):
        rows = np.repeat(np.arange(50), weights.astype(int))
        drawn = point_values(of_scores(head.y[rows], head.proba[0, rows, 1]))
        for name in METRIC_NAMES:
            assert resampled[name][number] == pytest.approx(drawn[name])
