"""The slices that a user takes of volumes, and the masks that label images."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ...errors import ParameterError

AXES = ("axial", "coronal", "sagittal")
"""Axes of the body that slices are cut across.

Slices count from 0: axial ones from the feet up, coronal ones from the back, sagittal ones from
the left."""

_SLICES = re.compile(r"(all|content)|(middle|every):([1-9]\d{0,5})")
_LEAST_PIXELS = re.compile(r":(\d{1,9})\Z")


@dataclass(frozen=True)
class SliceChoice:
    """The slices that a list takes of its volumes, and where labels come from.

    Attributes:
        slices: "all"; "content" for those that are not blank; "middle:N" for the N in the middle;
            "every:K" for each K-th one.
        axis: axis that the slices are cut across, one of `AXES`.
        label_from_mask: "FOLDER" or "FOLDER:N"; an image is positive if its mask in this folder
            has at least N pixels, by default 1. None leaves labels to the folder or list.

    Raises:
        ParameterError: a value is impossible.

    Examples:
        >>> SliceChoice(label_from_mask="masks:20").least_pixels
        20
    """

    slices: str = "all"
    axis: str = "axial"
    label_from_mask: str | None = None

    def __post_init__(self) -> None:
        if not _SLICES.fullmatch(self.slices):
            raise ParameterError(
                f"--slices must be all, content, middle:N or every:K, got {self.slices!r}"
            )
        if self.axis not in AXES:
            raise ParameterError(f"--axis must be one of {', '.join(AXES)}, got {self.axis!r}")
        if self.least_pixels < 1:
            raise ParameterError(
                "--label-from-mask: with at least 0 pixels, each image is positive; give 1 or more"
            )

    @property
    def least_pixels(self) -> int:
        """Least number of pixels of the mask of a positive image."""
        number = _LEAST_PIXELS.search(self.label_from_mask or "")
        return int(number[1]) if number else 1

    @property
    def masks(self) -> Path | None:
        """Folder of the masks; None if labels come from the folder or list."""
        if self.label_from_mask is None:
            return None
        return Path(_LEAST_PIXELS.sub("", self.label_from_mask))

    def numbers(self, n_slices: int) -> list[int] | None:
        """Return the numbers of the chosen slices; None for "content", which needs the pixels.

        Examples:
            >>> SliceChoice("middle:3").numbers(10), SliceChoice("every:4").numbers(10)
            ([3, 4, 5], [0, 4, 8])
        """
        kind, _, number = self.slices.partition(":")
        if kind == "content":
            return None
        if kind == "middle":
            start = max(0, (n_slices - int(number)) // 2)
            return list(range(start, min(n_slices, start + int(number))))
        return list(range(0, n_slices, int(number) if kind == "every" else 1))
