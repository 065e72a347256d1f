"""Contents of an archive: the store's bytes outside its layers, and the compressed rows."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import StoreError
from ..layout import USER_BLOCK_BYTES, Layout
from ..store import FeatureStore
from .compression import Decoder
from .index import COPY_ADVICE, ArchiveIndex, Piece

_READ_BYTES = 2**20
"""Bytes that are copied at a time."""

_PLACE_BYTES = 16
"""Bytes of one line of `/chunks/<layer>`: offset and length."""


def pieces_outside_layers(layout: Layout, file_bytes: int) -> list[Piece]:
    """Return the parts of a store's file that lie outside its layers, in order."""
    pieces: list[Piece] = []
    begin = 0
    for extent in sorted(layout.layers.values(), key=lambda extent: extent.offset):
        pieces.append((begin, extent.offset - begin))
        begin = extent.end
    # The last piece begins after the last layer.
    pieces.append((begin, file_bytes - begin))
    return [(offset, length) for offset, length in pieces if length]


def read_parts(file: IO[bytes], length: int) -> Iterator[bytes]:
    """Read the next `length` bytes of a file, in parts."""
    while length:
        data = file.read(min(length, _READ_BYTES))
        # The length was checked before, so the file has become shorter since.
        if not data:
            raise StoreError(f"{file.name}: another process shortened it; try again")
        length -= len(data)
        yield data


def archived_rows(
    source: IO[bytes], index: ArchiveIndex, store: FeatureStore, archive: Path | None = None
) -> Iterator[tuple[int, bytes]]:
    """Decompress the features of all done rows, and check them.

    Args:
        source: the archive, opened for reading.
        index: index of the archive.
        store: the store that has the checksums.
        archive: path to name in messages; by default the store's.

    Yields:
        The place of a row in the store's file, and its bytes.
    """
    archive_bytes = os.fstat(source.fileno()).st_size
    for name, extent in store.layout.layers.items():
        decoder = Decoder(extent)
        checksums = store.checksums(name)
        table = _read_chunk_table(source, min(index.chunks[name], archive_bytes), len(store))
        for row in store.rows():
            offset, length = map(int, table[row])
            data = b""
            # Compression never makes a row much longer, so a longer chunk means damage. Reading
            # it could take all the memory.
            longest = 2 * extent.row_bytes + USER_BLOCK_BYTES
            if offset + length <= archive_bytes and length <= longest:
                source.seek(offset)
                data = decoder.decode(source.read(length))
            if hashlib.sha256(data).hexdigest() != checksums[row]:
                raise StoreError(
                    f"{archive or store.path}: damaged: the {name} features of {store.paths[row]} "
                    f"are not what was written; {COPY_ADVICE}"
                )
            yield extent.row_offset(int(row)), data


def _read_chunk_table(source: IO[bytes], offset: int, n: int) -> NDArray[Any]:
    """Read the places of a layer's chunks, of shape (n, 2); zeros where the file ends too early."""
    source.seek(offset)
    # A place of zeros gives a wrong checksum, which reports the damage.
    data = source.read(n * _PLACE_BYTES).ljust(n * _PLACE_BYTES, b"\0")
    return np.frombuffer(data, "<u8").reshape(-1, 2)
