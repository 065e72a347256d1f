"""NIfTI volumes: `.nii` and `.nii.gz` files of versions 1 and 2; nibabel reads their headers.

`pip install 'freezeframe[nifti]'` installs nibabel.

References:
    NIfTI-1, https://nifti.nimh.nih.gov/nifti-1
"""

from __future__ import annotations

import gzip
import logging
import zlib
from io import BytesIO
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....errors import ImageError, MissingExtraError
from .volume import Orientation, Scale, VolumeHeader, check_slices, check_volume

NIFTI_MAGIC = (
    rb"(\x5c\x01\0\0|\0\0\x01\x5c).{340}n\+1\0"
    rb"|(\x1c\x02\0\0|\0\0\x02\x1c)n\+2\0\r\n\x1a\n"
)
"""Size of the header, and the letters that tell a single file from a pair of files."""

MAX_NIFTI_HEADER = 2**24
"""Limit of the bytes before the voxels: the header and its extensions."""

MAX_REPEATS = 2**20
"""Limit of the volumes in a file; the axes of version 2 may claim more than any integer holds."""

_GZIP = b"\x1f\x8b\x08"
_BLOCK_BYTES = 2**20

_SILENT = logging.getLogger(__name__)
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False
_NO_ERROR = 1000
"""Level above those of nibabel's findings: what cannot be corrected is found out later."""


def begin_of_gzip(head: bytes, n_bytes: int) -> bytes:
    """Return the first bytes in a gzip file.

    Args:
        head: first bytes of any file.
        n_bytes: most bytes to return.

    Returns:
        The bytes; `head` itself if it begins no gzip file.
    """
    if not head.startswith(_GZIP):
        return head
    try:
        # 31 stands for the format gzip. The limit keeps a bomb small. The checksum in the last 8
        # bytes of a small file is checked when the file is decoded.
        return zlib.decompressobj(31).decompress(head[:-8], n_bytes)
    except zlib.error:
        return head


class NiftiReader:
    """Reader of NIfTI files, as a format of images and as a kind of volumes."""

    def decode(self, data: bytes, *, max_pixels: int) -> NDArray[np.uint8]:
        """Raise ImageError: a volume has no slice that stands for the others."""
        n = self.header(data).count("axial")
        raise ImageError(f"NIfTI volume of {n} slices; name one of them, as in FILE#{n // 2}")

    def mode(self, data: bytes) -> str:
        """Return the type of the voxels: "int16", "float32", ..., or "RGB"."""
        dtype = _Header(data).dtype
        return "RGB" if dtype.fields else dtype.name

    def frames(self, data: bytes) -> int:
        """Return 1: each slice is an image of its own."""
        return 1

    def header(self, data: bytes) -> VolumeHeader:
        """Read the shape of the volume; see `VolumeReader`."""
        header = _Header(data)
        shape = header.orientation.shape(header.shape)
        return VolumeHeader(shape, n_volumes=header.n_volumes)

    def read(self, data: bytes, *, max_pixels: int, scale: Scale) -> NDArray[np.uint8]:
        """Decode and turn the first volume of a file; see `VolumeReader`.

        Raises:
            ImageError: the volume is too large, truncated, or of a type that is not supported.
            MissingExtraError: nibabel is not installed.
        """
        header = _Header(data)
        check_slices(header.orientation.shape(header.shape), max_pixels)
        content = _content(data, header.start + header.n_bytes)
        voxels = np.frombuffer(content, header.dtype, header.n_voxels, header.start)
        if header.dtype.fields:
            colours = voxels.view(np.uint8).reshape(*header.shape[::-1], 3)
            return header.orientation.turn(colours.transpose(2, 1, 0, 3))
        levels = voxels.reshape(header.shape, order="F")
        return header.orientation.turn(scale(*header.levels(levels)))


class _Header:
    """The checked header of a NIfTI file.

    Attributes:
        dtype: type of a voxel as stored; a structure of R, G and B for colours.
        shape: numbers of voxels along the three stored axes.
        n_volumes: number of volumes in the file: times, directions or sequences.
        start: byte of the uncompressed file at which the voxels begin.

    Raises:
        ImageError: the header is cut off, or states what is not supported.
        MissingExtraError: nibabel is not installed.
    """

    def __init__(self, data: bytes) -> None:
        try:
            from nibabel import Nifti1Header, Nifti2Header
        except ImportError as error:
            raise MissingExtraError("nibabel", "nifti", "reading NIfTI files") from error
        block = begin_of_gzip(data, 540)
        kind = Nifti1Header if 348 in (_number(block, "<"), _number(block, ">")) else Nifti2Header
        # nibabel would print what it corrects.
        self._fields: Any = kind(binaryblock=block[: kind.sizeof_hdr], check=False)
        self.dtype: np.dtype[Any] = self._fields.get_data_dtype()
        self.shape, self.n_volumes = self._checked_shape()
        self.start = int(self._fields.get_data_offset())
        self._check()
        # Codes and sides of voxels that are impossible become those that nibabel itself takes.
        self._fields.check_fix(logger=_SILENT, error_level=_NO_ERROR)

    @property
    def n_voxels(self) -> int:
        first, second, third = self.shape
        return first * second * third

    @property
    def n_bytes(self) -> int:
        return self.n_voxels * self.dtype.itemsize

    @property
    def orientation(self) -> Orientation:
        return Orientation.from_affine(self._fields.get_best_affine())

    def levels(self, stored: NDArray[Any]) -> tuple[NDArray[Any], float]:
        """Return levels and the level of background.

        Scaling to bytes undoes the slope and intercept of the header, unless dark is bright.
        """
        slope, intercept = self._fields.get_slope_inter()
        if slope is None or (slope, intercept) == (1, 0):
            return stored, 0.0
        if slope > 0:
            return stored, -intercept / slope
        return stored.astype(np.float32) * np.float32(slope) + np.float32(intercept), 0.0

    def _checked_shape(self) -> tuple[tuple[int, int, int], int]:
        sides = [int(side) for side in self._fields.get_data_shape()]
        # A single slice may have fewer axes than a volume.
        first, second, third, *repeats = [*sides, 1, 1, 1][: max(3, len(sides))]
        if len(sides) < 2 or min(sides) < 1 or prod(repeats) > MAX_REPEATS:
            text = " x ".join(map(str, sides)) or "no"
            raise ImageError(f"NIfTI of {text} voxels, which is no volume")
        return (first, second, third), prod(repeats)

    def _check(self) -> None:
        colours = self.dtype.names == ("R", "G", "B")
        if not colours and (self.dtype.kind not in "iuf" or self.dtype.itemsize > 8):
            raise ImageError(f"NIfTI of {self.dtype} voxels, which are not supported")
        if not self._fields.sizeof_hdr <= self.start <= MAX_NIFTI_HEADER:
            raise ImageError(f"NIfTI whose voxels are said to begin at byte {self.start}")
        check_volume(self.shape, self.dtype.itemsize)


def _number(block: bytes, order: str) -> int:
    """Return the first number of a header, its size."""
    return int(np.frombuffer(block[:4].ljust(4, b"\0"), f"{order}i4")[0])


def _content(data: bytes, n_bytes: int) -> bytes | bytearray:
    """Return at least the first bytes of an uncompressed file.

    Raises:
        ImageError: the file has fewer.
    """
    content: bytes | bytearray = data
    if data.startswith(_GZIP):
        unpacked = bytearray()
        # No more is decompressed than the header has room for, whatever is in the file; and no
        # more is allocated than the file holds, whatever the header claims.
        with gzip.open(BytesIO(data)) as file:
            while block := file.read(min(_BLOCK_BYTES, n_bytes - len(unpacked))):
                unpacked += block
            # At its end, the file is compared with its checksum.
            file.read(1)
        content = unpacked
    if len(content) < n_bytes:
        raise ImageError("NIfTI that is truncated")
    return content
