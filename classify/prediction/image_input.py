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
from ...data.formats.image_file import WholeFile, file_of, open_image
from ...data.formats.images import MAX_PIXELS, resize_image
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
        rgb, sha256, frames = _decoded(image, max_pixels)
        pixels = resize_image(rgb, *input_size, resize)
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


def _decoded(image: ImageInput, max_pixels: int) -> tuple[NDArray[np.uint8], str, int]:
    """Decode or convert one image.

    Returns:
        uint8 RGB of shape (height, width, 3); the SHA-256, "" for arrays; the number of frames.

    Raises:
        ImageError: the file is missing or damaged, or the image is of another kind or shape.
        OSError: the file cannot be read.
    """
    if isinstance(image, str | os.PathLike):
        # A pipe or a device could block for ever.
        if not Path(file_of(image)).is_file():
            raise ImageError("no such file")
        opened = open_image(image)
    elif isinstance(image, bytes):
        opened = WholeFile(image)
    else:
        return _rgb_pixels(image), "", 1
    return opened.pixels(max_pixels), opened.sha256, opened.frames()


def _rgb_pixels(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Convert pixels into uint8 RGB of (height, width, 3).

    Raises:
        ImageError: the image is of another kind or shape.
    """
    if not isinstance(image, np.ndarray):
        raise ImageError(f"an image must be a path, bytes or an array, got {type(image).__name__}")
    shape = image.shape
    if image.dtype != np.uint8 or image.size == 0:
        raise ImageError(f"pixels must be uint8, got {image.dtype} of shape {shape}")
    if image.ndim == 2:
        # A grey file is decoded into three equal channels, too.
        return np.repeat(image[..., np.newaxis], 3, axis=2)
    if image.ndim != 3 or shape[2] != 3:
        raise ImageError(
            f"pixels must be of shape (height, width, 3) or (height, width), got {shape}"
        )
    return np.ascontiguousarray(image)
