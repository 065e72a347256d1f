r"""The one writer and reader of CSV: safe in a terminal and a spreadsheet, read back unchanged.

Cells hold names of files and classes, which may come from a stranger. The rule, for every CSV file
and for CSV on standard output:

- Text that a spreadsheet would compute, such as `=1+1`, `-x` or `@x`, gets an apostrophe in front,
  as OWASP advises. Numbers stay numbers.
- Text with control characters gets an apostrophe, too. The characters are written as `\x1b`, and
  backslashes twice: no terminal obeys them, and a cell has one line.
- `restore_text` undoes both changes. Each reader of this package calls it on each text cell.
- A path in a list begins with `./` instead where that makes it safe: every program can still open
  the file.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import Lock

FORMULA = re.compile(
    r"'*(?:[\t\r\n]|\s*(?![+-]?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?|inf|nan)\Z)[=+\-@＝＋－＠])"
)
"""Text that a spreadsheet computes, after any number of apostrophes; no plain numbers."""

QUOTED = re.compile(r'[",\r\n]')
"""A character that forces a cell into quotes."""

# The first letter excludes a formula and an apostrophe. Most cells need no closer look.
_HARMLESS = re.compile(r"[0-9A-Za-z_.][^\x00-\x1f\x7f-\x9f]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_ESCAPED = re.compile(r"(?:[^\\]|\\\\|\\x(?:[0189][0-9a-f]|7f))*")
_LONGEST_CELL = 2**31 - 1
_cell_limit_lock = Lock()


def defuse(text: str) -> str:
    r"""Return a cell for text that no spreadsheet computes and no terminal obeys.

    `restore_text` returns the text again.

    Examples:
        >>> defuse('=HYPERLINK("http://x")'), defuse("-0.5"), defuse("it's")
        ('\'=HYPERLINK("http://x")', '-0.5', "it's")
        >>> print(defuse("red\x1b[31m"))
        'red\x1b[31m
    """
    if not text or _HARMLESS.fullmatch(text):
        return text
    formula = FORMULA.match(text) is not None
    # Without this, a backslash of the text would be taken for one of an escape sequence.
    ambiguous = "\\" in text and (formula or text.startswith("'"))
    if ambiguous or _CONTROL.search(text):
        return "'" + re.sub(r"[\\\x00-\x1f\x7f-\x9f]", _escape, text)
    return f"'{text}" if formula else text


def _escape(match: re.Match[str]) -> str:
    letter = match[0]
    return r"\\" if letter == "\\" else f"\\x{ord(letter):02x}"


def restore_text(text: str) -> str:
    """Return the text that was passed to `defuse`."""
    if not text.startswith("'"):
        return text
    body = text[1:]
    if "\\" in body and _ESCAPED.fullmatch(body):
        return re.sub(r"\\(\\|x..)", _unescape, body)
    # An apostrophe before other text belongs to the text.
    return body if FORMULA.match(text) else text


def _unescape(match: re.Match[str]) -> str:
    code = match[1]
    return "\\" if code == "\\" else chr(int(code[1:], 16))


def csv_line(cells: Iterable[str]) -> str:
    """Return one line of CSV with its line end; each cell is defused.

    The csv module of Python 3.11 does not quote a lone carriage return; this function does.
    """
    defused = map(defuse, cells)
    return ",".join(_quote(cell) if QUOTED.search(cell) else cell for cell in defused) + "\n"


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
