"""TIFF files decoded to RGB arrays: by Pillow, or from raw samples where Pillow has no mode.

Pillow scrambles or wraps some kinds of samples, and refuses others. So signed bytes, samples of 16
bits and more, and samples in planes are read as raw bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..pillow import PillowReader, check_header
from ..samples import cmyk_to_rgb, colours_to_rgb, grey_to_rgb, pixel_bytes
from .layout import ASSOCIATED_ALPHA, CMYK, GREY, UNCOMPRESSED, SampleLayout
from .pages import count_pages, plane_page


@dataclass(frozen=True)
class TiffReader(PillowReader):
    """Reader of TIFF files.

    Attributes:
        place: byte at which the directory of the page begins that is read; 0 for the first page.
    """

    place: int = 0
    plugin: str = "Tiff"
    applies_orientation: bool = True

    def decode(self, data: bytes, *, max_pixels: int) -> NDArray[np.uint8]:
        """Decode the page of a TIFF file; see `PillowReader.decode`.

        Raises:
            ImageError: the image is too large or hostile, or its samples are of a kind that is not
                supported; the message names the kind.
        """
        with self._open(data) as image:
            check_header(image, max_pixels)
            layout = image.layout
            tags = dict(image.tag_v2)
        if layout.for_pillow:
            return super().decode(data, max_pixels=max_pixels)
        extract = partial(plane_page, data, tags, layout)
        if layout.planar and layout.photometric in GREY and not any(layout.extra):
            # The first plane is an image by itself, of any depth.
            first = extract(plane=0, photometric=layout.photometric)
            return TiffReader().decode(first, max_pixels=max_pixels)
        layout.check()
        if layout.planar:
            single = replace(layout, n_samples=1, extra=(), planar=False)
            pages = (extract(plane=plane, photometric=1) for plane in range(_n_useful(layout)))
            channels = [_channels(page, single, 0)[0] for page in pages]
        else:
            channels = _channels(data, layout, self.place)
        return np.require(_to_rgb(channels, layout), np.uint8, ["C", "O", "W"])

    def levels(self, data: bytes, *, max_pixels: int) -> NDArray[Any]:
        """Decode the page without scaling it.

        Returns:
            Grey levels as stored, of shape (height, width); uint8 RGB of shape (height, width, 3)
            for all other pages.

        Raises:
            ImageError: as `decode`.
        """
        with self._open(data) as image:
            check_header(image, max_pixels)
            layout = image.layout
            mode = image.stored_mode
        deep = layout.photometric in GREY and not layout.has_alpha and not layout.planar
        if deep and not layout.for_pillow:
            layout.check()
            grey = _channels(data, layout, self.place)[0]
            return -grey.astype(np.float64) if layout.photometric == 0 else grey
        rgb = self.decode(data, max_pixels=max_pixels)
        return np.ascontiguousarray(rgb[..., 0]) if mode in ("1", "L") else rgb

    def mode(self, data: bytes) -> str:
        """Return Pillow's mode of a TIFF file; a type such as "float64" if Pillow has none."""
        with self._open(data) as image:
            return str(image.stored_mode)

    def is_planar(self, data: bytes) -> bool:
        """Return True if the samples of the page are in planes; then decoding copies the file."""
        with self._open(data) as image:
            return bool(image.layout.planar)

    def frames(self, data: bytes) -> int:
        """Count the pages, without masks and smaller copies of other pages."""
        return count_pages(data)

    def _open(self, data: bytes) -> Any:
        from .image import TiffImage

        return TiffImage(data, self.place)


def _n_useful(layout: SampleLayout) -> int:
    """Return the number of samples that make the picture: colours, and opacity."""
    return min(layout.n_samples, layout.n_colours + layout.has_alpha)


def _channels(data: bytes, layout: SampleLayout, place: int) -> list[NDArray[Any]]:
    """Read the samples of a page that is not in planes.

    Args:
        data: content of the file.
        layout: the page's layout.
        place: see `TiffReader`.

    Returns:
        An array of shape (height, width) for each sample of a pixel.
    """
    from .image import TiffImage

    pixels = pixel_bytes(partial(TiffImage, data, place), layout.n_samples * layout.bits // 8)
    # libtiff, which decompresses, returns the byte order of this machine.
    samples = pixels.view(layout.dtype)
    if layout.compression == UNCOMPRESSED:
        samples = pixels.view(layout.dtype.newbyteorder("<" if data[:2] == b"II" else ">"))
    return [samples[..., sample] for sample in range(layout.n_samples)]


def _to_rgb(channels: list[NDArray[Any]], layout: SampleLayout) -> NDArray[np.uint8]:
    """Convert samples to an RGB array of shape (height, width, 3).

    Args:
        channels: an array of shape (height, width) for each sample, colours first.
        layout: their layout.
    """
    if layout.photometric == CMYK:
        return cmyk_to_rgb(channels[:4])
    premultiplied = layout.extra[:1] == (ASSOCIATED_ALPHA,)
    n_colours = 1 if layout.photometric in GREY else 3
    alpha = channels[n_colours] if layout.has_alpha else None
    if layout.photometric in GREY:
        # Grey that is multiplied by its opacity has a black background already.
        opacity = None if premultiplied else alpha
        return grey_to_rgb(channels[0], opacity, white_is_zero=layout.photometric == 0)
    return colours_to_rgb(channels[:3], alpha, premultiplied=premultiplied)
