"""The command `robustness`: edits of files, the choice of images, and the scores."""

from __future__ import annotations

import csv
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from freezeframe import FreezeframeError, Predictor, read_image
from freezeframe.__main__ import cli
from freezeframe.classify.prediction.edited_images import predict_edited
from freezeframe.classify.runs.prediction_file import read_predictions
from freezeframe.classify.runs.robustness import ROBUSTNESS_COLUMNS, choose_images
from freezeframe.classify.scores.evaluation import Evaluation
from freezeframe.classify.scores.predictions import Predictions
from freezeframe.data.demo.images import make_demo_images
from freezeframe.data.edits import EDITS


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli, list(map(str, arguments)))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images, a store and a hold-out run in `runs`."""
    place = tmp_path_factory.mktemp("robust")
    make_demo_images(place / "images", per_class=30)
    pixels = ["--backbone", "pixels-32", "--layer", "pixels", "--engine", "none"]
    results = ["--leaderboard", place / "l.csv", "--runs", place / "runs"]
    for arguments in (
        ["extract-features", place / "images", "--output", place / "a.h5", *pixels],
        ["fit-classifier", place / "a.h5", "--test-size", "0.5", *results],
    ):
        done = call(*arguments)
        assert done.exit_code == 0, done.output
    return place


def run_of(place: Path) -> Path:
    (run,) = (place / "runs").glob("*-logreg-*")
    return run


def table_of(run: Path) -> list[dict[str, str]]:
    with (run / "robustness.csv").open() as file:
        return list(csv.DictReader(file))


def test_each_edit_is_scored_as_a_file_that_was_saved_so(place: Path, tmp_path: Path) -> None:
    run = run_of(place)
    done = call("robustness", run, place / "images", "--images", "12")
    assert done.exit_code == 0, done.output
    assert "the answers to the unedited files are those of the run" in done.output
    lines = table_of(run)
    assert tuple(lines[0]) == ROBUSTNESS_COLUMNS
    assert [line["edit"] for line in lines] == ["none", *(edit.name for edit in EDITS)]
    # The files, read again, give what is stored.
    assert [float(lines[0][name]) for name in ("accuracy_change", "changed_answers")] == [0, 0]
    (evaluation,) = read_predictions(run).values()
    rows = choose_images(evaluation, np.ones(len(evaluation.paths), bool), 12, 0)
    labels = [evaluation.classes[evaluation.predictions.y[row]] for row in rows]
    before = [evaluation.classes[evaluation.predictions.predicted[0, row]] for row in rows]
    with Predictor(run) as predictor:
        for edit, line in zip(EDITS, lines[1:], strict=True):
            files = []
            for row in rows:
                edited = edit.apply(read_image(place / "images" / evaluation.paths[row]))
                file = tmp_path / f"{edit.title.replace(' ', '')}-{row}"
                if isinstance(edited, bytes):
                    file.write_bytes(edited)
                else:
                    Image.fromarray(edited).save(file, "PNG")
                files.append(file)
            answers = [prediction.label for prediction in predictor.predict(files)]
            accuracy = np.mean([a == b for a, b in zip(answers, labels, strict=True)])
            changed = np.mean([a != b for a, b in zip(answers, before, strict=True)])
            assert float(line["accuracy"]) == pytest.approx(accuracy, abs=1e-6)
            assert float(line["changed_answers"]) == pytest.approx(changed, abs=1e-6)
            assert line["n_images"] == "12"
            change = float(line["accuracy"]) - float(lines[0]["accuracy"])
            assert float(line["accuracy_change"]) == pytest.approx(change, abs=2e-6)
            assert float(line["lower"]) <= change <= float(line["upper"])
    assert any(float(line["changed_answers"]) for line in lines)


def test_edits_change_pictures_as_they_say() -> None:
    pixels = np.arange(40 * 20 * 3, dtype=np.uint8).reshape(40, 20, 3)
    by_title = {edit.title: edit for edit in EDITS}
    assert len(by_title) == len(EDITS)
    darker = by_title["brightness, -20 %"].apply(pixels)
    assert np.array_equal(darker, np.rint(pixels * 0.8))
    lighter = by_title["brightness, +10 %"].apply(pixels)
    assert np.array_equal(lighter, np.minimum(np.rint(pixels * 1.1), 255))
    cut = by_title["crop, 10 % of each border"].apply(pixels)
    assert np.array_equal(cut, pixels[4:-4, 2:-2])
    assert np.array_equal(by_title["mirror, left and right"].apply(pixels), pixels[:, ::-1])
    sizes = [len(by_title[f"JPEG, quality {n}"].apply(pixels)) for n in (75, 50, 25)]
    assert sizes == sorted(sizes, reverse=True)
    stripes = np.zeros((40, 20, 3), np.uint8)
    stripes[::2] = 255
    # What is finer than two pixels is gone.
    assert np.ptp(by_title["resize, half and back"].apply(stripes)[8:-8]) < 60


def test_brightness_is_exact_and_copies_no_image_as_larger_numbers() -> None:
    every = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    large = np.full((1000, 1000, 3), 200, np.uint8)
    edits = [edit for edit in EDITS if edit.name == "brightness"]
    for edit, factor in zip(edits, (0.8, 0.9, 1.1, 1.2), strict=True):
        expected = np.clip(np.rint(every * factor), 0, 255).astype(np.uint8)
        assert np.array_equal(edit.apply(every), expected)
        assert np.array_equal(edit.apply(every[:, ::-1]), expected[:, ::-1])
        tracemalloc.start()
        edit.apply(large)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 3 * large.nbytes


def test_an_image_that_no_jpeg_can_hold_is_named_with_the_edit(place: Path, tmp_path: Path) -> None:
    path = tmp_path / "long.png"
    Image.new("L", (65_501, 16)).save(path)
    with (
        Predictor(run_of(place)) as predictor,
        pytest.raises(FreezeframeError) as caught,
    ):
        predict_edited(predictor, [path], [""], EDITS)
    assert str(caught.value).startswith(
        f"{path}: the edit JPEG, quality 75 of 65501 x 16 pixels fails ("
    )
    assert str(caught.value).endswith("give a copy of the folder or list without this image")


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=6), st.integers(2, 100))
@example([5, 5, 5, 5], 2)
@example([997, 1, 1, 1], 40)
@example([1, 26, 5], 29)
def test_no_more_images_are_chosen_than_asked_for(counts: list[int], n: int) -> None:
    y = np.repeat(np.arange(len(counts)), counts)
    proba = np.full((len(y), max(2, len(counts))), 1 / max(2, len(counts)))
    names = [str(number) for number in range(len(y))]
    evaluation = Evaluation(
        *("t", "made", "hold-out 20%", tuple(map(str, range(proba.shape[1]))), names, names),
        Predictions.of(y, proba),
        np.full(len(y), ""),
    )
    rows = choose_images(evaluation, np.ones(len(y), bool), n, 0)
    assert len(rows) == min(n, len(y))
    if n >= len(counts):
        assert np.bincount(y[rows], minlength=len(counts)).all()


def made_evaluation() -> Evaluation:
    """Return 90 images: two thirds of class 0, in groups of three, every sixth with a relative."""
    y = (np.arange(90) % 9 >= 6).astype(np.intp)
    proba = np.column_stack([1 - y, y]).astype(float)
    predictions = Predictions.of(y, proba, groups=np.arange(90) // 3, positive=1)
    relatives = np.where(np.arange(90) % 6 == 0, "near", "")
    paths = [f"{number}.png" for number in range(90)]
    return Evaluation(
        "t", "made", "hold-out 20%", ("a", "b"), paths, [""] * 90, predictions, relatives
    )


def test_images_are_chosen_by_class_and_group_and_without_relatives() -> None:
    evaluation = made_evaluation()
    readable = np.arange(90) != 1
    rows = choose_images(evaluation, readable, 30, 0)
    assert len(rows) == 30
    assert evaluation.clean[rows].all()
    assert 1 not in rows
    assert np.bincount(evaluation.predictions.y[rows]).tolist() == [20, 10]
    # There are 20 groups of one class and 10 of the other: each gives one image.
    assert len(set(evaluation.predictions.groups[rows].tolist())) == 30
    assert rows.tolist() == sorted(rows.tolist())
    assert choose_images(evaluation, readable, 30, 0).tolist() == rows.tolist()
    assert choose_images(evaluation, readable, 30, 1).tolist() != rows.tolist()
    everything = choose_images(evaluation, readable, 1000, 0)
    assert everything.tolist() == np.flatnonzero(readable & evaluation.clean).tolist()
    few = choose_images(evaluation, readable, 2, 0)
    assert sorted(evaluation.predictions.y[few].tolist()) == [0, 1]
    unknown = replace(evaluation, relatives=np.full(90, "unknown"))
    assert choose_images(unknown, readable, 30, 0).size == 0


def test_a_cross_validated_run_is_refused(place: Path) -> None:
    """Its model was fitted on all images, those of the test too."""
    runs = place / "cv"
    fit = ["fit-classifier", place / "a.h5", "--cv", "3", "--leaderboard", place / "cv.csv"]
    assert call(*fit, "--runs", runs).exit_code == 0
    (run,) = runs.glob("*-logreg-*")
    done = call("robustness", run, place / "images")
    assert done.exit_code == 1
    assert "images, 3-fold: the folds' heads are not kept" in done.stderr
    assert not (run / "robustness.csv").exists()


def test_other_images_are_refused(place: Path, tmp_path: Path) -> None:
    run = run_of(place)
    empty = tmp_path / "empty"
    empty.mkdir()
    done = call("robustness", run, empty)
    assert f"{empty}: has no test image of the run (images)" in done.stderr
    # Files of the same names that hold other pictures are not scored in their place.
    elsewhere = tmp_path / "elsewhere"
    (evaluation,) = read_predictions(run).values()
    for path in evaluation.paths:
        (elsewhere / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (9, 9), 7).save(elsewhere / path, "PNG")
    done = call("robustness", run, elsewhere)
    assert done.exit_code == 1
    assert "is not the file that the run was tested on" in done.stderr


def test_images_that_leak_are_not_scored(place: Path, tmp_path: Path) -> None:
    run = run_of(place)
    copy = tmp_path / "run"
    copy.mkdir()
    for file in run.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    path = copy / "predictions.csv"
    header, *lines = path.read_text().splitlines(keepends=True)
    column = header.rstrip("\n").split(",").index("relative")
    cells = [line.split(",") for line in lines]
    for line in cells:
        line[column] = "near" + "\n" * line[column].endswith("\n")
    path.write_text(header + "".join(",".join(line) for line in cells))
    done = call("robustness", copy, place / "images")
    assert "every test image of images has a relative in training" in done.stderr
