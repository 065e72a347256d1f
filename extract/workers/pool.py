"""The pool of worker processes, one for each core.

The parent sends rows to the workers and replaces a worker that dies; `process` describes the
messages.

`piped_process` says why these are plain processes, not `multiprocessing`.
"""

from __future__ import annotations

import queue
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ...data.output.piped_process import WorkerDiedError
from ...errors import WorkerWarning
from ..pipeline import Batch, ImageSource, Seconds, SeenPixels, never
from .worker import Job, Worker, WorkerStartError, raise_error

ROWS_A_BATCH = 16
"""Number of rows after which a batch is yielded."""

SECONDS_A_BATCH = 1.0
"""Seconds after which a batch is yielded."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a row.

    Attributes:
        row: number of the row.
        answer: the worker's last answer.
        digest: digest of its pixels; empty if it could not be read.
        first: the row with the same pixels, if this one was not computed.
    """

    row: int
    answer: dict[str, Any]
    digest: bytes = b""
    first: int | None = None


class WorkerPool:
    """Worker processes that fill rows of a store; one thread of this process leads each worker.

    Args:
        job: the job of all workers.
        sources: the images, taken one by one as workers become free.
        n_workers: number of workers.
        stop: called before each image; True means that no more images are computed.
    """

    def __init__(
        self,
        job: Job,
        sources: Iterable[ImageSource],
        n_workers: int,
        stop: Callable[[], bool] = never,
    ) -> None:
        self._job = job
        self._sources = iter(sources)
        self._stop = stop
        self._lock = threading.Lock()
        self._seen = SeenPixels()
        self._outcomes: queue.SimpleQueue[Outcome | BaseException | None] = queue.SimpleQueue()
        self._workers: dict[int, Worker] = {}
        # Images whose worker could not be started again.
        self._returned: list[ImageSource] = []
        self._abandoned = False
        self._threads = [
            threading.Thread(target=self._lead, args=(number,), daemon=True)
            for number in range(n_workers)
        ]

    def run(self) -> Iterator[Batch]:
        """Yield the outcomes of all rows in batches, in the order in which they finish.

        Raises:
            WorkerStartError: no worker starts; as long as one does, a `WorkerWarning` names others.
            FreezeframeError: a worker has an error that will stop all workers, such as a full disk.
        """
        for thread in self._threads:
            thread.start()
        try:
            yield from self._batches()
        finally:
            with self._lock:
                # A thread may wait for an answer; killing its worker ends the wait.
                self._abandoned = True
                for worker in self._workers.values():
                    worker.kill()
            for thread in self._threads:
                thread.join()

    def _batches(self) -> Iterator[Batch]:
        gatherer = OutcomeGatherer(self._seen)
        running = len(self._threads)
        not_started: list[WorkerStartError] = []
        batch = Batch()
        since = time.monotonic()
        while running:
            try:
                # Slow images, too, are written at least once a second.
                rest = since + SECONDS_A_BATCH - time.monotonic()
                outcome = self._outcomes.get(timeout=max(0.0, rest))
            except queue.Empty:
                outcome = None
            else:
                # A thread ends with None, or because its worker does not start.
                if outcome is None or isinstance(outcome, WorkerStartError):
                    running -= 1
                    not_started.extend([outcome] if outcome else [])
                elif isinstance(outcome, BaseException):
                    raise outcome
                else:
                    gatherer.add(batch, outcome)
            if len(batch) >= ROWS_A_BATCH or time.monotonic() - since >= SECONDS_A_BATCH:
                if len(batch):
                    yield batch
                batch = Batch()
                since = time.monotonic()
        if len(batch):
            yield batch
        if not_started:
            self._report(not_started)

    def _report(self, not_started: list[WorkerStartError]) -> None:
        """Raise the last error of workers that did not start, or warn if all images are done."""
        error = not_started[-1]
        if self._next_source() is not None:
            raise error
        warnings.warn(
            f"{len(not_started)} of {len(self._threads)} workers did not start, the others did "
            f"their work; give --workers {len(self._threads) - len(not_started)} ({error})",
            WorkerWarning,
            stacklevel=2,
        )

    def _lead(self, number: int) -> None:
        """Lead one worker from image to image, in a thread."""
        try:
            while (source := self._next_source()) is not None:
                self._outcomes.put(self._compute_with_retry(number, source))
            self._outcomes.put(None)
        # `_batches` handles the error in the thread of the caller.
        except BaseException as error:
            self._outcomes.put(error)
        finally:
            self._end(number)

    def _next_source(self) -> ImageSource | None:
        with self._lock:
            if self._abandoned or self._stop():
                return None
            return self._returned.pop() if self._returned else next(self._sources, None)

    def _started(self, number: int) -> Worker:
        """Return the worker of a thread; start it, twice if the first one dies at its start."""
        for attempt in (1, 2):
            if number in self._workers:
                break
            worker = Worker()
            # Listed before it is ready, so that `run` can kill it while it starts.
            with self._lock:
                self._workers[number] = worker
                if self._abandoned:
                    worker.kill()
            try:
                worker.start(self._job)
            except WorkerStartError:
                self._end(number)
                if attempt == 2 or self._abandoned:
                    raise
        return self._workers[number]

    def _end(self, number: int) -> None:
        """Close the worker of a thread, if it has one."""
        with self._lock:
            worker = self._workers.pop(number, None)
        if worker is not None:
            worker.close()

    def _compute_with_retry(self, number: int, source: ImageSource) -> Outcome:
        """Compute an image; try it once more, in a new worker, if the first worker died of it."""
        reason = ""
        for _ in range(2):
            try:
                return self._compute(self._started(number), source)
            except WorkerStartError:
                # Another worker may compute it.
                with self._lock:
                    self._returned.append(source)
                raise
            except WorkerDiedError as error:
                self._end(number)
                if self._abandoned:
                    raise
                reason = f"the process computing it died, twice ({error})"
        return Outcome(source.row, {"failed": reason})

    def _compute(self, worker: Worker, source: ImageSource) -> Outcome:
        """Have a worker read an image, and compute it if its pixels are new."""
        worker.send({"row": source.row, "path": str(source.path), "sha256": source.sha256})
        answer = worker.receive()
        if "pixels" not in answer:
            return Outcome(source.row, answer)
        digest = bytes.fromhex(answer["pixels"])
        first = self._seen.first(digest, source.row)
        if first != source.row:
            worker.send("skip")
            return Outcome(source.row, answer, digest, first)
        worker.send("compute")
        try:
            return Outcome(source.row, worker.receive(), digest)
        except WorkerDiedError:
            self._seen.forget(digest)
            raise


class OutcomeGatherer:
    """A collector of outcomes into batches, where copies wait for the row that is computed.

    Args:
        seen: table of pixels that the pool uses; pixels of a row that failed are removed.
    """

    def __init__(self, seen: SeenPixels) -> None:
        self._seen = seen
        self._computed: dict[int, int] = {}
        """The row whose features each finished row has: itself, if it was computed."""
        self._failed: dict[int, dict[str, Any]] = {}
        self._waiting: dict[int, list[Outcome]] = {}

    def add(self, batch: Batch, outcome: Outcome) -> None:
        """Add an outcome to a batch, and the outcomes that waited for it."""
        raise_error(outcome.answer)
        row = outcome.row
        answer = outcome.answer
        first = outcome.first
        # If the first row failed, there are no features to copy: rows with its pixels fail, too.
        if first in self._failed:
            answer = self._failed[first]
            first = None
        elif first is not None and first not in self._computed:
            self._waiting.setdefault(first, []).append(outcome)
            return
        if first is not None:
            batch.same.append((row, self._computed[first], tuple(answer["size"])))
            batch.frames[answer["frames"]] += 1
            self._computed[row] = self._computed[first]
        else:
            self._add_answer(batch, row, answer)
        if row not in self._computed:
            self._seen.forget(outcome.digest)
            self._failed[row] = answer
        for waiting in self._waiting.pop(row, ()):
            self.add(batch, waiting)

    def _add_answer(self, batch: Batch, row: int, answer: dict[str, Any]) -> None:
        """Add a row that copies no other row, by the worker's answer."""
        if "failed" in answer:
            batch.failed.append((row, answer["failed"]))
        elif "unread" in answer:
            batch.unread.append((row, answer["unread"]))
        else:
            batch.rows.append(row)
            batch.sizes.append(tuple(answer["size"]))
            batch.frames[answer["frames"]] += 1
            batch.checksums.append(answer["checksums"])
            batch.seconds.add(Seconds(*answer["seconds"]))
            # Features that are not finite have no checksums, and nothing was written.
            if answer["checksums"]:
                self._computed[row] = row
