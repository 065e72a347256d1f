"""Lists of labelled images, read from a folder tree or a CSV file, and written as CSV."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import ManifestError, ParameterError
from .formats.unread import is_unread, read_formats
from .groups import (
    OWN,
    PATIENTS_IGNORED,
    is_digest,
    join_names,
    split_names,
    without_digests,
)
from .lists.folder_tree import read_folder_tree
from .lists.image_list import GROUP_COLUMN, PATIENT_COLUMN, ListedImage, read_image_list
from .lists.labels import check_classes, labels_from_masks
from .lists.patients import compile_expression, matching_part, patients_in_files
from .lists.skipped import skipped_lines
from .lists.volume_slices import BLANK_VOLUME, expand_volumes
from .output.csv import csv_line, defuse
from .output.slice_choice import SliceChoice
from .output.terminal import printable
from .splits import Split

NAME_DIGITS = 12
"""Digits of a file's digest in the name of a group."""


@dataclass(frozen=True, slots=True)
class Image:
    """One image of a manifest, with its label, split and group.

    Attributes:
        path: path relative to the manifest's root, with "/" between parts.
        sha256: SHA-256 of the file, hexadecimal; "" if it cannot be read.
        label: name of its class.
        split: "train", "validation", "test" or "".
        group: name of its group in this list, whose images stay on one side of a split; "" for
            none.
        patient: names of its patient or study, which mean the same in all sets, see `join_names`.
            Their images stay on one side, too. "" for none.
    """

    path: str
    sha256: str
    label: str
    split: str = ""
    group: str = ""
    patient: str = ""

    @property
    def group_scope(self) -> str:
        """`OWN` for an image with a group; "" for all others."""
        return OWN if self.group else ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A list of labelled images, in a fixed order.

    Attributes:
        source: the folder or CSV file that was read.
        root: the folder that paths are relative to.
        images: sorted by path; no two have the same path.
        skipped: paths that were skipped, each with the reason.
        notes: sentences about how the folder or list was understood, where that is not obvious.
        group_source: where groups and patients come from, for people; "" if no image has any.
        problems: why an image without SHA-256 cannot be read, by its path.
    """

    source: Path
    root: Path
    images: tuple[Image, ...]
    skipped: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    group_source: str = ""
    problems: Mapping[str, str] = field(default_factory=dict)

    @property
    def classes(self) -> dict[str, int]:
        """Number of images of each class, by name."""
        return dict(sorted(Counter(image.label for image in self.images).items()))

    @property
    def patients_ignored(self) -> bool:
        """True if PatientIDs were ignored when the images were listed."""
        return PATIENTS_IGNORED in self.group_source


def read_manifest(
    source: str | os.PathLike[str],
    *,
    group_column: str | None = None,
    group_regex: str | None = None,
    require_groups: bool = True,
    read_patients: bool = True,
    least_classes: int = 2,
    layout: str | None = None,
    choice: SliceChoice | None = None,
) -> Manifest:
    """List the images of a folder tree or a CSV file.

    A folder is `FOLDER/<class>/...` or `FOLDER/{train,val,test}/<class>/...`. A CSV has a header
    and the columns `path,label[,split][,group][,patient]`; its paths are relative to its own
    folder. Names in `group` count in this list only, names in `patient` in all sets. DICOM files
    name their patient, too; see `patient_group`. An image keeps the names of all sources.

    Args:
        source: the folder or CSV file.
        group_column: column of the CSV whose names mean the same patient or study in all sets.
        group_regex: regular expression that is searched in each path. Its first non-empty group, or
            the whole match, names a patient or study, which is the same in all sets.
        require_groups: raise an error if the column is missing, or the regular expression matches
            no path. If False, such images have no name.
        read_patients: use the PatientIDs of DICOM files, from the files or from a list that has
            their digests. Anonymised files may all have one PatientID.
        least_classes: the smallest number of classes to accept.
        layout: meaning of the folders in a folder, one of `LAYOUTS`; None lets their names decide.
        choice: slices to take of volumes, and masks that label images; None takes all axial
            slices. Slices of one volume are one group.

    Raises:
        ManifestError: the source does not exist, has no images or too few classes, or its folders
            are ambiguous; or the regular expression matches no path.
        ParameterError: a column is requested of a folder, or a layout of a list; or the regular
            expression is invalid.

    Examples:
        >>> from freezeframe.data.demo.images import make_demo_images
        >>> read_manifest(make_demo_images("demo", per_class=10)).classes
        {'lesion': 10, 'no_lesion': 10}
    """
    source = Path(source)
    expression = compile_expression(group_regex)
    choice = choice or SliceChoice()
    if choice.masks is not None and layout is not None:
        raise ParameterError(
            "--layout: folders are no classes with --label-from-mask; leave it out"
        )
    if source.is_dir():
        if group_column is not None and require_groups:
            raise ParameterError(
                f"{source}: a folder has no column {group_column!r}; "
                "use a regular expression of the path"
            )
        manifest = _read_folder(source, layout, choice)
    elif source.is_file():
        if layout is not None:
            raise ParameterError(f"{source}: a list has no folders; leave out --layout")
        manifest = _read_list(source, group_column, require_groups, choice)
    else:
        raise ManifestError(f"{source}: no such folder or file; check the path")
    manifest = _take_slices(manifest, choice)
    if expression is not None:
        manifest = _add_matches(manifest, expression, require_groups)
    manifest = _add_patients(manifest, read_patients)
    check_classes(source, manifest.classes, least_classes, manifest.skipped)
    return manifest


def listing_lines(manifest: Manifest) -> list[str]:
    """Return lines for the user: how the source was understood, and what was skipped."""
    lines = [f"note: {note}" for note in manifest.notes]
    lines += skipped_lines(manifest.skipped)
    # Files of notes are common beside images; other formats of images may be missed.
    if any(is_unread(path) for path, _ in manifest.skipped):
        lines.append(f"formats that are read: {read_formats()}")
    return [printable(line) for line in lines]


def manifest_lines(
    manifest: Manifest, groups: NDArray[np.intp], split: Split, folder: Path
) -> Iterator[str]:
    """Yield the lines of a CSV file that `read_manifest` reads.

    Args:
        manifest: the images; their paths become relative to `folder`.
        groups: group number of each image, of shape (n,). An image that is alone in its group gets
            no group name.
        split: side and fold of each image.
        folder: folder that the file will be in.

    Raises:
        ParameterError: a name begins or ends with spaces, which a CSV would lose.
    """
    names = _group_names(manifest, groups)
    # Without cross-validation, an empty column would only confuse.
    with_folds = bool(split.folds.any())
    with_patients = any(image.patient for image in manifest.images)
    optional = {PATIENT_COLUMN: with_patients, "fold": with_folds}
    columns = [column for column, present in optional.items() if present]
    yield csv_line(["path", "label", "split", GROUP_COLUMN, *columns])
    rows = zip(manifest.images, groups.tolist(), split.sides, split.folds, strict=True)
    for image, group, side, fold in rows:
        # `Path.relative_to` of Python 3.11 cannot go up.
        path = Path(os.path.relpath(manifest.root / image.path, folder)).as_posix()
        if path != path.strip() or image.label != image.label.strip():
            raise ParameterError(
                f"{image.path}: a list cannot keep spaces at the ends of a name; rename it"
            )
        # Any program opens "./=x.png", but not a path with an apostrophe in front.
        path = path if defuse(path) == path else f"./{path}"
        cells = {PATIENT_COLUMN: image.patient, "fold": str(fold) if fold else ""}
        optional_cells = [cells[column] for column in columns]
        yield csv_line([path, image.label, str(side), names[group], *optional_cells])


def _group_names(manifest: Manifest, groups: NDArray[np.intp]) -> list[str]:
    """Return the name of each group: the only name that its images have, or else a new one.

    A new name comes from a digest of a file in the group. So two lists have the same new name only
    for groups that share this file. A group of one image without a name gets the name "".
    """
    existing: dict[int, set[str]] = defaultdict(set)
    firsts: dict[int, str] = {}
    for image, group in zip(manifest.images, groups.tolist(), strict=True):
        existing[group] |= {image.group} - {""}
        firsts[group] = min(image.sha256, firsts.get(group, image.sha256))
    names = []
    for group, size in enumerate(np.bincount(groups)):
        if len(existing[group]) == 1:
            names.append(next(iter(existing[group])))
        else:
            names.append(f"group-{firsts[group][:NAME_DIGITS]}" if size > 1 else "")
    return names


def _add_matches(manifest: Manifest, expression: re.Pattern[str], require_groups: bool) -> Manifest:
    """Add the names that an expression finds in the paths."""
    matches = [matching_part(expression, image.path) for image in manifest.images]
    if any(matches):
        return _with_patients(manifest, matches, f"expression {expression.pattern}")
    # An expression without any match is most likely a mistake.
    if require_groups:
        raise ManifestError(
            f"{manifest.source}: the regular expression {expression.pattern!r} matches no path; "
            f"correct it for paths such as {manifest.images[0].path}"
        )
    return manifest


def _add_patients(manifest: Manifest, read_patients: bool) -> Manifest:
    """Add the patients that the image files name, or record that they are ignored."""
    if read_patients:
        patients = patients_in_files(manifest.root, [image.path for image in manifest.images])
        return _with_patients(manifest, patients, "PatientID of the files")
    # A list that `split` wrote has the digests of PatientIDs.
    images = [replace(image, patient=without_digests(image.patient)) for image in manifest.images]
    return _with_source(replace(manifest, images=tuple(images)), PATIENTS_IGNORED)


def _with_patients(manifest: Manifest, patients: Sequence[str], source: str) -> Manifest:
    """Add a name of a patient to each image; "" adds none.

    Args:
        manifest: the images.
        patients: the names, in the order of the images.
        source: text on where the names come from.
    """
    if not any(patients):
        return manifest
    images = []
    for image, patient in zip(manifest.images, patients, strict=True):
        images.append(replace(image, patient=join_names([*split_names(image.patient), patient])))
    return _with_source(replace(manifest, images=tuple(images)), source)


def _with_source(manifest: Manifest, source: str) -> Manifest:
    """Add a text to the sources of groups and patients."""
    sources = [*filter(None, [manifest.group_source]), source]
    return replace(manifest, group_source=", ".join(sources))


def _take_slices(manifest: Manifest, choice: SliceChoice) -> Manifest:
    """Replace each volume by its slices, and label images by their masks if that is chosen."""
    files = [(image.path, image.sha256, image.group) for image in manifest.images]
    rows, blank = expand_volumes(manifest.root, files, choice)
    images = [
        replace(manifest.images[row.place], path=row.path, sha256=row.sha256, group=row.group)
        for row in rows
    ]
    notes = manifest.notes
    if choice.masks is not None:
        labels, more = labels_from_masks(manifest.root, [row.path for row in rows], choice)
        images = [replace(image, label=label) for image, label in zip(images, labels, strict=True)]
        notes += more
    skipped = manifest.skipped + tuple((volume, BLANK_VOLUME) for volume in blank)
    taken = replace(manifest, images=tuple(images), notes=notes, skipped=skipped)
    return _with_source(taken, "volumes") if any(row.volume for row in rows) else taken


def _read_folder(root: Path, layout: str | None, choice: SliceChoice) -> Manifest:
    tree, skipped, notes = read_folder_tree(root, layout, choice.masks)
    images = [Image(str(image.path), image.sha256, image.label, image.split) for image in tree]
    images.sort(key=lambda image: image.path)
    problems = {str(image.path): image.problem for image in tree if image.problem}
    return Manifest(root, root, tuple(images), tuple(sorted(skipped)), notes, problems=problems)


def _read_list(
    source: Path, group_column: str | None, require_groups: bool, choice: SliceChoice
) -> Manifest:
    listed, skipped, notes = read_image_list(
        source,
        group_column,
        require_groups=require_groups,
        labelled=choice.masks is None,
    )
    images = [_listed_image(row) for row in listed]
    problems = {row.path: row.problem for row in listed if row.problem}
    columns = []
    if any(row.group for row in listed):
        columns.append(GROUP_COLUMN)
    if any(row.patient for row in listed) and group_column != PATIENT_COLUMN:
        columns.append(PATIENT_COLUMN)
        notes = (*notes, f"the column {PATIENT_COLUMN} names patients, the same in all sets")
    if group_column is not None and any(row.chosen_name for row in listed):
        columns.append(group_column)
    return Manifest(
        source,
        source.parent,
        tuple(images),
        tuple(skipped),
        notes,
        ", ".join(f"column {column}" for column in columns),
        problems,
    )


def _listed_image(row: ListedImage) -> Image:
    """Make an image of a line of a list."""
    group = row.group
    patients = [*split_names(row.patient), row.chosen_name]
    # Earlier lists of `split` have the digest of a PatientID as the group.
    if is_digest(group):
        patients.append(group)
        group = ""
    return Image(row.path, row.sha256, row.label, row.split, group, join_names(patients))
