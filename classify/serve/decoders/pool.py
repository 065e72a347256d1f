"""The pool of processes that decode images, each ended when it takes too long."""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from ....data.output.piped_process import PipedProcess, WorkerDiedError
from ....errors import ImageError
from ...prediction.image_input import DecodedImage
from ..gate.limits import BusyError, ServerLimits
from . import process

DECODER_MODULE = process.__name__

PREVIEW_SIDE = 768
"""Longest side of a picture for the page, in pixels."""

READY_SECONDS = 60
"""Seconds after which a process that does not start is killed."""


class DecoderWorker(PipedProcess):
    """One process that decodes."""

    def __init__(self, module: str, limits: ServerLimits) -> None:
        super().__init__(module)
        self._limits = limits
        self._ready = False

    def work(self, job: Mapping[str, Any], content: bytes) -> tuple[dict[str, Any], bytes]:
        """Do one job and return its answer.

        Raises:
            WorkerDiedError: the process ended, or took too long and was ended.
        """
        if not self._ready:
            with self.time_limit(READY_SECONDS):
                self.send({"memory": self._limits.decoder_bytes})
                self.read_message()
            self._ready = True
        limits = {
            "bytes": len(content),
            "seconds": self._limits.decode_seconds,
            "max_pixels": self._limits.pixels,
        }
        with self.time_limit(self._limits.decode_seconds):
            self.send({**job, **limits}, content)
            answer = self.read_message()
            return answer, self.read_content(int(answer["bytes"]))


class DecoderPool:
    """Processes that decode images; any thread may call it.

    Args:
        limits: their number, and the limits of each.
        module: the program of a process.
    """

    def __init__(self, limits: ServerLimits, module: str = DECODER_MODULE) -> None:
        self._limits = limits
        self._module = module
        self._closed = False
        self._lock = threading.Lock()
        # They start side by side; the first job of each waits until it is ready.
        self._all = {DecoderWorker(module, limits) for _ in range(limits.decoders)}
        self._idle: queue.SimpleQueue[DecoderWorker] = queue.SimpleQueue()
        for decoder in self._all:
            self._idle.put(decoder)

    def decode(
        self,
        content: bytes,
        input_size: tuple[int, int],
        resize: str,
        *,
        with_picture: bool = False,
    ) -> DecodedImage:
        """Decode an image file as `decode_input` does; an unreadable one has an error.

        Raises:
            BusyError: no process was free in time.
        """
        job = {
            "kind": "input",
            "input_size": input_size,
            "resize": resize,
            "with_picture": with_picture,
        }
        try:
            answer, arrays = self._work(job, content)
            return _decoded_image(answer["image"], answer["arrays"], arrays)
        except ImageError as error:
            return DecodedImage("", error=str(error))
        except LookupError:
            return DecodedImage("", error="decoding it failed (its answer lacks a part)")

    def picture(self, content: bytes) -> bytes:
        """Return an image as PNG, its longer side at most `PREVIEW_SIDE` pixels.

        Raises:
            ImageError: the image cannot be read.
            BusyError: no process was free in time.
        """
        answer, png = self._work({"kind": "picture", "side": PREVIEW_SIDE}, content)
        if answer["error"]:
            raise ImageError(answer["error"])
        return png

    def close(self) -> None:
        """End all processes; jobs that they do fail."""
        with self._lock:
            self._closed = True
            decoders = list(self._all)
            self._all.clear()
        for decoder in decoders:
            decoder.kill()
            decoder.close()

    def _work(self, job: Mapping[str, Any], content: bytes) -> tuple[dict[str, Any], bytes]:
        """Do a job in a free process, and replace the process if it ends."""
        try:
            decoder = self._idle.get(timeout=self._limits.answer_seconds)
        except queue.Empty:
            raise BusyError(self._limits.decode_seconds) from None
        healthy = False
        try:
            answer = decoder.work(job, content)
            healthy = True
            return answer
        # An answer that is no JSON, or lacks something, comes from a process that an image broke.
        except (WorkerDiedError, ValueError, LookupError, TypeError) as error:
            raise ImageError(f"decoding it failed ({error})") from None
        finally:
            self._idle.put(decoder if healthy else self._replace(decoder))

    def _replace(self, decoder: DecoderWorker) -> DecoderWorker:
        """End a process and start another one."""
        decoder.kill()
        decoder.close()
        with self._lock:
            self._all.discard(decoder)
            if self._closed:
                return decoder
            # Without memory for a new process, the next job fails and tries to start it again.
            with suppress(OSError):
                decoder = DecoderWorker(self._module, self._limits)
                self._all.add(decoder)
            return decoder


def _decoded_image(
    facts: Mapping[str, Any], shapes: Mapping[str, list[int]], content: bytes
) -> DecodedImage:
    """Build a decoded image from a process's answer.

    Args:
        facts: the values that are no arrays, by name.
        shapes: shape of each array, which is uint8, by name.
        content: the bytes of the arrays, one after the other.

    Raises:
        ImageError: the answer does not fit together.
    """
    # JSON has no tuples.
    values: dict[str, Any] = {
        name: tuple(x) if isinstance(x, list) else x for name, x in facts.items()
    }
    start = 0
    # Whatever a broken process answers, nothing else than an image or an error comes of it.
    with suppress(ValueError, TypeError, AttributeError):
        for name, shape in shapes.items():
            n_bytes = math.prod(shape)
            values[name] = np.frombuffer(content, np.uint8, n_bytes, start).reshape(shape)
            start += n_bytes
        return DecodedImage(**values)
    raise ImageError("decoding it failed (its pixels are incomplete)")
