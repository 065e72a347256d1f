"""Features of a part, read from the store once for all heads."""

from __future__ import annotations

import time

import numpy as np

from ..matrix import Matrix
from ..solvers.reduction import Reduction, reduce
from ..task.part import Part

KEEP_BYTES = 2**29
"""Features of up to 512 MB are kept in memory, larger ones are read whenever a head asks for them."""


class PartFeatures:
    """Features of a part's rows of one layer, by pooling.

    Attributes:
        reduce_seconds: what each reduction took, by pooling.
    """

    def __init__(self, part: Part, layer: str) -> None:
        self._part, self._layer = part, layer
        self._matrices: dict[str, Matrix] = {}
        self._reductions: dict[str, Reduction | None] = {}
        self.reduce_seconds: dict[str, float] = {}

    def matrix(self, pooling: str) -> Matrix:
        """Of shape (n_rows, n_features): an array, or rows of the store if that would be large."""
        if pooling not in self._matrices:
            rows = self._part.store.select(self._layer, self._part.rows, pooling)
            small = 4 * rows.shape[0] * rows.shape[1] <= KEEP_BYTES
            self._matrices[pooling] = np.asarray(rows) if small else rows
        return self._matrices[pooling]

    def reduction(self, pooling: str) -> Reduction | None:
        """With the inner products of `matrix`; None if it would be too large."""
        if pooling not in self._reductions:
            start = time.perf_counter()
            self._reductions[pooling] = reduce(self.matrix(pooling))
            self.reduce_seconds[pooling] = time.perf_counter() - start
        return self._reductions[pooling]

    def for_head(self, reducible: bool, pooling: str) -> tuple[Matrix, Reduction | None]:
        """What a head is fitted on, and the reduction, if that is what it is."""
        reduction = self.reduction(pooling) if reducible else None
        return (self.matrix(pooling) if reduction is None else reduction.matrix), reduction
