"""Rows of one layer as a matrix that is read when asked for, and never held as a whole."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..errors import StoreError
from .pooling import pool

if TYPE_CHECKING:
    from .store import FeatureStore

BLOCK_BYTES = 64 * 2**20
"""About what is read at a time."""


class FeatureRows:
    """The features of some rows of a store, a matrix of shape (n_rows, n_features), float32.

    Every row is checked against its checksum when it is read for the first time: a score must not
    rest on damaged features. The file is mapped while something is read and no longer, so that its
    pages do not stay in the process.

    Args:
        store: where the rows are.
        layer: its name.
        rows: row numbers, all done, of shape (n_rows,).
        pooling: "flat", "avg", "max", or None, which leaves the shape (n_rows, height, width,
            channels).

    Attributes:
        shape: (n_rows, n_features).
        dtype: float32, whatever the store holds.

    Examples:
        >>> X = FeatureStore("features.h5").select("block5_pool")  # doctest: +SKIP
        >>> X.shape, X[:3].shape                                   # doctest: +SKIP
        ((253, 25088), (3, 25088))
    """

    dtype = np.dtype(np.float32)

    def __init__(
        self,
        store: FeatureStore,
        layer: str,
        rows: NDArray[np.intp],
        pooling: str | None,
        checked: NDArray[np.bool_],
    ) -> None:
        self.store, self.layer, self.rows, self.pooling = store, layer, rows, pooling
        self._checked = (
            checked  # of each row of the store; shared, since a row need not be checked twice
        )
        self.shape: tuple[int, ...] = (len(rows), *pool(store.memmap(layer)[:0], pooling).shape[1:])

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return (
            f"FeatureRows({str(self.store.path)!r}, {self.layer!r}, {self.shape}, {self.pooling!r})"
        )

    def take(self, numbers: Any) -> FeatureRows:
        """Some of these rows, by their place among them (integers, a slice or a boolean); nothing is read."""
        return FeatureRows(self.store, self.layer, self.rows[numbers], self.pooling, self._checked)

    def __getitem__(self, numbers: Any) -> NDArray[np.float32]:
        """Features of some of these rows, by their place among them, of shape (n, n_features)."""
        rows = self.rows[numbers]
        features = np.empty((len(rows), *self.shape[1:]), np.float32)
        for part, block in self._read(rows):
            features[part] = block
        return features

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """All of it, in memory."""
        return self[:].astype(dtype or self.dtype, copy=False)

    def blocks(self) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """All rows in order, about 64 MB at a time: where they stand, and their features."""
        return self._read(self.rows)

    def panels(self) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """All columns in order, about 64 MB at a time: which, and their values of shape (n_rows, n_columns).

        A layer is read once from the disk, while all pairs of rows meet: what a Gram matrix needs.
        Only when all panels were taken is it known that no row was damaged.
        """
        if self.pooling != "flat":  # much smaller than the layer
            yield slice(0, self.shape[1]), self[:]
            return
        digests = None if self._checked[self.rows].all() else [hashlib.sha256() for _ in self.rows]
        width = max(1024, BLOCK_BYTES // (4 * max(1, len(self))))
        for start in range(0, self.shape[1], width):
            columns = slice(start, min(start + width, self.shape[1]))
            data = self.store.memmap(self.layer)
            flat = data.reshape(len(data), self.shape[1])
            panel = np.empty((len(self), columns.stop - start), np.float32)
            for i, row in enumerate(self.rows):
                stored = flat[row, columns]
                if digests is not None:
                    digests[i].update(np.ascontiguousarray(stored).data)
                panel[i] = stored
            del data, flat, stored
            self._check_finite(panel, self.rows)
            yield columns, panel
        if digests is not None:
            checksums = self.store.checksums(self.layer)
            for digest, row in zip(digests, self.rows, strict=True):
                self._check(row, digest.hexdigest(), checksums[row])
            self._checked[self.rows] = True

    def _read(self, rows: NDArray[np.intp]) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        row_bytes = int(np.prod(self.store.layers[self.layer])) * 4
        step = max(1, BLOCK_BYTES // row_bytes)
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            block = self.store.memmap(self.layer)[part]
            unchecked = np.flatnonzero(~self._checked[part])
            if len(unchecked):
                checksums = self.store.checksums(self.layer, part[unchecked])
                for i, checksum in zip(unchecked, checksums, strict=True):
                    self._check(
                        part[i],
                        hashlib.sha256(np.ascontiguousarray(block[i]).data).hexdigest(),
                        checksum,
                    )
                self._check_finite(block, part)
                self._checked[part] = True
            yield slice(start, start + len(part)), pool(block, self.pooling)

    def _check(self, row: int, found: str, wanted: str) -> None:
        if found != wanted:
            raise self._damaged(row)

    def _check_finite(self, values: NDArray[Any], rows: NDArray[np.intp]) -> None:
        if not np.isfinite(values).all():
            first = int(
                np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))[0]
            )
            raise self._damaged(int(rows[first]))

    def _damaged(self, row: int) -> StoreError:
        return StoreError(
            f"{self.store.path}: the {self.layer} features of {self.store.paths[row]} are damaged; "
            "extract anew with --overwrite"
        )
