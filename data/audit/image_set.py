"""Sets of images for an audit, from folders, lists or stores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import compress, count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ParameterError
from ..fingerprints import THUMBNAIL
from ..groups import GroupNames
from ..inspection.facts import ImageFacts
from ..manifest import Manifest
from .class_changes import ClassChanges, dropped_text

UNREADABLE = "cannot be read"
"""Reason for an image without pixels whose reason is unknown."""


NOT_COMPUTED = "not computed yet"
"""Reason for a row of a store that `extract-features` has still to fill."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """The images of one folder, list or store.

    Attributes:
        name: short name of the folder, list or store.
        paths: of the images, relative to `root`.
        sha256s: digests of the files.
        labels: class of each image.
        splits: split of each image; "" for none.
        groups: group of each image; "" for none.
        pixels: digests of the decoded pixels; "" for images that cannot be read.
        thumbnails: uint8 of shape (n, THUMBNAIL, THUMBNAIL); meaningless where `pixels` is empty.
        root: folder that paths are relative to; None if the folder is unknown.
        frames: number of frames of each image, of which the first is looked at; empty if unknown.
        reasons: the reason why each image could not be looked at; empty if unknown.
        group_scopes: see `GroupNames`; empty if no image has a group.
        patients: names of each image's patient, see `join_names`; empty if no image has one.
        left_out: number of images of each class that is left out.
        group_source: where groups and patients come from, see `Manifest`; "" if unknown.
    """

    name: str
    paths: Sequence[str]
    sha256s: Sequence[str]
    labels: Sequence[str]
    splits: Sequence[str]
    groups: Sequence[str]
    pixels: Sequence[str]
    thumbnails: NDArray[np.uint8]
    root: Path | None = None
    reasons: Sequence[str] = ()
    frames: Sequence[int] = ()
    group_scopes: Sequence[str] = ()
    patients: Sequence[str] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    group_source: str = ""

    @classmethod
    def from_manifest(cls, manifest: Manifest, inspected: Sequence[ImageFacts]) -> ImageSet:
        """Make a set of the images of a manifest.

        Args:
            manifest: the images.
            inspected: their facts from `inspect_images`, in the same order.
        """
        # Unreadable images keep an empty digest and a black thumbnail.
        pixels = [""] * len(inspected)
        thumbnails = np.zeros((len(inspected), THUMBNAIL, THUMBNAIL), np.uint8)
        for row, facts in enumerate(inspected):
            if facts.fingerprint is not None:
                pixels[row] = facts.fingerprint.pixels
                thumbnails[row] = facts.fingerprint.thumbnail
        images = manifest.images
        return cls(
            manifest.source.resolve().name,
            [image.path for image in images],
            [image.sha256 for image in images],
            [image.label for image in images],
            [image.split for image in images],
            [image.group for image in images],
            pixels,
            thumbnails,
            manifest.root,
            reasons=[facts.reason for facts in inspected],
            frames=[facts.frames for facts in inspected],
            group_scopes=[image.group_scope for image in images],
            patients=[image.patient for image in images],
            group_source=manifest.group_source,
        )

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, chosen: NDArray[np.bool_]) -> ImageSet:
        """Return a set of some of these images; `chosen` is of shape (n,)."""
        columns: dict[str, Any] = {"thumbnails": self.thumbnails[chosen]}
        for column in fields(self):
            values = getattr(self, column.name)
            # All other columns are lists; an empty one is unknown.
            if isinstance(values, Sequence) and not isinstance(values, str) and values:
                columns[column.name] = list(compress(values, chosen))
        return replace(self, **columns)

    def unread_reason(self, place: int) -> str:
        """Return the reason why nobody looked at an image; "" if its pixels are known."""
        if self.pixels[place]:
            return ""
        return (self.reasons[place] if self.reasons else "") or UNREADABLE

    @property
    def has_uncertain_groups(self) -> bool:
        """True if the scope of a group is unknown, as in stores of older formats."""
        return any(self.names.uncertain_groups())

    @property
    def names(self) -> GroupNames:
        """The names that relate the images."""
        none = [""] * len(self)
        return GroupNames(self.groups, self.group_scopes or none, self.patients or none)


def with_unique_names(sets: Sequence[ImageSet]) -> list[ImageSet]:
    """Add a number to the name of each set whose name is taken."""
    taken: set[str] = set()
    results = []
    for images in sets:
        # The first free name of scans, scans (2), scans (3), ...
        names = (images.name if number == 1 else f"{images.name} ({number})" for number in count(1))
        name = next(name for name in names if name not in taken)
        taken.add(name)
        results.append(replace(images, name=name))
    return results


def change_classes(images: ImageSet, changes: ClassChanges) -> ImageSet:
    """Return the images with new names for some classes, and without those that are left out.

    Raises:
        ParameterError: no image is left.
    """
    keeps = changes.keeps(images.labels)
    left_out = changes.n_dropped(images.labels)
    if left_out:
        if not keeps.any():
            raise ParameterError(
                f"{images.name}: {dropped_text(left_out)}, so that none is left; keep a class"
            )
        images = replace(images.take(keeps), left_out=left_out)
    return replace(images, labels=changes.rename(images.labels))


def group_names(sets: Sequence[ImageSet]) -> tuple[list[str], list[frozenset[str]]]:
    """Return the names that relate each image to others, as keys of `join_groups`.

    Returns:
        Names of groups that are unique to one set; and names that mean the same in all sets.
    """
    own = []
    common = []
    for number, images in enumerate(sets):
        # The number of the set keeps equal names of two sets apart.
        own += [f"{number} {group}" if group else "" for group in images.groups]
        common += images.names.common_keys()
    return own, common


def select_thumbnails(sets: Sequence[ImageSet], rows: NDArray[np.intp]) -> NDArray[np.uint8]:
    """Return thumbnails of images by their numbers through all sets.

    Args:
        sets: the sets, numbered through.
        rows: numbers of images, ascending.
    """
    starts = np.cumsum([0, *(len(images) for images in sets)])
    # The empty part gives the result its shape if there are no rows.
    parts = [np.empty((0, THUMBNAIL, THUMBNAIL), np.uint8)]
    for images, start, end in zip(sets, starts[:-1], starts[1:], strict=True):
        inside = rows[(rows >= start) & (rows < end)]
        parts.append(images.thumbnails[inside - start])
    return np.concatenate(parts)
