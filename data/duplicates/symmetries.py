"""The eight ways to lay a square picture over another: turned by quarter turns, and mirrored."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NAMES = (
    "as it is",
    "mirrored left to right",
    "turned by 90 degrees",
    "turned by 90 degrees and mirrored left to right",
    "turned by 180 degrees",
    "mirrored top to bottom",
    "turned by 270 degrees",
    "turned by 270 degrees and mirrored left to right",
)
"""Symmetry number 2 * q + m: q quarter turns counter-clockwise, then, if m, mirrored left to right."""


def applied(images: NDArray[np.generic], number: int) -> NDArray[np.generic]:
    """Square images of shape (..., side, side), each under one symmetry; a view.

    Examples:
        >>> applied(np.array([[1, 2], [3, 4]]), 2).tolist()
        [[2, 4], [1, 3]]
    """
    quarters, mirrored = divmod(number, 2)
    turned = np.rot90(images, quarters, (-2, -1))
    return turned[..., ::-1] if mirrored else turned


def each_applied(images: NDArray[np.float32], numbers: NDArray[np.intp]) -> NDArray[np.float32]:
    """Square images of shape (n, side, side), each under a symmetry of its own; `numbers` of shape (n,)."""
    laid = np.empty_like(images)
    for number in range(len(NAMES)):
        chosen = np.flatnonzero(numbers == number)
        if len(chosen):
            laid[chosen] = applied(images[chosen], number)
    return laid


def inverse(number: int) -> int:
    """The symmetry that takes another one back: a quarter turn is undone by three, all others by themselves.

    Examples:
        >>> [inverse(number) for number in range(8)]
        [0, 1, 6, 3, 4, 5, 2, 7]
    """
    return {2: 6, 6: 2}.get(number, number)
