"""The image sets of a study: how they are read, and the few images of a quick study."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

import numpy as np

from ...data.lists.image_list import read_paths
from ...data.lists.list_header import read_header
from ...data.lists.patients import compile_expression, matching_part
from ...data.manifest import Image, Manifest, manifest_lines, read_manifest
from ...data.output.files import write_whole
from ...data.output.slice_choice import SliceChoice
from ...data.splits import Split, join_groups
from ...errors import ManifestError
from .settings import QUICK_IMAGES, StudySettings


@dataclass(frozen=True)
class StudyImages:
    """An image set of a study.

    Attributes:
        path: its folder or list.
        options: values of the options that say how it is read, by "--layout" and so on.
        ignore_patient_ids: True to leave PatientIDs out.
    """

    path: Path
    options: Mapping[str, str] = field(default_factory=dict)
    ignore_patient_ids: bool = False

    @property
    def arguments(self) -> tuple[str, ...]:
        """The options as a command takes them."""
        flag = ("--ignore-patient-ids",) * self.ignore_patient_ids
        return (*chain.from_iterable(self.options.items()), *flag)


def source_to_train_on(settings: StudySettings, path: Path) -> StudyImages:
    """Return the training images with all options; one that does not fit them is an error later."""
    options = _options(settings, path, bool, bool)
    return StudyImages(path, options, settings.ignore_patient_ids)


def source_to_test_on(settings: StudySettings, path: Path) -> StudyImages:
    """Return a test set with the options that fit it: it may have no ids of patients.

    Raises:
        ManifestError: the list cannot be read.
    """

    def has_column(name: str) -> bool:
        if not name or path.is_dir():
            return False
        text = path.read_text("utf-8-sig", errors="replace")
        return name in read_header(path, text).columns

    def matches(text: str) -> bool:
        expression = compile_expression(text or None)
        if expression is None:
            return False
        return any(matching_part(expression, name) for name in _names(path))

    options = _options(settings, path, has_column, matches)
    return StudyImages(path, options, settings.ignore_patient_ids)


def _names(path: Path) -> list[str]:
    """Return the paths of the files of an image set, relative to its folder."""
    if not path.is_dir():
        return [os.path.relpath(name, path.parent) for name in read_paths(path)]
    return [
        os.path.relpath(Path(place, name), path)
        for place, _, names in os.walk(path, followlinks=True)
        for name in names
    ]


def _options(
    settings: StudySettings,
    path: Path,
    has_column: Callable[[str], bool],
    matches: Callable[[str], bool],
) -> dict[str, str]:
    """Return the options with which commands read an image set, with their values.

    Args:
        settings: the settings.
        path: the folder or list.
        has_column: returns True for the name of a column that the list has.
        matches: returns True for an expression that finds something in the paths.
    """
    chosen = {
        "--group-column": settings.group_column if has_column(settings.group_column) else "",
        "--group-regex": settings.group_regex if matches(settings.group_regex) else "",
        "--layout": settings.layout if path.is_dir() else "",
        "--slices": settings.slices if settings.slices != "all" else "",
        "--axis": settings.axis if settings.axis != "axial" else "",
        "--label-from-mask": settings.label_from_mask,
    }
    return {name: value for name, value in chosen.items() if value}


def quick_source(
    settings: StudySettings, source: StudyImages, name: str, folder: Path
) -> tuple[StudyImages, str]:
    """List a few images of each class, `QUICK_IMAGES` at most, evenly spaced by their names.

    The list is `<name>-quick.csv` in the study, so that every score names it.

    Args:
        settings: the settings.
        source: the whole image set.
        name: its name.
        folder: folder of the study.

    Returns:
        The list, and a sentence on what is in it.

    Raises:
        ManifestError: the images cannot be listed.
    """
    manifest = read_images(settings, source)
    few = few_images(manifest, QUICK_IMAGES)
    groups = join_groups([image.group for image in few.images])
    split = Split(np.array([image.split for image in few.images]), np.zeros(len(groups), dtype=int))
    path = folder / f"{name}-quick.csv"
    content = "".join(manifest_lines(few, groups, split, folder))
    # An unchanged list keeps its time, so that no step is repeated.
    if not path.is_file() or path.read_bytes() != content.encode():
        write_whole(path, content)
    sentence = f"{len(few.images)} of {len(manifest.images)} images of {name}"
    return StudyImages(path, ignore_patient_ids=settings.ignore_patient_ids), sentence


def read_images(settings: StudySettings, source: StudyImages) -> Manifest:
    """List the images of a set as its options say.

    Raises:
        ManifestError: the images cannot be listed.
    """
    return read_manifest(
        source.path,
        group_column=source.options.get("--group-column"),
        group_regex=source.options.get("--group-regex"),
        read_patients=not settings.ignore_patient_ids,
        layout=source.options.get("--layout"),
        choice=SliceChoice(settings.slices, settings.axis, settings.label_from_mask or None),
    )


def few_images(manifest: Manifest, most: int) -> Manifest:
    """Take at most so many images of each class and split, evenly spaced in their order.

    Raises:
        ManifestError: there is no image.
    """
    members: dict[tuple[str, str], list[Image]] = defaultdict(list)
    for image in manifest.images:
        members[image.split, image.label].append(image)
    chosen: list[Image] = []
    for images in members.values():
        places = np.linspace(0, len(images) - 1, min(most, len(images))).round().astype(int)
        chosen += [images[place] for place in places]
    if not chosen:
        raise ManifestError(f"{manifest.source}: no images")
    return replace(manifest, images=tuple(sorted(chosen, key=lambda image: image.path)))
