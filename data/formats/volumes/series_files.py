"""The DICOM series in a folder, and the files of each."""

from __future__ import annotations

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ....errors import ImageError, MissingExtraError
from ..dicom import DICOM_MAGIC, is_deflated, read_header
from ..limits import decoder_guard
from ..regular_file import open_regular, read_regular
from .dicom_frames import pixel_bytes
from .dicom_series import Series
from .placement import SAME_DIRECTION, place_frames
from .volume import MAX_SLICES, check_volume

_HEADER_BYTES = 2**20
_TAGS = [
    *("SeriesInstanceUID", "NumberOfFrames", "Rows", "Columns", "SamplesPerPixel", "BitsAllocated"),
    *("ImageOrientationPatient", "ImagePositionPatient", "PhotometricInterpretation", "PatientID"),
]

_State = tuple[int, int]
"""Size and time of a file."""


@dataclass(frozen=True, slots=True)
class SeriesFile:
    """A file whose SeriesInstanceUID other files in its folder have, too.

    Attributes:
        first: name of one of these files, which stands for all.
        files: names of all of them, whatever their sizes and directions.
        series: the volume that this file is a slice of; None if it is in none.
    """

    first: str
    files: tuple[str, ...]
    series: Series | None


def series_of(path: str | os.PathLike[str]) -> SeriesFile | None:
    """Return the series of a DICOM file with one frame; None if it is the only file of its series.

    Raises:
        ImageError: the path is a directory, pipe or device.
        OSError: the folder or a file in it cannot be read.
    """
    with open_regular(path) as (file, n_bytes):
        if not re.match(DICOM_MAGIC, file.read(min(1024, n_bytes)), re.DOTALL):
            return None
    folder, name = os.path.split(path)
    folder = folder or "."
    # A folder may hold thousands of files, and this is asked for each: only those of one series are
    # looked at each time. The time of the folder changes when a file is added.
    by_file, states = _files_in(folder, Path(folder).stat().st_mtime_ns)
    files = by_file[name].files if name in by_file else (name,)
    if any(_state(Path(folder, file)) != states.get(file) for file in files):
        _files_in.cache_clear()
        by_file, _ = _files_in(folder, Path(folder).stat().st_mtime_ns)
    return by_file.get(name)


@lru_cache(maxsize=4)
def _files_in(folder: str, _: int) -> tuple[dict[str, SeriesFile], dict[str, _State]]:
    """Find the series in a folder, and return the state of its files, once until it changes."""
    paths = [path for path in sorted(Path(folder).iterdir()) if path.is_file()]
    states = {path.name: _state(path) for path in paths}
    return find_series(folder), states


def _state(path: Path) -> _State:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def find_series(folder: str) -> dict[str, SeriesFile]:
    """Find the series in a folder, without decoding pixels.

    The files of one patient and SeriesInstanceUID make a volume if they are of one size and
    parallel: a scout of three planes makes three. Several files may be at one place, at other times
    or echoes.

    Returns:
        The series of each file that is in one, by name.

    Raises:
        OSError: the folder cannot be read.
    """
    members: dict[tuple[str, str], list[_Member]] = defaultdict(list)
    for path in sorted(Path(folder).iterdir()):
        member = _member(path)
        if member is not None:
            members[member.uid, member.patient].append(member)
    by_file: dict[str, SeriesFile] = {}
    for files_of_uid in members.values():
        names = tuple(member.name for member in files_of_uid)
        volumes = [_volume(folder, files) for files in _parallel(files_of_uid)]
        by_name = {name: volume for volume in volumes if volume for name in volume.files}
        first = next((volume.files[0] for volume in volumes if volume), names[0])
        # Files at one place are a film; or their tags were invented, and are the same in all files.
        if len({member.position for member in files_of_uid}) > 1:
            by_file |= {name: SeriesFile(first, names, by_name.get(name)) for name in names}
    return by_file


@dataclass(frozen=True, slots=True)
class _Member:
    """The values in the header of a file that may be in a series."""

    name: str
    uid: str
    patient: str
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
            uid = str(header.get("SeriesInstanceUID") or "")
            # Files without UID, which some tools remove, say nothing about each other.
            if not uid or int(header.get("NumberOfFrames") or 1) != 1:
                return None
            member = _Member(
                path.name,
                uid,
                str(header.get("PatientID") or ""),
                int(header.Rows),
                int(header.Columns),
                pixel_bytes(header),
                _numbers(header.ImageOrientationPatient, 6),
                _numbers(header.ImagePositionPatient, 3),
            )
            check_volume((1, member.rows, member.columns), member.pixel_bytes)
            return member
    return None


def _numbers(value: Any, n: int) -> tuple[float, ...]:
    """Return the numbers of an element; raise ImageError if they are not n finite ones."""
    numbers = tuple(map(float, value))
    if len(numbers) != n or not np.isfinite(numbers).all():
        raise ImageError("no place")
    return numbers


def _parallel(members: Sequence[_Member]) -> list[list[_Member]]:
    """Return the files of one size and direction together."""
    groups: list[list[_Member]] = []
    for member in members:
        for group in groups:
            first = group[0]
            same_size = (member.rows, member.columns) == (first.rows, first.columns)
            turned = np.subtract(member.directions, first.directions)
            if same_size and np.abs(turned).max() <= SAME_DIRECTION:
                group.append(member)
                break
        else:
            groups.append([member])
    return groups


def _volume(folder: str, members: Sequence[_Member]) -> Series | None:
    """Return the volume that parallel files make; None for a single file, and for too many."""
    placement = place_frames(
        [member.directions for member in members],
        [member.position for member in members],
        distinct=False,
    )
    if placement is None or not 2 <= len(members) <= MAX_SLICES:
        return None
    files = tuple(members[place].name for place in placement.order)
    digests = [hashlib.sha256(read_regular(Path(folder, name))).digest() for name in files]
    return Series(
        folder,
        files,
        hashlib.sha256(b"".join(digests)).hexdigest(),
        placement,
        (len(files), members[0].rows, members[0].columns),
        max(member.pixel_bytes for member in members),
    )
