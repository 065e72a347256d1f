"""Images that a predictor takes: paths, contents of files, or arrays of pixels."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...data.fingerprints import fingerprint
from ...data.formats.images import (
    MAX_PIXELS,
    count_frames,
    decode_image,
    read_image_bytes,
    resize_image,
)
from ...errors import ImageError, MissingExtraError
from ...extract.pipeline import unread_reason

ImageInput = str | os.PathLike[str] | bytes | NDArray[np.uint8]
"""A path, the content of an image file, or pixels: RGB (height, width, 3), grey (height, width)."""

DRAWN_SIDE = 512
"""Most pixels in height and width of a picture that a map is drawn over."""


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """An image after decoding.

    Attributes:
        path: path of the image file, as passed; "" for bytes and arrays.
        pixels: uint8 RGB of the backbone's input size, of shape (height, width, 3); None if the
            image cannot be read.
        fingerprint: SHA-256 of the image's size and pixels before it was resized.
        thumbnail: thumbnail of the image, see `Fingerprint`; None if it cannot be read.
        sha256: SHA-256 of the image's file; "" for arrays, and if it cannot be read.
        error: why the image cannot be read; "" if it can.
        frames: number of frames in the file, of which the first is decoded.
        size: height and width of the image before it was resized.
        picture: uint8 RGB of the image in its own proportions, at most `DRAWN_SIDE` pixels high
            and wide; None if it was not requested.
    """

    path: str
    pixels: NDArray[np.uint8] | None = None
    fingerprint: str = ""
    thumbnail: NDArray[np.uint8] | None = None
    sha256: str = ""
    error: str = ""
    frames: int = 1
    size: tuple[int, int] = (0, 0)
    picture: NDArray[np.uint8] | None = None

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of `pixels`: images that share it have the same features."""
        return hashlib.sha256(b"" if self.pixels is None else self.pixels.tobytes()).digest()


def decode_input(
    image: ImageInput,
    input_size: tuple[int, int],
    resize: str,
    *,
    max_pixels: int = MAX_PIXELS,
    with_picture: bool = False,
) -> DecodedImage:
    """Decode one image and resize it to a backbone's input.

    Args:
        image: path, content of a file, or array.
        input_size: height and width of the backbone's input in pixels.
        resize: name of the resizing, see `resize_image`.
        max_pixels: limit of a file's height x width.
        with_picture: True to keep the image in its own proportions, too.

    Returns:
        An image that cannot be read has an error.
    """
    path = os.fspath(image) if isinstance(image, str | os.PathLike) else ""
    try:
        content = _content(image)
        rgb, frames = _rgb_pixels(content, max_pixels)
        pixels = resize_image(rgb, *input_size, resize)
        sha256 = hashlib.sha256(content).hexdigest() if isinstance(content, bytes) else ""
        image_print = fingerprint(rgb)
        height, width = rgb.shape[:2]
        return DecodedImage(
            path,
            pixels,
            image_print.pixels,
            image_print.thumbnail,
            sha256,
            frames=frames,
            size=(height, width),
            picture=_picture(rgb) if with_picture else None,
        )
    # The same kinds of errors as `read_image` expects.
    except (ImageError, MissingExtraError, ValueError) as error:
        return DecodedImage(path, error=" ".join(str(error).split()))
    except (OSError, MemoryError) as error:
        return DecodedImage(path, error=unread_reason(error))


def _picture(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image made smaller if it is large, so that thousands can be drawn in turn."""
    height, width = rgb.shape[:2]
    ratio = DRAWN_SIDE / max(height, width, DRAWN_SIDE)
    return resize_image(
        rgb, max(1, round(height * ratio)), max(1, round(width * ratio)), "bilinear"
    )


def _content(image: ImageInput) -> bytes | NDArray[np.uint8]:
    """Read the file of a path; return anything else as it is.

    Raises:
        ImageError: the file is missing.
        OSError: the file cannot be read.
    """
    if not isinstance(image, str | os.PathLike):
        return image
    # A pipe or a device could block for ever.
    if not Path(image).is_file():
        raise ImageError("no such file")
    return read_image_bytes(image)


def _rgb_pixels(image: bytes | NDArray[np.uint8], max_pixels: int) -> tuple[NDArray[np.uint8], int]:
    """Decode or convert one image into uint8 RGB of (height, width, 3), and count its frames.

    Raises:
        ImageError: the image is damaged, or of another kind or shape.
    """
    if isinstance(image, bytes):
        return decode_image(image, max_pixels=max_pixels), count_frames(image)
    if not isinstance(image, np.ndarray):
        raise ImageError(f"an image must be a path, bytes or an array, got {type(image).__name__}")
    shape = image.shape
    if image.dtype != np.uint8 or image.size == 0:
        raise ImageError(f"pixels must be uint8, got {image.dtype} of shape {shape}")
    if image.ndim == 2:
        # A grey file is decoded into three equal channels, too.
        return np.repeat(image[..., np.newaxis], 3, axis=2), 1
    if image.ndim != 3 or shape[2] != 3:
        raise ImageError(
            f"pixels must be of shape (height, width, 3) or (height, width), got {shape}"
        )
    return np.ascontiguousarray(image), 1
