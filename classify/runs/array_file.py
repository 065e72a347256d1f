"""Files of arrays and text: their header, their arrays, and a digest of both; never pickle."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_HEADER_BYTES = 2**24
"""Size limit of a file's header, which holds all its text."""

_BLOCK_BYTES = 2**20
"""Bytes that are read at a time to compute a digest."""

_DTYPES = {
    "BOOL": "?",
    "U8": "u1",
    "I8": "i1",
    "U16": "<u2",
    "I16": "<i2",
    "F16": "<f2",
    "U32": "<u4",
    "I32": "<i4",
    "F32": "<f4",
    "U64": "<u8",
    "I64": "<i8",
    "F64": "<f8",
}
"""NumPy's dtype for each of safetensors' that NumPy has."""

DAMAGE = (
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    MemoryError,
)
"""Exceptions that foreign content of a file can raise while objects are restored from it."""


@dataclass(frozen=True)
class StoredArray:
    """An array in a file, not read yet.

    Attributes:
        path: path of the file.
        dtype: dtype of the array.
        shape: shape of the array; the values are in C order.
        offset: byte of the file at which it begins.
    """

    path: Path
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int

    @property
    def n_bytes(self) -> int:
        """Number of its bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    def read(self) -> NDArray[Any]:
        """Read the array into memory."""
        count = math.prod(self.shape)
        return np.fromfile(self.path, self.dtype, count, offset=self.offset).reshape(self.shape)

    def blocks(self) -> Iterator[bytes]:
        """Yield its bytes block by block."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            for begin in range(0, self.n_bytes, _BLOCK_BYTES):
                yield file.read(min(_BLOCK_BYTES, self.n_bytes - begin))


def read_header(path: Path) -> tuple[dict[str, StoredArray], dict[str, str]]:
    """Read the places of the arrays, and the metadata."""
    from safetensors import safe_open

    with path.open("rb") as file:
        # The file begins with the length of its header.
        length = int.from_bytes(file.read(8), "little")
        if length > MAX_HEADER_BYTES:
            raise ValueError(f"its header would have {length} bytes")
        # It checks all places and sizes against each other and against the size of the file.
        with safe_open(path, framework="numpy"):
            header = json.loads(file.read(length))
    metadata = header.pop("__metadata__", {})
    arrays = {
        name: StoredArray(
            path,
            np.dtype(_DTYPES[place["dtype"]]),
            tuple(place["shape"]),
            8 + length + place["data_offsets"][0],
        )
        for name, place in header.items()
    }
    return arrays, metadata


def one_line(error: BaseException) -> str:
    """Return the beginning of an error's text without line breaks."""
    return " ".join(str(error).split())[:120]


def content_digest(
    title: str, about: str, arrays: Mapping[str, NDArray[Any]] | Mapping[str, StoredArray]
) -> str:
    """Return the SHA-256 over a title, a text, and each array's name, dtype, shape and bytes."""
    digest = hashlib.sha256((title + about).encode())
    # The order of the arrays in a file is not defined.
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        blocks = array.blocks() if isinstance(array, StoredArray) else [array.tobytes()]
        for block in blocks:
            digest.update(block)
    return digest.hexdigest()


def in_section(section: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return arrays with names of a section of a file, such as `familiarity:mean`.

    Examples:
        >>> list(in_section("familiarity", {"mean": np.zeros(2)}))
        ['familiarity:mean']
    """
    return {f"{section}:{name}": array for name, array in arrays.items()}


def of_section(section: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the arrays of a section by their own names; "" takes those that are in none."""
    places = {name: name.rpartition(":") for name in arrays}
    return {own: arrays[name] for name, (place, _, own) in places.items() if place == section}
