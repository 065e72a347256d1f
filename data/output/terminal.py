"""What commands that read images have in common: how groups are named, and what is shown while they work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

Command = Callable[..., Any]


def group_options(command: Command) -> Command:
    """Add the options that say how a patient or a study is known."""
    column = click.option(
        "--group-column",
        metavar="NAME",
        help="Column of the CSV that names the patient or study; its images stay on one side of any split.",
    )
    regex = click.option(
        "--group-regex",
        metavar="REGEX",
        help="Searched in each path; its first group, or else all of the match, names the patient or study.",
    )
    return column(regex(command))


@contextmanager
def bar(text: str, things: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on a terminal, nothing elsewhere; it is told how many things are done, and of how many."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn(text),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(things),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as shown:
        task = shown.add_task("", total=None)
        yield lambda finished, total: shown.update(task, completed=finished, total=total)


def printable(text: str) -> str:
    """Text in which whatever a terminal might obey is spelled out."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
