"""`Predictor`: paths, bytes and arrays, unreadable images, threads, and a backbone loaded once."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import sys
import threading
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save_file

from freezeframe import (
    FeatureStore,
    FreezeframeError,
    ModelFileError,
    ParameterError,
    Predictor,
    read_image,
)
from freezeframe.__main__ import cli
from freezeframe.classify.fit.fitting import fit_classifier
from freezeframe.classify.prediction import shared_engine
from freezeframe.classify.prediction.prediction import Prediction
from freezeframe.classify.runs import model_file
from freezeframe.classify.runs.model_file import load_model, save_model
from freezeframe.classify.task.task import make_task
from freezeframe.data.formats import image_file
from freezeframe.data.manifest import read_manifest
from freezeframe.data.output.csv import restore_text
from freezeframe.extract.extraction import extract_features
from freezeframe.extract.settings import Settings

BACKBONES = {
    "pixels": Settings(layers=("pixels",), backbone="pixels-32"),
    "keras": Settings(layers=("block1_pool",), weights="random", engine="keras", batch_size=4),
    "mnn": Settings(layers=("block1_pool",), weights="random", engine="mnn"),
}


@pytest.fixture(autouse=True)
def _small_network(request: pytest.FixtureRequest) -> None:
    """Let the engine keras, which runs in this process, compute small images."""
    callspec = getattr(request.node, "callspec", None)
    if callspec is not None and callspec.params.get("backbone") == "keras":
        request.getfixturevalue("small_vgg16")


FITTED: dict[str, Path] = {}
"""Folders with a store and a run, which the first test of each backbone made."""


def fitted(folder: Path, backbone: str) -> Path:
    """Return the model file of a head on the images of `folder`, which are always the same."""
    place = folder.parent / backbone
    if backbone in FITTED:
        shutil.copytree(FITTED[backbone], place)
    else:
        place.mkdir()
        store = extract_features(read_manifest(folder), place / "a.h5", BACKBONES[backbone]).store
        fit_classifier(make_task(store, pooling="avg"), "logreg", leaderboard=place / "l.csv")
        FITTED[backbone] = Path(shutil.copytree(place, folder.parent / "kept"))
    (model,) = place.glob("runs/*/model.safetensors")
    return model


@pytest.fixture
def model(folder: Path) -> Path:
    return fitted(folder, "pixels")


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.png"))


def same(first: Prediction, second: Prediction) -> bool:
    """Compare everything but the path, to the last bit."""
    assert first.features is not None
    assert second.features is not None
    return (
        (first.label, first.error, first.fingerprint)
        == (second.label, second.error, second.fingerprint)
        and first.probabilities == second.probabilities
        and np.array_equal(first.features, second.features)
    )


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_prediction_is_what_pipeline_and_head_compute(folder: Path, backbone: str) -> None:
    """The same numbers as with the extraction's own pipeline, to the last bit."""
    from freezeframe.features.rows.pooling import pool

    path = fitted(folder, backbone)
    head = load_model(path)
    manifest = read_manifest(folder)
    chosen = BACKBONES[backbone]
    store = FeatureStore(folder.parent / backbone / "a.h5")
    images = [manifest.root / image.path for image in manifest.images]
    predictions = Predictor(path).predict(images)
    features = pool(store.features(chosen.layers[0], pooling="flat"), "flat")
    features = pool(features.reshape(len(images), *store.layers[chosen.layers[0]]), "avg")
    for row, prediction in enumerate(predictions):
        # One by one: no image's numbers depend on the others of its batch.
        proba = head.head.predict_proba(features[row : row + 1])
        (number,) = head.head.calibration.decide(proba)
        assert prediction.path == str(images[row])
        assert list(prediction.probabilities) == list(head.classes)
        assert list(prediction.probabilities.values()) == proba[0].tolist()
        assert prediction.label == head.classes[number]
        np.testing.assert_array_equal(prediction.features, features[row])
        assert prediction.fingerprint == store.pixels[row]
    again = Predictor(head).predict(images)
    assert all(same(*pair) for pair in zip(predictions, again, strict=True))


def test_an_image_gets_the_same_answer_alone_and_among_others(folder: Path) -> None:
    """A product of matrices has other low bits than its rows one by one."""
    store = extract_features(read_manifest(folder), folder.parent / "f.h5", BACKBONES["pixels"])
    task = make_task(store.store, pooling="flat")
    run = fit_classifier(task, "logreg", leaderboard=folder.parent / "l.csv")
    with Predictor(run.folder) as predictor:
        together = predictor.predict(files(folder))
        alone = [predictor.predict([path])[0] for path in files(folder)]
    assert all(same(*pair) for pair in zip(together, alone, strict=True))


def test_bytes_and_arrays_are_predicted_as_paths_are(model: Path, folder: Path) -> None:
    paths = files(folder)
    with Predictor(model) as predictor:
        by_path = predictor.predict(paths)
        by_text = predictor.predict(map(str, paths))
        by_bytes = predictor.predict(path.read_bytes() for path in paths)
        by_array = predictor.predict([read_image(path) for path in paths])
    for kind in (by_text, by_bytes, by_array):
        assert len(kind) == len(by_path) == 24
        assert all(same(*pair) for pair in zip(by_path, kind, strict=True))
    assert {prediction.path for prediction in (*by_bytes, *by_array)} == {""}
    assert {prediction.label for prediction in by_path} == {"healthy", "tumour"}
    assert by_path[0].features is not None
    assert by_path[0].features.shape == (3,)
    assert by_path[0].features.dtype == np.float32
    # Two files are copies of one picture.
    assert len({prediction.fingerprint for prediction in by_path}) == 23


def test_grey_arrays_are_predicted_as_grey_files(model: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (40, 30)).astype(np.uint8)
    Image.fromarray(grey).save(file := io.BytesIO(), "PNG")
    with Predictor(model) as predictor:
        several = np.stack([np.repeat(grey[..., None], 3, axis=2)] * 2)
        by_file, by_array, strided = predictor.predict([file.getvalue(), grey, grey.T.copy().T])
        stacked = predictor.predict(several)
    assert all(same(by_file, copy) for copy in (by_array, strided, *stacked))


def test_an_unreadable_image_has_an_error_and_stops_no_other(
    model: Path, folder: Path, tmp_path: Path
) -> None:
    good = files(folder)[0]
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:200])
    (tmp_path / "empty.png").write_bytes(b"")
    images: list[Any] = [
        tmp_path / "cut.png",
        good,
        tmp_path / "empty.png",
        tmp_path / "none.png",
        tmp_path,
        b"no image",
        b"",
        np.zeros((4, 4, 3)),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        None,
        "nul\0.png",
        good.read_bytes(),
    ]
    with Predictor(model) as predictor:
        predictions = predictor.predict(images)
        alone = predictor.predict([good])[0]
    errors = [prediction.error for prediction in predictions]
    assert errors[0].startswith("PNG that is ")
    assert errors[2:11] == [
        "the file is empty",
        "no such file",
        "no such file",
        "not a JPEG, PNG, TIFF, BMP, GIF, WebP, AVIF, JPEG 2000, PNM, DICOM, NIfTI or MATLAB file",
        "the file is empty",
        "pixels must be uint8, got float64 of shape (4, 4, 3)",
        "pixels must be of shape (height, width, 3) or (height, width), got (4, 4, 4)",
        "pixels must be uint8, got uint8 of shape (0, 4, 3)",
        "an image must be a path, bytes or an array, got NoneType",
    ]
    assert errors[11] == "no such file"
    for prediction in predictions:
        if prediction.error:
            assert "\n" not in prediction.error
            assert (prediction.label, prediction.probabilities) == ("", {})
            assert (prediction.features, prediction.fingerprint) == (None, "")
        else:
            assert same(prediction, alone)
    assert [prediction.error for prediction in predictions if prediction.label] == ["", ""]


def test_a_missing_decoder_is_an_error_of_the_image(
    model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from freezeframe import MissingExtraError

    def missing(data: bytes, **_: Any) -> np.ndarray:
        raise MissingExtraError("pydicom", "dicom", "reading DICOM files")

    monkeypatch.setattr(image_file, "decode_image", missing)
    with Predictor(model) as predictor:
        (prediction,) = predictor.predict([files(folder)[0]])
    assert prediction.error.startswith("reading DICOM files needs pydicom, which is not installed")


def test_a_single_image_is_refused(model: Path, folder: Path) -> None:
    path = files(folder)[0]
    with Predictor(model) as predictor:
        for image in (path, str(path), path.read_bytes(), read_image(path)):
            with pytest.raises(ParameterError, match=r"images must be a list; .*\[image\]"):
                predictor.predict(image)  # type: ignore[arg-type]
        assert predictor.predict([]) == []


@pytest.mark.parametrize("backbone", ["keras", "mnn"])
def test_weights_are_loaded_and_hashed_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, backbone: str
) -> None:
    path = fitted(folder, backbone)
    calls: list[str] = []
    for name in ("WEIGHTS", "ENGINE"):
        spied = getattr(shared_engine, name_of(name))
        monkeypatch.setattr(
            shared_engine,
            name_of(name),
            lambda *args, name=name, spied=spied: (calls.append(name), spied(*args))[1],
        )
    with Predictor(path) as predictor:
        assert predictor.predict([folder / "none.png"])[0].error == "no such file"
        # Without a readable image no backbone is loaded.
        assert calls == []
        predictor.load()
        for image in files(folder)[:3]:
            predictor.predict([image])
        predictor.load()
    assert calls == ["WEIGHTS", "ENGINE"]


def name_of(part: str) -> str:
    """Return the name by which an engine calls the function that loads a part."""
    return {"WEIGHTS": "reload_weights", "ENGINE": "start_engine"}[part]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_threads_get_the_predictions_of_their_own_images(folder: Path, backbone: str) -> None:
    paths = files(folder)[:12]
    with Predictor(fitted(folder, backbone)) as predictor:
        expected = {path: predictor.predict([path])[0] for path in paths}
    results: dict[Path, Prediction] = {}
    barrier = threading.Barrier(4)
    with Predictor(predictor.model) as fresh:

        def work(own: list[Path]) -> None:
            barrier.wait()
            for path in own:
                results[path] = fresh.predict([path])[0]

        threads = [threading.Thread(target=work, args=[paths[i::4]]) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results.keys() == expected.keys()
    for path, prediction in results.items():
        assert prediction.path == str(path)
        assert same(prediction, expected[path])


def test_decoding_waits_for_no_other_thread(
    model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One thread's backbone is held up until another thread has decoded its image."""
    first, second = files(folder)[:2]
    decoded = threading.Event()
    with Predictor(model) as predictor:
        predictor.load()
        engine = predictor._engine
        assert engine is not None
        forward = engine.forward

        def slow_forward(images: Any) -> Any:
            assert decoded.wait(60)
            return forward(images)

        monkeypatch.setattr(engine, "forward", slow_forward)
        thread = threading.Thread(target=predictor.predict, args=[[first]])
        thread.start()
        read = image_file.read_image_bytes

        def noted(path: Any) -> bytes:
            decoded.set()
            return read(path)

        monkeypatch.setattr(image_file, "read_image_bytes", noted)
        (prediction,) = predictor.predict([second])
        thread.join()
    assert prediction.error == ""


def test_a_stream_reads_few_images_ahead(model: Path, folder: Path) -> None:
    taken = 0

    def many() -> Iterator[Path]:
        nonlocal taken
        for path in files(folder) * 20:
            taken += 1
            yield path

    with Predictor(model) as predictor:
        stream = predictor.stream(many())
        next(stream)
        assert taken <= 3 * 32 + 1
        assert len(list(stream)) == 479
    assert taken == 480


def test_a_closed_predictor_refuses(model: Path, folder: Path) -> None:
    predictor = Predictor(model)
    assert predictor.predict(files(folder)[:1])[0].label == "healthy"
    predictor.close()
    predictor.close()
    for call in (
        predictor.load,
        lambda: predictor.predict(files(folder)[:1]),
        lambda: predictor.predict([]),
    ):
        with pytest.raises(FreezeframeError, match="the predictor is closed; make another one"):
            call()


def test_a_wrong_model_file_is_refused_at_once(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="none: no such model file"):
        Predictor(tmp_path / "none")
    data = bytearray(model.read_bytes())
    data[-1] ^= 1
    model.write_bytes(data)
    with pytest.raises(ModelFileError, match="changed since it was written"):
        Predictor(model)


HOSTILE = (
    "=1+1.png",
    "-x.png",
    "@x.png",
    "red\x1b[31m.png",
    "two\nlines.png",
    "it's.png",
    "文.png",
)


@pytest.mark.parametrize("charset", ["utf-8", "latin-1"])
def test_csv_of_predictions_is_obeyed_by_no_program_and_read_back(
    model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, charset: str
) -> None:
    monkeypatch.chdir(folder.parent)
    for name in HOSTILE:
        shutil.copy(files(folder)[0], name)
    # A path that begins with a minus comes after "--".
    arguments = ["predict", "--format", "csv", str(model), "--", *HOSTILE, "gone\x1b.png"]
    result = CliRunner(charset=charset).invoke(cli, arguments, prog_name="freezeframe")
    assert result.exit_code == 1
    text = result.stdout_bytes.decode()
    assert re.sub("\n", "", text).isprintable()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [restore_text(row["path"]) for row in rows] == [*HOSTILE, "gone\x1b.png"]
    assert not [cell for row in rows for cell in row.values() if re.match(r"[=@+-]\D", cell)]
    # Numbers stay numbers.
    assert all(0 <= float(row["p_tumour"]) <= 1 for row in rows[:-1])


def forge(model: Path, path: Path, spoil: float | None = None, **changes: Any) -> Path:
    """Write a model with other fields, or with all its floats spoilt, and a digest that fits."""
    save_model(path, replace(load_model(model), **changes))
    if spoil is not None:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata()
        for array in arrays.values():
            if array.dtype.kind == "f":
                # Of both signs, so that sums of infinite terms are no number.
                array[...] = spoil * (-1) ** np.arange(array.size).reshape(array.shape)
        metadata["digest"] = model_file._digest(
            metadata["format_version"], metadata["about"], arrays
        )
        save_file(arrays, path, metadata)
    return path


def test_probabilities_that_are_no_numbers_are_an_error(
    model: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def show(message: Any, *_: Any, **__: Any) -> None:
        sys.stderr.write(f"NumPy warns: {message}\n")

    # pytest keeps warnings to itself; Python prints them.
    monkeypatch.setattr(warnings, "showwarning", show)
    monkeypatch.setattr(sys, "warnoptions", [])
    forged = forge(model, tmp_path / "forged.safetensors", spoil=3e38)
    for output in ("json", "csv", "table"):
        arguments = ["predict", str(forged), str(files(folder)[0]), "--format", output]
        result = CliRunner().invoke(cli, arguments, prog_name="freezeframe")
        assert result.exit_code == 1
        assert result.stdout == ""
        assert "its probabilities are not numbers; fit the head again" in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_no_error_about_a_model_carries_a_control_character(model: Path, tmp_path: Path) -> None:
    changes = (
        {"layer": "red\x1b[31m"},
        {"provenance": {}},
        {"provenance": load_model(model).provenance | {"backbone": "red\x1b[31m"}},
        {"run_id": "red\x1b[31m", "provenance": {}},
        {"pooling": "red\x1b[31m"},
    )
    for number, change in enumerate(changes):
        path = forge(model, tmp_path / f"{number}.safetensors", **change)
        with pytest.raises(FreezeframeError) as raised:
            Predictor(path)
        assert str(raised.value).isprintable()


# The command: folders, lists, folders of runs, engines.


def paths_of(*arguments: object) -> list[str]:
    """Return the paths that `predict` prints predictions of."""
    result = call(*arguments, "--format", "json")
    assert result.exit_code == 0, result.stderr
    return [row["path"] for row in json.loads(result.stdout)]


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["predict", *map(str, arguments)])


def test_a_folder_is_predicted_as_the_images_below_it(
    model: Path, folder: Path, tmp_path: Path
) -> None:
    expected = [str(path) for path in files(folder)]
    (folder / "notes.txt").write_text("no image")
    (folder / "a" / "b").mkdir(parents=True)
    deep = folder / "a" / "b" / "no-ending"
    deep.write_bytes(files(folder)[0].read_bytes())
    assert paths_of(model, folder) == [str(deep), *expected]
    assert paths_of(model, expected[3], folder / "tumour") == [expected[3], *expected[12:]]
    result = call(model, folder)
    assert "skipped, not an image (.txt 1): notes.txt" in result.stderr.splitlines()
    (tmp_path / "void").mkdir()
    result = call(model, tmp_path / "void")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith(f"error: {tmp_path}/void: no images; give")


def test_a_list_is_predicted_in_its_order_and_needs_no_labels(model: Path, folder: Path) -> None:
    first, second = files(folder)[:2]
    (folder / "new.CSV").write_text(f"comment,path\nx,healthy/01.png\ny,{first}\n")
    assert paths_of(model, folder / "new.CSV") == [str(second), str(first)]
    (folder / "gone.csv").write_text("path,label\nhealthy/none.png,healthy\nhealthy/00.png,tumour")
    result = call(model, folder / "gone.csv", "--format", "json")
    assert [row.get("error") for row in json.loads(result.stdout)] == ["no such file", None]
    assert "error: 1 of 2 images could not be read" in result.stderr
    for text, message in (
        ("file,label\na,b\n", "must name the column path"),
        ("path\n", "no image"),
    ):
        (folder / "bad.csv").write_text(text)
        assert re.search(f"bad.csv: .*{message}", call(model, folder / "bad.csv").stderr)


def test_a_folder_of_a_run_is_taken_as_the_model(model: Path, folder: Path, tmp_path: Path) -> None:
    image = files(folder)[0]
    run = model.parent
    for place in (run, run.parent):
        assert paths_of(place, image) == [str(image)]
    assert Predictor(run).model.run_id == run.name
    (run.parent / "other").mkdir()
    (run.parent / "other" / "model.safetensors").write_bytes(model.read_bytes())
    result = call(run.parent, image)
    names = f"{run.name}/model.safetensors, other/model.safetensors"
    assert result.exit_code == 1
    assert f"holds several model files, {names}; give one" in result.stderr
    assert "no model file in this folder" in call(folder, image).stderr


def test_another_engine_predicts_and_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from freezeframe.extract import settings

    path = fitted(folder, "mnn")
    images = files(folder)[:2]
    expected = Predictor(path).predict(images)
    # A machine without MNN.
    monkeypatch.setattr(settings, "mnn_installed", lambda: False)
    monkeypatch.setattr("freezeframe.extract.engines.mnn.mnn_installed", lambda: False)
    result = call(path, *images)
    assert result.exit_code == 1
    assert "the engine mnn needs MNN and ONNX" in result.stderr
    result = call(path, *images, "--engine", "keras", "--format", "json")
    assert result.exit_code == 0
    assert result.stderr.splitlines()[0] == (
        "note: the head was fitted on features of the engine mnn, these are of keras: "
        "their low bits may differ"
    )
    for row, prediction in zip(json.loads(result.stdout), expected, strict=True):
        assert row["label"] == prediction.label
        assert row["probabilities"] == pytest.approx(prediction.probabilities, abs=1e-4)
    for name in ("none", "fast"):
        with pytest.raises(ParameterError, match=f"engine .*{name}"):
            Predictor(path, engine=name)
        assert call(path, *images, "--engine", name).exit_code == 2


def test_the_engine_of_the_head_is_not_named(model: Path, folder: Path) -> None:
    for engine in ("auto", "none"):
        result = call(model, files(folder)[0], "--engine", engine)
        assert (result.exit_code, result.stderr) == (0, "")
    assert call(model, files(folder)[0], "--engine", "keras").exit_code == 2
