"""The file steps.csv of a study: what was run, how long it took, and from which inputs."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from ...data.formats.regular_file import read_regular
from ...data.output.csv import csv_line, csv_lines, restore_text
from ...data.output.files import write_whole
from ...data.output.terminal import number
from ...errors import FreezeframeError, ImageError

STEPS_FILE = "steps.csv"
STEP_DONE = "done"
STEP_FAILED = "failed"
STEP_SKIPPED = "skipped"
"""Status of a step that was not run because a step that it needs failed."""


@dataclass(frozen=True)
class StepRecord:
    """A line of steps.csv, all texts.

    Attributes:
        step: name of the step.
        command: its command line, in the folder of the study.
        started: UTC, in ISO format.
        seconds: its duration.
        status: `STEP_DONE`, `STEP_FAILED` or `STEP_SKIPPED`.
        inputs: digest of command, versions and inputs, see `Step.key`.
        files: number of files of its image sets.
    """

    step: str
    command: str
    started: str
    seconds: str
    status: str
    inputs: str
    files: str


_HEADER = tuple(field.name for field in fields(StepRecord))


def read_journal(folder: Path) -> dict[str, StepRecord]:
    """Read the steps of a study by name; a study without the file has none.

    Raises:
        FreezeframeError: the file is damaged.
    """
    path = folder / STEPS_FILE
    if not path.exists():
        return {}
    try:
        header, *lines = csv_lines(read_regular(path))
        if tuple(header) != _HEADER:
            raise ValueError("its header is another")
        records = [StepRecord(*map(restore_text, cells)) for cells in lines if cells]
        for record in records:
            number(record.seconds), number(record.files)
    except (OSError, ImageError, ValueError, TypeError, csv.Error) as error:
        raise FreezeframeError(
            f"{path}: cannot be read as the steps of a study ({error}); delete it to run all steps"
        ) from None
    return {record.step: record for record in records}


def write_journal(folder: Path, records: Mapping[str, StepRecord]) -> None:
    """Write the steps of a study, whole or not at all."""
    lines = [csv_line(_HEADER), *(csv_line(astuple(record)) for record in records.values())]
    try:
        write_whole(folder / STEPS_FILE, "".join(lines))
    except OSError as error:
        raise FreezeframeError(
            f"{folder / STEPS_FILE}: cannot be written ({error.strerror})"
        ) from None
