"""One worker process of the engine mnn, and the messages to and from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...data.output.piped_process import PipedProcess, WorkerDiedError
from ...errors import FreezeframeError, MissingExtraError, StoreError
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


class Worker(PipedProcess):
    """One worker process, and the messages to and from it."""

    def __init__(self) -> None:
        super().__init__(WORKER_MODULE)

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
            last = self.last_line()
            reason = f"{error}: {last}" if last else str(error)
            raise WorkerStartError(
                f"the engine mnn does not start ({reason}); take --engine keras"
            ) from None
        raise_error(answer)

    def receive(self, seconds: float = IMAGE_SECONDS) -> dict[str, Any]:
        """Wait for an answer; kill a worker that takes too long."""
        with self.time_limit(seconds):
            return self.read_message()


def raise_error(answer: dict[str, Any]) -> None:
    """Raise the error in a worker's answer, if there is one."""
    if "error" in answer:
        kind = _ERRORS.get(answer["kind"], FreezeframeError)
        # `__new__` skips `__init__`, which would build the text again from other arguments.
        raise kind.__new__(kind, answer["error"])
