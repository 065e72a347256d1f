"""Compare fine-tuning on cached features with fine-tuning the whole network, first blocks frozen.

usage: python scripts/checks/finetune_check.py FOLDER [--images 64] [--epochs 3] [--batch-size 32]
       [--seed 0]

Trains the head finetune-block5 on block4_pool of some real images, and all of VGG16 with blocks 1
to 4 frozen, from the same weights on the same batches. Prints the losses and the seconds of each
epoch (training steps only), and the seconds of extraction: by the engine that extract-features
chooses here, and by keras. The whole network computes the same features as keras: with them the
losses of each epoch must agree to 1 %, else the exit code is 1. Single batches with a loss near 0
may differ more, because TensorFlow does not train the whole network bit for bit reproducibly.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freezeframe import FeatureStore
from freezeframe.classify.heads.networks.context import TrainingContext
from freezeframe.classify.heads.networks.finetuned import FineTunedBlock5
from freezeframe.classify.heads.networks.training import Training
from freezeframe.data.manifest import read_manifest
from freezeframe.extract.backbones.weights import load_weights, reload_weights
from freezeframe.extract.engines.keras import import_keras
from freezeframe.extract.extraction import extract_features
from freezeframe.extract.pipeline import ImageSource, load_image
from freezeframe.extract.settings import Settings

LAYER = "block4_pool"
SIZE = (224, 224)
TRAINED = "block5"
TOLERANCE = 0.01
"""Largest relative difference of the mean loss of an epoch, on the same features."""

Batches = list[tuple[list[int], float, float]]
"""The rows, the loss and the seconds of each batch."""


class Watched(FineTunedBlock5):
    """The head, with a record of the rows of its batches."""

    def __init__(self, *, context: TrainingContext, **parameters: Any) -> None:
        super().__init__(context=context, **parameters)
        self.batches: list[list[int]] = []

    def training_inputs(
        self, features: NDArray[np.float32], draws: Sequence[tuple[int, int, int]]
    ) -> NDArray[np.float32]:
        self.batches.append([row for _, _, row in draws])
        return super().training_inputs(features, draws)


def write_list(folder: Path, most: int, place: Path) -> Path:
    """Write a list of images, as many of each class, from all over the folder."""
    manifest = read_manifest(folder)
    listed = place / "images.csv"
    with listed.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label"])
        for label in manifest.classes:
            images = [image for image in manifest.images if image.label == label]
            count = min(most // len(manifest.classes), len(images))
            numbers = np.linspace(0, len(images) - 1, count).astype(int)
            paths = [(manifest.root / images[number].path).resolve() for number in numbers]
            writer.writerows([path, label] for path in paths)
    return listed


def timed_steps(model: Any, losses: list[tuple[float, float]]) -> None:
    """Make a Keras model note the loss and the seconds of each batch that it is trained on."""
    plain = model.train_on_batch

    def train(*batch: Any) -> float:
        start = time.perf_counter()
        loss = float(plain(*batch))
        losses.append((loss, time.perf_counter() - start))
        return loss

    model.train_on_batch = train


def train_cached(
    store: FeatureStore, parameters: dict[str, Any], seed: int
) -> tuple[Batches, list[Any]]:
    """Train the head as fit-classifier does; return its batches and its first weights."""
    rows = store.rows()
    X = store.select(LAYER, rows, pooling="flat")
    y = np.unique(store.labels[rows], return_inverse=True)[1]
    context = TrainingContext(store.layers[LAYER], partial(reload_weights, store.provenance))
    head = Watched(context=context, **parameters)
    head.prepare(X)
    head.n_features = int(X.shape[1])
    training = Training(head, X, y, 2, seed, np.arange(len(y)), np.arange(0))
    started = training.model.get_weights()
    losses: list[tuple[float, float]] = []
    timed_steps(training.model, losses)
    training.run()
    batches = [(batch, *step) for batch, step in zip(head.batches, losses, strict=True)]
    return batches, started


def train_whole(
    store: FeatureStore, root: Path, batches: Batches, started: list[Any], rate: float
) -> Batches:
    """Train all of VGG16 behind its fourth block on the same batches, from the same weights."""
    keras = import_keras()
    network = keras.applications.VGG16(include_top=False, weights=None, input_shape=(*SIZE, 3))
    weights = load_weights()[0]
    for layer in network.layers:
        if layer.weights:
            layer.set_weights([weights[f"{layer.name}/kernel"], weights[f"{layer.name}/bias"]])
        layer.trainable = layer.name.startswith(TRAINED)
    layers = keras.layers
    model = keras.Sequential(
        [network, layers.Flatten(), layers.Dense(128, "relu"), layers.Dense(1)]
    )
    dense = started[-4:]
    for layer, arrays in zip(model.layers[-2:], (dense[:2], dense[2:]), strict=True):
        layer.set_weights(arrays)
    model.compile(
        optimizer=keras.optimizers.Adam(rate),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        jit_compile=keras.backend.backend() == "jax",
    )
    rows = store.rows()
    y = np.unique(store.labels[rows], return_inverse=True)[1].astype(np.float32)[:, None]
    images = [
        load_image(ImageSource(0, root / path), SIZE, "bilinear").pixels
        for path in store.paths[rows]
    ]
    pixels = keras.applications.vgg16.preprocess_input(np.stack(images).astype(np.float32))
    losses: list[tuple[float, float]] = []
    timed_steps(model, losses)
    for batch, *_ in batches:
        model.reset_metrics()
        model.train_on_batch(pixels[batch], y[batch])
    return [(batch, *step) for (batch, *_), step in zip(batches, losses, strict=True)]


def show(whole: Batches, cached: Batches, epochs: int) -> None:
    """Print the losses and seconds of each epoch."""
    steps = np.array([[a[1:], b[1:]] for a, b in zip(whole, cached, strict=True)])
    # Axes: epoch, batch, (whole, cached), (loss, seconds).
    by_epoch = steps.reshape(epochs, -1, 2, 2)
    print("epoch  loss whole  loss cached  seconds whole  seconds cached  ratio")
    for number, batches in enumerate(by_epoch, 1):
        whole_loss, cached_loss = batches[..., 0].mean(axis=0)
        whole_seconds, cached_seconds = batches[..., 1].sum(axis=0)
        losses = f"{whole_loss:10.5f}  {cached_loss:11.5f}"
        seconds = f"{whole_seconds:13.1f}  {cached_seconds:14.2f}"
        print(f"{number:5}  {losses}  {seconds}  {whole_seconds / cached_seconds:5.1f}")
    if epochs > 1:
        later = by_epoch[1:, ..., 1].sum(axis=(0, 1))
        times = f"{later[0] / later[1]:.1f} times as fast"
        print(f"from the second epoch on, when both networks are compiled: {times}")


def largest_difference(whole: Batches, cached: Batches) -> float:
    """Return the largest difference of a batch's losses, relative to the whole network's loss."""
    pairs = zip(whole, cached, strict=True)
    return max(abs(a - b) / max(a, 1e-12) for (_, a, _), (_, b, _) in pairs)


def main() -> None:
    """Train both and compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument(
        "--learning-rate", type=float, default=FineTunedBlock5.defaults["learning_rate"]
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rate = options.learning_rate
    parameters = {"epochs": options.epochs, "batch_size": options.batch_size, "learning_rate": rate}
    cached: dict[str, Batches] = {}
    with tempfile.TemporaryDirectory() as name:
        manifest = read_manifest(write_list(options.folder, options.images, Path(name)))
        for engine in ("auto", "keras"):
            settings = Settings(layers=(LAYER,), engine=engine).resolved()
            if settings.engine in cached:
                continue
            done = extract_features(manifest, Path(name) / f"{engine}.h5", settings)
            store = done.store
            images = f"{LAYER} of {len(store.rows())} images by {settings.engine}"
            print(f"{images}: {done.seconds:.1f} s, once", flush=True)
            cached[settings.engine], started = train_cached(store, parameters, options.seed)
        used = next(iter(cached.values()))
        exact = cached["keras"]
        n_batches = len(exact) // options.epochs
        print(
            f"{n_batches} batches of {len(exact[0][0])} images an epoch, learning rate {rate:g}",
            flush=True,
        )
        whole = train_whole(store, manifest.root, exact, started, rate)
    show(whole, used, options.epochs)
    farthest = {engine: largest_difference(whole, batches) for engine, batches in cached.items()}
    differences = ", ".join(
        f"{difference:.1e} with features by {engine}" for engine, difference in farthest.items()
    )
    print(f"largest relative difference of a batch's losses: {differences}")
    means = [
        np.reshape([loss for _, loss, _ in batches], (options.epochs, -1)).mean(axis=1)
        for batches in (whole, exact)
    ]
    sys.exit(not np.allclose(*means, rtol=TOLERANCE, atol=0))


if __name__ == "__main__":
    main()
