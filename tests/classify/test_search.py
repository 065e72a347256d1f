"""Hyper-parameters, calibration and threshold: chosen within the training part alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from freezeframe import FeatureStore, FreezeframeError, ParameterError
from freezeframe.classify.fit.fitting import fit_classifier
from freezeframe.classify.fit.search import FitOptions, fit_head, inner_folds
from freezeframe.classify.heads.calibration import Calibration, fit_calibration, threshold_for
from freezeframe.classify.heads.table import FOR_ANY_LAYER, make_head
from freezeframe.classify.task.task import make_task
from freezeframe.data.splits import grouped_folds
from freezeframe.features.layout import IDENTITY_COLUMNS
from freezeframe.features.new_store import create_store
from freezeframe.features.store_lock import store_lock
from freezeframe.features.writer import StoreWriter

from ..conftest import PROVENANCE


def problem(n: int = 120, d: int = 12, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = np.arange(n) % 2
    X = rng.normal(0, noise, (n, d)).astype(np.float32)
    X[:, 0] += 2 * y
    return X, y


def folds_of(y: np.ndarray) -> Any:
    return inner_folds(y, np.arange(len(y)), None, seed=0)


@given(
    st.lists(st.integers(0, 12), min_size=20, max_size=60),
    st.integers(2, 5),
    st.integers(0, 2**32 - 1),
)
def test_folds_cut_no_group_and_skip_no_row(groups: list[int], n_folds: int, seed: int) -> None:
    numbers = np.array(groups)
    labels = np.array(["a" if group % 2 else "b" for group in groups])
    try:
        folds = grouped_folds(labels, numbers, n_folds=n_folds, seed=seed)
    # A class may have too few groups, which the next test is about.
    except FreezeframeError:
        return
    judged = np.concatenate([fold[1] for fold in folds])
    assert sorted(judged) == list(range(len(groups)))
    for fitted, unseen in folds:
        assert not set(numbers[fitted]) & set(numbers[unseen])
        assert set(labels[fitted]) == set(labels[unseen]) == set(labels)


def test_impossible_folds_are_refused() -> None:
    labels = ["a"] * 9 + ["b"] * 3
    with pytest.raises(
        FreezeframeError, match="4 folds are too many: class 'b' has 3 independent images"
    ):
        grouped_folds(labels, np.arange(12), n_folds=4)
    with pytest.raises(ParameterError, match="n_folds must be at least 2, got 1"):
        grouped_folds(labels, np.arange(12), n_folds=1)


def test_a_rare_class_gets_fewer_folds_and_a_unique_one_none() -> None:
    def n_folds(rare: int) -> int:
        labels = np.array(["a"] * 20 + ["b"] * rare)
        return len(inner_folds(labels, np.arange(len(labels)), None, seed=0))

    assert [n_folds(rare) for rare in (1, 2, 3, 9)] == [0, 2, 3, 5]


def test_a_validation_split_is_the_only_fold() -> None:
    labels = np.array(["a", "b"] * 5)
    validation = np.arange(10) > 6
    ((fitted, judged),) = inner_folds(labels, np.arange(10), validation, seed=0)
    assert (fitted.tolist(), judged.tolist()) == (list(range(7)), [7, 8, 9])
    one_class = np.array(["a"] * 7 + ["b"] * 3)
    assert inner_folds(one_class, np.arange(10), validation, seed=0) == []


@pytest.mark.parametrize(
    "head", ["logreg", "ridge", "linear-svm", "rbf-svm", "knn", "lda", "xgboost"]
)
def test_test_images_have_no_influence_on_the_head(tmp_path: Path, head: str) -> None:
    """Other features and labels of the test rows give the same head, to the last bit."""
    splits = ["train"] * 30 + ["test"] * 10
    models = []
    for number, labels in enumerate((["x", "y"] * 20, ["x", "y"] * 15 + ["y", "x"] * 5)):
        rng = np.random.default_rng(0)
        features = (
            rng.normal(size=(40, 3, 3, 8))
            + np.array([label == "x" for label in labels])[:, None, None, None]
        )
        features[30:] *= 1 + 99 * number
        path = tmp_path / f"{number}.h5"
        rows = dict.fromkeys(IDENTITY_COLUMNS, [""] * 40) | {"label": labels, "split": splits}
        rows |= {
            "path": [f"{i}.png" for i in range(40)],
            "sha256": [f"{i:064x}" for i in range(40)],
        }
        with store_lock(path):
            create_store(path, rows, {"block5_pool": (3, 3, 8)}, PROVENANCE)
            with StoreWriter(path) as writer:
                writer.write(range(40), {"block5_pool": features}, [(1, 1)] * 40)
        options = FitOptions(calibrate=True, sensitivity=0.9)
        run = fit_classifier(
            make_task(FeatureStore(path)), head, options, leaderboard=tmp_path / "l.csv"
        )
        arrays = load_file(run.folder / "model.safetensors")
        models.append(
            (
                arrays,
                {name: run.row[name] for name in ("hyperparameters", "threshold", "n_searched")},
            )
        )
    assert models[0][1] == models[1][1]
    assert models[0][0].keys() == models[1][0].keys()
    for name, array in models[0][0].items():
        np.testing.assert_array_equal(array, models[1][0][name])


def test_the_simplest_of_several_equal_candidates_is_taken() -> None:
    X, y = problem()
    head, n_searched = fit_head("majority", X, y, 2, folds_of(y), FitOptions())
    assert (head.parameters, n_searched) == ({}, 1)
    head, n_searched = fit_head(
        "lda", X, y, 2, folds_of(y), FitOptions(parameters={"shrinkage": 0.25})
    )
    assert (head.parameters, n_searched) == ({"shrinkage": 0.25}, 1)
    head, n_searched = fit_head(
        "knn", X, y, 2, folds_of(y), FitOptions(parameters={"n_neighbors": 7})
    )
    assert head.parameters["n_neighbors"] == 7
    # The weights of the votes are not fixed and have two values.
    assert n_searched == 2


def test_the_candidate_of_least_log_loss_is_taken() -> None:
    X, y = problem(noise=2.0)
    folds = folds_of(y)
    head, n_searched = fit_head("logreg", X, y, 2, folds, FitOptions("wide"))
    losses = {}
    for C in make_head("logreg").space("wide", X)["C"]:
        proba = np.full((len(y), 2), np.nan)
        for fitted, judged in folds:
            candidate = make_head("logreg", C=C)
            candidate.fit(X[fitted], y[fitted], 2)
            proba[judged] = candidate.predict_proba(X[judged])
        losses[C] = np.mean([-np.log(proba[judged, y[judged]]).mean() for _, judged in folds])
    assert n_searched == len(losses)
    assert losses[head.parameters["C"]] == pytest.approx(min(losses.values()), abs=1e-3)


def test_a_penalty_means_the_same_for_features_of_any_scale() -> None:
    X, y = problem()
    small, large = (
        fit_head("logreg", X * scale, y, 2, folds_of(y), FitOptions())[0] for scale in (1.0, 1000.0)
    )
    assert small.parameters["C"] == pytest.approx(1e6 * large.parameters["C"], rel=0.02)


@pytest.mark.parametrize("name", ["ridge", "linear-svm", "rbf-svm"])
def test_margins_become_probabilities(name: str) -> None:
    X, y = problem(400, noise=1.5)
    head, _ = fit_head(name, X[:300], y[:300], 2, folds_of(y[:300]), FitOptions())
    proba = head.predict_proba(X[300:])[:, 1]
    wrong = (proba > 0.5) != y[300:]
    assert abs(wrong.mean() - np.minimum(proba, 1 - proba).mean()) < 0.1
    few, _ = fit_head(name, X[:300], y[:300], 2, [], FitOptions())
    assert few.notes == [
        f"{name}: too few independent images to calibrate it; its probabilities mean little"
    ]


def test_calibration_lowers_the_loss_of_an_overconfident_head() -> None:
    rng = np.random.default_rng(1)
    y = np.arange(600) % 2
    X = np.repeat(rng.normal(size=(600, 1)) + y[:, None], 20, axis=1) + rng.normal(
        0, 0.01, (600, 20)
    )
    fitted = X[:400].astype(np.float32)
    unseen = X[400:].astype(np.float32)
    losses = []
    for calibrate in (False, True):
        options = FitOptions(calibrate=calibrate)
        head, _ = fit_head("naive-bayes", fitted, y[:400], 2, folds_of(y[:400]), options)
        losses.append(-np.log(head.predict_proba(unseen)[np.arange(200), y[400:]]).mean())
    assert losses[1] < 0.7 < losses[0]


def test_a_sensitivity_sets_the_threshold() -> None:
    X, y = problem(2000, noise=2.0)
    for positive in (0, 1):
        shares = {}
        for sensitivity in (0.5, 0.9, 0.99):
            head, _ = fit_head(
                "logreg",
                X[:1000],
                y[:1000],
                2,
                folds_of(y[:1000]),
                FitOptions(sensitivity=sensitivity),
                positive=positive,
            )
            predicted = head.predict(X[1000:])
            shares[sensitivity] = (predicted == positive)[y[1000:] == positive].mean()
        assert all(abs(share - sensitivity) < 0.05 for sensitivity, share in shares.items())
    with pytest.raises(ParameterError, match="sensitivity is for two classes only; leave it out"):
        fit_head("logreg", X, y, 2, [], FitOptions(sensitivity=0.9))


@given(
    st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=1, max_size=50),
    st.floats(0.01, 1),
    st.integers(0, 1),
)
def test_the_threshold_is_the_highest_that_finds_enough(
    rows: list[tuple[int, bool]], sensitivity: float, positive: int
) -> None:
    proba = np.array([p / 20 for p, _ in rows] + [0.5])
    y = np.array([positive if own else 1 - positive for _, own in rows] + [positive])
    threshold = threshold_for(proba, y, sensitivity, positive)
    own = proba[y == positive]
    assert (own >= threshold).mean() >= sensitivity - 1e-9
    higher = own[own > threshold]
    assert not len(higher) or (own >= higher.min()).mean() < sensitivity


def test_calibration_equals_platts() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    margin = rng.normal(size=3000)
    y = (rng.random(3000) < 1 / (1 + np.exp(-2 * margin + 0.5))).astype(int)
    fitted = fit_calibration(np.column_stack([0 * margin, margin]), y)
    platt = LogisticRegression(C=1e6).fit(margin[:, None], y)
    assert fitted.slope == pytest.approx(platt.coef_[0, 0], rel=0.01)
    assert fitted.biases[1] - fitted.biases[0] == pytest.approx(platt.intercept_[0], abs=0.01)
    three = fit_calibration(np.log(rng.dirichlet(np.ones(3), 500)) * 9, rng.integers(0, 3, 500))
    assert three.slope < 0.1


def test_calibration_by_separated_scores_is_not_certain() -> None:
    margin = np.concatenate([np.full(20, -1.0), np.full(20, 1.0)])
    fitted = fit_calibration(np.column_stack([0 * margin, margin]), (margin > 0).astype(int))
    proba = fitted.proba(np.array([[0.0, 1.0]]))[0, 1]
    assert 0.9 < proba < 0.99


def test_a_threshold_decides() -> None:
    proba = np.array([[0.7, 0.3], [0.4, 0.6]])
    assert Calibration().decide(proba).tolist() == [0, 1]
    assert Calibration(threshold=0.3).decide(proba).tolist() == [1, 1]
    assert Calibration(threshold=0.5, positive=0).decide(proba).tolist() == [0, 1]


def test_parameters_are_fixed_for_one_head_or_for_all_that_have_them() -> None:
    options = FitOptions(parameters={"C": 0.5, "rbf-svm.C": 3, "gamma": 2.0})
    assert options.fixed_for("logreg") == {"C": 0.5}
    assert options.fixed_for("rbf-svm") == {"C": 3, "gamma": 2.0}
    assert options.fixed_for("majority") == {}
    options.check(["logreg", "rbf-svm", "majority"])

    def refused(message: str, parameters: dict[str, Any], names: list[str]) -> None:
        with pytest.raises(ParameterError, match=message):
            FitOptions(parameters=parameters).check(names)

    refused(
        "parameter rbf-svm.C: 'rbf-svm' is not among the heads to fit: logreg",
        {"rbf-svm.C": 1.0},
        ["logreg"],
    )
    refused(
        "parameter 'depth': no head to fit has it; they have C, max_iter, tol",
        {"depth": 1},
        ["logreg"],
    )
    refused(
        "logreg has no parameter 'depth'; it has C, max_iter, tol", {"logreg.depth": 1}, ["logreg"]
    )
    refused("logreg: C must be float, got 'much'", {"C": "much"}, ["logreg"])
    refused("knn: n_neighbors must be int, got 2.5", {"n_neighbors": 2.5}, ["knn"])
    refused("head 'svm' is unknown", {}, ["svm"])
    refused("logreg: C must lie between 1e-30 and 1e[+]30, got -1", {"C": -1}, ["logreg"])
    refused(
        "logreg: C must lie between 1e-30 and 1e[+]30, got nan", {"C": float("nan")}, ["logreg"]
    )
    refused("knn: n_neighbors must lie between 1 and 1000000, got 0", {"n_neighbors": 0}, ["knn"])
    refused("knn: weights must be uniform or distance, got 'foo'", {"weights": "foo"}, ["knn"])
    refused("lda: shrinkage must lie between 0 and 1, got 2", {"shrinkage": 2}, ["lda"])
    refused("rbf-svm: gamma must lie between", {"gamma": 0}, ["rbf-svm"])
    with pytest.raises(
        ParameterError, match="search must be one of none, default, wide, got 'all'"
    ):
        FitOptions("all")
    with pytest.raises(ParameterError, match="sensitivity must be between 0 and 1, got 95"):
        FitOptions(sensitivity=95)


@pytest.mark.parametrize("search", ["none", "default", "wide"])
def test_every_candidate_of_every_head_can_be_made(search: str) -> None:
    X, _ = problem()
    for name in FOR_ANY_LAYER:
        space = make_head(name).space(search, X)
        assert search != "none" or not space
        for key, values in space.items():
            assert len(set(values)) == len(values)
            for value in values:
                assert make_head(name, **{key: value}).parameters[key] == value
        json.dumps({key: list(values) for key, values in space.items()})
