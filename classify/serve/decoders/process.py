"""The program of a process that decodes images.

`DecoderPool` runs it as `python -m`. A hostile image can at most end or occupy this process: its
memory and its time are limited, and nothing that it answers is unpickled. Each job is one line of
JSON and the bytes of an image file; so is each answer:

    <- {"kind": "input", "bytes": 4711, "seconds": 20, "max_pixels": ..., "input_size": [224, 224],
        "resize": "bilinear", "with_picture": false}
    -> {"bytes": 150528, "image": {"frames": 1, ...}, "arrays": {"pixels": [224, 224, 3]}}
    <- {"kind": "picture", "bytes": 4711, "seconds": 20, "max_pixels": ..., "side": 768}
    -> {"bytes": 60312, "error": ""}                           and a PNG file

The first message is {"memory": bytes}, its answer {"ready": true}. The program ends at the end of
its input.
"""

from __future__ import annotations

import io
import json
import os
import sys
from dataclasses import fields
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from ....data.formats.images import decode_image
from ....errors import ImageError, MissingExtraError
from ...prediction.image_input import DecodedImage, decode_input

try:
    import resource
except ImportError:
    # Windows has no such limits; there the pool ends a process that takes too long.
    resource = None  # type: ignore[assignment]


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Decode image after image until there are no more messages."""

    def answer(message: dict[str, Any], content: bytes = b"") -> None:
        answers.write(json.dumps(message | {"bytes": len(content)}).encode() + b"\n" + content)
        answers.flush()

    limit_process(json.loads(requests.readline())["memory"])
    answer({"ready": True})
    for line in requests:
        job = json.loads(line)
        content = requests.read(job["bytes"])
        limit_seconds(job["seconds"])
        answer(*(decoded if job["kind"] == "input" else drawn)(content, job))


def decoded(content: bytes, job: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Decode an image for a backbone; return the message and the bytes of its arrays."""
    height, width = job["input_size"]
    image = decode_input(
        content,
        (height, width),
        job["resize"],
        max_pixels=job["max_pixels"],
        with_picture=job["with_picture"],
    )
    values = {field.name: getattr(image, field.name) for field in fields(DecodedImage)}
    arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
    facts = {name: value for name, value in values.items() if name not in arrays}
    shapes = {name: array.shape for name, array in arrays.items()}
    content = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays.values())
    return {"image": facts, "arrays": shapes}, content


def drawn(content: bytes, job: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Decode an image and save it as PNG, its longer side shrunk to at most `side` pixels."""
    try:
        picture = Image.fromarray(decode_image(content, max_pixels=job["max_pixels"]))
        picture.thumbnail((job["side"], job["side"]))
        picture.save(file := io.BytesIO(), "PNG")
    except (ImageError, MissingExtraError) as error:
        return {"error": str(error)}, b""
    except MemoryError:
        return {"error": "not enough memory"}, b""
    return {"error": ""}, file.getvalue()


def limit_process(memory: int) -> None:
    """Limit the address space of this process, in bytes, and let it write no file."""
    if resource is not None:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def limit_seconds(seconds: float) -> None:
    """Let the system end this process after further seconds of computing.

    The pool does so, too; this limit holds if the server itself was killed meanwhile.
    """
    if resource is not None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        most = int(used.ru_utime + used.ru_stime + seconds) + 2
        resource.setrlimit(resource.RLIMIT_CPU, (most, resource.RLIM_INFINITY))


def main() -> None:
    """Run the program on the standard streams, whatever libraries print."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    # A library that prints must not write into the answers.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
