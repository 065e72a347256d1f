"""What an image is recognised by: a digest of its pixels, and a small grey picture of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

THUMBNAIL = 64
"""Side of a thumbnail in pixels: enough to tell a slice of a head from the next one, 4 kB an image."""


@dataclass(frozen=True, slots=True, eq=False)
class Fingerprint:
    """What an image is recognised by.

    Attributes:
        pixels: SHA-256 of the decoded image, hexadecimal: of "height x width" and its RGB bytes.
            Images saved without loss in two formats share it.
        thumbnail: the whole image in grey levels, uint8 of shape (THUMBNAIL, THUMBNAIL), whatever
            its sides were.
    """

    pixels: str
    thumbnail: NDArray[np.uint8]


def fingerprint(image: NDArray[np.uint8]) -> Fingerprint:
    """The fingerprint of a decoded image.

    Args:
        image: uint8 RGB array of shape (height, width, 3), C-contiguous.

    Examples:
        >>> found = fingerprint(np.zeros((30, 20, 3), np.uint8))
        >>> found.thumbnail.shape, found.pixels[:8]
        ((64, 64), '4916f165')
    """
    from PIL import Image

    height, width = image.shape[:2]
    digest = hashlib.sha256(f"{height} x {width}".encode())
    digest.update(np.ascontiguousarray(image).data)
    # "L" is Pillow's luma (ITU-R 601-2); "box" is the mean over the pixels that are covered.
    grey = Image.fromarray(image).convert("L").resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    return Fingerprint(digest.hexdigest(), np.asarray(grey))
