"""Known edits of pictures: as if a file had been saved, cut or shown in another way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Edit:
    """A change of a picture that leaves its class as it is.

    Attributes:
        name: the kind of change.
        strength: how strong it is, in words; "" where a kind has one strength only.
        apply: from uint8 RGB of shape (height, width, 3) to such pixels, or to the bytes of a file.
    """

    name: str
    strength: str
    apply: Callable[[Pixels], Pixels | bytes]

    @property
    def title(self) -> str:
        """Name and strength: "JPEG, quality 50"."""
        return f"{self.name}, {self.strength}" if self.strength else self.name


def as_jpeg(pixels: Pixels, quality: int) -> bytes:
    """Return the bytes of a JPEG file of a quality from 1 to 95.

    Examples:
        >>> as_jpeg(np.zeros((8, 8, 3), np.uint8), 50)[:2].hex()
        'ffd8'
    """
    from PIL import Image

    Image.fromarray(pixels).save(file := BytesIO(), "JPEG", quality=quality)
    return file.getvalue()


def brighter(pixels: Pixels, factor: float) -> Pixels:
    """Multiply all values; those above 255 become 255.

    Examples:
        >>> brighter(np.array([[[10, 100, 250]]], np.uint8), 1.2).tolist()
        [[[12, 120, 255]]]
    """
    table = np.clip(np.rint(np.arange(256) * factor), 0, 255).astype(np.uint8)
    # `table[pixels]` would copy the image as integers of 8 bytes.
    values = bytearray(pixels).translate(table.tobytes())
    return np.frombuffer(values, np.uint8).reshape(pixels.shape)


def cropped(pixels: Pixels, share: float) -> Pixels:
    """Cut off a share of height and width at each of the four borders.

    Examples:
        >>> cropped(np.zeros((40, 20, 3), np.uint8), 0.1).shape
        (32, 16, 3)
    """
    rows, columns = (round(share * n) for n in pixels.shape[:2])
    height, width = pixels.shape[:2]
    return np.ascontiguousarray(pixels[rows : height - rows, columns : width - columns])


def mirrored(pixels: Pixels) -> Pixels:
    """Exchange left and right.

    Examples:
        >>> mirrored(np.array([[[1, 1, 1], [2, 2, 2]]], np.uint8)).tolist()
        [[[2, 2, 2], [1, 1, 1]]]
    """
    return np.ascontiguousarray(pixels[:, ::-1])


def halved_and_back(pixels: Pixels) -> Pixels:
    """Resize to half of height and width, and to the size from before.

    Examples:
        >>> halved_and_back(np.zeros((5, 4, 3), np.uint8)).shape
        (5, 4, 3)
    """
    from PIL import Image

    height, width = pixels.shape[:2]
    half = (max(1, width // 2), max(1, height // 2))
    small = Image.fromarray(pixels).resize(half, Image.Resampling.BILINEAR)
    return np.array(small.resize((width, height), Image.Resampling.BILINEAR))


EDITS = (
    *(Edit("JPEG", f"quality {n}", partial(as_jpeg, quality=n)) for n in (75, 50, 25)),
    *(
        Edit("brightness", f"{change:+d} %", partial(brighter, factor=1 + change / 100))
        for change in (-20, -10, 10, 20)
    ),
    *(
        Edit("crop", f"{share} % of each border", partial(cropped, share=share / 100))
        for share in (5, 10)
    ),
    Edit("mirror", "left and right", mirrored),
    Edit("resize", "half and back", halved_and_back),
)
"""All edits, in the order of tables."""
