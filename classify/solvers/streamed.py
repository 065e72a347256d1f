"""Linear classifiers on features that do not fit in memory: each step of L-BFGS is one pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...features.rows.feature_rows import FeatureRows
from ..matrix import ArrayRows

Loss = Callable[[NDArray[np.float64], NDArray[np.float64]], tuple[float, NDArray[np.float64]]]
"""From scores and targets of shape (n_rows, n_outputs) to the summed loss and its derivatives."""


def fit_streamed(
    estimator: Any, X: FeatureRows | ArrayRows, y: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the solution of `estimator.fit(X, y)`, reading X block by block.

    Args:
        estimator: scikit-learn's `LogisticRegression`, `RidgeClassifier` or `LinearSVC` (squared
            hinge), L2-penalised.
        X: features of shape (n_rows, n_features).
        y: class labels of shape (n_rows,).

    Returns:
        Coefficients of shape (n_outputs, n_features) and intercepts of shape (n_outputs,), one
        output for two classes.

    Raises:
        TypeError: the estimator is of another kind.
    """
    from scipy.optimize import minimize

    n_features = X.shape[1]
    targets = _targets(y)
    # scikit-learn stops by the gradient alone, so the solver's other criterion is nearly off.
    options = {
        "maxiter": estimator.max_iter or 15000,
        "gtol": estimator.tol,
        "ftol": 64 * np.finfo(float).eps,
    }
    start = np.zeros(targets.shape[1] * (n_features + 1))
    objective = _objective(estimator, X, targets)
    solution = minimize(objective, start, jac=True, method="L-BFGS-B", options=options).x
    # (n_outputs * (n_features + 1),) -> (n_outputs, n_features + 1), the intercepts last
    solution = solution.reshape(-1, n_features + 1)
    return solution[:, :n_features], solution[:, n_features]


def _targets(y: NDArray[Any]) -> NDArray[np.float64]:
    """Return 1 for the class of an output and -1 for others, of shape (n_rows, n_outputs)."""
    classes, codes = np.unique(y, return_inverse=True)
    outputs = np.array([1]) if len(classes) == 2 else np.arange(len(classes))
    # (n_rows, 1) == (n_outputs,) -> (n_rows, n_outputs)
    return np.where(codes[:, None] == outputs, 1.0, -1.0)


def _objective(
    estimator: Any, X: FeatureRows | ArrayRows, targets: NDArray[np.float64]
) -> Callable[[NDArray[np.float64]], tuple[float, NDArray[np.float64]]]:
    """Return a function that computes the objective and its gradient in one pass over X."""
    loss, strength, penalises_intercept = _problem(estimator)
    n_rows, n_features = X.shape
    # Weight of the penalty against the mean loss, as in scikit-learn.
    scale = 1 / (strength * n_rows)

    def objective(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        # (n_outputs * (n_features + 1),) -> (n_outputs, n_features + 1), the intercepts last
        weights = flat.reshape(-1, n_features + 1)
        total = 0.0
        gradient = np.zeros_like(weights)
        for rows, block in X.blocks():
            scores = block @ weights[:, :n_features].T + weights[:, n_features]
            value, slopes = loss(scores, targets[rows])
            total += value / n_rows
            gradient[:, :n_features] += slopes.T @ block / n_rows
            gradient[:, n_features] += slopes.sum(axis=0) / n_rows
        penalised = weights.copy()
        penalised[:, n_features] *= penalises_intercept
        penalty = scale * float((penalised**2).sum()) / 2
        return total + penalty, (gradient + scale * penalised).ravel()

    return objective


def _problem(estimator: Any) -> tuple[Loss, float, bool]:
    """Return the optimisation problem of an estimator.

    Returns:
        The loss, its weight against half the squared norm, and True if the intercept is penalised.
    """
    from sklearn.linear_model import LogisticRegression, RidgeClassifier
    from sklearn.svm import LinearSVC

    if isinstance(estimator, LogisticRegression):
        return _logistic, estimator.C, False
    if isinstance(estimator, RidgeClassifier):
        return _squared, 1 / estimator.alpha, False
    if isinstance(estimator, LinearSVC):
        return _squared_hinge, 2 * estimator.C, True
    kind = type(estimator).__name__
    raise TypeError(f"features this large are streamed for linear models only, not for {kind}")


def _logistic(
    scores: NDArray[np.float64], targets: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    from scipy.special import expit, log_softmax

    if scores.shape[1] == 1:
        margins = targets * scores
        return float(np.logaddexp(0, -margins).sum()), -targets * expit(-margins)
    logs = log_softmax(scores, axis=1)
    return float(-logs[targets > 0].sum()), np.exp(logs) - (targets > 0)


def _squared(
    scores: NDArray[np.float64], targets: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    difference = scores - targets
    return float((difference**2).sum() / 2), difference


def _squared_hinge(
    scores: NDArray[np.float64], targets: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    shortfall = np.maximum(0, 1 - targets * scores)
    return float((shortfall**2).sum() / 2), -targets * shortfall
