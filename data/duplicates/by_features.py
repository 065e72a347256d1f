"""Pairs of images whose features point the same way."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SEARCHED = 12
"""Dimensions of the tree: the principal ones, in which no two points are farther apart than in all."""

NEIGHBOURS = 128
"""Of each row at most so many are looked at, the nearest by these dimensions."""


def cosine_pairs(
    features: NDArray[np.float32], similarity: float
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Pairs of rows whose cosine is at least `similarity`.

    All of them, but of a row that has more than `NEIGHBOURS` near it.

    Args:
        features: of shape (n, n_features); a row of zeros is like none.
        similarity: above 0, up to 1.

    Returns:
        Row numbers, the smaller first, and cosines, each of shape (n_pairs,).

    Examples:
        >>> first, second, cosine = cosine_pairs(np.float32([[1, 0], [2, 0.1], [0, 1]]), 0.9)
        >>> first.tolist(), second.tolist(), [round(float(each), 3) for each in cosine]
        ([0], [1], [0.999])
    """
    from scipy.spatial import cKDTree

    norms = np.linalg.norm(features, axis=1)
    rows = np.flatnonzero(norms > 0)
    if len(rows) < 2:
        return np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0, np.float32)
    units = features[rows] / norms[rows, None]
    radius = (
        np.sqrt(max(0, 2 - 2 * similarity)) + 1e-3
    )  # of unit vectors, and a little for rounding
    points = _principal(units)
    near = cKDTree(points).query(
        points, [*range(1, min(NEIGHBOURS, len(rows)) + 1)], distance_upper_bound=radius
    )[1]
    one, place = np.nonzero(near < len(rows))
    other = near[one, place]
    codes = np.unique((np.minimum(one, other) * len(rows) + np.maximum(one, other))[one != other])
    one, other = np.divmod(codes, max(1, len(rows)))
    cosines = np.array([units[a] @ units[b] for a, b in zip(one, other, strict=True)], np.float32)
    close = cosines >= similarity - 1e-6
    return rows[one[close]], rows[other[close]], np.minimum(cosines[close], 1)


def _principal(units: NDArray[np.float32]) -> NDArray[np.float32]:
    """The points in their principal directions: a rotation, cut short, so that distances only shrink."""
    from scipy.linalg import eigh

    width = units.shape[1]
    if width <= SEARCHED or not len(units):
        return units
    _, directions = eigh(
        units.T.astype(np.float64) @ units, subset_by_index=(width - SEARCHED, width - 1)
    )
    found: NDArray[np.float32] = units @ directions.astype(np.float32)
    return found
