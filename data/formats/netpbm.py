"""PBM, PGM and PPM files decoded to RGB arrays: bits, grey levels and colours, binary or as text.

Pillow decodes most of these files byte by byte in Python, which takes half a minute for a
mammogram of 12 bits.

References:
    https://netpbm.sourceforge.net/doc/pgm.html, ppm.html and pbm.html
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import ImageError
from .limits import check_size
from .samples import colours_to_rgb, grey_to_rgb

NETPBM_MAGIC = rb"P[1-6](#|\s+(#|\d+\s+(#|\d)))"

_NUMBER = re.compile(rb"(?:\s|#[^\r\n]*[\r\n])*(\d{1,9})(?=[\s#])")
_COMMENT = re.compile(rb"#[^\r\n]*")
_SPACE = re.compile(rb"\s*")
_MAX_IMAGES = 1_000_000


@dataclass(frozen=True)
class _Header:
    """The header of one image.

    Attributes:
        is_text: True if the samples are decimal numbers.
        height: in pixels.
        width: in pixels.
        channels: 1 for grey, 3 for colours.
        largest: value of white; 0 for bits, of which 1 is black.
        start: place of the first sample in the file.
    """

    is_text: bool
    height: int
    width: int
    channels: int
    largest: int
    start: int

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """Type of a binary sample."""
        return np.dtype(">u2" if self.largest > 255 else "u1")

    @property
    def end(self) -> int:
        """Place behind the last binary sample."""
        row = (self.width + 7) // 8 if self.largest == 0 else self.width * self.channels
        return self.start + self.height * row * self.dtype.itemsize


class NetpbmReader:
    """Reader of PBM, PGM and PPM files."""

    def decode(self, data: bytes, *, max_pixels: int) -> NDArray[np.uint8]:
        """Decode the first image of a file.

        Args:
            data: content of the file.
            max_pixels: limit of height x width, checked before pixels are decoded.

        Returns:
            uint8 RGB array of shape (height, width, 3), C-contiguous and writeable.

        Raises:
            ImageError: the header is damaged, or the image is truncated or too large.
        """
        header = _read_header(data, 0)
        check_size(header.height, header.width, max_pixels)
        samples = _text_samples(data, header) if header.is_text else _samples(data, header)
        if header.channels == 3 and header.largest > 255:
            return colours_to_rgb([samples[..., channel] for channel in range(3)])
        if header.largest > 255:
            return grey_to_rgb(samples[..., 0])
        # White is the largest value; larger ones, which are wrong, are white, too.
        levels = np.minimum(np.arange(256) / (header.largest or 255), 1) * 255
        rgb = np.rint(levels).astype(np.uint8)[samples]
        return np.broadcast_to(rgb, (*rgb.shape[:2], 3)).copy()

    def mode(self, data: bytes) -> str:
        """Return Pillow's mode of such pixels; "RGB;16" for colours of 16 bits."""
        header = _read_header(data, 0)
        if header.largest == 0:
            return "1"
        if header.channels == 3:
            return "RGB;16" if header.largest > 255 else "RGB"
        return "I;16" if header.largest > 255 else "L"

    def frames(self, data: bytes) -> int:
        """Count the images of a file; binary ones may follow each other."""
        header = _read_header(data, 0)
        n = 1
        while not header.is_text and n < _MAX_IMAGES:
            # Some writers end an image with a new line.
            space = _SPACE.match(data, header.end)
            if space is None or not re.match(rb"P[1-6]\s", data[space.end() : space.end() + 3]):
                break
            header = _read_header(data, space.end())
            n += 1
        return n


def _read_header(data: bytes, start: int) -> _Header:
    """Read the header at a place of the file."""
    kind = data[start + 1] - ord("0")
    is_bitmap = kind in (1, 4)
    place = start + 2
    numbers = []
    for _ in range(2 if is_bitmap else 3):
        number = _NUMBER.match(data, place)
        if number is None:
            raise ImageError("PBM, PGM or PPM with a damaged header")
        numbers.append(int(number[1]))
        place = number.end()
    width, height, largest = (*numbers, 0) if is_bitmap else numbers
    if width == 0 or height == 0 or not (is_bitmap or 0 < largest < 2**16):
        raise ImageError(
            f"PBM, PGM or PPM of {width} x {height} pixels and a largest value of {largest}"
        )
    channels = 3 if kind in (3, 6) else 1
    # One space ends the header.
    return _Header(kind <= 3, height, width, channels, largest, place + 1)


def _samples(data: bytes, header: _Header) -> NDArray[np.unsignedinteger]:
    """Return the binary samples, of shape (height, width, channels)."""
    if header.end > len(data):
        raise ImageError("PBM, PGM or PPM that is truncated")
    stored = np.frombuffer(data[header.start : header.end], header.dtype)
    if header.largest:
        return stored.reshape(header.height, header.width, header.channels)
    bits = np.unpackbits(stored.reshape(header.height, -1), axis=1)[:, : header.width]
    return _black_is_one(bits, header)


def _text_samples(data: bytes, header: _Header) -> NDArray[np.unsignedinteger]:
    """Return samples that are written as text, of shape (height, width, channels)."""
    text = _COMMENT.sub(b" ", data[header.start :])
    n = header.height * header.width * header.channels
    if header.largest == 0:
        # Bits need no space between them.
        bits = np.frombuffer(b"".join(text.split())[:n], np.uint8) - np.uint8(ord("0"))
        if len(bits) < n or bits.max() > 1:
            raise ImageError("PBM, PGM or PPM that is truncated or damaged")
        return _black_is_one(bits, header)
    # Each number takes a digit and a space, so a short text cannot claim much memory.
    if len(text) < 2 * n - 1:
        raise ImageError("PBM, PGM or PPM that is truncated")
    numbers = np.empty(0, np.int64)
    # Older versions of NumPy return the numbers before the first wrong one.
    with suppress(ValueError):
        numbers = np.fromstring(text, np.int64, count=n, sep=" ")
    if len(numbers) < n or numbers.min() < 0 or numbers.max() > header.largest:
        raise ImageError("PBM, PGM or PPM that is truncated or damaged")
    return numbers.astype(np.uint16).reshape(header.height, header.width, header.channels)


def _black_is_one(bits: NDArray[np.uint8], header: _Header) -> NDArray[np.uint8]:
    """Return grey levels of shape (height, width, 1)."""
    levels = (1 - bits) * np.uint8(255)
    return levels.reshape(header.height, header.width, 1)
