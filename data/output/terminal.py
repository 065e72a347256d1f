"""The terminal: one console, one progress bar, and the formats of numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from ...errors import printable as printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Progress = Callable[[int, int], None]
"""Function that is called with the number of finished things and the number of all things."""

Status = Callable[[str], None]
"""Function that is called with one line of text that names the current step."""

NAMES_SHOWN = 3
"""Most names in a sentence; the rest is counted."""

NOT_DEFINED = "-"
"""Text for a number that is missing or not defined."""

_NARROWEST = 80
_UNLIMITED = 10_000


def console() -> Console:
    """Return a console for results, on standard output.

    It prints names literally and never shortens a number to fit a narrow terminal. In a pipe or a
    log, lines are not folded.
    """
    # rich takes a moment to import, and many callers print nothing.
    from rich.console import Console

    # Without markup: a name such as "[red]" must be printed, not obeyed.
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
    """A progress bar on a terminal; elsewhere it shows nothing. `progress_bar` makes it."""

    def __init__(self, update: Callable[..., None]) -> None:
        self._update = update

    def __call__(self, finished: int, total: int) -> None:
        """Show the number of finished things and the number of all things."""
        self._update(completed=finished, total=total)

    def describe(self, text: str, things: str = "") -> None:
        """Replace the text before the bar and the text after the counts."""
        self._update(description=text, things=things)


@contextmanager
def progress_bar(text: str, things: str = "") -> Iterator[ProgressBar]:
    """Show a progress bar while the block runs; see `ProgressBar`.

    Args:
        text: the current step, for example "inspecting".
        things: name of the things that are counted, for example "images".
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
    # A log gets no bar: its control characters would fill the file.
    screen = message_console()
    with Bar(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bar:
        task = bar.add_task(text, total=None, things=things)

        def update(**fields: Any) -> None:
            bar.update(task, **fields)

        yield ProgressBar(update)


def table(*headings: str) -> Table:
    """Return a table without lines, for `console`."""
    from rich.table import Table

    columns = Table(box=None, pad_edge=False)
    for heading in headings:
        columns.add_column(heading, no_wrap=True, overflow="fold")
    return columns


def number(value: Any) -> float:
    """Convert a cell of a table to a number; an empty one becomes NaN."""
    return float("nan") if value in ("", None) else float(value)


def decimals(value: Any, n: int) -> str:
    """Format a number with n decimals; "-" if it is not defined."""
    converted = number(value)
    return NOT_DEFINED if math.isnan(converted) else f"{converted:.{n}f}"


def percent(value: Any) -> str:
    """Format a share in per cent with one decimal: 96.8 for 0.968; "-" if it is not defined."""
    return decimals(100 * number(value), 1)


def rounded_percent(share: float) -> str:
    """Format a share in whole per cent, a small one with a decimal: "3 %", "0.4 %".

    "0 %" and "100 %" mean exactly none and all.
    """
    value = 100 * float(share)
    # Rounding must not turn a small share into none, or nearly all into all.
    if 0 < value < 1:
        return f"{max(value, 0.1):.1f} %"
    return f"{min(round(value), 99) if value < 100 else 100} %"


def megabytes(n_bytes: float) -> str:
    """Format a number of bytes as megabytes: "12.3 MB"."""
    return f"{n_bytes / 1e6:.1f} MB"


def counted(n: int, thing: str) -> str:
    """Format a number with its noun: "1 image", "2 images"."""
    return f"{n} {thing}" + "s" * (n != 1)


def first_names(names: Sequence[str]) -> str:
    """Write the first names, and how many more there are.

    Examples:
        >>> first_names(["a.png", "b.png", "c.png", "d.png", "e.png"])
        'a.png, b.png, c.png and 2 more'
    """
    n_more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {n_more} more" if n_more > 0 else "")


def counts_by_name(counts: dict[str, int]) -> str:
    """Format counts with their names: "lesion 10, none 3"."""
    # Images without a split or class are counted under "".
    return ", ".join(f"{name or 'none'} {count}" for name, count in counts.items())
