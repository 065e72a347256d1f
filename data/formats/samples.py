"""Samples that Pillow's modes cannot hold: raw bytes of pixels, and their conversion to RGB."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .limits import scale_to_bytes

if TYPE_CHECKING:
    from PIL import Image

BLOCK_PIXELS = 2**20
"""Pixels that are converted at once: each step of Pillow takes 4 bytes a pixel."""

RAW_MODES = {
    1: ("L", ("L",)),
    2: ("LA", ("LA",)),
    3: ("RGB", ("RGB",)),
    4: ("RGBA", ("RGBA",)),
    6: ("RGB", ("RGB;16B", "RGB;16L")),
    8: ("RGBA", ("RGBA;16B", "RGBA;16L")),
}
"""Pillow's mode, and its raw modes, that together return all bytes of pixels of so many bytes.

Of each pair of bytes, a mode of "16B" returns the first one, and a mode of "16L" the second one."""


def pixel_bytes(open_as: Callable[[str, str], Image.Image], n_bytes: int) -> NDArray[np.uint8]:
    """Read the bytes of all pixels as they are stored.

    Args:
        open_as: function of a mode and a raw mode that opens the image and sets both.
        n_bytes: bytes of one pixel, one of `RAW_MODES`.

    Returns:
        uint8 array of shape (height, width, `n_bytes`).
    """
    mode, raw_modes = RAW_MODES[n_bytes]
    pixels = np.empty((0, 0, n_bytes), np.uint8)
    for place, raw_mode in enumerate(raw_modes):
        pixels = _add_bytes(pixels, open_as(mode, raw_mode), place, len(raw_modes))
    return pixels


def _add_bytes(
    pixels: NDArray[np.uint8], image: Image.Image, place: int, step: int
) -> NDArray[np.uint8]:
    """Write the bytes of an image into every `step`-th byte of each pixel, from `place` on.

    The image is freed at the end, before the next one is read.
    """
    with image:
        image.load()
        if not pixels.size:
            pixels = np.empty((image.height, image.width, pixels.shape[2]), np.uint8)
        for rows in row_blocks(image.height, image.width):
            part = np.asarray(image.crop((0, rows.start, image.width, rows.stop)))
            pixels[rows, :, place::step] = part.reshape(*part.shape[:2], -1)
    return pixels


def row_blocks(height: int, width: int) -> list[slice]:
    """Return slices of rows that cover an image, each of some `BLOCK_PIXELS` pixels."""
    step = max(1, BLOCK_PIXELS // width)
    return [slice(top, min(top + step, height)) for top in range(0, height, step)]


def grey_to_rgb(
    grey: NDArray[Any], alpha: NDArray[Any] | None = None, *, white_is_zero: bool = False
) -> NDArray[np.uint8]:
    """Scale grey levels to bytes, on a black background.

    Args:
        grey: real array of shape (height, width).
        alpha: unsigned array of the same shape; transparent pixels do not count for the scale.
        white_is_zero: True to invert the levels.

    Returns:
        Array of shape (height, width, 3).
    """
    alpha_depth = 8 if alpha is None else _depth(grey, alpha)
    if alpha is not None and (visible := alpha > 0).any():
        # Any level that is visible keeps transparent pixels out of the range.
        grey = np.where(visible, grey, grey.flat[visible.argmax()])
    if white_is_zero:
        grey = -grey.astype(np.float64)
    levels = scale_to_bytes(grey)
    if alpha is None:
        return np.repeat(levels[..., np.newaxis], 3, axis=2)
    return _to_bytes([levels] * 3, 0, alpha, alpha_depth - 8, "RGBA")


def colours_to_rgb(
    colours: Sequence[NDArray[Any]],
    alpha: NDArray[Any] | None = None,
    *,
    premultiplied: bool = False,
) -> NDArray[np.uint8]:
    """Reduce colours of up to 16 bits to 8 bits, on a black background.

    Files of 16 bits often hold colours of 10, 12 or 14 bits. So the bits that the largest value of
    all colours takes are reduced to 8; values that fit in 8 bits are not changed.

    Args:
        colours: red, green and blue, unsigned, each of shape (height, width).
        alpha: opacity of the same shape.
        premultiplied: True if the colours are multiplied by `alpha`.

    Returns:
        Array of shape (height, width, 3).
    """
    depth = _depth(*colours)
    alpha_depth = depth if alpha is None else _depth(*colours, alpha)
    mode = "RGBa" if premultiplied else "RGBA"
    return _to_bytes(colours, depth - 8, alpha, alpha_depth - 8, mode)


def _depth(*channels: NDArray[Any]) -> int:
    """Return the number of bits that the largest value of unsigned channels takes, at least 8.

    The alpha of a 12-bit picture can have 12 bits, or all 16. So its depth is that of the colours
    and the alpha together.
    """
    return max(8, *(int(channel.max()).bit_length() for channel in channels))


def cmyk_to_rgb(inks: Sequence[NDArray[Any]]) -> NDArray[np.uint8]:
    """Convert the four inks, each unsigned of shape (height, width), by Pillow's formula."""
    shift = 8 * inks[0].itemsize - 8
    return _to_bytes(inks[:3], shift, inks[3], shift, "CMYK")


def _to_bytes(
    channels: Sequence[NDArray[Any]],
    shift: int,
    fourth: NDArray[Any] | None,
    fourth_shift: int,
    mode: str,
) -> NDArray[np.uint8]:
    """Drop the low bits of channels, and combine them with a fourth one to RGB.

    Args:
        channels: three arrays of shape (height, width).
        shift: number of low bits to drop.
        fourth: alpha or black ink; None for none.
        fourth_shift: number of its low bits to drop.
        mode: how Pillow combines the fourth channel: "RGBA", "RGBa" (multiplied) or "CMYK".
    """
    height, width = channels[0].shape
    rgb = np.empty((height, width, 3), np.uint8)
    # In blocks: copies of all samples of a large image would take much memory.
    for rows in row_blocks(height, width):
        parts = [channel[rows] >> shift for channel in channels]
        if fourth is not None:
            parts.append(fourth[rows] >> fourth_shift)
        pixels = np.stack(parts, axis=2).astype(np.uint8)
        rgb[rows] = pixels if fourth is None else _combined(pixels, mode)
    return rgb


def _combined(pixels: NDArray[np.uint8], mode: str) -> NDArray[np.uint8]:
    """Convert pixels of four channels to RGB as Pillow does."""
    from PIL import Image

    height, width = pixels.shape[:2]
    size = (width, height)
    if mode == "CMYK":
        return np.asarray(Image.frombytes(mode, size, pixels.tobytes()).convert("RGB"))
    image = Image.frombytes("RGBA", size, pixels.tobytes(), "raw", mode)
    # RGBa is RGB multiplied by alpha, which equals a black background.
    return np.asarray(image.convert("RGBa"))[..., :3]
