"""Extraction: from a manifest to a finished feature store. A plan is made, then carried out."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..data.manifest import Manifest
from ..errors import StoreError
from ..features.layout import FAILED, PENDING
from ..features.store import FeatureStore
from ..features.writer import store_lock
from .backbones.weights import Weights, load_weights
from .filling import ExtractionProgress, OnBatch, fill
from .near_duplicates import OnStep, recognise
from .plan.plan import Plan, make_plan, next_path, set_aside_path
from .plan.preflight import check_room
from .plan.target import check_upgraded, create_pending, fill_from_donors, upgrade_store
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
        recognised: True if fingerprints or near-duplicate groups were added in this run.
        outdated: bytes that a finished store of an earlier format needs to be rewritten in today's,
            for which there is no room; 0 for any other store.
        unrecognised: (path, reason) of every image whose features come from an earlier store and
            whose file could not be read again; copies of it are unknown.
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
        """Rows dealt with in this run that were not copied from another store."""
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

    A missing store is made. Rows that an earlier run finished are never computed again, however it
    was stopped. A finished store is recognised without loading the backbone.

    If images were added, removed, changed or relabelled, a new store is built beside the old one
    from its rows, and replaces it when it is finished. So is a store of an earlier format: none of
    its images is computed again. `make_plan` plans all this beforehand.

    After the last image near-duplicates are grouped. If a run is stopped before that, the next run
    does it, and needs no backbone for it.

    Args:
        manifest: the images.
        output: the store.
        settings: what to compute; by default block5_pool of VGG16 with ImageNet weights.
        overwrite: replace the existing store instead of continuing it.
        reuse: other stores; rows of the same files are copied from them.
        workers: processes of the engine mnn; None takes one a core.
        command: command line that provenance records.
        groups: group near-duplicates when all features are finished.
        stop: context in which rows are computed; `stop_on_signals` lets the first SIGINT or SIGTERM
            finish the batch in hand. By default signals are left alone.
        progress: called after every batch.
        afterwards: called with the steps after the last image.

    Raises:
        StoreError: a store has another provenance (the message names the field), is in use, cannot
            be written, would not fit on the disk, or is not complete because files could not be
            read this time.
        WeightsError: the weights are missing or not the pinned ones.
        MissingExtraError: the engine is not installed.
        KeyboardInterrupt: the run was stopped before the last image.

    Examples:
        >>> from freezeframe.data.manifest import read_manifest
        >>> extract_features(read_manifest("brain-mri"), "features.h5").store  # doctest: +SKIP
        FeatureStore('features.h5': 253 done, 0 failed, 0 pending; block5_pool (7, 7, 512))
    """
    output = Path(output).resolve()
    # The plan is made under the lock: nobody changes the store behind it.
    with store_lock(output):
        plan = make_plan(
            output, manifest, settings, overwrite=overwrite, reuse=reuse, workers=workers
        )
        extraction = carry_out(plan, manifest, command=command, stop=stop, progress=progress)
        # A store that is kept in an earlier format has no place for groups.
        if plan.task == "keep" or not groups or extraction.store.fingerprinted:
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
    """Carry out a plan, up to the finished store; call under `store_lock`.

    A crash at any instant leaves the existing store or the new one at `output`.

    Args:
        plan: from `make_plan`; nothing has changed on the disk since.
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
    """Make the target and copy finished rows into it.

    Returns:
        The weights, if they were loaded; and the number of rows that were copied.
    """
    # They could be taken for the new store.
    for path in plan.obsolete:
        path.unlink(missing_ok=True)
    donors = list(plan.donors)
    # An unfinished store of other images gives its place to the new store.
    if plan.displaced is not None:
        aside = plan.displaced.path.replace(set_aside_path(plan.output))
        donors[donors.index(plan.displaced)] = FeatureStore(aside)
    weights = None
    reused = 0
    if plan.task == "upgrade" and plan.existing is not None:
        reused = upgrade_store(plan.existing, plan.target)
        check_upgraded(plan)
    elif plan.task != "continue" and plan.begun is None:
        weights = create_pending(plan, manifest, command)
    reused += fill_from_donors(plan.target, donors)
    # Only now all useful rows of earlier runs are in the target.
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
    # A request in the very last batch came too late to stop anything.
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
