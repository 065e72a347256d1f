"""Layout of a feature store: names and types of its datasets, and their places in the file.

FORMAT.md describes the format. `index.py` reads and writes a layout.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import StoreError

STORE_FORMAT = "freezeframe-features"
STORE_FORMAT_VERSION = 2
"""Format version of new stores; `COLUMNS_BY_VERSION` has all versions that can be read."""

# Values of `/rows/status`.
PENDING = 0
DONE = 1
FAILED = 2
STATUS_NAMES = {DONE: "done", FAILED: "failed", PENDING: "pending"}
REASON_BYTES = 200
DIGEST_BYTES = 64
THUMBNAIL_SIDE = 64
"""Side of a thumbnail in pixels."""

IDENTITY_COLUMNS = ("path", "sha256", "label", "split", "group")
"""Text columns that are set when the store is made and never change."""

# Each version is written out in full: a column that is added to a new version must not change what
# an old version means.
COLUMNS_BY_VERSION: dict[int, dict[str, str]] = {
    1: {
        "path": "S",
        "sha256": "S64",
        "label": "S",
        "split": "S",
        "group": "S",
        "width": "<u4",
        "height": "<u4",
        "status": "|u1",
        "reason": "S200",
    },
    2: {
        "path": "S",
        "sha256": "S64",
        "label": "S",
        "split": "S",
        "group": "S",
        "width": "<u4",
        "height": "<u4",
        "status": "|u1",
        "reason": "S200",
        "pixels": "S64",
        "thumbnail": "|u1",
        "duplicates": "<u4",
    },
}
"""Datasets in `/rows` and their dtypes, by format version; "S" is a byte string of any length."""

ROW_COLUMNS = COLUMNS_BY_VERSION[STORE_FORMAT_VERSION]
"""The columns of a new store."""

ROW_SHAPES = {"rows/thumbnail": (THUMBNAIL_SIDE, THUMBNAIL_SIDE)}
"""Shape of one row of each dataset with more than one value a row; layers are not listed."""

LAYER_DTYPES = {"float32": "<f4", "float16": "<f2"}

USER_BLOCK_BYTES = 512
"""The smallest user block: space that HDF5 leaves free at the head of a file, for the index."""

_DECIDING_FIELDS_1: dict[str, type] = {
    "backbone": str,
    "weights_digest": str,
    "preprocessing": str,
    "resize": str,
    "input_height": int,
    "input_width": int,
    "dtype": str,
    "engine": str,
    "backend": str,
    "precision": str,
    "batch_size": int,
}
DECIDING_FIELDS_BY_VERSION = {1: _DECIDING_FIELDS_1, 2: _DECIDING_FIELDS_1}
"""Provenance fields that decide the numbers in a store, and their types, by format version."""

DECIDING_FIELDS = DECIDING_FIELDS_BY_VERSION[STORE_FORMAT_VERSION]
"""The provenance fields that a new store must have."""

FINGERPRINT_FIELDS = tuple(DECIDING_FIELDS_BY_VERSION[1])
"""Provenance fields in the fingerprint of a store: its rule has not changed since version 1."""


@dataclass(frozen=True)
class Extent:
    """The place of a dataset in the file.

    Attributes:
        offset: byte of the file at which the dataset begins.
        shape: its shape, rows first; the values are in C order.
        dtype: its dtype.
    """

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def row_bytes(self) -> int:
        """Number of bytes of one row."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    @property
    def end(self) -> int:
        """First byte after the dataset."""
        return self.offset + self.shape[0] * self.row_bytes

    def row_offset(self, row: int) -> int:
        """Return the byte of the file at which a row begins."""
        return self.offset + row * self.row_bytes

    def map(self, path: str | os.PathLike[str]) -> np.memmap[Any, np.dtype[Any]]:
        """Map the dataset of the store at `path` into memory, read-only."""
        # "r": a reader must not be able to change a store by accident.
        return np.memmap(path, self.dtype, "r", self.offset, self.shape)


@dataclass(frozen=True)
class Layout:
    """The contents of a store's index: the extents of all datasets, provenance and version.

    Attributes:
        datasets: extents by full name, for example "rows/path".
        provenance: fields that describe how the features were made.
        identity_sha256: `identity_digest` of the columns when the store was made.
        version: format version, a key of `COLUMNS_BY_VERSION`.
        file: `file_identity` of the file that was read.
    """

    datasets: dict[str, Extent]
    provenance: dict[str, Any]
    identity_sha256: str
    version: int
    file: tuple[int, int] = (0, 0)

    @cached_property
    def rows(self) -> dict[str, Extent]:
        """Extents in `/rows`, by column name."""
        return self._group("rows")

    @cached_property
    def layers(self) -> dict[str, Extent]:
        """Extents in `/layers`, by layer name."""
        return self._group("layers")

    @cached_property
    def checksums(self) -> dict[str, Extent]:
        """Extents in `/checksums`, by layer name."""
        return self._group("checksums")

    def _group(self, group: str) -> dict[str, Extent]:
        prefix = f"{group}/"
        return {
            full_name.removeprefix(prefix): extent
            for full_name, extent in self.datasets.items()
            if full_name.startswith(prefix)
        }

    @property
    def n(self) -> int:
        """Number of rows."""
        return self.rows["status"].shape[0]

    def read_status(self, path: str | os.PathLike[str]) -> NDArray[np.uint8]:
        """Read the status of each row of the store at `path`, of shape (n,).

        Raises:
            StoreError: a status is unknown.
        """
        status: NDArray[np.uint8] = np.array(self.rows["status"].map(path))
        if status.max() > FAILED:
            raise StoreError(f"{path}: damaged: status {status.max()} is unknown")
        # A power cut can keep the status but lose the checksum; such a row is computed again.
        for extent in self.checksums.values():
            status[(status == DONE) & (extent.map(path) == b"")] = PENDING
        return status


def user_block_bytes(n_bytes: int) -> int:
    """Return the size of the smallest HDF5 user block that holds `n_bytes` bytes.

    Examples:
        >>> user_block_bytes(100), user_block_bytes(512), user_block_bytes(513)
        (512, 512, 1024)
    """
    return max(USER_BLOCK_BYTES, 1 << (n_bytes - 1).bit_length())


def file_identity(status: os.stat_result) -> tuple[int, int]:
    """Return the numbers that distinguish a file from a later file of the same name."""
    # A replaced file has the same path, but another inode.
    return status.st_dev, status.st_ino


def identity_digest(columns: Mapping[str, NDArray[Any]]) -> str:
    """Compute the SHA-256 of the columns that name a store's images.

    Args:
        columns: the columns of `IDENTITY_COLUMNS`, byte strings of shape (n,), by name.

    Returns:
        The digest, hexadecimal.
    """
    digest = hashlib.sha256()
    # The order of the columns is part of the format.
    for name in IDENTITY_COLUMNS:
        digest.update(np.ascontiguousarray(columns[name]).data)
    return digest.hexdigest()


def row_checksum(features: NDArray[Any]) -> str:
    """Compute the SHA-256 of the bytes of one row's features, hexadecimal.

    Args:
        features: features of one row and layer, in the store's dtype.
    """
    return hashlib.sha256(np.ascontiguousarray(features).data).hexdigest()
