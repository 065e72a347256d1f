"""The simplest head: naive Bayes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..matrix import Folds, Matrix
from .arrays import Arrays, checked_array
from .base import Head, Parameters

LEAST_WIDTH = 1e-9
"""Variance of a feature that does not vary in a class, as a share of the largest variance."""


class NaiveBayes(Head):
    """A Gaussian for each feature and class, with features assumed independent.

    scikit-learn's `GaussianNB`. Features are not independent, so that its probabilities are far too
    confident.
    """

    name = "naive-bayes"
    pooling = "avg"
    defaults: ClassVar[Parameters] = {"var_smoothing": 1e-9}
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {"var_smoothing": (0, 1e30)}
    spaces: ClassVar = {
        "default": {"var_smoothing": [1e-1, 1e-2, 1e-4, 1e-9]},
        "wide": {"var_smoothing": [10.0**n for n in range(1, -10, -1)]},
    }

    def fit(
        self, X: Matrix, y: NDArray[np.intp], n_classes: int, *, seed: int = 0, folds: Folds = ()
    ) -> None:
        from sklearn.naive_bayes import GaussianNB

        # All rows at once: `partial_fit` would smooth by the variances of each block alone.
        solver = GaussianNB(**self.parameters).fit(np.asarray(X, dtype=np.float64), y)
        self._mean = solver.theta_
        # Features that never vary tell no classes apart, and densities need a width.
        width = LEAST_WIDTH * float(solver.var_.max()) or 1.0
        self._variance = np.where(solver.var_ > 0, solver.var_, width)
        self._shares = solver.class_prior_

    def scores(self, X: NDArray[Any]) -> NDArray[np.float64]:
        scores = np.empty((len(X), len(self._shares)))
        X = X.astype(np.float64)
        classes = zip(self._mean, self._variance, self._shares, strict=True)
        for number, (mean, variance, share) in enumerate(classes):
            # The logarithm of a Gaussian density, summed over the features.
            squares = ((X - mean) ** 2 / variance).sum(axis=1)
            scores[:, number] = np.log(share) - 0.5 * (np.log(2 * np.pi * variance).sum() + squares)
        return scores

    @property
    def arrays(self) -> Arrays:
        return {"mean": self._mean, "variance": self._variance, "shares": self._shares}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._mean = checked_array(arrays, "mean", 2, np.float64)
        self._variance = checked_array(arrays, "variance", 2, np.float64)
        self._shares = checked_array(arrays, "shares", 1, np.float64)
        fits = self._mean.shape == self._variance.shape and len(self._mean) == len(self._shares)
        if not fits or (self._variance <= 0).any() or (self._shares <= 0).any():
            raise ValueError("its means and variances are impossible")
