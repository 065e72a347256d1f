"""The capacity of this machine: free bytes on a disk, and bytes of memory."""

from __future__ import annotations

import math
import os
import shutil
from contextlib import suppress
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
    """Return the memory for this process: the machine's, or less by the limit of its container.

    Infinity where it is unknown.
    """
    if not hasattr(os, "sysconf"):
        return math.inf
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([physical, *container_limits()])


def container_limits(
    proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")
) -> list[int]:
    """Return the memory limits in bytes of this process's control groups, version 1 or 2.

    Args:
        proc: folder of the process table.
        cgroup: folder of the control groups.
    """
    limits = []
    with suppress(OSError):
        # A line is number:controllers:path; version 2 has no controllers.
        for line in (proc / "self" / "cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                root, name = cgroup, "memory.max"
            elif "memory" in controllers.split(","):
                root, name = cgroup / "memory", "memory.limit_in_bytes"
            else:
                continue
            group = root / path.lstrip("/")
            # The limits of the groups above hold, too. In a container only the topmost may exist.
            for folder in (group, *group.parents):
                limits += _read_limit(folder / name) if folder.is_relative_to(root) else []
    return limits


def _read_limit(file: Path) -> list[int]:
    """Return the number in a file as a list; none if it cannot be read, or is "max"."""
    with suppress(OSError, ValueError):
        return [int(file.read_text())]
    return []
