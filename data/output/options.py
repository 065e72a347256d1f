"""Command-line options that commands of several rooms share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from ...errors import ParameterError

Command = Callable[..., Any]

MAX_FAILED_OPTION = click.option(
    "--max-failed",
    default=10.0,
    show_default=True,
    metavar="PERCENT",
    type=click.FloatRange(0, 100),
    help="Share of unreadable images above which the command ends with an error.",
)


def group_options(command: Command) -> Command:
    """Add the options that name the patient or study of each image."""
    column = click.option(
        "--group-column",
        metavar="NAME",
        help="CSV column that names the patient or study; "
        "all images of one stay on one side of a split.",
    )
    regex = click.option(
        "--group-regex",
        metavar="REGEX",
        help="Regular expression that finds the patient or study in each path: "
        "its first group, or the whole match.",
    )
    return column(regex(patient_option(command)))


def patient_option(command: Command) -> Command:
    """Add --ignore-patient-ids, for anonymised files that all have one PatientID."""
    return click.option(
        "--ignore-patient-ids",
        is_flag=True,
        help="Ignore the PatientID of DICOM files: anonymised files may all have the same one.",
    )(command)


def layout_option(command: Command) -> Command:
    """Add --layout, which says whether folders are classes or splits."""
    return click.option(
        "--layout",
        metavar="class|split/class|class/split",
        help="Meaning of the top folders of FOLDER, and of the folders in them. "
        "[default: by their names]",
    )(command)


def parse_classes(text: str | None) -> dict[str, str]:
    """Parse `yes=tumor,no=healthy`, the value of --classes.

    Raises:
        ParameterError: a part is not OLD=NEW.
    """
    renamed = {}
    for pair in text.split(",") if text else ():
        old, equals, new = (part.strip() for part in pair.partition("="))
        if not (old and equals and new):
            raise ParameterError(f"--classes must be OLD=NEW,OLD=NEW,..., got {pair!r}")
        renamed[old] = new
    return renamed
