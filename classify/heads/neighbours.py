"""Nearest neighbours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..matrix import Folds, Matrix, take
from .arrays import SMALLEST, Arrays, checked_array
from .base import Head, Parameters

if TYPE_CHECKING:
    from ..solvers.reduction import Reduction

MOST_CLASSES = 10_000
"""In a file, that is: a small one must not be a long loop."""


class NearestNeighbours(Head):
    """Votes of the nearest training rows (Cover and Hart, 1967), by Euclidean distance, found by scikit-learn.

    The model file holds all training rows.
    """

    name = "knn"
    pooling = "avg"
    reducible = True
    defaults: ClassVar[Parameters] = {"n_neighbors": 5, "weights": "uniform"}
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {"n_neighbors": (1, 10**6)}
    choices: ClassVar[Mapping[str, Sequence[str]]] = {"weights": ("uniform", "distance")}
    spaces: ClassVar = {
        "default": {"n_neighbors": [25, 9, 5, 3, 1], "weights": ["uniform", "distance"]},
        "wide": {
            "n_neighbors": [101, 51, 25, 15, 9, 7, 5, 3, 1],
            "weights": ["uniform", "distance"],
        },
    }

    def fit(
        self, X: Matrix, y: NDArray[np.intp], n_classes: int, *, seed: int = 0, folds: Folds = ()
    ) -> None:
        self._keep(np.asarray(X), y.astype(np.int64), n_classes)

    def _keep(self, X: NDArray[Any], y: NDArray[np.int64], n_classes: int) -> None:
        self._X, self._y, self._n_classes = X, y, n_classes
        self._search: Any = None

    def to_features(self, reduction: Reduction) -> None:
        self._keep(np.asarray(reduction.X), self._y, self._n_classes)

    def cross_validate(
        self,
        X: Matrix,
        y: NDArray[np.intp],
        n_classes: int,
        folds: Folds,
        candidates: Sequence[Parameters],
        seed: int,
    ) -> Iterator[tuple[Parameters, NDArray[np.float64]]]:
        settings = [{**self.parameters, **candidate} for candidate in candidates]
        most = max(setting["n_neighbors"] for setting in settings)
        found = []  # the neighbours are looked for once, for all candidates
        for fitted, judged in folds:
            self._keep(np.asarray(take(X, fitted)), y[fitted].astype(np.int64), n_classes)
            found.append((judged, *self._neighbours(np.asarray(take(X, judged)), most)))
        for candidate, setting in zip(candidates, settings, strict=True):
            scores = np.full((len(y), n_classes), np.nan)
            for judged, distances, classes in found:
                k = setting["n_neighbors"]
                scores[judged] = _votes(
                    distances[:, :k], classes[:, :k], n_classes, setting["weights"]
                )
            yield candidate, scores

    def _neighbours(
        self, X: NDArray[Any], most: int
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Distances and classes of the nearest training rows, nearest first, of shape (n_rows, n_neighbours)."""
        from sklearn.neighbors import NearestNeighbors

        if self._search is None:
            self._search = NearestNeighbors(algorithm="brute").fit(self._X)
        distances, numbers = self._search.kneighbors(X, min(most, len(self._X)))
        return distances, self._y[numbers]

    def scores(self, X: NDArray[Any]) -> NDArray[np.float64]:
        distances, classes = self._neighbours(X, self.parameters["n_neighbors"])
        return _votes(distances, classes, self._n_classes, self.parameters["weights"])

    @property
    def arrays(self) -> Arrays:
        n_classes = np.array([self._n_classes])
        return {"X": self._X.astype(np.float32), "y": self._y, "n_classes": n_classes}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        X, y = checked_array(arrays, "X", 2, np.float32), checked_array(arrays, "y", 1, np.int64)
        n_classes = int(checked_array(arrays, "n_classes", 1, np.int64)[0])
        if len(X) != len(y) or not 0 <= y.min() <= y.max() < n_classes <= MOST_CLASSES:
            raise ValueError("its rows and classes do not fit together")
        self._keep(X, y, n_classes)


def _votes(
    distances: NDArray[np.float64], classes: NDArray[np.int64], n_classes: int, weights: str
) -> NDArray[np.float64]:
    """Logarithms of the shares of votes, of shape (n_rows, n_classes), as scikit-learn's `KNeighborsClassifier` has."""
    counted = np.ones_like(distances)
    if weights == "distance":
        same = distances == 0
        with np.errstate(divide="ignore"):
            counted = np.where(same.any(axis=1, keepdims=True), same, 1 / distances)
    votes = np.zeros((len(distances), n_classes))
    for number in range(n_classes):
        votes[:, number] = (counted * (classes == number)).sum(axis=1)
    return np.asarray(np.log(np.maximum(votes / votes.sum(axis=1, keepdims=True), SMALLEST)))
