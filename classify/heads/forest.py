"""Extremely randomised trees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..matrix import Folds, Matrix
from .arrays import SMALLEST, Arrays
from .base import Head, Parameters
from .trees import MAX_DEPTH, Trees


class ExtraTrees(Head):
    """A forest of trees with random thresholds (Geurts, Ernst and Wehenkel, doi:10.1007/s10994-006-6226-1).

    scikit-learn's `ExtraTreesClassifier`, each tree on all rows. The probability of a class is the
    mean over the trees of its share in the leaf that a row falls into.

    Parameters are `n_estimators` (trees), `max_features` (share of the features that a split is
    chosen from) and `min_samples_leaf`.
    """

    name = "extra-trees"
    pooling = "avg"
    defaults: ClassVar[Parameters] = {
        "n_estimators": 200,
        "max_features": 0.1,
        "min_samples_leaf": 1,
    }
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        "n_estimators": (1, 100_000),
        "max_features": (1e-9, 1),
        "min_samples_leaf": (1, 2**31 - 1),
    }
    spaces: ClassVar = {"wide": {"min_samples_leaf": [3, 1], "max_features": [0.05, 0.1, 0.3]}}

    def fit(
        self, X: Matrix, y: NDArray[np.intp], n_classes: int, *, seed: int = 0, folds: Folds = ()
    ) -> None:
        from sklearn.ensemble import ExtraTreesClassifier

        options = {
            **self.parameters,
            "max_features": float(self.parameters["max_features"]),
        }  # 1 would be one feature
        # One that no model file may be deeper than; trees do not get there.
        forest = ExtraTreesClassifier(**options, max_depth=MAX_DEPTH, random_state=seed, n_jobs=-1)
        forest.fit(np.asarray(X, dtype=np.float32), y)
        self._trees = Trees.from_forest(forest, n_classes)

    def scores(self, X: NDArray[Any]) -> NDArray[np.float64]:
        shares = self._trees.scores(X) / len(self._trees.arrays["root"])
        return np.asarray(np.log(np.maximum(shares, SMALLEST)))

    @property
    def arrays(self) -> Arrays:
        return self._trees.arrays

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._trees = Trees(arrays)
        leaf = self._trees.arrays["leaf"]
        if leaf.ndim != 2 or leaf.min() < 0 or leaf.max() > 1:
            raise ValueError("its leaves hold no shares")
