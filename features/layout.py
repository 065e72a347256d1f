"""Where everything lies in a feature store: names, types, and the index at its head. See FORMAT.md.

The HDF5 library is not used to read: on damaged metadata it can loop for ever or crash (seen with
1.14.6, in 8 of 6,000 stores with up to 8 bytes changed: `scripts/damage_check.py`). The index says
where the datasets lie, and is checked first.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import StoreError

STORE_FORMAT = "freezeframe-features"
STORE_FORMAT_VERSION = 2
"""What is written; `COLUMNS_BY_VERSION` has what is read."""

PENDING, DONE, FAILED = 0, 1, 2
REASON_BYTES = 200
DIGEST_BYTES = 64
THUMBNAIL_SIDE = 64
"""Side of a thumbnail in pixels."""

IDENTITY_COLUMNS = ("path", "sha256", "label", "split", "group")
"""Text columns that are known when the store is made and never change."""

_COLUMNS_1: dict[str, str] = {
    **dict.fromkeys(IDENTITY_COLUMNS, "S"),
    "sha256": f"S{DIGEST_BYTES}",
    "width": "<u4",
    "height": "<u4",
    "status": "|u1",
    "reason": f"S{REASON_BYTES}",
}
ROW_COLUMNS = _COLUMNS_1 | {"pixels": f"S{DIGEST_BYTES}", "thumbnail": "|u1", "duplicates": "<u4"}
"""Datasets in `/rows` and their dtypes; "S" is a byte string of any fixed length."""

COLUMNS_BY_VERSION = {1: _COLUMNS_1, STORE_FORMAT_VERSION: ROW_COLUMNS}
"""The columns of each version of the format that can be read."""

ROW_SHAPES = {"rows/thumbnail": (THUMBNAIL_SIDE, THUMBNAIL_SIDE)}
"""Shape of one row of the datasets, other than layers, that do not hold single values."""

_HDF5 = b"\x89HDF\r\n\x1a\n"
_HEAD_BYTES = 512
"""The smallest space that HDF5 leaves to others at the head of a file; the first line of the index fits into it."""

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
    "precision": str,
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

    @property
    def end(self) -> int:
        """First byte behind the dataset."""
        return self.offset + self.shape[0] * self.row_bytes

    def row_offset(self, row: int) -> int:
        """First byte of a row in the file."""
        return self.offset + row * self.row_bytes

    def map(self, path: str | os.PathLike[str]) -> np.memmap[Any, np.dtype[Any]]:
        """The dataset as a read-only memory map of the store at `path`."""
        return np.memmap(path, self.dtype, "r", self.offset, self.shape)


@dataclass(frozen=True)
class Layout:
    """Extents of all datasets of a store; `read_layout` checks them against FORMAT.md and the length of the file.

    Attributes:
        datasets: extents by full name, "rows/path" say.
        provenance: its fields.
        identity_sha256: see `identity_digest`; what the columns of `IDENTITY_COLUMNS` had when the store
            was made.
        version: of the format, a key of `COLUMNS_BY_VERSION`.
        file: the file that was read; see `file_identity`.
    """

    datasets: dict[str, Extent]
    provenance: dict[str, Any]
    identity_sha256: str
    version: int = STORE_FORMAT_VERSION
    file: tuple[int, int] = (0, 0)

    @cached_property
    def rows(self) -> dict[str, Extent]:
        """Extents in `/rows`, by name."""
        return self._group("rows")

    @cached_property
    def layers(self) -> dict[str, Extent]:
        """Extents in `/layers`, by name."""
        return self._group("layers")

    @cached_property
    def checksums(self) -> dict[str, Extent]:
        """Extents in `/checksums`, by name of the layer."""
        return self._group("checksums")

    def _group(self, group: str) -> dict[str, Extent]:
        members = ((name.partition("/"), extent) for name, extent in self.datasets.items())
        return {name: extent for (first, _, name), extent in members if first == group}

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


def file_identity(status: os.stat_result) -> tuple[int, int]:
    """What tells a file from the one that takes its place under the same name."""
    return status.st_dev, status.st_ino


def begins_as_store(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins as a store of any version does, damaged or not."""
    with Path(path).open("rb") as file:
        return file.read(len(STORE_FORMAT) + 1) == f"{STORE_FORMAT} ".encode()


def identity_digest(columns: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 over the bytes of the columns of `IDENTITY_COLUMNS`, which never change: which images a store is of."""
    digest = hashlib.sha256()
    for name in IDENTITY_COLUMNS:
        digest.update(np.ascontiguousarray(columns[name]).data)
    return digest.hexdigest()


def encode_index(layout: Layout) -> bytes:
    """The index of a store: a line with its length and SHA-256, then JSON."""
    places = {
        name: [extent.dtype.str, extent.shape, extent.offset]
        for name, extent in layout.datasets.items()
    }
    index = {
        "provenance": layout.provenance,
        "datasets": places,
        "identity_sha256": layout.identity_sha256,
    }
    text = json.dumps(index).encode()
    return (
        f"{STORE_FORMAT} {layout.version} {len(text)} {hashlib.sha256(text).hexdigest()}\n".encode()
        + text
        + b"\n"
    )


def read_layout(path: str | os.PathLike[str]) -> Layout:
    """Read and check the index of a store.

    Raises:
        StoreError: the file is missing, no feature store, of an unknown version, or damaged.
    """
    path = Path(path)
    if not path.is_file():
        what = (
            "a folder, not a feature store"
            if path.is_dir()
            else "no such file; make it with extract-features"
        )
        raise StoreError(f"{path}: {what}")
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
            line, _, begun = head.partition(b"\n")
            version, length, digest = _checked_head(line, head)
            text = (begun + file.read(max(0, length - len(begun))))[:length]
            status = os.fstat(file.fileno())
        if hashlib.sha256(text).hexdigest() != digest:
            raise StoreError("damaged: its index is not what was written")
        layout = _checked_layout(json.loads(text), version, len(line) + 1 + length, status.st_size)
        return replace(layout, file=file_identity(status))
    except StoreError as error:
        raise StoreError(f"{path}: {error}") from None
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        reason = " ".join(f"{type(error).__name__} {error}".split())[
            :150
        ]  # made to deceive: its digest is right
        raise StoreError(
            f"{path}: damaged: its index is not one of a feature store ({reason})"
        ) from None


def _checked_head(line: bytes, head: bytes) -> tuple[int, int, str]:
    """Version of the format, length and SHA-256 of the index, from the line that a store begins with."""
    version = re.match(rb"freezeframe-features (\d{1,9}) ", line)
    if line.startswith(b"freezeframe-archive "):
        raise StoreError(
            "an archive, not a working store; make one of it with freezeframe store restore"
        )
    if not version:
        raise StoreError(
            "an HDF5 file, but not a feature store"
            if head.startswith(_HDF5)
            else "not a feature store"
        )
    if int(version[1]) not in COLUMNS_BY_VERSION:
        known = " and ".join(map(str, COLUMNS_BY_VERSION))
        raise StoreError(
            f"format version {int(version[1])} is unknown to this freezeframe, which reads {known}"
        )
    rest = re.fullmatch(rb"(\d{1,7}) ([0-9a-f]{64})", line[version.end() :])
    if not rest:
        raise StoreError("damaged: its first line is not what was written")
    return int(version[1]), int(rest[1]), rest[2].decode()


def _checked_layout(index: Any, version: int, index_bytes: int, file_bytes: int) -> Layout:
    """The layout that an index tells; sizes in the file are claims, not facts."""
    columns = COLUMNS_BY_VERSION[version]
    datasets = {name: _extent(name, place, columns) for name, place in index["datasets"].items()}
    provenance = {
        k: value for k, value in index["provenance"].items() if isinstance(value, str | int | float)
    }
    layout = Layout(datasets, provenance, str(index["identity_sha256"]), version)
    if (
        layout.rows.keys() != columns.keys()
        or not layout.layers
        or layout.layers.keys() != layout.checksums.keys()
    ):
        raise StoreError("damaged: it lacks columns, layers or checksums")
    if len({extent.dtype for extent in layout.layers.values()}) != 1:
        raise StoreError("damaged: its layers have several dtypes")
    for name, extent in datasets.items():
        alike = (
            len(extent.shape) == 4
            if name.startswith("layers/")
            else extent.shape[1:] == ROW_SHAPES.get(name, ())
        )
        if extent.shape[0] != layout.n or not alike:
            raise StoreError(
                f"damaged: {name} has shape {extent.shape} in a store of {layout.n} rows"
            )
    for name, kind in DECIDING.items():
        if type(provenance.get(name)) is not kind:
            raise StoreError(f"damaged: its provenance has {provenance.get(name)!r} for {name}")
    dtype = next(iter(layout.layers.values())).dtype.str
    if LAYER_DTYPES.get(str(provenance["dtype"])) != dtype:
        raise StoreError(
            f"damaged: its provenance says {provenance['dtype']}, its layers are {dtype}"
        )
    _check_places(list(datasets.values()), index_bytes, file_bytes)
    return layout


def _extent(full_name: str, place: Any, columns: Mapping[str, str]) -> Extent:
    """The extent of one dataset, if it has the type that FORMAT.md says."""
    type_name, shape, offset = place
    if not shape or not all(type(size) is int and size > 0 for size in [*shape, offset]):
        raise StoreError(f"damaged: {full_name} has shape {shape} at byte {offset}")
    group, _, name = full_name.partition("/")
    wanted = {"rows": columns, "checksums": {name: f"S{DIGEST_BYTES}"}, "layers": {name: "layer"}}[
        group
    ][name]
    if wanted == "layer":
        fits = type_name in LAYER_DTYPES.values()
    elif wanted == "S":
        fits = bool(re.fullmatch(r"\|S[1-9]\d{0,7}", type_name))
    else:
        fits = type_name == np.dtype(wanted).str
    if not fits:
        raise StoreError(f"damaged: {full_name} has type {str(type_name)[:20]}")
    return Extent(offset, tuple(shape), np.dtype(type_name))


def _check_places(extents: list[Extent], index_bytes: int, file_bytes: int) -> None:
    """Every dataset lies behind the index and inside the file, and no two share a byte."""
    in_order = sorted(extents, key=lambda extent: extent.offset)
    if in_order[0].offset < index_bytes or any(a.end > b.offset for a, b in pairwise(in_order)):
        raise StoreError("damaged: its datasets overlap")
    if in_order[-1].end > file_bytes:
        raise StoreError(
            f"truncated: it should have {in_order[-1].end} bytes, the file has {file_bytes}"
        )
