"""DICOM series: files of one frame each in one folder, which make a volume together.

A file stays an image of its own, named as `slice7.dcm#series`: its levels are scaled over the whole
series, and its picture is turned as that of a volume, in the plane in which it was scanned.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....errors import ImageError, MissingExtraError
from ...output.slice_choice import AXES
from ..dicom import DICOM_MAGIC, check_pixels, is_deflated, read_header
from ..limits import decoder_guard
from ..regular_file import open_regular, read_regular
from .dicom_frames import frame_levels, pixel_bytes, rescale_of, scale_frames
from .placement import Placement, place_frames
from .slice_path import SERIES, SliceName
from .volume import MAX_SLICES, Scale, check_slices, check_volume

_HEADER_BYTES = 2**20
_TAGS = [
    *("SeriesInstanceUID", "NumberOfFrames", "Rows", "Columns", "SamplesPerPixel", "BitsAllocated"),
    *("ImageOrientationPatient", "ImagePositionPatient", "PhotometricInterpretation"),
]


@dataclass(frozen=True, slots=True)
class Series:
    """The files of one series, ordered by their places.

    Attributes:
        folder: the folder that holds them.
        files: their names.
        sha256: digest of all of their contents, hexadecimal.
        placement: order and turn of the frames; its order is that of `files`.
        shape: number of files, rows and columns.
        pixel_bytes: bytes of a pixel.
    """

    folder: str
    files: tuple[str, ...]
    sha256: str
    placement: Placement
    shape: tuple[int, int, int]
    pixel_bytes: int

    @property
    def axis(self) -> str:
        """Axis of the body that the files cut across, one of `AXES`."""
        return AXES[self.placement.orientation.axes.index(0)]

    def slice(self, file: str) -> SliceName:
        """Return the slice of the turned volume that a file holds."""
        place = self.files.index(file)
        mirrored = self.placement.orientation.mirrored[AXES.index(self.axis)]
        # Coronal and sagittal slices count against the rows and columns.
        backwards = mirrored != (self.axis != "axial")
        return SliceName(self.axis, len(self.files) - 1 - place if backwards else place)

    def slice_sha256(self, file: str) -> str:
        """Return the digest that identifies the pixels of a file's slice, hexadecimal."""
        return SliceName(SERIES, self.files.index(file)).sha256(self.sha256)


def find_series(folder: str) -> dict[str, Series]:
    """Find the series in a folder, without decoding pixels.

    A series has at least two files of one size, parallel, each at a place of its own.

    Returns:
        The series of each file that is in one, by name.

    Raises:
        OSError: the folder cannot be read.
    """
    members: dict[tuple[str, int, int], list[_Member]] = defaultdict(list)
    for path in sorted(Path(folder).iterdir()):
        member = _member(path)
        if member is not None:
            members[member.uid, member.rows, member.columns].append(member)
    by_file: dict[str, Series] = {}
    for (_, rows, columns), files_of_uid in members.items():
        names = [member.name for member in files_of_uid]
        placement = place_frames(
            [member.directions for member in files_of_uid],
            [member.position for member in files_of_uid],
        )
        if placement is None or not 2 <= len(names) <= MAX_SLICES:
            continue
        files = tuple(names[place] for place in placement.order)
        digests = [hashlib.sha256(read_regular(Path(folder, name))).digest() for name in files]
        series = Series(
            folder,
            files,
            hashlib.sha256(b"".join(digests)).hexdigest(),
            placement,
            (len(files), rows, columns),
            max(member.pixel_bytes for member in files_of_uid),
        )
        by_file |= dict.fromkeys(files, series)
    return by_file


def read_series(series: Series, *, max_pixels: int, scale: Scale) -> NDArray[np.uint8]:
    """Decode, scale and turn a series; the result is as that of `VolumeReader.read`.

    Raises:
        ImageError: the series is too large, or a file of it is damaged.
        OSError: a file cannot be read.
    """
    check_volume(series.shape, series.pixel_bytes)
    check_slices(series.shape, max_pixels)

    def frames() -> Iterator[NDArray[Any]]:
        for name in series.files:
            header = read_header(read_regular(Path(series.folder, name)))
            check_pixels(header, max_pixels)
            if (header.Rows, header.Columns) != series.shape[1:]:
                raise ImageError(f"a series whose file {name} has another size than its header")
            yield frame_levels(header, 0, *rescale_of(header, None))

    return series.placement.orientation.turn(scale_frames(frames(), len(series.files), scale))


@dataclass(frozen=True, slots=True)
class _Member:
    """The values in the header of a file that may be in a series."""

    name: str
    uid: str
    rows: int
    columns: int
    pixel_bytes: int
    directions: tuple[float, ...]
    position: tuple[float, ...]


def _member(path: Path) -> _Member | None:
    """Read the header of a DICOM file of one frame; None for any other file."""
    with suppress(ImageError, OSError, MissingExtraError):
        with open_regular(path) as (file, n_bytes):
            data = file.read(min(_HEADER_BYTES, n_bytes))
        if not re.match(DICOM_MAGIC, data, re.DOTALL) or is_deflated(data):
            return None
        # pydicom decodes a value when it is taken, so all are taken here.
        with decoder_guard("DICOM"):
            header = read_header(data, stop_before_pixels=True, specific_tags=_TAGS)
            if int(header.get("NumberOfFrames") or 1) != 1:
                return None
            member = _Member(
                path.name,
                str(header.SeriesInstanceUID),
                int(header.Rows),
                int(header.Columns),
                pixel_bytes(header),
                tuple(map(float, header.ImageOrientationPatient)),
                tuple(map(float, header.ImagePositionPatient)),
            )
            check_volume((1, member.rows, member.columns), member.pixel_bytes)
            return member
    return None
