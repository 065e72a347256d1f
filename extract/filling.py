"""Filling the pending rows of a store: an engine computes ahead, a thread writes behind."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from ..data.manifest import Manifest
from ..errors import StoreError
from ..features.store import FeatureStore
from ..features.writer import StoreWriter
from .backbones.table import find_backbone
from .engines.keras import KerasEngine
from .engines.mnn import MnnEngine, mnn_model
from .engines.pixels import PixelEngine
from .pipeline import Batch, Engine, Seconds, Seen, Source, cpu_cores, run
from .settings import Settings
from .workers.pool import Job, WorkerPool

WRITE_THREADS = 4 if hasattr(os, "pwrite") else 1
"""A GPU computes faster than one thread hashes and writes."""

BATCHES_BEHIND = 1
"""How many computed batches may wait to be written: what a kill -9 can lose, and the one being computed."""


@dataclass(slots=True)
class Progress:
    """How far a run is.

    Attributes:
        total: rows that were pending when it began.
        computed: rows whose features were computed.
        same: rows that show the same pixels as one of those, and got its features.
        broken: rows that failed.
        unread: (row, reason) of files that could not be read this time.
        seconds: time spent per stage; of several workers the sum.
    """

    total: int
    computed: int = 0
    same: int = 0
    broken: int = 0
    unread: list[tuple[int, str]] = field(default_factory=list)
    seconds: Seconds = field(default_factory=Seconds)

    @property
    def finished(self) -> int:
        """Rows that are dealt with."""
        return self.computed + self.same + self.broken + len(self.unread)


Tell = Callable[[Progress], None]
"""Called after every batch that was written."""


def fill(
    store: FeatureStore,
    manifest: Manifest,
    settings: Settings,
    weights: Mapping[str, NDArray[np.float32]],
    *,
    workers: int | None,
    stop: Callable[[], bool],
    tell: Tell | None,
) -> Progress:
    """Compute the pending rows of a store; rows that are finished are not touched.

    Args:
        store: rows in the order of the manifest, under its lock.
        manifest: the images.
        settings: resolved; they agree with the store's provenance.
        weights: of the backbone.
        workers: processes of the engine mnn; None: one a core.
        stop: asked before or after every image; True ends the run in good order.
        tell: called after every batch.

    Raises:
        StoreError: the store cannot be written.
        FreezeframeError: the engine does not start.
    """
    with StoreWriter(store.path) as writer:
        progress = Progress(len(writer.pending))
        for row in writer.pending:
            if not manifest.images[row].sha256:
                writer.fail(int(row), "could not be read when it was listed")
                progress.broken += 1
        rows = [int(row) for row in writer.pending if manifest.images[row].sha256]
        if rows:
            images = ((row, manifest.images[row]) for row in rows)
            sources = (
                Source(row, manifest.root / image.path, image.sha256) for row, image in images
            )
            count = min(workers or cpu_cores(), len(rows))
            batches = _computed(store, sources, settings, weights, count, stop)
            _write_behind(writer, batches, progress, tell)
    return progress


def make_engine(
    settings: Settings, weights: Mapping[str, NDArray[np.float32]], layers: Sequence[str]
) -> Engine:
    """The engine that resolved settings name, to be run in this process.

    Raises:
        MissingExtraError: it is not installed.
    """
    backbone = find_backbone(settings.backbone)
    if settings.engine == "none":
        return PixelEngine(backbone, layers)
    if settings.engine == "mnn":
        return MnnEngine(backbone, mnn_model(backbone, weights, layers), layers)
    return KerasEngine(backbone, weights, layers, settings.batch_size or 1, settings.precision)


def _computed(
    store: FeatureStore,
    sources: Iterable[Source],
    settings: Settings,
    weights: Mapping[str, NDArray[np.float32]],
    workers: int,
    stop: Callable[[], bool],
) -> Generator[Batch]:
    """Batches from the engine that is asked for."""
    backbone, layers = find_backbone(settings.backbone), tuple(store.layers)
    if settings.engine == "mnn":
        model = mnn_model(backbone, weights, layers)
        job = Job(store.path, backbone.name, model, layers, settings.resize)
        yield from WorkerPool(job, sources, workers, stop).run()
    else:
        engine = make_engine(settings, weights, layers)
        yield from run(
            engine, sources, backbone.input_size, settings.resize, seen=Seen(), stop=stop
        )


def _write_behind(
    writer: StoreWriter, batches: Generator[Batch], progress: Progress, tell: Tell | None
) -> None:
    """Write batches in a thread while the next are computed, a bounded number of them behind."""
    waiting: deque[Future[None]] = deque()

    def settle(most: int) -> None:
        while len(waiting) > most:
            waiting.popleft().result()
            if tell is not None:
                tell(progress)

    # The generator is closed here, whatever happens: no worker outlives the lock on the store.
    with (
        closing(batches),
        ThreadPoolExecutor(WRITE_THREADS) as putters,
        ThreadPoolExecutor(1) as pool,
    ):
        for batch in batches:
            waiting.append(pool.submit(_record, writer, putters, batch, progress))
            settle(BATCHES_BEHIND)
        settle(0)


def _record(
    writer: StoreWriter, putters: ThreadPoolExecutor, batch: Batch, progress: Progress
) -> None:
    """Write a batch: features, flush, and only then what says that the rows are finished."""
    start = perf_counter()

    def put(i: int) -> dict[str, str]:
        return writer.put(batch.rows[i], {name: array[i] for name, array in batch.features.items()})

    for row, found in batch.fingerprints.items():
        writer.put_fingerprint(row, found.pixels, found.thumbnail)
    checksums = batch.checksums or list(putters.map(put, range(len(batch.rows))))
    writer.flush()
    for row, sums, size in zip(batch.rows, checksums, batch.sizes, strict=True):
        writer.finish(row, sums, size)
    if batch.same:
        copied = [writer.copy(first, row) for row, first, _ in batch.same]
        writer.flush()
        for (row, _, size), sums in zip(batch.same, copied, strict=True):
            writer.finish(row, sums, size)
    for row, reason in batch.failed:
        writer.fail(row, reason)
    progress.computed += len(batch.rows)
    progress.same += len(batch.same)
    progress.broken += len(batch.failed)
    progress.unread += batch.unread
    batch.seconds.write += perf_counter() - start
    progress.seconds.add(batch.seconds)


def check_read(store: Path, manifest: Manifest, progress: Progress) -> None:
    """Raise `StoreError` if files could not be read this time."""
    if progress.unread:
        row, reason = progress.unread[0]
        raise StoreError(
            f"{store}: {len(progress.unread)} images could not be read this time, first "
            f"{manifest.images[row].path}: {reason}; all others are finished, the same command tries these again"
        )
