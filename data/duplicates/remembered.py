"""Near-duplicate pairs that were found before, so that the same images are not compared twice."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..output.files import cache_folder, whole_file
from ..version import VERSION
from .pairs import THRESHOLD, NearPairs, Progress, near_pairs
from .symmetries import NAMES

PAIRS_VERSION = 1
"""Raise it whenever `near_pairs` would find other pairs of the same thumbnails."""
KEPT = 50
"""Files; the oldest go first."""

_COLUMNS = {"first": np.intp, "second": np.intp, "score": np.float32, "symmetry": np.intp}


def remembered_near_pairs(
    thumbnails: NDArray[np.uint8],
    *,
    threshold: float = THRESHOLD,
    sides: NDArray[np.intp] | None = None,
    progress: Progress | None = None,
    cache: bool = True,
) -> NearPairs:
    """`near_pairs`, taken from the user's cache folder if the very same was asked before.

    A cache that is damaged, or cannot be written, costs time and nothing else.

    Args:
        cache: False looks for them anew, and keeps nothing.
    """
    if not cache:
        return near_pairs(thumbnails, threshold=threshold, sides=sides, progress=progress)
    path = _path(thumbnails, threshold, sides)
    known = _read(path, len(thumbnails))
    if known is None:
        known = near_pairs(thumbnails, threshold=threshold, sides=sides, progress=progress)
        with suppress(OSError):
            _write(path, known)
    return known


def _path(thumbnails: NDArray[np.uint8], threshold: float, sides: NDArray[np.intp] | None) -> Path:
    digest = hashlib.sha256(
        f"{VERSION} {PAIRS_VERSION} {threshold!r} {thumbnails.shape} {sides is None}".encode()
    )
    digest.update(np.ascontiguousarray(thumbnails).data)
    if sides is not None:
        digest.update(np.ascontiguousarray(sides, np.int64).data)
    return cache_folder() / "pairs" / f"{digest.hexdigest()[:32]}.npz"


def _read(path: Path, n: int) -> NearPairs | None:
    """What is kept there, if it is sound."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            columns = {name: kept[name] for name in _COLUMNS}
    except Exception:  # a damaged archive gets its reader to raise nearly everything there is
        return None
    if any(column.dtype != _COLUMNS[name] or column.ndim != 1 for name, column in columns.items()):
        return None
    found = NearPairs(**columns)
    lengths = {len(column) for column in columns.values()}
    if len(lengths) != 1 or (len(found) and not _sound(found, n)):
        return None
    with suppress(OSError):
        os.utime(path)  # used last
    return found


def _sound(found: NearPairs, n: int) -> bool:
    ordered = bool((found.first < found.second).all())
    return (
        ordered
        and found.first.min() >= 0
        and found.second.max() < n
        and found.symmetry.min() >= 0
        and bool(found.symmetry.max() < len(NAMES))
        and bool(((found.score > 0) & (found.score <= 1.01)).all())
    )


def _write(path: Path, found: NearPairs) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **{name: getattr(found, name) for name in _COLUMNS})
    kept = sorted(path.parent.glob("*.npz"), key=lambda each: each.stat().st_mtime)
    for oldest in kept[:-KEPT]:
        oldest.unlink(missing_ok=True)
