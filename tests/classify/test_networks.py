"""Networks equal the article's and VGG16, layer by layer, on pixels and on cached features."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from PIL import Image

from freezeframe import FeatureStore, ParameterError
from freezeframe.classify.fit.fitting import fit_classifier
from freezeframe.classify.fit.search import FitOptions
from freezeframe.classify.heads.architectures import ARCHITECTURES, find_architecture
from freezeframe.classify.heads.networks import batches, convolutional, finetuned
from freezeframe.classify.heads.networks.context import TrainingContext
from freezeframe.classify.heads.networks.convolutional import (
    Convolutional,
    EarlyBlocks,
    SimpleCNN,
)
from freezeframe.classify.heads.networks.finetuned import (
    FineTuned,
    FineTunedAll,
    FineTunedBlock2,
    FineTunedBlock3,
    FineTunedBlock4,
    FineTunedBlock5,
)
from freezeframe.classify.heads.networks.layers import Conv, Dense, Dropout, Pool, build, tensors
from freezeframe.classify.heads.networks.network import import_keras
from freezeframe.classify.heads.table import make_head
from freezeframe.classify.prediction.predictor import Predictor
from freezeframe.classify.runs.model_file import load_model
from freezeframe.classify.task.task import make_task
from freezeframe.data.manifest import read_manifest
from freezeframe.extract.backbones.table import BACKBONES
from freezeframe.extract.extraction import extract_features
from freezeframe.extract.settings import Settings

from ..conftest import MakeStore, small_backbone
from .small_networks import folds_of, new, pictures, untrained_model, weights_of

SETTINGS = {
    "Conv2D": (
        "filters",
        "kernel_size",
        "strides",
        "padding",
        "dilation_rate",
        "groups",
        "activation",
        "use_bias",
    ),
    "MaxPooling2D": ("pool_size", "strides", "padding"),
    "Dropout": ("rate", "noise_shape"),
    "Flatten": (),
    "Dense": ("units", "activation", "use_bias"),
}


def layer_settings(model: Any, *, flatten: bool = True) -> list[tuple[Any, ...]]:
    """Return kind, settings and start of each layer, without the activation of the outputs."""
    settings = []
    for layer in model.layers:
        kind = type(layer).__name__
        config = layer.get_config()
        names = SETTINGS[kind][: None if layer is not model.layers[-1] else 1]
        start = [
            config.get(f"{part}_initializer", {}).get("class_name") for part in ("kernel", "bias")
        ]
        channels = config.get("data_format") if kind != "Dense" else None
        if flatten or kind != "Flatten":
            settings.append(
                (
                    kind,
                    {name: config[name] for name in names},
                    start,
                    channels,
                    layer.count_params(),
                )
            )
    return settings


def article_model(arch: str) -> Any:
    """Return one of the article's models, built from its description."""
    keras = import_keras("a test")
    layers = keras.layers
    he = "he_uniform"
    if arch.startswith("vgg16"):
        block5 = [layers.Dense(128, "relu", kernel_initializer=he)]
        block3 = [
            layers.Dense(128, "relu", kernel_initializer=he),
            layers.Dropout(0.3),
            layers.Dense(64, "relu", kernel_initializer=he),
            layers.Dense(32, "relu", kernel_initializer=he),
        ]
        shape, hidden = ((7, 7, 512), block5) if arch == "vgg16-block5" else ((28, 28, 256), block3)
        model_layers = [keras.Input(shape), layers.Flatten(), *hidden]
    else:
        model_layers = [keras.Input((250, 250, 3))]
        for filters, rate in ((32, 0.2), (64, 0.3), (128, 0.3)):
            model_layers.append(
                layers.Conv2D(
                    filters, (3, 3), padding="same", activation="relu", kernel_initializer=he
                )
            )
            model_layers.append(layers.MaxPooling2D((2, 2)))
            model_layers += [layers.Dropout(rate)] if arch != "simple" else []
        model_layers += [layers.Flatten(), layers.Dense(128, "relu", kernel_initializer=he)]
    # All layers of the last model start alike, its outputs too.
    start = he if arch == "vgg16-block3" else "glorot_uniform"
    return keras.Sequential([*model_layers, layers.Dense(1, "sigmoid", kernel_initializer=start)])


@pytest.mark.parametrize("arch", ["simple", "dropout", "augmented", "vgg16-block5", "vgg16-block3"])
def test_architectures_equal_the_article_s_models(
    arch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convolutional, "IMAGES_AT_ONCE", 2)
    keras = import_keras("a test")
    expected = article_model(arch)
    architecture = find_architecture(arch)
    shape = architecture.backbone.layers[architecture.layer]
    context = TrainingContext(shape)
    head = make_head(architecture.head, context=context, **architecture.parameters)
    model = untrained_model(head, shape)
    on_features = arch.startswith("vgg16")
    # Cached features are flat already.
    assert layer_settings(model) == layer_settings(expected, flatten=not on_features)
    assert model.count_params() == expected.count_params()
    assert (
        model.optimizer.get_config() | {"name": ""}
        == keras.optimizers.Adam(1e-3, name="").get_config()
    )
    assert (
        head.parameters["augment"] == (arch == "augmented")
        if not on_features
        else head.parameters["scale"] == 0
    )
    for kernel, bias in zip(model.get_weights()[::2], model.get_weights()[1::2], strict=True):
        glorot = len(bias) == 1 and arch != "vgg16-block3"
        limit = np.sqrt(6 / (np.prod(kernel.shape[:-1]) + glorot)) * (1 + 1e-6)
        assert np.abs(kernel).max() <= limit
        assert kernel.std() == pytest.approx(limit / np.sqrt(3), rel=0.2)
        assert not bias.any()

    expected.set_weights(model.get_weights())
    expected.compile(loss="binary_crossentropy")
    X = np.random.default_rng(0).integers(0, 256, (2, *shape)).astype(np.float32)
    proba = expected.predict_on_batch(X if on_features else X / 255)
    head.set_weights(model.get_weights())
    np.testing.assert_allclose(head.predict_proba(X.reshape(2, -1))[:, 1:], proba, atol=1e-5)
    targets = np.array([[1.0], [0.0]])
    logits = np.array([[2.0], [-0.5]])
    expected_loss = float(keras.losses.BinaryCrossentropy()(targets, 1 / (1 + np.exp(-logits))))
    assert float(model.loss(targets, logits)) == pytest.approx(expected_loss, rel=1e-5)


@pytest.fixture(scope="module")
def vgg16() -> Any:
    """Return Keras's VGG16 for images of 32 x 32, with random weights."""
    keras = import_keras("a test")
    weights = weights_of(0)
    network = keras.applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3))
    for layer in network.layers:
        if layer.weights:
            layer.set_weights([weights[f"{layer.name}/kernel"], weights[f"{layer.name}/bias"]])
    return network


def test_one_image_takes_a_pass_of_one_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """Predictions are computed one by one; a pass that is padded to 32 would take far longer."""
    head = new(SimpleCNN, epochs=1)
    X, y = pictures()
    head.fit(X, y, 2, folds=folds_of(y))
    together = head.scores(X)
    sizes = []
    predict = head._model.predict_on_batch
    monkeypatch.setattr(
        head._model, "predict_on_batch", lambda rows: (sizes.append(len(rows)), predict(rows))[1]
    )
    np.testing.assert_allclose(head.scores(X[:1]), together[:1], rtol=1e-5)
    assert sizes == [1]
    head.scores(X[:33])
    assert sizes == [1, 32, 32]


@pytest.mark.parametrize(
    ("kind", "below"),
    [
        (FineTunedBlock5, "block4_pool"),
        (FineTunedBlock4, "block3_pool"),
        (FineTunedBlock3, "block2_pool"),
        (FineTunedBlock2, "block1_pool"),
        (FineTunedAll, ""),
    ],
)
def test_fine_tuned_heads_start_as_vgg16(
    kind: type[FineTuned], below: str, vgg16: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    keras = import_keras("a test")
    monkeypatch.setattr(finetuned, "load_weights", lambda *_: (weights_of(0), "a test"))
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.float32)
    prepared = keras.applications.vgg16.preprocess_input(pixels.copy())
    cut = keras.Model(vgg16.input, vgg16.get_layer(below).output) if below else None
    features = cut.predict_on_batch(prepared) if cut else pixels
    shape = features.shape[1:]
    head = new(kind, shape)
    model = untrained_model(head, shape)
    for layer in model.layers:
        if layer.name.startswith("block") and layer.weights:
            expected_weights = vgg16.get_layer(layer.name).get_weights()
            for array, expected in zip(layer.get_weights(), expected_weights, strict=True):
                np.testing.assert_array_equal(array, expected)
    weights = model.get_weights()
    hidden = np.maximum(
        vgg16.predict_on_batch(prepared).reshape(3, -1) @ weights[-4] + weights[-3], 0
    )
    expected = hidden @ weights[-2] + weights[-1]
    head.set_weights(weights)
    scores = head.scores_of(features.reshape(3, -1))
    tolerance = 1e-4 * np.abs(expected).max()
    np.testing.assert_allclose(scores[:, 1:], expected, rtol=1e-3, atol=tolerance)
    assert head.layers == (below or "pixels",)
    assert sorted(head.arrays) == sorted([*tensors(head.hidden_layers(), shape, 1), "shape"])
    assert head.parameters["learning_rate"] == 1e-5


def test_all_of_vgg16_can_start_from_random_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finetuned, "load_weights", lambda *_: pytest.fail("weights were loaded"))
    head = new(FineTunedAll, (32, 32, 3), weights="random")
    first = untrained_model(head, (32, 32, 3)).layers[0].get_weights()[0]
    assert np.abs(first).max() <= np.sqrt(6 / 27)
    assert first.std() == pytest.approx(np.sqrt(2 / 27), rel=0.1)


NETWORKS = st.builds(
    lambda body, dense: [*body, *map(Dense, dense)],
    st.lists(st.sampled_from([Conv, Pool(), Dropout(0.5), Dropout(0.0)]), max_size=6),
    st.lists(st.integers(1, 9), max_size=2),
)


@given(NETWORKS, st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3]))
@examples(max_examples=25)
def test_tensors_are_those_of_the_keras_model(
    table: list[Any], height: int, width: int, n_outputs: int
) -> None:
    table = [
        Conv(f"c{number}", 1 + number) if layer is Conv else layer
        for number, layer in enumerate(table)
    ]
    pools = table.count(Pool())
    if min(height, width) >> pools == 0:
        with pytest.raises(ValueError, match="too small for so many layers"):
            tensors(table, (height, width, 2), n_outputs)
        return
    model = build(
        import_keras("a test"),
        table,
        (height, width, 2),
        n_outputs,
        "HeUniform",
        iter(range(99)),
        "float32",
    )
    shapes = tensors(table, (height, width, 2), n_outputs)
    assert [weights.shape for weights in model.get_weights()] == list(shapes.values())
    assert model.output_shape == (None, n_outputs)
    assert list(shapes)[-2:] == ["outputs/kernel", "outputs/bias"]


@pytest.mark.parametrize("kind", [SimpleCNN, EarlyBlocks, FineTunedBlock5, FineTunedAll])
def test_pooled_or_too_small_features_are_refused(kind: type[Convolutional]) -> None:
    y = np.arange(20) % 2
    # Features pooled to 512 numbers, and features without a shape.
    for head in (new(kind, (2, 2, 512)), kind()):
        with pytest.raises(
            ParameterError,
            match=f"{kind.name}: needs features of each position; choose the pooling flat",
        ):
            head.fit(np.ones((20, 512), np.float32), y, 2)
    with pytest.raises(
        ParameterError, match=rf"{kind.name}: \(1, 9, 4\) is too small for its layers"
    ):
        new(kind, (1, 9, 4)).fit(np.ones((20, 36), np.float32), y, 2)


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("cnn-simple", {"augment": 2}, "augment must lie between 0 and 1"),
        ("cnn-simple", {"class_weights": -1}, "class_weights must lie between"),
        (
            "cnn-simple",
            {"precision": "int8"},
            "precision must be float32 or bfloat16 or float16, got 'int8'",
        ),
        ("cnn-simple", {"dropout": 0.5}, "cnn-simple has no parameter 'dropout'; it has epochs"),
        ("early-blocks", {"dropout": 1.0}, "dropout must lie between"),
        ("finetune-all", {"weights": "mine"}, "weights must be imagenet or random, got 'mine'"),
        ("finetune-block5", {"augment": 1}, "has no parameter 'augment'"),
    ],
)
def test_impossible_parameters_are_refused(
    name: str, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(ParameterError, match=message):
        make_head(name, **parameters)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "lenet"}, "arch must be one of simple, dropout, "),
        (
            {"name": "simple", "trainable": "all"},
            "trainable is for the arch vgg16, but simple is trained as in the article; leave",
        ),
        (
            {"name": "simple", "weights": "random"},
            "weights are for VGG16, but simple starts with random ones; leave them out",
        ),
        (
            {"name": "vgg16", "trainable": "all", "weights": "w.h5"},
            r"weights must be imagenet or random where all .* got 'w\.h5'",
        ),
        (
            {"name": "vgg16-block5", "size": 64},
            "size is for networks on pixels, but block5_pool needs images of 224 x 224; leave it",
        ),
        (
            {"name": "vgg16", "trainable": "blocks=5", "size": 64},
            "size is for networks on pixels, but block4_pool needs",
        ),
        ({"name": "simple", "size": 0}, "size must lie between 1 and 1024, got 0"),
        *(
            (
                {"name": "vgg16", "trainable": wrong},
                r"trainable must be all, or the last blocks \(blocks=4,5 for example\), got",
            )
            for wrong in (
                "blocks=3,5",
                "blocks=1",
                "blocks=4",
                "blocks=6",
                "blocks=",
                "blocks",
                "5",
                "",
                "blocks=5\n",
            )
        ),
    ],
)
def test_impossible_architectures_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        _ = find_architecture(**arguments).backbone


def test_trainable_and_size_choose_head_and_layer() -> None:
    assert list(ARCHITECTURES) == [
        "simple",
        "dropout",
        "augmented",
        "vgg16-block5",
        "vgg16-block3",
        "vgg16",
    ]
    for trainable, head, layer in (
        ("blocks=5", "finetune-block5", "block4_pool"),
        ("blocks=5,4", "finetune-block4", "block3_pool"),
        ("blocks=2,3,4,5", "finetune-block2", "block1_pool"),
        ("blocks=1,2,3,4,5", "finetune-all", "pixels"),
        ("all", "finetune-all", "pixels"),
        (None, "finetune-block5", "block4_pool"),
    ):
        architecture = find_architecture("vgg16", trainable=trainable)
        assert (architecture.head, architecture.layer) == (head, layer)
        assert architecture.backbone.name == ("pixels-224" if layer == "pixels" else "vgg16")
    assert find_architecture("dropout", size=64).backbone.input_size == (64, 64)
    assert find_architecture("augmented").backbone.input_size == (250, 250)


N_TRAINED, N_JUDGED, BATCH, RATE, EPOCHS = 4, 2, 2, 1e-5, 2


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FeatureStore:
    """Return block4_pool of 8 images, from random weights; 4 train, 2 validate, 2 test."""
    # An input of 224 x 224 pixels would take 12 times as long.
    monkeypatch.setitem(BACKBONES, "vgg16", small_backbone(64))
    root = tmp_path / "cached"
    root.mkdir()
    rng = np.random.default_rng(0)
    lines = []
    for number in range(N_TRAINED + N_JUDGED + 2):
        # Near the colour that preprocessing subtracts: without biases, outputs are as small as
        # inputs.
        picture = rng.integers(-8, 9, (7, 7, 3)) + np.array([124 + 8 * (number % 2), 117, 104])
        Image.fromarray(picture.astype(np.uint8)).resize((64, 64)).save(root / f"{number:02}.png")
        split = (
            "train"
            if number < N_TRAINED
            else "validation"
            if number < N_TRAINED + N_JUDGED
            else "test"
        )
        lines.append([f"{number:02}.png", "ab"[number % 2], split])
    with (root / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "label", "split"], *lines])
    settings = Settings(layers=("block4_pool",), weights="random", engine="keras", batch_size=BATCH)
    return extract_features(read_manifest(root / "list.csv"), root / "f.h5", settings).store


@pytest.mark.slow
def test_block5_on_cached_features_trains_as_the_network_with_the_rest_frozen(
    cached: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MIN_BATCHES", N_TRAINED // BATCH)
    parameters = {"epochs": EPOCHS, "batch_size": BATCH, "learning_rate": RATE}
    task = make_task(cached)
    assert (len(task.train.rows), int(task.validation.sum())) == (N_TRAINED + N_JUDGED, N_JUDGED)
    run = fit_classifier(
        task, "finetune-block5", FitOptions("none", parameters), leaderboard=tmp_path / "l.csv"
    )
    history = [
        {k: float(v) for k, v in row.items()}
        for row in csv.DictReader((run.folder / "history.csv").open())
    ]

    keras = import_keras("a test")
    weights = weights_of(0)
    network = keras.applications.VGG16(include_top=False, weights=None, input_shape=(64, 64, 3))
    for layer in network.layers:
        layer.trainable = layer.name.startswith("block5")
        if layer.weights:
            layer.set_weights([weights[f"{layer.name}/kernel"], weights[f"{layer.name}/bias"]])
    hidden = keras.layers.Dense(128, "relu")
    outputs = keras.layers.Dense(1)
    whole = keras.Sequential([network, keras.layers.Flatten(), hidden, outputs])
    head = new(FineTunedBlock5, (4, 4, 512), **parameters)
    dense = untrained_model(head, (4, 4, 512)).get_weights()[-4:]
    hidden.set_weights(dense[:2])
    outputs.set_weights(dense[2:])
    whole.compile(
        optimizer=keras.optimizers.Adam(RATE),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
    )
    assert len(whole.trainable_variables) == 6 + 4

    root = Path(cached.provenance["source"]).parent
    pixels = np.stack([np.asarray(Image.open(root / path), np.float32) for path in cached.paths])
    images = keras.applications.vgg16.preprocess_input(pixels)
    y = (cached.labels == "b").astype(np.float32)[:, None]
    judged = np.arange(N_TRAINED, N_TRAINED + N_JUDGED)
    rng = np.random.default_rng(0)
    for row in history:
        order = rng.permutation(N_TRAINED)
        losses = []
        for start in range(0, N_TRAINED, BATCH):
            rows = np.sort(order[start : start + BATCH])
            losses.append(float(whole.train_on_batch(images[rows], y[rows])))
            whole.reset_metrics()
        logits = whole.predict_on_batch(images[judged]).astype(float)
        validation = np.logaddexp(0, np.where(y[judged] == 1, -logits, logits)).mean()
        assert row["loss"] == pytest.approx(np.mean(losses), rel=1e-3)
        assert row["validation_loss"] == pytest.approx(validation, rel=1e-3, abs=1e-6)
    assert abs(history[1]["loss"] - history[0]["loss"]) > 0.1 * history[0]["loss"]
    assert 0.01 < history[1]["validation_loss"] < 10

    lines = list(csv.DictReader((run.folder / "predictions.csv").open()))
    model = load_model(run.folder / "model.safetensors")
    predicted = Predictor(model).predict([root / line["path"] for line in lines])
    for line, prediction in zip(lines, predicted, strict=True):
        assert prediction.label == line["predicted"]
        assert prediction.probabilities["b"] == pytest.approx(float(line["p_b"]), abs=1e-5)


def test_a_network_for_certain_layers_refuses_other_layers(
    make_store: MakeStore, tmp_path: Path
) -> None:
    store = FeatureStore(make_store("f.h5", ["a", "b"] * 10))
    for name, layers in (
        ("early-blocks", "block2_pool or block3_pool"),
        ("finetune-block5", "block4_pool"),
        ("cnn-simple", "pixels"),
    ):
        with pytest.raises(
            ParameterError,
            match=f"{name}: needs features of {layers}, but the layer is block5_pool",
        ):
            fit_classifier(make_task(store), name, leaderboard=tmp_path / "l.csv")
    pooled = make_task(store, layer="block3_pool", pooling="avg")
    with pytest.raises(
        ParameterError,
        match="finetune-block4: needs features of each position; choose the pooling flat",
    ):
        fit_classifier(pooled, "finetune-block4", leaderboard=tmp_path / "l.csv")
    assert not (tmp_path / "runs").exists()
