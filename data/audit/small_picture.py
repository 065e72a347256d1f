"""Small pictures of images, to be looked at beside each other."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image


def small_picture(pixels: NDArray[np.uint8], side: int, symmetry: int = 0) -> Image.Image:
    """Return an image made smaller, under a symmetry; a smaller one keeps its size.

    Args:
        pixels: grey or RGB, of shape (height, width) or (height, width, 3).
        side: most pixels of the longer side.
        symmetry: place in `SYMMETRY_NAMES`.

    Examples:
        >>> small_picture(np.zeros((100, 400), np.uint8), 40, symmetry=2).size
        (10, 40)
    """
    from PIL import Image

    small = Image.fromarray(pixels).convert("RGB")
    small.thumbnail((side, side))
    quarters, mirrored = divmod(symmetry, 2)
    # Pillow turns counter-clockwise, too, as the symmetries do.
    small = small.rotate(90 * quarters, expand=True)
    return small.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else small


def jpeg(picture: Image.Image) -> bytes:
    """Return a picture as a JPEG file."""
    file = BytesIO()
    picture.save(file, "JPEG", quality=85)
    return file.getvalue()
