"""Trainings repeat with a seed, stop early, use less precision, and augment images."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freezeframe import FeatureStore, FreezeframeError
from freezeframe.classify.heads.networks import augmentation, convolutional, training
from freezeframe.classify.heads.networks.augmentation import augmented
from freezeframe.classify.heads.networks.convolutional import (
    AugmentedCNN,
    DropoutCNN,
    EarlyBlocks,
    SimpleCNN,
)
from freezeframe.classify.heads.networks.network import Network

from ..conftest import MakeStore
from .small_networks import (
    SHAPE,
    equal,
    folds_of,
    new,
    pictures,
    train,
    uninterrupted,
    untrained_model,
)

Batch = tuple[np.ndarray, ...]


def test_the_seed_alone_decides_every_bit(tmp_path: Path) -> None:
    """The program's random numbers neither matter nor change."""
    expected = uninterrupted().arrays
    np.random.seed(5)
    random.seed(5)
    before = np.random.get_state()[1].tolist(), random.getstate()
    paths: list[Path] = []
    again = train(tmp_path / "c", checkpoint_seconds=60.0, on_checkpoint=paths.append)
    assert equal(again.arrays, expected)
    # A training of seconds writes no checkpoint.
    assert paths == list(tmp_path.iterdir()) == []
    reseeded = train(None, seed=1).arrays
    assert (np.random.get_state()[1].tolist(), random.getstate()) == before
    for name, array in expected.items():
        assert np.array_equal(array, reseeded[name]) == (name == "shape"), name


def test_the_first_batch_is_traced_once() -> None:
    """A trace takes a second; a batch that creates the optimizer's moments takes two."""
    model = untrained_model(new(DropoutCNN), SHAPE)
    train_step, calls = model.train_step, []
    model.train_step = lambda *data: (calls.append(1), train_step(*data))[1]
    X, y = pictures(n=4)
    model.train_on_batch(X.reshape(4, *SHAPE), y[:, None].astype(np.float32))
    assert calls == [1]


def test_a_network_learns_in_float16_and_keeps_float32() -> None:
    X, y = pictures(n=60)
    log_lines: list[str] = []
    quick = {"epochs": 5, "batch_size": 8, "learning_rate": 2e-3, "patience": 100}
    head = new(DropoutCNN, SHAPE, {"log": log_lines.append}, precision="float16", **quick)
    head.fit(X, y, 2, folds=folds_of(y))
    assert (head.predict(X) == y).mean() > 0.9
    assert head.notes == []
    arrays = head.arrays
    assert {str(array.dtype) for name, array in arrays.items() if name != "shape"} == {"float32"}
    model = untrained_model(new(DropoutCNN, precision="float16"), SHAPE)
    assert {layer.compute_dtype for layer in model.layers[:-1]} == {"float16"}
    assert (
        {weight.dtype for weight in model.trainable_weights}
        == {model.layers[-1].compute_dtype}
        == {"float32"}
    )

    assert [row["epoch"] for row in head.record.history] == [1, 2, 3, 4, 5]
    judged = folds_of(y)[0][1]
    best = min(head.record.history, key=lambda row: row["validation_loss"])
    assert training.log_loss(head.scores_of(X[judged]), y[judged]) == pytest.approx(
        best["validation_loss"], abs=1e-6
    )
    assert best["validation_accuracy"] == (head.predict(X[judged]) == y[judged]).mean()
    assert head.record.history[-1]["loss"] < head.record.history[0]["loss"]
    for row, line in zip(head.record.history, log_lines, strict=True):
        assert row["images_per_second"] * row["seconds"] == pytest.approx(48, abs=4)
        assert line.startswith(
            f"cnn-dropout: epoch {row['epoch']} of 5: loss {row['loss']:.4f}, validation loss "
        )
        assert line.endswith(" images/s")


def test_gradients_too_small_for_float16_count() -> None:
    """Gradients survive because the loss is scaled (arXiv:1710.03740)."""
    model = untrained_model(new(SimpleCNN, precision="float16"), SHAPE)
    weights = model.get_weights()
    model.set_weights([*weights[:-2], weights[-2] * 1e-7, weights[-1]])
    model.train_on_batch(np.ones((1, *SHAPE), np.float32), np.ones((1, 1), np.float32))
    assert not np.array_equal(model.get_weights()[0], weights[0])


def record_batches(
    kind: type[Network],
    monkeypatch: pytest.MonkeyPatch,
    loss: Callable[[int], float] = lambda number: 0.5,
) -> list[Batch]:
    """Make networks of a kind count batches in their last bias instead of learning.

    Returns:
        A list to which their batches are appended from now on.
    """
    seen_batches: list[Batch] = []
    compiled = kind.compiled_model

    def spied(self: Network, n_classes: int, seed: int) -> Any:
        model = compiled(self, n_classes, seed)
        bias = model.layers[-1].bias
        model.train_on_batch = lambda *batch: (
            seen_batches.append(batch),
            bias.assign(bias + 1),
            loss(len(seen_batches)),
        )[-1]
        return model

    monkeypatch.setattr(kind, "compiled_model", spied)
    return seen_batches


def test_rows_of_a_store_train_as_an_array(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = FeatureStore(make_store("f.h5", ["a", "b"] * 20)).select("block3_pool", pooling="flat")
    y = np.arange(40) % 2
    seen_batches = record_batches(EarlyBlocks, monkeypatch)
    heads = [new(EarlyBlocks, (4, 4, 3), epochs=1, batch_size=8) for _ in range(2)]
    for head, X in zip(heads, (rows, rows[:]), strict=True):
        head.fit(X, y, 2, folds=folds_of(y))
    assert len(seen_batches) == 20
    for store_batch, array_batch in zip(seen_batches[:10], seen_batches[10:], strict=True):
        assert all(map(np.array_equal, store_batch, array_batch))
    assert equal(heads[0].arrays, heads[1].arrays)
    np.testing.assert_array_equal(heads[0].scores_of(rows), heads[1].scores_of(rows[:]))
    rms = np.sqrt(np.mean(rows[:][folds_of(y)[0][0]].astype(float) ** 2))
    np.testing.assert_allclose(heads[0].arrays["scale"], rms, rtol=1e-6)


@pytest.mark.parametrize(("keep", "n_epochs", "best"), [("best", 7, 4), ("last", 9, 9)])
def test_the_weights_of_the_best_or_the_last_epoch_are_kept(
    keep: str, n_epochs: int, best: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = [0.5, 0.4, 0.6, 0.3, 0.3, np.nan, 0.4, 0.2, 0.9]
    coming = iter(losses)
    monkeypatch.setattr(training, "log_loss", lambda *_: next(coming))
    record_batches(SimpleCNN, monkeypatch)
    X, y = pictures()
    head = new(SimpleCNN, epochs=9, patience=3, keep=keep)
    head.fit(X, y, 2, folds=folds_of(y))
    np.testing.assert_array_equal(
        [row["validation_loss"] for row in head.record.history], losses[:n_epochs]
    )
    # There are 10 batches in an epoch.
    assert head.arrays["outputs/bias"].tolist() == [10 * best]


def test_a_training_that_diverged_ends_with_its_best_epoch_or_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    X, y = pictures()
    seen_batches = record_batches(
        SimpleCNN, monkeypatch, lambda number: 0.5 if number <= 20 else np.nan
    )
    head = new(SimpleCNN)
    head.fit(X, y, 2, folds=folds_of(y))
    assert (len(head.record.history), head.arrays["outputs/bias"].tolist()) == (3, [10])
    message = r"cnn-simple: training diverged with a learning_rate of 0\.5; choose a lower one"
    # It diverges in its first epoch.
    with pytest.raises(FreezeframeError, match=message):
        new(SimpleCNN, learning_rate=0.5).fit(X, y, 2, folds=folds_of(y))
    seen_batches.clear()
    with pytest.raises(FreezeframeError, match=message):
        new(SimpleCNN, learning_rate=0.5, keep="last").fit(X, y, 2, folds=folds_of(y))


def test_a_note_names_a_collapsed_network(monkeypatch: pytest.MonkeyPatch) -> None:
    X, _ = pictures(n=50)
    y = (np.arange(50) % 5 > 2).astype(int)
    record_batches(SimpleCNN, monkeypatch)
    head = new(SimpleCNN, epochs=1)
    head.fit(X, y, 2, folds=folds_of(y))
    assert head.notes == [
        "cnn-simple collapsed: predicts one class for 100.0% of its training images, "
        "though only 40.0% belong to it; a lower learning_rate may help"
    ]


@pytest.mark.parametrize("n_classes", [2, 3])
def test_class_weights_are_those_of_scikit_learn(
    n_classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sklearn.utils.class_weight import compute_sample_weight

    X, _ = pictures(n=50)
    y = np.arange(50) % 10 % (n_classes + 3) % n_classes
    fitted = y[folds_of(y)[0][0]]
    share_of = dict(
        zip(fitted.tolist(), compute_sample_weight("balanced", fitted).tolist(), strict=True)
    )
    assert len(set(share_of.values())) > 1
    seen_batches = record_batches(SimpleCNN, monkeypatch)
    new(SimpleCNN, epochs=2, class_weights=1).fit(X, y, n_classes, folds=folds_of(y))
    assert len(seen_batches) == 2 * 10
    for _, targets, weights in seen_batches:
        np.testing.assert_allclose(
            weights, [share_of[int(target)] for target in targets[:, 0]], rtol=1e-6
        )


def test_batches_have_one_size_and_no_row_repeats_in_an_epoch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    y = np.arange(99) % 2
    # Each image is as bright as its row number.
    X = np.repeat(np.arange(99, dtype=np.float32)[:, None], 16 * 16 * 3, axis=1)
    fitted = folds_of(y)[0][0]
    seen_batches = record_batches(SimpleCNN, monkeypatch)
    new(SimpleCNN, epochs=3, batch_size=6, patience=9).fit(X, y, 2, folds=folds_of(y))
    rows = [np.rint(255 * inputs[:, 0, 0, 0]).astype(int) for inputs, _ in seen_batches]
    assert {len(batch) for batch in rows} == {6}
    epochs = np.split(np.concatenate(rows), 3)
    for epoch in epochs:
        assert len(set(epoch)) == len(epoch) == len(fitted) // 6 * 6
        assert set(epoch) <= set(fitted)
    # The rows left over differ from epoch to epoch.
    assert set(np.concatenate(epochs)) == set(fitted)
    for batch, (_, targets) in zip(rows, seen_batches, strict=True):
        np.testing.assert_array_equal(targets[:, 0], y[batch])
    seen_batches.clear()
    new(SimpleCNN, epochs=1, batch_size=32).fit(X[:50], y[:50], 2, folds=folds_of(y[:50]))
    # Few images are cut into the least number of batches.
    assert len(seen_batches) == 10


DRAWS = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 10_000), st.integers(0, 10**6))


@given(st.lists(DRAWS, max_size=4), st.integers(1, 24), st.integers(1, 24), st.integers(0, 255))
def test_an_augmented_image_depends_on_its_draw_alone(
    draws: list[tuple[int, int, int]], height: int, width: int, brightest: int
) -> None:
    shape = (height, width, 3)
    X = (
        np.random.default_rng(7)
        .integers(0, brightest + 1, (len(draws), height * width * 3))
        .astype(np.float32)
    )
    before = X.copy()
    images = augmented(X, shape, draws)
    assert (images.shape, images.dtype) == (X.shape, np.float32)
    np.testing.assert_array_equal(X, before)
    np.testing.assert_array_equal(images, np.rint(images))
    assert images.min(initial=0) >= 0
    assert images.max(initial=0) <= brightest
    for number, draw in enumerate(draws):
        np.testing.assert_array_equal(
            augmented(X[number : number + 1], shape, [draw])[0], images[number]
        )
    turned = augmented(X[::-1], shape, draws[::-1])
    np.testing.assert_array_equal(turned[::-1], images)


def test_another_seed_epoch_or_row_is_another_image() -> None:
    X = pictures(n=1)[0]
    draws = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1), (1, 1, 0)]
    images = augmented(np.repeat(X, len(draws), axis=0), SHAPE, draws)
    assert len({image.tobytes() for image in images}) == len(draws)


@given(DRAWS)
def test_random_changes_stay_within_their_limits(draw: tuple[int, int, int]) -> None:
    """A bar in the middle stays near it and is turned by no more than 15 degrees."""
    image = np.zeros((1, 100, 100, 3), np.float32)
    image[:, 47:53, 30:70] = 255
    changed = augmented(image.reshape(1, -1), (100, 100, 3), [draw])
    # (1, 100 * 100 * 3) -> (100, 100), the red channel
    changed = changed.reshape(100, 100, 3)[..., 0]
    rows, columns = np.nonzero(changed > 127)
    # Weighed by brightness: a border of pixels that are half grey moves by a pixel as a whole.
    # A shift is at most a tenth to either side.
    assert abs(np.average(np.arange(100), weights=changed.sum(axis=1)) - 49.5) <= 10.2
    assert abs(np.average(np.arange(100), weights=changed.sum(axis=0)) - 49.5) <= 10.2
    slope = np.polyfit(columns, rows, 1)[0]
    assert abs(np.degrees(np.arctan(slope))) <= 15.5
    assert 0.9**2 * 0.9 <= len(rows) / 240 <= 1.1**2 * 1.1


@given(DRAWS)
def test_with_limits_of_0_an_image_is_unchanged_or_mirrored(
    draw: tuple[int, int, int],
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 7, 12, 3)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MAX_TURN", "MAX_ZOOM", "MAX_SHIFT"):
            patch.setattr(augmentation, name, 0.0)
        changed = augmented(image.reshape(1, -1), (7, 12, 3), [draw]).reshape(image.shape)
    assert np.array_equal(changed, image) or np.array_equal(changed, image[:, :, ::-1])


def test_only_training_images_are_augmented(monkeypatch: pytest.MonkeyPatch) -> None:
    y = np.arange(50) % 2
    X = np.repeat(np.arange(50, dtype=np.float32)[:, None], 16 * 16 * 3, axis=1)
    seen: list[tuple[int, tuple[int, int, int]]] = []

    def spied(
        features: np.ndarray, shape: tuple[int, ...], draws: Sequence[tuple[int, int, int]]
    ) -> np.ndarray:
        seen.extend(zip(features[:, 0].astype(int).tolist(), draws, strict=True))
        return augmented(features, shape, draws)

    monkeypatch.setattr(convolutional, "augmented", spied)
    seen_batches = record_batches(AugmentedCNN, monkeypatch)
    head = new(AugmentedCNN, epochs=2)
    head.fit(X, y, 2, seed=3, folds=folds_of(y))
    fitted = folds_of(y)[0][0].tolist()
    assert {image for image, _ in seen} == set(fitted)
    assert {draw for _, draw in seen} == {
        (3, epoch, row) for epoch in range(2) for row in range(len(fitted))
    }
    assert all(fitted[draw[2]] == image for image, draw in seen)
    n = len(seen)
    assert n == sum(len(inputs) for inputs, _ in seen_batches)
    head.predict_proba(X)
    new(AugmentedCNN, epochs=1, augment=0).fit(X, y, 2, folds=folds_of(y))
    assert len(seen) == n


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_jax_and_torch_train_and_continue(backend: str, tmp_path: Path) -> None:
    """A continued training ends as an uninterrupted one, and its model predicts the same."""
    pytest.importorskip(backend)
    code = """
import sys
from pathlib import Path
import numpy as np
from freezeframe.classify.heads.networks import training
from freezeframe.classify.heads.networks.convolutional import AugmentedCNN
from freezeframe.classify.heads.networks.context import TrainingContext

training.STATUS_SECONDS = 0.0
y = np.arange(60) % 2
X = (np.random.default_rng(0).integers(0, 100, (60, 768)) + 120 * y[:, None]).astype(np.float32)
folds = [(np.arange(40), np.arange(40, 60))]


def train(folder, status=lambda text: None):
    options = {"checkpoints": folder, "checkpoint_seconds": 0.0, "status": status}
    context = TrainingContext((16, 16, 3), **options)
    head = AugmentedCNN(context=context, learning_rate=0.002, batch_size=8, epochs=4)
    head.fit(X, y, 2, folds=folds)
    return head


def stop(text):
    if "epoch 3" in text:
        raise RuntimeError


whole = train(None)
try:
    train(Path(sys.argv[1]), stop)
except RuntimeError:
    resumed = train(Path(sys.argv[1]))
near = all(
    np.allclose(resumed.arrays[name], array, atol=1e-5) for name, array in whole.arrays.items()
)
restored = AugmentedCNN()
restored.restore(whole.arrays)
alike = np.allclose(restored.predict_proba(X), whole.predict_proba(X))
import keras
print(keras.backend.backend(), near, alike, (whole.predict(X) == y).mean() > 0.9)
"""
    environment = {**os.environ, "KERAS_BACKEND": backend}
    command = [sys.executable, "-c", code, str(tmp_path / "c")]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert process.stdout == f"{backend} True True True\n"
