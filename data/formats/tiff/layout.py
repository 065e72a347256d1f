"""Tags of TIFF, and the layout of a page's samples.

References:
    TIFF 6.0, Adobe 1992, https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ....errors import ImageError
from ..samples import RAW_MODES

SUBFILE = 254
WIDTH = 256
HEIGHT = 257
BITS = 258
COMPRESSION = 259
PHOTOMETRIC = 262
BIT_ORDER = 266
STRIPS = 273
ORIENTATION = 274
SAMPLES = 277
STRIP_ROWS = 278
STRIP_BYTES = 279
PLANES = 284
PREDICTOR = 317
TILE_WIDTH = 322
TILE_HEIGHT = 323
TILES = 324
TILE_BYTES = 325
EXTRA = 338
SAMPLE_FORMAT = 339

GREY = (0, 1)
RGB = 2
CMYK = 5
_COLOURS = {0: "grey", 1: "grey", 2: "RGB", 3: "palette", 5: "CMYK", 6: "YCbCr", 8: "LAB"}
_NUMBERS = {1: "unsigned integer", 2: "signed integer", 3: "float", 5: "complex", 6: "complex"}
_KINDS = {1: "u", 2: "i", 3: "f"}
_JPEG = (6, 7)
ASSOCIATED_ALPHA = 1
UNASSOCIATED_ALPHA = 2
UNCOMPRESSED = 1


@dataclass(frozen=True)
class SampleLayout:
    """Layout of the samples of a page.

    Attributes:
        photometric: the tag PhotometricInterpretation.
        bits: bits of each sample; 0 if they differ.
        number: 1 for unsigned integers, 2 for signed ones, 3 for floats; 0 if they differ.
        n_samples: samples of a pixel.
        extra: the tag ExtraSamples, a value for each sample after the colours: 1 or 2 for alpha.
        planar: True if each sample has strips or tiles of its own.
        compression: the tag Compression.
        bit_order: the tag FillOrder.
    """

    photometric: int
    bits: int
    number: int
    n_samples: int
    extra: tuple[int, ...]
    planar: bool
    compression: int
    bit_order: int

    @classmethod
    def from_tags(cls, tags: Any) -> SampleLayout:
        """Read the layout from Pillow's directory of tags."""
        compression = tags.get(COMPRESSION, 1)
        photometric = tags.get(PHOTOMETRIC, 0)
        default = 3 if compression in _JPEG and photometric in (2, 6) else 1
        n_samples = tags.get(SAMPLES, default)
        depths = set(tags.get(BITS, (1,)))
        numbers = set(tags.get(SAMPLE_FORMAT, (1,)))
        return cls(
            photometric,
            bits=depths.pop() if len(depths) == 1 else 0,
            number=numbers.pop() if len(numbers) == 1 else 0,
            n_samples=n_samples,
            extra=tuple(tags.get(EXTRA, ())),
            planar=tags.get(PLANES, 1) == 2 and n_samples > 1,
            compression=compression,
            bit_order=tags.get(BIT_ORDER, 1),
        )

    @property
    def n_colours(self) -> int:
        """Number of samples of a pixel, without the extra ones."""
        return self.n_samples - len(self.extra)

    @property
    def has_alpha(self) -> bool:
        """True if the first sample after the colours is the opacity."""
        # As in Pillow, a fourth sample of RGB is the opacity if no tag says what it is.
        unnamed = self.photometric == RGB and self.n_colours == 4
        return unnamed or (
            bool(self.extra) and self.extra[0] in (ASSOCIATED_ALPHA, UNASSOCIATED_ALPHA)
        )

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a sample, in the byte order of this machine."""
        return np.dtype(f"{_KINDS[self.number]}{self.bits // 8}")

    @property
    def for_pillow(self) -> bool:
        """True if Pillow decodes such samples correctly, or refuses them."""
        if self.photometric not in (*GREY, RGB, CMYK) or self.compression in _JPEG:
            return True
        if self.bit_order != 1 or not self.bits:
            return True
        if self.planar:
            return False
        deep = self.bits >= 16 and self.photometric != CMYK
        signed_bytes = self.bits == 8 and self.number == 2
        return not deep and not signed_bytes

    def check(self) -> None:
        """Raise ImageError if the samples are of a kind that this package cannot read."""
        n_colours = {RGB: (3, 4), CMYK: (4,)}.get(self.photometric, (1,))
        supported = [
            self.number in _KINDS,
            self.bits in (8, 16, 32, 64),
            (self.number, self.bits) != (3, 8),
            self.n_colours in n_colours,
            # Floats and signed integers have no value that is surely full colour, or opaque.
            self.photometric in GREY or (self.number == 1 and self.bits <= 16),
            self.number == 1 or not self.has_alpha,
            self.planar or self.n_samples * self.bits // 8 in RAW_MODES,
        ]
        if not all(supported):
            raise self.refusal()

    def refusal(self) -> ImageError:
        """Return the error that names this layout."""
        colour = _COLOURS.get(self.photometric, f"photometric interpretation {self.photometric}")
        number = _NUMBERS.get(self.number, "unknown")
        depth = f"{self.bits}-bit" if self.bits else "unequal"
        ending = "" if self.n_samples == 1 else "s"
        planes = " in planes" if self.planar else ""
        return ImageError(
            f"TIFF of {colour} pixels of {self.n_samples} {depth} {number} sample{ending}{planes}, "
            "which is not supported"
        )
