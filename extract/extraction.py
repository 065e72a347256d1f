"""Extraction: the way from a manifest to a finished feature store, by a plan."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from ..data.manifest import Manifest
from ..errors import StoreError
from ..features.layout import FAILED, PENDING
from ..features.store import FeatureStore
from ..features.store_lock import store_lock
from .backbones.weights import Weights, load_weights
from .filling import ExtractionProgress, OnBatch, fill
from .near_duplicates import OnStep, recognise, recognises_all
from .plan.plan import Plan, make_plan, next_path, set_aside_path
from .plan.preflight import check_room
from .plan.target import (
    check_upgraded,
    create_pending,
    fill_from_donors,
    forget_damaged,
    upgrade_store,
)
from .settings import Settings
from .signals import StopContext, leave_signals


@dataclass(frozen=True)
class Extraction:
    """The result of an extraction.

    Attributes:
        store: the finished store.
        reused: rows copied from an earlier store or from the stores of `reuse`.
        progress: counts of this run, and the time spent per stage.
        failed: (path, reason) of every image that could not be read.
        seconds: time from the first image to the last, with the start of the engine.
        recognised: True if this run added fingerprints or near-duplicate groups.
        outdated: bytes that are missing on the disk to rewrite a finished store of an earlier
            format in today's format; 0 for any other store.
        unrecognised: (path, reason) of every image whose copies are unknown: its features come
            from an earlier store, and its file could not be read again.
    """

    store: FeatureStore
    reused: int
    progress: ExtractionProgress
    failed: list[tuple[str, str]]
    seconds: float
    recognised: bool = False
    outdated: int = 0
    unrecognised: list[tuple[str, str]] = field(default_factory=list)

    @property
    def computed(self) -> int:
        """Number of rows that this run finished without copying them from another store."""
        return self.progress.finished


def extract_features(  # noqa: PLR0913
    manifest: Manifest,
    output: str | os.PathLike[str],
    settings: Settings | None = None,
    *,
    overwrite: bool = False,
    reuse: Sequence[str | os.PathLike[str]] = (),
    workers: int | None = None,
    command: str = "",
    groups: bool = True,
    stop: StopContext = leave_signals,
    progress: OnBatch | None = None,
    afterwards: OnStep | None = None,
) -> Extraction:
    """Compute the features of all images that are not finished in the store `output`.

    A missing store is created. Rows that an earlier run finished are never computed again, even if
    that run was killed. A finished store is recognised without loading the backbone.

    If images were added, removed, changed or relabelled, a new store is built beside the old one
    from its rows. It replaces the old store when it is finished. A store of an earlier format is
    rewritten in the same way, without computing an image again. `make_plan` decides all this before
    anything is written.

    Rows whose status does not match its checksum are computed again. For a damaged fingerprint only
    the image is read again; damaged groups of near-duplicates are found again.

    The last step groups near-duplicates. If a run stops before this step, the next run does it,
    without the backbone.

    Args:
        manifest: the images.
        output: the store.
        settings: what to compute; by default block5_pool of VGG16 with ImageNet weights.
        overwrite: replace the existing store instead of continuing it.
        reuse: other stores; rows of the same files are copied from them.
        workers: number of processes of the engine mnn; None takes one for each core.
        command: command line that provenance records.
        groups: True to group near-duplicates when all features are finished.
        stop: context in which rows are computed. With `stop_on_signals` the first SIGINT or SIGTERM
            ends the run after the current batch. By default signals keep their handlers.
        progress: called after every batch.
        afterwards: called during the steps after the last image.

    Raises:
        StoreError: a store has another provenance (the message names the field), is in use, cannot
            be written, or does not fit on the disk. Or it is not complete, because some files could
            not be read this time.
        WeightsError: the weights are missing or not the pinned ones.
        MissingExtraError: the engine is not installed.
        KeyboardInterrupt: the run was stopped before the last image.

    Examples:
        >>> from freezeframe.data.manifest import read_manifest
        >>> extract_features(read_manifest("brain-mri"), "features.h5").store  # doctest: +SKIP
        FeatureStore('features.h5': 253 done, 0 failed, 0 pending; block5_pool (7, 7, 512))
    """
    output = Path(output).resolve()
    # The plan is made under the lock, so that no other process changes the store after it.
    with store_lock(output):
        make = partial(
            make_plan,
            output,
            manifest,
            settings,
            overwrite=overwrite,
            reuse=reuse,
            workers=workers,
        )
        plan = make()
        if forget_damaged(plan):
            plan = make()
        extraction = carry_out(plan, manifest, command=command, stop=stop, progress=progress)
        # A store that is kept in an earlier format has no place for groups.
        if plan.task == "keep" or not groups or recognises_all(extraction.store):
            return extraction
        unrecognised = recognise(extraction.store, manifest, afterwards)
        return replace(
            extraction, store=FeatureStore(output), recognised=True, unrecognised=unrecognised
        )


def carry_out(
    plan: Plan,
    manifest: Manifest,
    *,
    command: str = "",
    stop: StopContext = leave_signals,
    progress: OnBatch | None = None,
) -> Extraction:
    """Carry out a plan, up to the finished store; call it under `store_lock`.

    A crash at any instant leaves the existing store or the new one at `output`.

    Args:
        plan: result of `make_plan`; the files on the disk must not have changed since.
        manifest: the images of the plan.
        command: command line that provenance records.
        stop: context in which rows are computed.
        progress: called after every batch.

    Raises:
        StoreError, WeightsError, KeyboardInterrupt: as `extract_features`.
    """
    if plan.task == "keep" and plan.existing is not None:
        return replace(_result(plan.existing, 0), outdated=plan.outdated_bytes)
    # Until the last line of this function `output` is the old store.
    weights, reused = _prepare(plan, manifest, command)
    start = time.perf_counter()
    counts = _fill_pending(plan, manifest, weights, stop, progress)
    seconds = time.perf_counter() - start
    _check_finished(plan, manifest, counts)
    plan.target.replace(plan.output)
    return replace(_result(FeatureStore(plan.output), reused), progress=counts, seconds=seconds)


def _prepare(plan: Plan, manifest: Manifest, command: str) -> tuple[Weights | None, int]:
    """Create the target and copy finished rows into it.

    Returns:
        The weights, if they were loaded; and the number of rows that were copied.
    """
    # A later run could mistake these files for the new store.
    for path in plan.obsolete:
        path.unlink(missing_ok=True)
    donors = list(plan.donors)
    # An unfinished store of other images is moved: the new store needs its name.
    if plan.displaced is not None:
        aside = plan.displaced.path.replace(set_aside_path(plan.output))
        donors[donors.index(plan.displaced)] = FeatureStore(aside)
    weights = None
    reused = 0
    if plan.task == "upgrade" and plan.existing is not None:
        reused = upgrade_store(plan.existing, plan.target, manifest)
        check_upgraded(plan)
    elif plan.task != "continue" and plan.begun is None:
        weights = create_pending(plan, manifest, command)
    reused += fill_from_donors(plan.target, donors)
    # The target has all useful rows of earlier runs now, so their files can go.
    for path in (next_path(plan.output), set_aside_path(plan.output)):
        if path != plan.target:
            path.unlink(missing_ok=True)
    return weights, reused


def _fill_pending(
    plan: Plan,
    manifest: Manifest,
    weights: Weights | None,
    stop: StopContext,
    progress: OnBatch | None,
) -> ExtractionProgress:
    """Compute the pending rows of the target, if there are any."""
    store = FeatureStore(plan.target)
    if store.complete:
        return ExtractionProgress(0)
    settings = plan.settings
    # A full disk should show before hours of computing, not after them.
    check_room(store)
    if not weights:
        weights, _ = load_weights(settings.weights, settings.seed, settings.network)
    with stop() as stop_request:
        counts = fill(
            store,
            manifest,
            settings,
            weights,
            workers=plan.workers,
            stop=stop_request,
            progress=progress,
        )
    # A request during the last batch stopped nothing: all rows are finished.
    if stop_request() and counts.finished < counts.total:
        raise KeyboardInterrupt
    return counts


def _check_finished(plan: Plan, manifest: Manifest, counts: ExtractionProgress) -> None:
    """Raise `StoreError` if files could not be read this time, or rows are still pending."""
    if counts.unread:
        # These rows stay pending, for example when a network drive is away.
        row, reason = counts.unread[0]
        raise StoreError(
            f"{plan.output}: {len(counts.unread)} images could not be read this time, first "
            f"{manifest.images[row].path}: {reason}; all others are finished, "
            "run the same command again to retry"
        )
    n_pending = int((FeatureStore(plan.target).status == PENDING).sum())
    if n_pending:
        raise StoreError(
            f"{plan.output}: {n_pending} images are not finished; "
            "run the same command again to continue"
        )


def _result(store: FeatureStore, reused: int) -> Extraction:
    """Describe a finished store in which nothing was computed."""
    failed = [
        (str(store.paths[row]), str(store.reasons[row]))
        for row in (store.status == FAILED).nonzero()[0]
    ]
    return Extraction(store, reused, ExtractionProgress(0), failed, 0.0)
