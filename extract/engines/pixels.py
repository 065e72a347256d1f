"""The engine of backbones that compute nothing: the features of an image are its pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..backbones.table import Backbone


class PixelEngine:
    """Gives the resized images themselves.

    Args:
        backbone: one of `pixels-N`.
        layers: its only one, "pixels".
    """

    name = "none"
    batch_size = 32
    """Images that are written together."""

    def __init__(self, backbone: Backbone, layers: Sequence[str]) -> None:
        self.layers = backbone.check_layers(layers)

    def forward(self, images: Sequence[NDArray[np.uint8]]) -> dict[str, NDArray[np.float32]]:
        """The images, 0..255, as float32 of shape (n_images, height, width, 3).

        Args:
            images: uint8 RGB arrays of the backbone's input size, (height, width, 3) each.
        """
        return {name: np.stack(images).astype(np.float32) for name in self.layers}
