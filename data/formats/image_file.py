"""Images on the disk: a file of its own, or a slice of a volume. All paths are opened here."""

from __future__ import annotations

import hashlib
import os
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ...errors import FreezeframeError, ImageError
from ..output.terminal import printable
from .images import (
    MAX_PIXELS,
    count_frames,
    decode_image,
    error_reason,
    image_mode,
    read_image_bytes,
)
from .limits import decoder_guard
from .regular_file import open_regular
from .table import HEAD_BYTES, ImageFormat, find_format
from .volumes.dicom_series import read_series
from .volumes.memory import DecodedVolume, VolumeMemory
from .volumes.series_files import series_of
from .volumes.slice_path import SERIES, SliceName, split_slice
from .volumes.volume import (
    Scale,
    VolumeHeader,
    VolumeReader,
    content_slices,
    mark_inside,
    scale_volume,
    take_slice,
)

_LOSSY = ("JPEG", "JPEG 2000", "WebP", "AVIF")
"""Formats that blur the edge of a mask."""

_memory = VolumeMemory()


class ImageFile(Protocol):
    """An opened image: `WholeFile` or `SliceFile`."""

    @property
    def kind(self) -> str:
        """Name of the format; "" if it is unknown."""

    @property
    def n_bytes(self) -> int:
        """Size of the file."""

    @property
    def sha256(self) -> str:
        """Digest of the file, or of a slice as `SliceName.sha256` makes it, hexadecimal."""

    def pixels(self, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
        """Decode the image as `decode_image` does; RGB of shape (height, width, 3)."""

    def mode(self) -> str:
        """Return how the pixels are stored; see `image_mode`."""

    def frames(self) -> int:
        """Return the number of frames, of which the first is decoded."""


class WholeFile:
    """The content of an image file.

    Args:
        content: the bytes of the file.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.n_bytes = len(content)

    @property
    def kind(self) -> str:
        row = find_format(self._content[:HEAD_BYTES])
        return row.name if row else ""

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self._content).hexdigest()

    def pixels(self, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
        return decode_image(self._content, max_pixels=max_pixels)

    def mode(self) -> str:
        return image_mode(self._content)

    def frames(self) -> int:
        return count_frames(self._content)


class SliceFile:
    """A slice of a decoded volume.

    Args:
        volume: the volume.
        name: which slice of it.
        sha256: its digest, if this is a file of a series.
    """

    def __init__(self, volume: DecodedVolume, name: SliceName, sha256: str = "") -> None:
        self._volume = volume
        self._name = name
        self.sha256 = sha256 or name.sha256(volume.sha256)
        self.kind = volume.kind
        self.n_bytes = volume.n_bytes

    def pixels(self, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
        return take_slice(_stack(self._volume), self._name.axis, self._name.index)

    def mode(self) -> str:
        return self._volume.mode

    def frames(self) -> int:
        # All slices are images, but those of later volumes are not.
        return self._volume.n_volumes


def open_image(path: str | os.PathLike[str]) -> ImageFile:
    """Open an image file, or the slice of a volume that a path names.

    A volume is decoded once for consecutive slices.

    Args:
        path: a file, or a file with `#` and the slice, see `split_slice`.

    Raises:
        ImageError: the path is a directory, pipe or device, or the file is too large.
        OSError: the file cannot be read.

    Examples:
        >>> from PIL import Image
        >>> Image.new("L", (4, 3), 200).save("grey.png")
        >>> open_image("grey.png").kind
        'PNG'
    """
    file, name = split_slice(path)
    if name is None:
        return WholeFile(read_image_bytes(file))
    if name.axis == SERIES:
        return _series_slice(file, scale_volume)
    return SliceFile(_volume(file, scale_volume), name)


def read_image(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Read one image: a file, whatever the ending of its name, or a slice of a volume.

    `decode_image` describes how colours, transparency and orientation are handled.

    Args:
        path: the file; or a volume with the number of a slice, such as "brain.nii.gz#77".
        max_pixels: limit of height x width, checked before pixels are decoded.

    Returns:
        uint8 RGB array of shape (height, width, 3).

    Raises:
        ImageError: the file cannot be read or is no image; the message is one line and begins with
            the path.
        MissingExtraError: it is a DICOM or NIfTI file, and the library for it is not installed.

    Examples:
        >>> read_image("scan.png")
        Traceback (most recent call last):
        freezeframe.errors.ImageError: scan.png: No such file or directory
    """
    # The functions below raise errors that do not name the path.
    try:
        return open_image(path).pixels(max_pixels)
    except (ImageError, OSError, ValueError, MemoryError) as error:
        raise ImageError(f"{printable(os.fspath(path))}: {error_reason(error)}") from error


def read_mask(path: str | os.PathLike[str]) -> NDArray[np.bool_]:
    """Read a mask: a file, a slice of a volume, or the mask in a MATLAB file.

    A pixel belongs to the mask if it is not 0. Formats with losses blur the edge, so there it
    belongs to it from half of the largest level on.

    Returns:
        Array of shape (height, width).

    Raises:
        ImageError, MissingExtraError: as `read_image`.
    """
    try:
        file, name = split_slice(path)
        if name is not None and name.axis == SERIES:
            return _series_slice(file, mark_inside).pixels()[..., 0] > 0
        if name is not None:
            return SliceFile(_volume(file, mark_inside), name).pixels()[..., 0] > 0
        data = read_image_bytes(file)
        row = find_format(data[:HEAD_BYTES])
        if row is not None and row.read_mask is not None:
            with decoder_guard(row.name):
                return row.read_mask(data)
        levels = decode_image(data)[..., 0]
    except (ImageError, OSError, ValueError, MemoryError) as error:
        raise ImageError(f"{printable(os.fspath(path))}: {error_reason(error)}") from error
    least = levels.max() / 2 if row is not None and row.name in _LOSSY else 0
    return levels > least


def read_volume_header(path: str | os.PathLike[str]) -> VolumeHeader | None:
    """Read the shape of the volume in a file; None for a file with a single picture.

    Raises:
        ImageError: the header is damaged, or the volume is too large.
        OSError: the file cannot be read.
        MissingExtraError: a library for the format is not installed.
    """
    with open_regular(path) as (file, n_bytes):
        row = find_format(file.read(min(HEAD_BYTES, n_bytes)))
    # Most files are no volumes, and are not read any further.
    if row is None or row.volumes is None:
        return None
    data = read_image_bytes(path)
    with decoder_guard(row.name):
        return row.volumes.header(data)


def slices_with_content(path: str | os.PathLike[str], axis: str) -> list[int]:
    """Return the numbers of a volume's slices that are not blank; this decodes the volume.

    Raises:
        ImageError: the volume cannot be decoded.
        OSError: the file cannot be read.
    """
    volume = _volume(os.fspath(path), scale_volume)
    return [int(index) for index in content_slices(_stack(volume), axis)]


def slice_has_content(path: str) -> bool:
    """Return True if a slice is not blank; this decodes its volume.

    Raises:
        ImageError, OSError: as `open_image`.
    """
    return bool(len(content_slices(open_image(path).pixels()[np.newaxis], "axial")))


def _series_slice(file: str, scale: Scale) -> SliceFile:
    """Open a file as a slice of its series, which is decoded once for all of its files.

    Raises:
        ImageError: the file is in no series.
        OSError: the folder or a file in it cannot be read.
    """
    file_series = series_of(file)
    series = None if file_series is None else file_series.series
    if series is None:
        raise ImageError("is a file of no series; leave out #series")

    def decode() -> DecodedVolume:
        n_bytes = Path(file).stat().st_size
        try:
            with decoder_guard("DICOM"):
                stack = read_series(series, max_pixels=MAX_PIXELS, scale=scale)
                return DecodedVolume(series.sha256, n_bytes, "DICOM", "MONOCHROME2", stack)
        except FreezeframeError as error:
            return DecodedVolume(series.sha256, n_bytes, "DICOM", error=error)

    name = Path(file).name
    volume = _memory.get((series.folder, series.sha256, scale), decode)
    return SliceFile(volume, series.slice(name), series.slice_sha256(name))


def file_of(path: str | os.PathLike[str]) -> str:
    """Return the file that holds an image: its volume, or the path itself."""
    return split_slice(path)[0]


def _stack(volume: DecodedVolume) -> NDArray[np.uint8]:
    if volume.error is not None:
        raise volume.error
    assert volume.stack is not None
    return volume.stack


def _volume(file: str, scale: Scale) -> DecodedVolume:
    """Return a decoded volume, from memory if it was decoded lately."""
    status = Path(file).stat()
    key = (file, status.st_ino, status.st_size, status.st_mtime_ns, scale)
    return _memory.get(key, lambda: _decode_volume(file, scale))


def _decode_volume(file: str, scale: Scale) -> DecodedVolume:
    """Read and decode a volume. An error of the file is kept, so that it is not decoded again."""
    data = read_image_bytes(file)
    row = find_format(data[:HEAD_BYTES])
    sha256 = hashlib.sha256(data).hexdigest()
    kind = row.name if row else ""
    try:
        reader = _volume_reader(row)
        with decoder_guard(kind):
            stack = reader.read(data, max_pixels=MAX_PIXELS, scale=scale)
            header = reader.header(data)
            n_volumes = header.n_volumes if header else 1
            return DecodedVolume(sha256, len(data), kind, reader.mode(data), stack, n_volumes)
    except FreezeframeError as error:
        return DecodedVolume(sha256, len(data), kind, error=error)


def _volume_reader(row: ImageFormat | None) -> VolumeReader:
    if row is None or row.volumes is None:
        raise ImageError("has no slices; leave out # and the number")
    return row.volumes
