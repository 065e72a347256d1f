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

from ..layout import DIGEST_BYTES, DONE, FAILED, PENDING, Layout

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
"""Columns that a checksum covers, by fact and status of the row.

A row of another status than done or failed has no checksum of its status."""

_EVIDENCE = {
    "status": (),
    "fingerprint": ("pixels", "duplicates"),
    "duplicates": ("duplicates",),
}
"""Columns that are not zero only in done rows that have the checksum of a fact, by fact."""

UNFINISHED = b"unfinished"
"""Content of a checksum while a writer changes the fact of a done row: the fact is unknown.

An empty checksum would not do: a lost block leaves it, too."""

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
    """Find the rows in which a fact does not match its checksum.

    Stores of versions 1 and 2 have no such checksums. The status is damaged, too, if a pending row
    has its checksum, or a done row lost that of a layer. A done row that has pixels or a group of
    near-duplicates, but not their checksum, is damaged: a lost block leaves it, and no crash does.

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
            evidence = _evidence(layout, file, block, fact)
            # The checksum is read before what it covers: its row has all else by then, beside a
            # writer, too. The evidence is read before it: its row has the checksum by then.
            stored = layout.rows[FACTS[fact]].read(file, block)
            codes = status[block]
            if fact == "status":
                # `status` calls pending what cannot be right, so the status itself is needed.
                codes = layout.rows["status"].read(file, block)
                impossible = (codes > FAILED) | ((codes == PENDING) & (stored != b""))
                for extent in layout.checksums.values():
                    lost = extent.read(file, block) == b""
                    impossible |= (codes == DONE) & (stored != b"") & lost
                damaged.append(start + np.flatnonzero(impossible))
            damaged.append(start + np.flatnonzero((codes == DONE) & (stored == b"") & evidence))
            for code in (DONE, FAILED):
                rows = np.flatnonzero((codes == code) & has_fact(stored))
                if len(rows) and (fact, code) in _COVERED:
                    computed = _computed(layout, file, block, rows, (fact, code))
                    damaged.append(start + rows[stored[rows] != computed])
    return np.unique(np.concatenate(damaged))


def has_fact(checksums: NDArray[np.bytes_]) -> NDArray[np.bool_]:
    """Return True for the checksum of each fact that is there, neither unknown nor unfinished."""
    return np.not_equal(checksums, b"") & np.not_equal(checksums, UNFINISHED)


def _evidence(layout: Layout, file: io.FileIO, block: slice, fact: str) -> NDArray[np.bool_]:
    """Return True for each row of a block that must have the checksum of a fact if it is done."""
    evidence = np.zeros(1, dtype=bool)
    for name in _EVIDENCE[fact]:
        values = layout.rows[name].read(file, block)
        evidence = evidence | (values != np.zeros((), values.dtype))
    return evidence


def _computed(
    layout: Layout, file: io.FileIO, block: slice, rows: NDArray[np.intp], key: tuple[str, int]
) -> NDArray[np.bytes_]:
    """Compute the checksum of a fact for some rows of a block."""
    names = ("sha256", *_COVERED[key])
    return _checksums([layout.rows[name].read(file, block)[rows] for name in names])


def _checksums(columns: Sequence[NDArray[Any]]) -> NDArray[np.bytes_]:
    """Compute the checksum of each row from its bytes in all columns, of shape (n_rows,)."""
    n = len(columns[0])
    # One array of bytes per row is much faster to hash than column by column.
    table = np.concatenate(
        [np.ascontiguousarray(column).view(np.uint8).reshape(n, -1) for column in columns], axis=1
    )
    digests = [hashlib.sha256(row).hexdigest() for row in table]
    return np.array(digests, dtype=f"S{DIGEST_BYTES}")
