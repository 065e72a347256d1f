"""Crossings: images of one part of the audit that have a relative in another part."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from .image_pairs import BYTES, GROUP, NEAR, PIXELS, ImagePair
from .image_set import ImageSet

SPLIT_PAIRS = (("test", "train"), ("validation", "train"), ("test", "validation"))
"""Splits of one set that must not share an image."""


@dataclass(frozen=True)
class Crossing:
    """Images of one part that have a relative in another part.

    Attributes:
        part: name of the part, for example "test images of scans".
        reference: name of the part that its images are compared with.
        n: number of images of the part.
        n_reference: number of images of the reference.
        n_unread: number of images of the part without a relative that nobody looked at.
        n_reference_unread: number of images of the reference that nobody looked at.
        levels: number of images with a relative in the reference, by their strongest evidence.
        rows: numbers of these images in the audit.
    """

    part: str
    reference: str
    n: int
    n_reference: int
    n_unread: int
    n_reference_unread: int
    levels: Mapping[int, int]
    rows: tuple[int, ...]

    @property
    def n_related(self) -> int:
        """Number of images with a relative in the reference."""
        return len(self.rows)


class Relations:
    """The evidence of an audit, by kind, for counting crossings.

    Args:
        sha256s: digest of each file, of length n; "" if unknown.
        pixels: digest of each image's pixels, of length n; "" if unknown.
        pictures: see `Audit`.
        groups: see `Audit`.
        pairs: see `Audit`.
    """

    def __init__(
        self,
        sha256s: Sequence[str],
        pixels: Sequence[str],
        pictures: NDArray[np.intp],
        groups: NDArray[np.intp],
        pairs: Sequence[ImagePair],
    ) -> None:
        # Images with the same value are related; the strongest evidence first.
        self._columns = (
            (BYTES, np.array(sha256s, dtype=object)),
            (PIXELS, np.array(pixels, dtype=object)),
            (NEAR, pictures),
            (GROUP, groups),
        )
        self._unread = self._columns[1][1] == ""
        self._pairs_of: dict[int, list[ImagePair]] = defaultdict(list)
        for pair in pairs:
            self._pairs_of[pair.first].append(pair)
            self._pairs_of[pair.second].append(pair)

    def crossing(
        self, part: str, reference: str, rows: NDArray[np.intp], among: NDArray[np.intp]
    ) -> Crossing:
        """Count the images of a part that have a relative in the reference.

        Args:
            part: name of the part.
            reference: name of the reference.
            rows: numbers of the part's images.
            among: numbers of the reference's images.
        """
        levels: Counter[int] = Counter()
        related: list[int] = []
        remaining = rows.tolist()
        # A set is searched in constant time, an array is not.
        reference_rows = set(among.tolist())
        # Each image counts once, by its strongest evidence.
        for level, column in self._columns:
            values = {value for value in column[among].tolist() if value != ""}
            matching = [row for row in remaining if column[row] in values]
            remaining = [row for row in remaining if column[row] not in values]
            for row in matching:
                levels[self._picture_level(row, reference_rows) if level == NEAR else level] += 1
            related += matching
        # A copy by its bytes is known, even if the picture could not be read.
        n_unread = int(self._unread[remaining].sum())
        return Crossing(
            part,
            reference,
            n=len(rows),
            n_reference=len(among),
            n_unread=n_unread,
            n_reference_unread=int(self._unread[among].sum()),
            levels=dict(sorted(levels.items())),
            rows=tuple(sorted(related)),
        )

    def _picture_level(self, row: int, reference_rows: set[int]) -> int:
        """Return the strongest evidence of an image's pairs with the reference.

        An image that is related only through other images has the evidence `NEAR`.
        """
        levels = [
            pair.level
            for pair in self._pairs_of[row]
            if pair.first in reference_rows or pair.second in reference_rows
        ]
        return min((level for level in levels if level >= NEAR), default=NEAR)


def find_crossings(sets: Sequence[ImageSet], relations: Relations) -> Iterator[Crossing]:
    """Compare all parts that must not share an image.

    The splits of each set are compared, then each set with every set before it.
    """
    splits = np.array([split for images in sets for split in images.splits])
    numbers = np.repeat(np.arange(len(sets)), [len(images) for images in sets])
    for number, images in enumerate(sets):
        for split, training in SPLIT_PAIRS:
            rows = np.flatnonzero((numbers == number) & (splits == split))
            among = np.flatnonzero((numbers == number) & (splits == training))
            # A set without one of the two splits has nothing to compare.
            if len(rows) and len(among):
                part = f"{split} images of {images.name}"
                yield relations.crossing(part, f"its {training} split", rows, among)
    for first, second in combinations(range(len(sets)), 2):
        part = f"images of {sets[second].name}"
        rows = np.flatnonzero(numbers == second)
        among = np.flatnonzero(numbers == first)
        yield relations.crossing(part, sets[first].name, rows, among)
