"""A worker process of the engine mnn: decodes an image, computes its features, puts them into the store; again.

It is run as `python -m freezeframe.extract.workers.process` by `workers.WorkerPool` and speaks
JSON, a line a message. First it is told the job and answers `{"ready": true}`. Then for each image:

    <- {"row": 7, "path": "/scans/yes/7.png", "sha256": "..."}
    -> {"pixels": "<digest>"}           or, and that ends it, {"failed": reason}, {"unread": reason} or {"error": ...}
    <- "compute"                        or, and that ends it, "skip": another row has the same pixels
    -> {"checksums": {layer: ...}, "size": [height, width], "seconds": [decode, forward, write]}

The end of its input ends it.
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
from ..engines.mnn import MnnEngine
from ..pipeline import Loaded, Source, load_image, told_unread


def serve(messages: BinaryIO, answers: BinaryIO) -> None:
    """Do the job that the first message tells, until there are no more messages."""

    def answer(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message).encode() + b"\n")
        answers.flush()

    told = (json.loads(line) for line in messages)
    job = next(told)
    backbone = find_backbone(job["backbone"])
    try:
        writer = StoreWriter(job["store"])
        engine = MnnEngine(backbone, Path(job["model"]), job["layers"])
    except FreezeframeError as error:
        answer({"error": str(error), "kind": type(error).__name__})
        return
    with writer:
        answer({"ready": True})
        for message in told:
            source = Source(message["row"], Path(message["path"]), message["sha256"])
            try:
                for part in _compute(
                    source, engine, writer, backbone.input_size, job["resize"], told
                ):
                    answer(part)
            except ImageError as error:
                answer({"failed": str(error)})
            except FreezeframeError as error:
                answer({"error": str(error), "kind": type(error).__name__})
            except (OSError, MemoryError) as error:
                answer({"unread": told_unread(error)})


def _compute(
    source: Source,
    engine: MnnEngine,
    writer: StoreWriter,
    input_size: tuple[int, int],
    resize: str,
    told: Iterator[str],
) -> Iterator[dict[str, Any]]:
    start = time.perf_counter()
    loaded: Loaded = load_image(source, input_size, resize)
    writer.put_fingerprint(source.row, loaded.fingerprint.pixels, loaded.fingerprint.thumbnail)
    decoded = time.perf_counter()
    yield {"pixels": loaded.digest.hex(), "size": loaded.size}
    if next(told, "skip") == "skip":
        return
    asked = time.perf_counter()
    features = engine.forward([loaded.pixels])
    computed = time.perf_counter()
    checksums = writer.put(source.row, {name: array[0] for name, array in features.items()})
    seconds = [decoded - start, computed - asked, time.perf_counter() - computed]
    yield {"checksums": checksums, "size": loaded.size, "seconds": seconds}


def main() -> None:
    """Serve on standard input and output; what libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
