"""Features of a part of a task, read from the store once for all heads."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from ...errors import FreezeframeError
from ...features.rows.pooling import pool
from ..matrix import Matrix
from ..solvers.reduction import Reduction, reduce
from ..task.part import Part
from ..trust.guards.familiarity import guard_features
from .image_facts import IMAGE_FACTS

MEMORY_BYTES = 2**29
"""Features of up to 512 MB stay in memory; larger ones are read again by each head."""

GREATEST_FEATURE = 1e12
"""Greatest magnitude of features: squares of larger ones, summed, come near float32's end."""


class PartFeatures:
    """Features of a part's rows in one layer, by pooling.

    Args:
        part: the rows.
        layer: the layer of the store.

    Attributes:
        reduce_seconds: seconds that each reduction took, by pooling.
    """

    def __init__(self, part: Part, layer: str) -> None:
        self._part = part
        self._layer = layer
        self._matrices: dict[str, Matrix] = {}
        self._reductions: dict[str, Reduction | None] = {}
        self.reduce_seconds: dict[str, float] = {}
        self._mean: NDArray[np.float32] | None = None

    def matrix(self, pooling: str) -> Matrix:
        """Return features of shape (n_rows, n_features): an array, or store rows if large.

        Args:
            pooling: "flat", "avg" or "max"; or a key of `IMAGE_FACTS`, which gives facts about
                the images in place of features.

        Raises:
            FreezeframeError: features are not finite, or too large to compute with.
        """
        if pooling in IMAGE_FACTS:
            self._matrices.setdefault(pooling, IMAGE_FACTS[pooling](self._part))
        if pooling not in self._matrices:
            # Selecting reads nothing yet.
            rows = self._part.store.select(self._layer, self._part.rows, pooling)
            # Features are float32: 4 bytes each.
            small = 4 * rows.shape[0] * rows.shape[1] <= MEMORY_BYTES
            self._matrices[pooling] = self._checked(self._read(pooling)[0]) if small else rows
        return self._matrices[pooling]

    def _read(self, pooling: str | None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Read all rows, and add up their mean by position meanwhile: it needs no pass of its own.

        Args:
            pooling: as for `matrix`; None keeps no features.

        Returns:
            The features, and the mean of shape (height, width, channels).
        """
        maps = self._part.store.select(self._layer, self._part.rows, None)
        total = np.zeros(maps.shape[1:])
        n_kept = 0 if pooling is None else len(maps)
        no_rows = pool(np.empty((0, *total.shape), np.float32), pooling)
        features = np.empty((n_kept, *no_rows.shape[1:]), np.float32)
        for numbers, block in maps.blocks():
            total += block.sum(axis=0)
            if pooling is not None:
                features[numbers] = pool(block, pooling)
        self._mean = (total / max(1, len(maps))).astype(np.float32)
        return features, self._mean

    def mean_map(self) -> NDArray[np.float32]:
        """Return the mean of all rows by position, float32 of shape (height, width, channels)."""
        # Features in memory were read with their mean; large ones are read once more for it.
        return self._read(None)[1] if self._mean is None else self._mean

    def maps(self, most: int) -> NDArray[np.float32]:
        """Read some rows, spread evenly, by position.

        Args:
            most: most rows.

        Returns:
            An array of shape (n, height, width, channels).
        """
        n_rows = len(self._part.rows)
        numbers = np.linspace(0, n_rows - 1, min(most, n_rows)).round().astype(np.intp)
        return self._part.store.select(self._layer, self._part.rows[numbers], None)[:]

    def _checked(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return features if distances between them can be computed."""
        greatest = max(abs(float(features.min())), abs(float(features.max())))
        # The comparison is False for NaN, which is therefore refused.
        if not greatest <= GREATEST_FEATURE:
            raise FreezeframeError(
                f"{self._part.store.path}: features of {self._layer} reach {greatest:.3g}, and "
                f"heads compute with {GREATEST_FEATURE:.0e} at most; extract another layer, or "
                "with other weights"
            )
        return features

    def guard_features(self, most: int) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """Read the features that tell how like the training images an image is.

        Args:
            most: most rows; of more, some are taken that are spread evenly.

        Returns:
            The features, of shape (n, n_features), and the group of each row, of shape (n,).
        """
        n = len(self._part.rows)
        numbers = np.linspace(0, n - 1, min(n, most)).round().astype(np.intp)
        maps = self._part.store.select(self._layer, self._part.rows[numbers], None)
        # Block by block: averages are small, maps of all images may be larger than the memory.
        blocks = [guard_features(block) for _, block in maps.blocks()]
        return np.concatenate(blocks), self._part.groups[numbers]

    def reduction(self, pooling: str) -> Reduction | None:
        """Return a smaller matrix of the same inner products; None if it would be too large."""
        if pooling not in self._reductions:
            start = time.perf_counter()
            self._reductions[pooling] = reduce(self.matrix(pooling))
            self.reduce_seconds[pooling] = time.perf_counter() - start
        return self._reductions[pooling]

    def for_head(self, reducible: bool, pooling: str) -> tuple[Matrix, Reduction | None]:
        """Return the matrix that a head is fitted on, and the reduction if the matrix is reduced.

        Args:
            reducible: True for heads that can be fitted on a reduction.
            pooling: "flat", "avg" or "max".
        """
        # The Gram matrix costs one pass over the features; all reducible heads share it.
        reduction = self.reduction(pooling) if reducible else None
        if reduction is None:
            return self.matrix(pooling), None
        return reduction.matrix, reduction
