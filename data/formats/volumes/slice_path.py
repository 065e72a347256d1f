"""Paths of slices: `brain.nii.gz#77` and `brain.nii.gz#coronal-12` are two of a volume."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass

SCALING_VERSION = 1
"""Increase it when the pixels of the slices of an unchanged file change."""

SERIES = "series"
"""Axis of a slice that is a file of a series: the one across which its scanner cut."""

_SLICE = re.compile(r"(.+)#(?:(coronal|sagittal)-)?(\d{1,7})", re.DOTALL)
_OF_SERIES = re.compile(r"(.+)#series", re.DOTALL)


@dataclass(frozen=True, slots=True)
class SliceName:
    """The place of a slice in its volume.

    Attributes:
        axis: one of `slice_choice.AXES`, or `SERIES` for a file of a series.
        index: its number along this axis, in a volume that is turned as `volume.py` says.
    """

    axis: str
    index: int

    def __str__(self) -> str:
        return f"{self.index}" if self.axis == "axial" else f"{self.axis}-{self.index}"

    def path(self, file: str) -> str:
        """Return the path of this slice of a file.

        Examples:
            >>> SliceName("axial", 77).path("brain.nii.gz")
            'brain.nii.gz#77'
        """
        return f"{file}#{self}"

    def sha256(self, file_sha256: str) -> str:
        """Return the digest that identifies the pixels of this slice, hexadecimal.

        Lists and stores keep it as the SHA-256 of the image. Equal slices of equal files share it,
        two slices of one file do not.

        Args:
            file_sha256: SHA-256 of the volume's file, hexadecimal; "" for an unknown one gives "".
        """
        if not file_sha256:
            return ""
        text = f"slice {self} of {file_sha256}, scaling {SCALING_VERSION}"
        return hashlib.sha256(text.encode()).hexdigest()


def split_slice(path: str | os.PathLike[str]) -> tuple[str, SliceName | None]:
    """Return the file that a path names, and the slice of it; None for a whole file.

    A file whose own name ends as that of a slice is a whole file.

    Examples:
        >>> split_slice("brain.nii.gz#coronal-12")
        ('brain.nii.gz', SliceName(axis='coronal', index=12))
        >>> split_slice("brain.png")
        ('brain.png', None)
    """
    text = os.fspath(path)
    match = _SLICE.fullmatch(text)
    of_series = _OF_SERIES.fullmatch(text)
    # Unlike pathlib, this function never raises an error.
    if not (match or of_series) or os.path.isfile(text):  # noqa: PTH113
        return text, None
    if match is None:
        return text.rpartition("#")[0], SliceName(SERIES, 0)
    file, axis, index = match.groups()
    return file, SliceName(axis or "axial", int(index))


def path_order(path: str) -> tuple[str, int]:
    """Return the key by which paths are sorted: slices of one volume by their numbers.

    Examples:
        >>> sorted(["b.nii#10", "b.nii#9", "a.png"], key=path_order)
        ['a.png', 'b.nii#9', 'b.nii#10']
    """
    match = _SLICE.fullmatch(path)
    return (path, -1) if match is None else (path[: match.start(3)], int(match[3]))
