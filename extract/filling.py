"""The filling of a store's pending rows: an engine computes while a thread writes."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from ..data.manifest import Manifest
from ..features.store import FeatureStore
from ..features.writer import StoreWriter
from .engines import Engine
from .engines.devices import cpu_cores
from .engines.keras import KerasEngine
from .engines.mnn import MnnEngine, mnn_model
from .engines.pixels import PixelEngine
from .pipeline import Batch, ImageSource, Seconds, SeenPixels, never, run
from .settings import Settings
from .workers.pool import WorkerPool
from .workers.worker import Job

WRITE_THREADS = 4 if hasattr(os, "pwrite") else 1
"""Number of threads that hash and write: one thread is slower than a GPU."""

BATCHES_BEHIND = 1
"""Most computed batches that wait to be written.

A `kill -9` loses these batches and the current one.
"""


@dataclass(slots=True)
class ExtractionProgress:
    """The counts of a run.

    Attributes:
        total: number of rows that were pending at the start.
        computed: number of rows whose features were computed.
        same: number of rows that got the features of a computed row with the same pixels.
        broken: number of rows that failed.
        unread: (row, reason) of files that could not be read this time.
        frames: number of images that were read, by their number of frames.
        seconds: time spent in each stage; the sum over all workers.
    """

    total: int
    computed: int = 0
    same: int = 0
    broken: int = 0
    unread: list[tuple[int, str]] = field(default_factory=list)
    frames: Counter[int] = field(default_factory=Counter)
    seconds: Seconds = field(default_factory=Seconds)

    @property
    def finished(self) -> int:
        """Number of rows that are computed, copied, failed or unread."""
        return self.computed + self.same + self.broken + len(self.unread)


OnBatch = Callable[[ExtractionProgress], None]
"""Function that is called after every batch that was written."""


def fill(
    store: FeatureStore,
    manifest: Manifest,
    settings: Settings,
    weights: Mapping[str, NDArray[np.float32]],
    *,
    workers: int | None = None,
    stop: Callable[[], bool] = never,
    progress: OnBatch | None = None,
) -> ExtractionProgress:
    """Compute the pending rows of a store; finished rows are not touched.

    Args:
        store: a store with its rows in the order of the manifest; the caller holds its lock.
        manifest: the images.
        settings: resolved settings that agree with the store's provenance.
        weights: the backbone's weights.
        workers: number of processes of the engine mnn; None takes one for each core.
        stop: called before or after every image; True ends the run after the current batch.
        progress: called after every batch.

    Raises:
        StoreError: the store cannot be written.
        FreezeframeError: the engine does not start.
    """
    with StoreWriter(store.path) as writer:
        counts = ExtractionProgress(len(writer.pending))
        pending = writer.pending.tolist()
        # No checksum means that the file could not be read when the manifest was made.
        rows = [row for row in pending if manifest.images[row].sha256]
        unlisted = [row for row in pending if not manifest.images[row].sha256]
        writer.fail({row: _listed_problem(manifest, row) for row in unlisted})
        counts.broken += len(unlisted)
        if rows:
            # A generator: a list of a million sources would take 200 MB.
            sources = (_source(manifest, row) for row in rows)
            n_workers = min(workers or cpu_cores(), len(rows))
            batches = _compute(store, sources, settings, weights, n_workers, stop)
            write_behind(writer, batches, counts, progress)
    return counts


def _listed_problem(manifest: Manifest, row: int) -> str:
    """Return the reason why a file could not be read when the manifest was made."""
    return manifest.problems.get(manifest.images[row].path, "could not be read when it was listed")


def _source(manifest: Manifest, row: int) -> ImageSource:
    image = manifest.images[row]
    return ImageSource(row, manifest.root / image.path, image.sha256)


def start_engine(
    settings: Settings, weights: Mapping[str, NDArray[np.float32]], layers: Sequence[str]
) -> Engine:
    """Start the engine that resolved settings name, in this process.

    Raises:
        ParameterError: a layer is unknown.
        MissingExtraError: the engine is not installed.
    """
    backbone = settings.network
    layers = backbone.sort_layers(layers)
    if settings.engine == "none":
        return PixelEngine(backbone, layers)
    # This is the engine of one process; `WorkerPool` runs one for each core.
    if settings.engine == "mnn":
        return MnnEngine(backbone, mnn_model(backbone, weights, layers), layers)
    return KerasEngine(backbone, weights, layers, settings.batch_size or 1, settings.precision)


def _compute(
    store: FeatureStore,
    sources: Iterable[ImageSource],
    settings: Settings,
    weights: Mapping[str, NDArray[np.float32]],
    workers: int,
    stop: Callable[[], bool],
) -> Generator[Batch]:
    """Yield the batches of the engine that the settings name."""
    if settings.engine == "mnn":
        backbone = settings.network
        layers = backbone.sort_layers(list(store.layers))
        model = mnn_model(backbone, weights, layers)
        job = Job(store.path, backbone.name, model, layers, settings.resize)
        yield from WorkerPool(job, sources, workers, stop).run()
    else:
        engine = start_engine(settings, weights, list(store.layers))
        yield from run(engine, sources, settings.resize, seen=SeenPixels(), stop=stop)


def write_behind(
    writer: StoreWriter,
    batches: Generator[Batch],
    counts: ExtractionProgress,
    progress: OnBatch | None = None,
) -> None:
    """Write batches in a thread while the next ones are computed.

    Args:
        writer: writer of the store.
        batches: the batches to write.
        counts: counts to update.
        progress: called after every batch.
    """
    waiting: deque[Future[None]] = deque()

    def settle(n_waiting: int) -> None:
        while len(waiting) > n_waiting:
            # An error of the writing thread is raised here.
            waiting.popleft().result()
            if progress is not None:
                progress(counts)

    # The generator is closed even after an error, so no worker outlives the lock on the store.
    with (
        closing(batches),
        ThreadPoolExecutor(WRITE_THREADS) as putters,
        ThreadPoolExecutor(1) as pool,
    ):
        for batch in batches:
            waiting.append(pool.submit(_record, writer, putters, batch, counts))
            settle(BATCHES_BEHIND)
        settle(0)


def _record(
    writer: StoreWriter, putters: ThreadPoolExecutor, batch: Batch, counts: ExtractionProgress
) -> None:
    """Write a batch: features, flush, and only then the marks that the rows are finished."""
    start = perf_counter()

    def put(i: int) -> dict[str, str]:
        return writer.put(batch.rows[i], {name: array[i] for name, array in batch.features.items()})

    for row, fingerprint in batch.fingerprints.items():
        writer.put_fingerprint(row, fingerprint.pixels, fingerprint.thumbnail)
    checksums = batch.checksums or list(putters.map(put, range(len(batch.rows))))
    finished = zip(batch.rows, checksums, batch.sizes, strict=True)
    writer.finish({row: (sums, size) for row, sums, size in finished})
    # The first row of these pixels is finished by now.
    writer.finish({row: (writer.copy(first, row), size) for row, first, size in batch.same})
    writer.fail(dict(batch.failed))
    # The batch is on the disk now, so the progress that users see is safe from a crash.
    counts.computed += len(batch.rows)
    counts.same += len(batch.same)
    counts.broken += len(batch.failed)
    counts.unread += batch.unread
    counts.frames += batch.frames
    batch.seconds.write += perf_counter() - start
    counts.seconds.add(batch.seconds)
