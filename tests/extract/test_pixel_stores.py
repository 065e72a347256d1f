"""Tests of stores of the images themselves: exact pixels, without a deep-learning library."""

from __future__ import annotations

import csv
import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from freezeframe import FeatureStore, FrozenFeatures, ModelFileError, ParameterError, StoreError
from freezeframe.__main__ import cli
from freezeframe.classify.fit.fitting import fit_classifier
from freezeframe.classify.prediction.predictor import Predictor
from freezeframe.classify.runs.model_file import FittedHead, load_model, save_model
from freezeframe.classify.task.task import make_task
from freezeframe.data.duplicates.pairs import duplicate_groups
from freezeframe.data.fingerprints import fingerprint
from freezeframe.data.formats.image_file import read_image
from freezeframe.data.formats.images import resize_image
from freezeframe.data.manifest import read_manifest
from freezeframe.extract.backbones.table import BACKBONES, find_backbone
from freezeframe.extract.backbones.weights import load_weights, weights_digest
from freezeframe.extract.engines import keras as keras_engine
from freezeframe.extract.engines import mnn as mnn_engine
from freezeframe.extract.engines.pixels import PixelEngine
from freezeframe.extract.extraction import extract_features
from freezeframe.extract.filling import ExtractionProgress, start_engine
from freezeframe.extract.provenance import deciding_fields, versions
from freezeframe.extract.settings import Settings

PIXELS = Settings(backbone="pixels-32", layers=("pixels",), dtype="float16")

HEAVY = ("tensorflow", "keras", "jax", "torch", "onnx", "MNN")

UNKNOWN: list[Any] = [
    *(
        "",
        "pixels",
        "pixels-",
        "pixels-0",
        "pixels-032",
        "pixels-1025",
        "pixels-9999",
        "pixels-99999999999",
        "pixels--1",
    ),
    *(
        "pixels-32\n",
        " pixels-32",
        "pixels-3 2",
        "Pixels-32",
        "pixels-٣٢",
        "pixels-32.0",
        "pixels-1e2",
        "pixels-N",
    ),
    *(
        "../pixels-32",
        "pixels-32/../../x",
        "x" * 10**6,
        "vgg16\n",
        None,
        32,
        ["vgg16"],
        {"pixels-32": 1},
    ),
]


@pytest.fixture
def scans(folder: Path) -> Path:
    """The noise images with JPEG files, a grey one, and a picture with its mirrored copy."""
    for number in range(3):
        path = folder / "healthy" / f"{number:02}.png"
        Image.open(path).convert("L" if number == 2 else "RGB").save(
            path.with_suffix(".jpg"), quality=80
        )
        path.unlink()
    smooth = np.add.outer(np.arange(90) ** 1.3, np.arange(120) * 1.5) % 256
    Image.fromarray(smooth.astype(np.uint8)).save(folder / "tumour" / "smooth.png")
    Image.fromarray(smooth[:, ::-1].astype(np.uint8)).save(
        folder / "tumour" / "turned.jpg", quality=95
    )
    return folder


def resized(path: Path, size: int = 32) -> np.ndarray:
    return resize_image(read_image(path), size, size, "bilinear")


@pytest.mark.parametrize("size", [1, 7, 32, 250, 1024])
def test_a_backbone_of_pixels_computes_nothing(size: int) -> None:
    backbone = find_backbone(f"pixels-{size}")
    assert backbone.name == f"pixels-{size}"
    assert (backbone.layers, backbone.input_size) == ({"pixels": (size, size, 3)}, (size, size))
    assert (backbone.preprocessing, backbone.tensors) == ("none", {})
    assert backbone.digest == weights_digest({}) == hashlib.sha256().hexdigest()
    assert (
        load_weights("imagenet", 5, backbone) == load_weights("random", 5, backbone) == ({}, "none")
    )


@pytest.mark.parametrize("name", UNKNOWN, ids=lambda name: ascii(name)[:20])
def test_other_names_are_refused_in_one_line(name: Any) -> None:
    for refused in (
        lambda: find_backbone(name),
        lambda: Settings(backbone=name, layers=("pixels",)),
    ):
        with pytest.raises(
            ParameterError, match=r"^backbone must be one of vgg16, pixels-N, got "
        ) as caught:
            refused()
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 150
    assert find_backbone("vgg16") is BACKBONES["vgg16"]


def test_resolving_needs_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "nonsense")
    for module in (keras_engine, mnn_engine):
        monkeypatch.setattr(module, "find_spec", lambda name: None)
    expected = Settings(
        backbone="pixels-250", layers=("pixels",), weights="none", engine="none", batch_size=32
    )
    for change in (
        {},
        {"engine": "none"},
        {"batch_size": 32},
        {"weights": "random", "seed": 3},
        {"weights": "w.h5"},
    ):
        resolved = Settings(backbone="pixels-250", layers=("pixels",), **change).resolved(
            {"engine": "keras"}
        )
        assert resolved == resolved.resolved() == expected
    assert expected.backend == "cpu"
    assert deciding_fields(expected) == {
        "backbone": "pixels-250",
        "weights_digest": hashlib.sha256().hexdigest(),
        "preprocessing": "none",
        "resize": "bilinear",
        "input_height": 250,
        "input_width": 250,
        "dtype": "float32",
        "engine": "none",
        "backend": "cpu",
        "precision": "float32",
        "batch_size": 32,
    }
    assert sorted(versions(expected)) == ["version_freezeframe", "version_pillow"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"engine": "mnn"}, "engine mnn is for networks; pixels-32 computes nothing"),
        ({"engine": "keras"}, "engine keras is for networks; pixels-32 computes nothing"),
        ({"precision": "float16"}, "precision float16 is for networks; pixels-32 computes nothing"),
        ({"batch_size": 8}, "batch_size 8 is for networks; pixels-32 computes nothing"),
        ({"layers": ("block5_pool",)}, "pixels-32 has no layer 'block5_pool'; it has pixels"),
        (
            {"backbone": "vgg16", "layers": ("block5_pool",), "engine": "none"},
            "engine none is for pixels-N; vgg16 needs the engine keras or mnn",
        ),
        ({"backbone": "vgg16"}, "vgg16 has no layer 'pixels'"),
        ({"engine": "tea"}, "engine must be one of auto, keras, mnn, none, got 'tea'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        Settings(**{"backbone": "pixels-32", "layers": ("pixels",)} | change)


def test_the_engine_returns_the_images() -> None:
    images = list(np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3)).astype(np.uint8))
    engine = start_engine(PIXELS.resolved(), {}, ("pixels",))
    features = engine.forward(images)
    assert (engine.layers, list(features)) == (("pixels",), ["pixels"])
    assert features["pixels"].dtype == np.float32
    np.testing.assert_array_equal(features["pixels"], images)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_the_store_holds_the_resized_images_exactly(
    scans: Path, tmp_path: Path, dtype: str
) -> None:
    settings = Settings(backbone="pixels-32", layers=("pixels",), dtype=dtype)
    done = extract_features(read_manifest(scans), tmp_path / "a.h5", settings)
    store = done.store
    assert (len(store), done.progress.computed, done.progress.same, done.failed) == (26, 25, 1, [])
    assert store.memmap("pixels").dtype == dtype
    expected = np.stack([resized(scans / path) for path in store.paths])
    assert expected.min() < 70
    assert expected.max() > 240
    np.testing.assert_array_equal(store.memmap("pixels"), expected)
    np.testing.assert_array_equal(store.features("pixels"), expected)
    assert store.verify() == []
    provenance = store.provenance
    assert (provenance["weights_source"], provenance["weights_seed"], provenance["engine"]) == (
        "none",
        0,
        "none",
    )


def test_every_level_fits_into_float16() -> None:
    levels = np.arange(256)
    assert (levels.astype(np.float16) == levels).all()


def test_images_are_recognised_as_in_other_stores(scans: Path, tmp_path: Path) -> None:
    with (tmp_path / "list.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split", "group"])
        for number, path in enumerate(sorted(scans.glob("*/*"))):
            split = ("train", "validation", "test")[number % 3]
            writer.writerow(
                [path.relative_to(tmp_path), path.parent.name, split, f"patient {number // 4}"]
            )
    manifest = read_manifest(tmp_path / "list.csv")
    store = extract_features(manifest, tmp_path / "a.h5", PIXELS).store
    for name, texts in store.identity().items():
        assert texts == [getattr(image, name) for image in manifest.images]
    assert set(store.group_scopes) == {"own"}
    fingerprints = [fingerprint(read_image(tmp_path / path)) for path in store.paths]
    assert store.pixels.tolist() == [item.pixels for item in fingerprints]
    np.testing.assert_array_equal(
        store.thumbnails(store.rows()), [item.thumbnail for item in fingerprints]
    )
    digests = store.sha256s.tolist(), store.pixels.tolist()
    expected = duplicate_groups(*digests, np.stack([item.thumbnail for item in fingerprints])) + 1
    assert store.duplicates.tolist() == expected.tolist()
    # One file is there twice, and one picture mirrored.
    assert store.pictures == 24


def test_a_stopped_run_is_continued(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PixelEngine, "batch_size", 4)
    whole = extract_features(read_manifest(scans), tmp_path / "whole.h5", PIXELS).store

    def stop(progress: ExtractionProgress) -> None:
        if progress.finished >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract_features(read_manifest(scans), tmp_path / "a.h5", PIXELS, progress=stop)
    pending = int((FeatureStore(tmp_path / "a.h5").status == 0).sum())
    assert 0 < pending <= 18
    resumed = extract_features(read_manifest(scans), tmp_path / "a.h5", PIXELS)
    assert resumed.computed == pending
    assert resumed.store.fingerprint == whole.fingerprint
    (scans / "tumour" / "07.png").unlink()
    Image.new("RGB", (9, 9), (1, 2, 3)).save(scans / "healthy" / "new.png")
    later = extract_features(read_manifest(scans), tmp_path / "a.h5", PIXELS)
    assert (later.reused, later.computed) == (25, 1)
    row = later.store.paths.tolist().index("healthy/new.png")
    assert (later.store.features("pixels", [row]) == [1, 2, 3]).all()


def test_a_store_of_another_backbone_is_refused(
    scans: Path, tmp_path: Path, make_store: Any
) -> None:
    store = extract_features(read_manifest(scans), tmp_path / "a.h5", PIXELS).store
    larger = Settings(backbone="pixels-33", layers=("pixels",), dtype="float16")
    network = Settings(layers=("block1_pool",), weights="random", dtype="float16")
    for settings, name in ((larger, "pixels-33"), (network, "vgg16")):
        with pytest.raises(
            StoreError, match=f"a.h5: made with backbone 'pixels-32', asked for '{name}'"
        ):
            extract_features(read_manifest(scans), store.path, settings)
    with pytest.raises(StoreError, match=r"made with backbone 'vgg16', asked for 'pixels-32'"):
        extract_features(read_manifest(scans), make_store("b.h5", ["x", "y"] * 10), PIXELS)
    with pytest.raises(
        ParameterError, match="workers are for the engine mnn, not for none; leave --workers out"
    ):
        extract_features(read_manifest(scans), tmp_path / "c.h5", PIXELS, workers=2)


def test_the_command_line_loads_no_deep_learning_library(scans: Path, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from freezeframe.__main__ import cli\n"
        "try: cli(sys.argv[1:])\n"
        "except SystemExit as end: print('exit code', end.code)\n"
        f"print('loaded:', [name for name in {HEAVY} if name in sys.modules])\n"
    )
    change = [
        "extract-features",
        str(scans),
        "--backbone",
        "pixels-32",
        "--layer",
        "pixels",
        "--dtype",
        "float16",
    ]
    command = [sys.executable, "-c", code, *change]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == [
        "features.h5: 26 of 26 images, pixels 32 x 32 x 3",
        "exit code 0",
        "loaded: []",
    ]
    store = FeatureStore(tmp_path / "features.h5")
    np.testing.assert_array_equal(
        store.memmap("pixels"), [resized(scans / path) for path in store.paths]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backbone", "pixels-32"], "error: pixels-32 has no layer 'block5_pool'; it has pixels"),
        (
            ["--backbone", "pixels-0", "--layer", "pixels"],
            "error: backbone must be one of vgg16, pixels-N, got 'pixels-0'",
        ),
        (
            ["--backbone", "pixels-32", "--layer", "pixels", "--engine", "mnn"],
            "error: engine mnn is for networks; ",
        ),
        (
            ["--backbone", "pixels-32", "--layer", "pixels", "--batch-size", "4"],
            "error: batch_size 4 is for networks; ",
        ),
        (
            ["--engine", "none"],
            "error: engine none is for pixels-N; vgg16 needs the engine keras or mnn",
        ),
    ],
)
def test_mistakes_are_reported_in_one_line(
    folder: Path, arguments: list[str], message: str
) -> None:
    result = CliRunner().invoke(cli, ["extract-features", str(folder), *arguments])
    assert result.exit_code == 2
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1


def test_a_head_on_pixels_predicts_images(scans: Path, tmp_path: Path) -> None:
    store = extract_features(read_manifest(scans), tmp_path / "a.h5", PIXELS).store
    task = make_task(store, layer="pixels", pooling="flat")
    run = fit_classifier(task, "logreg", leaderboard=tmp_path / "leaderboard.csv")
    lines = list(csv.DictReader((run.folder / "predictions.csv").open()))
    model = load_model(run.folder / "model.safetensors")
    with Predictor(model, weights="w.h5") as predictor:
        predicted = predictor.predict(
            [*(scans / line["path"] for line in lines), tmp_path / "none.png"]
        )
    assert predicted.pop().error == "no such file"
    for line, prediction in zip(lines, predicted, strict=True):
        assert prediction.label == line["predicted"]
        assert prediction.probabilities["tumour"] == pytest.approx(
            float(line["p_tumour"]), abs=1e-6
        )


def test_a_model_behind_an_impossible_backbone_is_refused(scans: Path, tmp_path: Path) -> None:
    store = extract_features(read_manifest(scans), tmp_path / "a.h5", PIXELS).store
    run = fit_classifier(
        make_task(store, layer="pixels", pooling="avg"), "majority", leaderboard=tmp_path / "l.csv"
    )
    model = load_model(run.folder / "model.safetensors")

    def changed(**provenance: Any) -> FittedHead:
        return FittedHead(**{**vars(model), "provenance": model.provenance | provenance})

    for number, name in enumerate(UNKNOWN):
        path = tmp_path / f"{number}.safetensors"
        save_model(path, changed(backbone=name))
        with pytest.raises(
            ModelFileError, match=r"damaged \(backbone must be one of vgg16, pixels-N, got "
        ) as caught:
            load_model(path)
        assert "\n" not in str(caught.value)
    for provenance in (
        {"engine": "keras"},
        {"backbone": "vgg16"},
        {"batch_size": 5},
        {"precision": "float16"},
    ):
        with pytest.raises(ModelFileError, match="its provenance is damaged or unknown here"):
            Predictor(changed(**provenance))


@pytest.mark.parametrize("as_arrays", [False, True])
def test_frozen_features_of_pixels(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_arrays: bool
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    frozen = FrozenFeatures(backbone="pixels-32", layer="pixels")
    paths = sorted(scans.glob("*/*"))
    X = [read_image(path) for path in paths] if as_arrays else paths
    assert frozen.n_features_out == 32 * 32 * 3
    expected = np.stack([resized(path).reshape(-1) for path in paths])
    for _ in range(2):
        np.testing.assert_array_equal(frozen.fit_transform(X), expected)
    (cache,) = (tmp_path / "cache" / "freezeframe" / "features").glob("*.h5")
    assert cache.name.startswith("pixels-32-pixels-")
    store = extract_features(read_manifest(scans), tmp_path / "a.h5", PIXELS).store
    again = FrozenFeatures(
        backbone="pixels-32", layer="pixels", pooling="avg", store=store.path
    ).transform(paths)
    np.testing.assert_allclose(again, expected.reshape(-1, 1024, 3).mean(axis=1), rtol=1e-5)
