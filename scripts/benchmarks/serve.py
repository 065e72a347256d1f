"""Print how quick `freezeframe serve` is, beside the bare engine.

usage: python scripts/benchmarks/serve.py MODEL [ROUNDS]

- the processor;
- the first page after the start, in milliseconds;
- one classification (upload, decoding, queue, forward pass, head, JSON) against the engine's bare
  forward pass of one image: medians, measured in turns so that other work on the machine counts
  for both;
- images per second with 8 clients against the engine's own.
"""

from __future__ import annotations

import http.client
import io
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from freezeframe.classify.prediction.predictor import Predictor
from freezeframe.data.demo.drawing import draw_slice
from freezeframe.extract.backbones.weights import reload_weights
from freezeframe.extract.engines.devices import cpu_cores
from freezeframe.extract.filling import start_engine

CLIENTS = 8


def seconds(work: Callable[[], object]) -> float:
    """Return the seconds that a function takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


class Client:
    """A client with one connection to the server, as a browser has."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def get(self, path: str) -> bytes:
        """Fetch a page."""
        self._connection.request("GET", path)
        return self._answer()

    def classify(self, content: bytes) -> bytes:
        """Send an image."""
        headers = {"Content-Type": "image/png"}
        self._connection.request("POST", "/api/v1/classify", content, headers)
        return self._answer()

    def _answer(self) -> bytes:
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise SystemExit(f"the server answered {answer.status}: {content.decode()}")
        return content


def drawn_image(number: int) -> tuple[np.ndarray, bytes]:
    """Draw a head slice; return its pixels and its PNG file."""
    pixels = draw_slice(np.random.default_rng(number), lesion=True)
    Image.fromarray(pixels).save(file := io.BytesIO(), "PNG")
    return pixels, file.getvalue()


def crowd(port: int, contents: list[bytes]) -> float:
    """Return the images per second that clients get, each waiting for its answer.

    All images differ: the server computes a picture once for all who wait for it.
    """
    clients = [Client(port) for _ in range(CLIENTS)]

    def work(number: int) -> None:
        for content in contents[number::CLIENTS]:
            clients[number].classify(content)

    threads = [threading.Thread(target=work, args=[number]) for number in range(CLIENTS)]

    def run() -> None:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return len(contents) / seconds(run)


def processor() -> str:
    """Return the name of the processor, where Linux tells it, and the number of cores."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return f"{line.partition(':')[2].strip()}, {cpu_cores()} cores"
    return f"{platform.processor()}, {cpu_cores()} cores"


def main() -> None:
    """Measure a model's server and print the three comparisons."""
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    model = sys.argv[1]
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 40
    pixels, content = drawn_image(0)
    predictor = Predictor(model)
    settings = predictor._settings
    engine = start_engine(
        settings, reload_weights(predictor.model.provenance, settings.weights), settings.layers
    )
    height, width = engine.input_size
    picture = Image.fromarray(pixels).convert("RGB").resize((width, height))
    batch = [np.array(picture)]
    command = [sys.executable, "-m", "freezeframe", "serve", model, "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None
        port = int(
            server.stdout.readline().split("/?")[0].split("  ")[0].rstrip("/").split(":")[-1]
        )
        client = Client(port)
        print(processor())
        print(f"first page: {1000 * seconds(lambda: client.get('/')):.0f} ms")
        client.classify(content)
        engine.forward(batch)
        bare, served = [], []
        for _ in range(rounds):
            bare.append(seconds(lambda: engine.forward(batch)))
            served.append(seconds(lambda: client.classify(content)))
        alone_ms, served_ms = (1000 * statistics.median(times) for times in (bare, served))
        print(
            f"one image: {served_ms:.1f} ms, the engine's forward pass alone {alone_ms:.1f} ms: "
            f"{100 * (served_ms / alone_ms - 1):+.0f} %"
        )
        full = batch * engine.batch_size
        n_batches = max(1, rounds // engine.batch_size)
        before = (
            n_batches
            * len(full)
            / seconds(lambda: [engine.forward(full) for _ in range(n_batches)])
        )
        n_images = -(-rounds // CLIENTS) * CLIENTS
        rate = crowd(port, [drawn_image(number)[1] for number in range(n_images)])
        after = (
            n_batches
            * len(full)
            / seconds(lambda: [engine.forward(full) for _ in range(n_batches)])
        )
        alone = (before + after) / 2
        print(
            f"{CLIENTS} clients: {rate:.1f} images/s, the engine alone {alone:.1f}: "
            f"{100 * rate / alone:.0f} %"
        )
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
