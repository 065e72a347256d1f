"""DICOM series: files of one frame each in one folder, which make a volume together.

A file stays an image of its own, named as `slice7.dcm#series`: its levels are scaled over the whole
series, and its picture is turned as that of a volume, in the plane in which it was scanned.
`series_files.py` finds them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....errors import ImageError
from ...output.slice_choice import AXES
from ..dicom import check_pixels, read_header
from ..regular_file import read_regular
from .dicom_frames import frame_levels, rescale_of, scale_frames
from .placement import Placement
from .slice_path import SERIES, SliceName
from .volume import Scale, check_slices, check_volume


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
