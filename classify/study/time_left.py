"""The time that a study still takes: from the steps that were run before, else a guess."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ...data.output.terminal import counted
from .inputs import ImageFiles
from .journal import STEP_DONE, StepRecord
from .step import Step

STEP_START_SECONDS = 3.0
"""Seconds that a step takes whatever the number of images."""

USUAL_SECONDS = {
    "explore": 2.0,
    "audit": 1.0,
    "extract": 64.0,
    "copy": 8.0,
    "map": 0.5,
    "heads-block5_pool": 24.0,
    "heads-block3_pool": 55.0,
    "random-split": 4.0,
    "shuffled-labels": 5.5,
    "stress": 24.0,
    "compare": 0.0,
    "explain": 1.5,
    "report": 1.0,
}
"""Seconds for a thousand images, by kind of step: 4600 images on two cores of a Xeon, 2.8 GHz."""

USUAL_SECONDS_OF_ALL = {"robustness": 45.0}
"""Seconds of steps that look at as many images of a small set as of a large one."""


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
    """Say how long the steps that are left take.

    A step takes as long per file as the last of its kind. For a kind that was not run, the time is
    called a guess: the usual seconds on another machine, times the pace of this one. The pace is
    the seconds of the finished steps, divided by their usual seconds.

    Args:
        to_do: the steps that are left.
        steps: all steps.
        records: the steps that were run before, by name.
        sets: the files of each image set.
    """
    done = [step for step in steps if _was_run(records.get(step.name))]
    rates = {
        step.kind: float(records[step.name].seconds) / float(records[step.name].files)
        for step in done
    }
    pace = _pace(done, records)
    seconds = 0.0
    guessed = unknown = 0
    for step in to_do:
        files = n_files(step, sets)
        if step.kind in rates:
            seconds += rates[step.kind] * files
        elif step.kind in USUAL_SECONDS | USUAL_SECONDS_OF_ALL:
            seconds += pace * _usual(step.kind, files)
            guessed += 1
        else:
            unknown += 1
    if unknown == len(to_do):
        return "unknown yet"
    text = f"about {duration(seconds)}"
    if unknown:
        text += f" and {counted(unknown, 'step')} of unknown length"
    return f"{text}, a guess" if guessed else text


def _was_run(record: StepRecord | None) -> bool:
    return record is not None and record.status == STEP_DONE and float(record.files) > 0


def _usual(kind: str, n_images: float) -> float:
    """Return the seconds that a kind of step usually takes."""
    if kind in USUAL_SECONDS_OF_ALL:
        return USUAL_SECONDS_OF_ALL[kind]
    return STEP_START_SECONDS + USUAL_SECONDS[kind] * n_images / 1000


def _pace(done: Sequence[Step], records: Mapping[str, StepRecord]) -> float:
    """Return the seconds that the steps took, divided by their usual ones; 1 without any."""
    taken = usual = 0.0
    for step in done:
        if step.kind in USUAL_SECONDS:
            record = records[step.name]
            taken += float(record.seconds)
            usual += _usual(step.kind, float(record.files))
    return taken / usual if usual else 1.0


def duration(seconds: float) -> str:
    """Write a duration with its unit.

    Examples:
        >>> duration(8.4), duration(200), duration(9000)
        ('8 s', '3 min', '2.5 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
