"""Layout of a feature store: names and types of its datasets, and their places in the file.

FORMAT.md describes the format. `index.py` reads and writes a layout.
"""

from __future__ import annotations

import hashlib
import io
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
STORE_FORMAT_VERSION = 3
"""Format version of new stores; `COLUMNS_BY_VERSION` has all versions that can be read."""

# Values of `/rows/status`.
PENDING = 0
DONE = 1
FAILED = 2
STATUS_NAMES = {DONE: "done", FAILED: "failed", PENDING: "pending"}
REASON_BYTES = 200
DIGEST_BYTES = 64
MAX_TEXT_BYTES = 4096
"""Limit of a text in a column, in UTF-8: the longest path that Linux opens.

Columns are read whole, so a small file with wide columns could take all memory."""

THUMBNAIL_SIDE = 64
"""Side of a thumbnail in pixels."""

_IDENTITY_COLUMNS_1 = ("path", "sha256", "label", "split", "group")
IDENTITY_COLUMNS_BY_VERSION = {
    1: _IDENTITY_COLUMNS_1,
    2: _IDENTITY_COLUMNS_1,
    3: (*_IDENTITY_COLUMNS_1, "group_scope", "patient"),
}
"""Text columns that are set when the store is made and never change, by format version."""

IDENTITY_COLUMNS = IDENTITY_COLUMNS_BY_VERSION[STORE_FORMAT_VERSION]
"""The identity columns of a new store."""

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
    3: {
        "path": "S",
        "sha256": "S64",
        "label": "S",
        "split": "S",
        "group": "S",
        "group_scope": "S6",
        "patient": "S",
        "width": "<u4",
        "height": "<u4",
        "status": "|u1",
        "reason": "S200",
        "pixels": "S64",
        "thumbnail": "|u1",
        "duplicates": "<u4",
        "status_checksum": "S64",
        "fingerprint_checksum": "S64",
        "duplicates_checksum": "S64",
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
DECIDING_FIELDS_BY_VERSION = {1: _DECIDING_FIELDS_1, 2: _DECIDING_FIELDS_1, 3: _DECIDING_FIELDS_1}
"""Provenance fields that decide the numbers in a store, and their types, by format version."""

DECIDING_FIELDS = DECIDING_FIELDS_BY_VERSION[STORE_FORMAT_VERSION]
"""The provenance fields that a new store must have."""

FINGERPRINT_FIELDS = tuple(DECIDING_FIELDS_BY_VERSION[1])
"""Provenance fields in the fingerprint of a store: its rule has not changed since version 1."""

FINGERPRINT_COLUMNS = (*_IDENTITY_COLUMNS_1, "status")
"""Columns in the fingerprint of a store; `patient` follows if a row has one."""


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
        """Map the dataset of the store at `path` into memory, read-only.

        The system kills a process that reads a map of a file that became shorter. `read` is safe.
        """
        # "r": a reader must not be able to change a store by accident.
        return np.memmap(path, self.dtype, "r", self.offset, self.shape)

    def read(self, file: io.FileIO, rows: slice | None = None) -> NDArray[Any]:
        """Read the dataset, or the rows of a slice without step, through plain file I/O.

        Raises:
            StoreError: the file ends within the dataset.
        """
        start, stop, _ = (rows or slice(None)).indices(self.shape[0])
        values = np.empty((max(0, stop - start), *self.shape[1:]), self.dtype)
        read_at(file, self.row_offset(start), values)
        return values


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

    @property
    def identity_columns(self) -> tuple[str, ...]:
        """Names of the identity columns that a store of this version has."""
        return IDENTITY_COLUMNS_BY_VERSION[self.version]

    @property
    def has_row_checksums(self) -> bool:
        """True if checksums cover status, sizes, fingerprints and near-duplicate groups."""
        return "status_checksum" in self.rows

    def read_status(self, file: io.FileIO) -> NDArray[np.uint8]:
        """Read the status of each row of the open store, of shape (n,).

        A row counts as pending until its checksum is there, too: a crash came between the two. A
        status that cannot be right counts as pending, too, where `damaged_rows` names it.

        Raises:
            StoreError: a status of version 1 or 2 is unknown, or the file is too short.
        """
        if self.has_row_checksums:
            # The status is read last, since it is written first: beside a writer, the checksum of
            # a row that is being finished would otherwise look like one of a pending row.
            unfinished = self.rows["status_checksum"].read(file) == b""
            status: NDArray[np.uint8] = self.rows["status"].read(file)
            status[unfinished | (status > FAILED)] = PENDING
            return status
        status = self.rows["status"].read(file)
        if status.max() > FAILED:
            row = int(status.argmax())
            raise StoreError(
                f"damaged: row {row} has the unknown status {status[row]}; "
                "extract the features again with extract-features --overwrite"
            )
        for extent in self.checksums.values():
            status[(status == DONE) & (extent.read(file) == b"")] = PENDING
        return status


def read_at(file: io.FileIO, offset: int, values: NDArray[Any]) -> None:
    """Fill a contiguous array with the bytes of a file from an offset on.

    Several threads may do so at once where the system has `os.preadv`.

    Raises:
        StoreError: the file ends too early.
        OSError: the file cannot be read.
    """
    if not values.size:
        return
    view = values.reshape(-1).view(np.uint8).data
    while view:
        if hasattr(os, "preadv"):
            n_read = os.preadv(file.fileno(), [view], offset)
        else:
            file.seek(offset)
            n_read = file.readinto(view)
        # A mapped file that another process cuts short would end this process.
        if not n_read:
            raise StoreError("became shorter while it was read; extract the features again")
        offset += n_read
        view = view[n_read:]


def write_at(file: io.FileIO, offset: int, data: bytes | memoryview) -> None:
    """Write all of `data` at an offset; with `os.pwrite`, several threads may do so at once."""
    view = memoryview(data)
    while view:
        # pwrite has no position in the file that threads would share.
        if hasattr(os, "pwrite"):
            written = os.pwrite(file.fileno(), view, offset)
        else:
            file.seek(offset)
            written = file.write(view)
        offset += written
        view = view[written:]


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
        columns: the identity columns of the store's version, in the order of the format; byte
            strings of shape (n,), by name.

    Returns:
        The digest, hexadecimal.
    """
    digest = hashlib.sha256()
    # The order of the columns is part of the format.
    for column in columns.values():
        digest.update(np.ascontiguousarray(column).data)
    return digest.hexdigest()


def row_checksum(features: NDArray[Any]) -> str:
    """Compute the SHA-256 of the bytes of one row's features, hexadecimal.

    Args:
        features: features of one row and layer, in the store's dtype.
    """
    return hashlib.sha256(np.ascontiguousarray(features).data).hexdigest()
