"""Labelled images in a CSV file with the columns `path,label[,split][,group]`."""

from __future__ import annotations

import csv
import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ...errors import ManifestError
from ..output.csv import restore_text
from ..splits import SPLIT_NAMES

GROUP_COLUMN = "group"
"""Default column of a CSV that names the group of each image."""


@dataclass(frozen=True, slots=True)
class ListedImage:
    """One image of a CSV file.

    Attributes:
        path: path relative to the folder of the CSV file, with "/" between parts.
        sha256: SHA-256 of the file, hexadecimal; "" if it cannot be read.
        label: name of its class.
        split: "train", "validation", "test" or "".
        group: name of its group; "" for none.
    """

    path: str
    sha256: str
    label: str
    split: str
    group: str


def read_image_list(
    source: Path, group_column: str | None = None, *, require_groups: bool = True
) -> tuple[list[ListedImage], list[tuple[str, str]]]:
    """List the images of a CSV file.

    Args:
        source: the CSV file.
        group_column: column that names the group; by default `GROUP_COLUMN`, if it exists.
        require_groups: raise an error if the column that `group_column` names is missing.

    Returns:
        The images, sorted by path; and the paths that are skipped, each with the reason.

    Raises:
        ManifestError: the file cannot be read, has no images, or a line of it is invalid.
    """
    images: dict[str, ListedImage] = {}
    skipped: list[tuple[str, str]] = []
    column = group_column or GROUP_COLUMN
    try:
        with source.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            columns = set(reader.fieldnames or ())
            _check_columns(source, columns, column, require_groups)
            for row in reader:
                place = f"{source}, line {reader.line_num}"
                image = _read_row(row, source.parent, place, column)
                # Two equal lines mean the same; of two different lines, one must be wrong.
                listed = images.setdefault(image.path, image)
                if listed != image:
                    raise ManifestError(
                        f"{place}: {image.path} is listed twice with different labels, splits "
                        "or groups; keep one line"
                    )
                if listed is not image:
                    skipped.append((image.path, "listed twice"))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{source}: cannot be read as a CSV file ({error})") from None
    if not images:
        raise ManifestError(f"{source}: no images; list at least one below the header")
    return [images[path] for path in sorted(images)], skipped


def _check_columns(
    source: Path, columns: set[str], group_column: str, require_groups: bool
) -> None:
    """Raise ManifestError if a column is missing."""
    if not {"path", "label"} <= columns:
        raise ManifestError(
            f"{source}: the first line must name the columns path,label[,split][,group]"
        )
    required = require_groups and group_column != GROUP_COLUMN
    if required and group_column not in columns:
        raise ManifestError(
            f"{source}: has no column {group_column!r}; choose one of {', '.join(sorted(columns))}"
        )


def _read_row(row: dict[str, str | None], root: Path, place: str, group_column: str) -> ListedImage:
    """Read one line of a CSV file.

    Args:
        row: cells by column.
        root: folder that paths are relative to.
        place: file and line, for messages.
        group_column: column that names the group.

    Raises:
        ManifestError: a cell is missing or invalid.
    """
    path = restore_text((row["path"] or "").strip())
    label = restore_text((row["label"] or "").strip())
    if not path or not label:
        raise ManifestError(f"{place}: path and label must not be empty")
    if "\0" in "".join(text for text in row.values() if isinstance(text, str)):
        raise ManifestError(f"{place}: holds a null byte; remove it")
    # Reading a pipe would wait for ever. Unlike pathlib, these functions never raise an error.
    if os.path.exists(root / path) and not os.path.isfile(root / path):  # noqa: PTH110, PTH113
        raise ManifestError(f"{place}: {path} is not a regular file; list image files only")
    split = (row.get("split") or "").strip()
    if split and split.lower() not in SPLIT_NAMES:
        raise ManifestError(
            f"{place}: split must be train, validation, test or empty, got {split!r}"
        )
    # A file that cannot be read is listed without SHA-256, so that extraction reports it.
    sha256 = ""
    with suppress(OSError), (root / path).open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    group = restore_text((row.get(group_column) or "").strip())
    # "./a.png" and "a.png" are one image.
    normal_path = Path(os.path.normpath(path)).as_posix()
    return ListedImage(normal_path, sha256, label, SPLIT_NAMES.get(split.lower(), ""), group)
