"""Pillow's TIFF image with additions: its layout, other pages, and a view of its raw bytes."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from PIL.TiffImagePlugin import TiffImageFile

from .layout import BITS, EXTRA, PHOTOMETRIC, SAMPLE_FORMAT, SAMPLES, SampleLayout
from .pages import PageFile

_DISGUISES = {
    "L": (1, (8,)),
    "LA": (1, (8, 8)),
    "RGB": (2, (8, 8, 8)),
    "RGBA": (2, (8, 8, 8, 8)),
}
"""PhotometricInterpretation and BitsPerSample by which Pillow finds each mode."""


class TiffImage(TiffImageFile):
    """A page of a TIFF file.

    Attributes:
        layout: layout of the samples in the file.
        stored_mode: Pillow's mode; a type such as "float64" if Pillow has none.
    """

    def __init__(self, data: bytes, place: int = 0, mode: str = "", raw_mode: str = "") -> None:
        """Open a file.

        Args:
            data: its content.
            place: byte at which the directory of the page begins; 0 for the first page.
            mode: mode of `samples.RAW_MODES` in which the raw bytes are read; "" for the file's.
            raw_mode: raw mode of the same table.

        Raises:
            ImageError: neither Pillow nor this package can read such samples.
        """
        self._raw = (mode, raw_mode)
        self.stored_mode = ""
        super().__init__(PageFile(data, place) if place else BytesIO(data))

    def _setup(self) -> None:
        self.layout = SampleLayout.from_tags(self.tag_v2)
        if self._raw[0]:
            self._set_up_raw(*self._raw)
            return
        try:
            super()._setup()
            self.stored_mode = self.mode
        # Pillow raises an IndexError for some samples in planes.
        except (SyntaxError, IndexError):
            if self.layout.for_pillow:
                raise self.layout.refusal() from None
            self.layout.check()
            self.stored_mode = self.layout.dtype.name
            # Pillow refuses images without a mode. Only the header of this image is used.
            self._mode = "L"

    def _set_up_raw(self, mode: str, raw_mode: str) -> None:
        """Let Pillow plan the reading of another kind of pixels, which takes as many bytes."""
        photometric, bits = _DISGUISES[mode]
        if ";16" in raw_mode:
            bits = (16,) * len(bits)
        self.tag_v2[PHOTOMETRIC] = photometric
        self.tag_v2[BITS] = bits
        self.tag_v2[SAMPLES] = len(bits)
        for tag in (SAMPLE_FORMAT, EXTRA):
            self.tag_v2.pop(tag, None)
        if mode == "LA":
            self.tag_v2[EXTRA] = (2,)
        super()._setup()
        # libtiff itself reads the tags in the file, not the changed ones, to unpack strips.
        self.tile = [_with_raw_mode(tile, raw_mode) for tile in self.tile]


def _with_raw_mode(tile: Any, raw_mode: str) -> Any:
    return tile._replace(args=(raw_mode, *tile.args[1:]))
