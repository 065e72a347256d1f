"""Lossless compression of an archive's layers by bitshuffle and zstd, one chunk per row."""

from __future__ import annotations

import io
from typing import Any

import h5py

from ...errors import MissingExtraError, StoreError
from ..layout import Extent

_BLOCK_ELEMENTS = 8192
"""Values in a block of bitshuffle.

More do not make VGG16's layers smaller, and blocks of 2048 are twice as slow.
"""

_MAX_ROW_BYTES = 2**28
"""Size limit of a row; a row of VGG16's largest layer has 13 MB.

HDF5 itself accepts 4 GB, which a hostile archive can pack into 2 MB.
"""


def compression() -> dict[str, Any]:
    """Return the keyword arguments that make h5py compress with bitshuffle and zstd.

    Raises:
        MissingExtraError: hdf5plugin is not installed.
    """
    try:
        import hdf5plugin
    except ImportError:
        raise MissingExtraError("hdf5plugin", "export", "an archive") from None
    # Higher levels make VGG16's layers 3 % smaller at best, and take two to five times as long.
    return dict(hdf5plugin.Bitshuffle(nelems=_BLOCK_ELEMENTS, cname="zstd", clevel=1))


class Decoder:
    """A decompressor of the rows of one layer.

    HDF5 decodes each row in a file in memory that holds only this row. So it never reads the
    metadata of the archive, which may be damaged, and gets only chunks whose frame is sound.

    Args:
        extent: the layer in the store.

    Raises:
        StoreError: the layer's rows are larger than a chunk can be.
        MissingExtraError: hdf5plugin is not installed.
    """

    def __init__(self, extent: Extent) -> None:
        check_row(extent)
        shape = (1, *extent.shape[1:])
        self._extent = extent
        # rdcc_nbytes=0: a chunk cache would hide the chunk that was just written.
        self._file = h5py.File(io.BytesIO(), "w", rdcc_nbytes=0)
        self._data = self._file.create_dataset(
            "row", shape, extent.dtype, chunks=shape, **compression()
        )

    def decode(self, chunk: bytes) -> bytes:
        """Decompress a row to `row_bytes` bytes; return no bytes if that is impossible."""
        if not is_sound_chunk(chunk, self._extent.row_bytes, self._extent.dtype.itemsize):
            return b""
        self._data.id.write_direct_chunk((0, 0, 0, 0), chunk)
        try:
            return self._data[...].tobytes()  # type: ignore[no-any-return]
        except OSError:
            return b""


def check_row(extent: Extent) -> None:
    """Raise StoreError if the rows of a layer are larger than a chunk can be."""
    if extent.row_bytes > _MAX_ROW_BYTES:
        raise StoreError(
            f"a row of {extent.row_bytes} bytes is too large for an archive, "
            f"which holds at most {_MAX_ROW_BYTES}; keep the store as it is"
        )


def is_sound_chunk(chunk: bytes, row_bytes: int, itemsize: int) -> bool:
    """Return True if the lengths in a chunk agree with each other and with its size.

    bitshuffle's decoder trusts the lengths in a chunk and would read beyond its end. A chunk is:

    - 8 bytes: length of the row;
    - 4 bytes: length of a block;
    - for each block, 4 bytes with its compressed length, then the compressed block. The last block
      may be shorter, but has a multiple of 8 values;
    - the remaining values of the row, fewer than 8, uncompressed.

    Args:
        chunk: the bytes in the archive.
        row_bytes: length of the decompressed row.
        itemsize: bytes of one value.
    """
    block_bytes = _BLOCK_ELEMENTS * itemsize
    if chunk[:12] != row_bytes.to_bytes(8, "big") + block_bytes.to_bytes(4, "big"):
        return False
    # bitshuffle works on groups of 8 values; it stores the remaining values uncompressed.
    uncompressed = row_bytes % (8 * itemsize)
    n_blocks = -(-(row_bytes - uncompressed) // block_bytes)
    # The two lengths above take the first 12 bytes.
    place = 12
    for _ in range(n_blocks):
        if place + 4 > len(chunk):
            return False
        place += 4 + int.from_bytes(chunk[place : place + 4], "big")
    return place + uncompressed == len(chunk)
