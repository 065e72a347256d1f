"""Names and texts that the encoding of the terminal or of the system cannot represent."""

from __future__ import annotations

import codecs
import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_NAME_SHOWN = 60
"""Most characters of a name in a message, on each side of the one that is wrong."""

_NAME_END = re.compile(r"[\s,'\"]")
"""A character around a name in a list or a command line."""

_SURROGATE = re.compile("[\ud800-\udfff]")
"""A character that Python puts in place of a byte that it cannot decode."""


@contextmanager
def escaped_output() -> Iterator[set[str]]:
    """Print characters that an encoding lacks as escape sequences while the block runs.

    Without this, a label in another script ends a command in an error, on a terminal of ASCII or
    Latin-1 say.

    Yields:
        A set that gets the characters that were escaped.
    """
    lacking: set[str] = set()

    def escape(error: UnicodeError) -> tuple[str | bytes, int]:
        # A surrogate has no encoding: no setting would help.
        if isinstance(error, UnicodeEncodeError):
            letters = error.object[error.start : error.end]
            lacking.update(letter for letter in letters if not _SURROGATE.match(letter))
        return codecs.backslashreplace_errors(error)

    codecs.register_error("freezeframe", escape)
    streams = [s for s in (sys.stdout, sys.stderr) if isinstance(s, io.TextIOWrapper)]
    before = [stream.errors for stream in streams]
    for stream in streams:
        stream.reconfigure(errors="freezeframe")
    try:
        yield lacking
    finally:
        for stream, errors in zip(streams, before, strict=True):
            # A reader of a pipe may have closed it; Python reports that when it flushes.
            if not stream.closed:
                stream.reconfigure(errors=errors)


def name_problem(name: str) -> str:
    """Return why a file name cannot be used, and what to do.

    Args:
        name: as the system gave it, perhaps with surrogates for bytes that could not be decoded.
    """
    try:
        is_utf8 = not _SURROGATE.search(name) or bool(os.fsencode(name).decode("utf-8"))
    except UnicodeError:
        is_utf8 = False
    if is_utf8:
        encoding = sys.getfilesystemencoding()
        return f"its name cannot be read as {encoding}, the encoding here; set PYTHONUTF8=1"
    return "its name is not valid UTF-8; rename it"


def unicode_problem(error: UnicodeError) -> str:
    """Return a message on a text that cannot be encoded or decoded."""
    if isinstance(error, UnicodeEncodeError):
        # The text may be a whole list; the surroundings of the character name the file.
        before = _NAME_END.split(error.object[: error.start])[-1]
        after = _NAME_END.split(error.object[error.start :])[0]
        name = before[-_NAME_SHOWN:] + after[:_NAME_SHOWN]
        return f"{name}: {name_problem(name)}"
    return f"a file or name here cannot be decoded ({error}); save it as UTF-8"
