"""The head of nearest neighbours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..matrix import Folds, Matrix, take
from .arrays import MIN_SHARE, Arrays, checked_array
from .base import Head, Parameters

if TYPE_CHECKING:
    from ..solvers.reduction import Reduction

MAX_FILE_CLASSES = 10_000
"""Most classes in a model file: a small file must not cause a long loop."""


class NearestNeighbours(Head):
    """Votes of the nearest training rows (Cover and Hart, 1967) by Euclidean distance.

    scikit-learn finds the neighbours. The model file holds all training rows.
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
        self._set_rows(np.asarray(X), y.astype(np.int64), n_classes)

    def _set_rows(self, X: NDArray[Any], y: NDArray[np.int64], n_classes: int) -> None:
        self._X = X
        self._y = y
        self._n_classes = n_classes
        # A search belongs to its rows, so it is built again for new ones.
        self._search: Any = None

    def to_features(self, reduction: Reduction) -> None:
        self._set_rows(np.asarray(reduction.X), self._y, self._n_classes)

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
        largest = max(setting["n_neighbors"] for setting in settings)
        # The search for neighbours takes the time: one search serves all candidates.
        neighbours = []
        for fitted, judged in folds:
            self._set_rows(np.asarray(take(X, fitted)), y[fitted].astype(np.int64), n_classes)
            distances, classes = self._neighbours(np.asarray(take(X, judged)), largest)
            neighbours.append((judged, distances, classes))
        for candidate, setting in zip(candidates, settings, strict=True):
            k = setting["n_neighbors"]
            scores = np.full((len(y), n_classes), np.nan)
            for judged, distances, classes in neighbours:
                scores[judged] = _log_shares(
                    distances[:, :k], classes[:, :k], n_classes, setting["weights"]
                )
            yield candidate, scores

    def _neighbours(
        self, X: NDArray[Any], largest: int
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return distances and classes of the nearest training rows, the nearest first.

        Args:
            X: features of shape (n_rows, n_features).
            largest: number of neighbours; fewer if there are fewer training rows.

        Returns:
            Two arrays of shape (n_rows, n_neighbours).
        """
        from sklearn.neighbors import NearestNeighbors

        if self._search is None:
            # Trees are no faster than brute force on so many features.
            self._search = NearestNeighbors(algorithm="brute").fit(self._X)
        distances, numbers = self._search.kneighbors(X, min(largest, len(self._X)))
        return distances, self._y[numbers]

    def scores(self, X: NDArray[Any]) -> NDArray[np.float64]:
        distances, classes = self._neighbours(X, self.parameters["n_neighbors"])
        return _log_shares(distances, classes, self._n_classes, self.parameters["weights"])

    @property
    def arrays(self) -> Arrays:
        # Some classes may have no rows.
        n_classes = np.array([self._n_classes])
        return {"X": self._X.astype(np.float32), "y": self._y, "n_classes": n_classes}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        X = checked_array(arrays, "X", 2, np.float32)
        y = checked_array(arrays, "y", 1, np.int64)
        n_classes = int(checked_array(arrays, "n_classes", 1, np.int64)[0])
        if len(X) != len(y) or not 0 <= y.min() <= y.max() < n_classes <= MAX_FILE_CLASSES:
            raise ValueError("its rows and classes do not fit together")
        self._set_rows(X, y, n_classes)


def _log_shares(
    distances: NDArray[np.float64], classes: NDArray[np.int64], n_classes: int, weights: str
) -> NDArray[np.float64]:
    """Return logarithms of the shares of votes, as scikit-learn's `KNeighborsClassifier` counts.

    Args:
        distances: distances of the neighbours, of shape (n_rows, n_neighbours).
        classes: class numbers of the neighbours, of the same shape.
        n_classes: number of classes.
        weights: "uniform", or "distance" for votes inversely proportional to the distance.

    Returns:
        An array of shape (n_rows, n_classes).
    """
    votes = np.ones_like(distances)
    if weights == "distance":
        # Neighbours at distance 0, if there are any, have all the votes.
        same = distances == 0
        with np.errstate(divide="ignore"):
            votes = np.where(same.any(axis=1, keepdims=True), same, 1 / distances)
    totals = np.zeros((len(distances), n_classes))
    for number in range(n_classes):
        totals[:, number] = (votes * (classes == number)).sum(axis=1)
    return np.asarray(np.log(np.maximum(totals / totals.sum(axis=1, keepdims=True), MIN_SHARE)))
