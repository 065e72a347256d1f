"""The pool of worker processes, one for each core.

The parent sends rows to the workers and replaces a worker that dies; `process` describes the
messages.

The workers are plain processes that exchange JSON, not `multiprocessing`, for three reasons:

- Nothing is unpickled.
- A program that calls this package needs no `if __name__ == "__main__"`.
- A worker that is killed at any instant blocks no queue or lock.
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import FreezeframeError, MissingExtraError, StoreError
from ..engines.silence import OWN_GROUP
from ..pipeline import Batch, ImageSource, Seconds, SeenPixels, never
from . import process

WORKER_MODULE = process.__name__
"""Name of the module that a worker runs; it stays right if the file moves."""

ROWS_A_BATCH = 16
"""Number of rows after which a batch is yielded."""

SECONDS_A_BATCH = 1.0
"""Seconds after which a batch is yielded."""

START_SECONDS = 120
"""Seconds after which a worker that does not start is killed."""

IMAGE_SECONDS = 300
"""Seconds for one image after which a worker is killed, because it hangs.

The slowest images that are allowed take about 20 s.
"""

_ERRORS: dict[str, type[FreezeframeError]] = {
    kind.__name__: kind for kind in (MissingExtraError, StoreError)
}


class WorkerDiedError(Exception):
    """A worker process ended in the middle of its work."""


@dataclass(frozen=True, slots=True)
class Job:
    """The job of all workers: fill some layers of a store.

    Attributes:
        store: path of the store.
        backbone: name of the backbone.
        model: file of the backbone in MNN's format.
        layers: the layers, sorted by `Backbone.sort_layers`.
        resize: resizing method.
    """

    store: Path
    backbone: str
    model: Path
    layers: tuple[str, ...]
    resize: str


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


class Worker:
    """One worker process, and the messages to and from it."""

    def __init__(self) -> None:
        # The last line that a worker prints explains why it did not start.
        self._printed = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the worker
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", WORKER_MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._printed,
            process_group=OWN_GROUP,
        )
        self._late = False

    def start(self, job: Job) -> None:
        """Send the job and wait until the worker is ready.

        Raises:
            FreezeframeError: the worker does not start; the message ends with its last line.
        """
        message = {
            "store": str(job.store),
            "backbone": job.backbone,
            "model": str(job.model),
            "resize": job.resize,
            "layers": job.layers,
        }
        try:
            self.send(message)
            answer = self.receive(START_SECONDS)
        except WorkerDiedError as error:
            self._printed.seek(0)
            last = self._printed.read().decode(errors="replace").strip().rpartition("\n")[2]
            raise FreezeframeError(
                f"the engine mnn does not start ({error}: {last}); take --engine keras"
            ) from None
        raise_error(answer)

    def send(self, message: Any) -> None:
        """Send a message."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            self._raise_died()

    def receive(self, seconds: float = IMAGE_SECONDS) -> dict[str, Any]:
        """Wait for an answer; kill a worker that takes too long."""
        assert self._process.stdout is not None
        # A pipe has no timeout: another thread ends the worker, which ends the read.
        alarm = threading.Timer(seconds, self._kill_late)
        alarm.daemon = True
        alarm.start()
        line = self._process.stdout.readline()
        alarm.cancel()
        # A worker that dies in the middle of an answer leaves half a line.
        if not line.endswith(b"\n"):
            self._raise_died()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _raise_died(self) -> None:
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            # The process closed its pipes but still runs.
            self.kill()
            code = self._process.wait()
        if self._late:
            raise WorkerDiedError(f"it took more than {IMAGE_SECONDS} s")
        raise WorkerDiedError(f"signal {-code}" if code < 0 else f"exit code {code}")

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()

    def _kill_late(self) -> None:
        self._late = True
        self.kill()

    def close(self) -> None:
        """Close the worker's input, which ends the worker, and wait for its end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        for pipe in (self._process.stdin, self._process.stdout):
            try:
                pipe.close()
            except OSError:
                # Closing writes the last message, which a dead worker cannot take.
                continue
        self._process.wait()
        self._printed.close()


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
        self._abandoned = False
        self._threads = [
            threading.Thread(target=self._lead, args=(number,), daemon=True)
            for number in range(n_workers)
        ]

    def run(self) -> Iterator[Batch]:
        """Yield the outcomes of all rows in batches, in the order in which they finish.

        Raises:
            FreezeframeError: no worker starts, or a worker has an error that will stop all workers,
                such as a full disk.
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
                if isinstance(outcome, BaseException):
                    raise outcome
                # A thread ends with None.
                if outcome is None:
                    running -= 1
                else:
                    gatherer.add(batch, outcome)
            if len(batch) >= ROWS_A_BATCH or time.monotonic() - since >= SECONDS_A_BATCH:
                if len(batch):
                    yield batch
                batch = Batch()
                since = time.monotonic()
        if len(batch):
            yield batch

    def _lead(self, number: int) -> None:
        """Lead one worker from image to image, in a thread."""
        try:
            self._start(number)
            while (source := self._next_source()) is not None:
                self._outcomes.put(self._compute_with_retry(number, source))
            self._outcomes.put(None)
        # `_batches` raises the error in the thread of the caller.
        except BaseException as error:
            self._outcomes.put(error)
        finally:
            if number in self._workers:
                self._workers[number].close()

    def _next_source(self) -> ImageSource | None:
        with self._lock:
            return None if self._abandoned or self._stop() else next(self._sources, None)

    def _start(self, number: int) -> None:
        worker = Worker()
        # Listed before it is ready, so that `run` can kill it while it starts.
        with self._lock:
            self._workers[number] = worker
            if self._abandoned:
                worker.kill()
        worker.start(self._job)

    def _compute_with_retry(self, number: int, source: ImageSource) -> Outcome:
        """Compute an image; try it once more, in a new worker, if the first worker died of it."""
        for attempt in (1, 2):
            try:
                return self._compute(self._workers[number], source)
            except WorkerDiedError as error:
                self._workers[number].close()
                if self._abandoned:
                    raise
                self._start(number)
                if attempt == 2:
                    reason = f"the process computing it died, twice ({error})"
                    return Outcome(source.row, {"failed": reason})
        raise AssertionError("unreachable")

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


def raise_error(answer: dict[str, Any]) -> None:
    """Raise the error in a worker's answer, if there is one."""
    if "error" in answer:
        kind = _ERRORS.get(answer["kind"], FreezeframeError)
        # `__new__` skips `__init__`, which would build the text again from other arguments.
        raise kind.__new__(kind, answer["error"])


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
            batch.checksums.append(answer["checksums"])
            batch.seconds.add(Seconds(*answer["seconds"]))
            # Features that are not finite have no checksums, and nothing was written.
            if answer["checksums"]:
                self._computed[row] = row
