"""JPEG 2000 files checked before Pillow decodes them.

References:
    ITU-T T.800 (2019), annex A: the marker segment SIZ.
"""

from __future__ import annotations

import struct
from typing import Any

from ...errors import ImageError
from .limits import check_size

JPEG2000_MAGIC = rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"

_START = b"\xff\x4f\xff\x51"
"""Start of a codestream, and the marker SIZ."""

_MAX_COMPONENTS = 4


def check_codestreams(image: Any, data: bytes, max_pixels: int) -> None:
    """Raise ImageError if a codestream is too large, or of samples that Pillow darkens.

    A file's own header can name a smaller size than the codestream that the decoder allocates.

    Args:
        image: Pillow's image.
        data: content of the file.
        max_pixels: limit of height x width.
    """
    place = data.find(_START)
    while place >= 0:
        # Behind the marker: length and profile, then these numbers.
        right, bottom, left, top = struct.unpack_from(">4I", data, place + 8)
        (n_components,) = struct.unpack_from(">H", data, place + 40)
        check_size(bottom, right, max_pixels)
        if (right - left, bottom - top) != image.size or n_components > _MAX_COMPONENTS:
            raise ImageError("JPEG 2000 whose headers contradict each other")
        depths = [1 + (data[place + 42 + 3 * n] & 0x7F) for n in range(n_components)]
        if min(depths, default=8) < 8:
            raise ImageError(f"JPEG 2000 of {min(depths)}-bit samples, which is not supported")
        place = data.find(_START, place + 4)


def count_codestreams(image: Any, data: bytes) -> int:
    """Count the codestreams of a JPEG 2000 file, each of which is a picture.

    Args:
        image: Pillow's image, which is not used.
        data: content of the file.
    """
    return data.count(_START)
