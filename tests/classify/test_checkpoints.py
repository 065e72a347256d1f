"""Trainings that were killed or stopped go on where they stood; what they keep is whole, or as good as not there."""

from __future__ import annotations

import json
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
from freezeframe.classify.heads.networks import training
from freezeframe.classify.heads.networks.checkpoints import Checkpoint, State, forget
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
    begun,
    equal,
    folds_of,
    new,
    pictures,
    train,
    undisturbed,
    weights_of,
)


def scores_only(history: list[dict[str, float]]) -> list[list[float]]:
    """What of a history must come out the same."""
    return [
        [row[name] for name in ("epoch", "loss", "validation_loss", "validation_accuracy")]
        for row in history
    ]


def once(end: Callable[[], None], count: int) -> Callable[[str], None]:
    """Ends a training when it tells something for the nth time."""
    times = iter(range(1, 10**6))
    return lambda text: end() if next(times) == count else None


def crash() -> None:
    raise RuntimeError("the plug was pulled")


def interrupt() -> None:
    """Ctrl-C."""
    signal.raise_signal(signal.SIGINT)


def test_stopped_anywhere_it_ends_in_the_very_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a batch, when an epoch was judged but not kept, behind an epoch, by Ctrl-C, and when all is done."""
    monkeypatch.setattr(training, "TOLD_EVERY", 0.0)
    log: list[str] = []
    with pytest.raises(RuntimeError, match="plug"):
        train(tmp_path / "c", status=once(crash, 2))
    with pytest.raises(RuntimeError, match="plug"):
        train(tmp_path / "c", log=once(crash, 2))
    with pytest.raises(RuntimeError, match="plug"):
        train(tmp_path / "c", log=log.append, status=once(crash, 11))
    monkeypatch.setattr(training, "WORTH_KEEPING", 0.0)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "c", log=log.append, status=once(interrupt, 15), checkpoint_seconds=60.0)
    head = train(tmp_path / "c", log=log.append, checkpoint_seconds=60.0)
    assert [
        line.removeprefix("cnn-augmented: ")
        for line in log
        if not line.startswith("cnn-augmented: epoch")
    ] == [
        "goes on after 0 epochs and 10 batches",
        "goes on after 2 epochs and 0 batches",
        "stopped; the same command goes on",
        "goes on after 3 epochs and 5 batches",
    ]
    assert equal(head.arrays, undisturbed().arrays)
    assert scores_only(head.record.history) == scores_only(undisturbed().record.history)
    assert head.record.earlier_seconds > 0
    assert all(row["seconds"] > 0 for row in head.record.history)

    monkeypatch.setattr(
        training.Training, "_batches", lambda *_: pytest.fail("it is trained again")
    )
    log.clear()
    again = train(tmp_path / "c", log=log.append)
    assert equal(again.arrays, head.arrays)
    assert (again.record.history, again.notes) == (head.record.history, undisturbed().notes)
    assert log == ["cnn-augmented: goes on after 4 epochs and 0 batches"]


def test_a_second_s_training_is_not_kept_when_interrupted(tmp_path: Path) -> None:
    told: list[str] = []
    begins = begins_to_train(tmp_path / "c", told)
    begins._steps = lambda: (interrupt() for _ in range(9))
    with pytest.raises(KeyboardInterrupt):
        begins.run()
    assert told == ["cnn-simple: stopped"]
    assert not (tmp_path / "c").exists()


def test_what_is_recorded_elsewhere_is_forgotten(tmp_path: Path) -> None:
    with Checkpoint(tmp_path / "c", lambda: "this") as checkpoint:
        checkpoint.write(State())
    (tmp_path / "c" / "another").touch()
    forget([checkpoint.path])
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["another"]
    (tmp_path / "c" / "another").unlink()
    forget([checkpoint.path])  # once more does no harm
    assert not (tmp_path / "c").exists()


def small_state() -> State:
    rng = np.random.default_rng(0)
    rows = [{"epoch": 1, "loss": 0.1 + 0.2, "validation_loss": float("nan")}]
    arrays = [
        rng.normal(size=(3, 2)).astype(np.float32),
        np.array(5, np.uint32),
        np.zeros((0,), np.float32),
    ]
    return State(3, 2, 1 / 3, 0.1, 7.0, float("inf"), 1, True, rows, arrays * 40, arrays[:2])


def same(state: State | None, other: State) -> bool:
    if state is None:
        return False
    plain = [json.dumps({**vars(each), "variables": [], "best": []}) for each in (state, other)]
    return plain[0] == plain[1] and all(
        len(getattr(state, name)) == len(getattr(other, name))
        and all(
            one.dtype == two.dtype and np.array_equal(one, two)
            for one, two in zip(getattr(state, name), getattr(other, name), strict=True)
        )
        for name in ("variables", "best")
    )


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    with Checkpoint(tmp_path / "c", lambda: "this") as checkpoint:
        assert checkpoint.read() is None
        assert not checkpoint.used
        checkpoint.write(small_state())
        assert checkpoint.used
        assert same(checkpoint.read(), small_state())
    with Checkpoint(tmp_path / "c", lambda: "this") as checkpoint:
        assert same(checkpoint.read(), small_state())
    assert Checkpoint(tmp_path / "c", lambda: "that").path != checkpoint.path
    with Checkpoint(tmp_path / "c", lambda: "that") as other:
        assert other.read() is None
    with Checkpoint(None, lambda: pytest.fail("nobody wants to know")) as nowhere:
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
        found = again.read()
        assert found is None or same(
            found, small_state()
        )  # a byte of the header that means nothing
        again.write(small_state())
        assert same(again.read(), small_state())


def test_a_checkpoint_of_changed_types_is_no_checkpoint(tmp_path: Path) -> None:
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
def test_files_of_another_kind_are_no_checkpoints(
    tmp_path: Path, metadata: dict[str, str] | None
) -> None:
    from freezeframe.classify.heads.networks.checkpoints import _digest as digest_of

    arrays = {"variables 0000": np.zeros(3)}
    with Checkpoint(tmp_path, lambda: "this") as checkpoint:
        if metadata and metadata["state"] != "{}":
            metadata = metadata | {"digest": digest_of(arrays, metadata["state"])}
        save_file(arrays, checkpoint.path, metadata)
        assert checkpoint.read() is None


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Checkpoint]:
    """The checkpoint of any training in a folder."""
    monkeypatch.setattr(training.Training, "_decides", lambda self: "this")
    return lambda folder: Checkpoint(folder, lambda: "this")


@pytest.mark.parametrize("damaged", [False, True])
def test_a_checkpoint_that_is_damaged_or_of_other_shapes_is_not_gone_on_with(
    damaged: bool, tmp_path: Path, known: Callable[[Path], Checkpoint]
) -> None:
    X, y = pictures(n=20)
    log: list[str] = []
    head = new(SimpleCNN, SHAPE, {"log": log.append})
    model = begun(head, SHAPE)
    begins = training.Training(head, X, y, 2, 0, np.arange(20), np.arange(0))
    with known(tmp_path) as checkpoint:
        begins.model.optimizer.build(begins.model.trainable_variables)
        fitting = [
            np.ones(variable.shape, np.float32) for variable in training._variables(begins.model)
        ]
        checkpoint.write(State(3, variables=fitting) if damaged else small_state())
    if damaged:
        whole = checkpoint.path.read_bytes()
        checkpoint.path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with known(tmp_path) as checkpoint:
        begins._restore(checkpoint)
    assert begins.state == State()
    for array, other in zip(begins.model.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(array, other)
    what = "damaged" if damaged else "of another network"
    assert log == [f"cnn-simple: {checkpoint.path} is {what}; the training begins anew"]


def test_whatever_decides_a_training_gives_it_a_file_of_its_own() -> None:
    X, y = pictures(n=20)
    other_weights = {name: array + 1 for name, array in weights_of(0).items()}

    def decides(
        X: Any = X, y: np.ndarray = y, seed: int = 0, n_classes: int = 2, **more: Any
    ) -> str:
        fitted, judged = more.pop("folds", folds_of(y))[0]
        head = new(
            more.pop("kind", AugmentedCNN),
            more.pop("shape", SHAPE),
            more.pop("context", {}),
            **more,
        )
        head.begin(X)
        head.n_features = X.shape[1]
        return str(training.Training(head, X, y, n_classes, seed, fitted, judged)._decides())

    changed, label = X.copy(), y.copy()
    changed[19, 5] += 1
    label[0] = 1
    turned = X.copy()
    turned[:2] = turned[1::-1]
    fold = [(np.arange(15), np.arange(15, 20))]
    fewer = [(np.arange(14), np.arange(15, 20))]
    ours = [
        decides(),
        decides(seed=1),
        decides(X=changed),
        decides(X=turned),
        decides(y=label),
        decides(n_classes=3),
        decides(folds=fold),
        decides(folds=fewer),
        decides(kind=DropoutCNN),
        *(decides(**{name: 2}) for name in ("epochs", "batch_size", "patience")),
        decides(learning_rate=0.5),
        decides(augment=0),
        decides(keep="last"),
        decides(class_weights=1),
        decides(precision="bfloat16"),
    ]
    maps = {
        "kind": FineTunedBlock5,
        "shape": (2, 2, 512),
        "X": pictures(n=20, shape=(2, 2, 512))[0],
    }
    ours += [decides(**maps), decides(**maps, context={"weights": lambda: other_weights})]
    assert len(set(ours)) == len(ours)
    assert decides() == decides(X=X.copy(), context={"checkpoint_seconds": 5.0}) == ours[0]


def test_other_rows_or_pooling_of_a_store_are_another_training(make_store: MakeStore) -> None:
    store = FeatureStore(make_store("f.h5", ["a", "b"] * 10))
    found = [
        training._content(store.select(layer, pooling=pooling).take(np.array(rows)))
        for layer in ("block3_pool", "block5_pool")
        for pooling in ("flat", "avg", "max")
        for rows in ([0, 1, 2], [0, 2, 1], [0, 1])
    ]
    assert len(set(found)) == len(found)


def test_two_processes_are_not_at_one_training(
    tmp_path: Path, known: Callable[[Path], Checkpoint]
) -> None:
    with known(tmp_path) as checkpoint:
        checkpoint.write(small_state())
        message = rf"^{re.escape(str(checkpoint.path))}: another process is at this very training$"
        with pytest.raises(FreezeframeError, match=message):
            train(tmp_path, kind=EarlyBlocks)
        checkpoint.path.unlink()
        told: list[str] = []
        train(
            tmp_path, kind=EarlyBlocks, log=told.append
        )  # noticed at the first checkpoint: hours are not thrown away
        assert any("another process" in text for text in told)


def begins_to_train(
    folder: Path, told: list[str], paths: list[Path] | None = None
) -> training.Training:
    """A training that has not made a step."""
    X, y = pictures(n=20)
    head = new(
        SimpleCNN,
        SHAPE,
        {
            "checkpoints": folder,
            "log": told.append,
            "on_checkpoint": ([] if paths is None else paths).append,
        },
    )
    begun(head, SHAPE)
    return training.Training(head, X, y, 2, 0, np.arange(20), np.arange(0))


def test_what_cannot_be_written_does_not_end_a_training(
    tmp_path: Path, known: Callable[[Path], Checkpoint]
) -> None:
    (tmp_path / "file").write_text("precious")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        told: list[str] = []
        paths: list[Path] = []
        begins = begins_to_train(folder, told, paths)
        with known(folder) as checkpoint:
            begins._restore(checkpoint)
            begins._keep(checkpoint)
            forget(paths)
        wanted = r"cnn-simple: \S+\.safetensors cannot be written \([^\n]+\); the training goes on"
        assert [bool(re.fullmatch(wanted, line)) for line in told] == [True]
    assert (tmp_path / "file").read_text() == "precious"
    with known(tmp_path / "c") as checkpoint:
        checkpoint.write(small_state())
        checkpoint.path.with_suffix(".new").mkdir()  # a write that fails leaves what was there
        with pytest.raises(OSError, match="c"):
            checkpoint.write(State())
        assert same(checkpoint.read(), small_state())


def test_a_lock_that_cannot_be_made_does_not_end_a_training(
    tmp_path: Path, known: Callable[[Path], Checkpoint]
) -> None:
    with known(tmp_path) as checkpoint:
        checkpoint.write(small_state())
    checkpoint.path.with_suffix(".lock").unlink()
    checkpoint.path.with_suffix(".lock").mkdir()
    told: list[str] = []
    begins = begins_to_train(tmp_path, told)
    with known(tmp_path) as checkpoint:
        begins._restore(checkpoint)
        begins._keep(checkpoint)
    assert "cannot be" in told[-1]
