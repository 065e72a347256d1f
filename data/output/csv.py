"""Lines of the CSV files that people open in a spreadsheet: what is written is read back, and is never a formula."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable

FORMULA = re.compile(r"'*(?:[\t\r\n]|\s*(?![+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?\Z)[=+\-@＝＋－＠])")
"""Text that a spreadsheet would obey, behind any number of apostrophes; numbers are harmless."""

QUOTED = re.compile(r'[",\r\n]')


def defused(text: str) -> str:
    """Text that a spreadsheet shows: an apostrophe stands before what it would compute, as OWASP advises.

    Names of image folders end up in cells, and a folder may come from anyone. `restored` takes the
    apostrophe away.

    Examples:
        >>> defused('=HYPERLINK("http://x")'), defused("-0.5"), defused("it's")
        ('\\'=HYPERLINK("http://x")', '-0.5', "it's")
    """
    return f"'{text}" if FORMULA.match(text) else text


def restored(text: str) -> str:
    """What `defused` was given."""
    return text[1:] if text.startswith("'") and FORMULA.match(text) else text


def csv_line(cells: Iterable[str]) -> str:
    """One line of CSV with its end. The csv module of Python 3.11 leaves a lone carriage return unquoted."""
    return (
        ",".join(
            f'"{cell.replace(chr(34), chr(34) * 2)}"' if QUOTED.search(cell) else cell
            for cell in cells
        )
        + "\n"
    )


def csv_lines(data: bytes) -> list[list[str]]:
    """Cells of each line of CSV, byte order mark or not.

    Raises:
        ValueError: not UTF-8.
        csv.Error: quotes that do not pair.
    """
    csv.field_size_limit(2**31 - 1)  # a thousand classes have long names
    return list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True))
