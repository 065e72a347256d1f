"""Pairs of images whose features point in the same direction."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PRINCIPAL_DIMENSIONS = 12
"""Dimensions of the search tree. Two points are never farther apart in these than in all."""

NEAREST_ROWS = 128
"""Most neighbours of a row that are compared, the nearest by the principal dimensions."""

# Distances of unit vectors are rounded; the search radius is larger by this.
_ROUNDING = 1e-3


def cosine_pairs(
    features: NDArray[np.float32], similarity: float
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Find all pairs of rows whose cosine is at least `similarity`.

    A row with more than `NEAREST_ROWS` rows near it may lack some of its pairs.

    Args:
        features: of shape (n, n_features); a row of zeros has no pairs.
        similarity: above 0, up to 1.

    Returns:
        Row numbers, the smaller first, and cosines, each of shape (n_pairs,).

    Examples:
        >>> first, second, cosines = cosine_pairs(np.float32([[1, 0], [2, 0.1], [0, 1]]), 0.9)
        >>> first.tolist(), second.tolist(), [round(float(cosine), 3) for cosine in cosines]
        ([0], [1], [0.999])
    """
    norms = np.linalg.norm(features, axis=1)
    rows = np.flatnonzero(norms > 0)
    # A row of zeros has no direction.
    if len(rows) < 2:
        return np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0, np.float32)
    units = features[rows] / norms[rows, None]
    first, second = _candidates(units, similarity)
    cosines = np.array(
        [units[a] @ units[b] for a, b in zip(first, second, strict=True)], np.float32
    )
    # Rounding may move a cosine below the limit, or above 1.
    close = cosines >= similarity - 1e-6
    return rows[first[close]], rows[second[close]], np.minimum(cosines[close], 1)


def _candidates(
    units: NDArray[np.float32], similarity: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Find pairs of unit vectors that are near each other in the principal dimensions."""
    from scipy.spatial import cKDTree

    n = len(units)
    # The distance of two unit vectors of this cosine.
    radius = np.sqrt(max(0, 2 - 2 * similarity)) + _ROUNDING
    points = _principal(units)
    places = [*range(1, min(NEAREST_ROWS, n) + 1)]
    near = cKDTree(points).query(points, places, distance_upper_bound=radius)[1]
    # The tree writes n in the place of a missing neighbour.
    row, place = np.nonzero(near < n)
    neighbour = near[row, place]
    # One number for each pair: two rows that are neighbours of each other are one pair.
    codes = np.minimum(row, neighbour) * n + np.maximum(row, neighbour)
    first, second = np.divmod(np.unique(codes[row != neighbour]), n)
    return first, second


def _principal(units: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rotate points to their principal directions and keep the first ones.

    A rotation keeps distances, and dropping dimensions can only shrink them: no pair is missed.
    """
    from scipy.linalg import eigh

    width = units.shape[1]
    if width <= PRINCIPAL_DIMENSIONS or not len(units):
        return units
    _, directions = eigh(
        units.T.astype(np.float64) @ units,
        subset_by_index=(width - PRINCIPAL_DIMENSIONS, width - 1),
    )
    points: NDArray[np.float32] = units @ directions.astype(np.float32)
    return points
