"""Features that a head is fitted on: a matrix in memory, or rows of a store read in blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..features.rows import FeatureRows

Matrix = NDArray[np.floating[Any]] | FeatureRows
"""Features of shape (n_rows, n_features): an array, or rows of a store that are read when asked for."""


Folds = Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]]
"""Pairs of row numbers of a training part: those to fit on, and those to judge the fit by."""


def two_columns(scores: NDArray[Any]) -> NDArray[np.float64]:
    """Scores with a column a class: with two classes there is one score, of class 1 against class 0."""
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim == 1:
        scores = scores[:, None]
    return np.hstack([np.zeros_like(scores), scores]) if scores.shape[1] == 1 else scores


def take(X: Any, numbers: NDArray[np.intp]) -> Any:
    """Some rows of a matrix; those that are read when asked for are not read yet."""
    return X[numbers] if isinstance(X, np.ndarray) else X.take(numbers)


def blocks_of(X: Any) -> Iterator[tuple[slice, NDArray[Any]]]:
    """The rows of a matrix in order, in blocks: where they stand, and their features."""
    if isinstance(X, np.ndarray) or not len(X):
        yield slice(0, len(X)), np.asarray(X)
    else:
        yield from X.blocks()
