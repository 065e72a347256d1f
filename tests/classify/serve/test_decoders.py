"""Processes that decode: an image that hangs, eats memory or kills its process harms no other."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from freezeframe.classify.prediction.image_input import DecodedImage, decode_input
from freezeframe.classify.trust.explanation.explanation import Explanation
from freezeframe.errors import ImageError

from .conftest import Place, make_app

if TYPE_CHECKING:
    from freezeframe.classify.serve.service import Service

pytest.importorskip("flask", reason="the extra serve is not installed")

from freezeframe.classify.serve.application import close_app
from freezeframe.classify.serve.decoders.pool import DecoderPool
from freezeframe.classify.serve.gate.limits import BusyError, ServerLimits
from freezeframe.classify.serve.gate.uploads import Upload

SIZE = (224, 224)

FAULTY = """
import os, time
import numpy as np
from freezeframe.classify.serve.decoders import process

decoded = process.decoded
ANSWERS = {
    b"short": ({"image": {"path": ""}, "arrays": {"pixels": [9, 9, 3]}}, b"x"),
    b"other": ({"image": {"path": "", "x": 1}, "arrays": {}}, b""),
    b"empty": ({}, b""),
}

def faulty(content, job):
    if content == b"sleep":
        time.sleep(100)
    while content == b"spin":
        pass
    blocks = []
    while content == b"eat":
        blocks.append(np.empty(2**26, np.uint8))
    if content == b"die":
        os.kill(os.getpid(), 9)
    return ANSWERS[content] if content in ANSWERS else decoded(content, job)

process.decoded = faulty
process.main()
"""


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DecoderPool]:
    """One process, which some contents harm."""
    (tmp_path / "faulty_decoder.py").write_text(FAULTY)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    pool = DecoderPool(
        ServerLimits(decoders=1, decode_seconds=1, decoder_bytes=2**30), "faulty_decoder"
    )
    yield pool
    pool.close()


def test_a_process_that_an_image_harms_is_ended_and_the_next_image_is_decoded(
    faulty: DecoderPool, place: Place
) -> None:
    good = place.images[0].read_bytes()
    reasons = {
        b"sleep": "it took more than 1 s",
        b"spin": "it took more than 1 s",
        b"eat": "exit code 1",
        b"die": "signal 9",
        b"short": "its pixels are incomplete",
        b"other": "its pixels are incomplete",
        b"empty": "its answer lacks a part",
    }
    expected = decode_input(good, SIZE, "bilinear")
    # A process that starts has no time limit for it, only for its images.
    assert faulty.decode(good, SIZE, "bilinear").error == ""
    for content, reason in reasons.items():
        start = time.monotonic()
        image = faulty.decode(content, SIZE, "bilinear")
        assert time.monotonic() - start < 10
        assert image.error == f"decoding it failed ({reason})"
        assert image.pixels is None
        after = faulty.decode(good, SIZE, "bilinear")
        assert after.error == ""
        np.testing.assert_array_equal(after.pixels, expected.pixels)
        assert (after.fingerprint, after.frames) == (expected.fingerprint, expected.frames)


def test_limits_of_pixels_and_memory_are_reasons(tmp_path: Path, place: Place) -> None:
    Image.new("L", (4000, 3000)).save(tmp_path / "large.png")
    large = (tmp_path / "large.png").read_bytes()
    pool = DecoderPool(ServerLimits(decoders=1, pixels=1_000_000))
    try:
        assert "more than the limit of 1000000" in pool.decode(large, SIZE, "bilinear").error
        with pytest.raises(ImageError, match="more than the limit of 1000000"):
            pool.picture(large)
        assert pool.decode(place.images[0].read_bytes(), SIZE, "bilinear").error == ""
    finally:
        pool.close()


def test_a_busy_server_says_so_at_once(place: Place) -> None:
    """A request beyond the limit gets 503 and Retry-After while the others wait."""
    app = make_app(place, limits=ServerLimits(waiting=16, decoders=1))
    try:
        client = app.test_client()
        service = app.extensions["freezeframe"]
        good = place.images[0].read_bytes()
        with service.admission.admit(16, 0.5):
            start = time.monotonic()
            answer = client.post("/api/v1/classify", data=good, content_type="image/png")
            assert time.monotonic() - start < 0.5
            assert answer.status_code == 503
            assert answer.content_type == "application/problem+json"
            assert int(answer.headers["Retry-After"]) >= 1
            assert client.get("/api/v1/health").get_json()["images_inside"] == 16
        assert service.admission.inside == 0
        answer = client.post("/api/v1/classify", data=good, content_type="image/png")
        assert answer.status_code == 200
    finally:
        close_app(app)


def test_an_image_that_waits_too_long_for_a_process_finds_a_busy_server() -> None:
    pool = DecoderPool(ServerLimits(decoders=1, answer_seconds=0.05))
    try:
        # The only process is taken.
        pool._idle.get()
        with pytest.raises(BusyError):
            pool.decode(b"x", SIZE, "bilinear")
    finally:
        pool.close()


def test_images_that_decode_slowly_give_their_places_back_in_time(
    service: Service, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A form of 16 such images would keep half of all places for minutes."""
    decode = service.decoders.decode
    decoded = []

    def slowly(*arguments: Any) -> DecodedImage:
        decoded.append(1)
        time.sleep(0.2)
        return decode(*arguments)

    monkeypatch.setattr(service.decoders, "decode", slowly)
    monkeypatch.setattr(service, "limits", replace(service.limits, answer_seconds=0.1))
    uploads = [Upload(path.name, path.read_bytes()) for path in place.images[:16]]
    with pytest.raises(BusyError):
        service.classify(service.default_model, uploads)
    assert len(decoded) == 1
    assert service.admission.inside == 0


def test_maps_have_a_door_of_their_own(place: Place) -> None:
    """Maps take seconds where an answer takes milliseconds: a few may wait, the others get 503."""
    app = make_app(place, limits=ServerLimits(maps=2, decoders=1))
    try:
        client = app.test_client()
        service = app.extensions["freezeframe"]
        request = {"data": place.images[0].read_bytes(), "content_type": "image/png"}
        with service.maps.admit(2, 0.5):
            answer = client.post("/api/v1/explain?format=png", **request)
            assert answer.status_code == 503
            assert int(answer.headers["Retry-After"]) >= 1
            assert client.post("/api/v1/classify", **request).status_code == 200
        assert client.post("/api/v1/explain?format=png", **request).status_code == 200
        assert service.maps.inside == service.admission.inside == 0
    finally:
        close_app(app)


def test_maps_are_computed_and_drawn_one_by_one(place: Place) -> None:
    """Neither engines nor matplotlib are safe in several threads, and each map takes memory."""
    app = make_app(place, limits=ServerLimits(answer_seconds=2.5))
    service = app.extensions["freezeframe"]
    upload = Upload("a.png", place.images[0].read_bytes())
    at_once = []
    inside: list[Explanation] = []

    def draw(explanation: Explanation) -> int:
        inside.append(explanation)
        at_once.append(len(inside))
        time.sleep(0.7)
        inside.pop()
        return 1

    def explain(_: int) -> int:
        try:
            return int(service.explain(service.default_model, upload, None, draw))
        except BusyError:
            return 0

    try:
        explain(0)
        at_once.clear()
        with ThreadPoolExecutor(7) as threads:
            sizes = list(threads.map(explain, range(7)))
        assert set(at_once) == {1}
        assert len(at_once) < 7
        # Those that would wait too long gave up.
        assert 0 < sizes.count(0) < 7
    finally:
        close_app(app)
