"""Pairs of images whose features point the same way, by an index that misses none."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SEARCHED = 12
"""Dimensions of the tree: the principal ones, in which no two points are farther apart than in all."""

_BLOCK = 2**16


def cosine_pairs(
    features: NDArray[np.float32], similarity: float
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """All pairs of rows whose cosine is at least `similarity`.

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
    units = features[rows] / norms[rows, None]
    radius = np.sqrt(2 - 2 * similarity) + 1e-5  # of unit vectors, and a little for rounding
    pairs = cKDTree(_principal(units)).query_pairs(radius, output_type="ndarray")
    cosines = np.empty(len(pairs), np.float32)
    for start in range(0, len(pairs), _BLOCK):
        block = slice(start, start + _BLOCK)
        cosines[block] = np.einsum("ij,ij->i", *(units[side] for side in pairs[block].T))
    pairs, cosines = pairs[cosines >= similarity], cosines[cosines >= similarity]
    order = np.lexsort(pairs.T[::-1])
    first, second = rows[pairs[order]].T.reshape(2, -1)
    return first, second, cosines[order]


def _principal(units: NDArray[np.float32]) -> NDArray[np.float32]:
    """The points in their principal directions: a rotation, cut short, so that distances only shrink."""
    from scipy.linalg import eigh

    width = units.shape[1]
    if width <= SEARCHED or not len(units):
        return units
    _, directions = eigh(units.T.astype(np.float64) @ units, subset_by_index=(width - SEARCHED, width - 1))
    found: NDArray[np.float32] = units @ directions.astype(np.float32)
    return found
