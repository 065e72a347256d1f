"""The local structure of pictures, its correlation, and the filters that they need.

References:
    Jarrett et al. (2009): What is the best multi-stage architecture for object recognition? ICCV
    (local contrast).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]
"""An array of float32; NumPy's types do not follow float32 through products."""


def shrink(images: FloatArray, side: int) -> FloatArray:
    """Shrink square images by means over equal squares, to shape (n, side, side)."""
    step = images.shape[-1] // side
    means = np.repeat(np.eye(side, dtype=np.float32) / step, step, axis=1)
    small: FloatArray = means @ images @ means.T
    return small


def structure(images: FloatArray) -> FloatArray:
    """Return the changes over few pixels, divided by their local size, of shape (n, side, side)."""
    side = images.shape[-1]
    fine = blur_matrix(side, side / 32)
    wide = blur_matrix(side, 3 * side / 64)
    detail = images - fine @ images @ fine.T
    local = wide @ (detail * detail) @ wide.T
    overall = np.sqrt((detail * detail).mean(axis=(1, 2), keepdims=True))
    # The two last terms keep noise in flat areas small.
    detail /= np.sqrt(np.maximum(local, 0)) + 0.05 * overall + 1
    return detail


def correlation(
    first: FloatArray, second: FloatArray, weights: FloatArray | None = None
) -> FloatArray:
    """Return Pearson's correlation of each pair of images, of shape (n_pairs,).

    Args:
        first: of shape (n_pairs, side, side).
        second: of shape (n_pairs, side, side).
        weights: 1 for pixels that count, else 0, of the same shape; by default all count.
    """
    if weights is None:
        first = first - first.mean(axis=(1, 2), keepdims=True)
        second = second - second.mean(axis=(1, 2), keepdims=True)
    else:
        count = np.maximum(weights.sum(axis=(1, 2)), 1)
        first_mean = np.einsum("nij,nij->n", first, weights) / count
        second_mean = np.einsum("nij,nij->n", second, weights) / count
        first = (first - first_mean[:, None, None]) * weights
        second = (second - second_mean[:, None, None]) * weights
    size = np.sqrt(np.einsum("nij,nij->n", first, first) * np.einsum("nij,nij->n", second, second))
    # A product of norms below 1 consists of rounding errors only.
    result: FloatArray = np.einsum("nij,nij->n", first, second) / np.maximum(size, 1)
    return result


@cache
def blur_matrix(side: int, sigma: float) -> FloatArray:
    """Return the matrix that blurs a line of pixels with a Gaussian; its rows sum to 1.

    Args:
        side: number of pixels.
        sigma: of the Gaussian, in pixels.
    """
    at = np.arange(side)
    weights = np.exp(-((at[:, None] - at) ** 2) / (2 * sigma**2))
    # Weights of far pixels change no sum. As float32 they would be subnormal numbers, with which
    # processors multiply ten times as slowly.
    weights[weights < 1e-20] = 0
    blurs: FloatArray = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return blurs
