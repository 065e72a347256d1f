"""The capacity of this machine: free bytes on a disk, and bytes of memory."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path

from rich.filesize import decimal

from ...errors import StoreError

FREE_BYTES = 64 * 2**20
"""Bytes that stay free on the disk when a store is made, copied or exported."""


def has_room(path: Path, n_bytes: int) -> bool:
    """Return True if the disk of a path has room for a number of bytes."""
    return n_bytes + FREE_BYTES <= shutil.disk_usage(path.parent).free


def check_free(
    path: Path, n_bytes: int, advice: str = "make room, or choose another output path"
) -> None:
    """Raise an error if the disk has no room for a file.

    Args:
        path: path of the file; its folder must exist.
        n_bytes: bytes that the features in it take.
        advice: last part of the message, which says what the user can do.

    Raises:
        StoreError: the disk has no room.
        OSError: the folder does not exist.
    """
    if not has_room(path, n_bytes):
        free = shutil.disk_usage(path.parent).free
        raise StoreError(
            f"{path}: its features need {decimal(n_bytes)}, {decimal(free)} are free here; {advice}"
        )


def memory_bytes() -> float:
    """Return the size of this machine's memory; infinity where that is unknown."""
    if not hasattr(os, "sysconf"):
        return math.inf
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
