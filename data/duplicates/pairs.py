"""Pictures that show the same: the same bytes, the same pixels, or nearly so. Pairs, and the groups they join."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import ParameterError
from ..fingerprints import THUMBNAIL
from ..splits import join_groups
from .alignment import Likeness, compare
from .index import FEW, Index, all_pairs

THRESHOLD = 0.85
"""How alike two thumbnails must be, from -1 to 1, to count as one picture; `scripts/duplicate_check.py` measures it."""

BLANK = 1.0
"""A thumbnail whose grey levels have a smaller standard deviation shows nothing: it is like equal ones only."""

Progress = Callable[[int, int], None]
"""Told how many candidates are compared, and how many there are; in several rounds."""

_BLOCK = 512


@dataclass(frozen=True, eq=False)
class NearPairs:
    """Pairs of thumbnails that show the same picture.

    Attributes:
        first, second: their numbers, first < second, intp of shape (n_pairs,), in ascending order.
        score: how alike they are, float32 of shape (n_pairs,), at most 1.
        symmetry: how the second is to be laid over the first, numbers of `symmetries.NAMES`, intp
            of shape (n_pairs,).
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
        sides: a number per thumbnail, of shape (n,); if given, only pairs from two sides are looked
            for.
        progress: told after every block of pairs.

    Examples:
        >>> picture = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
        >>> found = near_pairs(np.stack([picture, picture[:, ::-1], picture.T // 2]))
        >>> found.first.tolist(), found.second.tolist(), found.symmetry.tolist()
        ([0, 0, 1], [1, 2, 2], [1, 7, 6])
    """
    if not threshold > 0:
        raise ParameterError(f"threshold must be above 0, got {threshold}")
    equal, firsts = _equal(thumbnails, sides)
    rows = firsts if sides is None else np.arange(len(thumbnails))
    rows = rows[[thumbnails[row].std() >= BLANK for row in rows]]
    found = [equal]
    if len(rows) > 1 and threshold <= 1:
        index = Index.of(thumbnails[rows]) if len(rows) > FEW else None
        found += _rounds(_Search(thumbnails, rows, index, threshold, sides, progress))
    return _together(found)


def _equal(
    thumbnails: NDArray[np.uint8], sides: NDArray[np.intp] | None
) -> tuple[NearPairs, NDArray[np.intp]]:
    """Pairs of equal thumbnails, each with the first like it (on each other side), and the first of each kind."""
    flat = np.ascontiguousarray(thumbnails).reshape(len(thumbnails), THUMBNAIL**2)
    _, firsts, kinds = np.unique(
        flat.view(f"V{THUMBNAIL**2}").ravel(), return_index=True, return_inverse=True
    )
    pairs = []
    for side in [None] if sides is None else np.unique(sides):
        chosen = np.arange(len(flat)) if sides is None else np.flatnonzero(sides == side)
        first = np.full(len(firsts), -1)
        first[kinds[chosen][::-1]] = chosen[::-1]
        others = np.arange(len(flat)) if sides is None else np.flatnonzero(sides != side)
        known = others[(first[kinds[others]] >= 0) & (first[kinds[others]] != others)]
        pairs.append(np.sort(np.stack([first[kinds[known]], known], axis=1), axis=1))
    both = np.unique(np.concatenate([np.empty((0, 2), np.intp), *pairs]), axis=0)
    ones, as_it_is = np.ones(len(both), np.float32), np.zeros(len(both), np.intp)
    return NearPairs(both[:, 0], both[:, 1], ones, as_it_is), np.sort(firsts)


@dataclass(frozen=True, eq=False)
class _Search:
    """What the search for near-duplicates needs: see `near_pairs`; `rows` of the thumbnails are in the index."""

    thumbnails: NDArray[np.uint8]
    rows: NDArray[np.intp]
    index: Index | None
    threshold: float
    sides: NDArray[np.intp] | None
    progress: Progress | None

    def among(self, places: NDArray[np.intp]) -> tuple[NDArray[np.intp], bool]:
        """Candidates among some of the rows, by their place: pairs of numbers of thumbnails; and whether there may be
        more of them."""
        sides = None if self.sides is None else self.sides[self.rows]
        if self.index is None or len(places) <= FEW:
            return self.rows[all_pairs(places, sides)], False
        pairs, crowded = self.index.candidates(places, sides)
        return self.rows[pairs], crowded


def _rounds(search: _Search) -> Iterator[NearPairs]:
    """Pairs among all rows; then, where pictures were too crowded to see all others, among a few of each group.

    Of a picture's neighbours only the nearest are candidates: two large families of one picture,
    the originals and their crops, say, do not see each other before each is thinned out.
    """
    places, groups = np.arange(len(search.rows)), np.arange(len(search.thumbnails))
    seen = np.empty(0, np.intp)
    while len(places) > 1:
        pairs, crowded = search.among(places)
        codes = pairs[:, 0] * len(search.thumbnails) + pairs[:, 1]
        new = (groups[pairs[:, 0]] != groups[pairs[:, 1]]) & ~np.isin(
            codes, seen, assume_unique=True
        )
        found, seen = _compared(search, pairs[new]), np.append(seen, codes[new])
        yield found
        if search.sides is not None or not crowded or not len(found):
            return
        groups = joined(groups, groups[found.first], groups[found.second])
        fewer = _thinned(groups[search.rows])
        if len(fewer) == len(places):
            return
        places = fewer


def _thinned(groups: NDArray[np.intp]) -> NDArray[np.intp]:
    """Places of the first, the middle and the last of each group, ascending."""
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    ends = np.append(starts[1:], len(order))
    return np.unique(np.concatenate([order[starts], order[(starts + ends) // 2], order[ends - 1]]))


def _compared(search: _Search, pairs: NDArray[np.intp]) -> NearPairs:
    """Those of the candidates that are alike, compared in blocks by as many threads as there are cores."""
    from joblib import cpu_count
    from threadpoolctl import threadpool_limits

    def compared(start: int) -> tuple[NDArray[np.intp], Likeness]:
        block = pairs[start : start + _BLOCK]
        return block, compare(search.thumbnails, block, search.threshold)

    found = []
    with threadpool_limits(1), ThreadPoolExecutor(cpu_count()) as pool:  # NumPy lets threads run
        for number, (block, likeness) in enumerate(
            pool.map(compared, range(0, len(pairs), _BLOCK))
        ):
            near = likeness.score >= search.threshold
            block = block[near]
            found.append(
                NearPairs(block[:, 0], block[:, 1], likeness.score[near], likeness.symmetry[near])
            )
            if search.progress is not None:
                search.progress(min((number + 1) * _BLOCK, len(pairs)), len(pairs))
    return _together(found)


def _together(parts: Sequence[NearPairs]) -> NearPairs:
    """All pairs of several parts, in order."""
    none = NearPairs(
        np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0, np.float32), np.empty(0, np.intp)
    )
    first, second, score, symmetry = (
        np.concatenate([getattr(part, name) for part in (none, *parts)]) for name in vars(none)
    )
    order = np.lexsort([second, first])
    return NearPairs(first[order], second[order], score[order], symmetry[order])


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
        sha256s, pixels: digests of files and of their decoded pixels, of length n; "" where not
            known.
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


def joined(
    groups: NDArray[np.intp], first: NDArray[np.intp], second: NDArray[np.intp]
) -> NDArray[np.intp]:
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
