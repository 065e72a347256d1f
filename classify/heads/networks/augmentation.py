"""Augmentation: random mirroring, turns, zooms and shifts of training images."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MAX_TURN = 15.0
"""Largest turn to either side, degrees."""

MAX_ZOOM = 0.1
"""Largest change of size, as a share of the size."""

MAX_SHIFT = 0.1
"""Largest shift in each direction, as a share of the side."""


def augmented(
    features: NDArray[np.float32], shape: tuple[int, ...], draws: Sequence[tuple[int, int, int]]
) -> NDArray[np.float32]:
    """Return each image mirrored or not, turned, zoomed and shifted at random.

    Areas that come in from outside the image are black.

    Args:
        features: RGB images, 0 ... 255, of shape (n, height * width * 3).
        shape: (height, width, 3).
        draws: for each image three numbers that seed its random changes; nothing else does.

    Returns:
        Images of the same shape, as whole numbers.

    Examples:
        >>> grey = np.full((1, 12), 7, np.float32)
        >>> augmented(grey, (2, 2, 3), [(0, 1, 2)]).shape
        (1, 12)
    """
    from PIL import Image

    height, width = shape[:2]
    images = np.empty((len(features), *shape), np.float32)
    for target, pixels, draw in zip(images, features, draws, strict=True):
        # (height * width * 3,) -> (height, width, 3)
        image = Image.fromarray(pixels.reshape(shape).astype(np.uint8))
        matrix = _random_transform(np.random.default_rng(draw), height, width)
        target[:] = image.transform(
            (width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
        )
    return images.reshape(features.shape)


def _random_transform(rng: np.random.Generator, height: int, width: int) -> tuple[float, ...]:
    """Draw the six numbers of Pillow's affine transform, about the centre of the image.

    The transform gives, for each pixel of the result, its place in the image.
    """
    angle = math.radians(rng.uniform(-MAX_TURN, MAX_TURN))
    zoom = rng.uniform(1 - MAX_ZOOM, 1 + MAX_ZOOM)
    right, down = rng.uniform(-MAX_SHIFT, MAX_SHIFT, 2) * (width, height)
    # The order of the draws decides every image: it must not change.
    mirror = -1 if rng.random() < 0.5 else 1
    a = mirror * math.cos(angle) / zoom
    b = -math.sin(angle) / zoom
    d = mirror * math.sin(angle) / zoom
    e = math.cos(angle) / zoom
    x = width / 2
    y = height / 2
    return (a, b, x - a * (x + right) - b * (y + down), d, e, y - d * (x + right) - e * (y + down))
