"""Multi-page TIFF files as stacks of slices."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....errors import ImageError
from ..tiff.pages import find_pages, page_first
from ..tiff.reader import TiffReader
from .volume import Scale, VolumeHeader, check_slices, check_volume

MAX_COPIED_BYTES = 2**35
"""Limit of the bytes of a file times its pages: each page is decoded from a copy of the file."""


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
        if len(pages) * len(data) > MAX_COPIED_BYTES:
            raise ImageError(f"TIFF of {len(pages)} pages in {len(data)} bytes, which are too many")
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
        for place, page in enumerate(find_pages(data)):
            levels = TiffReader().levels(page_first(data, page), max_pixels=max_pixels)
            if stack is None:
                # The type is known now, and pages of 8 bytes a pixel may be too much.
                check_volume(header.shape, levels.itemsize * levels[0, 0].size)
                stack = np.empty((header.shape[0], *levels.shape), levels.dtype)
            if levels.shape != stack.shape[1:] or levels.dtype != stack.dtype:
                raise ImageError("TIFF whose pages are of different types; save one type")
            stack[place] = levels
        assert stack is not None
        return scale(stack, 0.0)
