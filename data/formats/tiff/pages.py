"""Pages of a TIFF file: their number, and pages made of one plane of samples."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
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
_FIRST_TAGS = 4
"""Tags up to the height: two kinds of subfile, width and height."""

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


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a TIFF file.

    Attributes:
        place: byte of the file at which its directory begins.
        height: rows in pixels; 0 if the directory does not state them where they belong.
        width: columns in pixels, like `height`.
    """

    place: int
    height: int
    width: int


def count_pages(data: bytes) -> int:
    """Count the pages of a TIFF file, without masks and smaller copies of other pages."""
    pages = len(find_pages(data))
    # ImageJ can write a stack of images as one page, whose description has their number.
    if pages == 1 and (stack := _IMAGEJ.search(data)):
        pages = int(stack[1])
    return max(pages, 1)


def find_pages(data: bytes) -> list[Page]:
    """Return the pages of a TIFF file, without masks and smaller copies of other pages."""
    pages = []
    for n_visited, (place, tags) in enumerate(_directories(data)):
        if not tags.get(SUBFILE, 0) & _REDUCED_OR_MASK:
            pages.append(Page(place, tags.get(HEIGHT, 0), tags.get(WIDTH, 0)))
        if n_visited == _MAX_PAGES:
            break
    return pages


class PageFile(BytesIO):
    """The content of a TIFF file whose head points to a page of it, as if it were the first.

    A file of many pages would otherwise be copied for each.

    Args:
        data: content of the file, which is not copied.
        place: byte at which the directory of the page begins.
    """

    def __init__(self, data: bytes, place: int) -> None:
        super().__init__(data)
        order, big = _form(data)
        start = 8 if big else 4
        self._head = data[:start] + struct.pack(order + ("Q" if big else "I"), place)

    def read(self, size: int | None = -1, /) -> bytes:
        """Read bytes, those of the changed head first."""
        start = self.tell()
        block = super().read(size)
        changed = self._head[start : start + len(block)]
        return changed + block[len(changed) :] if changed else block


def _form(data: bytes) -> tuple[str, bool]:
    """Return the byte order, and True for BigTIFF, which has longer numbers at all places."""
    return "<" if data[:2] == b"II" else ">", data[2:4] in (b"+\0", b"\0+")


def _directories(data: bytes) -> Iterator[tuple[int, dict[int, int]]]:
    """Yield the place and the first tags of each page; stop at the first damage."""
    order, big = _form(data)
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
            first = place + struct.calcsize(order + number)
            tags = _first_tags(data, order, entry, first, n_tags)
            pointer = first + n_tags * struct.calcsize(order + entry)
            yield place, tags
    except struct.error:
        return


def _first_tags(data: bytes, order: str, entry: str, start: int, n_tags: int) -> dict[int, int]:
    """Return the values of the tags up to the height of a page, which come first.

    Args:
        data: content of the file.
        order: byte order.
        entry: form of an entry of the directory.
        start: byte at which the entries begin.
        n_tags: number of the entries.
    """
    tags: dict[int, int] = {}
    for number in range(min(n_tags, _FIRST_TAGS)):
        place = start + number * struct.calcsize(order + entry)
        tag, kind = struct.unpack_from(order + "HH", data, place)
        # Tags ascend.
        if tag > HEIGHT:
            break
        value = place + struct.calcsize(order + entry[:3])
        (tags[tag],) = struct.unpack_from(order + ("H" if kind == 3 else "I"), data, value)
    return tags
