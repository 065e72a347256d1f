"""Rows of an archive's layers, compressed and decompressed: bitshuffle and zstd, one chunk a row, lossless."""

from __future__ import annotations

import io
from typing import Any

import h5py

from ..errors import MissingExtraError, StoreError
from .layout import Extent

_BLOCK_ELEMENTS = 8192
"""What bitshuffle takes at once. Measured: VGG16's layers get no smaller with more, and with 2048 twice as slow."""
_MOST_BYTES = 2**28
"""Of a row: its largest layer has 13 MB. HDF5 would take 4 GB, which 2 MB of a hostile archive can unpack to."""


def compression() -> dict[str, Any]:
    """Keyword arguments of h5py that ask for bitshuffle and zstd.

    Raises:
        MissingExtraError: hdf5plugin is not installed.
    """
    try:
        import hdf5plugin
    except ImportError:
        raise MissingExtraError("hdf5plugin", "export", "an archive") from None
    # Level 1: higher ones compress VGG16's layers 3 % better at best, and take two to five times as
    # long.
    return dict(hdf5plugin.Bitshuffle(nelems=_BLOCK_ELEMENTS, cname="zstd", clevel=1))


class Decoder:
    """Decompresses rows of one layer, through a file in memory that only ever holds one of them.

    So HDF5 sees no metadata of the archive, which may be damaged, and only chunks whose frame is
    sound.

    Raises:
        StoreError: the layer's rows are larger than a chunk can be.
        MissingExtraError: hdf5plugin is not installed.
    """

    def __init__(self, extent: Extent) -> None:
        check_row(extent)
        shape = (1, *extent.shape[1:])
        self._extent = extent
        self._file = h5py.File(io.BytesIO(), "w", rdcc_nbytes=0)
        self._data = self._file.create_dataset(
            "row", shape, extent.dtype, chunks=shape, **compression()
        )

    def decode(self, chunk: bytes) -> bytes:
        """A row's bytes, of length `row_bytes`; none if the chunk cannot be decompressed."""
        if not sound(chunk, self._extent.row_bytes, self._extent.dtype.itemsize):
            return b""
        self._data.id.write_direct_chunk((0, 0, 0, 0), chunk)
        try:
            return self._data[...].tobytes()  # type: ignore[no-any-return]
        except OSError:
            return b""


def check_row(extent: Extent) -> None:
    """Refuse rows that are larger than a chunk can be."""
    if extent.row_bytes > _MOST_BYTES:
        raise StoreError(
            f"a row of {extent.row_bytes} bytes is too large for an archive, at most {_MOST_BYTES}"
        )


def sound(chunk: bytes, row_bytes: int, itemsize: int) -> bool:
    """Whether a chunk is framed as bitshuffle frames it; its decoder believes the lengths in it, and would read on.

    8 bytes: length of the row; 4 bytes: length of a block; for each block 4 bytes: its compressed
    length, and as many; the last, shorter, is of a multiple of 8 elements; what is left of the row
    lies uncompressed at the end.
    """
    block_bytes = _BLOCK_ELEMENTS * itemsize
    if chunk[:12] != row_bytes.to_bytes(8, "big") + block_bytes.to_bytes(4, "big"):
        return False
    left = row_bytes % (8 * itemsize)
    place = 12
    for _ in range(-(-(row_bytes - left) // block_bytes)):
        if place + 4 > len(chunk):
            return False
        place += 4 + int.from_bytes(chunk[place : place + 4], "big")
    return place + left == len(chunk)
