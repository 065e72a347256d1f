"""Pairs of thumbnails that show the same picture, and the groups that such pairs join.

Two images are copies if their bytes or pixels are the same. They are near-duplicates if their
thumbnails show nearly the same picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...errors import ParameterError
from ..fingerprints import THUMBNAIL
from ..output.terminal import Progress
from ..splits import join_groups
from .alignment import Likeness, compare
from .candidates import Candidates, all_pairs
from .index import MOST_WITHOUT_INDEX, ThumbnailIndex

THRESHOLD = 0.85
"""Least score at which two thumbnails count as one picture, from -1 to 1.

`scripts/checks/duplicate_check.py` measures how well it separates edits from look-alikes.
"""

BLANK = 1.0
"""Standard deviation of the grey levels below which a thumbnail is blank.

A blank thumbnail is paired with equal thumbnails only.
"""

NEAREST_FIRST = 8
"""Candidates of a picture, the nearest, that are compared first.

If none matches, the others are not compared: a copy is nearly always nearer than a look-alike.
"""

_PAIRS_AT_ONCE = 512


@dataclass(frozen=True, eq=False)
class NearPairs:
    """Pairs of thumbnails that show the same picture.

    Attributes:
        first, second: numbers of thumbnails, first < second, intp of shape (n_pairs,), in ascending
            order.
        score: likeness of each pair, float32 of shape (n_pairs,), at most 1.
        symmetry: place in `SYMMETRY_NAMES` of the symmetry that lays the second over the first,
            intp of shape (n_pairs,).
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
    """Find pairs of thumbnails that show the same picture.

    It finds a picture again after compression, resizing, a change of brightness, a small crop, a
    mirror image, or quarter turns.

    Args:
        thumbnails: thumbnails of images whose pixels differ, uint8 of shape (n, 64, 64); see
            `Fingerprint`.
        threshold: least score of a pair, up to 1; above 1, only equal thumbnails are paired.
        sides: a number for each thumbnail, of shape (n,); with sides, only pairs across two sides
            are searched.
        progress: called after each block of pairs with the compared candidates and all candidates
            of the round; there are several rounds.

    Raises:
        ParameterError: the threshold is not above 0.

    Examples:
        >>> picture = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
        >>> pairs = near_pairs(np.stack([picture, picture[:, ::-1], picture.T // 2]))
        >>> pairs.first.tolist(), pairs.second.tolist(), pairs.symmetry.tolist()
        ([0, 0, 1], [1, 2, 2], [1, 7, 6])
    """
    if not threshold > 0:
        raise ParameterError(f"threshold must be above 0, got {threshold}")
    equal, firsts = _equal_pairs(thumbnails, sides)
    # Equal thumbnails are searched once; with sides, each may have pairs on another side.
    rows = firsts if sides is None else np.arange(len(thumbnails))
    # The correlation of a blank thumbnail would be that of its noise.
    rows = rows[[thumbnails[row].std() >= BLANK for row in rows]]
    parts = [equal]
    if len(rows) > 1 and threshold <= 1:
        index = ThumbnailIndex.fit(thumbnails[rows]) if len(rows) > MOST_WITHOUT_INDEX else None
        parts += _rounds(_Search(thumbnails, rows, index, threshold, sides, progress))
    return _concatenate(parts)


def _equal_pairs(
    thumbnails: NDArray[np.uint8], sides: NDArray[np.intp] | None
) -> tuple[NearPairs, NDArray[np.intp]]:
    """Pair each thumbnail with the first equal one, or with the first on each other side.

    Returns:
        The pairs; and the numbers of the first thumbnail of each content, ascending.
    """
    flat = np.ascontiguousarray(thumbnails).reshape(len(thumbnails), THUMBNAIL**2)
    # Equal thumbnails become neighbours by sorting, without comparing all pairs.
    _, firsts, contents = np.unique(
        flat.view(f"V{THUMBNAIL**2}").ravel(), return_index=True, return_inverse=True
    )
    pairs = [np.empty((0, 2), np.intp)]
    for side in [None] if sides is None else np.unique(sides):
        inside = np.arange(len(flat)) if sides is None else np.flatnonzero(sides == side)
        outside = np.arange(len(flat)) if sides is None else np.flatnonzero(sides != side)
        # Written in reverse order, so that the first thumbnail of each content remains.
        first = np.full(len(firsts), -1)
        first[contents[inside][::-1]] = inside[::-1]
        partner = first[contents[outside]]
        paired = (partner >= 0) & (partner != outside)
        pairs.append(np.sort(np.stack([partner[paired], outside[paired]], axis=1), axis=1))
    both = np.unique(np.concatenate(pairs), axis=0)
    score = np.ones(len(both), np.float32)
    symmetry = np.zeros(len(both), np.intp)
    return NearPairs(both[:, 0], both[:, 1], score, symmetry), np.sort(firsts)


@dataclass(frozen=True, eq=False)
class _Search:
    """The input of a search for near-duplicates; see `near_pairs`.

    Attributes:
        rows: numbers of the thumbnails to search, in the order of the index.
        index: index of these thumbnails; None if they are few.
    """

    thumbnails: NDArray[np.uint8]
    rows: NDArray[np.intp]
    index: ThumbnailIndex | None
    threshold: float
    sides: NDArray[np.intp] | None
    progress: Progress | None

    def candidates(self, places: NDArray[np.intp]) -> Candidates:
        """Return pairs worth comparing, as numbers of thumbnails.

        Args:
            places: places in `rows`, ascending.
        """
        sides = None if self.sides is None else self.sides[self.rows]
        if self.index is None or len(places) <= MOST_WITHOUT_INDEX:
            pairs = all_pairs(places, sides)
        else:
            pairs = self.index.candidates(places, sides)
        return replace(pairs, pairs=self.rows[pairs.pairs])


def _rounds(search: _Search) -> Iterator[NearPairs]:
    """Find pairs among all rows; then, in crowded sets, among a few rows of each group.

    Only the nearest neighbours of a picture are candidates. A picture may have many copies and
    many crops, where each copy's nearest neighbours are only other copies. A copy and a crop become
    candidates when only a few rows of each group remain.
    """
    n = len(search.thumbnails)
    places = np.arange(len(search.rows))
    groups = np.arange(n)
    compared = np.empty(0, np.intp)
    while len(places) > 1:
        candidates = search.candidates(places)
        first, second = candidates.pairs.T
        codes = first * n + second
        # A pair within one group would join nothing, and no pair is compared twice.
        new = (groups[first] != groups[second]) & ~np.isin(codes, compared, assume_unique=True)
        near, tried = _compare_nearest_first(search, candidates, new)
        compared = np.append(compared, codes[tried])
        yield near
        if search.sides is not None or not candidates.crowded or not len(near):
            return
        groups = merge_groups(groups, groups[near.first], groups[near.second])
        # One pair is enough to join two groups, so the next round takes a few rows of each.
        fewer = _thin_out(groups[search.rows])
        if len(fewer) == len(places):
            return
        places = fewer


def _compare_nearest_first(
    search: _Search, candidates: Candidates, new: NDArray[np.bool_]
) -> tuple[NearPairs, NDArray[np.bool_]]:
    """Compare the nearest candidates of each picture; the rest only where a nearest one matches.

    So a picture without copies costs a few comparisons, however many look-alikes it has.

    Args:
        search: the input of the search.
        candidates: the candidates of a round.
        new: True for the candidates that may be compared, of shape (n_pairs,).

    Returns:
        The pairs that match; and True for each candidate that was compared.
    """
    nearest = new & candidates.nearest(NEAREST_FIRST)
    near = _compare_in_blocks(search, candidates.pairs[nearest])
    paired = np.zeros(len(search.thumbnails), bool)
    paired[near.first] = True
    paired[near.second] = True
    rest = new & ~nearest & paired[candidates.pairs].any(axis=1)
    more = _compare_in_blocks(search, candidates.pairs[rest])
    return _concatenate([near, more]), nearest | rest


def _thin_out(groups: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the places of the first, the middle and the last row of each group, ascending."""
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    ends = np.append(starts[1:], len(order))
    return np.unique(np.concatenate([order[starts], order[(starts + ends) // 2], order[ends - 1]]))


def _compare_in_blocks(search: _Search, pairs: NDArray[np.intp]) -> NearPairs:
    """Compare candidates, with as many threads as there are cores, and return those that match."""
    from joblib import cpu_count
    from threadpoolctl import threadpool_limits

    def compare_block(start: int) -> tuple[NDArray[np.intp], Likeness]:
        block = pairs[start : start + _PAIRS_AT_ONCE]
        return block, compare(search.thumbnails, block, search.threshold)

    parts = []
    finished = 0
    # NumPy releases the interpreter lock. Each of our threads uses one thread of linear algebra:
    # more would compete for the cores.
    with threadpool_limits(1), ThreadPoolExecutor(cpu_count()) as pool:
        for block, likeness in pool.map(compare_block, range(0, len(pairs), _PAIRS_AT_ONCE)):
            near = likeness.score >= search.threshold
            first, second = block[near].T
            parts.append(NearPairs(first, second, likeness.score[near], likeness.symmetry[near]))
            finished += len(block)
            if search.progress is not None:
                search.progress(finished, len(pairs))
    return _concatenate(parts)


def _concatenate(parts: Sequence[NearPairs]) -> NearPairs:
    """Join the pairs of several parts, in order."""
    # An empty part gives the columns their types if there are no other parts.
    empty = NearPairs(
        np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0, np.float32), np.empty(0, np.intp)
    )
    first, second, score, symmetry = (
        np.concatenate([getattr(part, name) for part in (empty, *parts)]) for name in vars(empty)
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
    """Assign numbers to the groups of images that show the same picture.

    Images of the same bytes, of the same pixels, or of nearly the same picture are one group.

    Args:
        sha256s: digests of the files, of length n; "" if unknown.
        pixels: digests of the decoded pixels, of length n; "" if unknown.
        thumbnails: uint8 of shape (n, 64, 64).
        threshold: see `near_pairs`.
        progress: see `near_pairs`.

    Returns:
        Group numbers from 0 on, in order of first appearance, of shape (n,).
    """
    copies = join_groups(sha256s, pixels)
    _, firsts = np.unique(copies, return_index=True)
    # One image of each content is enough.
    near = near_pairs(thumbnails[firsts], threshold=threshold, progress=progress)
    return merge_groups(copies, near.first, near.second)


def merge_groups(
    groups: NDArray[np.intp], first: NDArray[np.intp], second: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Merge the two groups of each pair.

    Args:
        groups: group numbers from 0 on, of shape (n,).
        first: group numbers, of shape (n_pairs,).
        second: group numbers, of shape (n_pairs,).

    Returns:
        Group numbers from 0 on, in order of first appearance, of shape (n,).

    Examples:
        >>> merge_groups(np.array([0, 1, 2, 1]), np.array([0]), np.array([2])).tolist()
        [0, 1, 0, 1]
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = int(groups.max(initial=-1)) + 1
    # Groups are the nodes of a graph and pairs its edges; its components are the new groups.
    graph = coo_array((np.ones(len(first), dtype=bool), (first, second)), shape=(n, n))
    numbers = connected_components(graph, directed=False)[1][groups] if n else groups
    return join_groups(numbers.tolist())
