"""Predictors that share an engine and a lookup: both are loaded once, and no answer changes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from freezeframe import FreezeframeError, Predictor
from freezeframe.__main__ import cli
from freezeframe.classify.fit.fitting import fit_classifier
from freezeframe.classify.prediction import shared_engine
from freezeframe.classify.prediction.image_input import decode_input
from freezeframe.classify.prediction.predictor import predict_together, share_engines
from freezeframe.classify.prediction.record import prediction_record
from freezeframe.classify.prediction.shared_engine import SharedEngine
from freezeframe.classify.task.task import make_task
from freezeframe.classify.trust.guards.training_lookup import TrainingLookup
from freezeframe.data.manifest import read_manifest
from freezeframe.extract.extraction import extract_features
from freezeframe.extract.settings import Settings

LAYERS = ("block1_pool", "block2_pool")


@pytest.fixture
def runs(request: pytest.FixtureRequest, folder: Path, tmp_path: Path) -> list[Path]:
    """Two heads on the first layer, and one on the second, of one random backbone."""
    engine = getattr(request, "param", "keras")
    if engine == "keras":
        request.getfixturevalue("small_vgg16")
    settings = Settings(layers=LAYERS, weights="random", engine=engine)
    store = extract_features(read_manifest(folder), tmp_path / "a.h5", settings).store
    heads = (("logreg", LAYERS[0]), ("naive-bayes", LAYERS[0]), ("logreg", LAYERS[1]))
    return [
        fit_classifier(
            make_task(store, layer=layer, pooling="avg"), head, leaderboard=tmp_path / "l.csv"
        ).folder
        for head, layer in heads
    ]


def pictures(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.glob("*/*.png"))]


def counted(monkeypatch: pytest.MonkeyPatch, place: Any, name: str) -> list[Any]:
    """Note the first two arguments of each call of a function."""
    calls: list[Any] = []
    function: Callable[..., Any] = getattr(place, name)

    def noted(*arguments: Any) -> Any:
        calls.append(arguments[:2])
        return function(*arguments)

    monkeypatch.setattr(place, name, noted)
    return calls


@pytest.mark.parametrize("runs", ["keras", "mnn"], indirect=True)
def test_models_of_one_backbone_load_one_engine_and_answer_as_alone(
    runs: list[Path], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = pictures(folder)[:3]
    alone = [Predictor(run).predict(images) for run in runs]
    calls = [counted(monkeypatch, shared_engine, "reload_weights")]
    calls.append(counted(monkeypatch, shared_engine, "start_engine"))
    predictors = [Predictor(run) for run in runs]
    share_engines(predictors)
    for predictor in predictors:
        predictor.load()
    together = [predictor.predict(images) for predictor in predictors]
    assert [len(made) for made in calls] == [1, 1]
    for own, shared in zip(alone, together, strict=True):
        for first, second in zip(own, shared, strict=True):
            assert prediction_record(first) == prediction_record(second)
            assert first.features is not None
            np.testing.assert_array_equal(first.features, second.features)
    # One that is closed takes no engine away from the others.
    predictors[0].close()
    assert predictors[1].predict(images[:1])[0].label == alone[1][0].label
    with pytest.raises(FreezeframeError, match="closed"):
        predictors[0].predict(images[:1])


def test_a_picture_passes_the_engine_once_for_all_models(
    runs: list[Path], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictors = [Predictor(run) for run in runs]
    share_engines(predictors)
    content = pictures(folder)[0]
    first, second = predictors[0], predictors[2]
    image = decode_input(content, first.input_size, first.resize)
    broken = decode_input(b"no image", first.input_size, first.resize)
    passes = counted(monkeypatch, SharedEngine, "forward")
    jobs = [(first, broken), (first, image), (second, replace(image, path="again.png"))]
    predictions = predict_together(jobs)
    assert [len(pixels) for _, pixels in passes] == [1]
    assert [prediction.path for prediction in predictions] == ["", "", "again.png"]
    assert predictions[0].error.startswith("not a JPEG")
    for prediction, predictor in zip(predictions[1:], (first, second), strict=True):
        alone = predictor.predict([content])[0]
        assert prediction.probabilities == alone.probabilities
    assert predict_together([(first, broken)])[0].error == predictions[0].error


def test_engines_of_other_weights_or_batch_sizes_are_not_shared(
    folder: Path, tmp_path: Path
) -> None:
    settings = Settings(layers=LAYERS[:1], weights="random", engine="keras", batch_size=4)
    provenance = {"weights_digest": "a"}
    engines = [
        SharedEngine(settings, provenance),
        SharedEngine(settings, {"weights_digest": "b"}),
        SharedEngine(replace(settings, batch_size=8), provenance),
        SharedEngine(replace(settings, seed=1), provenance),
        SharedEngine(replace(settings, precision="bfloat16"), provenance),
        SharedEngine(replace(settings, layers=LAYERS[1:]), provenance),
    ]
    shared = shared_engine.shared_engines(engines)
    assert [engines.index(engine) for engine in shared] == [0, 1, 2, 3, 4, 0]


def test_an_engine_that_lacks_a_layer_is_started_again(runs: list[Path], folder: Path) -> None:
    content = pictures(folder)[0]
    first, third = Predictor(runs[0]), Predictor(runs[2])
    before = first.predict([content])[0]
    alone = third.predict([content])[0]
    share_engines([first, third])
    assert first.shared_engine is third.shared_engine
    assert first.predict([content])[0].probabilities == before.probabilities
    assert third.predict([content])[0].probabilities == alone.probabilities


def test_models_of_one_fit_share_the_lookup(folder: Path, tmp_path: Path) -> None:
    settings = Settings(layers=("pixels",), backbone="pixels-8")
    store = extract_features(read_manifest(folder), tmp_path / "a.h5", settings).store
    task = make_task(store)
    # Another part of the images has a lookup of its own.
    tasks = [task, task, make_task(store, seed=1)]
    names = ("logreg", "naive-bayes", "logreg")
    predictors = [
        Predictor(fit_classifier(part, name, leaderboard=tmp_path / "l.csv").folder)
        for part, name in zip(tasks, names, strict=True)
    ]
    share_engines(predictors)
    lookups = [predictor._lookup for predictor in predictors]
    assert lookups[0] is lookups[1]
    assert lookups[0] is not lookups[2]


@pytest.fixture
def run(folder: Path, tmp_path: Path) -> Path:
    settings = Settings(layers=("pixels",), backbone="pixels-8")
    store = extract_features(read_manifest(folder), tmp_path / "a.h5", settings).store
    return fit_classifier(make_task(store), "logreg", leaderboard=tmp_path / "l.csv").folder


def test_images_are_looked_up_beside_the_engine(
    run: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine is held up until an image was looked up."""
    images = pictures(folder)[:3]
    expected = [prediction.training_copy for prediction in Predictor(run).predict(images)]
    looked_up = threading.Event()
    find = TrainingLookup.find
    forward = SharedEngine.forward

    def noted(*arguments: Any) -> Any:
        copy = find(*arguments)
        looked_up.set()
        return copy

    def waiting(*arguments: Any) -> Any:
        assert looked_up.wait(60)
        return forward(*arguments)

    monkeypatch.setattr(TrainingLookup, "find", noted)
    monkeypatch.setattr(SharedEngine, "forward", waiting)
    predictions = Predictor(run).predict(images)
    assert [prediction.training_copy for prediction in predictions] == expected
    assert {copy.level for copy in expected if copy} == {"bytes"}


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (FreezeframeError("the index is damaged; copy it again"), "error: the index is damaged"),
        (MemoryError(), "error: not enough memory"),
    ],
)
def test_an_error_of_the_lookup_is_one_line(
    run: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, line: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(TrainingLookup, "find", fail)
    result = CliRunner().invoke(cli, ["predict", str(run), str(folder)])
    assert result.exit_code == 1
    assert result.output.startswith(line)
    assert result.output.count("\n") == 1
