"""The program of a worker process of the engine mnn.

The program decodes each image, computes its features and writes them into the store. `WorkerPool`
runs it as `python -m` and exchanges JSON with it, one message a line. The first message is the job;
the answer is `{"ready": true}`. Then for each image:

    <- {"row": 7, "path": "/scans/yes/7.png", "sha256": "..."}
    -> {"pixels": "<digest>", "frames": 1, ...}
                                        or a last answer: {"failed": reason}, {"unread": reason} or
                                        {"error": ...}
    <- "compute"                        or "skip", if another row has the same pixels; no answer
    -> {"checksums": {layer: ...}, "size": [height, width], "frames": 1,
        "seconds": [decode, forward, write]}

The program ends at the end of its input.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ...errors import FreezeframeError, ImageError
from ...features.writer import StoreWriter
from ..backbones.table import find_backbone
from ..engines import Engine
from ..engines.mnn import MnnEngine
from ..pipeline import ImageSource, load_image, unread_reason


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Do the job of the first message, image by image, until there are no more messages."""

    def answer(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message).encode() + b"\n")
        answers.flush()

    messages = (json.loads(line) for line in requests)
    job = next(messages)
    try:
        writer = StoreWriter(job["store"])
        engine = MnnEngine(find_backbone(job["backbone"]), Path(job["model"]), job["layers"])
    # An error such as a missing model stops all workers, so the parent raises it again.
    except FreezeframeError as error:
        answer(_error_message(error))
        return
    with writer:
        answer({"ready": True})
        for message in messages:
            source = ImageSource(message["row"], Path(message["path"]), message["sha256"])
            try:
                for part in compute_row(source, engine, writer, job["resize"], messages):
                    answer(part)
            except ImageError as error:
                answer({"failed": str(error)})
            except FreezeframeError as error:
                answer(_error_message(error))
            except (OSError, MemoryError) as error:
                answer({"unread": unread_reason(error)})


def _error_message(error: FreezeframeError) -> dict[str, str]:
    return {"error": str(error), "kind": type(error).__name__}


def compute_row(
    source: ImageSource,
    engine: Engine,
    writer: StoreWriter,
    resize: str,
    messages: Iterator[str],
) -> Iterator[dict[str, Any]]:
    """Compute one row and write it into the store; yield the answers.

    Args:
        source: the image file.
        engine: the engine.
        writer: writer of the store.
        resize: resizing method.
        messages: the next messages of the pool: "compute" or "skip", then the next image.
    """
    start = time.perf_counter()
    loaded = load_image(source, engine.input_size, resize)
    # A row that is not computed needs its fingerprint, too.
    writer.put_fingerprint(source.row, loaded.fingerprint.pixels, loaded.fingerprint.thumbnail)
    decoded = time.perf_counter()
    yield {"pixels": loaded.digest.hex(), "size": loaded.size, "frames": loaded.frames}
    if next(messages, "skip") == "skip":
        return
    # The time of waiting for the pool does not count.
    resumed = time.perf_counter()
    features = engine.forward([loaded.pixels])
    computed = time.perf_counter()
    checksums = writer.put(source.row, {name: array[0] for name, array in features.items()})
    seconds = [decoded - start, computed - resumed, time.perf_counter() - computed]
    facts = {"size": loaded.size, "frames": loaded.frames}
    yield {"checksums": checksums, **facts, "seconds": seconds}


def main() -> None:
    """Serve on standard input and output; output of libraries goes to standard error."""
    # MNN prints to standard output, which would mix with the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
