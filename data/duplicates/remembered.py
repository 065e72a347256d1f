"""A cache of near-duplicate pairs, so that the same images are not compared twice."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..output.cache_folder import cache_place
from ..output.files import whole_file
from ..output.terminal import Progress
from ..output.version import VERSION
from .pairs import THRESHOLD, NearPairs, near_pairs
from .symmetries import SYMMETRY_NAMES

PAIRS_VERSION = 2
"""Increase it when `near_pairs` finds other pairs of the same thumbnails."""

REMEMBERED_FILES = 50
"""Most files in the cache; the least recently used are deleted first."""

_DTYPES = {"first": np.intp, "second": np.intp, "score": np.float32, "symmetry": np.intp}


def remembered_near_pairs(
    thumbnails: NDArray[np.uint8],
    *,
    threshold: float = THRESHOLD,
    sides: NDArray[np.intp] | None = None,
    progress: Progress | None = None,
    cache: bool = True,
) -> NearPairs:
    """Find near-duplicates like `near_pairs`, or read them from the user's cache folder.

    A cached result is used only for equal thumbnails and options. A cache that is damaged, or
    cannot be written, costs time and nothing else.

    Args:
        thumbnails: see `near_pairs`.
        threshold: see `near_pairs`.
        sides: see `near_pairs`.
        progress: see `near_pairs`.
        cache: if False, neither read nor write the cache.
    """
    if not cache:
        return near_pairs(thumbnails, threshold=threshold, sides=sides, progress=progress)
    path = _path(thumbnails, threshold, sides)
    pairs = _read(path, len(thumbnails))
    if pairs is None:
        pairs = near_pairs(thumbnails, threshold=threshold, sides=sides, progress=progress)
        # A cache folder that cannot be written is no reason to fail.
        with suppress(OSError):
            _write(path, pairs)
    return pairs


def _path(thumbnails: NDArray[np.uint8], threshold: float, sides: NDArray[np.intp] | None) -> Path:
    """Return the cache file for these thumbnails and options."""
    # The name of the file depends on all that the result depends on.
    digest = hashlib.sha256(
        f"{VERSION} {PAIRS_VERSION} {threshold!r} {thumbnails.shape} {sides is None}".encode()
    )
    digest.update(np.ascontiguousarray(thumbnails).data)
    if sides is not None:
        # The width of intp differs between platforms.
        digest.update(np.ascontiguousarray(sides, np.int64).data)
    return cache_place(f"pairs/{digest.hexdigest()[:32]}.npz")


def _read(path: Path, n: int) -> NearPairs | None:
    """Read pairs of n thumbnails; None if the file is missing or damaged."""
    # A damaged archive makes its reader raise nearly any exception.
    try:
        with np.load(path, allow_pickle=False) as archive:
            columns = {name: archive[name] for name in _DTYPES}
    except Exception:
        return None
    # Another program may have written a file of this name with other contents.
    if any(column.dtype != _DTYPES[name] or column.ndim != 1 for name, column in columns.items()):
        return None
    if len({len(column) for column in columns.values()}) != 1:
        return None
    pairs = NearPairs(**columns)
    if len(pairs) and not _is_sound(pairs, n):
        return None
    # The time of the last use decides which files are deleted first.
    with suppress(OSError):
        os.utime(path)
    return pairs


def _is_sound(pairs: NearPairs, n: int) -> bool:
    """Return True if all values are within their ranges."""
    ordered = bool((pairs.first < pairs.second).all())
    return (
        ordered
        and pairs.first.min() >= 0
        and pairs.second.max() < n
        and pairs.symmetry.min() >= 0
        and bool(pairs.symmetry.max() < len(SYMMETRY_NAMES))
        and bool(((pairs.score > 0) & (pairs.score <= 1.01)).all())
    )


def _write(path: Path, pairs: NearPairs) -> None:
    """Write a cache file, then delete the oldest ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **{name: getattr(pairs, name) for name in _DTYPES})
    files = sorted(path.parent.glob("*.npz"), key=lambda file: file.stat().st_mtime)
    for oldest in files[:-REMEMBERED_FILES]:
        oldest.unlink(missing_ok=True)
