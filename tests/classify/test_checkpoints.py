"""Trainings continue from checkpoints after a kill; damaged checkpoints are ignored."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from safetensors.numpy import save_file

from freezeframe import FeatureStore, FreezeframeError
from freezeframe.classify.heads.networks import identity, training
from freezeframe.classify.heads.networks.checkpoints import (
    Checkpoint,
    TrainingState,
    remove_checkpoints,
)
from freezeframe.classify.heads.networks.convolutional import (
    AugmentedCNN,
    DropoutCNN,
    EarlyBlocks,
    SimpleCNN,
)
from freezeframe.classify.heads.networks.finetuned import FineTunedBlock5

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
    weights_of,
)


def scores_only(history: list[dict[str, float]]) -> list[list[float]]:
    """Return the columns of a history that must be reproduced, without times."""
    return [
        [row[name] for name in ("epoch", "loss", "validation_loss", "validation_accuracy")]
        for row in history
    ]


def once(end: Callable[[], None], count: int) -> Callable[[str], None]:
    """Return a callback that ends a training at its nth call."""
    times = iter(range(1, 10**6))
    return lambda text: end() if next(times) == count else None


def crash() -> None:
    raise RuntimeError("the plug was pulled")


def interrupt() -> None:
    """Send the signal of Ctrl-C."""
    signal.raise_signal(signal.SIGINT)


def test_a_training_stopped_anywhere_ends_in_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stop in a batch, after judging an epoch, after an epoch, by Ctrl-C, and at the end."""
    monkeypatch.setattr(training, "STATUS_SECONDS", 0.0)
    log: list[str] = []
    with pytest.raises(RuntimeError, match="plug"):
        train(tmp_path / "c", status=once(crash, 2))
    with pytest.raises(RuntimeError, match="plug"):
        train(tmp_path / "c", log=once(crash, 2))
    with pytest.raises(RuntimeError, match="plug"):
        train(tmp_path / "c", log=log.append, status=once(crash, 11))
    monkeypatch.setattr(training, "MIN_SECONDS_WORTH_SAVING", 0.0)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "c", log=log.append, status=once(interrupt, 15), checkpoint_seconds=60.0)
    head = train(tmp_path / "c", log=log.append, checkpoint_seconds=60.0)
    assert [
        line.removeprefix("cnn-augmented: ")
        for line in log
        if not line.startswith("cnn-augmented: epoch")
    ] == [
        "continues after 0 epochs and 10 batches",
        "continues after 2 epochs and 0 batches",
        "stopped; run the same command again to continue",
        "continues after 3 epochs and 5 batches",
    ]
    assert equal(head.arrays, uninterrupted().arrays)
    assert scores_only(head.record.history) == scores_only(uninterrupted().record.history)
    assert head.record.earlier_seconds > 0
    assert all(row["seconds"] > 0 for row in head.record.history)

    monkeypatch.setattr(
        training.Training, "_batches", lambda *_: pytest.fail("training started again")
    )
    log.clear()
    again = train(tmp_path / "c", log=log.append)
    assert equal(again.arrays, head.arrays)
    assert (again.record.history, again.notes) == (head.record.history, uninterrupted().notes)
    assert log == ["cnn-augmented: continues after 4 epochs and 0 batches"]


def test_a_second_of_training_is_not_saved_when_interrupted(tmp_path: Path) -> None:
    log_lines: list[str] = []
    a_training = new_training(tmp_path / "c", log_lines)
    a_training._steps = lambda: (interrupt() for _ in range(9))
    with pytest.raises(KeyboardInterrupt):
        a_training.run()
    assert log_lines == ["cnn-simple: stopped"]
    assert not (tmp_path / "c").exists()


def test_checkpoints_are_removed_with_their_empty_folder(tmp_path: Path) -> None:
    with Checkpoint(tmp_path / "c", lambda: "this") as checkpoint:
        checkpoint.write(TrainingState())
    (tmp_path / "c" / "another").touch()
    remove_checkpoints([checkpoint.path])
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["another"]
    (tmp_path / "c" / "another").unlink()
    # Removing them again does no harm.
    remove_checkpoints([checkpoint.path])
    assert not (tmp_path / "c").exists()


def small_state() -> TrainingState:
    rng = np.random.default_rng(0)
    rows = [{"epoch": 1, "loss": 0.1 + 0.2, "validation_loss": float("nan")}]
    arrays = [
        rng.normal(size=(3, 2)).astype(np.float32),
        np.array(5, np.uint32),
        np.zeros((0,), np.float32),
    ]
    return TrainingState(
        3, 2, 1 / 3, 0.1, 7.0, float("inf"), 1, True, rows, arrays * 40, arrays[:2]
    )


def same(state: TrainingState | None, expected: TrainingState) -> bool:
    if state is None:
        return False
    texts = [
        json.dumps({**vars(any_state), "variables": [], "best": []})
        for any_state in (state, expected)
    ]
    if texts[0] != texts[1]:
        return False
    for name in ("variables", "best"):
        arrays = getattr(state, name)
        expected_arrays = getattr(expected, name)
        if len(arrays) != len(expected_arrays):
            return False
        for array, expected_array in zip(arrays, expected_arrays, strict=True):
            if array.dtype != expected_array.dtype or not np.array_equal(array, expected_array):
                return False
    return True


def test_a_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    with Checkpoint(tmp_path / "c", lambda: "this") as checkpoint:
        assert checkpoint.read() is None
        assert not checkpoint.used
        checkpoint.write(small_state())
        assert checkpoint.used
        assert same(checkpoint.read(), small_state())
    with Checkpoint(tmp_path / "c", lambda: "this") as checkpoint:
        assert same(checkpoint.read(), small_state())
    assert Checkpoint(tmp_path / "c", lambda: "that").path != checkpoint.path
    with Checkpoint(tmp_path / "c", lambda: "that") as second:
        assert second.read() is None
    with Checkpoint(None, lambda: pytest.fail("the identity was computed")) as nowhere:
        assert nowhere.read() is None
        nowhere.write(small_state())
        assert not nowhere.used


@given(st.integers(0, 10**6), st.integers(1, 255), st.booleans())
@examples(max_examples=40)
def test_any_damage_to_a_checkpoint_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, position: int, change: int, cut: bool
) -> None:
    folder = tmp_path_factory.mktemp("c")
    with Checkpoint(folder, lambda: "this") as checkpoint:
        checkpoint.write(small_state())
    whole = bytearray(checkpoint.path.read_bytes())
    position %= len(whole)
    whole[position] ^= change
    checkpoint.path.write_bytes(whole[:position] if cut else whole)
    with Checkpoint(folder, lambda: "this") as again:
        state = again.read()
        # Some bytes of the header mean nothing.
        assert state is None or same(state, small_state())
        again.write(small_state())
        assert same(again.read(), small_state())


def test_a_checkpoint_of_changed_types_is_ignored(tmp_path: Path) -> None:
    with Checkpoint(tmp_path, lambda: "this") as checkpoint:
        checkpoint.write(small_state())
        whole = checkpoint.path.read_bytes()
        for old, new in ((b'"F32"', b'"I32"'), (b"[3,2]", b"[2,3]")):
            assert old in whole
            checkpoint.path.write_bytes(whole.replace(old, new))
            assert checkpoint.read() is None


@pytest.mark.parametrize(
    "metadata", [None, {}, {"state": "{}"}, {"state": "[]"}, {"state": '{"colour": 1}'}]
)
def test_files_of_another_kind_are_ignored(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    from freezeframe.classify.heads.networks.checkpoints import _digest as digest_of

    arrays = {"variables 0000": np.zeros(3)}
    with Checkpoint(tmp_path, lambda: "this") as checkpoint:
        if metadata and metadata["state"] != "{}":
            metadata = metadata | {"digest": digest_of(arrays, metadata["state"])}
        save_file(arrays, checkpoint.path, metadata)
        assert checkpoint.read() is None


@pytest.fixture
def same_identity(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Checkpoint]:
    """Return a function that returns the checkpoint of any training in a folder."""
    monkeypatch.setattr(training.Training, "_identity", lambda self: "this")
    return lambda folder: Checkpoint(folder, lambda: "this")


@pytest.mark.parametrize("damaged", [False, True])
def test_a_checkpoint_that_is_damaged_or_of_another_network_is_ignored(
    damaged: bool, tmp_path: Path, same_identity: Callable[[Path], Checkpoint]
) -> None:
    X, y = pictures(n=20)
    log: list[str] = []
    head = new(SimpleCNN, SHAPE, {"log": log.append})
    model = untrained_model(head, SHAPE)
    a_training = training.Training(head, X, y, 2, 0, np.arange(20), np.arange(0))
    with same_identity(tmp_path) as checkpoint:
        a_training.model.optimizer.build(a_training.model.trainable_variables)
        fitting = [
            np.ones(variable.shape, np.float32)
            for variable in training.model_variables(a_training.model)
        ]
        checkpoint.write(TrainingState(3, variables=fitting) if damaged else small_state())
    if damaged:
        whole = checkpoint.path.read_bytes()
        checkpoint.path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with same_identity(tmp_path) as checkpoint:
        a_training._restore(checkpoint)
    assert a_training.state == TrainingState()
    for array, expected in zip(a_training.model.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(array, expected)
    reason = "damaged" if damaged else "of another network"
    assert log == [f"cnn-simple: {checkpoint.path} is {reason}; training starts again"]


def test_everything_that_decides_a_training_changes_its_identity() -> None:
    X, y = pictures(n=20)
    other_weights = {name: array + 1 for name, array in weights_of(0).items()}

    def identity_of(
        X: Any = X, y: np.ndarray = y, seed: int = 0, n_classes: int = 2, **more: Any
    ) -> str:
        fitted, judged = more.pop("folds", folds_of(y))[0]
        head = new(
            more.pop("kind", AugmentedCNN),
            more.pop("shape", SHAPE),
            more.pop("context", {}),
            **more,
        )
        head.prepare(X)
        head.n_features = X.shape[1]
        return str(training.Training(head, X, y, n_classes, seed, fitted, judged)._identity())

    changed = X.copy()
    label = y.copy()
    changed[19, 5] += 1
    label[0] = 1
    turned = X.copy()
    turned[:2] = turned[1::-1]
    fold = [(np.arange(15), np.arange(15, 20))]
    fewer = [(np.arange(14), np.arange(15, 20))]
    ours = [
        identity_of(),
        identity_of(seed=1),
        identity_of(X=changed),
        identity_of(X=turned),
        identity_of(y=label),
        identity_of(n_classes=3),
        identity_of(folds=fold),
        identity_of(folds=fewer),
        identity_of(kind=DropoutCNN),
        *(identity_of(**{name: 2}) for name in ("epochs", "batch_size", "patience")),
        identity_of(learning_rate=0.5),
        identity_of(augment=0),
        identity_of(keep="last"),
        identity_of(class_weights=1),
        identity_of(precision="bfloat16"),
    ]
    maps = {
        "kind": FineTunedBlock5,
        "shape": (2, 2, 512),
        "X": pictures(n=20, shape=(2, 2, 512))[0],
    }
    ours += [identity_of(**maps), identity_of(**maps, context={"weights": lambda: other_weights})]
    assert len(set(ours)) == len(ours)
    assert identity_of() == identity_of(X=X.copy(), context={"checkpoint_seconds": 5.0}) == ours[0]


def test_other_rows_or_pooling_of_a_store_change_the_digest(make_store: MakeStore) -> None:
    store = FeatureStore(make_store("f.h5", ["a", "b"] * 10))
    digests = [
        identity.content_digest(store.select(layer, pooling=pooling).take(np.array(rows)))
        for layer in ("block3_pool", "block5_pool")
        for pooling in ("flat", "avg", "max")
        for rows in ([0, 1, 2], [0, 2, 1], [0, 1])
    ]
    assert len(set(digests)) == len(digests)


def test_two_processes_cannot_run_one_training(
    tmp_path: Path, same_identity: Callable[[Path], Checkpoint]
) -> None:
    with same_identity(tmp_path) as checkpoint:
        checkpoint.write(small_state())
        path = re.escape(str(checkpoint.path))
        message = f"^{path}: another process runs this training; wait until it ends$"
        with pytest.raises(FreezeframeError, match=message):
            train(tmp_path, kind=EarlyBlocks)
        checkpoint.path.unlink()
        log_lines: list[str] = []
        # Noticed at the first checkpoint, when hours of training must not be thrown away.
        train(tmp_path, kind=EarlyBlocks, log=log_lines.append)
        assert any("another process" in text for text in log_lines)


def new_training(
    folder: Path, log_lines: list[str], paths: list[Path] | None = None
) -> training.Training:
    """Return a training before its first step."""
    X, y = pictures(n=20)
    head = new(
        SimpleCNN,
        SHAPE,
        {
            "checkpoints": folder,
            "log": log_lines.append,
            "on_checkpoint": ([] if paths is None else paths).append,
        },
    )
    untrained_model(head, SHAPE)
    return training.Training(head, X, y, 2, 0, np.arange(20), np.arange(0))


def test_an_unwritable_checkpoint_does_not_end_a_training(
    tmp_path: Path, same_identity: Callable[[Path], Checkpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "file").write_text("precious")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        log_lines: list[str] = []
        paths: list[Path] = []
        a_training = new_training(folder, log_lines, paths)
        with same_identity(folder) as checkpoint:
            a_training._restore(checkpoint)
            a_training._save(checkpoint)
            remove_checkpoints(paths)
        pattern = r"cnn-simple: \S+\.safetensors cannot be written \([^\n]+\); training continues"
        assert [bool(re.fullmatch(pattern, line)) for line in log_lines] == [True]
    assert (tmp_path / "file").read_text() == "precious"
    with same_identity(tmp_path / "c") as checkpoint:
        checkpoint.write(small_state())
        # A failed write leaves the old file.
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(OSError, match="No space left"):
                checkpoint.write(TrainingState())
        assert same(checkpoint.read(), small_state())


def test_an_impossible_lock_does_not_end_a_training(
    tmp_path: Path, same_identity: Callable[[Path], Checkpoint]
) -> None:
    with same_identity(tmp_path) as checkpoint:
        checkpoint.write(small_state())
    checkpoint.path.with_suffix(".lock").mkdir()
    log_lines: list[str] = []
    a_training = new_training(tmp_path, log_lines)
    with same_identity(tmp_path) as checkpoint:
        a_training._restore(checkpoint)
        a_training._save(checkpoint)
    assert "cannot be" in log_lines[-1]
