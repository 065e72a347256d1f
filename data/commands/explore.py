"""The command `freezeframe explore`: a report on the images of a folder or list."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..output.options import group_options, layout_option, volume_options
from ..output.slice_choice import SliceChoice
from ..output.terminal import console, printable, progress_bar, rounded_percent, table
from .source import read_source

if TYPE_CHECKING:
    from ..explore.summary import Exploration

UNREADABLE_PRINTED = 20
"""Most unreadable images on the terminal; explore.csv lists all."""


@click.command()
@click.argument("source", metavar="FOLDER|CSV", type=click.Path(path_type=Path))
@click.option(
    "--output",
    default="report",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder of the report.",
)
@group_options
@layout_option
@volume_options
@click.option("--no-cache", is_flag=True, help="Inspect each image again, and write no cache.")
def explore(
    source: Path,
    output: Path,
    group_column: str | None,
    group_regex: str | None,
    ignore_patient_ids: bool,
    layout: str | None,
    choice: SliceChoice,
    no_cache: bool,
) -> None:
    """Summarise the images of FOLDER or CSV before anything is computed from them.

    Prints the number of images of each class, their formats, modes, sizes and brightness, and how
    many patients are known. If names look like ids of patients, it proposes a --group-regex, which
    it does not use by itself. Lists the files that cannot be read. Warns if format, mode or size
    alone give the class away. The report has a page (index.html), its plots and contact sheets
    (PNG), and one line for each image (explore.csv).
    """
    # Imports wait for the command, so that --help is quick.
    from ..explore.report import REPORT_FILES, report_folder, write_report
    from ..explore.summary import explore as summarise
    from ..inspection.inspect import inspect_images

    # Checked first: reading the images may take minutes.
    folder = report_folder(output)
    folder.check(REPORT_FILES, [source])
    manifest = read_source(
        source,
        choice,
        group_column=group_column,
        group_regex=group_regex,
        read_patients=not ignore_patient_ids,
        least_classes=1,
        layout=layout,
    )
    with progress_bar("inspecting", "images") as progress:
        inspected = inspect_images(manifest, cache=not no_cache, progress=progress)
    result = summarise(manifest, inspected)
    # The report is written first, so that no summary is printed if writing fails.
    page = write_report(result, folder)
    _print(result)
    click.echo(printable(f"report: {page}"))


def _print(result: Exploration) -> None:
    """Print the table of classes, the sizes and advice, and then all warnings."""
    _print_classes(result)
    for side in result.sides:
        text = (
            f"{side.name}: most frequent {side.most_frequent} ({rounded_percent(side.share)}), "
            f"median {side.median}, {side.low} to {side.high}, "
            f"smoothed distribution highest at {side.peak}"
        )
        click.echo(printable(text))
    for text in [*result.frames, *result.patients.lines, *result.advice]:
        click.echo(printable(text))
    _print_unreadable(result)
    # Warnings come last, where a reader of the terminal sees them.
    for text in result.warnings:
        click.echo(printable(f"warning: {text}"), err=True)


def _print_classes(result: Exploration) -> None:
    """Print the table of classes."""
    from ..explore.report import CLASS_HEADINGS, NUMERIC_COLUMNS, class_rows

    columns = table()
    for number, name in enumerate(CLASS_HEADINGS):
        # Only text may fold onto a second line; a folded number could be misread.
        numeric = number in NUMERIC_COLUMNS
        columns.add_column(
            name, justify="right" if numeric else "left", no_wrap=numeric, overflow="fold"
        )
    for row in class_rows(result):
        columns.add_row(*map(printable, row))
    console().print(columns)


def _print_unreadable(result: Exploration) -> None:
    """Print the first unreadable files with their reasons."""
    unreadable = result.unreadable
    shown = unreadable.head(UNREADABLE_PRINTED)
    for path, reason in zip(shown["path"], shown["reason"], strict=True):
        click.echo(printable(f"unreadable: {path}: {reason}"), err=True)
    if len(unreadable) > len(shown):
        text = f"unreadable: {len(unreadable) - len(shown)} more; explore.csv lists all reasons"
        click.echo(printable(text), err=True)
