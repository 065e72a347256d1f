"""PNG files decoded to RGB arrays with Pillow, and with all 16 bits of deep colours.

References:
    PNG, third edition, W3C 2025, https://www.w3.org/TR/png-3/
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ImageError
from .pillow import PillowReader
from .samples import colours_to_rgb, grey_to_rgb, pixel_bytes

if TYPE_CHECKING:
    from PIL import Image

_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT", b"IEND")
_GREY_ALPHA = 4
_BYTES = {2: 6, 4: 4, 6: 8}
"""Bytes of a pixel of 16-bit samples, by the colour types of several samples."""


def strip_png(data: bytes) -> bytes:
    """Keep only the chunks of a PNG that make the picture, and verify their checksums.

    Texts, profiles and frames can be huge or broken. Pillow does not verify the checksums of
    pixels.

    Raises:
        ImageError: the file is truncated, or a checksum is wrong.
    """
    # A PNG is a signature of 8 bytes and chunks: length (4), name (4), body, CRC-32 (4).
    start = 8
    name = b""
    chunks = [data[:8]]
    while name != b"IEND":
        name = data[start + 4 : start + 8]
        end = start + 12 + int.from_bytes(data[start : start + 4], "big")
        if end > len(data):
            raise ImageError("PNG that is truncated")
        if name in _CHUNKS:
            if zlib.crc32(data[start + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
                raise ImageError(
                    f"PNG that is damaged: wrong checksum of its {name.decode()} chunk"
                )
            chunks.append(data[start:end])
        start = end
    return b"".join(chunks)


@dataclass(frozen=True)
class PngReader(PillowReader):
    """Reader of PNG files."""

    plugin: str = "Png"
    clean: Callable[[bytes], bytes] | None = strip_png

    def to_rgb(self, image: Image.Image, data: bytes) -> NDArray[np.uint8]:
        """Load Pillow's image and convert it to RGB; see `PillowReader.to_rgb`."""
        # Behind the signature and the name of IHDR: width, height, depth and colour type.
        depth, colour = data[24:26]
        transparent = image.info.get("transparency")
        if depth == 16 and colour in _BYTES:
            return self._deep_to_rgb(data, colour, transparent)
        if isinstance(transparent, int) and depth in (2, 4):
            # Pillow stretches these levels to 8 bits, but not the transparent one.
            largest = 2**depth - 1
            image.info["transparency"] = (transparent & largest) * 255 // largest
        return super().to_rgb(image, data)

    def frames(self, data: bytes) -> int:
        """Count the frames of an animated PNG; 1 for any other."""
        place = data.find(b"acTL", 8, max(data.find(b"IDAT"), 0))
        if place < 0:
            return 1
        frames = int.from_bytes(data[place + 4 : place + 8], "big")
        return max(1, min(frames, data.count(b"fcTL")))

    def _deep_to_rgb(self, data: bytes, colour: int, transparent: Any) -> NDArray[np.uint8]:
        """Convert colours, or grey with alpha, of 16 bits, of which Pillow keeps 8."""
        pixels = pixel_bytes(partial(self._open_as, data), _BYTES[colour])
        samples = pixels.view(">u2")
        if colour == _GREY_ALPHA:
            return grey_to_rgb(samples[..., 0], samples[..., 1])
        alpha = samples[..., 3] if samples.shape[2] == 4 else None
        if isinstance(transparent, tuple):
            opaque = (samples != np.array(transparent, np.uint16)).any(axis=2)
            alpha = np.where(opaque, np.uint16(65535), np.uint16(0))
        return colours_to_rgb([samples[..., channel] for channel in range(3)], alpha)

    def _open_as(self, data: bytes, mode: str, raw_mode: str) -> Image.Image:
        image = self._open(data)
        image._mode = mode
        image.tile = [tile._replace(args=raw_mode) for tile in image.tile]
        # The transparent colour is of 16 bits, not of these bytes.
        image.info.pop("transparency", None)
        opened: Image.Image = image
        return opened
