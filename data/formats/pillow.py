"""Image files decoded to RGB arrays with Pillow.

Pillow's plugins are called directly: `Image.open` applies a size limit of the whole process.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ImageError
from .limits import check_size, scale_to_bytes
from .samples import row_blocks

if TYPE_CHECKING:
    from PIL import Image

# Tags of TIFF; EXIF shares the first.
_ORIENTATION = 274
_PHOTOMETRIC = 262
_TILE_WIDTH = 322
_TILE_HEIGHT = 323


@dataclass(frozen=True)
class PillowReader:
    """Reader of one format that Pillow decodes.

    Attributes:
        plugin: name of the format in Pillow's modules and classes, for example "Jpeg".
        clean: function of the file's content, called before Pillow sees it.
        check: function of Pillow's image, the file's content and `max_pixels`, called before
            pixels are decoded; it raises ImageError for hostile files.
        applies_orientation: True if Pillow itself turns images by their EXIF orientation.
        count: function of Pillow's image and the file's content that counts the frames without
            decoding them; None for formats of one frame.
    """

    plugin: str
    clean: Callable[[bytes], bytes] | None = None
    check: Callable[[Any, bytes, int], None] | None = None
    applies_orientation: bool = False
    count: Callable[[Any, bytes], int] | None = None

    def decode(self, data: bytes, *, max_pixels: int) -> NDArray[np.uint8]:
        """Decode the first frame of an image file.

        Args:
            data: content of the file.
            max_pixels: limit of height x width, checked before pixels are decoded.

        Returns:
            uint8 RGB array of shape (height, width, 3), C-contiguous and writeable.

        Raises:
            ImageError: the image is too large, or hostile.
        """
        with self._open(data) as image:
            check_header(image, max_pixels)
            if self.check:
                self.check(image, data, max_pixels)
            rgb = self.to_rgb(image, data)
            orientation = 1 if self.applies_orientation else _orientation(image)
            turned = _turn(rgb, orientation)
            result: NDArray[np.uint8] = np.require(turned, np.uint8, ["C", "O", "W"])
            return result

    def to_rgb(self, image: Image.Image, data: bytes) -> NDArray[np.uint8]:
        """Load Pillow's image and convert it to RGB of shape (height, width, 3).

        Args:
            image: the image.
            data: content of its file, for formats with pixels that Pillow has no mode for.
        """
        image.load()
        return _image_to_rgb(image)

    def mode(self, data: bytes) -> str:
        """Return Pillow's mode of an image file: "1", "L", "P", "RGB", "RGBA", "I;16", ..."""
        with self._open(data) as image:
            return str(image.mode)

    def frames(self, data: bytes) -> int:
        """Count the frames of an image file; this does not decode pixels."""
        if self.count is None:
            return 1
        with self._open(data) as image:
            return max(1, self.count(image, data))

    def _open(self, data: bytes) -> Any:
        """Open the content as Pillow's image; this reads only the header."""
        try:
            module = import_module(f"PIL.{self.plugin}ImagePlugin")
        except ImportError as error:
            raise ImageError(
                f"{self.plugin}, which this Pillow cannot read; try: pip install -U Pillow"
            ) from error
        plugin = getattr(module, f"{self.plugin}ImageFile")
        return plugin(BytesIO(self.clean(data) if self.clean else data))


def pillow_frames(image: Any, data: bytes) -> int:
    """Return Pillow's own count of the frames; the content of the file is not used."""
    return int(image.n_frames)


def check_header(image: Image.Image, max_pixels: int) -> None:
    """Raise ImageError if the image, or a tile of a TIFF, is too large."""
    check_size(image.height, image.width, max_pixels)
    tags = getattr(image, "tag_v2", {})
    if _TILE_HEIGHT in tags or _TILE_WIDTH in tags:
        # A tile may be larger than the image, and is decoded as a whole. If a tag is missing, the
        # image's longer side replaces it.
        side = max(image.size)
        check_size(tags.get(_TILE_HEIGHT, side), tags.get(_TILE_WIDTH, side), max_pixels)


def _orientation(image: Image.Image) -> Any:
    """Return the EXIF orientation, 1 to 8 in sound files; None if there is no EXIF data."""
    try:
        return image.getexif().get(_ORIENTATION)
    # Broken EXIF data is common, and no reason to refuse a sound picture.
    except Exception:
        return None


def _turn(rgb: NDArray[np.uint8], orientation: Any) -> NDArray[np.uint8]:
    """Turn and mirror an image by its EXIF orientation."""
    if orientation in (5, 6, 7, 8):
        rgb = rgb.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        rgb = rgb[:, ::-1]
    return rgb[::-1] if orientation in (3, 4, 7, 8) else rgb


def _image_to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Convert Pillow's image to an RGB array of shape (height, width, 3)."""
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        return np.repeat(_deep_grey(image)[..., np.newaxis], 3, axis=2)
    rgb = np.empty((image.height, image.width, 3), np.uint8)
    # Pillow takes 4 bytes a pixel at each step, and a large image has several steps.
    for rows in row_blocks(image.height, image.width):
        rgb[rows] = _block_to_rgb(image.crop((0, rows.start, image.width, rows.stop)))
    return rgb


def _deep_grey(image: Image.Image) -> NDArray[np.uint8]:
    """Scale grey levels of more than 8 bits to bytes, of shape (height, width)."""
    levels = np.asarray(image)
    transparency = image.info.get("transparency")
    if isinstance(transparency, int):
        levels = np.where(levels == transparency, np.nan, levels)
    # Pillow inverts "white is zero" for 8 bits, but not for more.
    if getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0:
        levels = -levels.astype(np.float64)
    return scale_to_bytes(levels)


def _block_to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        # RGBa is RGB multiplied by alpha, which equals a black background.
        return np.asarray(image.convert("RGBA").convert("RGBa"))[..., :3]
    return np.asarray(image.convert("RGB"))
