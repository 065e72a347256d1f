"""Engines run a backbone on images.

Every engine promises:

- Input is a list of 1 to `batch_size` images, uint8 RGB of shape (height, width, 3), already
  resized to `input_size`. Preprocessing is part of the engine.
- Output is, for each layer, float32 of shape (n_images, height, width, channels).
- The features of an image depend on that image alone, to the last bit: not on the other images of
  the batch, their number, or the order.
- `forward` may be called from any thread, but from one thread at a time. An engine starts no
  threads that outlive a call, except those that its library keeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Engine(Protocol):
    """A backbone that is ready to compute; see the promises of `freezeframe.extract.engines`.

    Attributes:
        layers: the layers that `forward` returns, from the network's first to its last.
        batch_size: most images in one call of `forward`.
        input_size: height and width of the images, in pixels.
    """

    layers: tuple[str, ...]
    batch_size: int
    input_size: tuple[int, int]

    def forward(self, images: Sequence[NDArray[np.uint8]]) -> dict[str, NDArray[np.float32]]:
        """Compute the features of up to `batch_size` images, by layer."""
        ...
