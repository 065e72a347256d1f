"""The report of an extraction: lines of text and a progress bar, for any command."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from ..data.inspection.facts import frames_lines
from ..data.manifest import Manifest, listing_lines
from ..data.output.terminal import (
    counted,
    counts_by_name,
    first_names,
    printable,
    progress_bar,
)
from ..errors import FreezeframeError, StoreError
from ..features.store import FeatureStore
from .extraction import Extraction, extract_features
from .filling import ExtractionProgress
from .settings import Settings
from .signals import stop_on_signals

Line = Callable[[str], None]
"""Called with one line of text."""

STAGES = {"decode": "reading and decoding", "forward": "the forward pass", "write": "writing"}

MENDS = {
    "status": "{rows} will be computed again",
    "fingerprint": "the images of {rows} will be read again",
    "duplicates": "all images will be compared again",
}
"""Ways in which an extraction mends a damaged fact, by fact."""

MAX_UNREADABLE_LINES = 20
"""Unreadable images that are listed; the store has them all."""


def extract_and_report(
    manifest: Manifest,
    output: Path,
    settings: Settings,
    *,
    log: Line,
    result: Line,
    max_failed: float = 10.0,
    **options: Any,
) -> FeatureStore:
    """Compute the missing features of a store, and report the progress and the result.

    After the first SIGINT or SIGTERM the current batch is finished, then `KeyboardInterrupt` is
    raised. Signals belong to the whole process, so only a command may call this function.

    Args:
        manifest: the images.
        output: the store.
        settings: what to compute.
        log: called with each message.
        result: called with the line about the finished store.
        max_failed: largest share of unreadable images, in per cent.
        options: options of `extract_features`.

    Raises:
        FreezeframeError: as `extract_features`, or the share of unreadable images is larger than
            `max_failed`.
    """
    n_images = len(manifest.images)
    for line in manifest_lines(manifest):
        log(line)
    for line in lost_names_lines(manifest, output):
        log(line)
    if not options.get("overwrite"):
        # This is said before the run: a stopped run has already marked these rows as pending.
        for line in damage_lines(output):
            log(line)
    try:
        extraction = _extract(manifest, output, settings, **options)
    except KeyboardInterrupt:
        # The traceback of a Ctrl-C says nothing; this line says what to do.
        log("finished images are kept; run the same command again to continue")
        raise
    for line in unreadable_lines(extraction, output):
        log(line)
    result(result_line(extraction, n_images, output))
    for line in summary_lines(extraction):
        log(line)
    # The error comes last: the store is finished, and the user keeps it.
    share = 100 * len(extraction.failed) / n_images
    if share > max_failed:
        raise FreezeframeError(
            f"{manifest.source}: {share:.1f} % of the images could not be read, more than the "
            f"{max_failed:g} % of --max-failed"
        )
    return extraction.store


def _extract(manifest: Manifest, output: Path, settings: Settings, **options: Any) -> Extraction:
    """Run `extract_features` with a progress bar; the first signal stops it after a batch."""
    # The rate counts from here, with the start of the engine.
    start = time.perf_counter()
    with progress_bar("extracting", "images,") as bar:

        def show_batch(counts: ExtractionProgress) -> None:
            bar.describe("extracting", rate_text(counts, time.perf_counter() - start))
            bar(counts.finished, counts.total)

        def show_step(step: str, finished: int, total: int) -> None:
            bar.describe(step)
            bar(finished, total)

        return extract_features(
            manifest,
            output,
            settings,
            # Provenance records the command, quoted so that it can be run again.
            command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            stop=stop_on_signals,
            progress=show_batch,
            afterwards=show_step,
            **options,
        )


def manifest_lines(manifest: Manifest) -> list[str]:
    """Return the number of images and classes, then how the source was read."""
    n_images = len(manifest.images)
    line = f"{manifest.source}: {n_images} images ({counts_by_name(manifest.classes)})"
    return [printable(line), *listing_lines(manifest)]


def lost_names_lines(manifest: Manifest, output: Path) -> list[str]:
    """Return the line about groups and patients that the store has and the list lacks; at most one.

    The store takes those of the list. A forgotten option would lose them in silence.
    """
    if not output.exists():
        return []
    try:
        store = FeatureStore(output)
    except StoreError:
        # The extraction itself reports this.
        return []
    n_before = int(((store.groups != "") | (store.patients != "")).sum())
    n_now = sum(bool(image.group or image.patient) for image in manifest.images)
    if n_now >= n_before:
        return []
    text = (
        f"warning: {output}: {counted(n_before, 'image')} had a group or patient, {n_now} have one "
        "now; if they should keep it, give --group-column or --group-regex as before"
    )
    return [printable(text)]


def damage_lines(output: Path) -> list[str]:
    """Return a line for each fact that is damaged in rows of an existing store."""
    if not output.exists():
        return []
    try:
        store = FeatureStore(output)
    except StoreError:
        # The extraction itself reports this.
        return []
    lines = []
    for fact, mend in MENDS.items():
        damaged = store.damaged_rows(fact)
        if len(damaged):
            names = first_names(store.paths[damaged].tolist())
            mending = mend.format(rows=counted(len(damaged), "row"))
            text = f"{output}: damaged: the {fact} of {names} is not what was written; {mending}"
            lines.append(printable(text))
    return lines


def unreadable_lines(extraction: Extraction, output: Path) -> list[str]:
    """Return a line for each unreadable image, up to `MAX_UNREADABLE_LINES`."""
    lines = [
        f"unreadable: {path}: {reason}" for path, reason in extraction.failed[:MAX_UNREADABLE_LINES]
    ]
    n_more = len(extraction.failed) - MAX_UNREADABLE_LINES
    if n_more > 0:
        lines.append(f"unreadable: {n_more} more; all reasons are in {output}")
    return [printable(line) for line in lines]


def result_line(extraction: Extraction, n_images: int, output: Path) -> str:
    """Return the line with the store, the number of its images and its layers."""
    layers = ", ".join(
        f"{name} {' x '.join(map(str, shape))}" for name, shape in extraction.store.layers.items()
    )
    n_done = n_images - len(extraction.failed)
    return printable(f"{output}: {n_done} of {n_images} images, {layers}")


def summary_lines(extraction: Extraction) -> list[str]:
    """Return the lines about what was reused and computed, the speed, and the copies."""
    lines = []
    if extraction.reused:
        lines.append(f"{extraction.reused} images were copied from earlier stores")
    if extraction.computed:
        lines += _speed_lines(extraction)
    elif not extraction.reused:
        nothing = "" if extraction.recognised else "; nothing to do"
        lines.append(f"all were computed before{nothing}")
    return lines + frames_lines(extraction.progress.frames) + picture_lines(extraction)


def picture_lines(extraction: Extraction) -> list[str]:
    """Return the line about different pictures, or why they are unknown; at most one."""
    n_done = len(extraction.store.rows())
    n_pictures = extraction.store.pictures
    if extraction.outdated:
        return [
            "warning: the store stays in an earlier format, in which only byte-identical copies "
            f"are recognised; rewriting it needs {decimal(extraction.outdated)} on this disk"
        ]
    if extraction.unrecognised:
        path, reason = extraction.unrecognised[0]
        n_unread = counted(len(extraction.unrecognised), "image")
        line = (
            f"{n_unread} could not be read again, first {path}: {reason}; copies of them are not "
            "recognised; put the files back, then run the same command again"
        )
        return [printable(line)]
    if n_pictures is not None and n_pictures < n_done:
        return [
            f"{n_done} images are {n_pictures} different pictures: copies, also saved again, "
            "cropped, mirrored or turned, count once (freezeframe audit shows them)"
        ]
    return []


def _speed_lines(extraction: Extraction) -> list[str]:
    """Return the lines about the speed and the slowest stage."""
    counts = extraction.progress
    rate = counts.finished / extraction.seconds
    line = f"{counts.finished} computed in {extraction.seconds:.1f} s, {rate:.1f} images/s"
    if counts.same:
        line += f", {counts.same} of them with the same pixels as another"
    if not counts.computed:
        return [line]
    # Shares come with the largest first.
    (slowest, share), *rest = counts.seconds.shares().items()
    stages = ", ".join(f"{stage} {stage_share:.0%}" for stage, stage_share in rest)
    return [line, f"limited by {STAGES[slowest]}: {share:.0%} of the time ({stages})"]


def rate_text(counts: ExtractionProgress, seconds: float) -> str:
    """Return the text behind a progress bar: the unit, the speed, and each stage's share of time.

    Args:
        counts: counts of the run so far.
        seconds: time since the start of the run.
    """
    shares = ", ".join(f"{stage} {share:.0%}" for stage, share in counts.seconds.shares().items())
    return f"images, {counts.finished / seconds:.1f} images/s ({shares}),"
