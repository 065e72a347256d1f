"""Pairs of images that show the same picture, with the evidence for each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from ..duplicates.remembered import remembered_near_pairs
from ..duplicates.symmetries import inverse
from ..output.terminal import Progress
from .image_set import ImageSet, select_thumbnails

LEVEL_NAMES = ("same bytes", "same pixels", "nearly the same", "similar features", "same group")
"""Kinds of evidence that two images must be on one side of a split, the strongest first.

The names are written into audit.csv.
"""
BYTES, PIXELS, NEAR, FEATURES, GROUP = range(len(LEVEL_NAMES))

SetPart = tuple[int, str]
"""The number of a set and the name of a split."""


@dataclass(frozen=True, slots=True)
class ImagePair:
    """Two images that show the same picture, and the evidence for it.

    Attributes:
        first: number of an image in the audit.
        second: number of an image in the audit, above `first`.
        level: place in `LEVEL_NAMES` of the strongest evidence.
        score: 1 for the same pixels, else the likeness of the two images.
        symmetry: place in `SYMMETRY_NAMES` of the symmetry that lays the second image over the
            first.
    """

    first: int
    second: int
    level: int
    score: float = 1.0
    symmetry: int = 0


def parts_of(sets: Sequence[ImageSet]) -> list[SetPart]:
    """Return set and split of each image."""
    return [(number, split) for number, images in enumerate(sets) for split in images.splits]


def copy_pairs(
    sets: Sequence[ImageSet], copies: NDArray[np.intp], sha256s: Sequence[str]
) -> Iterator[ImagePair]:
    """Pair each copy with the first one in its part, and the first copies of two parts.

    Args:
        sets: the sets of the audit.
        copies: group number of each image; images of one group have the same bytes or pixels.
        sha256s: digest of each file.
    """
    for members in _rows_by_part(sets, copies).values():
        # All pairs of many copies would be too many; these pairs join the same images.
        pairs = [(rows[0], row) for rows in members.values() for row in rows[1:]]
        pairs += combinations([rows[0] for rows in members.values()], 2)
        for a, b in pairs:
            level = BYTES if sha256s[a] == sha256s[b] else PIXELS
            yield ImagePair(min(a, b), max(a, b), level)


def near_duplicate_pairs(
    sets: Sequence[ImageSet],
    copies: NDArray[np.intp],
    pixels: Sequence[str],
    *,
    threshold: float,
    cache: bool,
    progress: Progress | None,
) -> Iterator[ImagePair]:
    """Pair images that are nearly the same: the first image of each content in each part.

    Args:
        sets: the sets of the audit.
        copies: see `copy_pairs`.
        pixels: digest of the pixels of each image; "" if it cannot be read.
        threshold: see `near_pairs`.
        cache: see `remembered_near_pairs`.
        progress: see `near_pairs`.
    """
    readable = np.flatnonzero(np.array(pixels, dtype=object) != "")
    # A content is compared once, however many copies it has.
    contents, places = np.unique(copies[readable], return_index=True)
    thumbnails = select_thumbnails(sets, readable[places])
    near = remembered_near_pairs(thumbnails, threshold=threshold, cache=cache, progress=progress)
    members = _rows_by_part(sets, copies)
    columns = (near.first, near.second, near.score, near.symmetry)
    for first, second, score, symmetry in zip(*columns, strict=True):
        firsts = members[int(contents[first])].values()
        seconds = members[int(contents[second])].values()
        for a, b in product(firsts, seconds):
            yield _near_duplicate(a[0], b[0], float(score), int(symmetry))


def _near_duplicate(a: int, b: int, score: float, symmetry: int) -> ImagePair:
    """Return a pair in ascending order; `symmetry` lays b over a."""
    if a < b:
        return ImagePair(a, b, NEAR, score, symmetry)
    # With the images exchanged, the inverse symmetry lays the second over the first.
    return ImagePair(b, a, NEAR, score, inverse(symmetry))


def group_pairs(
    sets: Sequence[ImageSet], pictures: NDArray[np.intp], groups: NDArray[np.intp]
) -> Iterator[ImagePair]:
    """Pair the first images of two parts that share a group but none of its pictures.

    Args:
        sets: the sets of the audit.
        pictures: see `Audit`.
        groups: see `Audit`.
    """
    for members in _rows_by_part(sets, groups).values():
        for a, b in combinations(members.values(), 2):
            # A shared picture has its own pair, with stronger evidence.
            if set(pictures[a].tolist()).isdisjoint(pictures[b].tolist()):
                yield ImagePair(min(a[0], b[0]), max(a[0], b[0]), GROUP)


def _rows_by_part(
    sets: Sequence[ImageSet], numbers: NDArray[np.intp]
) -> dict[int, dict[SetPart, list[int]]]:
    """Return the numbers of the images, by their group number and then by their part."""
    rows: dict[int, dict[SetPart, list[int]]] = defaultdict(lambda: defaultdict(list))
    for row, (number, part) in enumerate(zip(numbers.tolist(), parts_of(sets), strict=True)):
        rows[number][part].append(row)
    return rows


def strongest(pairs: Sequence[ImagePair]) -> list[ImagePair]:
    """Keep one pair of each two images: the one with the strongest evidence.

    Args:
        pairs: pairs by level, the strongest level first.
    """
    # In reverse order, a stronger level overwrites a weaker one.
    by_images = {(pair.first, pair.second): pair for pair in reversed(pairs)}
    return list(by_images.values())


def in_order(pairs: Sequence[ImagePair]) -> tuple[ImagePair, ...]:
    """Sort pairs by evidence, the strongest first, then by score and image."""
    return tuple(sorted(pairs, key=lambda pair: (pair.level, -pair.score, pair.first, pair.second)))
