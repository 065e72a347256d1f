"""Multi-page TIFF files as stacks of slices."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....errors import ImageError
from ..tiff.pages import find_pages
from ..tiff.reader import TiffReader
from .volume import MAX_SLICES, Scale, VolumeHeader, check_slices, check_volume

MAX_COPIED_BYTES = 2**35
"""Limit of the bytes of a file times its pages in planes, each of which needs a copy of it."""


class TiffPages:
    """Reader of TIFF files with several pages of one size.

    Pages keep their order, since TIFF states no places in the body. Pages of different sizes are
    no volume; then the first one is the image, as for a file of one page.
    """

    def header(self, data: bytes) -> VolumeHeader | None:
        """Read the number and size of the pages; see `VolumeReader`. None for no volume."""
        pages = find_pages(data)
        sizes = {(page.height, page.width) for page in pages}
        if len(pages) < 2 or len(sizes) != 1:
            return None
        ((height, width),) = sizes
        shape = (len(pages), height, width)
        check_volume(shape, 1)
        if len(pages) > MAX_SLICES:
            raise ImageError(f"TIFF of {len(pages)} pages, more than the limit of {MAX_SLICES}")
        return VolumeHeader(shape, has_axes=False)

    def mode(self, data: bytes) -> str:
        """Return the mode of the first page."""
        return TiffReader().mode(data)

    def read(self, data: bytes, *, max_pixels: int, scale: Scale) -> NDArray[np.uint8]:
        """Decode all pages, and scale grey levels of more than 8 bits together.

        Raises:
            ImageError: the pages are of different types, or too large together.
        """
        header = self.header(data)
        assert header is not None
        check_slices(header.shape, max_pixels)
        stack: NDArray[Any] | None = None
        copied = 0
        for place, page in enumerate(find_pages(data)):
            reader = TiffReader(place=page.place)
            copied += len(data) if reader.is_planar(data) else 0
            if copied > MAX_COPIED_BYTES:
                raise ImageError(f"TIFF of {len(data)} bytes with more pages in planes than fit")
            levels = reader.levels(data, max_pixels=max_pixels)
            if stack is None:
                # The type is known now, and pages of 8 bytes a pixel may be too much.
                check_volume(header.shape, levels.itemsize * levels[0, 0].size)
                stack = np.empty((header.shape[0], *levels.shape), levels.dtype)
            if levels.shape != stack.shape[1:] or levels.dtype != stack.dtype:
                raise ImageError("TIFF whose pages are of different types; save one type")
            stack[place] = levels
        assert stack is not None
        return scale(stack, 0.0)
