"""Dense heads train with Keras, predict without it, repeat with a seed, and report a collapse."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from freezeframe import FeatureStore, FreezeframeError, MissingExtraError, ParameterError
from freezeframe.classify.heads.base import Head
from freezeframe.classify.heads.networks import training
from freezeframe.classify.heads.networks.dense import Dense128, Dense128x64x32
from freezeframe.classify.matrix import Folds
from freezeframe.data.splits import grouped_folds

from ..conftest import MakeStore

loss_of = training.log_loss
KINDS: list[type[Head]] = [Dense128, Dense128x64x32]
QUICK = {"epochs": 8, "batch_size": 16, "learning_rate": 3e-3}


def problem(n_classes: int, n: int = 96, d: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = np.arange(n) % n_classes
    X = rng.normal(size=(n, d)).astype(np.float32)
    X[:, :n_classes] += 4 * np.eye(n_classes, dtype=np.float32)[y]
    return X, y


def folds_of(y: np.ndarray) -> Folds:
    return grouped_folds(y.astype(str), np.arange(len(y)), n_folds=5, seed=0)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_numpy_predicts_as_keras(
    kind: type[Any], n_classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = problem(n_classes)
    head = kind(**QUICK)
    networks = []
    build = head.new_model
    monkeypatch.setattr(
        head, "new_model", lambda *arguments: networks.append(build(*arguments)) or networks[0]
    )
    head.fit(X, y, n_classes)
    expected = networks[0].predict_on_batch(X / head.arrays["scale"])
    scores = head.scores(X)
    np.testing.assert_allclose(scores[:, -expected.shape[1] :], expected, rtol=1e-5, atol=1e-5)
    assert (scores[:, 0] == 0).all() == (n_classes == 2)
    assert (head.predict(X) == y).mean() > 0.9

    restored = kind()
    restored.restore(head.arrays)
    monkeypatch.setitem(sys.modules, "keras", None)
    np.testing.assert_array_equal(
        restored.predict_proba(X.astype(np.float64)), head.predict_proba(X)
    )
    assert all(array.dtype == np.float32 for array in head.arrays.values())


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_alone_decides_every_bit(kind: type[Head], make_store: MakeStore) -> None:
    """A store gives the same bits; the program's random numbers neither matter nor change."""
    rows = FeatureStore(make_store("f.h5", ["a", "b"] * 20)).select("block5_pool", pooling="flat")
    y = np.arange(40) % 2
    heads = []
    for X, seed, program_seed in ((rows, 0, 1), (rows[:], 0, 2), (rows[:], 1, 2)):
        np.random.seed(program_seed)
        random.seed(program_seed)
        before = np.random.get_state()[1].tolist(), random.getstate()
        heads.append(kind(epochs=3, batch_size=16))
        heads[-1].fit(X, y, 2, seed=seed, folds=folds_of(y))
        assert (np.random.get_state()[1].tolist(), random.getstate()) == before
    for name, array in heads[0].arrays.items():
        np.testing.assert_array_equal(heads[1].arrays[name], array)
    assert (heads[2].arrays["kernel_0"] != heads[0].arrays["kernel_0"]).any()
    np.testing.assert_array_equal(heads[0].scores_of(rows), heads[1].scores(rows[:]))


def test_the_weights_of_the_best_epoch_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = problem(2)
    # There is nothing to learn, so that the loss of unseen rows grows.
    y = np.random.default_rng(1).permutation(y)
    folds = folds_of(y)
    head = Dense128(epochs=30, batch_size=16, learning_rate=0.01, patience=3)
    losses: list[float] = []
    monkeypatch.setattr(
        training, "log_loss", lambda *arguments: losses.append(loss_of(*arguments)) or losses[-1]
    )
    head.fit(X, y, 2, folds=folds)
    assert len(losses) == np.argmin(losses) + 4 < 30
    assert loss_of(head.scores(X[folds[0][1]]), y[folds[0][1]]) == pytest.approx(
        min(losses), abs=1e-5
    )
    assert head.notes == []


def test_a_note_says_that_no_rows_could_stop_the_training() -> None:
    X, y = problem(2)
    head = Dense128(**QUICK)
    head.fit(X, y, 2)
    assert head.notes == [
        "dense-128 had no images to stop early by; it was trained for all its 8 epochs"
    ]


def test_the_scale_of_the_features_matters_only_with_scale_0() -> None:
    X, y = problem(2)
    arrays = []
    for factor, scale in ((1, 1), (1024, 1), (1024, 0)):
        head = Dense128(**QUICK, scale=scale)
        head.fit(X * np.float32(factor), y, 2, folds=folds_of(y))
        arrays.append(head.arrays)
    np.testing.assert_array_equal(arrays[0]["kernel_0"], arrays[1]["kernel_0"])
    assert arrays[1]["scale"] == 1024 * arrays[0]["scale"]
    rms = np.sqrt(np.mean(X[folds_of(y)[0][0]].astype(float) ** 2))
    np.testing.assert_allclose(arrays[0]["scale"], rms, rtol=1e-6)
    assert arrays[2]["scale"] == 1
    assert (arrays[2]["kernel_0"] != arrays[0]["kernel_0"]).any()


def test_features_that_are_all_zero_can_be_fitted() -> None:
    y = np.arange(20) % 2
    head = Dense128(epochs=1)
    head.fit(np.zeros((20, 4), np.float32), y, 2, folds=folds_of(y))
    assert np.isfinite(head.predict_proba(np.zeros((3, 4)))).all()


def test_a_note_names_a_collapsed_head() -> None:
    X, y = problem(2)
    # 60 % of the rows are of class 0.
    y = (np.arange(96) % 5 > 2).astype(int)
    X = np.abs(X) * 3000
    head = Dense128x64x32(epochs=2, batch_size=16, learning_rate=1.0, scale=0)
    head.fit(X, y, 2, folds=folds_of(y))
    assert len(head.notes) == 1
    assert head.notes[0].startswith("dense-128-64-32 collapsed: predicts one class for ")
    assert "though only" in head.notes[0]


def test_a_head_that_learnt_or_cannot_do_better_has_no_note() -> None:
    X, y = problem(2)
    # Predicting class 0 only is right for 96 %.
    rare = (np.arange(96) % 24 == 0).astype(int)
    for target in (y, rare):
        head = Dense128x64x32(**QUICK)
        head.fit(X, target, 2, folds=[(np.arange(72), np.arange(72, 96))])
        assert head.notes == []


def test_a_diverged_training_is_an_error() -> None:
    X, y = problem(2)
    for folds in (folds_of(y), []):
        head = Dense128(epochs=3, learning_rate=1e3, scale=0)
        with pytest.raises(
            FreezeframeError, match="dense-128: training diverged with a learning_rate of 1000"
        ):
            head.fit(X * np.float32(3e37), y, 2, folds=folds)


@pytest.mark.parametrize(
    "parameters",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"dropout": 1.0},
        {"patience": 0},
        {"scale": 2},
    ],
)
def test_impossible_parameters_are_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(
        ParameterError, match=f"dense-128: {next(iter(parameters))} must lie between"
    ):
        Dense128(**parameters)


def test_arrays_of_no_network_are_refused() -> None:
    widths = [12, 128, 64, 32, 1]
    sound: dict[str, np.ndarray] = {"scale": np.ones(1, np.float32)}
    for number in range(4):
        sound[f"kernel_{number}"] = np.ones((widths[number], widths[number + 1]), np.float32)
        sound[f"bias_{number}"] = np.ones(widths[number + 1], np.float32)
    head = Dense128x64x32()
    head.restore(sound)
    assert head.scores(np.zeros((2, 12))).shape == (2, 2)
    many = sound | {"kernel_3": np.ones((32, 3), np.float32), "bias_3": np.ones(3, np.float32)}
    head.restore(many)
    assert head.scores(np.zeros((2, 12))).shape == (2, 3)
    damaged = [
        {"scale": np.zeros(1, np.float32)},
        {"scale": -np.ones(1, np.float32)},
        {"scale": np.ones(12, np.float32)},
        {"scale": np.ones(1, np.float64)},
        {"scale": np.full(1, np.nan, np.float32)},
        {"kernel_0": np.ones((12, 127), np.float32)},
        {"kernel_1": np.ones((127, 64), np.float32)},
        {"kernel_1": np.ones((128, 65), np.float32), "bias_1": np.ones(65, np.float32)},
        {"kernel_3": np.ones((32, 2), np.float32), "bias_3": np.ones(2, np.float32)},
        {"kernel_3": np.ones((32, 0), np.float32), "bias_3": np.ones(0, np.float32)},
        {"kernel_2": np.full((64, 32), np.inf, np.float32)},
        {"bias_2": np.ones(31, np.float32)},
        {"bias_2": np.ones((1, 32), np.float32)},
    ]
    for changes in damaged:
        with pytest.raises(ValueError, match=r"layers|dimensions"):
            Dense128x64x32().restore(sound | changes)
    for name in sound:
        with pytest.raises(KeyError, match=name):
            Dense128x64x32().restore({key: array for key, array in sound.items() if key != name})


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("freezeframe.extract.engines.keras.find_spec", lambda _: None)
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    X, y = problem(2)
    with pytest.raises(
        MissingExtraError,
        match=r"the head dense-128 needs Keras with a backend.*freezeframe\[cpu\]",
    ):
        Dense128().fit(X, y, 2)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_jax_and_torch_train_a_dense_head(backend: str) -> None:
    pytest.importorskip(backend)
    code = """
import numpy as np
from freezeframe.classify.heads.networks.dense import Dense128x64x32

y = np.arange(60) % 2
X = np.eye(2)[y] + np.random.default_rng(0).normal(size=(60, 2)) / 9
head = Dense128x64x32(learning_rate=0.01, batch_size=16)
head.fit(X, y, 2, folds=[(np.arange(40), np.arange(40, 60))])
import keras
print(keras.backend.backend(), (head.predict(X) == y).mean())
"""
    environment = {**os.environ, "KERAS_BACKEND": backend}
    process = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert process.stdout == f"{backend} 1.0\n"
