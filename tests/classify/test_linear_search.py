"""The exact reduction and the estimator on it give scikit-learn's results on the features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from freezeframe import FeatureStore, StoreError
from freezeframe.classify.solvers.reduced_search import ReducedSearchCV
from freezeframe.classify.solvers.reduction import reduce
from freezeframe.classify.solvers.streamed import fit_streamed

from ..conftest import MakeStore

LINEAR = {
    "C": (LogisticRegression(tol=1e-9, max_iter=5000), [0.001, 0.01, 0.1, 1.0]),
    "alpha": (RidgeClassifier(tol=1e-9), [1000.0, 100.0, 10.0, 1.0]),
    "C of LinearSVC": (LinearSVC(dual=False, tol=1e-9), [0.001, 0.01, 0.1]),
}


def problem(n_classes: int, d: int, n: int = 90) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = np.arange(n) % n_classes
    X = rng.normal(size=(n, d))
    X[:, :n_classes] += 1.5 * np.eye(n_classes)[y]
    # A copy makes the Gram matrix singular.
    X[5] = X[5 + n_classes]
    return X, y


@parametrize_with_checks(
    [
        ReducedSearchCV(values=[0.1, 1.0], cv=2),
        ReducedSearchCV(RidgeClassifier(), parameter="alpha", values=[10.0, 1.0], cv=2),
        ReducedSearchCV(LinearSVC(), cv=2),
        ReducedSearchCV(values=[0.1, 1.0], cv=2, max_bytes=0),
    ]
)
def test_the_search_passes_scikit_learn_s_checks(estimator: Any, check: Any) -> None:
    check(estimator)


@given(st.integers(1, 12), st.integers(1, 40), st.integers(0, 6), st.integers(0, 10**6))
def test_a_reduction_keeps_inner_products_and_converts_coefficients(
    n: int, d: int, copies: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) * 10.0 ** rng.integers(-3, 4)
    X = np.concatenate([X, X[rng.integers(0, n, copies)]])
    reduction = reduce(X)
    assert reduction is not None
    Z = reduction.matrix
    scale = np.abs(X @ X.T).max()
    np.testing.assert_allclose(Z @ Z.T, X @ X.T, atol=1e-9 * scale)
    # In the span of the rows of Z.
    V = rng.normal(size=(2, len(Z))) @ Z
    np.testing.assert_allclose(
        X @ reduction.to_features(V).T, Z @ V.T, atol=1e-7 * np.abs(Z @ V.T).max()
    )


def test_features_of_zeros_are_reduced() -> None:
    reduction = reduce(np.zeros((3, 10), np.float32))
    assert reduction is not None
    assert not reduction.matrix.any()
    assert not reduction.to_features(np.zeros((1, reduction.matrix.shape[1]))).any()


@pytest.mark.parametrize("max_bytes", [2**30, 0], ids=["reduced", "streamed"])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("d", [400, 20])
@pytest.mark.parametrize("kind", LINEAR)
def test_the_search_equals_a_grid_search_on_the_features(
    kind: str, d: int, n_classes: int, max_bytes: int
) -> None:
    estimator, values = LINEAR[kind]
    X, y = problem(n_classes, d)
    groups = np.arange(90) // 2
    parameter = kind.split()[0]
    grid = GridSearchCV(estimator, {parameter: values}, cv=StratifiedGroupKFold(5)).fit(
        X, y, groups=groups
    )
    search = ReducedSearchCV(
        estimator, parameter=parameter, values=values, max_bytes=max_bytes
    ).fit(X, y, groups)
    assert search.best_value_ == grid.best_params_[parameter]
    np.testing.assert_allclose(search.cv_scores_.mean(axis=1), grid.cv_results_["mean_test_score"])
    best = grid.best_estimator_
    tolerance = 1e-5 * np.abs(best.coef_).max()
    np.testing.assert_allclose(search.coef_, np.atleast_2d(best.coef_), atol=tolerance)
    np.testing.assert_allclose(search.intercept_, best.intercept_, atol=1e-5)
    np.testing.assert_allclose(search.decision_function(X), grid.decision_function(X), atol=1e-3)
    if hasattr(best, "predict_proba"):
        np.testing.assert_allclose(search.predict_proba(X), best.predict_proba(X), atol=1e-4)
    else:
        assert not hasattr(search, "predict_proba")


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_penalty_may_be_chosen_by_log_loss(n_classes: int) -> None:
    X, y = problem(n_classes, 300)
    values = [1e-4, 1e-3, 1e-2, 0.1, 1.0]
    solver = LogisticRegression(tol=1e-9, max_iter=5000)
    grid = GridSearchCV(solver, {"C": values}, scoring="neg_log_loss").fit(X, y)
    search = ReducedSearchCV(solver, values=values, scoring="neg_log_loss").fit(X, y)
    assert search.best_value_ == grid.best_params_["C"]
    np.testing.assert_allclose(
        search.cv_scores_.mean(axis=1), grid.cv_results_["mean_test_score"], atol=1e-6
    )
    with pytest.raises(
        ValueError,
        match="scoring must be accuracy, or neg_log_loss of logistic regression, got 'f1'",
    ):
        ReducedSearchCV(scoring="f1").fit(X, y)


@pytest.mark.parametrize(
    "estimator",
    [
        RidgeClassifier(fit_intercept=False),
        RidgeClassifier(class_weight="balanced"),
        LogisticRegression(fit_intercept=False),
        LogisticRegression(C=1.0, solver="saga"),
        LinearSVC(loss="hinge"),
        LinearSVC(penalty="l1"),
    ],
)
def test_unsupported_options_are_refused(estimator: Any) -> None:
    X, y = problem(2, 300)
    with pytest.raises(ValueError, match="is not supported on reduced features"):
        ReducedSearchCV(estimator).fit(X, y)


def test_an_estimator_that_is_not_linear_is_refused() -> None:
    from sklearn.svm import SVC

    with pytest.raises(ValueError, match="must be a linear classifier with an L2 penalty, got SVC"):
        ReducedSearchCV(SVC()).fit(*problem(2, 300))
    with pytest.raises(ValueError, match="values are empty"):
        ReducedSearchCV(values=[]).fit(*problem(2, 300))


@pytest.mark.parametrize("alpha", [0.0, 1e-12])
def test_a_ridge_without_a_penalty_has_a_solution(alpha: float) -> None:
    X, y = problem(2, 300)
    search = ReducedSearchCV(RidgeClassifier(alpha=alpha), parameter="alpha").fit(
        X.astype(np.float32), y
    )
    # The copy has the label of its original.
    assert search.score(X.astype(np.float32), y) > 0.97


def test_single_precision_with_copies_equals_double_precision() -> None:
    X, y = problem(2, 3000, n=120)
    X = np.concatenate([np.abs(X) * 100, np.abs(X[:40]) * 100])
    y = np.concatenate([y, y[:40]])
    for C in (1e-8, 1e-5, 1e-2):
        solver = LogisticRegression(C=C, tol=1e-7, max_iter=5000)
        single = (
            ReducedSearchCV(solver).fit(X.astype(np.float32), y).predict_proba(X.astype(np.float32))
        )
        np.testing.assert_allclose(single, solver.fit(X, y).predict_proba(X), atol=2e-3)


def test_rows_of_a_store_are_searched_without_being_loaded(
    make_store: MakeStore, monkeypatch: Any
) -> None:
    from freezeframe.features.rows.feature_rows import FeatureRows

    store = FeatureStore(make_store("a.h5", ["a", "b"] * 15))
    rows = store.select("block3_pool", pooling="flat")
    X, y = np.asarray(rows, dtype=np.float64), store.labels[store.rows()]
    monkeypatch.setattr(FeatureRows, "__array__", None)
    # Several panels, several blocks.
    monkeypatch.setattr("freezeframe.features.rows.feature_rows.BLOCK_BYTES", 4 * 30 * 20)
    expected = ReducedSearchCV(LogisticRegression(tol=1e-8, max_iter=9999), values=[0.1, 1.0]).fit(
        X, y
    )
    for max_bytes in (2**30, 0):
        search = ReducedSearchCV(
            LogisticRegression(tol=1e-8, max_iter=9999), values=[0.1, 1.0], max_bytes=max_bytes
        )
        search.fit(rows, y)
        assert search.best_value_ == expected.best_value_
        np.testing.assert_allclose(search.coef_, expected.coef_, atol=1e-4)
        np.testing.assert_allclose(search.predict_proba(rows), expected.predict_proba(X), atol=1e-4)


@pytest.mark.parametrize("max_bytes", [2**30, 0])
def test_damaged_rows_are_noticed(make_store: MakeStore, max_bytes: int) -> None:
    import h5py

    path = make_store("a.h5", ["a", "b"] * 6)
    with h5py.File(path, "r+") as file:
        file["layers/block3_pool"][3, 0, 0, 0] = 1e6
    store = FeatureStore(path)
    with pytest.raises(StoreError, match=r"the block3_pool features of b/3\.png are damaged"):
        ReducedSearchCV(max_bytes=max_bytes).fit(
            store.select("block3_pool", pooling="flat"), store.labels
        )


def test_a_memory_map_is_streamed(tmp_path: Path) -> None:
    X, y = problem(2, 30)
    mapped = np.memmap(tmp_path / "x", X.dtype, "w+", shape=X.shape)
    mapped[:] = X
    search = ReducedSearchCV(LogisticRegression(tol=1e-9), max_bytes=0).fit(mapped, y)
    expected = LogisticRegression(tol=1e-9).fit(X, y)
    np.testing.assert_allclose(search.coef_, expected.coef_, atol=1e-5)


def test_only_linear_models_are_streamed() -> None:
    from sklearn.svm import SVC

    from freezeframe.classify.matrix import ArrayRows

    with pytest.raises(TypeError, match="streamed for linear models only, not for SVC"):
        fit_streamed(SVC(), ArrayRows(np.eye(2)), np.arange(2))
