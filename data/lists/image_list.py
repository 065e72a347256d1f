"""Labelled images in a CSV file with the columns `path,label[,split][,group][,patient]`."""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ...errors import ImageError, ManifestError
from ..formats.image_file import open_image
from ..formats.regular_file import file_sha256, open_regular, read_regular
from ..formats.volumes.slice_path import SERIES, split_slice
from ..output.csv import restore_text
from ..splits import SPLIT_NAMES
from .list_header import REQUIRED, read_header

GROUP_COLUMN = "group"
"""Column of a CSV that names the group of each image; its names count in that list only."""

PATIENT_COLUMN = "patient"
"""Column of a CSV that names the patient of each image, the same in all sets."""

NO_SUCH_FILE = "no such file"

NO_LABEL = {"label": "unlabelled"}
"""Cell of a row whose label comes from elsewhere."""


@dataclass(frozen=True, slots=True)
class ListedImage:
    """One image of a CSV file.

    Attributes:
        path: path relative to the folder of the CSV file, with "/" between parts.
        sha256: SHA-256 of the file, hexadecimal; "" if it cannot be read.
        label: name of its class.
        split: "train", "validation", "test" or "".
        group: name of its group in this list; "" for none.
        patient: text of the column `PATIENT_COLUMN`; "" for none.
        chosen_name: text of the column that the user chose to name patients; "" for none.
        problem: why the file cannot be read; "" if it can.
    """

    path: str
    sha256: str
    label: str
    split: str
    group: str
    patient: str
    chosen_name: str
    problem: str = ""


def read_image_list(
    source: Path,
    group_column: str | None = None,
    *,
    require_groups: bool = True,
    labelled: bool = True,
) -> tuple[list[ListedImage], list[tuple[str, str]], tuple[str, ...]]:
    """List the images of a CSV file.

    Args:
        source: the CSV file.
        group_column: column whose names mean the same patient or study in all sets, beside those
            of `PATIENT_COLUMN`.
        require_groups: raise an error if the column that `group_column` names is missing.
        labelled: True if the list must have labels; False leaves them out.

    Returns:
        The images, sorted by path; the paths that are skipped, each with the reason; and notes
        about the list.

    Raises:
        ManifestError: the file cannot be read, has no images, or a line of it is invalid.
    """
    images: dict[str, ListedImage] = {}
    skipped: list[tuple[str, str]] = []
    lines = _read_text(source)
    header = read_header(source, lines, REQUIRED if labelled else ("path",))
    if require_groups and group_column and group_column not in header.columns:
        raise ManifestError(
            f"{source}: has no column {group_column!r}; "
            f"choose one of {', '.join(sorted(header.columns))}"
        )
    for place, row in _rows(source, lines, header.columns, header.delimiter):
        image = _read_row(row if labelled else row | NO_LABEL, source.parent, place, group_column)
        # Two equal lines mean the same; of two different lines, one must be wrong.
        listed = images.setdefault(image.path, image)
        if listed != image:
            raise ManifestError(
                f"{place}: {image.path} is listed twice with different labels, splits "
                "or groups; keep one line"
            )
        if listed is not image:
            skipped.append((image.path, "listed twice"))
    if not images:
        raise ManifestError(f"{source}: no images; list at least one below the header")
    ordered = [images[path] for path in sorted(images)]
    return ordered, skipped, (*header.notes, *_missing_notes(source.parent, ordered))


def read_paths(source: Path) -> list[Path]:
    """List the images of a CSV file by its column path; labels are not needed.

    Returns:
        The paths in the order of the file; relative ones start from its folder.

    Raises:
        ManifestError: the file cannot be read, has no column path, or has no images.
    """
    lines = _read_text(source)
    header = read_header(source, lines, required=("path",))
    rows = _rows(source, lines, header.columns, header.delimiter)
    paths = [source.parent / restore_text(row["path"].strip()) for _, row in rows]
    if not paths:
        raise ManifestError(f"{source}: no images; list at least one below the header")
    return paths


def _read_text(source: Path) -> str:
    """Read a CSV file, and keep its line ends.

    Raises:
        ManifestError: it is no regular file, too large, or no UTF-8 text.
    """
    try:
        return read_regular(source).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problem = f"cannot be read as a CSV file ({error.reason} at byte {error.start})"
        raise ManifestError(f"{source}: {problem}; save it as CSV in UTF-8") from None
    except (OSError, ImageError) as error:
        raise ManifestError(f"{source}: cannot be read as a CSV file ({error})") from None


def _rows(
    source: Path, text: str, columns: Sequence[str], delimiter: str
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield each line below the header: its place for messages, and its cells by column.

    Raises:
        ManifestError: a line is no CSV, or has more cells than the header.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        next(reader)
        for cells in reader:
            place = f"{source}, line {reader.line_num}"
            if len(cells) > len(columns) and any(map(str.strip, cells[len(columns) :])):
                raise ManifestError(
                    f"{place}: has {len(cells)} cells, but the header names {len(columns)} "
                    'columns; put a cell that holds the delimiter in "quotes"'
                )
            # An empty line is no row.
            if cells:
                padded = [*cells, *[""] * len(columns)]
                yield place, dict(zip(columns, padded, strict=False))
    except csv.Error as error:
        raise ManifestError(f"{source}: cannot be read as a CSV file ({error})") from None


def _read_row(row: dict[str, str], root: Path, place: str, group_column: str | None) -> ListedImage:
    """Read one line of a CSV file.

    Args:
        row: cells by column.
        root: folder that paths are relative to.
        place: file and line, for messages.
        group_column: column whose names mean the same in all sets; None for none.

    Raises:
        ManifestError: a cell is missing or invalid.
    """
    path = restore_text(row["path"].strip())
    label = restore_text(row["label"].strip())
    if not path or not label:
        raise ManifestError(f"{place}: path and label must not be empty")
    if "\0" in "".join(row.values()):
        raise ManifestError(f"{place}: holds a null byte; remove it")
    # Unlike pathlib, these functions never raise an error.
    if os.path.exists(root / path) and not os.path.isfile(root / path):  # noqa: PTH110, PTH113
        raise ManifestError(f"{place}: {path} is not a regular file; list image files only")
    split = row.get("split", "").strip()
    if split and split.lower() not in SPLIT_NAMES:
        raise ManifestError(
            f"{place}: split must be train, validation, test or empty, got {split!r}"
        )
    sha256, problem = _digest(root / path)
    # A column that the user names has a wider meaning than `group`.
    group = _cell(row, GROUP_COLUMN) if group_column != GROUP_COLUMN else ""
    # "./a.png" and "a.png" are one image.
    normal_path = Path(os.path.normpath(path)).as_posix()
    return ListedImage(
        normal_path,
        sha256,
        label,
        SPLIT_NAMES.get(split.lower(), ""),
        group,
        _cell(row, PATIENT_COLUMN),
        _cell(row, group_column or ""),
        problem,
    )


def _cell(row: Mapping[str, str], column: str) -> str:
    """Return the text of a cell; "" if there is no such column."""
    return restore_text(row.get(column, "").strip())


def _digest(path: Path) -> tuple[str, str]:
    """Return the SHA-256 of a file or slice, and the reason if it cannot be read.

    A file that cannot be read is listed without SHA-256, so that extraction reports it.
    """
    volume, name = split_slice(path)
    try:
        if name is not None and name.axis == SERIES:
            return open_image(path).sha256, ""
        if name is not None:
            status = Path(volume).stat()
            sha256 = _volume_digest(volume, status.st_size, status.st_mtime_ns)
            return name.sha256(sha256), ""
        with open_regular(path) as (file, n_bytes):
            return file_sha256(file, n_bytes), ""
    except (FileNotFoundError, NotADirectoryError):
        return "", f"{NO_SUCH_FILE}: {path.absolute()}"
    except ImageError as error:
        return "", str(error)
    except (OSError, ValueError) as error:
        return "", f"cannot be read ({getattr(error, 'strerror', None) or error})"


@lru_cache(maxsize=16)
def _volume_digest(path: str, _n_bytes: int, _time: int) -> str:
    """Return the SHA-256 of a volume, once for rows of its slices; a changed file is read again."""
    with open_regular(path) as (file, n_bytes):
        return file_sha256(file, n_bytes)


def _missing_notes(root: Path, images: Sequence[ListedImage]) -> list[str]:
    """Return one sentence about all files that do not exist, with what is likely wrong."""
    missing = [image.path for image in images if image.problem.startswith(NO_SUCH_FILE)]
    if not missing:
        return []
    absolute = Path(missing[0]).is_absolute()
    folder = "" if absolute else f", looked for in {root.absolute()}, the folder of the list"
    note = f"{len(missing)} of {len(images)} listed files do not exist, first {missing[0]}{folder}"
    # The same mistake is in most paths, so the most frequent hint is enough.
    hints = Counter(hint for path in missing if (hint := _hint(root, path)))
    return ["; ".join([note, *(hint for hint, _ in hints.most_common(1))])]


def _hint(root: Path, path: str) -> str:
    """Return what is likely wrong with the path of a file that does not exist; "" if unknown."""
    if os.name != "nt" and re.match(r"[A-Za-z]:[\\/]", path):
        return "drive letters are unknown here; write paths relative to the list"
    if os.name != "nt" and "\\" in path:
        exists = os.path.isfile(root / path.replace("\\", "/"))  # noqa: PTH113
        advice = "replace the backslashes in paths by /"
        return f"{advice}, then the files exist" if exists else advice
    if os.path.isfile(path):  # noqa: PTH113
        return "the file is in the current folder; move the list there, or write paths from its own"
    return ""
