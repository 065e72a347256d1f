"""Sets of images to be held against each other, from folders, lists or stores."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..fingerprints import THUMBNAIL
from ..inspection.facts import ImageFacts
from ..manifest import Manifest

PATIENT = re.compile("patient-[0-9a-f]{16}")
"""What a group is called that was made of a PatientID."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """The images of one folder, list or store.

    Attributes:
        name: what it is called.
        paths, sha256s, labels, splits, groups: of each image, as in a manifest.
        pixels: digests of the decoded pixels; "" of an image that could not be read.
        thumbnails: uint8 of shape (n, THUMBNAIL, THUMBNAIL); of no meaning where `pixels` is empty.
        root: the folder that paths are relative to; None if the files are not at hand.
        groups_are_common: a name in `groups` means the same in other sets, too.
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
    groups_are_common: bool = False

    @classmethod
    def of(cls, manifest: Manifest, inspected: Sequence[ImageFacts]) -> ImageSet:
        """The images of a manifest, and what `inspect_images` found of them."""
        prints = [found.fingerprint for found in inspected]
        thumbnails = np.zeros((len(prints), THUMBNAIL, THUMBNAIL), np.uint8)
        for place, found in zip(thumbnails, prints, strict=True):
            if found is not None:
                place[:] = found.thumbnail
        images = manifest.images
        return cls(
            manifest.source.resolve().name,
            [image.path for image in images],
            [image.sha256 for image in images],
            [image.label for image in images],
            [image.split for image in images],
            [image.group for image in images],
            ["" if found is None else found.pixels for found in prints],
            thumbnails,
            manifest.root,
        )

    def __len__(self) -> int:
        return len(self.paths)


def named_apart(sets: Sequence[ImageSet]) -> list[ImageSet]:
    """Sets of one name get a number."""
    taken: set[str] = set()
    apart = []
    for each in sets:
        names = (each.name if number == 1 else f"{each.name} ({number})" for number in count(1))
        name = next(name for name in names if name not in taken)
        taken.add(name)
        apart.append(replace(each, name=name))
    return apart


def given_groups(sets: Sequence[ImageSet]) -> tuple[list[str], list[str]]:
    """Two names for the group of each image, "" without one: what it is called in its set, and in all sets.

    Digests of a PatientID mean the same everywhere.
    """
    own = [
        f"{number} {group}" * bool(group)
        for number, each in enumerate(sets)
        for group in each.groups
    ]
    common = [
        group if each.groups_are_common or PATIENT.fullmatch(group) else ""
        for each in sets
        for group in each.groups
    ]
    return own, common


def renamed(images: ImageSet, classes: Mapping[str, str]) -> ImageSet:
    """The same images with other names for some classes."""
    return replace(images, labels=[classes.get(label, label) for label in images.labels])


def thumbnails_of(sets: Sequence[ImageSet], rows: NDArray[np.intp]) -> NDArray[np.uint8]:
    """Thumbnails of images by their numbers through all sets, ascending."""
    starts = np.cumsum([0, *(len(each) for each in sets)])
    parts = [
        each.thumbnails[rows[(rows >= start) & (rows < end)] - start]
        for each, start, end in zip(sets, starts[:-1], starts[1:], strict=True)
    ]
    return np.concatenate([np.empty((0, THUMBNAIL, THUMBNAIL), np.uint8), *parts])
