"""Where everything lies in a feature store: names, types and the checks on what a file claims. See FORMAT.md."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from .. import StoreError

FORMAT = "freezeframe-features"
FORMAT_VERSION = 1

PENDING, DONE, FAILED = 0, 1, 2
REASON_BYTES = 200
DIGEST_BYTES = 64

IDENTITY = ("path", "sha256", "label", "split", "group")
"""Text columns that are known when the store is made and never change."""

COLUMNS: dict[str, str] = {
    **dict.fromkeys(IDENTITY, "S"),
    "sha256": f"S{DIGEST_BYTES}",
    "width": "<u4",
    "height": "<u4",
    "status": "|u1",
    "reason": f"S{REASON_BYTES}",
}
"""Datasets in `/rows` and their dtypes; "S" is a byte string of any fixed length."""

LAYER_DTYPES = {"float32": "<f4", "float16": "<f2"}

DECIDING: dict[str, type] = {
    "backbone": str,
    "weights_digest": str,
    "preprocessing": str,
    "resize": str,
    "input_height": int,
    "input_width": int,
    "dtype": str,
    "engine": str,
    "backend": str,
    "batch_size": int,
}
"""Provenance fields that decide the numbers in a store, and their types."""


@dataclass(frozen=True)
class Extent:
    """A dataset's place in the file: `shape` values of `dtype` in C order, from byte `offset` on."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    def row_offset(self, row: int) -> int:
        """First byte of a row in the file."""
        return self.offset + row * self.row_bytes

    def map(self, path: str | os.PathLike[str]) -> np.memmap[Any, np.dtype[Any]]:
        """The dataset as a read-only memory map of the store at `path`."""
        return np.memmap(path, self.dtype, "r", self.offset, self.shape)


@dataclass(frozen=True)
class Layout:
    """Extents of all datasets of a store, checked against FORMAT.md and the length of the file."""

    rows: dict[str, Extent]
    layers: dict[str, Extent]
    checksums: dict[str, Extent]
    provenance: dict[str, Any]

    @property
    def n(self) -> int:
        """Number of rows."""
        return self.rows["status"].shape[0]

    def read_status(self, path: str | os.PathLike[str]) -> NDArray[np.uint8]:
        """Status of each row of the store at `path`: a row that is done but has no checksum counts as pending."""
        status: NDArray[np.uint8] = np.array(self.rows["status"].map(path))
        if status.max() > FAILED:
            raise StoreError(f"{path}: damaged: status {status.max()} is unknown")
        for extent in self.checksums.values():
            status[(status == DONE) & (extent.map(path) == b"")] = PENDING
        return status


def read_layout(path: str | os.PathLike[str]) -> Layout:
    """Read and check the layout of a store.

    Raises:
        StoreError: the file is missing, no feature store, of an unknown version, or damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise StoreError(f"{path}: no such file; make it with extract-features")
    try:
        # Best effort: some network file systems cannot lock, and writers do not go through HDF5.
        with h5py.File(path, "r", locking="best-effort") as file:
            return _checked_layout(file, path.stat().st_size)
    except StoreError as error:
        raise StoreError(f"{path}: {error}") from None
    except Exception as error:  # h5py reports damage as OSError, KeyError, RuntimeError, ValueError, TypeError ...
        reason = " ".join(str(error).split())[:150]
        raise StoreError(f"{path}: cannot be read as a feature store ({reason})") from None


def _checked_layout(file: h5py.File, file_bytes: int) -> Layout:
    if file.attrs.get("format") != FORMAT:
        raise StoreError("an HDF5 file, but not a feature store")
    version = file.attrs.get("format_version")
    if version != FORMAT_VERSION:
        raise StoreError(f"format version {version} is unknown to this freezeframe, which reads {FORMAT_VERSION}")
    rows = {name: _extent(file, f"rows/{name}", dtype, file_bytes) for name, dtype in COLUMNS.items()}
    n = rows["status"].shape[0]
    layers = {name: _extent(file, f"layers/{name}", "layer", file_bytes) for name in file["layers"]}
    checksums = {name: _extent(file, f"checksums/{name}", f"S{DIGEST_BYTES}", file_bytes) for name in layers}
    if not layers or len({extent.dtype for extent in layers.values()}) != 1:
        raise StoreError("damaged: it must hold at least one layer, all of one dtype")
    if n < 1:
        raise StoreError("damaged: it has no rows")
    for name, extent in [*rows.items(), *layers.items(), *checksums.items()]:
        is_layer = name in layers and extent is layers[name]
        if extent.shape[0] != n or len(extent.shape) != (4 if is_layer else 1) or min(extent.shape) < 1:
            raise StoreError(f"damaged: {name} has shape {extent.shape} in a store of {n} rows")
    plain = {name: _plain(value) for name, value in file["provenance"].attrs.items()}
    provenance = {name: value for name, value in plain.items() if value is not None}
    for name, kind in DECIDING.items():
        if type(provenance.get(name)) is not kind:
            raise StoreError(f"damaged: its provenance has {provenance.get(name)!r} for {name}")
    return Layout(rows, layers, checksums, provenance)


def _extent(file: h5py.File, name: str, wanted: str, file_bytes: int) -> Extent:
    """The extent of one dataset, if it is stored as FORMAT.md says; sizes in the file are claims, not facts."""
    group, _, member = name.partition("/")
    if not isinstance(file.get(group, getlink=True), h5py.HardLink):
        raise StoreError(f"damaged: it has no group {group}")
    if not isinstance(file[group].get(member, getlink=True), h5py.HardLink):
        raise StoreError(f"damaged: it has no dataset {name}")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        raise StoreError(f"damaged: {name} is no dataset")
    plist = dataset.id.get_create_plist()
    if plist.get_layout() != h5py.h5d.CONTIGUOUS or plist.get_external_count() or plist.get_nfilters():
        raise StoreError(f"{name} is not stored contiguously in the file itself")
    dtype = dataset.dtype
    fits = (
        dtype.str in LAYER_DTYPES.values()
        if wanted == "layer"
        else (dtype.kind == "S" and dtype.itemsize > 0 if wanted == "S" else dtype == np.dtype(wanted))
    )
    if not fits or not dataset.shape:
        raise StoreError(f"damaged: {name} has type {dtype} and shape {dataset.shape}")
    offset = dataset.id.get_offset()
    nbytes = math.prod(dataset.shape) * dtype.itemsize
    if nbytes and (offset is None or offset <= 0 or offset + nbytes > file_bytes):
        raise StoreError(f"truncated: {name} should end at byte {(offset or 0) + nbytes}, the file has {file_bytes}")
    return Extent(offset or 0, dataset.shape, np.dtype(dtype.str))


def _plain(value: Any) -> Any:
    """An HDF5 attribute as text or a number; None if it is neither."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return value if isinstance(value, str | int | float) else None
