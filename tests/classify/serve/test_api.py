"""The JSON API through Flask's test client: answers, problems, and what it has in common."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from freezeframe import ParameterError, Predictor
from freezeframe.__main__ import cli
from freezeframe.classify.prediction.model_place import find_model
from freezeframe.classify.prediction.shared_engine import SharedEngine
from freezeframe.classify.runs.model_file import load_model
from freezeframe.classify.runs.prediction_file import read_predictions
from freezeframe.classify.trust.guards.training_lookup import TrainingLookup
from freezeframe.data.output.version import VERSION
from freezeframe.features.store import FeatureStore

from .conftest import Place, listening, make_app

if TYPE_CHECKING:
    from flask import Flask
    from flask.testing import FlaskClient

    from freezeframe.classify.serve.service import Service

pytest.importorskip("flask", reason="the extra serve is not installed")

from freezeframe.classify.prediction.neighbours import TrainingPictures
from freezeframe.classify.serve.boards import Leaderboard
from freezeframe.classify.serve.gate.uploads import Upload

PNG = {"content_type": "image/png"}


def form(*files: tuple[bytes, str]) -> dict[str, Any]:
    """Return the arguments of a request with files in a form."""
    return {"data": {"image": [(io.BytesIO(content), name) for content, name in files]}}


def detail(answer: Any, status: int) -> str:
    """Check that an answer is a problem document of a status; return its detail."""
    assert answer.status_code == status
    assert answer.content_type == "application/problem+json"
    about = answer.get_json()
    assert set(about) >= {"type", "title", "status", "detail"}
    assert about["status"] == status
    return str(about["detail"])


def test_an_answer_is_that_of_the_command_to_the_last_bit(
    client: FlaskClient, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place.folder / "scans" / "lesion")
    names = [path.name for path in place.images[:5]]
    for run in place.runs:
        shown = CliRunner().invoke(cli, ["predict", str(run), *names, "--format", "json"])
        url = f"/api/v1/classify?model={run.name}"
        files = [(Path(name).read_bytes(), name) for name in names]
        answer = client.post(url, **form(*files))
        assert answer.status_code == 200
        assert answer.get_json() == {"model": run.name, "predictions": json.loads(shown.stdout)}
        # The very digits are the same, too.
        assert [line.strip() for line in shown.stdout.splitlines() if "lesion" in line] == [
            line.strip() for line in answer.text.splitlines() if "lesion" in line
        ]
        for (content, _), expected in zip(files, json.loads(shown.stdout), strict=True):
            (alone,) = client.post(url, data=content, **PNG).get_json()["predictions"]
            assert alone == {**expected, "path": ""}


def test_the_number_of_frames_is_in_the_answer(client: FlaskClient) -> None:
    frames = [Image.new("L", (40, 40), level) for level in (10, 90, 200)]
    frames[0].save(several := io.BytesIO(), "TIFF", save_all=True, append_images=frames[1:])
    frames[0].save(single := io.BytesIO(), "TIFF")
    answers = [
        client.post("/api/v1/classify", data=file.getvalue(), content_type="image/tiff")
        for file in (several, single)
    ]
    first, second = (answer.get_json()["predictions"][0] for answer in answers)
    assert first.pop("frames") == 3
    assert first == second


def test_a_bad_file_among_good_ones_costs_no_other_answer(
    client: FlaskClient, place: Place
) -> None:
    good = place.images[0].read_bytes()
    files = [(good, "a.png"), (good[:100], "cut.png"), (b"MZ", "virus.png"), (good, "b.png")]
    predictions = client.post("/api/v1/classify", **form(*files)).get_json()["predictions"]
    assert [row["path"] for row in predictions] == ["a.png", "cut.png", "virus.png", "b.png"]
    assert predictions[0]["probabilities"] == predictions[3]["probabilities"] != {}
    assert "PNG that is " in predictions[1]["error"]
    assert predictions[2]["error"].startswith("not a JPEG, PNG,")
    answer = client.post("/api/v1/classify", **form(*files[1:3]))
    assert detail(answer, 422).startswith("no image could be read")
    assert [bool(row["error"]) for row in answer.get_json()["predictions"]] == [True, True]


@pytest.mark.parametrize(
    ("request_", "status", "text"),
    [
        ({"data": b"x", "content_type": "text/plain"}, 415, "'text/plain' is not accepted"),
        ({}, 415, "of the body is missing"),
        ({"data": b"", **PNG}, 400, "the body is empty"),
        ({"data": {"photo": (io.BytesIO(b"x"), "x")}}, 400, "no part named 'image'"),
        (
            {"data": {"image": (io.BytesIO(b"x"), "x"), "imgae": (io.BytesIO(b"x"), "y")}},
            400,
            "parts that are no file named 'image'",
        ),
        (
            {"data": {"image": (io.BytesIO(b"x"), "x"), "model": "y"}},
            400,
            "parts that are no file named 'image'",
        ),
        ({"data": {"image": "text"}, "content_type": "multipart/form-data"}, 400, "no part named"),
        (
            {"data": b"--x\r\nbroken", "content_type": "multipart/form-data; boundary=x"},
            400,
            "no part named",
        ),
        ({"data": b"x", "content_type": "multipart/form-data"}, 400, "no part named"),
        (form(*[(b"x", "x")] * 17), 413, "17 images are more than 16"),
        (form(*[(b"x", "x")] * 40), 413, "exceeds the capacity limit"),
        ({"data": bytes(33 * 2**20), **PNG}, 413, "exceeds the capacity limit"),
        ({"data": b"x", **PNG, "query_string": {"model": "../a"}}, 404, "no model of this name"),
    ],
)
def test_a_request_that_is_refused_gets_a_problem(
    client: FlaskClient, request_: dict[str, Any], status: int, text: str
) -> None:
    assert text in detail(client.post("/api/v1/classify", **request_), status)


def test_other_addresses_and_methods_get_problems(client: FlaskClient) -> None:
    detail(client.get("/api/v1/nothing"), 404)
    answer = client.get("/api/v1/classify")
    detail(answer, 405)
    assert "POST" in answer.headers["Allow"]


def test_health_version_and_models(client: FlaskClient, place: Place) -> None:
    assert client.get("/api/v1/health").get_json() == {"status": "ok", "images_inside": 0}
    assert client.get("/api/v1/version").get_json() == {"freezeframe": VERSION, "api": 1}
    first, second = client.get("/api/v1/models").get_json()["models"]
    assert [first["name"], second["name"]] == [run.name for run in place.runs]
    assert first["classes"] == ["lesion", "no_lesion"]
    assert first["positive"] == first["threshold"]["class"] == "lesion"
    assert second["threshold"] == {"class": "lesion", "value": 0.5}
    (score,) = first["scores"]
    assert (score["n_images"], score["clean"]) == (40, True)
    low, value, high = (score["sensitivity"][place] for place in (1, 0, 2))
    assert 0 <= low < value <= high <= 1


def test_a_picture_of_any_format_comes_back_as_png(client: FlaskClient) -> None:
    Image.fromarray(np.arange(12, dtype=np.uint16).reshape(3, 4) * 4000).save(
        file := io.BytesIO(), "TIFF"
    )
    answer = client.post("/api/v1/picture", data=file.getvalue(), content_type="image/tiff")
    assert answer.content_type == "image/png"
    picture = Image.open(io.BytesIO(answer.data))
    assert picture.size == (4, 3)
    assert np.asarray(picture)[0, 0].tolist() == [0, 0, 0]
    assert np.asarray(picture)[2, 3].tolist() == [255, 255, 255]
    assert "not a JPEG" in detail(client.post("/api/v1/picture", data=b"x", **PNG), 422)
    assert "2 images; send one" in detail(
        client.post("/api/v1/picture", **form((b"x", "x"), (b"x", "y"))), 400
    )


def test_a_training_picture_is_its_own_nearest_neighbour(client: FlaskClient, place: Place) -> None:
    path = place.images[3]
    answer = client.post("/api/v1/neighbours", data=path.read_bytes(), **PNG)
    nearest = answer.get_json()["neighbours"]
    assert set(nearest) == {"lesion", "no_lesion"}
    first = nearest["lesion"][0]
    assert first["path"] == f"lesion/{path.name}"
    assert first["similarity"] == pytest.approx(1, abs=1e-6)
    assert first["thumbnail"].startswith("data:image/png;base64,")
    similarities = [row["similarity"] for row in nearest["no_lesion"]]
    assert similarities == sorted(similarities, reverse=True)
    assert "not a JPEG" in detail(client.post("/api/v1/neighbours", data=b"x", **PNG), 422)


def test_an_explanation_is_that_of_the_predictor(
    client: FlaskClient, service: Service, place: Place
) -> None:
    path = place.images[0]
    for query, class_name in (("", None), ("?class=no_lesion", "no_lesion")):
        (expected,) = service.default_model.predictor.explain([path], class_name=class_name)
        assert expected.contributions is not None
        answer = client.post(f"/api/v1/explain{query}", data=path.read_bytes(), **PNG)
        (record,) = answer.get_json()["explanations"]
        assert record["contributions"] == expected.contributions.tolist()
        assert (record["class"], record["logit"]) == (expected.class_name, expected.logit)
        total = record["base"] + float(np.sum(record["contributions"]))
        assert total == pytest.approx(record["logit"], abs=1e-5)
        assert record["scale"] == expected.scale > 0
        assert expected.field_text in record["note"]
    png = client.post("/api/v1/explain?format=png", data=path.read_bytes(), **PNG)
    assert png.content_type == "image/png"
    assert png.data == service.default_model.predictor.explain([path])[0].overlay()
    for query, status in (("class=cat", 404), ("format=gif", 400)):
        detail(client.post(f"/api/v1/explain?{query}", data=b"x", **PNG), status)
    assert "not a JPEG" in detail(client.post("/api/v1/explain", data=b"x", **PNG), 422)


def test_held_out_images_are_no_training_pictures(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["fit-classifier", str(place.store), "--model", "naive-bayes"])
    assert done.exit_code == 0, done.output
    (run,) = (tmp_path / "runs").iterdir()
    (evaluation,) = read_predictions(run).values()
    board = Leaderboard(tmp_path / "leaderboard.csv", tmp_path / "runs")
    assert board.held_out(run.name) == set(evaluation.paths)
    # Cross-validation ends with a fit on all images.
    assert (
        Leaderboard(place.folder / "l.csv", place.folder / "runs").held_out(place.runs[0].name)
        == set()
    )
    store = FeatureStore(place.store)
    pictures = TrainingPictures(store, load_model(find_model(run)), board.held_out(run.name))
    with Predictor(run) as predictor:
        for path in sorted(evaluation.paths)[:3]:
            (prediction,) = predictor.predict([place.folder / "scans" / path])
            nearest = pictures.nearest(prediction.features)
            assert path not in [near.path for group in nearest.values() for near in group]


def test_uploads_stay_in_memory(
    app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waitress and Werkzeug would both write files of more than 500 kB into a temporary folder."""
    pixels = np.random.default_rng(0).integers(0, 256, (900, 900, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(file := io.BytesIO(), "PNG")
    # No file can be made in a folder that is not there.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    body = head + file.getvalue() + b"\r\n--x--\r\n"
    with listening(app) as port:
        for path, size in (("classify", 0), ("picture", 1_000_000)):
            connection = HTTPConnection("127.0.0.1", port, timeout=60)
            kind = {"Content-Type": "multipart/form-data; boundary=x"}
            connection.request("POST", f"/api/v1/{path}", body, kind)
            answer = connection.getresponse()
            # A large answer is not written to a disk either.
            assert len(answer.read()) > size
            assert answer.status == 200
            connection.close()
    assert list(tmp_path.iterdir()) == []


def test_the_log_has_digests_and_no_names(
    client: FlaskClient, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    content = place.images[0].read_bytes()
    client.post("/api/v1/classify?patient=Smith", **form((content, "John Smith.png")))
    client.get("/leaderboard/John Smith/1")
    assert "POST /api/v1/classify 200" in caplog.text
    assert "GET /leaderboard/<run_id>/<test_id> 404" in caplog.text
    assert "Smith" not in caplog.text
    assert hashlib.sha256(content).hexdigest()[:12] in caplog.text


def test_the_document_describes_every_route(app: Any, client: FlaskClient) -> None:
    document = client.get("/api/v1/openapi.json").get_json()
    assert document["openapi"] == "3.1.0"
    rules = {rule.rule for rule in app.url_map.iter_rules() if rule.rule.startswith("/api")}
    assert set(document["paths"]) == rules


def test_two_models_of_one_run_are_refused(place: Place) -> None:
    twice = Place(place.folder, place.store, [place.runs[0]] * 2, place.images)
    with pytest.raises(ParameterError, match="this model is there twice; give it once"):
        make_app(twice)


def test_requests_side_by_side_get_their_own_answers(service: Service, place: Place) -> None:
    """Images of several requests pass the engine in one batch, each picture once."""
    models = list(service.models.values())
    uploads = [Upload(path.name, path.read_bytes()) for path in place.images[:24]]
    alone = [[service.classify(model, [upload])[0] for upload in uploads] for model in models]
    passes = []
    entered, release = threading.Event(), threading.Event()
    forward = SharedEngine.forward

    def held_up(engine: SharedEngine, pixels: Any) -> Any:
        passes.append(len(pixels))
        entered.set()
        assert release.wait(60)
        return forward(engine, pixels)

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(48) as threads:
        patch.setattr(SharedEngine, "forward", held_up)
        first = threads.submit(service.classify, models[0], uploads[:1])
        assert entered.wait(60)
        # Both models are asked about each picture while the engine is busy.
        waiting = [
            [threads.submit(service.classify, model, [upload]) for upload in uploads[1:12]]
            for model in models
        ]
        queue = models[0].queue
        assert queue is models[1].queue
        patch.setattr(queue, "_batch_size", 11)
        deadline = time.monotonic() + 60
        while len(queue._jobs) < 22 and time.monotonic() < deadline:
            time.sleep(0.01)
        release.set()
        assert first.result()[0].probabilities == alone[0][0].probabilities
        for futures, answers in zip(waiting, alone, strict=True):
            together = [future.result()[0] for future in futures]
            assert [row.path for row in together] == [path.name for path in place.images[1:12]]
            expected = [row.probabilities for row in answers[1:12]]
            assert [row.probabilities for row in together] == expected
    assert passes == [1, 11]


def test_an_error_of_the_lookup_is_a_problem_and_the_next_image_is_answered(
    client: FlaskClient, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = place.images[0].read_bytes()

    def fail(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(TrainingLookup, "find", fail)
        refused = client.post("/api/v1/classify", data=content, **PNG)
    assert "\n" not in detail(refused, 500)
    assert client.post("/api/v1/classify", data=content, **PNG).status_code == 200
