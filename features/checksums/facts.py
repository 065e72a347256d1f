"""Checksums of the facts of a row: its status and sizes, its fingerprint, its near-duplicates.

The features have checksums of their own, one for each layer. FORMAT.md, section "Checksums of
rows", describes both.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..layout import DIGEST_BYTES, DONE, FAILED, Layout

FACTS = {
    "status": "status_checksum",
    "fingerprint": "fingerprint_checksum",
    "duplicates": "duplicates_checksum",
}
"""Facts of a row, each with the column of its checksum."""

_COVERED = {
    ("status", DONE): ("status", "width", "height"),
    ("status", FAILED): ("status", "reason"),
    ("fingerprint", DONE): ("pixels", "thumbnail"),
    ("duplicates", DONE): ("duplicates",),
}
"""Columns that a checksum covers, by fact and status of the row."""

_ROWS_A_BLOCK = 4096
"""Rows that are checked at a time: their thumbnails take 16 MB."""


def fact_checksum(sha256: bytes | memoryview, *values: bytes | memoryview) -> bytes:
    """Compute the checksum of one fact of a row, 64 hexadecimal digits.

    Args:
        sha256: the row's bytes in the column `sha256`. They bind the fact to the image.
        values: the row's bytes in each covered column, in the order of FORMAT.md.
    """
    digest = hashlib.sha256(sha256)
    for value in values:
        digest.update(value)
    return digest.hexdigest().encode()


def damaged_rows(
    layout: Layout, file: io.FileIO, status: NDArray[np.uint8], fact: str
) -> NDArray[np.intp]:
    """Find the done and failed rows in which a fact does not match its checksum.

    A fact without a checksum is unknown, not damaged. Stores of versions 1 and 2 have none.

    Args:
        layout: layout of the store.
        file: the open file of the store.
        status: status of each row, of shape (n,); see `Layout.read_status`.
        fact: a key of `FACTS`.

    Returns:
        Row numbers, ascending.
    """
    damaged = [np.empty(0, np.intp)]
    if layout.has_row_checksums:
        for start in range(0, layout.n, _ROWS_A_BLOCK):
            block = slice(start, start + _ROWS_A_BLOCK)
            for code in (DONE, FAILED):
                rows = np.flatnonzero(status[block] == code)
                if len(rows) and (fact, code) in _COVERED:
                    damaged.append(start + rows[_differs(layout, file, block, rows, (fact, code))])
    return np.sort(np.concatenate(damaged))


def _differs(
    layout: Layout, file: io.FileIO, block: slice, rows: NDArray[np.intp], key: tuple[str, int]
) -> NDArray[np.bool_]:
    """Return True for each row of a block whose stored checksum differs from the computed one."""
    stored = layout.rows[FACTS[key[0]]].read(file, block)[rows]
    names = ("sha256", *_COVERED[key])
    columns = [layout.rows[name].read(file, block)[rows] for name in names]
    differs: NDArray[np.bool_] = (stored != b"") & (stored != _checksums(columns))
    return differs


def _checksums(columns: Sequence[NDArray[Any]]) -> NDArray[np.bytes_]:
    """Compute the checksum of each row from its bytes in all columns, of shape (n_rows,)."""
    n = len(columns[0])
    # One array of bytes per row is much faster to hash than column by column.
    table = np.concatenate(
        [np.ascontiguousarray(column).view(np.uint8).reshape(n, -1) for column in columns], axis=1
    )
    digests = [hashlib.sha256(row).hexdigest() for row in table]
    return np.array(digests, dtype=f"S{DIGEST_BYTES}")
