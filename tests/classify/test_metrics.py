"""Values of the metrics, compared with scikit-learn and with results worked out by hand."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from freezeframe.classify.scores.metrics import (
    METRIC_COLUMNS,
    METRIC_NAMES,
    METRIC_TABLE,
)
from freezeframe.classify.scores.predictions import Predictions
from freezeframe.classify.scores.score import score
from freezeframe.classify.scores.weighted_metrics import ECE_BINS, WeightedMetrics, point_values


def random_predictions(
    n_classes: int, n: int, seed: int, *, ties: bool = False, n_repeats: int = 1
) -> Predictions:
    """Draw predictions in which every class has a row; of two classes, class 1 is positive."""
    rng = np.random.default_rng(seed)
    y = np.concatenate([np.arange(n_classes), rng.integers(0, n_classes, n)])
    proba = rng.dirichlet(np.ones(n_classes), (n_repeats, len(y)))
    if ties:
        proba = (np.round(proba * 4) + 1) / (np.round(proba * 4) + 1).sum(axis=2, keepdims=True)
    return Predictions.of(y, proba, positive=1 if n_classes == 2 else None)


problems = given(st.integers(2, 4), st.integers(2, 60), st.integers(0, 10**6), st.booleans())


def calibration_error(y: np.ndarray, proba: np.ndarray, weights: np.ndarray) -> float:
    """Compute the expected calibration error by the formula of Guo et al. (2017)."""
    confidence, right = proba.max(axis=1), proba.argmax(axis=1) == y
    error = 0.0
    for m in range(1, ECE_BINS + 1):
        inside = ((m - 1) / ECE_BINS < confidence) & (confidence <= m / ECE_BINS)
        error += abs((weights * (right.astype(float) - confidence))[inside].sum())
    return error / weights.sum()


def test_the_table_says_which_metrics_depend_on_the_positive_class() -> None:
    """The leaderboard ranks all others for both classes together."""
    changed = set()
    for seed in range(5):
        predictions = random_predictions(2, 40, seed)
        # A sure head: 1 - 1e-17 and 1 - 1e-18 are both 1, so that images tie for one class only.
        tiny = np.geomspace(1e-17, 1e-40, len(predictions.y))
        sure = Predictions.of(predictions.y, np.column_stack([tiny, 1 - tiny]), positive=1)
        for one in (predictions, sure):
            other = replace(one, positive=0)
            changed |= {
                name
                for name, value in point_values(one).items()
                if not np.isclose(value, point_values(other)[name], rtol=1e-9, equal_nan=True)
            }
    assert changed == {name for name, metric in METRIC_TABLE.items() if metric.of_class}


@problems
def test_metrics_equal_scikit_learn_s(n_classes: int, n: int, seed: int, ties: bool) -> None:
    from sklearn import metrics

    predictions = random_predictions(n_classes, n, seed, ties=ties)
    weights = np.random.default_rng(seed).integers(0, 4, len(predictions.y)).astype(float)
    # Every class keeps some weight: scikit-learn only warns of undefined metrics.
    weights[:n_classes] += 1
    values = WeightedMetrics(predictions)(np.stack([np.ones(len(weights)), weights]))
    assert list(values) == list(METRIC_NAMES)
    y, proba, predicted = predictions.y, predictions.proba[0], predictions.predicted[0]
    average = "binary" if n_classes == 2 else "macro"
    for number, w in enumerate((np.ones(len(weights)), weights)):
        got = {name: by_resample[number] for name, by_resample in values.items()}
        w = {"sample_weight": w}
        assert got["accuracy"] == pytest.approx(metrics.accuracy_score(y, predicted, **w))
        assert got["balanced_accuracy"] == pytest.approx(
            metrics.balanced_accuracy_score(y, predicted, **w)
        )
        assert got["sensitivity"] == pytest.approx(
            metrics.recall_score(y, predicted, average=average, **w)
        )
        assert got["f1"] == pytest.approx(metrics.f1_score(y, predicted, average=average, **w))
        assert got["mcc"] == pytest.approx(metrics.matthews_corrcoef(y, predicted, **w))
        assert got["log_loss"] == pytest.approx(
            metrics.log_loss(y, proba, labels=range(n_classes), **w)
        )
        hot = np.eye(n_classes)[y]
        if n_classes == 2:
            hot, proba_of = y, proba[:, 1]
            assert got["brier"] == pytest.approx(metrics.brier_score_loss(y, proba_of, **w))
        else:
            proba_of = proba
            assert got["brier"] == pytest.approx(
                np.average(((proba - hot) ** 2).sum(axis=1), weights=w["sample_weight"])
            )
        assert got["roc_auc"] == pytest.approx(metrics.roc_auc_score(hot, proba_of, **w))
        assert got["average_precision"] == pytest.approx(
            metrics.average_precision_score(hot, proba_of, **w)
        )
        assert got["ece"] == pytest.approx(
            calibration_error(y, proba, w["sample_weight"]), abs=1e-9
        )


@problems
def test_each_class_against_the_rest(n_classes: int, n: int, seed: int, ties: bool) -> None:
    from sklearn.metrics import precision_score, recall_score

    predictions = random_predictions(n_classes, n, seed, ties=ties)
    y, predicted = predictions.y, predictions.predicted[0]
    got = point_values(predictions)

    def mean(score_of: object, *, rest: bool) -> float:
        assert callable(score_of)
        chosen = [1] if n_classes == 2 else range(n_classes)
        ours = [((y == number) != rest, (predicted == number) != rest) for number in chosen]
        values = [score_of(truth, called, zero_division=np.nan) for truth, called in ours]
        defined = [value for value in values if not np.isnan(value)]
        return float(np.mean(defined)) if defined else float("nan")

    assert got["specificity"] == pytest.approx(mean(recall_score, rest=True), nan_ok=True)
    assert got["ppv"] == pytest.approx(mean(precision_score, rest=False), nan_ok=True)
    assert got["npv"] == pytest.approx(mean(precision_score, rest=True), nan_ok=True)


def test_probabilities_and_predicted_classes_are_kept_apart() -> None:
    proba = np.array([[0.8, 0.2], [0.6, 0.4], [0.7, 0.3], [0.9, 0.1]])
    y = np.array([0, 1, 1, 0])
    likeliest = Predictions.of(y, proba, positive=1)
    # A threshold of 0.25 instead of a half.
    chosen = Predictions(y, proba[None], np.array([[0, 1, 1, 0]]), np.arange(4), 1)
    first, second = point_values(likeliest), point_values(chosen)
    assert (first["accuracy"], second["accuracy"], second["mcc"]) == (0.5, 1, 1)
    for name in ("roc_auc", "average_precision", "log_loss", "brier", "ece"):
        assert first[name] == second[name]


def test_repeats_are_scored_one_by_one_and_averaged() -> None:
    both = random_predictions(3, 40, seed=1, n_repeats=2)
    of_repeats = [point_values(Predictions.of(both.y, proba)) for proba in both.proba]
    for name, value in point_values(both).items():
        assert value == pytest.approx((of_repeats[0][name] + of_repeats[1][name]) / 2)


def test_a_class_that_one_repeat_never_predicts() -> None:
    y = np.array([0, 0, 1, 1])
    proba = np.array([[[0.9, 0.1]] * 4, [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.1, 0.9]]])
    assert point_values(Predictions.of(y, proba, positive=1))["ppv"] == pytest.approx(2 / 3)


def test_positive_0_swaps_sensitivity_and_specificity() -> None:
    y, proba = np.array([0, 0, 0, 1]), np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8]])
    as_one, as_zero = (score(Predictions.of(y, proba, positive=number)) for number in (1, 0))
    for end in ("", "_low", "_high"):
        assert as_one[f"sensitivity{end}"] == as_zero[f"specificity{end}"]
        assert as_one[f"ppv{end}"] == as_zero[f"npv{end}"]
    assert as_zero["sensitivity"] == pytest.approx(2 / 3)
    assert as_one["roc_auc"] == pytest.approx(as_zero["roc_auc"])
    assert (as_one["average_precision"], as_zero["average_precision"]) == pytest.approx(
        (0.5, (1 + 1 + 3 / 4) / 3)
    )


def test_undefined_metrics_are_nan() -> None:
    got = score(Predictions.of(np.array([1, 1]), np.array([[0.2, 0.8], [0.6, 0.4]]), positive=1))
    undefined = {"specificity", "mcc", "roc_auc"}
    assert {name for name in METRIC_NAMES if np.isnan(got[name])} == undefined
    for name in undefined:
        assert np.isnan(got[f"{name}_low"])
        assert np.isnan(got[f"{name}_high"])
    no_positives = point_values(
        Predictions.of(np.array([0, 0]), np.array([[0.8, 0.2], [0.6, 0.4]]), positive=1)
    )
    assert {name for name, value in no_positives.items() if np.isnan(value)} == {
        *("sensitivity", "ppv", "f1", "mcc", "roc_auc", "average_precision"),
    }
    assert no_positives["npv"] == 1


def test_a_head_that_always_predicts_the_same() -> None:
    y, proba = np.array([0, 1, 1, 1]), np.tile([0.25, 0.75], (4, 1))
    got = point_values(Predictions.of(y, proba, positive=1))
    assert (got["mcc"], got["roc_auc"], got["average_precision"], got["balanced_accuracy"]) == (
        0,
        0.5,
        0.75,
        0.5,
    )
    assert got["ece"] == pytest.approx(0)
    assert np.isnan(got["npv"])


@settings(max_examples=40)
@example(n=2, n_classes=4, n_repeats=1, n_groups=2, sure=False, seed=159)
@example(n=10, n_classes=2, n_repeats=1, n_groups=5, sure=False, seed=0)
@given(
    st.integers(1, 30),
    st.integers(2, 4),
    st.integers(1, 3),
    st.integers(1, 30),
    st.booleans(),
    st.integers(0, 10**6),
)
def test_any_predictions_can_be_scored(
    n: int, n_classes: int, n_repeats: int, n_groups: int, sure: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    y, groups = rng.integers(0, n_classes, n), rng.integers(0, n_groups, n) * 7
    proba = rng.dirichlet(np.ones(n_classes), (n_repeats, n))
    if sure:
        proba = np.eye(n_classes)[proba.argmax(axis=2)]
    positive = None if n_classes > 2 else int(rng.integers(0, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = score(Predictions.of(y, proba, groups=groups, positive=positive), seed=seed)
    assert list(got) == list(METRIC_COLUMNS)
    for name in METRIC_NAMES:
        value, low, high = got[name], got[f"{name}_low"], got[f"{name}_high"]
        assert np.isnan(low) == np.isnan(high)
        assert np.isnan(low) or low <= value <= high
        assert np.isnan(low) or METRIC_TABLE[name].negative or low >= 0
        assert not np.isnan(value) or np.isnan(low)


def test_names() -> None:
    assert METRIC_COLUMNS[:4] == ("accuracy", "accuracy_low", "accuracy_high", "balanced_accuracy")
    assert len(METRIC_COLUMNS) == 3 * len(METRIC_NAMES)
    lower = {name for name, metric in METRIC_TABLE.items() if metric.better == "lower"}
    assert lower == {"log_loss", "brier", "ece"}
