"""Linear classifiers on features that do not fit in memory: L-BFGS whose every step is one pass over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...features.rows import BLOCK_BYTES, FeatureRows

Loss = Callable[[NDArray[np.float64], NDArray[np.float64]], tuple[float, NDArray[np.float64]]]


class ArrayRows:
    """Rows of an array, a memory map say, that are read block by block as those of a store are."""

    def __init__(self, array: NDArray[Any], numbers: NDArray[np.intp] | None = None) -> None:
        self._array, self._numbers = array, np.arange(len(array)) if numbers is None else numbers
        self.shape = (len(self._numbers), array.shape[1])

    def __len__(self) -> int:
        return len(self._numbers)

    def take(self, numbers: NDArray[np.intp]) -> ArrayRows:
        """Some of these rows."""
        return ArrayRows(self._array, self._numbers[numbers])

    def blocks(self) -> Iterator[tuple[slice, NDArray[Any]]]:
        """All rows in order, in blocks: where they stand, and their values."""
        step = max(1, BLOCK_BYTES // (self.shape[1] * self._array.dtype.itemsize))
        for start in range(0, len(self), step):
            rows = slice(start, min(start + step, len(self)))
            yield rows, np.asarray(self._array[self._numbers[rows]])


def fit_streamed(
    estimator: Any, X: FeatureRows | ArrayRows, y: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What `estimator.fit(X, y)` would find, reading X block by block.

    Args:
        estimator: scikit-learn's `LogisticRegression`, `RidgeClassifier` or `LinearSVC` (squared
            hinge), L2-penalised.
        X: of shape (n_rows, n_features).
        y: class labels of shape (n_rows,).

    Returns:
        Coefficients of shape (n_outputs, n_features) and intercepts of shape (n_outputs,), one
        output for two classes.

    Raises:
        TypeError: another estimator.
    """
    from scipy.optimize import minimize

    loss, strength, penalised = _problem(estimator)
    classes, codes = np.unique(y, return_inverse=True)
    targets = np.where(
        codes[:, None] == (np.array([1]) if len(classes) == 2 else np.arange(len(classes))),
        1.0,
        -1.0,
    )
    n, d = X.shape
    scale = 1 / (strength * n)  # of the penalty against the mean loss, as scikit-learn weighs them

    def objective(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights = flat.reshape(-1, d + 1)
        total, gradient = 0.0, np.zeros_like(weights)
        for rows, block in X.blocks():
            value, slopes = loss(block @ weights[:, :d].T + weights[:, d], targets[rows])
            total += value / n
            gradient[:, :d] += slopes.T @ block / n
            gradient[:, d] += slopes.sum(axis=0) / n
        kept = weights.copy()
        kept[:, d] *= penalised
        return total + scale * float((kept**2).sum()) / 2, (gradient + scale * kept).ravel()

    # The solver's own criterion is on the decrease as well; only the gradient's is scikit-learn's.
    options = {
        "maxiter": estimator.max_iter or 15000,
        "gtol": estimator.tol,
        "ftol": 64 * np.finfo(float).eps,
    }
    start = np.zeros(targets.shape[1] * (d + 1))
    found = minimize(objective, start, jac=True, method="L-BFGS-B", options=options).x.reshape(
        -1, d + 1
    )
    return found[:, :d], found[:, d]


def _problem(estimator: Any) -> tuple[Loss, float, bool]:
    """The loss, how strongly it counts against half the squared norm, and whether the intercept is penalised, too."""
    from sklearn.linear_model import LogisticRegression, RidgeClassifier
    from sklearn.svm import LinearSVC

    if isinstance(estimator, LogisticRegression):
        return _logistic, estimator.C, False
    if isinstance(estimator, RidgeClassifier):
        return _squared, 1 / estimator.alpha, False
    if isinstance(estimator, LinearSVC):
        return _squared_hinge, 2 * estimator.C, True
    raise TypeError(
        f"features this large are streamed for linear models only, not for {type(estimator).__name__}"
    )


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
    missing = np.maximum(0, 1 - targets * scores)
    return float((missing**2).sum() / 2), -targets * missing
