"""The pages through Flask's test client: what they show, and that every text is escaped."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from freezeframe.__main__ import cli
from freezeframe.data.manifest import read_manifest
from freezeframe.data.output import html
from freezeframe.errors import ParameterError
from freezeframe.extract.extraction import extract_features
from freezeframe.extract.settings import Settings
from freezeframe.features.store import FeatureStore

from .conftest import Place, make_app

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flask import Flask
    from flask.testing import FlaskClient

pytest.importorskip("flask", reason="the extra serve is not installed")

from freezeframe.classify.runs.prediction_file import read_predictions
from freezeframe.classify.serve.application import close_app
from freezeframe.classify.serve.boards import Leaderboard
from freezeframe.classify.serve.curves import class_curves, confident_mistakes, confusion_matrix
from freezeframe.classify.serve.pages import PageSources, read_report

PAGES = ("/", "/leaderboard", "/data", "/about")


@pytest.mark.parametrize("path", PAGES)
def test_a_page_holds_no_script_no_style_and_nothing_from_elsewhere(
    client: FlaskClient, path: str
) -> None:
    text = client.get(path).text
    assert re.findall(r"<script(?![^>]* src=\"/static/)", text) == []
    assert re.findall(r"<style|\sstyle=|\son\w+=|javascript:", text) == []
    links = re.findall(r"(?:src|href)=\"([^\"]*)\"", text)
    assert links
    for link in links:
        assert link.startswith(("/", "#", "data:image/png"))
        # A link that leads somewhere: no page names a file that is not there.
        if link.startswith("/") and not link.startswith("/leaderboard/"):
            assert client.get(link).status_code == 200, link


def test_the_scripts_import_only_each_other(client: FlaskClient) -> None:
    waiting, seen = ["classify.js", "leaderboard.js"], set()
    while waiting:
        name = waiting.pop()
        answer = client.get(f"/static/{name}")
        assert answer.status_code == 200, name
        assert answer.content_type == "text/javascript; charset=utf-8"
        seen.add(name)
        imports = re.findall(r"^import .* from \"\./(.*)\";$", answer.text, re.MULTILINE)
        waiting += set(imports) - seen
        assert "http" not in re.sub(r"//.*", "", answer.text)
        # Text of a stranger never becomes part of a page's code.
        assert "innerHTML" not in answer.text
    assert len(seen) > 5
    assert client.get("/static/../pages.py").status_code == 404
    assert client.get("/static/..%2fpages.py").status_code == 404


def test_the_first_page_shows_what_was_measured(client: FlaskClient, place: Place) -> None:
    page = client.get("/").text
    assert "On 40 unseen pictures" in page
    assert "<dt>grade</dt><dd>pictures parted</dd>" in page
    assert "but a patient may be" in page
    assert "sensitivity for lesion" in page
    assert "does not recognise pictures unlike its training pictures" in page
    assert "does not recognise its training pictures" not in page
    assert "40 pictures of" in client.get("/about").text
    assert re.search(r"<strong>[\d.]+ %</strong> <span class=\"quiet\">\([\d.]+ to [\d.]+\)", page)
    for number in (1, 2, 3):
        assert client.get(f"/examples/{number}.png").data.startswith(b"\x89PNG")
    assert client.get("/examples/4.png").status_code == 404


def test_no_page_names_the_folders_of_the_data(client: FlaskClient, place: Place) -> None:
    for address in ("/", "/data", "/about", "/api/v1/models"):
        text = client.get(address).get_data(as_text=True)
        assert str(place.folder) not in text, address


def test_the_leaderboard_lists_every_run(client: FlaskClient, place: Place) -> None:
    page = client.get("/leaderboard").text
    rows = list(csv.DictReader((place.folder / "leaderboard.csv").open()))
    assert len(rows) == 2
    for row in rows:
        assert f'href="/leaderboard/{row["run_id"]}/{row["test_id"]}"' in page
        assert f'data-value="{float(row["accuracy"])}"' in page
    assert page.count('class="interval"') >= 8
    assert 'class="mark-leak"' not in page


def app_with_rows(place: Place, folder: Path, rows: Sequence[Mapping[str, str]]) -> Flask:
    """Make an app whose leaderboard has these rows."""
    with (folder / "leaderboard.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    board = Leaderboard(folder / "leaderboard.csv", place.folder / "runs")
    return make_app(place, sources=PageSources(board))


def test_scores_by_patient_are_on_the_leaderboard_and_the_page_of_a_run(
    place: Place, tmp_path: Path
) -> None:
    rows = list(csv.DictReader((place.folder / "leaderboard.csv").open()))
    rows[0] |= {
        "n_test_patients": "12",
        "patient_unit": "patient",
        "clean_grade": "patients parted",
        "choices": '{"by_patient": {"combination": "noisy-or"}}',
        **{f"patient_accuracy{end}": value for end, value in (("", "0.75"), ("_low", "0.5"))},
        "patient_accuracy_high": "0.875",
    }
    app = app_with_rows(place, tmp_path, rows)
    try:
        client = app.test_client()
        page = client.get("/leaderboard").text
        run = client.get(f"/leaderboard/{rows[0]['run_id']}/{rows[0]['test_id']}").text
        other = client.get(f"/leaderboard/{rows[1]['run_id']}/{rows[1]['test_id']}").text
    finally:
        close_app(app)
    assert page.count("<caption>By patient: each is one observation") == 1
    table = page[page.index("<caption>By patient") :]
    for text in (
        "12 patients",
        "noisy-or",
        "patients parted",
        'data-value="0.75">75.0 (50.0-87.5)',
    ):
        assert text in table
    assert "75.0 (50.0-87.5)" in run
    assert "By 12 patients" in run
    assert "By 12 patients" not in other


def test_a_leak_is_marked(place: Place, tmp_path: Path) -> None:
    rows = list(csv.DictReader((place.folder / "leaderboard.csv").open()))
    rows[0]["n_test_leaking"] = "5"
    app = app_with_rows(place, tmp_path, rows)
    try:
        page = app.test_client().get("/leaderboard").text
    finally:
        close_app(app)
    assert re.findall(r'<td data-value="(\d+)" class="leak">', page) == ["5"]
    assert page.count('<span class="mark-leak">leak</span>') == 1
    # A score on images that leak has the clean one beside it.
    assert ">clean accuracy</th>" in page


def test_a_run_shows_its_curves_and_its_mistakes(client: FlaskClient, place: Place) -> None:
    for run in place.runs:
        ((test_id, evaluation),) = read_predictions(run).items()
        page = client.get(f"/leaderboard/{run.name}/{test_id}").text
        (curve,) = class_curves(evaluation)
        # The area below the drawn curve is the area of the leaderboard.
        area = float(np.trapezoid(curve.roc[:, 1], curve.roc[:, 0]))
        rows = csv.DictReader((place.folder / "leaderboard.csv").open())
        (row,) = [row for row in rows if row["run_id"] == run.name]
        assert area == pytest.approx(float(row["roc_auc"]), abs=1e-6)
        matrix = confusion_matrix(evaluation)
        assert sum(map(sum, matrix)) == 40
        right = (matrix[0][0] + matrix[1][1]) / 40
        assert right == pytest.approx(float(row["accuracy"]), abs=1e-6)
        assert sum(curve.counts) == 40
        # The marks on the curves are where the head decides.
        (n_right, n_false) = (matrix[0][0], matrix[1][0])
        assert curve.roc_point == pytest.approx((n_false / 20, n_right / 20))
        assert curve.precision_point == pytest.approx((n_right / 20, n_right / (n_right + n_false)))
        assert curve.share == 0.5
        mistakes = confident_mistakes(evaluation)
        assert len(mistakes) == min(24, matrix[0][1] + matrix[1][0])
        assert all(mistake.path in page for mistake in mistakes)
        assert page.count("data:image/png;base64,") == len(mistakes)
        for title in ("ROC: lesion", "Precision and recall: lesion", "Calibration: lesion"):
            assert title in page


@pytest.mark.parametrize("run", ["..", "x", "%2e%2e%2f", "....//"])
def test_a_run_that_the_leaderboard_does_not_list_is_not_looked_for(
    client: FlaskClient, run: str
) -> None:
    assert client.get(f"/leaderboard/{run}/1").status_code == 404


def test_reports_keep_their_own_style(place: Place, tmp_path: Path) -> None:
    (tmp_path / "explore").mkdir()
    mark = '<head>\n<meta name="generator" content="freezeframe explore">'
    (tmp_path / "explore" / "index.html").write_text(html.page("Scans", []).replace("<head>", mark))
    command = ["audit", str(place.folder / "scans"), "--output", str(tmp_path / "audit")]
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 0, done.output
    reports = tuple(read_report(tmp_path / name) for name in ("explore", "audit"))
    app = make_app(place, sources=PageSources(reports=reports))
    try:
        client = app.test_client()
        data = client.get("/data").text
        assert "Exploration: explore" in data
        assert "No store was given" in data
        assert "No leaderboard was given" in client.get("/leaderboard").text
        answer = client.get("/data/2")
        assert "<h1>Audit of " in answer.text
        assert "style-src 'sha256-" in answer.headers["Content-Security-Policy"]
        assert client.get("/data/3").status_code == client.get("/data/0").status_code == 404
    finally:
        close_app(app)
    with pytest.raises(ParameterError, match="has no page of explore or audit"):
        read_report(place.folder)


def test_a_store_of_another_head_is_refused(place: Place, tmp_path: Path) -> None:
    for label, picture in (("a", place.images[0]), ("b", place.images[1])):
        (tmp_path / "scans" / label).mkdir(parents=True)
        shutil.copy(picture, tmp_path / "scans" / label)
    settings = Settings(layers=("pixels",), backbone="pixels-32")
    extract_features(read_manifest(tmp_path / "scans"), tmp_path / "b.h5", settings)
    with pytest.raises(ParameterError, match="no model was fitted on this store"):
        make_app(place, sources=PageSources(store=FeatureStore(tmp_path / "b.h5")))


def test_texts_of_strangers_are_escaped(tmp_path: Path) -> None:
    """Names of classes and files reach every page as text."""
    bad = '<img src=x onerror=alert(1)>"&'
    rng = np.random.default_rng(0)
    for name, level in ((bad, 60), ("b", 150)):
        (tmp_path / "scans" / name).mkdir(parents=True)
        for number in range(12):
            pixels = rng.integers(level, level + 90, (20, 20)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "scans" / name / f"{bad}{number}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        for command in (
            ["extract-features", "scans", "--backbone", "pixels-32", "--layer", "pixels"],
            ["fit-classifier", "--model", "majority", "--cv", "2"],
        ):
            done = CliRunner().invoke(cli, command)
            assert done.exit_code == 0, done.output
    run = next((tmp_path / "runs").iterdir())
    place = Place(tmp_path, tmp_path / "features.h5", [run], [])
    app = make_app(place)
    try:
        client = app.test_client()
        ((test_id, _),) = read_predictions(run).items()
        pages = [client.get(path).text for path in (*PAGES, f"/leaderboard/{run.name}/{test_id}")]
        assert not any("<img src=x" in page for page in pages)
        assert sum("&lt;img src=x onerror" in page for page in pages) >= 3
    finally:
        close_app(app)


def test_a_leaderboard_is_read_again_when_it_changes(place: Place, tmp_path: Path) -> None:
    path = tmp_path / "leaderboard.csv"
    shutil.copy(place.folder / "leaderboard.csv", path)
    board = Leaderboard(path, place.folder / "runs")
    assert len(board.boards()[0].rows) == 2
    assert board.boards() is board.boards()
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:2]))
    assert len(board.boards()[0].rows) == 1


def test_with_three_classes_no_answer_gets_a_ppv(tmp_path: Path) -> None:
    """Means of sensitivity and specificity over classes would give a number that means nothing."""
    rng = np.random.default_rng(0)
    for name, level in (("a", 20), ("b", 90), ("c", 160)):
        (tmp_path / "scans" / name).mkdir(parents=True)
        for number in range(12):
            pixels = rng.integers(level, level + 90, (20, 20)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "scans" / name / f"{number}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        settings = Settings(layers=("pixels",), backbone="pixels-32")
        extract_features(read_manifest(Path("scans")), Path("features.h5"), settings)
        done = CliRunner().invoke(cli, ["fit-classifier", "--model", "naive-bayes", "--cv", "2"])
        assert done.exit_code == 0, done.output
    place = Place(tmp_path, tmp_path / "features.h5", list((tmp_path / "runs").iterdir()), [])
    app = make_app(place)
    try:
        client = app.test_client()
        (model,) = client.get("/api/v1/models").get_json()["models"]
        (score,) = model["scores"]
        assert score["sensitivity"] is score["specificity"] is model["positive"] is None
        assert len(score["accuracy"]) == len(score["roc_auc"]) == 3
        for path in ("/", "/about"):
            page = client.get(path).text
            assert "(PPV) is not shown: with 3 classes it depends on how common each" in page
            assert "<dt>sensitivity" not in page
    finally:
        close_app(app)
