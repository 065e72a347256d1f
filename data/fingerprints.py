"""Fingerprints of images: a digest of the pixels, and a small grey picture."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

THUMBNAIL = 64
"""Side of a thumbnail in pixels.

This is enough to distinguish a slice of a head from the next one. It takes 4 kB an image."""


@dataclass(frozen=True, slots=True, eq=False)
class Fingerprint:
    """The digest and the thumbnail of one image.

    Attributes:
        pixels: SHA-256 of "height x width" and the RGB bytes of the decoded image, hexadecimal.
            An image that two formats store without loss has the same value in both.
        thumbnail: the whole image in grey levels, uint8 of shape (THUMBNAIL, THUMBNAIL); its
            proportions are not kept.
    """

    pixels: str
    thumbnail: NDArray[np.uint8]


def fingerprint(image: NDArray[np.uint8]) -> Fingerprint:
    """Compute the fingerprint of a decoded image.

    Args:
        image: uint8 RGB array of shape (height, width, 3).

    Examples:
        >>> result = fingerprint(np.zeros((30, 20, 3), np.uint8))
        >>> result.thumbnail.shape, result.pixels[:8]
        ((64, 64), '4916f165')
    """
    from PIL import Image

    height, width = image.shape[:2]
    # The size is part of the digest: images of other shapes can have the same bytes.
    digest = hashlib.sha256(f"{height} x {width}".encode())
    digest.update(np.ascontiguousarray(image).data)
    # "L" is Pillow's luma (ITU-R 601-2); "box" is the mean over the covered pixels.
    grey = Image.fromarray(image).convert("L").resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    return Fingerprint(digest.hexdigest(), np.asarray(grey))
