"""Pairs of pictures that are worth comparing, and which of them to compare first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .structure import FloatArray


@dataclass(frozen=True, eq=False)
class Candidates:
    """Pairs of pictures that may show the same picture.

    Attributes:
        pairs: numbers of pictures, of shape (n_pairs, 2), the smaller first; sorted, each pair
            once.
        distance: distance of each pair in the space of the index, of shape (n_pairs,); None if
            these are all pairs.
        crowded: True if a picture may have more candidates than these.
    """

    pairs: NDArray[np.intp]
    distance: FloatArray | None
    crowded: bool

    def nearest(self, count: int) -> NDArray[np.bool_]:
        """Mark the pairs that are among the `count` nearest of one of their pictures.

        All pairs are marked if there are no distances.
        """
        if self.distance is None:
            return np.ones(len(self.pairs), bool)
        # Each pair counts twice, for its first and for its second picture.
        pictures = self.pairs.T.ravel()
        order = np.lexsort([np.tile(self.distance, 2), pictures])
        starts = np.flatnonzero(np.diff(pictures[order], prepend=-1))
        sizes = np.diff(starts, append=len(order))
        near = np.empty(len(order), bool)
        near[order] = np.arange(len(order)) - np.repeat(starts, sizes) < count
        return near[: len(self.pairs)] | near[len(self.pairs) :]


def all_pairs(rows: NDArray[np.intp], sides: NDArray[np.intp] | None = None) -> Candidates:
    """Return all pairs of few pictures; see `ThumbnailIndex.candidates`."""
    pairs = rows[np.stack(np.triu_indices(len(rows), 1), axis=1)]
    if sides is not None:
        pairs = pairs[sides[pairs[:, 0]] != sides[pairs[:, 1]]]
    return Candidates(pairs, None, crowded=False)
