"""JPEG files checked before Pillow decodes them, and the pictures of one file counted.

References:
    CIPA DC-007-2021, Multi-Picture Format: 5.2 (MP Index IFD).
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

from ...errors import ImageError

_MAX_SCANS = 50
"""Scans that a JPEG of `max_pixels` pixels may have; smaller images may have more."""

_START = b"\xff\xd8"
"""Start of each JPEG picture."""

_MP_ENTRIES = 0xB002
"""Tag of the list of pictures in the index of a multi-picture file."""


def check_jpeg_scans(image: Any, data: bytes, max_pixels: int) -> None:
    """Raise ImageError if a JPEG has so many scans that decoding would take hours.

    A few kilobytes can hold thousands of scans, and decoding a scan touches all pixels.
    """
    # Pillow stops behind the header of the first scan. Thumbnails may precede it.
    pixels_start = image.fp.tell()
    header_bytes = pixels_start - data.rfind(b"\xff\xda", 0, pixels_start)
    # A first scan with all colours is the only one. Then scans are not counted: phones append
    # films, where the bytes of a scan header may occur by chance.
    if "progressive" in image.info or header_bytes < 8 + 2 * image.layers:
        scans = 1 + data.count(b"\xff\xda", pixels_start)
        if scans * image.height * image.width > _MAX_SCANS * max_pixels:
            raise ImageError(
                f"JPEG of {image.width} x {image.height} pixels in {scans} scans, which is too many"
            )


def count_jpeg_pictures(image: Any, data: bytes) -> int:
    """Count the pictures of a JPEG file by its multi-picture index, which cameras write.

    Previews ("Large Thumbnail") and maps of Ultra HDR do not count. Programs that edit a file can
    keep its index and drop its pictures. So a picture counts only where the file has one.

    Args:
        image: Pillow's image.
        data: content of the file.
    """
    # Places in the index count from here.
    origin = image.info.get("mpoffset")
    if origin is None:
        return 1
    from PIL.JpegImagePlugin import jpeg_factory

    with jpeg_factory(BytesIO(data)) as film:
        index = getattr(film, "mpinfo", None) or {}
    later = [
        origin + entry["DataOffset"]
        for entry in index.get(_MP_ENTRIES, ())[1:]
        if "Thumbnail" not in entry["Attribute"]["MPType"]
    ]
    return 1 + sum(data[place : place + 2] == _START for place in later)
