"""Which pairs of thumbnails are worth comparing: an index, so that not all pairs need be.

A thumbnail is faded out towards its borders, and the magnitudes of its low Fourier frequencies are
taken: they hardly change when a picture is shifted, and with both signs and both axes of a
frequency in order of size they are the same under all eight symmetries. What crops and changes of
brightness do to them is learnt from the collection itself: a sample of its thumbnails is edited,
and the linear discriminants (Fisher) of the differences that edits make against those between
pictures are kept. In their space the edits have unit variance. Since crops scale a picture, each is
indexed three times: whole, and as crops of it would be. A k-d tree over the first dimensions finds
neighbours, all dimensions decide; the radii are those that hold nearly all of the sample's edits.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .alignment import reduced, resampling

Floats = NDArray[np.floating[Any]]
"""float32; NumPy's types do not follow it through products."""

Numbers = NDArray[np.intp]

FEW = 200
"""So many pictures need no index: all their pairs are candidates."""
NEIGHBOURS = 128
"""Of each picture only so many points are looked at, the nearest, so that time grows with the number of pictures."""
SLACK = 2.0
"""The farthest of these may be so much farther, as a share, than the one that an exact search would find."""
SAMPLE = 500
"""Pictures that are edited to learn what edits do."""
DIMENSIONS = 32
SEARCHED = 12
"""Dimensions of the tree: with more of them it would have to look at nearly all pictures."""
FOUND = 0.99
"""The share of the sample's edits that a radius holds."""
KEPT = (1.0, 0.95, 0.9, 0.85, 0.8)
"""Shares of its sides by which a picture is indexed."""
CROPS = ((0.95, 0.95), (0.95, 0.95), (0.92, 0.92), (0.9, 0.9), (0.9, 0.9), (0.97, 0.93))
"""Shares of height and width that the sample's crops leave."""

_FREQUENCIES = 8
_SIDE = 32
"""So many pixels show these frequencies."""
_BLOCK = 2048


@dataclass(frozen=True, eq=False)
class Index:
    """Where each picture stands among those that edits would make of it.

    Attributes:
        points: float32 of shape (len(KEPT), n, DIMENSIONS), the most telling dimension first: of
            the pictures as they are, and of their crops; edits have unit variance in each
            dimension.
        radius: nearly all edits of a picture lie so near to it, or to one of its crops.
        radius_searched: the same by the first `SEARCHED` dimensions alone.
    """

    points: Floats
    radius: float
    radius_searched: float

    @classmethod
    def of(cls, thumbnails: NDArray[np.uint8]) -> Index:
        """Learn from thumbnails of shape (n, side, side), more than one, none of them blank."""
        from scipy.linalg import eigh

        features = _features(thumbnails)
        chosen = np.random.default_rng(0).permutation(len(thumbnails))[:SAMPLE]
        differences = _differences(
            thumbnails[chosen].astype(np.float32), features[:, chosen]
        ).astype(np.float64)
        within = differences.T @ differences / len(differences)
        # Shrunk: the sample is not all that can be done to a picture.
        within += 0.3 * np.diag(np.diag(within)) + 1e-6 * max(np.trace(within), 1e-9) * np.eye(
            len(within)
        )
        between = np.cov(features[0].T.astype(np.float64))
        _, ascending = eigh(
            between, within, subset_by_index=(len(within) - DIMENSIONS, len(within) - 1)
        )
        directions = ascending[:, ::-1]
        moved = (differences @ directions) ** 2
        radii = (
            float(np.quantile(np.sqrt(moved[:, :n].sum(axis=1)), FOUND))
            for n in (DIMENSIONS, SEARCHED)
        )
        return cls((features @ directions.astype(np.float32)).astype(np.float32), *radii)

    def candidates(
        self, rows: NDArray[np.intp], sides: NDArray[np.intp] | None = None
    ) -> tuple[NDArray[np.intp], bool]:
        """Pairs of pictures that may be the same; and whether one of these had more neighbours than are looked at.

        Args:
            rows: among which pictures, ascending.
            sides: a number per picture of the index; if given, only pairs from two sides are taken.

        Returns:
            Their numbers, of shape (n_pairs, 2), the smaller first; sorted, each pair once.
        """
        if sides is None:
            return self._neighbours(rows, rows)
        of_rows = sides[rows]
        found = [
            self._neighbours(rows[of_rows == side], rows[of_rows != side])
            for side in np.unique(of_rows)
        ]
        pairs = np.unique(np.concatenate([pairs for pairs, _ in found]), axis=0)
        return pairs, any(crowded for _, crowded in found)

    def _neighbours(self, rows: Numbers, among: Numbers) -> tuple[Numbers, bool]:
        """Pairs of one of `rows` and one of its neighbours in `among`; the rest as for `candidates`."""
        from scipy.spatial import cKDTree

        if not len(rows) or not len(among):
            return np.empty((0, 2), np.intp), False
        owners = np.tile(among, len(KEPT))
        indexed = self.points[:, among].reshape(len(owners), DIMENSIONS)
        tree = cKDTree(indexed[:, :SEARCHED], leafsize=32)
        places = [*range(1, min(NEIGHBOURS, len(owners)) + 1)]
        found, crowded = [], False
        for part in _slices(len(rows)):
            points = self.points[0, rows[part]]
            near = tree.query(
                points[:, :SEARCHED],
                places,
                SLACK,
                distance_upper_bound=self.radius_searched,
                workers=-1,
            )[1]
            crowded |= len(owners) > len(places) and bool((near[:, -1] < len(owners)).any())
            row, place = np.nonzero(near < len(owners))
            near = near[row, place]
            close = np.linalg.norm(points[row] - indexed[near], axis=1) <= self.radius
            one, other = rows[part][row[close]], owners[near[close]]
            found.append(
                (np.minimum(one, other) * self.points.shape[1] + np.maximum(one, other))[
                    one != other
                ]
            )
        pairs = np.stack(np.divmod(np.unique(np.concatenate(found)), self.points.shape[1]), axis=1)
        return pairs, crowded


def all_pairs(rows: NDArray[np.intp], sides: NDArray[np.intp] | None = None) -> NDArray[np.intp]:
    """What `Index.candidates` gives, without an index: all pairs of few pictures."""
    pairs = rows[np.stack(np.triu_indices(len(rows), 1), axis=1)]
    return pairs if sides is None else pairs[sides[pairs[:, 0]] != sides[pairs[:, 1]]]


def _slices(n: int) -> list[slice]:
    return [slice(start, start + _BLOCK) for start in range(0, n, _BLOCK)]


def _features(thumbnails: NDArray[np.uint8]) -> Floats:
    """Spectra of thumbnails and of their crops, of shape (len(KEPT), n, 128), by as many threads as there are cores."""
    from joblib import cpu_count
    from threadpoolctl import threadpool_limits

    found = np.empty((len(KEPT), len(thumbnails), 2 * _FREQUENCIES**2), np.float32)

    def fill(part: slice) -> None:
        grey = reduced(thumbnails[part].astype(np.float32), _SIDE)
        for kept, place in zip(KEPT, found, strict=True):
            place[part] = spectra(
                grey if kept == 1 else _cropped(grey, (kept, kept), np.zeros((2, 1)))
            )

    with threadpool_limits(1), ThreadPoolExecutor(cpu_count()) as pool:
        for _ in pool.map(fill, _slices(len(thumbnails))):
            pass
    return found


def _differences(grey: Floats, features: Floats) -> Floats:
    """What edits change in the spectra of pictures, of shape (n_edits * n, 128).

    Args:
        grey: pictures of shape (n, side, side).
        features: theirs, of shape (len(KEPT), n, 128); a crop is compared with the likest of these.
    """
    rng = np.random.default_rng(1)
    edits = []
    for shares in CROPS:
        likest = int(np.argmin([abs(kept - sum(shares) / 2) for kept in KEPT]))
        edits.append((_cropped(grey, shares, rng.random((2, len(grey))) - 0.5), likest))
    edits += [(255 * (grey / 255) ** gamma, 0) for gamma in (0.7, 1.4)]
    edits += [
        (np.clip(grey * gain + offset, 0, 255), 0)
        for gain, offset in ((1.5, 0), (2, 0), (1.5, -30))
    ]
    return np.concatenate(
        [spectra(reduced(edit, _SIDE)) - features[likest] for edit, likest in edits]
    )


def _cropped(grey: Floats, shares: tuple[float, float], places: NDArray[np.float64]) -> Floats:
    """Crops that keep shares of height and width, brought to the old size.

    Args:
        places: where, down and across, from -0.5 to 0.5; 0 is the centre; of shape (2, n), or (2,
            1) for all.
    """
    side = grey.shape[-1]
    down, across = (
        resampling(np.full(len(place), kept), place * (1 - kept) * side, side)[0]
        for kept, place in zip(shares, places, strict=True)
    )
    return down @ grey @ across.swapaxes(1, 2)


def spectra(grey: Floats) -> Floats:
    """Magnitudes of low Fourier frequencies, the same under all eight symmetries, of shape (n, 128)."""
    n, side = len(grey), grey.shape[-1]
    at = np.arange(side)
    fade = np.sin(np.pi * (at + 0.5) / side) ** 2
    window = np.outer(fade, fade).astype(np.float32)
    faded = (grey - np.einsum("nij,ij->n", grey, window)[:, None, None] / window.sum()) * window
    norms = np.sqrt(np.einsum("nij,nij->n", faded, faded)) * side
    # In real numbers: cosines and sines across, then down, each by one product of two matrices.
    angles = 2 * np.pi / side * np.outer(at, np.arange(_FREQUENCIES))
    waves = np.concatenate([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    across = (faded.reshape(n * side, side) @ waves).reshape(n, side, -1).swapaxes(1, 2)
    both = (across.reshape(-1, side) @ waves).reshape(n, 2, _FREQUENCIES, 2, _FREQUENCIES)
    cc, cs, sc, ss = both[:, 0, :, 0], both[:, 0, :, 1], both[:, 1, :, 0], both[:, 1, :, 1]
    magnitudes = _ordered(np.hypot(cc - ss, cs + sc), np.hypot(cc + ss, cs - sc))
    found: Floats = magnitudes / np.maximum(norms, 1e-6)[:, None]
    return found


def _ordered(positive: Floats, negative: Floats) -> Floats:
    """Magnitudes at (u, v) and (u, -v), with those at (v, u) and (v, -u), in an order that no symmetry changes."""
    upper, strict = np.triu_indices(_FREQUENCIES), np.triu_indices(_FREQUENCIES, 1)
    parts = []
    for both in (np.maximum(positive, negative), np.minimum(positive, negative)):
        across = both.swapaxes(-1, -2)
        parts += [np.maximum(both, across)[..., *upper], np.minimum(both, across)[..., *strict]]
    return np.concatenate(parts, axis=-1)
