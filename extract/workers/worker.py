"""One worker process of the engine mnn, and the messages to and from it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ...errors import FreezeframeError, MissingExtraError, StoreError
from ..engines.silence import OWN_GROUP
from . import process

WORKER_MODULE = process.__name__
"""Name of the module that a worker runs; it stays right if the file moves."""

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


class WorkerStartError(FreezeframeError):
    """A worker process ended before it was ready."""


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


class Worker:
    """One worker process, and the messages to and from it."""

    def __init__(self) -> None:
        # The last line that a worker prints explains why it did not start.
        self._printed = _open_log()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", WORKER_MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._printed,
            process_group=OWN_GROUP,
        )
        # Seconds after which it was killed.
        self._late: float | None = None

    def start(self, job: Job) -> None:
        """Send the job and wait until the worker is ready.

        Raises:
            WorkerStartError: it ends, or takes too long; the message has its last line.
            FreezeframeError: the job is impossible.
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
            reason = f"{error}: {last}" if last else str(error)
            raise WorkerStartError(
                f"the engine mnn does not start ({reason}); take --engine keras"
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
        alarm = threading.Timer(seconds, self._kill_late, [seconds])
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
        if self._late is not None:
            raise WorkerDiedError(f"it took more than {self._late:g} s")
        raise WorkerDiedError(f"signal {-code}" if code < 0 else f"exit code {code}")

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()

    def _kill_late(self, seconds: float) -> None:
        self._late = seconds
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


def _open_log() -> IO[bytes]:
    """Return a new file without a name for the output of a worker."""
    try:
        return tempfile.TemporaryFile()
    except OSError:
        # No temporary folder can be written; a worker that does not start says less then.
        return open(os.devnull, "w+b")  # noqa: PTH123 - closed with the worker


def raise_error(answer: dict[str, Any]) -> None:
    """Raise the error in a worker's answer, if there is one."""
    if "error" in answer:
        kind = _ERRORS.get(answer["kind"], FreezeframeError)
        # `__new__` skips `__init__`, which would build the text again from other arguments.
        raise kind.__new__(kind, answer["error"])
