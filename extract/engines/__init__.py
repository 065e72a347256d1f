"""Engines run a backbone on images; `Engine` states the promises of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

# The doctor looks at packages of this folder where NumPy is broken.
if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Engine(Protocol):
    """A backbone that is ready to compute.

    Every engine promises:

    - Input is 1 to `batch_size` images, uint8 RGB of shape (height, width, 3), already resized to
      `input_size`. Preprocessing is part of the engine.
    - Output is, for each layer, float32 of shape (n_images, height, width, channels).
    - The features of an image depend on that image alone, to the last bit: not on the other images
      of the batch, their number, or the order.
    - Any thread may call `forward`, but only one at a time. An engine starts no threads of its own;
      its library may keep some.

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
