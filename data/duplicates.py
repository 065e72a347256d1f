"""Pictures that show the same: the same bytes, the same pixels, or nearly so. Pairs, and the groups they join."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .alignment import Likeness, compare
from .candidates import candidate_pairs
from .splits import join_groups

THRESHOLD = 0.85
"""How alike two thumbnails must be, from -1 to 1, to count as one picture; `scripts/duplicate_check.py` measures it."""

Progress = Callable[[int, int], None]
"""Told how many pairs are compared, and how many there are to compare."""

_BLOCK = 512


@dataclass(frozen=True, eq=False)
class NearPairs:
    """Pairs of thumbnails that show the same picture.

    Attributes:
        first, second: their numbers, first < second, intp of shape (n_pairs,), in ascending order.
        score: how alike they are, float32 of shape (n_pairs,), at most 1.
        symmetry: how the second is to be laid over the first, numbers of `symmetries.NAMES`, intp of shape (n_pairs,).
    """

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    score: NDArray[np.float32]
    symmetry: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.first)


def near_pairs(
    thumbnails: NDArray[np.uint8],
    *,
    threshold: float = THRESHOLD,
    sides: NDArray[np.intp] | None = None,
    progress: Progress | None = None,
) -> NearPairs:
    """Pairs of thumbnails that show the same picture: saved anew, resized, brighter, cropped, mirrored, turned.

    Args:
        thumbnails: of `Fingerprint`, uint8 of shape (n, 64, 64), of images whose pixels differ.
        threshold: how alike they must be, up to 1.
        sides: a number per thumbnail, of shape (n,); if given, only pairs from two sides are looked for.
        progress: told after every block of pairs.

    Examples:
        >>> picture = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
        >>> found = near_pairs(np.stack([picture, picture[:, ::-1], picture.T // 2]))
        >>> found.first.tolist(), found.second.tolist(), found.symmetry.tolist()
        ([0, 0, 1], [1, 2, 2], [1, 7, 6])
    """
    pairs = candidate_pairs(thumbnails, sides)
    alike, likeness = [], []
    for start, block, found in _compared(thumbnails, pairs, threshold):
        near = found.score >= threshold
        alike.append(block[near])
        likeness.append(found.take(near))
        if progress is not None:
            progress(start + len(block), len(pairs))
    first, second = np.concatenate([np.empty((0, 2), np.intp), *alike]).T
    score = np.concatenate([np.empty(0, np.float32), *(each.score for each in likeness)])
    symmetry = np.concatenate([np.empty(0, np.intp), *(each.symmetry for each in likeness)])
    return NearPairs(first, second, score, symmetry)


def _compared(
    thumbnails: NDArray[np.uint8], pairs: NDArray[np.intp], enough: float
) -> Iterator[tuple[int, NDArray[np.intp], Likeness]]:
    """All pairs, compared in blocks by as many threads as there are cores (NumPy lets them run)."""
    from joblib import cpu_count
    from threadpoolctl import threadpool_limits

    def compared(start: int) -> tuple[int, NDArray[np.intp], Likeness]:
        block = pairs[start : start + _BLOCK]
        return start, block, compare(thumbnails, block, enough)

    with threadpool_limits(1), ThreadPoolExecutor(cpu_count()) as pool:
        yield from pool.map(compared, range(0, len(pairs), _BLOCK))


def duplicate_groups(
    sha256s: Sequence[str],
    pixels: Sequence[str],
    thumbnails: NDArray[np.uint8],
    *,
    threshold: float = THRESHOLD,
    progress: Progress | None = None,
) -> NDArray[np.intp]:
    """Group numbers of images: those of the same bytes, the same pixels, or nearly the same picture are one group.

    Args:
        sha256s, pixels: digests of files and of their decoded pixels, of length n; "" where not known.
        thumbnails: uint8 of shape (n, 64, 64).
        threshold: see `near_pairs`.
        progress: see `near_pairs`.

    Returns:
        From 0 on, in order of first appearance, of shape (n,).
    """
    same = join_groups(sha256s, pixels)
    _, firsts = np.unique(same, return_index=True)
    near = near_pairs(thumbnails[firsts], threshold=threshold, progress=progress)
    return joined(same, near.first, near.second)


def joined(groups: NDArray[np.intp], first: NDArray[np.intp], second: NDArray[np.intp]) -> NDArray[np.intp]:
    """Groups after those on both sides of each pair became one.

    Args:
        groups: from 0 on, of shape (n,).
        first, second: group numbers, of shape (n_pairs,).

    Returns:
        From 0 on, in order of first appearance, of shape (n,).

    Examples:
        >>> joined(np.array([0, 1, 2, 1]), np.array([0]), np.array([2])).tolist()
        [0, 1, 0, 1]
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = int(groups.max(initial=-1)) + 1
    graph = coo_array((np.ones(len(first), dtype=bool), (first, second)), shape=(n, n))
    numbers = connected_components(graph, directed=False)[1][groups] if n else groups
    return join_groups(numbers.tolist())
