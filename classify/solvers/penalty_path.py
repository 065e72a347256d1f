"""Fits of a linear classifier for one penalty after the other, on the same rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.linear_model import RidgeClassifier
from threadpoolctl import threadpool_limits

from ..matrix import AnyMatrix, Folds, blocks_of, take
from .streamed import fit_streamed

LinearFit = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Coefficients of shape (n_outputs, n_columns) and intercepts of shape (n_outputs,)."""


class PenaltyPath:
    """Fits of one linear classifier to some rows of a matrix, one penalty after the other.

    Args:
        estimator: a linear classifier of scikit-learn; it is cloned.
        parameter: name of the penalty, "C" or "alpha".
        X: features of shape (n_all_rows, n_columns).
        y: class labels of shape (n_all_rows,).
        rows: numbers of the rows to fit on.
    """

    def __init__(
        self,
        estimator: Any,
        parameter: str,
        X: AnyMatrix,
        y: NDArray[Any],
        rows: NDArray[np.intp],
    ) -> None:
        self._model = clone(estimator)
        self._parameter = parameter
        self._X = take(X, rows)
        self._y = y[rows]
        in_memory = isinstance(self._X, np.ndarray)
        ridge = in_memory and isinstance(estimator, RidgeClassifier)
        self._ridge = _DualRidge(self._X, self._y) if ridge else None
        # The solution for the penalty before is a good start for the next one.
        if "warm_start" in self._model.get_params():
            self._model.set_params(warm_start=True)

    def fit(self, value: float | None) -> LinearFit:
        """Return coefficients and intercepts for one penalty; None: the estimator's own."""
        if value is not None:
            self._model.set_params(**{self._parameter: value})
        if not isinstance(self._X, np.ndarray):
            return fit_streamed(self._model, self._X, self._y)
        if self._ridge is not None:
            return self._ridge.fit(self._model.alpha)
        self._model.fit(self._X, self._y)
        return np.atleast_2d(self._model.coef_), np.atleast_1d(self._model.intercept_)


class _DualRidge:
    """Ridge regression on class indicators in the dual, for many penalties.

    Saunders, Gammerman and Vovk, "Ridge regression learning algorithm in dual variables", ICML
    1998. The results are those of `RidgeClassifier`, which computes the Gram matrix of the rows
    again for each penalty; here it is computed once.

    Args:
        X: features of shape (n_rows, n_columns).
        y: class labels of shape (n_rows,).
    """

    def __init__(self, X: NDArray[Any], y: NDArray[Any]) -> None:
        classes = np.unique(y)
        outputs = classes[1:] if len(classes) == 2 else classes
        # (n_rows, 1) == (n_outputs,) -> (n_rows, n_outputs)
        targets = np.where(y[:, None] == outputs, 1.0, -1.0)
        self._offset = targets.mean(axis=0)
        self._targets = targets - self._offset
        self._mean = X.mean(axis=0, dtype=np.float64)
        self._X = (X - self._mean.astype(X.dtype)).astype(X.dtype)
        self._K = (self._X @ self._X.T).astype(np.float64)

    def fit(self, alpha: float) -> LinearFit:
        """Return coefficients and intercepts for one penalty."""
        from scipy.linalg import LinAlgError, cho_factor, cho_solve, eigh

        K = self._K.copy()
        K[np.diag_indices_from(K)] += alpha
        try:
            dual = cho_solve(cho_factor(K, check_finite=False), self._targets)
        except LinAlgError:
            # The centred matrix is singular, and so small a penalty is lost in rounding. Only the
            # eigenvectors above the rounding error count.
            values, vectors = eigh(K, check_finite=False)
            positive = values > len(K) * np.finfo(self._X.dtype).eps * values[-1]
            basis = vectors[:, positive]
            dual = basis @ (basis.T @ self._targets / values[positive, None])
        coef = dual.T @ self._X
        return coef, self._offset - coef @ self._mean


def fold_decisions(
    estimator: Any,
    parameter: str,
    values: Sequence[float],
    X: AnyMatrix,
    y: NDArray[Any],
    folds: Folds,
) -> Iterator[NDArray[np.float64]]:
    """Yield, for each value of a parameter, decision values of the rows that the folds score.

    Folds are fitted in parallel, each with one BLAS thread. Solvers are bound by memory. Threads
    that wait for each other within a small factorisation cost far more than they save as soon as
    another program wants a core.

    Args:
        estimator: a linear classifier of scikit-learn; if it can, it starts from the solution for
            the value before.
        parameter: name of the penalty, "C" or "alpha".
        values: values to try, in such an order that neighbours are alike.
        X: a reduced matrix, or rows of a store, which are then streamed.
        y: class labels of shape (n_rows,).
        folds: pairs of row numbers, those to fit on and those to score.

    Yields:
        Arrays of shape (n_rows, n_outputs), one for each value, NaN for rows that no fold scores.
    """
    paths = [PenaltyPath(estimator, parameter, X, y, fitted) for fitted, _ in folds]
    parallel = Parallel(effective_n_jobs(-1), prefer="threads")
    for value in values:
        with threadpool_limits(1, "blas"):
            fits = parallel(delayed(path.fit)(value) for path in paths)
        decisions = np.full((len(y), len(fits[0][0])), np.nan)
        for (coef, intercept), (_, judged) in zip(fits, folds, strict=True):
            decisions[judged] = linear_scores(take(X, judged), coef, intercept)
        yield decisions


def linear_scores(X: AnyMatrix, coef: NDArray[Any], intercept: NDArray[Any]) -> NDArray[np.float64]:
    """Return X @ coef.T + intercept, of shape (n_rows, n_outputs), computed block by block."""
    products = [block @ coef.T.astype(block.dtype) for _, block in blocks_of(X)]
    return np.asarray(np.concatenate(products) + intercept)
