"""Training images as they might have been, too: mirrored, turned, zoomed, shifted."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

TURN = 15.0
"""Degrees, at most, to either side."""
ZOOM = 0.1
SHIFT = 0.1
"""Shares of the side, at most."""


def augmented(
    features: NDArray[np.float32], shape: tuple[int, ...], draws: Sequence[tuple[int, int, int]]
) -> NDArray[np.float32]:
    """Each image mirrored (or not), turned, zoomed and shifted at random; what comes in from outside is black.

    Args:
        features: RGB, 0 ... 255, of shape (n, height * width * 3).
        shape: (height, width, 3).
        draws: of each image the numbers that what is drawn for it depends on; nothing else does.

    Returns:
        Of the same shape, whole numbers.

    Examples:
        >>> grey = np.full((1, 12), 7, np.float32)
        >>> augmented(grey, (2, 2, 3), [(0, 1, 2)]).shape
        (1, 12)
    """
    from PIL import Image

    height, width = shape[:2]
    images = np.empty((len(features), *shape), np.float32)
    for place, pixels, draw in zip(images, features, draws, strict=True):
        picture = Image.fromarray(pixels.reshape(shape).astype(np.uint8))
        matrix = _matrix(np.random.default_rng(draw), height, width)
        place[:] = picture.transform(
            (width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
        )
    return images.reshape(features.shape)


def _matrix(rng: np.random.Generator, height: int, width: int) -> tuple[float, ...]:
    """Where each pixel of the result comes from: the six numbers of Pillow's affine transform, about the centre."""
    angle = math.radians(rng.uniform(-TURN, TURN))
    zoom = rng.uniform(1 - ZOOM, 1 + ZOOM)
    right, down = rng.uniform(-SHIFT, SHIFT, 2) * (width, height)
    mirror = -1 if rng.random() < 0.5 else 1
    a, b = mirror * math.cos(angle) / zoom, -math.sin(angle) / zoom
    d, e = mirror * math.sin(angle) / zoom, math.cos(angle) / zoom
    x, y = width / 2, height / 2
    return (a, b, x - a * (x + right) - b * (y + down), d, e, y - d * (x + right) - e * (y + down))
