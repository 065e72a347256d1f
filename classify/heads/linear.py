"""Linear heads: one weight for each feature and class, fitted on reduced features."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...errors import FreezeframeError, ParameterError
from ..matrix import Folds, Matrix, blocks_of, two_columns
from .arrays import Arrays, checked_array
from .base import Head, Parameters

if TYPE_CHECKING:
    from ..solvers.reduction import Reduction

MAX_LDA_FEATURES = 4096
"""Most features that `lda` accepts; their covariance matrix takes 134 MB."""

LEAST_SPREAD = 1e-12
"""Rows vary by rounding only if their spread is a smaller share of their mean squared norm."""


class LinearHead(Head):
    """A head whose scores are `X @ coef.T + intercept`.

    Two classes share one score, of class 1 against class 0.
    """

    reducible = True

    def scores(self, X: NDArray[Any]) -> NDArray[np.float64]:
        return two_columns(np.asarray(X @ self._coef.T, dtype=np.float64) + self._intercept)

    def gradient(
        self, X: NDArray[Any], direction: NDArray[np.float64]
    ) -> NDArray[np.floating[Any]]:
        """Return the gradient of a sum of scores by the features.

        Args:
            X: features of shape (n_rows, n_features).
            direction: weight of each class's score in the sum, of shape (n_classes,).

        Returns:
            The gradient of `scores(X) @ direction`, of shape (n_rows, n_features).
        """
        # Two classes share one score, which is that of class 1.
        weights = direction[-len(self._coef) :] @ self._coef.astype(np.float64)
        return np.broadcast_to(weights, X.shape)

    def set_solution(self, coef: NDArray[Any], intercept: NDArray[Any]) -> None:
        """Take the solution of a solver.

        Args:
            coef: coefficients of shape (n_outputs, n_columns).
            intercept: intercepts of shape (n_outputs,).
        """
        self._coef = np.asarray(coef, dtype=np.float32)
        self._intercept = np.asarray(intercept, dtype=np.float64)
        # Coefficients are rounded to float32 only after their conversion to features.
        self._exact_coef = np.asarray(coef)

    def to_features(self, reduction: Reduction) -> None:
        self._coef = reduction.to_features(self._exact_coef).astype(np.float32)

    @property
    def arrays(self) -> Arrays:
        return {"coef": self._coef, "intercept": self._intercept}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._coef = checked_array(arrays, "coef", 2, np.float32)
        self._intercept = checked_array(arrays, "intercept", 1, np.float64)
        if len(self._intercept) != len(self._coef):
            raise ValueError("coef and intercept differ in length")


class PenalisedHead(LinearHead):
    """A linear head with one penalty, whose candidates depend on the scale of the features.

    Attributes:
        penalty: name of the hyper-parameter, "C" or "alpha".
        relative: for each search, penalties to choose from, the strongest first, for features
            whose rows are at a mean distance of 1 from their mean.
    """

    penalty: ClassVar[str]
    relative: ClassVar[Mapping[str, Sequence[float]]]

    def space(self, search: str, X: Matrix) -> Mapping[str, Sequence[Any]]:
        if search not in self.relative:
            return {}
        # C divides the penalty, alpha multiplies it.
        power = -1 if self.penalty == "C" else 1
        scale = spread(X) ** power
        low, high = self.limits[self.penalty]
        # Three digits keep the chosen value readable in the leaderboard.
        values = [float(f"{value * scale:.3g}") for value in self.relative[search]]
        # Features of an extreme scale would ask for penalties that the head refuses.
        within = (min(max(value, low), high) for value in values)
        return {self.penalty: list(dict.fromkeys(within))}


class _PathHead(PenalisedHead):
    """A linear classifier of scikit-learn whose penalties are tried on a path."""

    def solver(self, seed: int) -> Any:
        """Return scikit-learn's classifier, unfitted."""
        raise NotImplementedError

    def fit(
        self, X: Matrix, y: NDArray[np.intp], n_classes: int, *, seed: int = 0, folds: Folds = ()
    ) -> None:
        from sklearn.exceptions import ConvergenceWarning

        from ..solvers.penalty_path import PenaltyPath

        path = PenaltyPath(self.solver(seed), self.penalty, X, y, np.arange(len(y)))
        # scikit-learn only warns if the solver did not converge; the user reads it as a note.
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            coef, intercept = path.fit(None)
        self.set_solution(coef, intercept)
        if any(issubclass(warning.category, ConvergenceWarning) for warning in caught):
            iterations = self.parameters["max_iter"]
            self.notes.append(f"{self.name} did not converge within {iterations} iterations")

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

        default = self.parameters[self.penalty]
        values = [candidate.get(self.penalty, default) for candidate in candidates]
        decisions = fold_decisions(self.solver(seed), self.penalty, values, X, y, folds)
        for candidate in candidates:
            with warnings.catch_warnings():
                # A candidate that is not chosen need not converge.
                warnings.simplefilter("ignore")
                scores = next(decisions)
            yield candidate, two_columns(scores)


class LogisticRegression(_PathHead):
    """L2-penalised logistic regression, multinomial for more than two classes.

    scikit-learn's `LogisticRegression` with L-BFGS.
    """

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

        # Refused before the features are read.
        if X.shape[1] > MAX_LDA_FEATURES:
            raise ParameterError(
                f"lda takes at most {MAX_LDA_FEATURES} features, these are {X.shape[1]}; "
                "give --pooling avg or max"
            )
        # One image of each class says nothing about how images of a class differ.
        if len(y) <= n_classes:
            raise FreezeframeError(
                f"lda needs more images than classes, but a fit has {len(y)} images of "
                f"{n_classes} classes; give --search none, or add images"
            )
        solver = LinearDiscriminantAnalysis(solver="lsqr", **self.parameters)
        solver.fit(np.asarray(X, np.float64), y)
        self.set_solution(solver.coef_, solver.intercept_)


def spread(X: Matrix) -> float:
    """Return the mean squared distance of rows from their mean; 1 if all rows are equal.

    A penalty relative to the spread means the same for features of any scale.
    """
    total = np.zeros(X.shape[1])
    squares = 0.0
    for _, block in blocks_of(X):
        total += block.sum(axis=0, dtype=np.float64)
        squares += float(np.einsum("ij,ij->i", block, block, dtype=np.float64).sum())
    # Mean squared norm minus the squared norm of the mean: one pass over the blocks.
    mean = total / len(X)
    mean_square = squares / len(X)
    spread = mean_square - float(mean @ mean)
    # No penalty fits rounding errors: they would ask for a penalty of nearly 0.
    return spread if spread > LEAST_SPREAD * mean_square else 1.0
