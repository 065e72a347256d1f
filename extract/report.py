"""An extraction that reports to a command: lines of text and a progress bar."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..data.manifest import Manifest
from ..data.output.terminal import progress_bar
from ..errors import FreezeframeError
from ..features.store import FeatureStore
from .extraction import Extraction, extract_features
from .filling import ExtractionProgress
from .messages import manifest_lines, rate_text, result_line, summary_lines, unreadable_lines
from .settings import Settings
from .signals import stop_on_signals

Line = Callable[[str], None]
"""Called with one line of text."""


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
    """Extract what is missing in a store, and report what exists and how far it is.

    The first SIGINT or SIGTERM lets the batch in hand be finished, then `KeyboardInterrupt` is
    raised: so only a command may call this.

    Args:
        manifest: the images.
        output: the store.
        settings: what to compute.
        log: called with each message.
        result: called with the line about the finished store.
        max_failed: percent of the images that may be unreadable.
        options: options of `extract_features`.

    Raises:
        FreezeframeError: as `extract_features`, or more of the images are unreadable.
    """
    n_images = len(manifest.images)
    for line in manifest_lines(manifest):
        log(line)
    try:
        extraction = _extract(manifest, output, settings, **options)
    except KeyboardInterrupt:
        log("finished images are kept; run the same command again to continue")
        raise
    for line in unreadable_lines(extraction, output):
        log(line)
    result(result_line(extraction, n_images, output))
    for line in summary_lines(extraction):
        log(line)
    share = 100 * len(extraction.failed) / n_images
    if share > max_failed:
        raise FreezeframeError(
            f"{manifest.source}: {share:.1f} % of the images could not be read, more than the "
            f"{max_failed:g} % of --max-failed"
        )
    return extraction.store


def _extract(manifest: Manifest, output: Path, settings: Settings, **options: Any) -> Extraction:
    """Run `extract_features` with a progress bar; signals stop it in good order."""
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
            command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            stop=stop_on_signals,
            progress=show_batch,
            afterwards=show_step,
            **options,
        )
