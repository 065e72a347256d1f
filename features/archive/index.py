"""The index at the head of an archive, which holds the places of its parts.

FORMAT.md, section "Archives", describes it.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...errors import StoreError
from ..layout import USER_BLOCK_BYTES

ARCHIVE_FORMAT = "freezeframe-archive"
ARCHIVE_VERSION = 1

COPY_ADVICE = "copy the archive again, or export the store again"
"""Advice for an archive that is not what was written."""

Piece = tuple[int, int]
"""Offset and length in bytes."""


@dataclass(frozen=True)
class ArchiveIndex:
    """The index of an archive; all places and lengths are in bytes.

    Attributes:
        file_bytes: length of the store's file.
        pieces: the parts of the store's file that are in `/store`, in order.
        store: place of `/store` in the archive.
        chunks: place of `/chunks/<layer>` in the archive, by layer.
        fingerprint: fingerprint of the store.
        store_sha256: SHA-256 of `/store`; empty in older archives, which lack it.
    """

    file_bytes: int
    pieces: list[Piece]
    store: int
    chunks: dict[str, int]
    fingerprint: str
    store_sha256: str = ""

    def encode(self) -> bytes:
        """Encode the first line of the archive, and the JSON after it.

        Examples:
            >>> ArchiveIndex(2048, [(0, 2048)], 512, {}, "").encode()[:25]
            b'freezeframe-archive 1 110'
        """
        text = json.dumps(asdict(self)).encode()
        # The length and the digest let a reader detect damage before it parses the JSON.
        digest = hashlib.sha256(text).hexdigest()
        line = f"{ARCHIVE_FORMAT} {ARCHIVE_VERSION} {len(text)} {digest}\n"
        return line.encode() + text + b"\n"


def read_index(path: Path) -> ArchiveIndex:
    """Read and check the index of an archive.

    Raises:
        StoreError: the file is missing, not an archive, of an unknown version, or damaged.
    """
    if not path.is_file():
        raise StoreError(f"{path}: no such file; check the path")
    with path.open("rb") as file:
        line, _, begun = file.read(USER_BLOCK_BYTES).partition(b"\n")
        version = re.match(rb"freezeframe-archive (\d{1,9}) ", line)
        if not version:
            raise StoreError(
                f"{path}: not an archive of a feature store; make one with freezeframe store export"
            )
        if int(version[1]) != ARCHIVE_VERSION:
            raise StoreError(
                f"{path}: archive version {int(version[1])} is unknown to this freezeframe, "
                f"which reads {ARCHIVE_VERSION}; install a newer freezeframe"
            )
        # Seven digits bound the memory that a hostile file can make us read.
        rest = re.fullmatch(rb"(\d{1,7}) ([0-9a-f]{64})", line[version.end() :])
        length = int(rest[1]) if rest else 0
        text = (begun + file.read(max(0, length - len(begun))))[:length]
    if not rest or hashlib.sha256(text).hexdigest() != rest[2].decode():
        raise StoreError(f"{path}: damaged: its index is not what was written; {COPY_ADVICE}")
    try:
        return _parse_index(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        # The checksum of the index is right, so a program wrote these values on purpose.
        raise StoreError(
            f"{path}: damaged: its index is not one of an archive; {COPY_ADVICE}"
        ) from None


def _parse_index(index: Any) -> ArchiveIndex:
    pieces = [(offset, length) for offset, length in index["pieces"]]
    chunks = dict(index["chunks"].items())
    # JSON can hold values of any type, and `seek` fails on negative or huge numbers.
    numbers = [index["file_bytes"], index["store"], *chunks.values()]
    for piece in pieces:
        numbers += piece
    if not all(type(number) is int and 0 <= number < 2**63 for number in numbers):
        raise ValueError("a place is not a number")
    return ArchiveIndex(
        index["file_bytes"],
        pieces,
        index["store"],
        chunks,
        str(index["fingerprint"]),
        str(index.get("store_sha256", "")),
    )
