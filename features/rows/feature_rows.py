"""Rows of one layer as a matrix that is read block by block, on request."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ...errors import StoreError
from ..layout import row_checksum
from ..store_file import StoreFile
from .pooling import pool

BLOCK_BYTES = 64 * 2**20
"""About the number of bytes that are read at a time."""

_FLOAT32_BYTES = 4
_MIN_PANEL_COLUMNS = 1024
"""Least columns of a panel; narrower panels would read the file in too many small pieces."""


class FeatureRows:
    """The features of some rows of a store: a matrix of shape (n_rows, n_features), float32.

    Every row is checked against its checksum when it is first read: no score may depend on damaged
    features. The file is open only during a read.

    Args:
        file: the file of the store.
        layer: name of the layer.
        rows: row numbers, all done, of shape (n_rows,).
        pooling: "flat", "avg", "max", or None, which keeps the shape (n_rows, height, width,
            channels).
        checked: True for each row of the store that was checked, of shape (n,); it is updated.

    Attributes:
        shape: (n_rows, n_features).
        dtype: float32, for any dtype of the store.

    Examples:
        >>> X = FeatureStore("features.h5").select("block5_pool")  # doctest: +SKIP
        >>> X.shape, X[:3].shape                                   # doctest: +SKIP
        ((253, 25088), (3, 25088))
    """

    dtype = np.dtype(np.float32)

    def __init__(
        self,
        file: StoreFile,
        layer: str,
        rows: NDArray[np.intp],
        pooling: str | None,
        checked: NDArray[np.bool_],
    ) -> None:
        self.layer = layer
        self.rows = rows
        self.pooling = pooling
        self._file = file
        # Selections of these rows share the array, so no row is checked twice.
        self._checked = checked
        # Pooling no rows gives the shape without reading anything.
        extent = file.layer_extent(layer)
        no_rows = np.empty((0, *extent.shape[1:]), extent.dtype)
        self.shape: tuple[int, ...] = (len(rows), *pool(no_rows, pooling).shape[1:])

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return (
            f"FeatureRows({str(self._file.path)!r}, {self.layer!r}, {self.shape}, {self.pooling!r})"
        )

    def take(self, numbers: Any) -> FeatureRows:
        """Select some of these rows; nothing is read.

        Args:
            numbers: places among these rows: integers, a slice or a boolean array.
        """
        return FeatureRows(self._file, self.layer, self.rows[numbers], self.pooling, self._checked)

    def __getitem__(self, numbers: Any) -> NDArray[np.float32]:
        """Read some of these rows, selected as for `take`, of shape (n, n_features)."""
        rows = self.rows[numbers]
        features = np.empty((len(rows), *self.shape[1:]), np.float32)
        # Block by block: pooling before the next block keeps memory small.
        for part, block in self._read(rows):
            features[part] = block
        return features

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Read the whole matrix into memory."""
        return self[:].astype(dtype or self.dtype, copy=False)

    def checksums(self) -> NDArray[np.str_]:
        """Read the checksums of these rows, hexadecimal, of shape (n_rows,)."""
        return self._file.checksums(self.layer, self.rows)

    def blocks(self) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Read all rows in order, about 64 MB at a time.

        Yields:
            The slice of these rows, and their features of shape (n, n_features).
        """
        return self._read(self.rows)

    def panels(self) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Read all columns in order, about 64 MB at a time.

        A Gram matrix needs products of all pairs of rows. A panel holds all rows, so the layer is
        read from the disk only once. A damaged row is reported only after the last panel.

        Yields:
            The slice of columns, and their values of shape (n_rows, n_columns).
        """
        # Pooled features are much smaller than the layer: one panel holds them all.
        if self.pooling != "flat":
            yield slice(0, self.shape[1]), self[:]
            return
        # A row is spread over all panels, so its checksum can only be compared at the end.
        digests = None if self._checked[self.rows].all() else [hashlib.sha256() for _ in self.rows]
        width = max(_MIN_PANEL_COLUMNS, BLOCK_BYTES // (_FLOAT32_BYTES * max(1, len(self))))
        for start in range(0, self.shape[1], width):
            columns = slice(start, min(start + width, self.shape[1]))
            panel = self._read_panel(columns, digests)
            self._check_finite(panel, self.rows)
            yield columns, panel
        if digests is not None:
            for row, digest, checksum in zip(self.rows, digests, self.checksums(), strict=True):
                self._check(row, digest.hexdigest(), checksum)
            self._checked[self.rows] = True

    def _read_panel(self, columns: slice, digests: list[Any] | None) -> NDArray[np.float32]:
        """Read some columns of all rows, and add their bytes to the rows' digests."""
        panel = np.empty((len(self), columns.stop - columns.start), np.float32)
        for i, stored in enumerate(self._file.layer_columns(self.layer, self.rows, columns)):
            if digests is not None:
                digests[i].update(stored.data)
            panel[i] = stored
        return panel

    def _read(self, rows: NDArray[np.intp]) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        row_bytes = math.prod(self._file.layout.layers[self.layer].shape[1:]) * _FLOAT32_BYTES
        step = max(1, BLOCK_BYTES // row_bytes)
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            block = self._file.layer_rows(self.layer, part)
            self._check_block(part, block)
            yield slice(start, start + len(part)), pool(block, self.pooling)

    def _check_block(self, rows: NDArray[np.intp], block: NDArray[Any]) -> None:
        """Check the stored features of some rows, unless all of them were checked before."""
        unchecked = np.flatnonzero(~self._checked[rows])
        if not len(unchecked):
            return
        checksums = self._file.checksums(self.layer, rows[unchecked])
        for i, checksum in zip(unchecked, checksums, strict=True):
            self._check(rows[i], row_checksum(block[i]), checksum)
        # A hostile store can have valid checksums of NaN.
        self._check_finite(block, rows)
        self._checked[rows] = True

    def _check(self, row: int, computed: str, stored: str) -> None:
        if computed != stored:
            raise self._damaged(row)

    def _check_finite(self, values: NDArray[Any], rows: NDArray[np.intp]) -> None:
        if np.isfinite(values).all():
            return
        finite_rows = np.isfinite(values.reshape(len(values), -1)).all(axis=1)
        first = int(np.flatnonzero(~finite_rows)[0])
        raise self._damaged(int(rows[first]))

    def _damaged(self, row: int) -> StoreError:
        return StoreError(
            f"{self._file.path}: the {self.layer} features of {self._file.text('path')[row]} "
            "are damaged; extract them again with --overwrite"
        )
