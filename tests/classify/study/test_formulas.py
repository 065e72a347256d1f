"""Formulas of a report against independent oracles."""

from __future__ import annotations

import json

import numpy as np
import pytest

from freezeframe.classify.heads.conformal import fit_conformal
from freezeframe.classify.scores.evaluation import Evaluation
from freezeframe.classify.scores.predictions import Predictions
from freezeframe.classify.scores.weighted_metrics import point_values
from freezeframe.classify.study.report.calibration import class_rows
from freezeframe.classify.study.report.formulas import (
    calibration_line,
    net_benefit,
    predictive_values,
)

from ...conftest import REPOSITORY
from .studies import SURE, TRUTH, N

ORACLES = json.loads((REPOSITORY / "tests" / "golden" / "oracles.json").read_text())
"""Numbers of dcurves, MAPIE, netcal, scikit-learn and statsmodels: `scripts/checks/oracles.py`."""

DATA = {name: np.array(values) for name, values in ORACLES["data"].items()}
LESION = TRUTH == 0
ALONE = np.arange(N)


def test_net_benefit_is_that_of_dcurves() -> None:
    oracle = ORACLES["net benefit"]
    for name, p in (("head", DATA["p"]), ("act on all", np.ones(len(DATA["p"])))):
        ours = net_benefit(DATA["outcomes"] == 1, p, np.array(oracle["thresholds"]))
        np.testing.assert_allclose(ours, oracle[name], atol=5e-5)


def test_the_calibration_line_is_that_of_scikit_learn_and_statsmodels() -> None:
    oracle = ORACLES["calibration line"]
    line = calibration_line(DATA["outcomes"] == 1, DATA["p"], np.arange(len(DATA["p"])))
    assert line is not None
    assert line.slope[0] == pytest.approx(oracle["slope"], abs=5e-5)
    assert line.slope[0] == pytest.approx(oracle["slope by scikit-learn"], abs=5e-5)
    assert line.intercept[0] == pytest.approx(oracle["intercept"], abs=5e-5)


def test_the_calibration_error_is_that_of_netcal() -> None:
    scores = point_values(Predictions.of(DATA["y"], DATA["proba"]), ["ece"])
    assert scores["ece"] == pytest.approx(ORACLES["ece"]["ece"], abs=5e-5)


@pytest.mark.parametrize("rate", [0.1, 0.3])
def test_prediction_sets_are_those_of_mapie(rate: float) -> None:
    """They are defined alike where each image is its own group."""
    oracle = ORACLES["prediction sets"][str(rate)]
    n = ORACLES["prediction sets"]["n_calibration"]
    proba, y = DATA["proba"], DATA["y"]
    rule = fit_conformal(proba[:n], y[:n], np.arange(n), rate)
    assert rule.threshold == pytest.approx(oracle["threshold"], abs=5e-5)
    sets = rule.sets(proba[n:])
    assert sets is not None
    assert np.bincount(sets.sum(axis=1), minlength=4).tolist() == oracle["sizes"]
    coverage = sets[np.arange(len(sets)), y[n:]].mean()
    assert coverage == pytest.approx(oracle["coverage"], abs=5e-5)


def test_net_benefit_is_the_definition_of_the_paper() -> None:
    # Vickers and Elkin 2006: (true positives - false positives * p_t / (1 - p_t)) / n, by counting.
    for threshold in (0.07, 0.5, 0.93):
        treated = [y for y, p in zip(LESION.tolist(), SURE.tolist(), strict=True) if p >= threshold]
        odds = threshold / (1 - threshold)
        expected = (treated.count(True) - treated.count(False) * odds) / N
        ours = net_benefit(LESION, SURE, np.array([threshold]))
        assert ours[0] == pytest.approx(expected, abs=1e-12)


def newton(columns: np.ndarray, y: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Fit a logistic regression by Newton's steps."""
    beta = np.zeros(columns.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-(columns @ beta + offset)))
        hessian = columns.T @ (columns * (p * (1 - p))[:, None])
        beta = beta + np.linalg.solve(hessian, columns.T @ (y - p))
    return beta


@pytest.mark.parametrize("power", [0.5, 1.0, 3.0])
def test_slope_and_intercept_are_those_of_logistic_regressions(power: float) -> None:
    logits = power * np.log(SURE / (1 - SURE)) + 0.2
    line = calibration_line(LESION, 1 / (1 + np.exp(-logits)), ALONE)
    assert line is not None
    y = LESION.astype(float)
    ones = np.ones((N, 1))
    slope = newton(np.column_stack([ones, logits]), y, np.zeros(N))[1]
    intercept = newton(ones, y, logits)[0]
    assert line.slope[0] == pytest.approx(slope, abs=1e-6)
    assert line.intercept[0] == pytest.approx(intercept, abs=1e-6)
    # The true slope is 1 / power: the interval holds it.
    assert line.slope[1] < 1 / power < line.slope[2]


def test_images_of_one_group_make_the_interval_no_narrower() -> None:
    once = calibration_line(LESION, SURE, ALONE)
    copies = calibration_line(np.repeat(LESION, 4), np.repeat(SURE, 4), np.repeat(ALONE, 4))
    assert once is not None
    assert copies is not None
    np.testing.assert_allclose(copies.slope, once.slope, rtol=0.01)


@pytest.mark.parametrize(
    ("outcomes", "probabilities"),
    [
        (np.ones(N, dtype=bool), SURE),
        (LESION, np.full(N, 0.3)),
        (LESION, np.where(LESION, 0.8, 0.1)),
        (LESION, np.where(LESION, 0.0, 1.0)),
    ],
    ids=["one class", "one probability", "separated", "separated the wrong way"],
)
def test_calibration_that_is_not_defined(outcomes: np.ndarray, probabilities: np.ndarray) -> None:
    assert calibration_line(outcomes, probabilities, ALONE) is None


def test_certain_and_wrong_probabilities_have_a_finite_slope() -> None:
    line = calibration_line(LESION, np.where(ALONE % 9 == 0, LESION, ~LESION).astype(float), ALONE)
    assert line is not None
    assert np.isfinite([*line.slope, *line.intercept]).all()


def test_predictive_values_are_shares_of_counted_images() -> None:
    ill, healthy = 200, 1800
    hits, rejections = 0.9 * ill, 0.8 * healthy
    ppv, npv = predictive_values(0.9, 0.8, np.array([0.1, 0.0]))
    assert ppv[0] == pytest.approx(hits / (hits + 0.2 * healthy))
    assert npv[0] == pytest.approx(rejections / (rejections + 0.1 * ill))
    assert (ppv[1], npv[1]) == (0, 1)
    # Without false alarms nobody healthy is called ill.
    assert np.isnan(predictive_values(0.9, 1.0, np.array([0.0]))[0][0])


def test_each_class_has_its_own_probabilities_in_each_repeat() -> None:
    y = np.array([0, 1, 2, 0])
    groups = np.array([5, 6, 7, 5])
    # The share of the right class, in the first and in the second repeat.
    proba = np.stack([np.where(np.eye(3)[y] == 1, p, (1 - p) / 2) for p in (0.5, 0.7)])
    evaluation = Evaluation(
        "t",
        "set",
        "2-fold",
        ("a", "b", "c"),
        list("wxyz"),
        [""] * 4,
        Predictions.of(y, proba, groups=groups),
        np.array([""] * 4),
    )
    for number, rows in enumerate(class_rows(evaluation)):
        assert rows.name == "abc"[number]
        assert rows.outcomes.tolist() == [*(y == number), *(y == number)]
        assert rows.groups.tolist() == [*groups, *groups]
        assert rows.probabilities[rows.outcomes].min() == 0.5
        assert rows.probabilities[~rows.outcomes].max() == 0.25
