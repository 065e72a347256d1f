"""Command line of the exploration: what is in a folder of images, on the terminal and as a report to open or print."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..output.terminal import console, printable, table

if TYPE_CHECKING:
    from ..explore.shortcuts import Hint
    from ..explore.summary import Exploration

LISTED = 20
"""How many unreadable images are told on the terminal; the page tells `LISTED_ON_PAGE`, explore.csv all."""
LISTED_ON_PAGE = 200

MOST_SHEETS = 30
"""Contact sheets on the page; those of more classes lie beside it."""

_HEADINGS = (
    "class",
    "images",
    "share",
    "unreadable",
    "formats",
    "modes",
    "median size",
    "brightness",
)
_NUMBERS = (1, 2, 3, 6, 7)

FINE = "nothing stands out: every image can be read, and no format, mode or size gives a class away"


@click.command()
@click.argument("source", metavar="FOLDER|CSV", type=click.Path(path_type=Path))
@click.option(
    "--output",
    default="report",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder of the report.",
)
@click.option("--no-cache", is_flag=True, help="Read every image anew, and keep nothing of it.")
def explore(source: Path, output: Path, no_cache: bool) -> None:
    """Look at the images of FOLDER, or those that CSV lists, before anything is computed from them.

    Tells how many there are of each class, their formats, modes, sizes and brightness, which cannot
    be read, and whether format, mode or size alone give the class away. The report is a page to
    open (index.html), its plots and contact sheets (PNG), and one line an image (explore.csv).
    """
    from ..explore.summary import explore as look
    from ..inspection.inspect import inspect_images
    from ..manifest import read_manifest
    from ..output.html import refuse_output_within
    from ..output.terminal import progress_bar

    refuse_output_within(source, output)
    manifest = read_manifest(source, least_classes=1)
    with progress_bar("looking at", "images") as progress:
        inspected = inspect_images(manifest, cache=not no_cache, progress=progress)
    found = look(manifest, inspected)
    page = _write_report(found, output)
    _print(found)
    click.echo(printable(f"report: {page}"))


def _write_report(found: Exploration, output: Path) -> Path:
    """Everything that belongs to the report; the page comes last and is what is opened."""
    from ..explore.summary import csv_text
    from ..output.files import write_whole

    output.mkdir(parents=True, exist_ok=True)
    write_whole(output / "explore.csv", csv_text(found.images))
    plots: dict[str, bytes] = {}
    sheets: dict[str, bytes] = {}
    for name, file, content in _pictures(found):
        write_whole(output / file, content)
        if not file.startswith("images-"):
            plots[name] = content
        elif len(sheets) < MOST_SHEETS:
            sheets[name] = content
    write_whole(output / "index.html", _page(found, plots, sheets))
    return output / "index.html"


def _pictures(found: Exploration) -> Iterator[tuple[str, str, bytes]]:
    """What each picture shows (of a contact sheet, the class), its file, and its content."""
    from ..explore import plots

    readable = found.readable
    yield "Classes", "classes.png", plots.png(plots.plot_balance(found.classes))
    if not len(readable):
        return
    yield "Heights and widths", "sizes.png", plots.png(plots.plot_sizes(readable, found.sides))
    yield "Formats and modes", "formats.png", plots.png(plots.plot_kinds(readable))
    yield "Brightness and contrast", "brightness.png", plots.png(plots.plot_light(readable))
    for number, label in enumerate((summary.label for summary in found.classes), 1):
        members = readable[readable["label"] == label]
        if len(members):
            # A label of a CSV may hold anything, "../" too; the number keeps those apart that
            # become alike.
            name = re.sub("[^A-Za-z0-9_-]+", "-", label)[:40]
            yield (
                label,
                f"images-{number:02}-{name}.png",
                plots.png(plots.contact_sheet(found.manifest.root, members)),
            )


def _page(found: Exploration, plots: Mapping[str, bytes], sheets: Mapping[str, bytes]) -> str:
    from ..output import html as pages

    body = [
        pages.facts(_facts(found)),
        pages.warnings(found.warnings, none=FINE),
        *(pages.paragraph(text) for text in found.advice),
        *([pages.paragraph(f"left out: {found.left_out}", quiet=True)] if found.left_out else []),
        pages.heading("Classes"),
        pages.table(_HEADINGS, _class_rows(found), numbers=_NUMBERS),
    ]
    for name, content in plots.items():
        body += [pages.heading(name)] * (name != "Classes")
        body.append(pages.figure(content, f"{name}, plotted"))
    body += [pages.heading("What could be learnt instead of the picture"), *_told_hints(found)]
    body += _told_unreadable(found)
    for label, content in sheets.items():
        body += [pages.heading(label), pages.figure(content, f"some images of class {label}")]
    if len(found.classes) > MOST_SHEETS:
        body.append(
            pages.paragraph("The contact sheets of more classes lie beside this page.", quiet=True)
        )
    return pages.page(f"Images in {found.manifest.source}", body)


def _facts(found: Exploration) -> list[tuple[str, str]]:
    told = [("images", str(len(found.images))), ("classes", str(len(found.classes)))]
    told.append(("unreadable", str(len(found.images) - len(found.readable))))
    told.append(("copies of another's pixels", str(found.n_copies)))
    if found.sides:
        told.append(("median height x width", " x ".join(str(side.median) for side in found.sides)))
        told.append(("most frequent", " x ".join(str(side.most_frequent) for side in found.sides)))
    return told


def _told_hints(found: Exploration) -> list[str]:
    from ..output import html as pages

    rows = [
        (
            hint.columns,
            _per_cent(hint.score),
            _interval(hint),
            _per_cent(hint.chance),
            hint.rule or hint.missing,
        )
        for hint in found.hints
    ]
    note = (
        "Balanced accuracy of a small tree that sees these columns only, cross-validated with copies kept together. "
        "Brightness and contrast belong to the picture and may rightly tell: a head should do better than they."
    )
    headings = ("told from", "right", "95 %", "chance", "the question that tells most")
    return [pages.table(headings, rows, numbers=(1, 2, 3)), pages.paragraph(note, quiet=True)]


def _per_cent(share: float) -> str:
    return "-" if share != share else f"{100 * share:.1f} %"


def _interval(hint: Hint) -> str:
    return "-" if hint.low != hint.low else f"{100 * hint.low:.1f} to {100 * hint.high:.1f}"


def _told_unreadable(found: Exploration) -> list[str]:
    from ..output import html as pages

    broken = found.images[found.images["reason"] != ""]
    if not len(broken):
        return []
    shown = broken.head(LISTED_ON_PAGE)
    body = [
        pages.heading("Unreadable"),
        pages.table(("file", "why"), zip(shown["path"], shown["reason"], strict=True)),
    ]
    if len(broken) > len(shown):
        body.append(
            pages.paragraph(f"{len(broken) - len(shown)} more are in explore.csv.", quiet=True)
        )
    return body


def _class_rows(found: Exploration) -> list[tuple[str, ...]]:
    """Cells of the table of classes, for the page and the terminal."""
    rows: list[tuple[str, ...]] = []
    for told in found.classes:
        size, light = (
            (f"{told.height} x {told.width}", f"{told.brightness:.0f}")
            if told.readable
            else ("-", "-")
        )
        numbers = (
            str(told.images),
            _per_cent(told.images / len(found.images)),
            str(told.unreadable),
        )
        rows.append((told.label, *numbers, told.formats, told.modes, size, light))
    return rows


def _print(found: Exploration) -> None:
    """The table of classes, and what is worth knowing at once."""
    columns = table()
    for number, name in enumerate(_HEADINGS):
        numeric = number in _NUMBERS
        columns.add_column(
            name, justify="right" if numeric else "left", no_wrap=numeric, overflow="fold"
        )
    for row in _class_rows(found):
        columns.add_row(*map(printable, row))
    console().print(columns)
    from ..explore.summary import percent

    for side in found.sides:
        click.echo(
            f"{side.name}: most frequent {side.most_frequent} ({percent(side.share)}), median {side.median}, "
            f"{side.low} to {side.high}, smoothed distribution highest at {side.peak}"
        )
    for text in found.advice:
        click.echo(text)
    if found.left_out:
        click.echo(printable(f"left out: {found.left_out}"), err=True)
    _print_unreadable(found)
    for text in found.warnings:
        click.echo(printable(f"warning: {text}"), err=True)


def _print_unreadable(found: Exploration) -> None:
    broken = found.images[found.images["reason"] != ""]
    for path, reason in zip(broken["path"][:LISTED], broken["reason"][:LISTED], strict=True):
        click.echo(printable(f"unreadable: {path}: {reason}"), err=True)
    if len(broken) > LISTED:
        click.echo(
            f"unreadable: {len(broken) - LISTED} more; all reasons are in explore.csv", err=True
        )
