"""The report of an exploration: a page, its plots and contact sheets, and a CSV file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..manifest import listing_lines
from ..output import html as pages
from ..output.csv import csv_line
from ..output.figures import png
from ..output.reports import ReportFolder
from ..output.terminal import NOT_DEFINED, decimals, percent
from . import plots
from .contact_sheet import contact_sheet, sheet_png
from .shortcuts import Hint
from .summary import IMAGE_COLUMNS, Exploration

if TYPE_CHECKING:
    import pandas as pd

UNREADABLE_ON_PAGE = 200
"""Most unreadable images on the page; explore.csv lists all."""

REPORT_FILES = (
    "explore.csv",
    "index.html",
    "classes.png",
    "sizes.png",
    "formats.png",
    "brightness.png",
)
"""Names of all files but the contact sheets, which depend on the classes."""

MOST_SHEETS = 30
"""Most contact sheets on the page; the sheets of further classes are only files beside it."""

NO_WARNINGS = "no warnings: every image can be read, and no format, mode or size gives a class away"

CLASS_HEADINGS = (
    "class",
    "images",
    "share",
    "unreadable",
    "formats",
    "modes",
    "median size",
    "brightness",
)
NUMERIC_COLUMNS = (1, 2, 3, 6, 7)
"""Places in `CLASS_HEADINGS` of columns that are aligned to the right."""


def report_folder(path: Path) -> ReportFolder:
    """Return the folder of a report; see `ReportFolder`."""
    return ReportFolder(path, "explore", {"explore.csv": IMAGE_COLUMNS})


def write_report(exploration: Exploration, output: ReportFolder) -> Path:
    """Write the report into a folder and return the path of its page.

    The page is written last: if it exists, the report is complete.
    """
    output.write("explore.csv", images_csv(exploration.images))
    plot_files: dict[str, bytes] = {}
    for title, name, content in _plots(exploration):
        output.write(name, content)
        plot_files[title] = content
    sheets: dict[str, bytes] = {}
    for label, name, content in _sheets(exploration):
        output.write(name, content)
        # The page holds its pictures, so many sheets would make it too large.
        if len(sheets) < MOST_SHEETS:
            sheets[label] = content
    return output.write("index.html", page(exploration, plot_files, sheets))


def images_csv(images: pd.DataFrame) -> str:
    """Return the text of explore.csv.

    Args:
        images: see `image_table`.
    """
    # Missing numbers become empty cells.
    columns = [images[name].astype(object).where(images[name].notna(), "") for name in images]
    rows = zip(*columns, strict=True)
    return "".join([csv_line(IMAGE_COLUMNS), *(csv_line(map(_cell, row)) for row in rows)])


def _cell(value: Any) -> str:
    """Write a cell: floats have two decimals."""
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _plots(exploration: Exploration) -> Iterator[tuple[str, str, bytes]]:
    """Yield title, file name and content of each plot."""
    readable = exploration.readable
    yield "Classes", "classes.png", png(plots.plot_balance(exploration.classes))
    sizes = plots.plot_sizes(readable, exploration.sides)
    yield "Heights and widths", "sizes.png", png(sizes)
    yield "Formats and modes", "formats.png", png(plots.plot_kinds(readable))
    yield "Brightness and contrast", "brightness.png", png(plots.plot_light(readable))


def _sheets(exploration: Exploration) -> Iterator[tuple[str, str, bytes]]:
    """Yield class, file name and content of each contact sheet."""
    readable = exploration.readable
    for number, summary in enumerate(exploration.classes, 1):
        members = readable[readable["label"] == summary.label]
        if len(members):
            # A label of a CSV may hold any characters, even "../", so they are replaced. The
            # number keeps the file names of two classes different.
            safe = re.sub("[^A-Za-z0-9_-]+", "-", summary.label)[:40]
            sheet = contact_sheet(exploration.manifest.root, members)
            yield summary.label, f"images-{number:02}-{safe}.png", sheet_png(sheet)


def page(
    exploration: Exploration, plot_files: Mapping[str, bytes], sheets: Mapping[str, bytes]
) -> str:
    """Return the HTML of the page.

    Args:
        exploration: the result that the page shows.
        plot_files: content of each plot, by its title.
        sheets: content of each contact sheet, by its class.
    """
    body = [
        pages.facts(_facts(exploration)),
        pages.warnings(exploration.warnings, none=NO_WARNINGS),
        *(pages.paragraph(text) for text in exploration.patients.lines),
        *(pages.paragraph(text) for text in exploration.advice),
    ]
    lines = listing_lines(exploration.manifest)
    body += [pages.paragraph(line, quiet=True) for line in lines]
    rows = class_rows(exploration)
    body.append(pages.heading("Classes"))
    body.append(pages.table(CLASS_HEADINGS, rows, numbers=NUMERIC_COLUMNS))
    for title, content in plot_files.items():
        # The first plot is below the table of classes, under the same heading.
        if title != "Classes":
            body.append(pages.heading(title))
        body.append(pages.figure(content, f"{title}, plotted"))
    body += _hint_section(exploration)
    body += _unreadable_section(exploration)
    for label, content in sheets.items():
        body.append(pages.heading(label))
        body.append(pages.figure(content, f"some images of class {label}"))
    if len(exploration.classes) > MOST_SHEETS:
        text = "Contact sheets of further classes are files beside this page."
        body.append(pages.paragraph(text, quiet=True))
    return pages.page(f"Images in {exploration.manifest.source}", body)


def _facts(exploration: Exploration) -> Iterator[tuple[str, str]]:
    """Yield the numbers at the top of the page, with their names."""
    yield "images", str(len(exploration.images))
    yield "classes", str(len(exploration.classes))
    yield "unreadable", str(len(exploration.unreadable))
    yield "copies of another image", str(exploration.n_copies)
    sides = exploration.sides
    if sides:
        yield "median height x width", " x ".join(str(side.median) for side in sides)
        yield "most frequent", " x ".join(str(side.most_frequent) for side in sides)


def class_rows(exploration: Exploration) -> list[tuple[str, ...]]:
    """Return the cells of the table of classes, for the page and the terminal."""
    rows: list[tuple[str, ...]] = []
    for summary in exploration.classes:
        size = f"{summary.height} x {summary.width}" if summary.readable else NOT_DEFINED
        brightness = f"{summary.brightness:.0f}" if summary.readable else NOT_DEFINED
        row = (
            summary.label,
            str(summary.images),
            _percent(summary.images / len(exploration.images)),
            str(summary.unreadable),
            summary.formats,
            summary.modes,
            size,
            brightness,
        )
        rows.append(row)
    return rows


def _hint_section(exploration: Exploration) -> list[str]:
    """Return the part of the page on shortcuts."""
    rows = [
        (
            hint.columns,
            _percent(hint.score),
            _interval(hint),
            _percent(hint.chance),
            # A score that cannot be computed has a reason instead of a question.
            hint.rule or hint.missing,
        )
        for hint in exploration.hints
    ]
    headings = ("property", "balanced accuracy", "95 % interval, %", "by guessing", "clearest rule")
    note = (
        "For each property, a small decision tree sees nothing else of the images. Its balanced "
        "accuracy is cross-validated, with copies kept together. The clearest rule is the one "
        "question about the property that tells the classes apart best. Brightness and contrast "
        "belong to the picture and may rightly give a class away: a head should do better than "
        "they do."
    )
    return [
        pages.heading("What a head could learn instead of the pictures"),
        pages.table(headings, rows, numbers=(1, 2, 3)),
        pages.paragraph(note, quiet=True),
    ]


def _percent(share: float) -> str:
    """Format a share in per cent: "74.1 %"; "-" if it is missing."""
    text = percent(share)
    return text if text == NOT_DEFINED else f"{text} %"


def _interval(hint: Hint) -> str:
    """Format the interval of a score in per cent: "68.0 to 79.2"; "-" if it is missing."""
    low = decimals(100 * hint.low, 1)
    return low if low == NOT_DEFINED else f"{low} to {decimals(100 * hint.high, 1)}"


def _unreadable_section(exploration: Exploration) -> list[str]:
    """Return the part of the page that lists unreadable files; nothing if all can be read."""
    unreadable = exploration.unreadable
    if not len(unreadable):
        return []
    shown = unreadable.head(UNREADABLE_ON_PAGE)
    body = [
        pages.heading("Unreadable files"),
        pages.table(("file", "reason"), zip(shown["path"], shown["reason"], strict=True)),
    ]
    if len(unreadable) > len(shown):
        text = f"explore.csv lists {len(unreadable) - len(shown)} more."
        body.append(pages.paragraph(text, quiet=True))
    return body
