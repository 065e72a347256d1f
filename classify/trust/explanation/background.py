"""The background of explanations: the mean of the training images, and the scale of all maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....features.rows.pooling import pool
from ...heads.arrays import Arrays, checked_array
from ...heads.base import Head
from ...heads.networks.network import Network
from .contributions import EXACT, GRADIENT, OCCLUSION, explain_map, find_method

PERCENTILE = 99
"""Percentile of the absolute contributions of training images that the scale is."""

SCALE_IMAGES = {EXACT: 256, GRADIENT: 64, OCCLUSION: 32}
"""Most training images that the scale is computed from, by method."""

LEAST_SCALE = 1e-30
MOST_SCALE = 1e30
"""Limits of the scale of a sound file: a forged one must not overflow a drawing."""

NETWORK_IMAGES = 8
"""Most of these images for a network on pixels, which computes one again for each patch."""


@dataclass(frozen=True, eq=False)
class Background:
    """The mean of the training images and the scale of maps, as a model file keeps them.

    Attributes:
        mean: mean map of the training images, float32 of shape (height, width, channels).
        scale: 99th percentile of the absolute contributions of the cells of some training images
            to the logit of their predicted class; greater than 0.
        n_images: number of these images.
    """

    mean: NDArray[np.float32]
    scale: float
    n_images: int

    @property
    def about(self) -> dict[str, Any]:
        """The numbers that a model file keeps as text."""
        return {"scale": self.scale, "n_images": self.n_images}

    @property
    def arrays(self) -> Arrays:
        """The arrays that a model file keeps."""
        return {"mean": self.mean}


def restore_background(about: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Background:
    """Build a background from a model file's content.

    Args:
        about: the text of the file, see `Background.about`.
        arrays: the arrays of the file.

    Raises:
        KeyError: a number or an array is missing.
        ValueError: they cannot be from a background.
    """
    mean = checked_array(arrays, "mean", 3, np.float32)
    scale, n_images = about["scale"], about["n_images"]
    # `type` and not `isinstance`: True is an int, and JSON may hold it.
    if type(scale) is not float or not LEAST_SCALE < scale < MOST_SCALE:
        raise ValueError(f"its scale of explanations is {scale}")
    if type(n_images) is not int or n_images < 1:
        raise ValueError(f"its scale of explanations is of {n_images} images")
    return Background(mean, scale, n_images)


def scale_images(head: Head, layer: str, pooling: str) -> int:
    """Return the most training images that a head's scale is computed from."""
    method = find_method(head, layer, pooling)
    if method == OCCLUSION and isinstance(head, Network):
        return NETWORK_IMAGES
    return SCALE_IMAGES[method]


def make_background(
    head: Head, layer: str, pooling: str, maps: NDArray[np.float32], mean: NDArray[np.float32]
) -> Background | None:
    """Compute the scale of a head's maps.

    Args:
        head: a fitted head.
        layer: the layer of its features.
        pooling: pooling of its features.
        maps: feature maps of some training images, of shape (n, height, width, channels).
        mean: mean map of all training images.

    Returns:
        The background; None if contributions are not finite.
    """
    numbers = head.predict(pool(maps, pooling))
    cells = [
        explain_map(head, layer, pooling, features, mean, int(number)).cells
        for features, number in zip(maps, numbers, strict=True)
    ]
    absolute = np.abs(cells)
    # Trees ignore most cells, and the head `majority` all of them: a scale of 0 draws nothing.
    scale = float(np.percentile(absolute, PERCENTILE)) or float(absolute.max()) or 1.0
    # The comparison is False for NaN.
    return Background(mean, scale, len(maps)) if LEAST_SCALE < scale < MOST_SCALE else None
