"""Features that a head is fitted on: a matrix in memory, or rows of a store read in blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..features.rows.feature_rows import BLOCK_BYTES, FeatureRows

Matrix = NDArray[np.floating[Any]] | FeatureRows
"""Features of shape (n_rows, n_features): an array, or rows of a store that are read on demand."""


Folds = Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]]
"""Pairs of row numbers of a training part: the rows to fit on, and the rows to score."""


class ArrayRows:
    """Rows of an array, a memory map say, that are read in blocks as the rows of a store are.

    Args:
        array: of shape (n_rows, n_features).
        numbers: numbers of the rows to take, in order; None: all rows.
    """

    def __init__(self, array: NDArray[Any], numbers: NDArray[np.intp] | None = None) -> None:
        self._array = array
        self._numbers = np.arange(len(array)) if numbers is None else numbers
        self.shape = (len(self._numbers), array.shape[1])

    def __len__(self) -> int:
        return len(self._numbers)

    def take(self, numbers: NDArray[np.intp]) -> ArrayRows:
        """Return some of these rows, which are not read yet."""
        return ArrayRows(self._array, self._numbers[numbers])

    def blocks(self) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Yield all rows in order, in blocks: the positions of a block's rows, and its values."""
        step = max(1, BLOCK_BYTES // (self.shape[1] * self._array.dtype.itemsize))
        for start in range(0, len(self), step):
            rows = slice(start, min(start + step, len(self)))
            yield rows, np.asarray(self._array[self._numbers[rows]])


AnyMatrix = Matrix | ArrayRows
"""Features for a solver: as a `Matrix`, or rows of an array too large to copy."""


def two_columns(scores: NDArray[Any]) -> NDArray[np.float64]:
    """Return scores with one column for each class.

    Two classes often share one score, of class 1 against class 0. Class 0 then gets zeros.

    Args:
        scores: of shape (n_rows,), (n_rows, 1) or (n_rows, n_classes).
    """
    scores = np.asarray(scores, dtype=np.float64)
    # Zeros for class 0 keep the difference of both scores, which decides all probabilities.
    if scores.ndim == 1:
        # (n_rows,) -> (n_rows, 1)
        scores = scores[:, None]
    return np.hstack([np.zeros_like(scores), scores]) if scores.shape[1] == 1 else scores


def take(X: Any, numbers: NDArray[np.intp]) -> Any:
    """Return some rows of a matrix; rows of a store are not read yet."""
    return X[numbers] if isinstance(X, np.ndarray) else X.take(numbers)


def blocks_of(X: Any) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Yield the rows of a matrix in order, in blocks: positions of the rows, and their features."""
    if isinstance(X, np.ndarray) or not len(X):
        yield slice(0, len(X)), np.asarray(X)
    else:
        yield from X.blocks()
