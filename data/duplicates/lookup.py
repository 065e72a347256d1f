"""A lookup of single pictures among thumbnails that are indexed once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .alignment import compare
from .index import MOST_WITHOUT_INDEX, ThumbnailIndex
from .pairs import BLANK, NEAREST_FIRST, THRESHOLD

MOST_COMPARED = 32
"""Most thumbnails that a picture is compared with, the nearest by the index.

Of 720 edits of pictures of two sets (crops, mirrored crops, brightness, noise), the index finds
693, all of them among the nearest 32.
"""


@dataclass(frozen=True)
class Match:
    """The thumbnail that a picture is most like.

    Attributes:
        place: number of the thumbnail.
        score: likeness, `THRESHOLD` to 1.
        symmetry: place in `SYMMETRY_NAMES` of the symmetry that lays one over the other.
    """

    place: int
    score: float
    symmetry: int


class PictureLookup:
    """Thumbnails, indexed once, among which pictures are looked up one by one.

    It finds what `near_pairs` finds between one picture on one side and all thumbnails on the
    other, without indexing all thumbnails for each picture. It stops at the first match.

    Args:
        thumbnails: uint8 of shape (n, 64, 64); see `Fingerprint`.

    Examples:
        >>> pictures = np.random.default_rng(0).integers(0, 256, (3, 64, 64)).astype(np.uint8)
        >>> PictureLookup(pictures).find(pictures[1, :, ::-1])
        Match(place=1, score=1.0, symmetry=1)
    """

    def __init__(self, thumbnails: NDArray[np.uint8]) -> None:
        self._thumbnails = thumbnails
        blank = np.array([_is_blank(thumbnail) for thumbnail in thumbnails], bool)
        self._blanks = np.flatnonzero(blank)
        self._places = np.flatnonzero(~blank)
        # All of few pictures are compared, without an index.
        many = len(self._places) > MOST_WITHOUT_INDEX
        self._index = ThumbnailIndex.fit(thumbnails[self._places]) if many else None

    def find(self, thumbnail: NDArray[np.uint8]) -> Match | None:
        """Return a thumbnail that shows the same picture, the most alike; None if none does.

        Args:
            thumbnail: uint8 of shape (64, 64).
        """
        # The correlation of a blank thumbnail would be that of its noise.
        if _is_blank(thumbnail):
            equal = (self._thumbnails[self._blanks] == thumbnail).all(axis=(1, 2))
            return Match(int(self._blanks[equal.argmax()]), 1.0, 0) if equal.any() else None
        if self._index is None:
            return self._best(thumbnail, self._places)
        near = self._places[self._index.near(thumbnail)[:MOST_COMPARED]]
        # A copy is nearly always nearer than a look-alike.
        first = self._best(thumbnail, near[:NEAREST_FIRST])
        return first or self._best(thumbnail, near[NEAREST_FIRST:])

    def _best(self, thumbnail: NDArray[np.uint8], places: NDArray[np.intp]) -> Match | None:
        """Return the most alike of some thumbnails; None if none shows the same picture."""
        if not len(places):
            return None
        both = np.concatenate([thumbnail[None], self._thumbnails[places]])
        pairs = np.stack([np.zeros(len(places), np.intp), np.arange(1, len(both))], axis=1)
        likeness = compare(both, pairs, THRESHOLD)
        best = int(likeness.score.argmax())
        score = min(float(likeness.score[best]), 1.0)
        if score < THRESHOLD:
            return None
        return Match(int(places[best]), score, int(likeness.symmetry[best]))


def _is_blank(thumbnail: NDArray[np.uint8]) -> bool:
    return bool(thumbnail.std() < BLANK)
