"""Baselines: heads that see none of the picture's content, and that every other head must beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..matrix import Folds, Matrix
from .arrays import Arrays, checked_array
from .base import Head, Parameters
from .linear import LogisticRegression
from .trees import ExtraTrees


class Majority(Head):
    """The least that a head must beat: class shares of the training rows for any image."""

    name = "majority"
    pooling = "avg"

    def fit(
        self, X: Matrix, y: NDArray[np.intp], n_classes: int, *, seed: int = 0, folds: Folds = ()
    ) -> None:
        # The features are not read: any head that uses them should do better.
        self._shares = np.bincount(y, minlength=n_classes) / len(y)

    def scores(self, X: NDArray[Any]) -> NDArray[np.float64]:
        # A class without rows would have a score of minus infinity.
        return np.tile(np.log(np.maximum(self._shares, 1e-300)), (len(X), 1))

    @property
    def arrays(self) -> Arrays:
        return {"shares": self._shares}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._shares = checked_array(arrays, "shares", 1, np.float64)
        if (self._shares < 0).any() or not np.isclose(self._shares.sum(), 1):
            raise ValueError("shares are not shares")


class ImageSize(ExtraTrees):
    """The control that sees format, mode and size of the file, and no pixel.

    If it beats the majority, a file gives its class away without its picture. Trees find single
    sizes.
    """

    name = "image-size"
    judges = "size"
    defaults: ClassVar[Parameters] = {
        **ExtraTrees.defaults,
        "max_features": 0.5,
        "min_samples_leaf": 3,
    }
    spaces: ClassVar = {}


class ImageBorder(LogisticRegression):
    """The control that sees the frame of the image, and nothing inside.

    If it beats the majority, the background, a burnt-in text or a margin gives a class away.
    """

    name = "image-border"
    judges = "border"
