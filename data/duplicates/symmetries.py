"""The eight ways to lay a square picture over another: quarter turns, with and without a mirror."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SYMMETRY_NAMES = (
    "as it is",
    "mirrored left to right",
    "turned by 90 degrees",
    "turned by 90 degrees and mirrored left to right",
    "turned by 180 degrees",
    "mirrored top to bottom",
    "turned by 270 degrees",
    "turned by 270 degrees and mirrored left to right",
)
"""Symmetry 2 * q + m: q quarter turns counter-clockwise; then, if m is 1, mirrored left to right.

The names are written into audit.csv.
"""


def apply_symmetry(images: NDArray[np.generic], number: int) -> NDArray[np.generic]:
    """Return a view of square images under one symmetry.

    Args:
        images: of shape (..., side, side).
        number: place in `SYMMETRY_NAMES`.

    Examples:
        >>> apply_symmetry(np.array([[1, 2], [3, 4]]), 2).tolist()
        [[2, 4], [1, 3]]
    """
    quarters, mirrored = divmod(number, 2)
    # Views: no pixel is copied before the images are used.
    turned = np.rot90(images, quarters, (-2, -1))
    return turned[..., ::-1] if mirrored else turned


def apply_symmetries(images: NDArray[np.float32], numbers: NDArray[np.intp]) -> NDArray[np.float32]:
    """Return square images, each turned by its own symmetry.

    Args:
        images: of shape (n, side, side).
        numbers: places in `SYMMETRY_NAMES`, of shape (n,).
    """
    results = np.empty_like(images)
    # Eight views of many images are faster than a view of each image.
    for number in range(len(SYMMETRY_NAMES)):
        rows = np.flatnonzero(numbers == number)
        if len(rows):
            results[rows] = apply_symmetry(images[rows], number)
    return results


def inverse(number: int) -> int:
    """Return the symmetry that undoes another one.

    A quarter turn and three quarter turns undo each other; every other symmetry undoes itself.

    Examples:
        >>> [inverse(number) for number in range(8)]
        [0, 1, 6, 3, 4, 5, 2, 7]
    """
    return {2: 6, 6: 2}.get(number, number)
