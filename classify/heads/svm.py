"""Support vector machines, on one Gram matrix that all folds and strengths share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...errors import FreezeframeError
from ..matrix import Folds, Matrix, blocks_of, take, two_columns
from .arrays import Arrays, checked_array
from .base import Head, Parameters
from .linear import PenalisedHead

if TYPE_CHECKING:
    from ..solvers.reduction import Reduction

MAX_KERNEL_ROWS = 16384
"""Most rows of a kernel matrix: 2 GiB, and as much again while a fold is cut out of it."""

MAX_ITERATIONS = 10**7
"""Most steps of a fit, LIBSVM's own limit: with a C of 1e30 it would go round in circles."""


class _KernelHead(Head):
    """A support vector machine for each class against the rest; one for two classes.

    libsvm, through scikit-learn's `SVC`.
    """

    reducible = True
    margins = True

    def kernel(self, products: NDArray[Any], parameters: Parameters) -> NDArray[np.float64]:
        """Return the kernel of all pairs of rows.

        Args:
            products: inner products of all pairs of rows, of shape (n_rows, n_rows).
            parameters: hyper-parameters.
        """
        raise NotImplementedError

    def cross_validate(
        self,
        X: Matrix,
        y: NDArray[np.intp],
        n_classes: int,
        folds: Folds,
        candidates: Sequence[Parameters],
        seed: int,
    ) -> Iterator[tuple[Parameters, NDArray[np.float64]]]:
        products = _inner_products(self.name, X)
        for candidate in candidates:
            parameters = {**self.parameters, **candidate}
            K = self.kernel(products, parameters)
            scores = np.full((len(y), n_classes), np.nan)
            for fitted, judged in folds:
                fold_kernel = K[np.ix_(fitted, fitted)]
                dual, intercept, _ = fit_svm(fold_kernel, y[fitted], n_classes, parameters["C"])
                scores[judged] = two_columns(K[np.ix_(judged, fitted)] @ dual.T + intercept)
            yield candidate, scores

    def solve(
        self, K: NDArray[np.float64], y: NDArray[np.intp], n_classes: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Fit all rows as `fit_svm` does, and note it if the solver did not converge."""
        dual, intercept, converged = fit_svm(K, y, n_classes, self.parameters["C"])
        if not converged:
            self.notes.append(
                f"{self.name} did not converge within {MAX_ITERATIONS} iterations; "
                "a smaller --param C= may help"
            )
        return dual, intercept


class LinearSVM(_KernelHead, PenalisedHead):
    """Linear support vector machine (hinge loss)."""

    name = "linear-svm"
    defaults: ClassVar[Parameters] = {"C": 1.0}
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {"C": (1e-30, 1e30)}
    penalty = "C"
    relative: ClassVar = {
        "default": [0.1, 1, 10, 100],
        "wide": [10 ** (n / 2) for n in range(-6, 9)],
    }

    def kernel(self, products: NDArray[Any], parameters: Parameters) -> NDArray[np.float64]:
        return np.asarray(products, dtype=np.float64)

    def fit(
        self, X: Matrix, y: NDArray[np.intp], n_classes: int, *, seed: int = 0, folds: Folds = ()
    ) -> None:
        K = self.kernel(_inner_products(self.name, X), self.parameters)
        dual, intercept = self.solve(K, y, n_classes)
        self.set_solution(dual @ np.asarray(X), intercept)


class RbfSVM(_KernelHead):
    """Support vector machine with a Gaussian kernel.

    `gamma` is relative to the scale of the features. With `gamma` 1, rows at the mean squared
    distance of all pairs have a kernel of exp(-1).
    """

    name = "rbf-svm"
    pooling = "avg"
    defaults: ClassVar[Parameters] = {"C": 1.0, "gamma": 1.0}
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        "C": (1e-30, 1e30),
        "gamma": (1e-30, 1e30),
    }
    spaces: ClassVar = {
        "default": {"C": [1.0, 10.0], "gamma": [0.5, 1.0, 3.0]},
        "wide": {"C": [0.1, 1.0, 10.0, 100.0, 1000.0], "gamma": [0.1, 0.3, 1.0, 3.0, 10.0]},
    }

    def kernel(self, products: NDArray[Any], parameters: Parameters) -> NDArray[np.float64]:
        norms = np.diag(products).astype(np.float64)
        # The mean squared distance of all pairs needs no matrix of distances: it is
        # 2 * (mean squared norm - squared norm of the mean row).
        mean_product = float(products.mean(dtype=np.float64))
        self._mean_distance = max(2 * (norms.mean() - mean_product), 1e-30)
        # (n_rows, 1) + (n_rows,) - (n_rows, n_rows): squared distances
        K = norms[:, None] + norms - 2.0 * products
        # In place, since there is memory for two such matrices only.
        np.maximum(K, 0, out=K)
        K *= -parameters["gamma"] / self._mean_distance
        return np.exp(K, out=K)

    def fit(
        self, X: Matrix, y: NDArray[np.intp], n_classes: int, *, seed: int = 0, folds: Folds = ()
    ) -> None:
        K = self.kernel(_inner_products(self.name, X), self.parameters)
        dual, self._intercept = self.solve(K, y, n_classes)
        # Only support vectors have weights; the others are not needed to predict.
        self._rows = np.flatnonzero(dual.any(axis=0))
        self._dual = dual[:, self._rows]
        self._gamma = np.array([self.parameters["gamma"] / self._mean_distance])
        self._support = np.asarray(take(X, self._rows))

    def to_features(self, reduction: Reduction) -> None:
        self._support = np.asarray(take(reduction.X, self._rows))

    def scores(self, X: NDArray[Any]) -> NDArray[np.float64]:
        from sklearn.metrics.pairwise import rbf_kernel

        support = self._support.astype(np.float64)
        K = rbf_kernel(X.astype(np.float64), support, gamma=float(self._gamma[0]))
        return two_columns(K @ self._dual.T + self._intercept)

    @property
    def arrays(self) -> Arrays:
        return {
            "support": self._support.astype(np.float32),
            "dual": self._dual,
            "intercept": self._intercept,
            "gamma": self._gamma,
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._support = checked_array(arrays, "support", 2, np.float32)
        self._dual = checked_array(arrays, "dual", 2, np.float64)
        self._intercept = checked_array(arrays, "intercept", 1, np.float64)
        self._gamma = checked_array(arrays, "gamma", 1, np.float64)
        if self._dual.shape != (len(self._intercept), len(self._support)) or self._gamma[0] <= 0:
            raise ValueError("support vectors and their weights do not fit together")


def fit_svm(
    K: NDArray[np.float64], y: NDArray[np.intp], n_classes: int, C: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], bool]:
    """Fit a support vector machine for each class, one for two classes.

    Args:
        K: kernel of all pairs of rows, of shape (n_rows, n_rows).
        y: class numbers of shape (n_rows,).
        n_classes: number of classes.
        C: inverse strength of the penalty.

    Returns:
        Weights of all rows, of shape (n_outputs, n_rows), intercepts of shape (n_outputs,), and
        False if one of the machines did not converge.
    """
    from sklearn.svm import SVC

    outputs = range(1, 2) if n_classes == 2 else range(n_classes)
    dual = np.zeros((len(outputs), len(K)))
    intercept = np.zeros(len(outputs))
    converged = True
    solver = SVC(C=C, kernel="precomputed", max_iter=MAX_ITERATIONS)
    # By itself, SVC would fit each pair of classes; scores need each class against the rest.
    for i, number in enumerate(outputs):
        solver.fit(K, y == number)
        dual[i, solver.support_] = solver.dual_coef_[0]
        intercept[i] = solver.intercept_[0]
        converged &= solver.fit_status_ == 0
    return dual, intercept, converged


def _inner_products(name: str, X: Matrix) -> NDArray[Any]:
    """Return the inner products of all pairs of rows, of shape (n_rows, n_rows)."""
    if len(X) > MAX_KERNEL_ROWS:
        raise FreezeframeError(
            f"{name} compares all pairs of rows, and {len(X)} are more than {MAX_KERNEL_ROWS}; "
            "choose logreg or xgboost"
        )
    features = np.concatenate([block for _, block in blocks_of(X)])
    return np.asarray(features @ features.T)
