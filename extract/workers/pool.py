"""Worker processes, one a core: the parent hands out rows and replaces a worker that dies. `worker` tells what is said.

Plain processes that speak JSON, not `multiprocessing`: nothing is unpickled, a program that calls
us needs no `if __name__ == "__main__"`, and a worker killed at any instant takes no queue or lock
with it.
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
from ..pipeline import Batch, Seconds, Seen, Source, never

ROWS_A_BATCH = 16
SECONDS_A_BATCH = 1.0
"""A batch is passed on when it has so many rows, or after so long."""
START_SECONDS = 120
IMAGE_SECONDS = 300
"""A worker that takes longer for one image hangs, and is killed; the slowest that are allowed take some 20 s."""

_ERRORS: dict[str, type[FreezeframeError]] = {
    kind.__name__: kind for kind in (MissingExtraError, StoreError)
}


class WorkerDiedError(Exception):
    """A worker process ended in the middle of its work."""


@dataclass(frozen=True, slots=True)
class Job:
    """What all workers do: with the model of a backbone fill some layers of a store."""

    store: Path
    backbone: str
    model: Path
    layers: tuple[str, ...]
    resize: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a row: an answer of its worker, or that it shows the same pixels as row `first`."""

    row: int
    answer: dict[str, Any]
    digest: bytes = b""
    first: int | None = None


class Worker:
    """One worker process and the talk with it."""

    def __init__(self) -> None:
        self._printed = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the worker
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "freezeframe.extract.workers.process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._printed,
            process_group=OWN_GROUP,
        )
        self._late = False

    def start(self, job: Job) -> None:
        """Tell it the job and wait until it is ready.

        Raises:
            FreezeframeError: it does not start; the text tells what it printed last.
        """
        told = {
            "store": job.store,
            "backbone": job.backbone,
            "model": job.model,
            "resize": job.resize,
        }
        try:
            self.say({name: str(value) for name, value in told.items()} | {"layers": job.layers})
            answer = self.hear(START_SECONDS)
        except WorkerDiedError as error:
            self._printed.seek(0)
            last = self._printed.read().decode(errors="replace").strip().rpartition("\n")[2]
            raise FreezeframeError(
                f"the engine mnn does not start ({error}: {last}); take --engine keras"
            ) from None
        raise_error(answer)

    def say(self, message: Any) -> None:
        """Send a message."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            self._died()

    def hear(self, seconds: float = IMAGE_SECONDS) -> dict[str, Any]:
        """Wait for an answer; a worker that takes too long is killed."""
        assert self._process.stdout is not None
        alarm = threading.Timer(seconds, self._kill_late)
        alarm.daemon = True
        alarm.start()
        line = self._process.stdout.readline()
        alarm.cancel()
        if not line.endswith(b"\n"):
            self._died()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _died(self) -> None:
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:  # it has stopped talking, but lives
            self.kill()
            code = self._process.wait()
        if self._late:
            raise WorkerDiedError(f"it took more than {IMAGE_SECONDS} s")
        raise WorkerDiedError(f"signal {-code}" if code < 0 else f"exit code {code}")

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def _kill_late(self) -> None:
        self._late = True
        self.kill()

    def close(self) -> None:
        """Let it end, and wait for that."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        for pipe in (self._process.stdin, self._process.stdout):
            try:
                pipe.close()
            except OSError:  # it is gone, and did not take the last message
                continue
        self._process.wait()
        self._printed.close()


class WorkerPool:
    """Worker processes that fill rows of a store, each led by a thread of this one.

    Args:
        job: what they do.
        sources: the images, taken one by one as workers become free.
        count: how many workers.
        stop: asked before each image; True hands out no more.
    """

    def __init__(
        self, job: Job, sources: Iterable[Source], count: int, stop: Callable[[], bool] = never
    ) -> None:
        self._job = job
        self._sources = iter(sources)
        self._stop = stop
        self._lock = threading.Lock()
        self._seen = Seen()
        self._outcomes: queue.SimpleQueue[Outcome | BaseException | None] = queue.SimpleQueue()
        self._workers: dict[int, Worker] = {}
        self._abandoned = False
        self._threads = [
            threading.Thread(target=self._lead, args=(number,), daemon=True)
            for number in range(count)
        ]

    def run(self) -> Iterator[Batch]:
        """What became of all rows, in the order in which they were finished.

        Raises:
            FreezeframeError: no worker starts, or one met an error that will meet the others, too
                (a full disk, say).
        """
        for thread in self._threads:
            thread.start()
        try:
            yield from self._batches()
        finally:
            with self._lock:
                self._abandoned = True
                for worker in self._workers.values():
                    worker.kill()
            for thread in self._threads:
                thread.join()

    def _batches(self) -> Iterator[Batch]:
        gather = _Gathering(self._seen)
        batch, running, since = Batch(), len(self._threads), time.monotonic()
        while running:
            try:
                outcome = self._outcomes.get(
                    timeout=max(0.0, since + SECONDS_A_BATCH - time.monotonic())
                )
            except queue.Empty:
                outcome = None
            else:
                if isinstance(outcome, BaseException):
                    raise outcome
                if outcome is None:
                    running -= 1
                else:
                    gather.add(batch, outcome)
            if len(batch) >= ROWS_A_BATCH or (time.monotonic() - since >= SECONDS_A_BATCH):
                if len(batch):
                    yield batch
                batch, since = Batch(), time.monotonic()
        if len(batch):
            yield batch

    def _lead(self, number: int) -> None:
        """Lead one worker from image to image; runs in a thread."""
        try:
            self._start(number)
            while (source := self._next()) is not None:
                self._outcomes.put(self._ask_twice(number, source))
            self._outcomes.put(None)
        except BaseException as error:  # told to whoever reads the outcomes
            self._outcomes.put(error)
        finally:
            if number in self._workers:
                self._workers[number].close()

    def _next(self) -> Source | None:
        with self._lock:
            return None if self._abandoned or self._stop() else next(self._sources, None)

    def _start(self, number: int) -> None:
        worker = Worker()
        with self._lock:  # known before it is waited for, so that it can be killed
            self._workers[number] = worker
            if self._abandoned:
                worker.kill()
        worker.start(self._job)

    def _ask_twice(self, number: int, source: Source) -> Outcome:
        """What became of an image; once more with a new worker if the first one died of it."""
        for attempt in (1, 2):
            try:
                return self._ask(self._workers[number], source)
            except WorkerDiedError as error:
                self._workers[number].close()
                if self._abandoned:
                    raise
                self._start(number)
                if attempt == 2:
                    return Outcome(
                        source.row, {"failed": f"the process computing it died, twice ({error})"}
                    )
        raise AssertionError("unreachable")

    def _ask(self, worker: Worker, source: Source) -> Outcome:
        worker.say({"row": source.row, "path": str(source.path), "sha256": source.sha256})
        answer = worker.hear()
        if "pixels" not in answer:
            return Outcome(source.row, answer)
        digest = bytes.fromhex(answer["pixels"])
        first = self._seen.first(digest, source.row)
        if first != source.row:
            worker.say("skip")
            return Outcome(source.row, answer, digest, first)
        worker.say("compute")
        try:
            return Outcome(source.row, worker.hear(), digest)
        except WorkerDiedError:
            self._seen.forget(digest)
            raise


def raise_error(answer: dict[str, Any]) -> None:
    """Raise the error that an answer tells of, if it does."""
    if "error" in answer:
        kind = _ERRORS.get(answer["kind"], FreezeframeError)
        raise kind.__new__(kind, answer["error"])  # its text is made already, so without __init__


class _Gathering:
    """Sorts outcomes into batches; holds rows back that wait for the row with the same pixels."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._computed: dict[int, int] = {}
        """Of each finished row the one whose features it has: itself, if it was computed."""
        self._failed: dict[int, dict[str, Any]] = {}
        self._waiting: dict[int, list[Outcome]] = {}

    def add(self, batch: Batch, outcome: Outcome) -> None:
        """Put an outcome into a batch, and those that waited for it."""
        row, answer, first = outcome.row, outcome.answer, outcome.first
        raise_error(answer)
        if (
            first in self._failed
        ):  # without features to copy, what became of the first becomes of the others, too
            answer, first = self._failed[first], None
        elif first is not None and first not in self._computed:
            self._waiting.setdefault(first, []).append(outcome)
            return
        if first is not None:
            batch.same.append((row, self._computed[first], tuple(answer["size"])))
            self._computed[row] = self._computed[first]
        elif "failed" in answer:
            batch.failed.append((row, answer["failed"]))
        elif "unread" in answer:
            batch.unread.append((row, answer["unread"]))
        else:
            batch.rows.append(row)
            batch.sizes.append(tuple(answer["size"]))
            batch.checksums.append(answer["checksums"])
            batch.seconds.add(Seconds(*answer["seconds"]))
            if answer["checksums"]:
                self._computed[row] = row
        if row not in self._computed:
            self._seen.forget(outcome.digest)
            self._failed[row] = answer
        for waiting in self._waiting.pop(row, ()):
            self.add(batch, waiting)
