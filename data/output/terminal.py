"""The terminal: one console, one progress bar, one way to write numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Progress = Callable[[int, int], None]
"""Called with the number of finished things and the number of all things."""

Status = Callable[[str], None]
"""Called with one line of text that says what is being done."""

NOT_DEFINED = "-"
"""Text for a number that is missing or not defined."""

_NARROWEST = 80
_UNLIMITED = 10_000


def printable(text: str) -> str:
    r"""Spell out characters that a terminal might obey.

    >>> printable("red\x1b[31m")
    'red\\x1b[31m'
    """
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def console() -> Console:
    """Make the console for results, on standard output.

    It takes names literally and never cuts a number off to fit a narrow terminal. A pipe or a
    log has no width to fold to.
    """
    from rich.console import Console

    plain = Console(markup=False, emoji=False, highlight=False)
    width = max(plain.width, _NARROWEST) if plain.is_terminal else _UNLIMITED
    return Console(markup=False, emoji=False, highlight=False, width=width)


@cache
def message_console() -> Console:
    """Return the one console for progress and messages, on standard error.

    There is only one, so that a status line and messages do not overwrite each other.
    """
    from rich.console import Console

    return Console(stderr=True, markup=False, emoji=False, highlight=False, soft_wrap=True)


class ProgressBar:
    """A progress bar on a terminal; nothing elsewhere. Made by `progress_bar`."""

    def __init__(self, update: Callable[..., None]) -> None:
        self._update = update

    def __call__(self, finished: int, total: int) -> None:
        """Show how many things are finished, and how many there are."""
        self._update(completed=finished, total=total)

    def describe(self, text: str, things: str = "") -> None:
        """Replace the text before the bar and the text after the counts."""
        self._update(description=text, things=things)


@contextmanager
def progress_bar(text: str, things: str = "") -> Iterator[ProgressBar]:
    """Show a progress bar while the block runs; see `ProgressBar`.

    Args:
        text: what is being done.
        things: what is counted, "images" say.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[things]} left"),
        TimeRemainingColumn(),
    )
    screen = message_console()
    with Bar(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bar:
        task = bar.add_task(text, total=None, things=things)

        def update(**fields: Any) -> None:
            bar.update(task, **fields)

        yield ProgressBar(update)


def table(*headings: str) -> Table:
    """Make a table without lines, for `console`."""
    from rich.table import Table

    columns = Table(box=None, pad_edge=False)
    for heading in headings:
        columns.add_column(heading, no_wrap=True, overflow="fold")
    return columns


def number(value: Any) -> float:
    """Convert a cell of a table to a number; an empty one becomes NaN."""
    return float("nan") if value in ("", None) else float(value)


def decimals(value: Any, n: int) -> str:
    """Write a number with n decimals; "-" for one that is not defined."""
    converted = number(value)
    return NOT_DEFINED if math.isnan(converted) else f"{converted:.{n}f}"


def percent(value: Any) -> str:
    """Write a share in per cent with one decimal: 96.8 for 0.968; "-" if it is not defined."""
    return decimals(100 * number(value), 1)


def rounded_percent(share: float) -> str:
    """Write a share in whole per cent, small ones with a decimal: "3 %", "0.4 %".

    "0 %" and "100 %" mean exactly none and all.
    """
    value = 100 * float(share)
    if 0 < value < 1:
        return f"{max(value, 0.1):.1f} %"
    return f"{min(round(value), 99) if value < 100 else 100} %"


def megabytes(n_bytes: float) -> str:
    """Write a size as 12.3 MB."""
    return f"{n_bytes / 1e6:.1f} MB"


def counted(n: int, thing: str) -> str:
    """Write a number with its noun: 1 image, 2 images."""
    return f"{n} {thing}" + "s" * (n != 1)


def counts_by_name(counts: dict[str, int]) -> str:
    """Write counts with their names: "lesion 10, none 3"."""
    return ", ".join(f"{name or 'none'} {count}" for name, count in counts.items())
