"""Explanations: sums that are the logit, gradients, occlusion, maps on one scale, the command."""

from __future__ import annotations

import io
import json
import re
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from scipy.special import expit, softmax

from freezeframe import ModelFileError, ParameterError, Predictor
from freezeframe.__main__ import cli
from freezeframe.classify.fit.fitting import HeadFitter
from freezeframe.classify.fit.search import FitOptions, fit_head
from freezeframe.classify.heads.base import Head
from freezeframe.classify.heads.linear import LinearHead
from freezeframe.classify.heads.networks.convolutional import EarlyBlocks, SimpleCNN
from freezeframe.classify.heads.networks.finetuned import FineTunedAll, FineTunedBlock5
from freezeframe.classify.heads.networks.network import Network
from freezeframe.classify.heads.table import make_head
from freezeframe.classify.runs.model_file import FittedHead, load_model, save_model
from freezeframe.classify.runs.prediction_file import read_predictions
from freezeframe.classify.task.control import shuffled_labels
from freezeframe.classify.task.task import make_task
from freezeframe.classify.trust.explanation.background import Background
from freezeframe.classify.trust.explanation.contributions import explain_map
from freezeframe.classify.trust.explanation.evidence import MapContext, measure_map
from freezeframe.classify.trust.explanation.explanation import Explanation
from freezeframe.classify.trust.explanation.logit import head_logits
from freezeframe.classify.trust.explanation.report import ExplanationReport
from freezeframe.classify.trust.guards.familiarity import Familiarity
from freezeframe.classify.trust.guards.training_lookup import TrainingCopy
from freezeframe.data.manifest import read_manifest
from freezeframe.extract.backbones.receptive_field import ReceptiveField, receptive_field
from freezeframe.extract.backbones.table import find_backbone
from freezeframe.extract.engines.keras import KerasEngine, import_keras
from freezeframe.extract.extraction import extract_features
from freezeframe.extract.settings import Settings
from freezeframe.features.rows.pooling import pool
from freezeframe.features.store import FeatureStore

from .small_networks import new, pictures

GOLDEN = Path(__file__).parents[1] / "golden"
SHAPE = (4, 5, 6)


def maps_of(n_classes: int, n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Return feature maps of classes that differ in a channel and in a place, and the classes."""
    y = np.arange(n) % n_classes
    maps = np.random.default_rng(n_classes).random((n, *SHAPE)).astype(np.float32)
    for number in range(n_classes):
        maps[y == number, number, :2, number] += 1
    return maps, y


def fitted(name: str, pooling: str, n_classes: int, **options: Any) -> tuple[Head, np.ndarray]:
    """Return a head fitted on maps, calibrated on folds, and the maps."""
    maps, y = maps_of(n_classes)
    folds = [(np.flatnonzero(np.arange(60) % 5 > 0), np.flatnonzero(np.arange(60) % 5 == 0))]
    choice = FitOptions("none", calibrate=True, parameters=options)
    head, _ = fit_head(name, pool(maps, pooling), y, n_classes, folds, choice)
    return head, maps


def explained(head: Head, pooling: str, maps: np.ndarray, number: int) -> Any:
    mean = maps.mean(axis=0)
    return explain_map(head, "block5_pool", pooling, maps[0], mean, number)


@pytest.mark.parametrize(
    ("name", "pooling", "n_classes"),
    [
        ("logreg", "flat", 2),
        ("logreg", "avg", 3),
        ("ridge", "flat", 3),
        ("linear-svm", "flat", 2),
        ("lda", "avg", 2),
    ],
)
def test_contributions_of_linear_heads_add_up_to_the_logit_of_the_probability(
    name: str, pooling: str, n_classes: int
) -> None:
    head, maps = fitted(name, pooling, n_classes)
    # A calibration that changes nothing would hide a mistake.
    assert head.calibration.slope != 1
    proba = head.predict_proba(pool(maps[:1], pooling))[0]
    results = [explained(head, pooling, maps, number) for number in range(n_classes)]
    logits = np.array([one.base + one.cells.sum() for one in results])
    np.testing.assert_allclose(logits, [one.logit for one in results], atol=1e-5)
    expected = expit(logits) if n_classes == 2 else softmax(logits)
    np.testing.assert_allclose(expected, proba, atol=1e-6)
    assert {one.method for one in results} == {"exact"}
    assert results[0].cells.shape == (4, 5)
    assert results[0].cells.dtype == np.float64


@pytest.mark.parametrize("pooling", ["flat", "avg"])
def test_occlusion_of_a_linear_head_is_its_exact_map(
    pooling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    head, maps = fitted("logreg", pooling, 2)
    exact = explained(head, pooling, maps, 1)
    monkeypatch.setattr(
        "freezeframe.classify.trust.explanation.contributions.find_method", lambda *_: "occlusion"
    )
    occluded = explained(head, pooling, maps, 1)
    assert occluded.method == "occlusion"
    np.testing.assert_allclose(occluded.cells, exact.cells, atol=1e-5)


@pytest.mark.parametrize("name", ["knn", "naive-bayes", "extra-trees", "rbf-svm", "majority"])
def test_other_heads_are_explained_by_occlusion(name: str) -> None:
    head, maps = fitted(name, "avg", 2)
    mean = maps.mean(axis=0)
    result = explained(head, "avg", maps, 0)
    assert result.method == "occlusion"
    for row, column in ((0, 0), (3, 4)):
        changed = maps[:1].copy()
        changed[0, row, column] = mean[row, column]
        fall = result.logit - head_logits(head, pool(changed, "avg"), 0)[0]
        # The mean of a changed map may differ in its last bit, where a tree may split.
        assert result.cells[row, column] == pytest.approx(fall, abs=1e-4)


def test_a_maximum_over_cells_is_explained_by_occlusion() -> None:
    head, maps = fitted("logreg", "max", 2)
    result = explained(head, "max", maps, 0)
    assert result.method == "occlusion"
    assert np.abs(result.cells[0, :2]).sum() > 0


def test_the_gradient_of_a_dense_head_is_the_slope_of_its_scores() -> None:
    rng = np.random.default_rng(0)
    shapes = [(120, 128), (128, 64), (64, 32), (32, 3)]
    arrays: dict[str, np.ndarray] = {"scale": np.array([2.0], np.float32)}
    for number, shape in enumerate(shapes):
        arrays[f"kernel_{number}"] = rng.normal(size=shape).astype(np.float32) / 10
        arrays[f"bias_{number}"] = rng.normal(size=shape[1]).astype(np.float32)
    head = make_head("dense-128-64-32")
    head.restore(arrays)
    assert isinstance(head, Network)
    maps, _ = maps_of(2)
    X = pool(maps[:3], "flat")
    direction = np.array([0.5, -1.0, 0.5])
    step = np.float32(1e-2)
    slopes = head.gradient(X, direction)
    for column in (0, 7, 119):
        way = np.zeros(120, np.float32)
        way[column] = step
        change = (head.scores(X + way) - head.scores(X - way)) @ direction / (2 * step)
        np.testing.assert_allclose(slopes[:, column], change, rtol=0.02, atol=1e-4)
    # The short way of dense heads gives the mean that the long way does.
    mean = head.mean_gradient(X[:2], 16, direction)
    np.testing.assert_allclose(mean, Network.mean_gradient(head, X[:2], 16, direction), atol=1e-6)
    assert np.abs(mean - head.gradient(X[:1], direction)[0]).max() > 1e-3
    result = explained(head, "flat", maps, 0)
    assert result.method == "gradient"
    missing = result.base + result.cells.sum() - result.logit
    assert abs(missing) < 0.02 * abs(result.logit - result.base)


NETWORKS: dict[str, tuple[Any, tuple[int, int, int]]] = {
    "cnn-simple": (SimpleCNN, (17, 19, 3)),
    "early-blocks": (EarlyBlocks, (6, 5, 4)),
    "finetune-block5": (FineTunedBlock5, (4, 4, 512)),
    "finetune-all": (FineTunedAll, (32, 32, 3)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_gradient_of_a_network_is_that_of_tensorflow(name: str) -> None:
    tf = pytest.importorskip("tensorflow")
    if import_keras().backend.backend() != "tensorflow":
        pytest.skip("the gradient to compare with is TensorFlow's")
    kind, shape = NETWORKS[name]
    X, _ = pictures(3, n=2, shape=shape)
    head = new(kind, shape)
    head.n_features = X.shape[1]
    head.prepare(X)
    model = head.compiled_model(3, seed=3)
    # Biases of 0 would hide a mistake.
    rng = np.random.default_rng(0)
    weights = [array + rng.normal(0, 0.01, array.shape) for array in model.get_weights()]
    model.set_weights(weights)
    head.set_weights([np.asarray(array, np.float32) for array in weights])
    direction = np.array([0.5, -1.0, 0.5])
    inputs = tf.constant(head.inputs(X))
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        total = tf.reduce_sum(model(inputs, training=False) * direction.astype(np.float32))
    expected = tape.gradient(total, inputs).numpy()
    # By the chain rule, along any way: the slope by the features is that by the inputs.
    way = rng.normal(size=X.shape).astype(np.float32)
    moved = head.inputs(X + way).astype(np.float64) - head.inputs(X)
    slopes = head.gradient(X, direction)
    assert slopes.shape == X.shape
    np.testing.assert_allclose(
        (slopes * way).sum(axis=1), (expected * moved).sum(axis=(1, 2, 3)), rtol=1e-3
    )


def test_a_network_on_pixels_is_explained_by_patches() -> None:
    X, y = pictures()
    head = new(SimpleCNN, epochs=2)
    head.fit(X, y, 2)
    maps = X.reshape(-1, 16, 16, 3)
    result = explain_map(head, "pixels", "flat", maps[0], maps.mean(axis=0), 0)
    assert (result.method, result.side, result.cells.shape) == ("occlusion", 2, (8, 8))
    assert np.abs(result.cells).max() > 0


# What a cell sees.


def test_receptive_fields_of_vgg16() -> None:
    vgg16 = find_backbone("vgg16")
    sizes = [receptive_field(vgg16, f"block{block}_pool").size for block in range(1, 6)]
    assert sizes == [6, 16, 44, 100, 212]
    first = receptive_field(vgg16, "block1_conv1")
    assert (first.size, first.stride, first.start) == (3, 1, -1)
    pixels = receptive_field(find_backbone("pixels-32"), "pixels")
    assert pixels == ReceptiveField(1, 1, 0, (32, 32))
    assert pixels.joined(4) == ReceptiveField(4, 4, 0, (32, 32))


@pytest.mark.parametrize(
    "layer", ["block3_pool", pytest.param("block5_pool", marks=pytest.mark.slow)]
)
def test_a_cell_changes_with_the_pixels_that_it_sees_and_with_no_others(layer: str) -> None:
    """Whole columns are changed: one pixel at the rim would vanish in the rounding."""
    backbone = find_backbone("vgg16")
    # Means of equal weight: every pixel in the field has an effect, all of one sign.
    weights = {
        name: np.zeros(shape, np.float32)
        if name.endswith("bias")
        else np.full(shape, 1 / np.prod(shape[:3]), np.float32)
        for name, shape in backbone.tensors.items()
    }
    cell = backbone.layers[layer][0] // 2
    left, _, right, _ = receptive_field(backbone, layer).box(cell, cell)
    images = [np.full((224, 224, 3), 130, np.uint8)]
    for column in (left, right - 1, left - 1, right):
        images.append(images[0].copy())
        images[-1][:, column] = 255
    values = KerasEngine(backbone, weights, [layer], 5).forward(images)[layer]
    first, *inside, outside_left, outside_right = values[:, cell, cell].sum(axis=1)
    assert first < min(inside)
    assert first == outside_left == outside_right


# The Predictor, from a run.


Run = Callable[[str], Path]


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of small images: a bright square is at the left or at the right."""
    root = tmp_path_factory.mktemp("explained") / "scans"
    rng = np.random.default_rng(0)
    for label, column in (("left", 2), ("right", 10)):
        (root / label).mkdir(parents=True)
        for number in range(12):
            pixels = rng.integers(0, 60, (16, 16, 3)).astype(np.uint8)
            pixels[5:9, column : column + 4] += 150
            Image.fromarray(pixels).resize((20, 16)).save(root / label / f"{number:02}.png")
    return root


@pytest.fixture(scope="module")
def models(scans: Path) -> dict[str, Path]:
    """Return the model files of two heads on the pixels of the images."""
    place = scans.parent
    chosen = Settings(layers=("pixels",), backbone="pixels-8")
    store = extract_features(read_manifest(scans), place / "a.h5", chosen).store
    fitter = HeadFitter(make_task(store, pooling="flat"), leaderboard=place / "l.csv")
    return {
        name: fitter.fit(name).folder / "model.safetensors" for name in ("logreg", "extra-trees")
    }


def test_an_explanation_adds_up_to_what_is_predicted(models: dict[str, Path], scans: Path) -> None:
    image = scans / "right" / "03.png"
    with Predictor(models["logreg"]) as predictor:
        (prediction,) = predictor.predict([image])
        by_path, by_bytes, broken = predictor.explain([image, image.read_bytes(), b"no image"])
        (against,) = predictor.explain([image], class_name="left")
    assert (by_path.path, by_path.label, by_path.class_name) == (str(image), "right", "right")
    assert by_path.probability == prediction.probabilities["right"]
    assert by_path.completeness_error < 1e-5
    assert by_path.contributions is not None
    total = by_path.base + by_path.contributions.sum()
    assert expit(total) == pytest.approx(by_path.probability, abs=1e-6)
    assert by_path.method == "exact"
    assert by_path.size == (16, 20)
    # The square speaks for the class, its absence on the other side too.
    best = np.argsort(-by_path.contributions.ravel())[:8]
    assert {int(cell) % 8 for cell in best} <= {0, 1, 2, 5, 6, 7}
    np.testing.assert_array_equal(by_bytes.contributions, by_path.contributions)
    assert against.contributions is not None
    np.testing.assert_allclose(against.contributions, -by_path.contributions, atol=1e-12)
    assert (against.label, against.class_name) == ("right", "left")
    assert broken.error
    assert broken.contributions is None
    assert np.isnan(broken.completeness_error)
    with pytest.raises(ValueError, match="no map"):
        broken.overlay()


def test_an_unknown_class_and_a_model_without_background_are_refused(
    models: dict[str, Path], scans: Path
) -> None:
    image = scans / "left" / "00.png"
    with pytest.raises(ParameterError, match="'lung' is unknown to the model; it has left, right"):
        Predictor(models["logreg"]).explain([image], class_name="lung")
    with pytest.raises(ParameterError, match="put a single image into one"):
        Predictor(models["logreg"]).explain(image)  # type: ignore[arg-type]
    for version in (1, 2, 3):
        assert load_model(GOLDEN / f"model-v{version}.safetensors").background is None
    old = replace(load_model(models["logreg"]), background=None)
    with pytest.raises(ModelFileError, match=r"no mean of the training images.*fit the head"):
        Predictor(old).explain([image])
    other = replace(old, background=Background(np.zeros((8, 9, 3), np.float32), 1.0, 1))
    with pytest.raises(ModelFileError, match="is not of pixels; fit the head again"):
        Predictor(other).explain([image])


def test_all_maps_of_a_model_have_the_scale_of_its_training_images(
    models: dict[str, Path], scans: Path
) -> None:
    model = load_model(models["logreg"])
    background = model.background
    assert background is not None
    # The hold-out took a fifth of the 24 images.
    assert background.n_images < 24
    images = sorted(scans.glob("*/*.png"))
    explanations = Predictor(models["logreg"]).explain(images)
    assert {explanation.scale for explanation in explanations} == {background.scale}
    cells = np.abs([explanation.contributions for explanation in explanations])
    assert np.percentile(cells, 90) < background.scale <= cells.max()


def test_colours_are_signed_and_zero_leaves_the_image(models: dict[str, Path]) -> None:
    cells = np.array([[0.0, 0.5], [-0.25, 2.0]])
    drawn = Explanation(
        "a.png",
        "left",
        "left",
        contributions=cells,
        scale=1.0,
        receptive_field=ReceptiveField(4, 4, 0, (8, 6)),
    ).map_pixels()
    assert drawn.shape == (8, 6, 4)
    # Cells are drawn as cells; the last one is narrower if they do not divide the input.
    assert len(np.unique(drawn[:4, :4].reshape(-1, 4), axis=0)) == 1
    empty, half, against, full = drawn[0, 0], drawn[0, 4], drawn[4, 0], drawn[4, 5]
    assert empty[3] == 0
    assert against[3] < half[3] < full[3] < 255
    assert half[:3].tolist() == full[:3].tolist() != against[:3].tolist()


# The model file.


def test_a_model_file_keeps_the_background(models: dict[str, Path], tmp_path: Path) -> None:
    model = load_model(models["logreg"])
    assert model.background is not None
    assert model.background.mean.shape == (8, 8, 3)
    save_model(tmp_path / "again.safetensors", model)
    again = load_model(tmp_path / "again.safetensors").background
    assert again is not None
    np.testing.assert_array_equal(again.mean, model.background.mean)
    assert (again.scale, again.n_images) == (model.background.scale, model.background.n_images)


@pytest.mark.parametrize(
    "change",
    [
        {"scale": 0.0},
        {"scale": -1.0},
        {"scale": float("nan")},
        {"scale": float("inf")},
        {"scale": 1},
        {"scale": True},
        {"scale": "wide"},
        {"n_images": 0},
        {"n_images": True},
        {"n_images": 1e9},
        {"mean": np.zeros((8, 8), np.float32)},
        {"mean": np.zeros((8, 8, 3))},
        {"mean": np.full((8, 8, 3), np.nan, np.float32)},
        {"mean": np.full((8, 8, 3), -np.inf, np.float32)},
    ],
    ids=str,
)
def test_a_forged_background_is_refused(
    models: dict[str, Path], tmp_path: Path, change: dict[str, Any]
) -> None:
    """The digest fits; only the content is false."""
    model = load_model(models["logreg"])
    assert model.background is not None
    path = tmp_path / "forged.safetensors"
    save_model(path, replace(model, background=replace(model.background, **change)))
    with pytest.raises(ModelFileError, match=r"forged\.safetensors: damaged \([^\n]+fit the head"):
        load_model(path)


def test_a_mean_that_overflows_is_one_line(
    models: dict[str, Path], scans: Path, tmp_path: Path
) -> None:
    model = load_model(models["logreg"])
    huge = Background(np.full((8, 8, 3), 3e38, np.float32), 1.0, 1)
    save_model(tmp_path / "m.safetensors", replace(model, background=huge))
    result = explain(
        tmp_path / "m.safetensors", scans / "left" / "00.png", "--output", tmp_path / "out"
    )
    assert result.exit_code in (0, 1)
    assert "Traceback" not in result.output


def test_the_golden_model_with_a_background_explains_as_before() -> None:
    path = GOLDEN / "model-v4-background.safetensors"
    model = load_model(path)
    assert model.background is not None
    assert (model.background.scale, model.background.n_images) == (0.5, 7)
    pixels = np.zeros((2, 2, 3), np.uint8)
    pixels[0, 1] = 10, 20, 30
    (explanation,) = Predictor(path).explain([pixels], class_name="lesion")
    # Coefficients of 0.01 at this pixel, of 0 elsewhere; the mean is 10 everywhere.
    np.testing.assert_allclose(explanation.contributions, [[0, -0.3], [0, 0]], atol=1e-6)
    assert explanation.base == pytest.approx(-0.3 - 0.25)
    assert explanation.logit == pytest.approx(-0.6 - 0.25)
    assert isinstance(model.head, LinearHead)


# The command.


def explain(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["explain", *map(str, arguments)], prog_name="freezeframe")


def test_the_command_writes_pictures_arrays_and_numbers(
    models: dict[str, Path], scans: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    images = [scans / "left" / "00.png", broken, scans / "right" / "00.png"]
    result = explain(models["logreg"].parent, *images, "--output", out)
    assert result.exit_code == 1
    assert "error: 1 of 3 images could not be read" in result.stderr
    assert "pixels: A cell sees up to 1 x 1 of the 8 x 8 pixels" in result.stderr
    pictures = ["00-2-map.png", "00-2.png", "00-map.png", "00.png"]
    names = [*pictures, "explanations.json", "explanations.npz"]
    assert sorted(path.name for path in out.iterdir()) == names
    for name in pictures:
        with Image.open(out / name) as picture:
            # The map without words is of the size of the image.
            assert picture.size == (20, 16) if "map" in name else picture.width > 800
    numbers = json.loads((out / "explanations.json").read_text())
    left, unread, right = numbers["images"]
    assert unread == {"path": str(broken), "error": unread["error"]}
    assert (left["picture"], right["picture"]) == ("00.png", "00-2.png")
    assert (left["class"], right["class"]) == ("left", "right")
    background = load_model(models["logreg"]).background
    assert background is not None
    assert (numbers["scale"], numbers["scale_images"]) == (background.scale, background.n_images)
    arrays = np.load(out / "explanations.npz")
    assert arrays["contributions"].shape == (2, 8, 8)
    assert arrays["path"].tolist() == [left["path"], right["path"]]
    for number, image in enumerate((left, right)):
        total = arrays["base"][number] + arrays["contributions"][number].sum()
        assert total == pytest.approx(image["logit"], abs=1e-5)
        assert image["completeness_error"] < 1e-5
        assert f"{image['logit']:.3f}" in result.stdout


def test_the_nearest_training_pictures_are_named(
    models: dict[str, Path], scans: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    store = scans.parent / "a.h5"
    run = models["logreg"].parent
    (evaluation,) = read_predictions(run).values()
    place = evaluation.predictions.y.tolist().index(1)
    image = scans / evaluation.paths[place]
    result = explain(run, image, "--nearest", store, "--output", out)
    assert result.exit_code == 0, result.output
    (record,) = numbers_of(out)["images"]
    assert record["map"] == f"{image.stem}-map.png"
    # By the definition: the cosine of the angle between the features.
    opened = FeatureStore(store)
    pixels = np.asarray(opened.memmap("pixels"))
    rows = pixels.reshape(len(pixels), -1).astype(float)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    paths = opened.paths.tolist()
    cosines = rows @ rows[paths.index(evaluation.paths[place])]
    # An image that was held out was not trained on.
    trained = [number for number, path in enumerate(paths) if path not in evaluation.paths]
    nearest = sorted(trained, key=lambda number: -cosines[number])[:3]
    assert [near["path"] for near in record["nearest"]] == [paths[number] for number in nearest]
    assert {near["label"] for near in record["nearest"]} == {"right"}
    similarities = [near["similarity"] for near in record["nearest"]]
    np.testing.assert_allclose(similarities, cosines[nearest], atol=1e-6)

    other = tmp_path / "other.h5"
    chosen = Settings(layers=("pixels",), backbone="pixels-16")
    extract_features(read_manifest(scans), other, chosen)
    result = explain(run, image, "--nearest", other, "--output", out)
    assert result.exit_code == 2
    assert result.stderr.endswith(
        f"{other}: no model was fitted on this store; give the store of a model, or leave the "
        "option out\n"
    )


def test_the_map_of_one_image_does_not_replace_another_image(
    models: dict[str, Path], scans: Path, tmp_path: Path
) -> None:
    for name in ("a-map.png", "a.png"):
        (tmp_path / name).write_bytes((scans / "left" / "00.png").read_bytes())
    out = tmp_path / "out"
    explain(models["logreg"], tmp_path / "a-map.png", tmp_path / "a.png", "--output", out)
    first, second = numbers_of(out)["images"]
    names = [record[key] for record in (first, second) for key in ("picture", "map")]
    assert len({*names}) == len([*out.glob("*.png")]) == 4


def test_the_command_replaces_its_own_files_only(
    models: dict[str, Path], scans: Path, tmp_path: Path
) -> None:
    image = scans / "left" / "00.png"
    out = tmp_path / "out"
    for _ in range(2):
        assert explain(models["logreg"], image, "--output", out).exit_code == 0
    for name in ("00.png", "explanations.json", "explanations.npz"):
        foreign = tmp_path / name.replace(".", "-")
        foreign.mkdir()
        (foreign / name).write_bytes(b"somebody else's")
        result = explain(models["logreg"], image, "--output", foreign)
        assert result.exit_code == 2
        assert "was not written by freezeframe explain" in result.stderr
        assert (foreign / name).read_bytes() == b"somebody else's"
    result = explain(models["logreg"], scans, "--output", scans / "out")
    assert result.exit_code == 2
    assert "is inside" in result.stderr


def test_a_full_disk_is_one_line(
    models: dict[str, Path], scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "/out/.00.png-1f.new")

    monkeypatch.setattr("freezeframe.data.output.reports.write_whole", full)
    result = explain(models["logreg"], scans / "left" / "00.png", "--output", tmp_path / "out")
    assert result.exit_code == 1
    assert result.stderr == (
        f"error: --output {tmp_path / 'out'}: 00.png cannot be written (No space left on device); "
        "choose another folder\n"
    )


def test_explanations_have_the_doubts_that_predictions_have(
    models: dict[str, Path], scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FittedHead, "familiarity", lambda *_: Familiarity(99.5))
    out = tmp_path / "out"
    result = explain(models["logreg"].parent, scans / "left" / "00.png", "--output", out)
    assert result.exit_code == 0, result.output
    assert "00.png: the model was trained on a copy of this image" in result.stdout
    assert "1 of 1 images is unlike the training images" in result.stdout
    (image,) = json.loads((out / "explanations.json").read_text())["images"]
    assert (image["known"]["level"], image["familiar"]) == ("bytes", False)
    with Predictor(models["logreg"]) as predictor:
        (explanation,) = predictor.explain([scans / "left" / "00.png"])
        (prediction,) = predictor.predict([scans / "left" / "00.png"])
    assert explanation.training_copy == prediction.training_copy
    assert explanation.familiarity == prediction.familiarity


def test_long_texts_stay_inside_the_picture() -> None:
    field = ReceptiveField(212, 32, -90, (224, 224))
    cells = np.zeros((7, 7))
    explanation = Explanation(
        "a.png",
        contributions=cells,
        scale=1.0,
        layer="block5_pool",
        receptive_field=field,
        size=(427, 640),
        picture=np.zeros((427, 640, 3), np.uint8),
        training_copy=TrainingCopy("near", "folder/" * 30 + "a.png", "lesion"),
    )
    with Image.open(io.BytesIO(explanation.overlay())) as picture:
        pixels = np.asarray(picture.convert("L"))
    # Nothing touches the edges; text that is too wide is cut off there.
    assert (pixels[:, :3] == 255).all()
    assert (pixels[:, -3:] == 255).all()


def test_what_a_cell_sees_is_a_share_of_every_image() -> None:
    seen = ReceptiveField(212, 32, -90, (224, 448))
    sizes = ((3, 9), (9, 9))
    texts = {Explanation("", receptive_field=seen, size=size).field_text for size in sizes}
    (text,) = texts
    assert text.endswith("input: 95 % of an image's height, 47 % of its width.")


def test_a_report_keeps_no_pictures(
    models: dict[str, Path], scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of 5,000 images would take 4 GB."""
    monkeypatch.setattr(Explanation, "overlay", lambda _: b"")
    monkeypatch.setattr(Explanation, "map_picture", lambda _: b"")
    report = ExplanationReport(tmp_path / "out")
    with Predictor(models["logreg"]) as predictor:
        (explanation,) = predictor.explain([scans / "left" / "00.png"])
    arrays = [weakref.ref(explanation.picture), weakref.ref(explanation.features)]
    report.add(explanation)
    assert all(array() is not None for array in arrays)
    del explanation
    assert all(array() is None for array in arrays)


def test_hostile_names_reach_neither_the_terminal_nor_other_folders(
    models: dict[str, Path], scans: Path, tmp_path: Path
) -> None:
    odd = tmp_path / "a\x1b[31m$x_1 ..png"
    odd.write_bytes((scans / "left" / "00.png").read_bytes())
    result = explain(models["extra-trees"], odd, "--output", tmp_path / "out")
    assert result.exit_code == 0
    assert "\x1b" not in result.output
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names[:2] == ["a_31m_x_1-map.png", "a_31m_x_1.png"]
    assert names[2:] == ["explanations.json", "explanations.npz"]
    numbers = json.loads((tmp_path / "out" / "explanations.json").read_text())
    assert numbers["images"][0]["path"] == str(odd)
    assert numbers["method"] == "occlusion"


# The check.


def test_a_mask_is_measured_by_cells() -> None:
    """A map that is right, on a head that adds up a corner, against one that is wrong."""
    maps = np.zeros((1, 4, 4, 1), np.float32)
    maps[0, :2, :2] = 3
    head = make_head("logreg")
    assert isinstance(head, LinearHead)
    head.set_solution(np.ones((1, 16)), np.zeros(1))
    mean = np.ones((4, 4, 1), np.float32)
    context = MapContext(head, "flat", maps[0], mean, 1)
    right = explain_map(head, "block5_pool", "flat", maps[0], mean, 1)
    mask = np.zeros((8, 8), bool)
    # Three of the four bright cells, and a quarter of the last.
    mask[:4, :3] = True
    measured = measure_map(context, right, mask, np.random.default_rng(0))
    assert measured.error < 1e-6
    assert measured.distance == pytest.approx(4)
    # A tenth of 16 cells is two, and each of them has 3 - 1.
    assert measured.top == pytest.approx(4)
    assert measured.random < measured.top
    assert measured.centre == pytest.approx(2 - 1)
    assert measured.inside == pytest.approx(0.75)
    assert measured.area == pytest.approx(12 / 64)
    assert (measured.hit, measured.hit_area) == (1, 4 / 16)
    wrong = replace(right, cells=-right.cells)
    assert measure_map(context, wrong, mask, np.random.default_rng(0)).inside == 0


def test_shuffled_labels_say_nothing() -> None:
    y = np.arange(60) % 3
    of_images = shuffled_labels(y, np.arange(60), seed=0)
    assert sorted(of_images) == sorted(y)
    assert 5 < np.sum(of_images == y) < 35
    # All images of a patient have one label, or several.
    groups = np.repeat(np.arange(20), 3)
    of_groups = shuffled_labels(np.repeat(np.arange(20) % 2, 3), groups, seed=0)
    assert all(len(set(of_groups[groups == group])) == 1 for group in range(20))
    within = shuffled_labels(y, groups, seed=0)
    assert all(sorted(within[groups == group]) == [0, 1, 2] for group in range(20))
    assert (within != y).any()


@pytest.fixture(scope="module")
def masks(scans: Path) -> Path:
    """Masks of the squares, beside the images of one class."""
    folder = scans.parent / "masks"
    (folder / "right").mkdir(parents=True)
    for path in (scans / "right").glob("*.png"):
        mask = np.zeros((16, 16), np.uint8)
        mask[5:9, 10:14] = 255
        Image.fromarray(mask).resize((20, 16)).save(folder / "right" / path.name)
    return folder


def test_the_check_measures_maps_of_a_folder_with_masks(
    models: dict[str, Path], scans: Path, masks: Path
) -> None:
    result = explain(models["logreg"], "--check", scans, "--masks", masks)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith("logreg, pixels flat: refitted on 5 folds of 24 images in 24 groups")
    # A share of right images has a grade, as any score.
    assert lines[1] == "grade: pictures parted"
    assert "pictures parted: no copy or near-duplicate is in both" in result.stderr
    cells = {line[:40].strip(): re.findall(r"-?\d[\d.e-]*", line[46:]) for line in lines[3:]}
    numbers = {name: [float(value) for value in values] for name, values in cells.items()}
    # The head is right about images that it was not fitted on, and its maps are of the square.
    accuracy = numbers["images whose class is predicted"]
    assert accuracy[0] == 100 > accuracy[-3]
    assert numbers["error of the sum, logit"][0] < 1e-5
    top = numbers["... top minus random"]
    assert top[1] > 0
    inside = numbers["... evidence minus covered share"]
    # A quarter of the evidence may be that the other side is dark.
    assert inside[1] > 10
    assert lines[-1] == "12 images with a mask"


def test_the_check_takes_the_chosen_slices_of_volumes(
    models: dict[str, Path], tmp_path: Path
) -> None:
    nib = pytest.importorskip("nibabel")
    rng = np.random.default_rng(0)
    for folder in ("volumes", "masks"):
        (tmp_path / folder).mkdir()
    for number in range(10):
        voxels = rng.integers(0, 60, (20, 6, 16)).astype(np.uint8)
        mask = np.zeros_like(voxels)
        # Two coronal slices in the middle: one shows a square.
        mask[4:9, 2 + number % 2, 4:9] = 1
        for folder, array in (("volumes", voxels + 150 * mask), ("masks", mask)):
            nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / folder / f"{number}.nii.gz")
    result = explain(
        *(models["logreg"], "--check", tmp_path / "volumes", "--axis", "coronal"),
        *("--slices", "middle:2", "--label-from-mask", tmp_path / "masks"),
        *("--masks", tmp_path / "masks"),
    )
    assert result.exit_code == 0, result.stderr
    assert "refitted on 5 folds of 20 images in 10 groups" in result.stdout
    assert result.stdout.splitlines()[-1] == "20 images with a mask"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--masks", "."], "--masks: has no effect without --check"),
        (["a.png", "--label-from-mask", "m"], "--label-from-mask: has no effect without --check"),
        (["--check", "{store}", "--slices", "content"], "--slices: has no effect on stores"),
        ([], "no image is named; name images"),
        (["a.png", "--check", "."], "images: no effect with --check"),
        (["--check", ".", "--nearest", "a.h5"], "--nearest: no effect with --check"),
        (["--check", ".", "--output", "out"], "--output: no effect with --check"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    models: dict[str, Path], scans: Path, arguments: list[str], message: str
) -> None:
    store = scans.parent / "a.h5"
    result = explain(models["logreg"], *(text.format(store=store) for text in arguments))
    assert result.exit_code == 2
    assert message in result.stderr


def test_masks_of_other_images_are_refused(
    models: dict[str, Path], scans: Path, tmp_path: Path
) -> None:
    result = explain(models["logreg"], "--check", scans.parent / "a.h5", "--masks", tmp_path)
    assert result.exit_code == 2
    assert "no file in it is named as an image" in result.stderr


# Networks of fit-cnn.


def fit_network(scans: Path, place: Path, *options: object) -> Path:
    """Fit a network on the images by `fit-cnn`, and return the folder of its run."""
    leaderboard = place / "leaderboard.csv"
    arguments = ["fit-cnn", scans, *options, "--epochs", 1, "--leaderboard", leaderboard]
    result = CliRunner().invoke(cli, [*map(str, arguments)])
    assert result.exit_code == 0, result.output
    (run,) = (place / "runs").glob("*-*")
    return run


def numbers_of(out: Path) -> dict[str, Any]:
    numbers: dict[str, Any] = json.loads((out / "explanations.json").read_text())
    return numbers


def test_a_network_on_pixels_is_explained_from_its_run_and_not_checked(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = fit_network(scans, tmp_path, "--arch", "simple", "--size", 24)
    image = scans / "right" / "00.png"
    result = explain(run, image, "--output", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "pixels: A cell sees up to 3 x 3 of the 24 x 24 pixels" in result.stderr
    numbers = numbers_of(tmp_path / "out")
    assert (numbers["method"], numbers["scale_images"]) == ("occlusion", 8)
    contributions = np.load(tmp_path / "out" / "explanations.npz")["contributions"]
    assert contributions.shape == (1, 8, 8)
    # The second patch of the first row holds columns 3 to 5 of rows 0 to 2.
    model = load_model(run / "model.safetensors")
    assert model.background is not None
    with Predictor(run) as predictor:
        (features,) = (one.features for one in predictor.predict([image]))
    assert features is not None
    changed = features.reshape(24, 24, 3).copy()
    changed[:3, 3:6] = model.background.mean[:3, 3:6]
    both = np.stack([features, changed.ravel()])
    number = model.classes.index(numbers["images"][0]["class"])
    whole, without = head_logits(model.head, both, number)
    assert contributions[0, 0, 1] == pytest.approx(whole - without, abs=1e-5)
    # Refused before an image is read: the folder of images is empty.
    (tmp_path / "empty").mkdir()
    result = explain(run, "--check", tmp_path / "empty")
    assert result.exit_code == 2
    assert result.stderr == (
        "error: --check: fits the head 7 times, and cnn-simple trains for hours each time; give "
        "the model of a head for any layer, as logreg or dense-128\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "method", "shape", "sees"),
    [
        (["--trainable", "blocks=5"], "gradient", (14, 14), "100 x 100 of the 224 x 224"),
        (["--trainable", "all", "--size", 40], "occlusion", (10, 10), "4 x 4 of the 40 x 40"),
    ],
)
def test_fine_tuned_networks_are_explained_from_their_run(
    scans: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[object],
    method: str,
    shape: tuple[int, int],
    sees: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    run = fit_network(scans, tmp_path, "--arch", "vgg16", "--weights", "random", *options)
    result = explain(run, scans / "right" / "00.png", "--output", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert f"A cell sees up to {sees} pixels" in result.stderr
    numbers = numbers_of(tmp_path / "out")
    (image,) = numbers["images"]
    contributions = np.load(tmp_path / "out" / "explanations.npz")["contributions"]
    assert (numbers["method"], contributions.shape) == (method, (1, *shape))
    assert np.abs(contributions).max() > 0
    if method == "gradient":
        # Sixteen steps on the way from the mean: nearly the logit.
        assert image["completeness_error"] < 0.05 * abs(image["logit"] - image["base"]) + 1e-3
