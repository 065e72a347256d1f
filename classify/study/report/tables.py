"""Tables of a study: CSV files of this package, whose cells are checked before they are used."""

from __future__ import annotations

import csv
import math
from collections.abc import Collection, Sequence
from pathlib import Path

from ....data.formats.regular_file import read_regular
from ....data.output.csv import csv_lines, restore_text
from ....errors import FreezeframeError, ImageError

Line = dict[str, str]
"""The cells of a line of a table, by column."""


def read_table(path: Path, columns: Sequence[str], numbers: Collection[str] = ()) -> list[Line]:
    """Read a CSV file of this package.

    Args:
        path: the file.
        columns: the columns that the file must have; further ones are left out.
        numbers: those of them that hold finite numbers or nothing.

    Raises:
        FreezeframeError: the file is missing, cannot be read, or is another file; the text names
            the line.
    """
    try:
        header, *body = csv_lines(read_regular(path)) or [[]]
    except FileNotFoundError:
        raise FreezeframeError(f"{path}: no such file") from None
    except (OSError, ImageError, ValueError, csv.Error) as error:
        raise FreezeframeError(f"{path}: cannot be read ({error}); make it again") from None
    missing = [name for name in columns if header.count(name) != 1]
    if missing:
        raise FreezeframeError(
            f"{path}: not the file that is expected: no single column {missing[0]}; make it again"
        )
    places = [header.index(name) for name in columns]
    lines = []
    for number, cells in enumerate(body, start=2):
        if len(cells) != len(header):
            raise FreezeframeError(
                f"{path}: {len(cells)} cells instead of {len(header)} in line {number}; "
                "make it again"
            )
        texts = (restore_text(cells[place]) for place in places)
        line = dict(zip(columns, texts, strict=True))
        wrong = next((name for name in numbers if line[name] and not _is_number(line[name])), None)
        if wrong:
            raise FreezeframeError(
                f"{path}: {wrong} is {line[wrong][:40]!r} in line {number}; make it again"
            )
        lines.append(line)
    return lines


def _is_number(cell: str) -> bool:
    """Return True for the text of a finite number."""
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False
