"""The file of a feature store: reads of its columns, checksums and layers."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ParameterError, StoreError
from .index import read_layout
from .layout import Extent, file_identity, identity_digest, read_at

RowSelection = Sequence[int] | NDArray[np.integer[Any]] | NDArray[np.bool_]
"""Row numbers, or a boolean of shape (n,)."""


class StoreFile:
    """The file of a feature store; every access checks that it is still the same file.

    Nothing stays open between two accesses. Data is read, not mapped: the system kills a process
    that reads a map of a file that became shorter.

    Args:
        path: path of the store.

    Attributes:
        path: path of the store.
        layout: places of its datasets.
        status: status of each row when the store was opened, uint8 of shape (n,).

    Raises:
        StoreError: the file is missing, not a feature store, of an unknown version, or damaged.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.layout = read_layout(path)
        columns = {name: self.column(name) for name in self.layout.identity_columns}
        # The index is right, but another program may have changed the columns with HDF5.
        if identity_digest(columns) != self.layout.identity_sha256:
            raise StoreError(
                f"{self.path}: damaged: its paths, labels, splits or groups were changed; "
                "extract the features again"
            )
        with self.open() as file:
            self.status: NDArray[np.uint8] = self.layout.read_status(file)

    @contextmanager
    def open(self) -> Iterator[io.FileIO]:
        """Open the file; errors of reading it name the file."""
        try:
            with io.FileIO(self.path) as file:
                # If another process replaces the file, rows of two stores must not mix.
                if file_identity(os.fstat(file.fileno())) != self.layout.file:
                    raise StoreError("replaced by another store since it was opened; open it again")
                yield file
        except StoreError as error:
            raise StoreError(f"{self.path}: {error}") from None
        except OSError as error:
            raise StoreError(
                f"{self.path}: cannot be read ({error.strerror or error}); check the file"
            ) from None

    def column(self, name: str) -> NDArray[Any]:
        """Read a column of `/rows`, as stored."""
        return self._read(self.layout.rows[name])

    def dataset(self, full_name: str) -> NDArray[Any]:
        """Read a dataset by its full name, for example "rows/path", as stored."""
        return self._read(self.layout.datasets[full_name])

    def text(self, name: str) -> NDArray[np.str_]:
        """Read a text column, as str of shape (n,).

        Raises:
            StoreError: the column is not UTF-8.
        """
        raw = self.column(name)
        # A column may be wider than its texts, and each letter will take four bytes.
        longest = max(1, int(np.char.str_len(raw).max()))
        try:
            # This works for plain ASCII, and takes a third of the memory of decoding.
            return raw.astype(f"U{longest}")
        except UnicodeDecodeError:
            pass
        try:
            return np.char.decode(raw, "utf-8")
        except UnicodeDecodeError:
            raise StoreError(
                f"{self.path}: damaged: {name} is not UTF-8; "
                "extract the features again with extract-features --overwrite"
            ) from None

    def map_layer(self, name: str) -> np.memmap[Any, np.dtype[Any]]:
        """Map a layer into memory, of shape (n, height, width, channels).

        Raises:
            ParameterError: the store has no such layer.
        """
        extent = self.layer_extent(name)
        with self.open():
            return extent.map(self.path)

    def layer_extent(self, name: str) -> Extent:
        """Return the place of a layer; raise ParameterError if the store lacks it."""
        self._check_layer(name)
        return self.layout.layers[name]

    def layer_rows(self, name: str, rows: NDArray[np.intp]) -> NDArray[Any]:
        """Read some rows of a layer, as stored, of shape (n_rows, height, width, channels)."""
        return self.rows(self.layer_extent(name), rows)

    def rows(self, extent: Extent, rows: NDArray[np.intp]) -> NDArray[Any]:
        """Read some rows of a dataset, as stored.

        Args:
            extent: place of the dataset.
            rows: row numbers from 0 on, in any order, of shape (n_rows,).
        """
        values = np.empty((len(rows), *extent.shape[1:]), extent.dtype)
        # Neighbours in the file are read at once.
        ends = np.flatnonzero(np.diff(rows) != 1) + 1
        with self.open() as file:
            for start, end in pairwise([0, *ends.tolist(), len(rows)]):
                if end > start:
                    read_at(file, extent.row_offset(int(rows[start])), values[start:end])
        return values

    def layer_columns(
        self, name: str, rows: NDArray[np.intp], columns: slice
    ) -> Iterator[NDArray[Any]]:
        """Read some columns of some rows of a layer, whose rows count as flat, row by row."""
        extent = self.layer_extent(name)
        values = np.empty(columns.stop - columns.start, extent.dtype)
        first = columns.start * extent.dtype.itemsize
        with self.open() as file:
            for row in rows.tolist():
                read_at(file, extent.row_offset(row) + first, values)
                yield values

    def raw_checksums(self, layer: str) -> NDArray[np.bytes_]:
        """Read the checksums of a layer, byte strings of shape (n,)."""
        self._check_layer(layer)
        return self._read(self.layout.checksums[layer])

    def checksums(self, layer: str, rows: RowSelection | None = None) -> NDArray[np.str_]:
        """Read the checksums of all rows or of some, hexadecimal; empty where a row is not done."""
        if rows is None:
            raw = self.raw_checksums(layer)
        else:
            self._check_layer(layer)
            raw = self.rows(self.layout.checksums[layer], self.row_numbers(rows))
        # A damaged checksum may not be ASCII; it then matches no digest.
        return np.char.decode(raw, "ascii", "replace")

    def row_numbers(self, rows: RowSelection) -> NDArray[np.intp]:
        """Convert a selection of rows to row numbers from 0 on.

        Raises:
            ParameterError: the selection is no row numbers and no boolean of shape (n,).
        """
        selection = np.asarray(rows)
        n = self.layout.n
        # A wrong selection would silently give the features of other images.
        if selection.dtype == bool:
            if selection.shape != (n,):
                raise ParameterError(
                    f"{self.path}: a boolean for rows must have shape {(n,)}, "
                    f"got {selection.shape}; give one value for each row of this store"
                )
            return np.flatnonzero(selection)
        if selection.ndim != 1 or (selection.size and selection.dtype.kind not in "iu"):
            raise ParameterError(
                f"{self.path}: rows must be row numbers or a boolean array, "
                f"got {selection.dtype} of {selection.shape}; take them from store.rows()"
            )
        if selection.size and not -n <= selection.min() <= selection.max() < n:
            raise ParameterError(
                f"{self.path}: rows must lie between 0 and {n - 1}, "
                f"got {selection.min()} to {selection.max()}; take them from store.rows()"
            )
        # An empty list has dtype float in NumPy, so the type is set here.
        numbers: NDArray[np.intp] = selection.astype(np.intp)
        # Negative numbers count from the end, as in NumPy.
        numbers[numbers < 0] += n
        return numbers

    def _check_layer(self, name: str) -> None:
        if name not in self.layout.layers:
            names = ", ".join(self.layout.layers)
            raise ParameterError(
                f"{self.path}: has no layer {name!r}; it has {names}: take one of these"
            )

    def _read(self, extent: Extent) -> NDArray[Any]:
        with self.open() as file:
            return extent.read(file)
