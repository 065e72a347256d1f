"""The table of image formats. To add a format, add a row, and a reader where Pillow has none."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .dicom import DICOM_MAGIC, DicomReader, read_patient_id
from .jpeg import check_jpeg_scans, count_jpeg_pictures
from .jpeg2000 import JPEG2000_MAGIC, check_codestreams, count_codestreams
from .netpbm import NETPBM_MAGIC, NetpbmReader
from .pillow import PillowReader, pillow_frames
from .png import PngReader
from .tiff.reader import TiffReader
from .volumes.dicom_frames import DicomFrames
from .volumes.matlab import (
    MATLAB_MAGIC,
    MatlabReader,
    read_matlab_label,
    read_matlab_mask,
    read_matlab_patient,
)
from .volumes.nifti import NIFTI_MAGIC, NiftiReader, begin_of_gzip
from .volumes.tiff_pages import TiffPages
from .volumes.volume import VolumeReader

HEAD_BYTES = 1024
"""Number of a file's first bytes that `image_kind` needs.

The head of a NIfTI file has 348 bytes; gzip makes it shorter, but adds the name of the file."""


class Reader(Protocol):
    """Decoder of one format.

    It may raise any exception and warn: `decode_image` guards it.
    """

    def decode(self, data: bytes, *, max_pixels: int) -> NDArray[np.uint8]:
        """Decode a file's content into RGB, after a check of its size.

        Returns:
            uint8 array of shape (height, width, 3), C-contiguous and writeable.
        """

    def mode(self, data: bytes) -> str:
        """Return the mode of a file's pixels, without decoding them."""

    def frames(self, data: bytes) -> int:
        """Count the frames or pages of a file, at least 1, without decoding them."""


@dataclass(frozen=True)
class ImageFormat:
    """One row of the table.

    Attributes:
        name: the format's name in messages and reports.
        endings: endings of file names, in lower case. A file with such an ending is listed even
            if its content is no image, so that damage is reported.
        magic: regular expression (DOTALL) that matches at the start of a file's first
            `HEAD_BYTES` bytes.
        reader: decodes the files.
        read_patient_id: function of a file's first bytes that returns the patient's identifier,
            or ""; None for formats without patients.
        needs_plugins: True if some files of this format need optional plugins.
        volumes: reads the files that hold slices; None for formats without slices.
        gzipped: True if files may be compressed by gzip as a whole.
        read_label: function of a file's content that returns the name of its class; None for
            formats without classes. Then `read_patient_id` gets the whole content, too.
        read_mask: function of a file's content that returns the mask in it, of shape (height,
            width); None for formats whose masks are pictures.
    """

    name: str
    endings: tuple[str, ...]
    magic: bytes
    reader: Reader
    read_patient_id: Callable[[bytes], str] | None = None
    needs_plugins: bool = False
    volumes: VolumeReader | None = None
    gzipped: bool = False
    read_label: Callable[[bytes], str] | None = None
    read_mask: Callable[[bytes], NDArray[np.bool_]] | None = None

    def matches(self, head: bytes) -> bool:
        """Return True if a file with these first bytes is of this format."""
        if self.gzipped:
            head = begin_of_gzip(head, HEAD_BYTES)
        return re.match(self.magic, head, re.DOTALL) is not None


IMAGE_FORMATS = (
    ImageFormat(
        "JPEG",
        (".jpg", ".jpeg", ".jpe", ".jfif"),
        rb"\xff\xd8\xff",
        PillowReader("Jpeg", check=check_jpeg_scans, count=count_jpeg_pictures),
    ),
    ImageFormat(
        "PNG",
        (".png", ".apng"),
        rb"\x89PNG\r\n\x1a\n",
        PngReader(),
    ),
    ImageFormat(
        "TIFF",
        (".tif", ".tiff"),
        rb"II[*+]\0|MM\0[*+]",
        TiffReader(),
        volumes=TiffPages(),
    ),
    # Any text may begin with the letters BM, so the size of the header (12, 16, 40, 52, 56, 64, 108
    # or 124) must follow. A truncated header may hold only a part of that size.
    ImageFormat(
        "BMP",
        (".bmp", ".dib"),
        rb"BM.{12}[\x0c\x10(48@l|](\0{3}|\0{0,2}\Z)",
        PillowReader("Bmp"),
    ),
    ImageFormat("GIF", (".gif",), rb"GIF8[79]a", PillowReader("Gif", count=pillow_frames)),
    ImageFormat("WebP", (".webp",), rb"RIFF.{4}WEBP", PillowReader("WebP", count=pillow_frames)),
    # The major brand of a file can be a general one; then the brands behind it name AVIF.
    ImageFormat(
        "AVIF",
        (".avif", ".avifs"),
        rb".{4}ftyp(avi[fs]|m[is]f1.{4}(.{4})*?avi[fs])",
        PillowReader("Avif", count=pillow_frames),
        needs_plugins=True,
    ),
    ImageFormat(
        "JPEG 2000",
        (".jp2", ".j2k", ".jpc", ".j2c", ".jpf", ".jpx"),
        JPEG2000_MAGIC,
        PillowReader("Jpeg2K", check=check_codestreams, count=count_codestreams),
        needs_plugins=True,
    ),
    ImageFormat("PNM", (".pgm", ".ppm", ".pbm", ".pnm"), NETPBM_MAGIC, NetpbmReader()),
    # Many DICOM files also begin with the head of a TIFF file. `find_format` takes the last row
    # that matches, so DICOM must come after TIFF.
    ImageFormat(
        "DICOM",
        (".dcm", ".dicom", ".ima"),
        DICOM_MAGIC,
        DicomReader(),
        read_patient_id=read_patient_id,
        needs_plugins=True,
        volumes=DicomFrames(),
    ),
    ImageFormat(
        "NIfTI",
        (".nii", ".nii.gz"),
        NIFTI_MAGIC,
        NiftiReader(),
        needs_plugins=True,
        volumes=NiftiReader(),
        gzipped=True,
    ),
    # Files of other layouts have the same ending, and are no images.
    ImageFormat(
        "MATLAB",
        (),
        MATLAB_MAGIC,
        MatlabReader(),
        read_patient_id=read_matlab_patient,
        read_label=read_matlab_label,
        read_mask=read_matlab_mask,
    ),
)

KINDS = tuple(row.name for row in IMAGE_FORMATS)
"""Names of all formats."""

IMAGE_ENDINGS = frozenset(ending for row in IMAGE_FORMATS for ending in row.endings)
"""File name endings of all formats."""


def needs_plugins(kind: str) -> bool:
    """Return True if a library that may be missing decides whether files of a format are read.

    Args:
        kind: name of the format; files of no format need no plugin, but a later version may know
            them.
    """
    return kind == "" or any(row.name == kind and row.needs_plugins for row in IMAGE_FORMATS)


def has_image_ending(name: str) -> bool:
    """Return True if a file's name ends as that of some format.

    Examples:
        >>> has_image_ending("Brain.NII.GZ"), has_image_ending("notes.gz")
        (True, False)
    """
    return name.lower().endswith(tuple(IMAGE_ENDINGS))


def find_format(head: bytes) -> ImageFormat | None:
    """Return the format of a file by its first `HEAD_BYTES` bytes; None if none matches."""
    for row in reversed(IMAGE_FORMATS):
        if row.matches(head):
            return row
    return None


def image_kind(head: bytes) -> str | None:
    """Name the format of a file by its first `HEAD_BYTES` bytes; None if no format matches.

    Examples:
        >>> image_kind(b"GIF89a...")
        'GIF'
    """
    row = find_format(head)
    return row.name if row else None
