"""The file of a feature store, as memory maps of its columns, checksums and layers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ParameterError, StoreError
from .index import read_layout
from .layout import IDENTITY_COLUMNS, Extent, file_identity, identity_digest

RowSelection = Sequence[int] | NDArray[np.integer[Any]] | NDArray[np.bool_]
"""Row numbers, or a boolean of shape (n,)."""


class StoreFile:
    """The file of a feature store; every access checks that it is still the same file.

    Nothing stays open between two accesses.

    Args:
        path: path of the store.

    Attributes:
        path: path of the store.
        layout: places of its datasets.

    Raises:
        StoreError: the file is missing, not a feature store, of an unknown version, or damaged.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.layout = read_layout(path)
        columns = {name: self.column(name) for name in IDENTITY_COLUMNS}
        # The index is right, but another program may have changed the columns with HDF5.
        if identity_digest(columns) != self.layout.identity_sha256:
            raise StoreError(
                f"{self.path}: damaged: its paths, labels, splits or groups were changed; "
                "extract the features again"
            )

    def column(self, name: str) -> np.memmap[Any, np.dtype[Any]]:
        """Map a column of `/rows` into memory, as stored."""
        return self._map(self.layout.rows[name])

    def text(self, name: str) -> NDArray[np.str_]:
        """Read a text column, as str of shape (n,).

        Raises:
            StoreError: the column is not UTF-8.
        """
        raw = np.array(self.column(name))
        try:
            # This works for plain ASCII, and takes a third of the memory of decoding.
            return raw.astype(f"U{raw.dtype.itemsize}")
        except UnicodeDecodeError:
            pass
        try:
            return np.char.decode(raw, "utf-8")
        except UnicodeDecodeError:
            raise StoreError(f"{self.path}: damaged: {name} is not UTF-8") from None

    def layer(self, name: str) -> np.memmap[Any, np.dtype[Any]]:
        """Map a layer into memory, of shape (n, height, width, channels).

        Raises:
            ParameterError: the store has no such layer.
        """
        self._check_layer(name)
        return self._map(self.layout.layers[name])

    def raw_checksums(self, layer: str) -> np.memmap[Any, np.dtype[Any]]:
        """Map the checksums of a layer into memory, byte strings of shape (n,)."""
        self._check_layer(layer)
        return self._map(self.layout.checksums[layer])

    def checksums(self, layer: str, rows: RowSelection | None = None) -> NDArray[np.str_]:
        """Read the checksums of all rows or of some, hexadecimal; empty where a row is not done."""
        raw = self.raw_checksums(layer)
        # A damaged checksum may not be ASCII; it then matches no digest.
        return np.char.decode(np.array(raw if rows is None else raw[rows]), "ascii", "replace")

    def _check_layer(self, name: str) -> None:
        if name not in self.layout.layers:
            names = ", ".join(self.layout.layers)
            raise ParameterError(f"{self.path}: has no layer {name!r}; it has {names}")

    def _map(self, extent: Extent) -> np.memmap[Any, np.dtype[Any]]:
        # If another process replaces the file, rows of two stores must not mix.
        if file_identity(self.path.stat()) != self.layout.file:
            raise StoreError(
                f"{self.path}: replaced by another store since it was opened; open it again"
            )
        return extent.map(self.path)
