"""Pictures that show the same: the same bytes, the same pixels, or nearly so. Pairs, and the groups they join."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

THRESHOLD = 0.85
"""How alike two thumbnails must be, from -1 to 1, to count as one picture; `scripts/duplicate_check.py` measures it."""


@dataclass(frozen=True, eq=False)
class NearPairs:
    """Pairs of thumbnails that show the same picture.

    Attributes:
        first, second: their numbers, first < second, intp of shape (n_pairs,); sorted.
        score: how alike they are, float64 of shape (n_pairs,), `threshold` to 1.
        symmetry: by which symmetry the second becomes the first, numbers of `symmetries.NAMES`, intp of shape (n_pairs,).
    """

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    score: NDArray[np.float64]
    symmetry: NDArray[np.intp]


def near_pairs(
    thumbnails: NDArray[np.uint8],
    *,
    threshold: float = THRESHOLD,
    sides: NDArray[np.intp] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> NearPairs:
    """Pairs of thumbnails that show the same picture: saved anew, resized, brighter, cropped a little, mirrored, turned.

    Args:
        thumbnails: of `Fingerprint`, uint8 of shape (n, 64, 64), of images whose pixels differ.
        threshold: how alike they must be, up to 1.
        sides: a number per thumbnail, of shape (n,); if given, only pairs from two sides are looked for.
        progress: told how many candidates are compared, and how many there are.
    """
    raise NotImplementedError


def duplicate_groups(
    sha256s: list[str],
    pixels: list[str],
    thumbnails: NDArray[np.uint8],
    *,
    threshold: float = THRESHOLD,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.intp]:
    """Group numbers of images: those of the same bytes, the same pixels, or nearly the same picture are one group.

    Args:
        sha256s, pixels: digests of files and of their decoded pixels, of length n; "" where not known.
        thumbnails: uint8 of shape (n, 64, 64).

    Returns:
        From 0 on, in order of first appearance, of shape (n,).
    """
    raise NotImplementedError
