"""Lines of CSV files that a spreadsheet opens safely and that are read back unchanged."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import Lock

FORMULA = re.compile(r"'*(?:[\t\r\n]|\s*(?![+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?\Z)[=+\-@＝＋－＠])")
"""Text that a spreadsheet computes, after any number of apostrophes; no plain numbers."""

QUOTED = re.compile(r'[",\r\n]')
"""A character that forces a cell into quotes."""

_LONGEST_CELL = 2**31 - 1
_cell_limit_lock = Lock()


def defuse(text: str) -> str:
    r"""Put an apostrophe before text that a spreadsheet would compute, as OWASP advises.

    Cells hold the names of image folders, which may come from a stranger. `restore_text` removes
    the apostrophe.

    Examples:
        >>> defuse('=HYPERLINK("http://x")'), defuse("-0.5"), defuse("it's")
        ('\'=HYPERLINK("http://x")', '-0.5', "it's")
    """
    return f"'{text}" if FORMULA.match(text) else text


def restore_text(text: str) -> str:
    """Return the text that was passed to `defuse`."""
    # An apostrophe before other text belongs to the text.
    return text[1:] if text.startswith("'") and FORMULA.match(text) else text


def csv_line(cells: Iterable[str]) -> str:
    """Return one line of CSV with its line end.

    The csv module of Python 3.11 does not quote a lone carriage return; this function does.
    """
    return ",".join(_quote(cell) if QUOTED.search(cell) else cell for cell in cells) + "\n"


def _quote(cell: str) -> str:
    # Inside quotes, a quote is written twice.
    doubled = cell.replace('"', '""')
    return f'"{doubled}"'


def csv_lines(data: bytes) -> list[list[str]]:
    """Return the cells of each line of CSV; a byte order mark is ignored.

    Raises:
        ValueError: the data are not UTF-8.
        csv.Error: a quote has no partner.
    """
    text = data.decode("utf-8-sig")
    with _no_cell_limit():
        return list(csv.reader(io.StringIO(text, newline=""), strict=True))


@contextmanager
def _no_cell_limit() -> Iterator[None]:
    """Lift the csv module's limit on the length of a cell while the block runs.

    The names of a thousand classes make a long cell. The limit belongs to the whole process, so
    it is restored afterwards, and only one thread changes it at a time.
    """
    with _cell_limit_lock:
        before = csv.field_size_limit(_LONGEST_CELL)
        try:
            yield
        finally:
            csv.field_size_limit(before)
