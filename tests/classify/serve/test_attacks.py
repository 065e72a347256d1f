"""Hostile and many requests: mutated uploads, generated requests, and sixteen clients at once."""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, seed, settings, strategies
from PIL import Image

from freezeframe.classify.prediction.predictor import Predictor

from ...conftest import REPOSITORY, fast_environment, script
from .conftest import Place

if TYPE_CHECKING:
    from flask import Flask
    from flask.testing import FlaskClient

pytest.importorskip("waitress", reason="the extra serve is not installed")
schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WebP", "PPM", "JPEG2000")
CLASSIFY = "/api/v1/classify"
EXPLAIN = "/api/v1/explain"


def mutated_files(n: int) -> Iterator[bytes]:
    """Yield damaged image files of many formats: bytes changed, cut out, doubled, or cut off."""
    rng = np.random.default_rng(0)
    files = []
    for name in FORMATS:
        pixels = rng.integers(0, 256, (40, 30, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(file := io.BytesIO(), name)
        files.append(file.getvalue())
    for number in range(n):
        data = bytearray(files[number % len(files)])
        for _ in range(rng.integers(1, 9)):
            start, length = int(rng.integers(len(data))), int(rng.integers(1, 64))
            kind = rng.integers(4)
            if kind == 0:
                data[start : start + length] = rng.bytes(len(data[start : start + length]))
            elif kind == 1:
                del data[start : start + length]
            elif kind == 2:
                data[start:start] = data[start : start + length]
            else:
                # The header is where sizes are.
                data[int(rng.integers(min(64, len(data))))] = int(rng.integers(256))
            if not data:
                break
        yield bytes(data) if rng.random() < 0.8 else bytes(data[: rng.integers(len(data) + 1)])


def test_mutated_uploads_are_read_or_refused(client: FlaskClient, place: Place) -> None:
    counts = Counter(
        client.post(CLASSIFY, data=content, content_type="image/png").status_code
        for content in mutated_files(40)
    )
    assert set(counts) <= {200, 400, 422}
    assert counts[422] > 5
    good = place.images[0].read_bytes()
    assert client.post(CLASSIFY, data=good, content_type="image/png").status_code == 200


@pytest.fixture(scope="module")
def server(place: Place) -> Iterator[tuple[str, int]]:
    """Process id and port of a real server."""
    command = [sys.executable, "-m", "freezeframe", "serve", str(place.runs[0]), "--port", "0"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=(place.folder / "serve.log").open("wb"),
        text=True,
        env=fast_environment(),
    )
    assert process.stdout is not None
    port = int(process.stdout.readline().split("  ")[0].rstrip("/").rpartition(":")[2])
    yield str(process.pid), port
    process.terminate()
    process.wait(20)


def post(port: int, content: bytes, path: str = CLASSIFY) -> int:
    """Send an image and return the status of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=90)
    try:
        connection.request("POST", path, content, {"Content-Type": "image/png"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status != 503 or int(answer.headers["Retry-After"]) >= 1
        return answer.status
    finally:
        connection.close()


def memory(process: str) -> float:
    """Return the memory of a process and its children, in MB."""
    measure = script("measure")
    return float(sum(map(measure.memory, measure.family(int(process)))))


@pytest.mark.slow
def test_a_thousand_mutated_uploads_leave_the_server_as_it_was(
    server: tuple[str, int], place: Place
) -> None:
    process, port = server
    counts: Counter[int] = Counter()
    sizes = []
    # The first time, a file that claims a large image makes an allocator keep memory.
    for _ in range(2):
        for content in mutated_files(1000):
            counts[post(port, content)] += 1
        sizes.append(memory(process))
    print(counts, [round(size) for size in sizes])
    assert set(counts) <= {200, 400, 422}
    assert sizes[1] < 1.05 * sizes[0]
    assert post(port, place.images[0].read_bytes()) == 200


def crowd(
    port: int, place: Place, n_clients: int, seconds: float, path: str = CLASSIFY
) -> Counter[int]:
    """Let clients send images for some time; count the statuses of their answers."""
    until = time.monotonic() + seconds
    counts: Counter[int] = Counter()
    failures: list[BaseException] = []

    def work(number: int) -> None:
        content = place.images[number].read_bytes()
        try:
            while time.monotonic() < until:
                counts[post(port, content, path)] += 1
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=[number]) for number in range(n_clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    return counts


@pytest.mark.slow
def test_sixteen_clients_for_a_minute_all_get_answers(
    server: tuple[str, int], place: Place
) -> None:
    counts = crowd(server[1], place, 16, 60)
    print(counts)
    assert set(counts) <= {200, 503}
    assert counts[200] > 100
    assert post(server[1], place.images[0].read_bytes()) == 200


def test_more_clients_than_places_get_an_answer_or_are_asked_to_wait(
    server: tuple[str, int], place: Place
) -> None:
    counts = crowd(server[1], place, 40, 0.3)
    assert set(counts) <= {200, 503}
    assert counts[200] > 0


@pytest.mark.slow
def test_a_crowd_that_asks_for_maps_leaves_memory_and_answers_as_they_were(
    server: tuple[str, int], place: Place
) -> None:
    process, port = server
    sizes = []
    for _ in range(3):
        counts = crowd(port, place, 24, 15, f"{EXPLAIN}?format=png")
        sizes.append(memory(process))
        print(counts, [round(size) for size in sizes])
        assert set(counts) == {200, 503}
        assert post(port, place.images[0].read_bytes()) == 200
    assert sizes[2] < 1.05 * sizes[1]


def test_the_log_has_one_line_for_each_request(server: tuple[str, int], place: Place) -> None:
    content = place.images[7].read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:12]

    def count_lines() -> int:
        lines = (place.folder / "serve.log").read_text().splitlines()
        return sum(line.endswith(digest) for line in lines)

    # Other tests may have sent this image before.
    before = count_lines()
    assert post(server[1], content) == 200
    assert count_lines() == before + 1


def test_the_examples_on_the_pages_work(
    server: tuple[str, int], place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line of curl and the lines of Python get the same answer."""
    monkeypatch.chdir(tmp_path)
    Path("scan.png").write_bytes(place.images[0].read_bytes())
    answers = []
    for page in ("README.md", "classify/README.md"):
        text = (REPOSITORY / page).read_text().replace(":8000/", f":{server[1]}/")
        for line in re.findall(r"^(?:\$ )?(curl .*)$", text, re.MULTILINE):
            if shutil.which("curl") is None:
                pytest.skip("curl is not installed")
            answers.append(subprocess.check_output([*shlex.split(line), "-s"], text=True))
        for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
            if "urlopen" in block:
                with redirect_stdout(io.StringIO()) as printed:
                    exec(block, {})
                answers.append(printed.getvalue())
    assert len(answers) >= 2
    for answer in answers:
        (prediction,) = json.loads(answer)["predictions"]
        assert prediction["label"] in ("lesion", "no_lesion")
        assert (
            prediction["probabilities"] == json.loads(answers[0])["predictions"][0]["probabilities"]
        )


def test_the_predictors_on_the_pages_work(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines of Python load a head, predict and explain."""
    monkeypatch.chdir(tmp_path)
    Path("scan.png").write_bytes(place.images[0].read_bytes())
    with Predictor(place.runs[0]) as predictor:
        expected = str(predictor.predict(["scan.png"])[0].probabilities)
    for page in ("README.md", "classify/README.md"):
        text = (REPOSITORY / page).read_text()
        blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        (block,) = [block for block in blocks if "Predictor(" in block]
        with redirect_stdout(io.StringIO()) as printed:
            exec(re.sub(r'"runs/[^"]*"', repr(str(place.runs[0])), block), {})
        assert expected in printed.getvalue(), page
    assert Path("why.png").read_bytes().startswith(b"\x89PNG")


def png(level: int) -> bytes:
    """Return a small image: no schema can say which bytes are one."""
    Image.new("L", (4, 3), level).save(file := io.BytesIO(), "PNG")
    return file.getvalue()


schemathesis.openapi.format("binary", strategies.integers(0, 255).map(png))
for media_type in ("image/*", "application/octet-stream", "application/dicom"):
    schemathesis.openapi.media_type(media_type, strategies.integers(0, 255).map(png))


def check_document(app: Flask, n_cases: int, seed_number: int) -> int:
    """Call each operation of the document in right and in wrong ways; return their number."""
    # Too many images are refused by 413, which schemathesis does not expect by itself.
    refused = {"checks": {"negative_data_rejection": {"expected-statuses": ["4xx"]}}}
    config = schemathesis.Config.from_dict(refused)
    schema = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", app, config=config)
    operations = schema.get_all_operations()
    names = set()
    for result in operations:
        operation = result.ok()
        names.add(operation.path)
        for mode in schemathesis.GenerationMode:
            # Nothing can be wrong in a request without parameters.
            if mode.is_negative and operation.method.upper() == "GET":
                continue

            @seed(seed_number)
            @given(case=operation.as_strategy(generation_mode=mode))
            @settings(max_examples=n_cases, deadline=None, suppress_health_check=list(HealthCheck))
            def call(case: Any) -> None:
                # An empty list is no part of a form: the form that is sent may be a right one.
                assume(not (isinstance(case.body, dict) and [] in case.body.values()))
                case.call_and_validate()

            call()
    return len(names)


def test_the_document_agrees_with_the_server(app: Flask) -> None:
    # All but the document itself, which schemathesis leaves out.
    assert check_document(app, 3, seed_number=0) == 7


@pytest.mark.slow
@pytest.mark.parametrize("seed_number", [1, 2, 3])
def test_the_document_agrees_with_the_server_in_many_cases(app: Flask, seed_number: int) -> None:
    check_document(app, 100, seed_number)
