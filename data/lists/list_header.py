"""The first line of a CSV file: its columns, and the character between them."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import ManifestError

REQUIRED = ("path", "label")
"""Columns that each list has."""

OPTIONAL = ("split", "group", "patient")
"""Columns that a list may have."""

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
"""Characters between cells, with their names in messages."""

SYNONYMS = {
    "path": [
        "file",
        "filename",
        "file_name",
        "filepath",
        "file_path",
        "image",
        "imagepath",
        "image_path",
        "image_id",
        "img",
        "img_path",
        "id",
        "name",
    ],
    "label": [
        "class",
        "class_name",
        "classname",
        "category",
        "target",
        "diagnosis",
        "dx",
        "labels",
        "y",
    ],
}
"""Names in other people's lists, in lower case, by the column that they most likely are."""

_MOST_SHOWN = 8


@dataclass(frozen=True)
class ListHeader:
    """The columns of a list.

    Attributes:
        columns: their names, in order.
        delimiter: the character between cells.
        notes: a sentence for the user if the delimiter is no comma.
    """

    columns: tuple[str, ...]
    delimiter: str
    notes: tuple[str, ...] = ()


def read_header(source: Path, text: str, required: Sequence[str] = REQUIRED) -> ListHeader:
    """Read the first line of a CSV file.

    Semicolons or tabs are read as the ends of cells only if the line has no comma, and if the
    columns fit.

    Args:
        source: path of the file, for messages.
        text: content of the file.
        required: columns that it must have.

    Raises:
        ManifestError: the columns do not fit; the message says what the line has, and what to do.
    """
    headers = {delimiter: _cells(text, delimiter) for delimiter in DELIMITERS}
    fitting = [delimiter for delimiter, names in headers.items() if set(required) <= set(names)]
    if "," not in fitting and (len(fitting) != 1 or len(headers[","]) > 1):
        raise ManifestError(f"{source}: {_form(required)}; {_advice(headers, required)}")
    delimiter = fitting[0]
    columns = headers[delimiter]
    _check_letters(source, columns)
    doubled = sorted({name for name in columns if name and columns.count(name) > 1})
    if doubled:
        raise ManifestError(f"{source}: two columns are named {doubled[0]!r}; rename one")
    notes = () if delimiter == "," else (f"{DELIMITERS[delimiter]} are read as the ends of cells",)
    return ListHeader(tuple(columns), delimiter, notes)


def _check_letters(source: Path, columns: Sequence[str]) -> None:
    """Raise ManifestError for an optional column in other letters: it would be ignored.

    A split or a patient that nobody reads makes scores too high.
    """
    for name in columns:
        if name not in OPTIONAL and name.lower() in OPTIONAL and name.lower() not in columns:
            raise ManifestError(
                f"{source}: the column {name!r} is not read; rename it to {name.lower()!r}, "
                "or to another word if it means something else"
            )


def _cells(text: str, delimiter: str) -> list[str]:
    """Return the cells of the first line; a damaged or missing one has none."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        return [cell.strip() for cell in next(reader, [])]
    except csv.Error:
        return []


def _form(required: Sequence[str]) -> str:
    """Say which columns the first line must name."""
    if "label" in required:
        return "the first line must name the columns path,label[,split][,group][,patient]"
    return "the first line must name the column path"


def _advice(headers: Mapping[str, Sequence[str]], required: Sequence[str]) -> str:
    """Say what a header that does not fit has, and what to do.

    Args:
        headers: names of the columns, for each delimiter that may be meant.
        required: columns that the list must have.
    """
    used = [delimiter for delimiter, names in headers.items() if len(names) > 1]
    if not any(headers.values()) or not any(headers[","]):
        return "it is empty or damaged"
    if len(used) > 1:
        kinds = " and ".join(DELIMITERS[delimiter] for delimiter in used)
        return f"this one has {kinds}; keep one kind"
    columns = headers[used[0] if used else ","]
    shown = ", ".join(repr(name) for name in columns[:_MOST_SHOWN])
    # A name in other letters comes first; the first of two columns is taken.
    lower = {name.lower(): name for name in reversed(columns)}
    renamed = []
    for name in required:
        similar = [lower[word] for word in (name, *SYNONYMS[name]) if word in lower]
        if name not in columns and similar:
            renamed.append(f"{similar[0]!r} to {name!r}")
    if renamed:
        return f"it has {shown}; rename {' and '.join(renamed)}"
    # A list without a header begins with an image.
    if any("." in name or "/" in name for name in columns):
        return (
            f"it has {shown}, which looks like an image; put a line {','.join(required)} above it"
        )
    return f"it has {shown}"
