"""Files of strangers on the disk: only regular files of a limited size are opened and read."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ...errors import ImageError

MAX_FILE_BYTES = 2**30
"""Limit of the size of an image or a CSV file, because these are read whole.

An image of 100 million pixels in 16 bits and three colours takes 600 MB."""

_BLOCK_BYTES = 2**20


@contextmanager
def open_regular(path: str | os.PathLike[str]) -> Iterator[tuple[BinaryIO, int]]:
    """Open a regular file, or a link to one, and yield it with its size in bytes.

    Read no more than this size: some files below /proc are empty and can be read for ever.

    Raises:
        ImageError: the path is a directory, pipe or device.
        OSError: the file cannot be opened.
    """
    # Opening a device may already do something, so the path is looked at first.
    _check_regular(Path(path).stat())
    # Between the two calls the path may have become a pipe, whose opening would wait.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with open(path, "rb", opener=lambda name, _: os.open(name, flags)) as file:
        status = os.fstat(file.fileno())
        _check_regular(status)
        yield file, status.st_size


def read_regular(path: str | os.PathLike[str]) -> bytes:
    """Read a regular file whole.

    Raises:
        ImageError: the path is a directory, pipe or device, or a file of more than
            `MAX_FILE_BYTES`.
        OSError: the file cannot be read.
    """
    with open_regular(path) as (file, n_bytes):
        check_bytes(n_bytes)
        return file.read(n_bytes)


def check_bytes(n_bytes: int) -> None:
    """Raise ImageError if a file has more than `MAX_FILE_BYTES` bytes."""
    if n_bytes > MAX_FILE_BYTES:
        raise ImageError(f"{n_bytes} bytes are more than the limit of {MAX_FILE_BYTES}")


def file_sha256(file: BinaryIO, n_bytes: int) -> str:
    """Return the SHA-256 of the first bytes of an open file, hexadecimal.

    Raises:
        ImageError: `n_bytes` is more than `MAX_FILE_BYTES`.
        OSError: the file cannot be read.
    """
    check_bytes(n_bytes)
    digest = hashlib.sha256()
    file.seek(0)
    while n_bytes > 0 and (block := file.read(min(n_bytes, _BLOCK_BYTES))):
        digest.update(block)
        n_bytes -= len(block)
    return digest.hexdigest()


def _check_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ImageError("is a directory" if stat.S_ISDIR(status.st_mode) else "not a regular file")
