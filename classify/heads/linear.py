"""Linear heads: a weight a feature and class, found on the exact reduction of the features."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...errors import ParameterError
from ..matrix import Folds, Matrix, blocks_of, two_columns
from .arrays import Arrays, checked_array
from .base import Head, Parameters

if TYPE_CHECKING:
    from ..solvers.reduction import Reduction

MOST_COVARIANCES = 4096
"""Features that `lda` takes: a covariance matrix of more is no longer small (134 MB)."""


class LinearHead(Head):
    """Scores are `X @ coef.T + intercept`; with two classes there is one, of class 1 against class 0."""

    reducible = True

    def scores(self, X: NDArray[Any]) -> NDArray[np.float64]:
        return two_columns(np.asarray(X @ self._coef.T, dtype=np.float64) + self._intercept)

    def keep(self, coef: NDArray[Any], intercept: NDArray[Any]) -> None:
        """Take over what a solver found: coefficients (n_outputs, n_columns) and intercepts (n_outputs,)."""
        self._coef = np.asarray(coef, dtype=np.float32)
        self._intercept = np.asarray(intercept, dtype=np.float64)
        self._exact = np.asarray(coef)  # until it is brought to features, it is not rounded

    def to_features(self, reduction: Reduction) -> None:
        self._coef = reduction.to_features(self._exact).astype(np.float32)

    @property
    def arrays(self) -> Arrays:
        return {"coef": self._coef, "intercept": self._intercept}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._coef = checked_array(arrays, "coef", 2, np.float32)
        self._intercept = checked_array(arrays, "intercept", 1, np.float64)
        if len(self._intercept) != len(self._coef):
            raise ValueError("coef and intercept differ in length")


class PenalisedHead(LinearHead):
    """A linear head whose one penalty is chosen by the scale of the features."""

    penalty: ClassVar[str]
    relative: ClassVar[Mapping[str, Sequence[float]]]
    """Penalties to choose from, the strongest first, for features whose rows are at a mean distance 1 from the mean."""

    def space(self, search: str, X: Matrix) -> Mapping[str, Sequence[Any]]:
        if search not in self.relative:
            return {}
        power = -1 if self.penalty == "C" else 1
        scale = spread(X) ** power
        return {self.penalty: [float(f"{value * scale:.3g}") for value in self.relative[search]]}


class _PathHead(PenalisedHead):
    """A linear classifier of scikit-learn's, its penalties tried on a path."""

    def solver(self, seed: int) -> Any:
        """scikit-learn's classifier, unfitted."""
        raise NotImplementedError

    def fit(
        self, X: Matrix, y: NDArray[np.intp], n_classes: int, *, seed: int = 0, folds: Folds = ()
    ) -> None:
        from sklearn.exceptions import ConvergenceWarning

        from ..solvers.penalty_path import PenaltyPath

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self.keep(
                *PenaltyPath(self.solver(seed), self.penalty, X, y, np.arange(len(y))).fit(None)
            )
        if any(issubclass(warning.category, ConvergenceWarning) for warning in caught):
            self.notes.append(
                f"{self.name} had not converged after {self.parameters['max_iter']} iterations"
            )

    def cross_validate(
        self,
        X: Matrix,
        y: NDArray[np.intp],
        n_classes: int,
        folds: Folds,
        candidates: Sequence[Parameters],
        seed: int,
    ) -> Iterator[tuple[Parameters, NDArray[np.float64]]]:
        from ..solvers.penalty_path import fold_decisions

        values = [
            candidate.get(self.penalty, self.parameters[self.penalty]) for candidate in candidates
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a candidate that is not chosen need not converge
            found = fold_decisions(self.solver(seed), self.penalty, values, X, y, folds)
            for candidate, scores in zip(candidates, found, strict=True):
                yield candidate, two_columns(scores)


class LogisticRegression(_PathHead):
    """L2-penalised logistic regression, multinomial for more than two classes (scikit-learn, L-BFGS)."""

    name = "logreg"
    proper = True
    defaults: ClassVar[Parameters] = {"C": 1.0, "max_iter": 1000, "tol": 1e-4}
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        "C": (1e-30, 1e30),
        "max_iter": (1, 10**9),
        "tol": (0, 1),
    }
    penalty = "C"
    relative: ClassVar = {
        "default": [1, 10, 100, 1000, 10**4, 10**5],
        "wide": [10 ** (n / 4) for n in range(-8, 25)],
    }

    def solver(self, seed: int) -> Any:
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(**self.parameters, random_state=seed)


class Ridge(_PathHead):
    """Ridge regression on class indicators (scikit-learn's `RidgeClassifier`)."""

    name = "ridge"
    margins = True
    defaults: ClassVar[Parameters] = {"alpha": 1.0}
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {"alpha": (0, 1e30)}
    penalty = "alpha"
    relative: ClassVar = {
        "default": [1, 0.3, 0.1, 0.03, 0.01, 0.001],
        "wide": [10 ** (n / 4) for n in range(12, -21, -1)],
    }

    def solver(self, seed: int) -> Any:
        from sklearn.linear_model import RidgeClassifier

        return RidgeClassifier(**self.parameters)


class LinearDiscriminant(LinearHead):
    """Linear discriminant analysis, its covariance shrunk towards a multiple of the identity.

    scikit-learn's solver "lsqr"; Ledoit and Wolf, "Honey, I shrunk the sample covariance matrix",
    2004.
    """

    name = "lda"
    pooling = "avg"
    reducible = False
    defaults: ClassVar[Parameters] = {"shrinkage": 0.1}
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {"shrinkage": (0, 1)}
    spaces: ClassVar = {
        "default": {"shrinkage": [0.5, 0.2, 0.1, 0.03, 0.01, 0.001]},
        "wide": {
            "shrinkage": [0.9, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05, 0.03, 0.01, 0.003, 0.001, 0.0001]
        },
    }

    def fit(
        self, X: Matrix, y: NDArray[np.intp], n_classes: int, *, seed: int = 0, folds: Folds = ()
    ) -> None:
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

        if X.shape[1] > MOST_COVARIANCES:
            raise ParameterError(
                f"lda takes at most {MOST_COVARIANCES} features, these are {X.shape[1]}; give --pooling avg or max"
            )
        solver = LinearDiscriminantAnalysis(solver="lsqr", **self.parameters).fit(
            np.asarray(X, np.float64), y
        )
        self.keep(solver.coef_, solver.intercept_)


def spread(X: Matrix) -> float:
    """Mean squared distance of rows from their mean: what makes a penalty mean the same for features of any scale."""
    total, squares = np.zeros(X.shape[1]), 0.0
    for _, block in blocks_of(X):
        total += block.sum(axis=0, dtype=np.float64)
        squares += float(np.einsum("ij,ij->i", block, block, dtype=np.float64).sum())
    mean = total / len(X)
    return max(squares / len(X) - float(mean @ mean), 1e-30)
