"""An index of thumbnails that finds the pairs worth comparing.

Comparing all pairs of a large collection would take too long. The index works in three steps.

1. Spectra. A thumbnail is faded out towards its borders, then the magnitudes of its low Fourier
   frequencies are computed. They hardly change when a picture is shifted. Sorting the magnitudes
   that symmetries exchange makes them equal under all eight symmetries.
2. Discriminants. The index edits a sample of the thumbnails: it crops them and changes their
   brightness. Then it computes linear discriminants (Fisher), which separate differences made by
   edits from differences between pictures. In their space, edits have unit variance.
3. Search. A crop scales a picture, so each picture is indexed whole and as several crops. A k-d
   tree over the first dimensions finds neighbours; then all dimensions decide. The search radii
   hold nearly all edits of the sample.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .candidates import Candidates
from .pose import resampling_matrices
from .structure import FloatArray, shrink

MOST_WITHOUT_INDEX = 200
"""Most pictures whose pairs are all compared, without an index."""

MOST_NEIGHBOURS = 128
"""Most points near a picture that are compared, the nearest.

This limit makes the time grow with the number of pictures, not with its square.
"""

SLACK = 2.0
"""Slack of the approximate search, as a share of the distance.

A neighbour may be farther away, by this share, than the one that an exact search returns.
"""

SAMPLE = 500
"""Number of pictures that are edited, to measure how edits change their spectra."""

DIMENSIONS = 32

TREE_DIMENSIONS = 12
"""Dimensions of the k-d tree; with more, a search would visit nearly all pictures."""

RADIUS_QUANTILE = 0.99
"""Share of the sample's edits that a radius holds."""

CROP_SHARES = (1.0, 0.95, 0.9, 0.85, 0.8)
"""Shares of its sides by which each picture is indexed; 1 is the whole picture."""

SAMPLE_CROPS = ((0.95, 0.95), (0.95, 0.95), (0.92, 0.92), (0.9, 0.9), (0.9, 0.9), (0.97, 0.93))
"""Shares of height and width that the sample's crops leave."""

_FREQUENCIES = 8
# Pixels a side that are enough for these frequencies.
_SPECTRUM_SIDE = 32
_PICTURES_AT_ONCE = 2048


@dataclass(frozen=True, eq=False)
class ThumbnailIndex:
    """An index of pictures: points in a space where a picture and its edits are close together.

    Attributes:
        points: float32 of shape (len(CROP_SHARES), n, DIMENSIONS), for the whole pictures and
            their crops; the dimension that separates best comes first. Edits have unit variance in
            each dimension.
        radius: distance within which nearly all edits of a picture, or of its crops, are.
        tree_radius: the same distance in the first `TREE_DIMENSIONS` alone.
        directions: the discriminants, which map spectra to points, float32 of shape (128,
            DIMENSIONS).
    """

    points: FloatArray
    radius: float
    tree_radius: float
    directions: FloatArray

    @classmethod
    def fit(cls, thumbnails: NDArray[np.uint8]) -> ThumbnailIndex:
        """Compute the discriminants of thumbnails and index the thumbnails.

        Args:
            thumbnails: of shape (n, side, side), more than one, none of them blank.

        References:
            Fisher (1936): The use of multiple measurements in taxonomic problems. Annals of
                Eugenics 7, 179-188.
        """
        from scipy.linalg import eigh

        features = _features(thumbnails)
        # A fixed seed: the same images always have the same index.
        rows = np.random.default_rng(0).permutation(len(thumbnails))[:SAMPLE]
        grey = thumbnails[rows].astype(np.float32)
        differences = _edit_differences(grey, features[:, rows]).astype(np.float64)
        within = differences.T @ differences / len(differences)
        # The matrix is shrunk towards its diagonal: real edits vary more than the sample's.
        ridge = 1e-6 * max(np.trace(within), 1e-9)
        within += 0.3 * np.diag(np.diag(within)) + ridge * np.eye(len(within))
        between = np.cov(features[0].T.astype(np.float64))
        last = (len(within) - DIMENSIONS, len(within) - 1)
        _, ascending = eigh(between, within, subset_by_index=last)
        # The last eigenvectors separate edits from other pictures best.
        directions = ascending[:, ::-1]
        squares = (differences @ directions) ** 2
        radius, tree_radius = (
            float(np.quantile(np.sqrt(squares[:, :n].sum(axis=1)), RADIUS_QUANTILE))
            for n in (DIMENSIONS, TREE_DIMENSIONS)
        )
        single = directions.astype(np.float32)
        points = (features @ single).astype(np.float32)
        return cls(points, radius, tree_radius, single)

    def near(self, thumbnail: NDArray[np.uint8]) -> NDArray[np.intp]:
        """Return the numbers of the pictures that are worth comparing with a new one.

        Either of the two may be a crop of the other.

        Args:
            thumbnail: of shape (side, side), not blank.

        Returns:
            The numbers, the nearest first, of shape (n_near,).
        """
        own = _crop_spectra(thumbnail[None])[:, 0] @ self.directions
        # The new picture against all crops, then its crops against all whole pictures.
        distances = [np.linalg.norm(points - own[0], axis=1) for points in self.points]
        distances += [np.linalg.norm(self.points[0] - crop, axis=1) for crop in own[1:]]
        distance = np.min(distances, axis=0)
        order = np.argsort(distance, kind="stable")
        near: NDArray[np.intp] = order[distance[order] <= self.radius]
        return near

    def candidates(
        self, rows: NDArray[np.intp], sides: NDArray[np.intp] | None = None
    ) -> Candidates:
        """Find pairs of pictures that are close enough to be compared.

        Args:
            rows: numbers of the pictures to pair, ascending.
            sides: a number for each picture of the index; with sides, only pairs across two sides
                are returned.

        Returns:
            The pairs; `crowded` if a picture has more neighbours than `MOST_NEIGHBOURS`.
        """
        if sides is None:
            parts = [self._neighbours(rows, rows)]
        else:
            # The rows of each side look for neighbours among all other sides.
            row_sides = sides[rows]
            parts = [
                self._neighbours(rows[row_sides == side], rows[row_sides != side])
                for side in np.unique(row_sides)
            ]
        codes = np.concatenate([codes for codes, _, _ in parts])
        distance = np.concatenate([distance for _, distance, _ in parts])
        # A pair is found from both sides and by several crops: its least distance counts.
        order = np.lexsort([distance, codes])
        firsts = order[np.flatnonzero(np.diff(codes[order], prepend=-1))]
        pairs = np.stack(np.divmod(codes[firsts], self.points.shape[1]), axis=1)
        return Candidates(pairs, distance[firsts], any(crowded for _, _, crowded in parts))

    def _neighbours(
        self, rows: NDArray[np.intp], among: NDArray[np.intp]
    ) -> tuple[NDArray[np.intp], FloatArray, bool]:
        """Pair pictures of `rows` with their neighbours in `among`.

        Returns:
            A number for each pair, first * n + second, with repetitions; the distances; and True
            if a picture has more neighbours than `MOST_NEIGHBOURS`.
        """
        from scipy.spatial import cKDTree

        if not len(rows) or not len(among):
            return np.empty(0, np.intp), np.empty(0, np.float32), False
        n = self.points.shape[1]
        # Each picture is found by any of its crops.
        owners = np.tile(among, len(CROP_SHARES))
        indexed = self.points[:, among].reshape(len(owners), DIMENSIONS)
        tree = cKDTree(indexed[:, :TREE_DIMENSIONS], leafsize=32)
        places = [*range(1, min(MOST_NEIGHBOURS, len(owners)) + 1)]
        codes = []
        distances = []
        crowded = False
        for part in _slices(len(rows)):
            points = self.points[0, rows[part]]
            near = tree.query(
                points[:, :TREE_DIMENSIONS],
                places,
                SLACK,
                distance_upper_bound=self.tree_radius,
                workers=-1,
            )[1]
            # The tree writes len(owners) in the place of a missing neighbour.
            crowded |= len(owners) > len(places) and bool((near[:, -1] < len(owners)).any())
            row, place = np.nonzero(near < len(owners))
            neighbour = near[row, place]
            # The tree knows only the first dimensions; all of them decide.
            distance = np.linalg.norm(points[row] - indexed[neighbour], axis=1)
            close = (distance <= self.radius) & (rows[part][row] != owners[neighbour])
            picture = rows[part][row[close]]
            owner = owners[neighbour[close]]
            # One number for each pair, so that duplicates are easy to remove.
            codes.append(np.minimum(picture, owner) * n + np.maximum(picture, owner))
            distances.append(distance[close])
        return np.concatenate(codes), np.concatenate(distances), crowded


def _slices(n: int) -> list[slice]:
    """Cut n pictures into blocks."""
    starts = range(0, n, _PICTURES_AT_ONCE)
    return [slice(start, start + _PICTURES_AT_ONCE) for start in starts]


def _features(thumbnails: NDArray[np.uint8]) -> FloatArray:
    """Compute spectra of thumbnails and of their crops, of shape (len(CROP_SHARES), n, 128)."""
    from joblib import cpu_count
    from threadpoolctl import threadpool_limits

    features = np.empty((len(CROP_SHARES), len(thumbnails), 2 * _FREQUENCIES**2), np.float32)

    def fill(part: slice) -> None:
        features[:, part] = _crop_spectra(thumbnails[part])

    # Each of our threads uses one thread of linear algebra: more would compete for the cores.
    with threadpool_limits(1), ThreadPoolExecutor(cpu_count()) as pool:
        for _ in pool.map(fill, _slices(len(thumbnails))):
            pass
    return features


def _crop_spectra(thumbnails: NDArray[np.uint8]) -> FloatArray:
    """Compute spectra of few thumbnails and of their crops, of shape (len(CROP_SHARES), n, 128)."""
    grey = shrink(thumbnails.astype(np.float32), _SPECTRUM_SIDE)
    crops = [
        spectra(grey if share == 1 else _crop(grey, (share, share), np.zeros((2, 1))))
        for share in CROP_SHARES
    ]
    return np.stack(crops)


def _edit_differences(grey: FloatArray, features: FloatArray) -> FloatArray:
    """Return how edits change the spectra of pictures, of shape (n_edits * n, 128).

    Args:
        grey: pictures of shape (n, side, side).
        features: their spectra, of shape (len(CROP_SHARES), n, 128). Each edit is compared with
            the indexed crop of the most similar size.
    """
    # A fixed seed: the same images always have the same index.
    rng = np.random.default_rng(1)
    edits = []
    for shares in SAMPLE_CROPS:
        distances = [abs(share - sum(shares) / 2) for share in CROP_SHARES]
        places = rng.random((2, len(grey))) - 0.5
        edits.append((_crop(grey, shares, places), int(np.argmin(distances))))
    # Changes of brightness and contrast: curves, then gains with offsets and clipping.
    edits += [(255 * (grey / 255) ** gamma, 0) for gamma in (0.7, 1.4)]
    edits += [
        (np.clip(grey * gain + offset, 0, 255), 0)
        for gain, offset in ((1.5, 0), (2, 0), (1.5, -30))
    ]
    return np.concatenate(
        [spectra(shrink(edit, _SPECTRUM_SIDE)) - features[crop] for edit, crop in edits]
    )


def _crop(grey: FloatArray, shares: tuple[float, float], places: NDArray[np.float64]) -> FloatArray:
    """Crop images and resize the crops to the original size.

    Args:
        grey: images of shape (n, side, side).
        shares: of height and width that a crop keeps.
        places: of the crops, down and across, from -0.5 to 0.5, where 0 is the centre; of shape
            (2, n), or (2, 1) for all.
    """
    side = grey.shape[-1]
    # A crop is a scale and a shift along each axis.
    down, across = (
        resampling_matrices(np.full(len(place), share), place * (1 - share) * side, side)[0]
        for share, place in zip(shares, places, strict=True)
    )
    return down @ grey @ across.swapaxes(1, 2)


def spectra(grey: FloatArray) -> FloatArray:
    """Return magnitudes of low Fourier frequencies that no symmetry changes, of shape (n, 128).

    Args:
        grey: images of shape (n, side, side).
    """
    n = len(grey)
    side = grey.shape[-1]
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
    cos_cos = both[:, 0, :, 0]
    cos_sin = both[:, 0, :, 1]
    sin_cos = both[:, 1, :, 0]
    sin_sin = both[:, 1, :, 1]
    positive = np.hypot(cos_cos - sin_sin, cos_sin + sin_cos)
    negative = np.hypot(cos_cos + sin_sin, cos_sin - sin_cos)
    result: FloatArray = _in_order(positive, negative) / np.maximum(norms, 1e-6)[:, None]
    return result


def _in_order(positive: FloatArray, negative: FloatArray) -> FloatArray:
    """Sort the magnitudes that symmetries exchange: at (u, v), (u, -v), (v, u) and (v, -u).

    Args:
        positive: magnitudes at (u, v), of shape (n, _FREQUENCIES, _FREQUENCIES).
        negative: magnitudes at (u, -v), of the same shape.

    Returns:
        Of shape (n, 2 * _FREQUENCIES**2).
    """
    upper = np.triu_indices(_FREQUENCIES)
    strict = np.triu_indices(_FREQUENCIES, 1)
    parts = []
    for both in (np.maximum(positive, negative), np.minimum(positive, negative)):
        across = both.swapaxes(-1, -2)
        parts.append(np.maximum(both, across)[..., *upper])
        parts.append(np.minimum(both, across)[..., *strict])
    return np.concatenate(parts, axis=-1)
