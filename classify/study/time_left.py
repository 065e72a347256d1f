"""The time that a study still takes, from the steps that were run before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ...data.output.terminal import counted
from .inputs import ImageFiles
from .journal import STEP_DONE, StepRecord
from .step import Step


def n_files(step: Step, sets: Mapping[Path, ImageFiles]) -> int:
    """Return the number of files of the image sets that a step reads.

    A fit reads stores of all sets.
    """
    if step.sources:
        return sum(sets[source].n_files for source in step.sources)
    return sum(files.n_files for files in sets.values())


def time_left(
    to_do: Sequence[Step],
    steps: Sequence[Step],
    records: Mapping[str, StepRecord],
    sets: Mapping[Path, ImageFiles],
) -> str:
    """Say how long the steps that are left take: each as long per file as the last of its kind.

    A step whose kind was never run is counted as unknown; no time is invented for it.

    Args:
        to_do: the steps that are left.
        steps: all steps.
        records: the steps that were run before, by name.
        sets: the files of each image set.
    """
    rates: dict[str, float] = {}
    for step in steps:
        record = records.get(step.name)
        if record and record.status == STEP_DONE and float(record.files):
            rates[step.kind] = float(record.seconds) / float(record.files)
    times = [rates[step.kind] * n_files(step, sets) for step in to_do if step.kind in rates]
    unknown = len(to_do) - len(times)
    if not times:
        return "unknown yet"
    text = f"about {duration(sum(times))}"
    return f"{text} and {counted(unknown, 'step')} of unknown length" if unknown else text


def duration(seconds: float) -> str:
    """Write a duration with its unit.

    Examples:
        >>> duration(8.4), duration(200), duration(9000)
        ('8 s', '3 min', '2.5 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
