"""The index at the head of a feature store: written once, read and checked before anything else.

Stores are read without the HDF5 library: on damaged metadata it can loop for ever or crash. We saw
this with HDF5 1.14.6, in 8 of 6,000 stores with up to 8 changed bytes
(`scripts/checks/damage_check.py`). The index holds the places of all datasets, so a reader needs
nothing else. A damaged index may claim any size, so each size is checked against the file.
FORMAT.md describes the index.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from rich.filesize import decimal

from ..data.output.capacity import memory_bytes
from ..errors import StoreError
from .layout import (
    COLUMNS_BY_VERSION,
    DECIDING_FIELDS_BY_VERSION,
    DIGEST_BYTES,
    LAYER_DTYPES,
    MAX_TEXT_BYTES,
    ROW_SHAPES,
    STORE_FORMAT,
    USER_BLOCK_BYTES,
    Extent,
    Layout,
    file_identity,
)

_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_ADVICE = "copy the file again, or extract the features again with extract-features --overwrite"
"""Advice for a store that cannot be read."""

_MAX_REASON = 150
"""Most characters of a Python error that a message quotes."""


def begins_as_store(path: str | os.PathLike[str]) -> bool:
    """Return True if a file begins like a store of any version, even a damaged one."""
    with Path(path).open("rb") as file:
        return file.read(len(STORE_FORMAT) + 1) == f"{STORE_FORMAT} ".encode()


def encode_index(layout: Layout) -> bytes:
    """Encode the index of a store: a line with its length and SHA-256, then JSON."""
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
    digest = hashlib.sha256(text).hexdigest()
    line = f"{STORE_FORMAT} {layout.version} {len(text)} {digest}\n"
    return line.encode() + text + b"\n"


def read_layout(path: str | os.PathLike[str]) -> Layout:
    """Read and check the index of a store.

    Raises:
        StoreError: the file is missing, not a feature store, of an unknown version, or damaged.
    """
    path = Path(path)
    if path.is_dir():
        raise StoreError(f"{path}: a folder, not a feature store; give the path of an HDF5 file")
    if not path.is_file():
        raise StoreError(f"{path}: no such file; make it with extract-features")
    try:
        return _read_layout(path)
    except StoreError as error:
        # A damaged index leaves only one way, whatever part of it is damaged.
        advice = "" if ";" in str(error) else f"; {_ADVICE}"
        raise StoreError(f"{path}: {error}{advice}") from None
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be read ({error.strerror or error}); check the file and its disk"
        ) from None
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        # The checksum of the index is right, so a program wrote these values on purpose. They
        # can raise any of these errors.
        reason = " ".join(f"{type(error).__name__} {error}".split())[:_MAX_REASON]
        raise StoreError(
            f"{path}: damaged: its index is not one of a feature store ({reason}); {_ADVICE}"
        ) from None


def _read_layout(path: Path) -> Layout:
    with path.open("rb") as file:
        # The first line fits into the smallest user block, whatever the file is.
        head = file.read(USER_BLOCK_BYTES)
        line, _, begun = head.partition(b"\n")
        version, length, digest = _parse_line(line, head)
        # Most indexes are longer than this head: read the rest, up to the length in the line.
        text = (begun + file.read(max(0, length - len(begun))))[:length]
        # The size of the open file, not of a file that replaces it meanwhile.
        status = os.fstat(file.fileno())
    if hashlib.sha256(text).hexdigest() != digest:
        raise StoreError("damaged: its index is not what was written")
    index_bytes = len(line) + 1 + length
    layout = _parse_index(json.loads(text), version)
    _check_layout(layout)
    _check_places(list(layout.datasets.values()), index_bytes, status.st_size)
    _check_memory(layout)
    return replace(layout, file=file_identity(status))


def _parse_line(line: bytes, head: bytes) -> tuple[int, int, str]:
    """Parse the first line of a store.

    Args:
        line: the line, without its line feed.
        head: the first bytes of the file, to name other kinds of files.

    Returns:
        The format version, and the length and the SHA-256 of the index.
    """
    version = re.match(rb"freezeframe-features (\d{1,9}) ", line)
    if line.startswith(b"freezeframe-archive "):
        raise StoreError(
            "an archive, not a working store; restore the store with freezeframe store restore"
        )
    if not version and head.startswith(_HDF5_SIGNATURE):
        raise StoreError("an HDF5 file, but not a feature store; make one with extract-features")
    if not version:
        raise StoreError("not a feature store; make one with extract-features")
    if int(version[1]) not in COLUMNS_BY_VERSION:
        readable = ", ".join(map(str, COLUMNS_BY_VERSION))
        raise StoreError(
            f"format version {int(version[1])} is unknown to this freezeframe, "
            f"which reads {readable}; install a newer freezeframe"
        )
    # Seven digits bound the memory that a hostile file can make us read.
    rest = re.fullmatch(rb"(\d{1,7}) ([0-9a-f]{64})", line[version.end() :])
    if not rest:
        raise StoreError("damaged: its first line is not what was written")
    return int(version[1]), int(rest[1]), rest[2].decode()


def _parse_index(index: Any, version: int) -> Layout:
    columns = COLUMNS_BY_VERSION[version]
    datasets = {
        name: _parse_extent(name, place, columns) for name, place in index["datasets"].items()
    }
    # No field of the format is a list or null, so values of other types are dropped.
    provenance = {
        name: value
        for name, value in index["provenance"].items()
        if isinstance(value, str | int | float)
    }
    return Layout(datasets, provenance, str(index["identity_sha256"]), version)


def _parse_extent(full_name: str, place: Any, columns: Mapping[str, str]) -> Extent:
    """Parse the place of one dataset; raise StoreError unless its type is as in FORMAT.md."""
    type_name, shape, offset = place
    # `type(...) is int` refuses true, which is an int in Python.
    if not shape or not all(type(size) is int and size > 0 for size in [*shape, offset]):
        raise StoreError(f"damaged: {full_name} has shape {shape} at byte {offset}")
    group, _, name = full_name.partition("/")
    if group == "layers":
        fits = type_name in LAYER_DTYPES.values()
    else:
        expected = {"rows": columns, "checksums": {name: f"S{DIGEST_BYTES}"}}[group][name]
        if expected == "S":
            fits = bool(re.fullmatch(r"\|S[1-9]\d{0,7}", type_name))
            if fits and (n_bytes := int(type_name[2:])) > MAX_TEXT_BYTES:
                raise StoreError(
                    f"damaged: {full_name} has texts of {n_bytes} bytes, the limit is "
                    f"{MAX_TEXT_BYTES}"
                )
        else:
            fits = type_name == np.dtype(expected).str
    if not fits:
        raise StoreError(f"damaged: {full_name} has type {str(type_name)[:20]}")
    return Extent(offset, tuple(shape), np.dtype(type_name))


def _check_layout(layout: Layout) -> None:
    """Raise StoreError unless the datasets and the provenance are as in FORMAT.md."""
    if (
        layout.rows.keys() != COLUMNS_BY_VERSION[layout.version].keys()
        or not layout.layers
        or layout.layers.keys() != layout.checksums.keys()
    ):
        raise StoreError("damaged: it lacks columns, layers or checksums")
    if len({extent.dtype for extent in layout.layers.values()}) != 1:
        raise StoreError("damaged: its layers have several dtypes")
    for name, extent in layout.datasets.items():
        if name.startswith("layers/"):
            fits = len(extent.shape) == 4
        else:
            fits = extent.shape[1:] == ROW_SHAPES.get(name, ())
        if extent.shape[0] != layout.n or not fits:
            raise StoreError(
                f"damaged: {name} has shape {extent.shape} in a store of {layout.n} rows"
            )
    for name, kind in DECIDING_FIELDS_BY_VERSION[layout.version].items():
        value = layout.provenance.get(name)
        if type(value) is not kind:
            raise StoreError(f"damaged: its provenance has {value!r} for {name}")
    # All layers have one dtype, so checking the first one is enough.
    stored = next(iter(layout.layers.values())).dtype.str
    claimed = layout.provenance["dtype"]
    if LAYER_DTYPES.get(str(claimed)) != stored:
        raise StoreError(f"damaged: its provenance says {claimed}, its layers are {stored}")


def _check_places(extents: list[Extent], index_bytes: int, file_bytes: int) -> None:
    """Raise StoreError unless all datasets are between the index and the end, without overlap."""
    # In a list sorted by place, datasets overlap only if two neighbours do.
    in_order = sorted(extents, key=lambda extent: extent.offset)
    if in_order[0].offset < index_bytes or any(a.end > b.offset for a, b in pairwise(in_order)):
        raise StoreError("damaged: its datasets overlap")
    if in_order[-1].end > file_bytes:
        raise StoreError(
            f"truncated: it should have {in_order[-1].end} bytes, the file has {file_bytes}"
        )


def _check_memory(layout: Layout) -> None:
    """Raise StoreError if the columns, which are read whole, do not fit into memory."""
    needs = {}
    for name, extent in layout.rows.items():
        # NumPy takes four bytes for each letter of a text. Thumbnails are read row by row.
        letter_bytes = 4 if name in layout.identity_columns else 1
        if f"rows/{name}" not in ROW_SHAPES:
            needs[name] = layout.n * extent.row_bytes * letter_bytes
    needed = sum(needs.values())
    if needed > (memory := memory_bytes()):
        widest = max(needs, key=lambda name: needs[name])
        raise StoreError(
            f"its columns would take {decimal(needed)}, {decimal(needs[widest])} of them "
            f"rows/{widest} with {layout.n} texts of {layout.rows[widest].row_bytes} bytes; this "
            f"machine has {decimal(int(memory))} of memory; take a larger machine"
        )
