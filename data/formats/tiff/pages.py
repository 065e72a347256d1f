"""Pages of a TIFF file: their number, and pages made of one plane of samples."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import Any

from .layout import (
    BIT_ORDER,
    BITS,
    COMPRESSION,
    HEIGHT,
    ORIENTATION,
    PHOTOMETRIC,
    PREDICTOR,
    SAMPLE_FORMAT,
    SAMPLES,
    STRIP_BYTES,
    STRIP_ROWS,
    STRIPS,
    SUBFILE,
    TILE_BYTES,
    TILE_HEIGHT,
    TILE_WIDTH,
    TILES,
    WIDTH,
    SampleLayout,
)

_COPIED = (
    WIDTH,
    HEIGHT,
    COMPRESSION,
    BIT_ORDER,
    ORIENTATION,
    STRIP_ROWS,
    PREDICTOR,
    TILE_WIDTH,
    TILE_HEIGHT,
)
_REDUCED_OR_MASK = 5
"""Bits of NewSubfileType: a smaller copy of another page, or its mask."""

_MAX_PAGES = 1_000_000
_IMAGEJ = re.compile(rb"ImageJ=[^\0]{0,1000}?\nimages=(\d{1,9})\n")


def plane_page(data: bytes, tags: Any, layout: SampleLayout, plane: int, photometric: int) -> bytes:
    """Return a file whose first page is one plane of another page, with the same strips or tiles.

    The page is appended, and the head of the file points to it.

    Args:
        data: content of the file.
        tags: Pillow's directory of the tags of the page.
        layout: the page's layout, in planes.
        plane: number of the plane.
        photometric: PhotometricInterpretation of the new page.
    """
    order = "<" if data[:2] == b"II" else ">"
    values = {tag: [tags[tag]] for tag in _COPIED if tag in tags}
    values |= {BITS: [layout.bits], SAMPLES: [1], PHOTOMETRIC: [photometric]}
    values[SAMPLE_FORMAT] = [layout.number]
    for tag in (STRIPS, STRIP_BYTES, TILES, TILE_BYTES):
        if tag in tags:
            n = len(tags[tag]) // layout.n_samples
            values[tag] = list(tags[tag][plane * n : (plane + 1) * n])
    # Values of more than 4 bytes are stored behind the directory of 12 bytes a tag.
    start = len(data) + len(data) % 2
    place = start + 2 + 12 * len(values) + 4
    entries = [struct.pack(order + "H", len(values))]
    behind = b""
    for tag, numbers in sorted(values.items()):
        packed = struct.pack(f"{order}{len(numbers)}I", *numbers)
        if len(numbers) > 1:
            behind += packed
            packed = struct.pack(order + "I", place + len(behind) - len(packed))
        entries.append(struct.pack(order + "HHI", tag, 4, len(numbers)) + packed)
    head = data[:2] + struct.pack(order + "HI", 42, start)
    directory = b"".join([*entries, bytes(4), behind])
    return b"".join([head, data[8:], bytes(len(data) % 2), directory])


def count_pages(data: bytes) -> int:
    """Count the pages of a TIFF file, without masks and smaller copies of other pages."""
    pages = 0
    for n_visited, subfile in enumerate(_subfile_types(data)):
        pages += not subfile & _REDUCED_OR_MASK
        if n_visited == _MAX_PAGES:
            break
    # ImageJ can write a stack of images as one page, whose description has their number.
    if pages == 1 and (stack := _IMAGEJ.search(data)):
        pages = int(stack[1])
    return max(pages, 1)


def _subfile_types(data: bytes) -> Iterator[int]:
    """Yield the tag NewSubfileType of each page; stop at the first damage."""
    order = "<" if data[:2] == b"II" else ">"
    # BigTIFF has longer numbers at all places.
    big = data[2:4] in (b"+\0", b"\0+")
    offset, number, entry = ("Q", "Q", "HHQQ") if big else ("I", "H", "HHII")
    pointer = 8 if big else 4
    visited = set[int]()
    try:
        while True:
            (place,) = struct.unpack_from(order + offset, data, pointer)
            if place == 0 or place in visited:
                return
            visited.add(place)
            (n_tags,) = struct.unpack_from(order + number, data, place)
            place += struct.calcsize(order + number)
            pointer = place + n_tags * struct.calcsize(order + entry)
            tag, kind = struct.unpack_from(order + "HH", data, place)
            subfile = 0
            # Tags ascend, and this is the first one of all.
            if tag == SUBFILE:
                value = place + struct.calcsize(order + entry[:3])
                (subfile,) = struct.unpack_from(order + ("H" if kind == 3 else "I"), data, value)
            yield subfile
    except struct.error:
        return
