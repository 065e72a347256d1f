"""The engine of `pixels-N`: the features of an image are its pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..backbones.table import Backbone


class PixelEngine:
    """An engine that computes nothing: it returns the resized images.

    Args:
        backbone: one of `pixels-N`.
        layers: its only layer, "pixels".
    """

    name = "none"
    batch_size = 32
    """Images that are written together."""

    def __init__(self, backbone: Backbone, layers: Sequence[str]) -> None:
        self.layers = tuple(layers)
        self.input_size = backbone.input_size

    def forward(self, images: Sequence[NDArray[np.uint8]]) -> dict[str, NDArray[np.float32]]:
        """Return the images, 0 to 255, as float32 of shape (n_images, height, width, 3).

        Args:
            images: uint8 RGB arrays of the backbone's input size, (height, width, 3) each.
        """
        # Stores keep floats; float16 represents 0 to 255 exactly.
        return {name: np.stack(images).astype(np.float32) for name in self.layers}
