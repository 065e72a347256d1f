"""The slices of the volumes in a folder or list that are taken as images."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ...errors import ImageError, ManifestError
from ..formats.image_file import (
    read_volume_header,
    slice_has_content,
    slices_with_content,
)
from ..formats.volumes.series_files import series_of
from ..formats.volumes.slice_path import SERIES, SliceName, path_order, split_slice
from ..output.slice_choice import SliceChoice

BLANK_VOLUME = "no slice that is not blank"
"""Reason to skip a volume."""


class VolumeSlice(NamedTuple):
    """An image of a list: a slice, or a file without slices.

    Attributes:
        place: number of its file in the list.
        path: path relative to the list's folder.
        sha256: digest that identifies its pixels, hexadecimal; "" if its file cannot be read.
        group: name of the group in the list; without one, the path of the volume.
        volume: path of the volume, or of the first file of a series; "" for a file without slices.
    """

    place: int
    path: str
    sha256: str
    group: str
    volume: str


def expand_volumes(
    root: Path, files: Sequence[tuple[str, str, str]], choice: SliceChoice
) -> tuple[list[VolumeSlice], list[str]]:
    """Return the images of a list: the chosen slices of each volume, and all other files.

    A volume that cannot be read stays one image, so that its problem is reported as that of a file.

    Args:
        root: folder of the list.
        files: path, SHA-256 and group of each file or slice; "" for a SHA-256 that is unknown.
        choice: which slices; a slice that the list names itself is always taken.

    Returns:
        The images, sorted by path; and the volumes of which no slice is taken.

    Raises:
        ManifestError: two images have one path, slices of one volume are in several groups, or no
            volume has a slice to take.
        MissingExtraError: a library for a format is not installed.
    """
    images: dict[str, VolumeSlice] = {}
    groups: dict[str, str] = {}
    for place, (path, sha256, group) in enumerate(files):
        volume, slices = _slices(root, path, sha256, choice)
        group = group or volume
        # The slices of one volume are the images of one patient.
        if volume and groups.setdefault(volume, group) != group:
            raise ManifestError(
                f"{path}: slices of its volume are in the groups {groups[volume]!r} and {group!r}; "
                "give them one group"
            )
        for name, digest in slices:
            if name in images:
                raise ManifestError(f"{name}: is listed twice; keep the slice or its volume")
            images[name] = VolumeSlice(place, name, digest, group, volume)
    if files and not images:
        raise ManifestError(
            f"{root}: no volume has a slice that is not blank; choose others with --slices"
        )
    blank = groups.keys() - {image.volume for image in images.values()}
    return [images[path] for path in sorted(images, key=path_order)], sorted(blank)


def slice_paths(path: Path, choice: SliceChoice) -> list[Path]:
    """Return the paths of the chosen slices of a volume; any other path as it is.

    Raises:
        MissingExtraError: a library for the format is not installed.
    """
    # A digest is needed for lists only.
    _, images = _slices(Path(), str(path), "unknown", choice)
    return [Path(image) for image, _ in images]


def _slices(
    root: Path, path: str, sha256: str, choice: SliceChoice
) -> tuple[str, list[tuple[str, str]]]:
    """Return the volume of a listed path, "" for none, and path and digest of its images."""
    file, name = split_slice(root / path)
    if name is not None:
        return _volume_name(path, file, name), [(path, sha256)]
    names = _slice_names(root / path, choice) if sha256 else None
    if names is None:
        return _slice_of_series(root, path, sha256, choice) if sha256 else ("", [(path, sha256)])
    return path, [(name.path(path), name.sha256(sha256)) for name in names]


def _volume_name(path: str, file: str, name: SliceName) -> str:
    """Return the path of a slice's volume; of a series, that of its first file."""
    if name.axis != SERIES:
        return path.rpartition("#")[0]
    with suppress(ImageError, OSError, ValueError):
        file_series = series_of(file)
        return str(PurePosixPath(path).with_name(file_series.first)) if file_series else ""
    return ""


def _slice_of_series(
    root: Path, path: str, sha256: str, choice: SliceChoice
) -> tuple[str, list[tuple[str, str]]]:
    """Return what `_slices` returns of a file that is no volume, but may be a slice of a series.

    Raises:
        ManifestError: the series was scanned across another axis than the chosen one.
    """
    file = PurePosixPath(path)
    # The problem of a file is reported when it is read as an image.
    with suppress(ImageError, OSError, ValueError):
        file_series = series_of(root / path)
        if file_series is None:
            return "", [(path, sha256)]
        first = str(file.with_name(file_series.first))
        series = file_series.series
        # A scout beside them, say, is of the same patient.
        if series is None:
            return first, [(path, sha256)]
        if choice.axis not in ("axial", series.axis):
            raise ManifestError(
                f"{path}: is a slice of the {series.axis} series in its folder, which is cut "
                "across no other axis; leave out --axis, or convert the series to NIfTI"
            )
        chosen = choice.numbers(len(series.files))
        if chosen is None:
            taken = slice_has_content(f"{root / path}#{SERIES}")
        else:
            taken = series.slice(file.name).index in chosen
        images = [(f"{path}#{SERIES}", series.slice_sha256(file.name))] if taken else []
        return first, images
    return "", [(path, sha256)]


def _slice_names(path: Path, choice: SliceChoice) -> list[SliceName] | None:
    """Return the chosen slices of a file; None for one without slices, or that cannot be read.

    Raises:
        ManifestError: the volume cannot be cut across the chosen axis.
    """
    if split_slice(path)[1] is not None:
        return None
    # The problem of a file is reported when it is read as an image.
    with suppress(ImageError, OSError, ValueError):
        header = read_volume_header(path)
        if header is None:
            return None
        # Its first page would otherwise be taken as a slice of the other axis.
        if choice.axis != "axial" and not header.has_axes:
            raise ManifestError(
                f"{path}: its pages have no places in the body, so it has no {choice.axis} slices; "
                "leave out --axis, or this file"
            )
        numbers = choice.numbers(header.count(choice.axis))
        if numbers is None:
            numbers = slices_with_content(path, choice.axis)
        return [SliceName(choice.axis, number) for number in numbers]
    return None
