"""Lists of labelled images, made from a folder tree or a CSV file."""

from __future__ import annotations

import csv
import hashlib
import os
import re
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from ..errors import ManifestError, ParameterError
from .formats.images import patient_group
from .formats.table import HEAD_BYTES, IMAGE_ENDINGS, image_kind

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
"""Folder names (in any case) and CSV values that name a split, and the split they name."""


@dataclass(frozen=True, slots=True)
class Image:
    """One image of a manifest: what identifies it (`path`, `sha256`) and what is said of it.

    Attributes:
        path: relative to the manifest's root, with "/" between parts.
        sha256: SHA-256 of the file, hexadecimal; empty if it could not be read.
        label: its class.
        split: "train", "validation", "test" or "".
        group: images of one group stay on one side of a split; "" for none.
    """

    path: str
    sha256: str
    label: str
    split: str = ""
    group: str = ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A list of labelled images, in a fixed order.

    Attributes:
        source: the folder or CSV that was read.
        root: the folder that paths are relative to.
        images: sorted by path; no two have the same path.
        skipped: what was found and left out, as (path, reason).
    """

    source: Path
    root: Path
    images: tuple[Image, ...]
    skipped: tuple[tuple[str, str], ...] = ()

    @property
    def classes(self) -> dict[str, int]:
        """Number of images of each class, by name."""
        return dict(sorted(Counter(image.label for image in self.images).items()))


def read_manifest(
    source: str | os.PathLike[str],
    *,
    group_column: str | None = None,
    group_regex: str | None = None,
    least_classes: int = 2,
    unmatched: str = "refused",
) -> Manifest:
    """The images of a folder (`FOLDER/<class>/...`, `FOLDER/{train,val,test}/<class>/...`) or a CSV file.

    The CSV has a header and the columns `path,label[,split][,group]`; its paths are relative to its
    own folder. Images without a group of their own that are DICOM files are grouped by their
    patient; see `dicom.patient_group`.

    Args:
        source: the folder or CSV.
        group_column: column of the CSV that names the group, instead of `group`.
        group_regex: searched in each path; what its first group holds, or else all that it matches,
            names the group of an image that has none yet. Paths in which it is not found have none.
        least_classes: fewer are refused.
        unmatched: "refused" or "ignored", if the regular expression is found in no path, or the
            column is not there.

    Raises:
        ManifestError: nothing is there, no images are found, they have too few classes, or the
            regular expression is found in no path.
        ParameterError: a column for a folder, or no regular expression.

    Examples:
        >>> from freezeframe.data.demo.images import make_demo_images
        >>> read_manifest(make_demo_images("demo", per_class=10)).classes
        {'lesion': 10, 'no_lesion': 10}
    """
    source, grouping = Path(source), _compiled(group_regex)
    if source.is_dir():
        if group_column is not None and unmatched == "refused":
            raise ParameterError(
                f"{source}: a folder has no column {group_column!r}; use a regular expression of the path"
            )
        manifest = _from_folder(source)
    elif source.is_file():
        manifest = _from_csv(source, group_column or "group", unmatched)
    else:
        raise ManifestError(f"{source}: no such folder or file")
    manifest = _grouped(manifest, grouping, unmatched)
    classes = manifest.classes
    if len(classes) < least_classes:
        (label,) = classes
        raise ManifestError(
            f"{source}: all {len(manifest.images)} images are of one class, {label!r}; two are needed"
            + f" (is {source / label} the folder you mean?)" * (source / label).is_dir()
        )
    return manifest


def _compiled(expression: str | None) -> re.Pattern[str] | None:
    try:
        return None if expression is None else re.compile(expression)
    except re.error as error:
        raise ParameterError(f"{expression!r} is no regular expression: {error}") from None


def _grouped(manifest: Manifest, expression: re.Pattern[str] | None, unmatched: str) -> Manifest:
    """The manifest with groups for images that have none: by the expression, else by the patient of a DICOM file."""
    images, found = [], 0
    for image in manifest.images:
        group = image.group
        match = expression.search(image.path) if expression is not None and not group else None
        if match is not None:
            group = next((part for part in match.groups() if part), match[0])
            found += bool(group)
        images.append(replace(image, group=group or patient_group(manifest.root / image.path)))
    if expression is not None and not found and unmatched == "refused":
        raise ManifestError(
            f"{manifest.source}: {expression.pattern!r} is found in no path; the first is {manifest.images[0].path}"
        )
    return replace(manifest, images=tuple(images))


def _from_folder(root: Path) -> Manifest:
    skipped: list[tuple[str, str]] = []
    files: list[tuple[PurePosixPath, str]] = []
    for path in _walk(root, skipped):
        relative = _shown(path, root)
        sha256, problem = _inspect(path)
        if relative != path.relative_to(root).as_posix():
            problem = "its name is not valid UTF-8; rename it"
        if problem:
            skipped.append((relative, problem))
        else:
            files.append((PurePosixPath(relative), sha256))
    images = _label(root, files, skipped)
    if not images:
        loose = len(files) and " in class folders; wanted is FOLDER/<class>/<image>"
        raise ManifestError(f"{root}: no images{loose or ''}")
    return Manifest(
        root, root, tuple(sorted(images, key=lambda image: image.path)), tuple(sorted(skipped))
    )


def _walk(root: Path, skipped: list[tuple[str, str]]) -> Iterator[Path]:
    """Every visible file below root. Links are followed, but no folder is walked twice; real folders come first."""
    pending = deque([root])
    above = (
        root.resolve().parents
    )  # a link to one of these would bring in what lies beside the root
    seen = {(status.st_dev, status.st_ino) for status in map(os.stat, above)}
    while pending:
        folder = pending.popleft()
        try:
            status = folder.stat()
            identity = (status.st_dev, status.st_ino)
            entries = (
                sorted(os.scandir(folder), key=lambda entry: entry.name)
                if identity not in seen
                else None
            )
        except OSError as error:
            skipped.append((_shown(folder, root), f"cannot be opened ({error.strerror})"))
            continue
        if entries is None:
            skipped.append(
                (
                    _shown(folder, root),
                    "a link to a folder that is listed already or holds this one",
                )
            )
            continue
        seen.add(identity)
        for entry in entries:
            path = Path(entry.path)
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                skipped.append((_shown(path, root), "hidden"))
            elif entry.is_dir(follow_symlinks=False):
                pending.appendleft(path)
            elif entry.is_dir():
                pending.append(path)
            elif entry.is_file():
                yield path
            else:
                skipped.append((_shown(path, root), "a broken link or special file"))


def _shown(path: Path, root: Path) -> str:
    """A path below root as text that can be stored, whatever bytes its name holds."""
    return os.fsencode(path.relative_to(root).as_posix()).decode("utf-8", "replace")


def _inspect(path: Path) -> tuple[str, str]:
    """A file's SHA-256, or the reason why it is not listed. What has an image's ending is listed even if damaged."""
    named_as_image = path.suffix.lower() in IMAGE_ENDINGS
    try:
        with path.open("rb") as file:
            if image_kind(file.read(HEAD_BYTES)) is None and not named_as_image:
                return "", "not an image"
            file.seek(0)
            return hashlib.file_digest(file, "sha256").hexdigest(), ""
    except OSError as error:
        # Listed, so that extraction reports it among the unreadable images.
        return "", "" if named_as_image else f"cannot be read ({error.strerror})"


def _label(
    root: Path, files: Sequence[tuple[PurePosixPath, str]], skipped: list[tuple[str, str]]
) -> list[Image]:
    """Images from files below a root: splits and classes from the names of the folders they lie in."""
    by_split = _is_split(root, {path.parts[: min(2, len(path.parts) - 1)] for path, _ in files})
    images = []
    for path, sha256 in files:
        split, below = ("", path.parts)
        if by_split:
            split, below = SPLIT_NAMES.get(below[0].lower(), ""), below[1:]
        if len(below) < 2:
            skipped.append((str(path), "lies in no class folder"))
        else:
            images.append(Image(str(path), sha256, below[0], split))
    return _without_copies_of_the_tree(root, images, skipped)


def _is_split(root: Path, folders: set[tuple[str, ...]]) -> bool:
    """Whether the folders at the top are splits, from the first two parts of all folders that hold images."""
    tops = {folder[0] for folder in folders if folder}
    nested = {folder[0] for folder in folders if len(folder) > 1}
    named = {top for top in tops if top.lower() in SPLIT_NAMES}
    splits = {SPLIT_NAMES[top.lower()] for top in named & nested}
    # A class can be called "test", too. Folders below "train", or below two such names, tell that
    # they are splits.
    if not ("train" in splits or len(splits) > 1 or (splits and named == tops)):
        if len(tops) > 1 and named == tops:
            raise ManifestError(
                f"{root}: {', '.join(sorted(tops))} look like splits, but hold no class folders"
            )
        return False
    if nested > named & nested:
        raise ManifestError(
            f"{root}: {', '.join(sorted(named & nested))} look like splits, but {', '.join(sorted(nested - named))} "
            "beside them does not; move it away, or list the images in a CSV"
        )
    return True


def _without_copies_of_the_tree(
    root: Path, images: list[Image], skipped: list[tuple[str, str]]
) -> list[Image]:
    """Handle a tree that contains itself: `FOLDER/yes`, `FOLDER/no` and again `FOLDER/all/yes`, `FOLDER/all/no`.

    A folder is a copy, and no class, if most of its images repeat images of other classes, byte for
    byte and under the same names from the class folder on, at whatever depth.
    """
    listed = {(_from_class(image), image.sha256) for image in images}
    total, repeating = Counter(image.label for image in images), Counter[str]()
    repeats = {}
    for image in images:
        parts = _from_class(image)
        repeats[image.path] = any(
            (parts[start:], image.sha256) in listed for start in range(1, len(parts) - 1)
        )
        repeating[image.label] += repeats[image.path]
    copies = {label for label, count in repeating.items() if 2 * count > total[label]}
    _refuse_unclear_wrappers(root, images, copies)
    for image in images:
        if image.label in copies:
            once_more = "in a copy that the folder holds of itself"
            skipped.append(
                (image.path, once_more if repeats[image.path] else f"{once_more}, and nowhere else")
            )
    return [image for image in images if image.label not in copies]


def _refuse_unclear_wrappers(root: Path, images: list[Image], copies: set[str]) -> None:
    """Refuse a folder that holds nothing but folders named as the classes beside it, with other images."""
    inner: dict[str, set[str]] = defaultdict(set)
    for image in images:
        _, first, *rest = _from_class(image)
        inner[image.label].add(first if rest else "")
    for label, names in sorted(inner.items()):
        if label not in copies and len(names) > 1 and names <= inner.keys() - {label}:
            raise ManifestError(
                f"{root}: {label} holds folders named as the classes, but other images; "
                "move it away, or list the images in a CSV"
            )


def _from_class(image: Image) -> tuple[str, ...]:
    """Parts of an image's path from its class folder on."""
    return PurePosixPath(image.path).parts[1 if image.split else 0 :]


def _from_csv(source: Path, group_column: str, unmatched: str) -> Manifest:
    images: dict[str, Image] = {}
    skipped: list[tuple[str, str]] = []
    try:
        with source.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            columns = set(reader.fieldnames or ())
            if not {"path", "label"} <= columns:
                raise ManifestError(
                    f"{source}: the first line must name the columns path,label[,split][,group]"
                )
            if group_column not in columns and group_column != "group" and unmatched == "refused":
                raise ManifestError(
                    f"{source}: has no column {group_column!r}; it has {', '.join(sorted(columns))}"
                )
            for row in reader:
                where = f"{source}, line {reader.line_num}"
                image = _from_csv_row(row, source.parent, where, group_column)
                known = images.setdefault(image.path, image)
                if known is not image:
                    if known != image:
                        raise ManifestError(
                            f"{where}: {image.path} stands there twice, and not alike"
                        )
                    skipped.append((image.path, "listed twice"))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{source}: cannot be read as a CSV file ({error})") from None
    if not images:
        raise ManifestError(f"{source}: no images")
    return Manifest(
        source, source.parent, tuple(images[path] for path in sorted(images)), tuple(skipped)
    )


def _from_csv_row(row: dict[str, str | None], root: Path, where: str, group_column: str) -> Image:
    path, label = (row["path"] or "").strip(), (row["label"] or "").strip()
    if not path or not label:
        raise ManifestError(f"{where}: path and label must not be empty")
    if "\0" in "".join(text for text in row.values() if isinstance(text, str)):
        raise ManifestError(f"{where}: holds a null byte")
    if os.path.exists(root / path) and not os.path.isfile(root / path):  # noqa: PTH110, PTH113 - these never raise
        raise ManifestError(f"{where}: {path} is no file")  # a pipe would be waited for
    split = (row.get("split") or "").strip()
    if split and split.lower() not in SPLIT_NAMES:
        raise ManifestError(
            f"{where}: split must be train, validation, test or empty, got {split!r}"
        )
    sha256 = ""  # if it cannot be read it is listed all the same: extraction reports it among the unreadable images
    with suppress(OSError), (root / path).open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    group = (row.get(group_column) or "").strip()
    return Image(
        Path(os.path.normpath(path)).as_posix(),
        sha256,
        label,
        SPLIT_NAMES.get(split.lower(), ""),
        group,
    )
