"""Model files of networks restore the head; any other content is refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from freezeframe import FreezeframeError, MissingExtraError, ModelFileError
from freezeframe.classify.heads.networks.convolutional import EarlyBlocks, SimpleCNN
from freezeframe.classify.runs.model_file import FittedHead, _digest, load_model, save_model

from ..conftest import PROVENANCE
from .small_networks import folds_of, new, pictures, untrained_model


@pytest.fixture(scope="module")
def simple() -> SimpleCNN:
    """Return a fitted CNN on 16 x 16 pixels."""
    X, y = pictures()
    head: SimpleCNN = new(SimpleCNN, epochs=1)
    head.fit(X, y, 2, folds=folds_of(y))
    return head


@pytest.fixture(scope="module")
def model_file(simple: SimpleCNN, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the model file of the CNN, as a run writes it."""
    provenance = PROVENANCE | {"backbone": "pixels-16", "weights_source": "none"}
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    save_model(
        path, FittedHead(simple, ("a", "b"), "pixels", "flat", provenance, "f" * 64, "run-1")
    )
    return path


def rewritten(
    source: Path,
    target: Path,
    about: Callable[[dict[str, Any]], dict[str, Any]] = lambda about: about,
    **arrays: Any,
) -> Path:
    """Rewrite a model file, with a valid digest; an array that is None is dropped."""
    with safe_open(source, framework="numpy") as file:
        text = file.metadata()
    text["about"] = json.dumps(about(json.loads(text["about"])))
    both = {
        name: array for name, array in (load_file(source) | arrays).items() if array is not None
    }
    text["digest"] = _digest(text["format_version"], text["about"], both)
    save_file(both, target, text)
    return target


def test_a_model_file_predicts_the_same(simple: SimpleCNN, model_file: Path) -> None:
    X, _ = pictures()
    proba = simple.predict_proba(X)
    loaded = load_model(model_file).head
    np.testing.assert_array_equal(loaded.predict_proba(X.astype(np.float64)), proba)
    # The other rows make no difference.
    np.testing.assert_array_equal(loaded.predict_proba(X[5:9]), proba[5:9])
    assert loaded.scores_of(X[:0]).shape == (0, 2)
    with pytest.raises(ValueError, match="are not of shape"):
        loaded.scores_of(X[:, :-1])


HOSTILE: dict[str, dict[str, Any]] = {
    "a kernel of another shape": {"conv2/kernel": np.ones((3, 3, 32, 65), np.float32)},
    "a flat kernel": {"conv1/kernel": np.ones(864, np.float32)},
    "a bias too short": {"conv1/bias": np.ones(31, np.float32)},
    "no kernel": {"conv3/kernel": None},
    "no outputs": {"outputs/bias": None},
    "no shape": {"shape": None},
    "two outputs for two classes": {
        "outputs/kernel": np.ones((128, 2), np.float32),
        "outputs/bias": np.ones(2, np.float32),
    },
    "three outputs for two classes": {
        "outputs/kernel": np.ones((128, 3), np.float32),
        "outputs/bias": np.ones(3, np.float32),
    },
    "no outputs at all": {
        "outputs/kernel": np.ones((128, 0), np.float32),
        "outputs/bias": np.ones(0, np.float32),
    },
    "doubles": {"conv1/bias": np.ones(32)},
    "half floats": {"conv1/bias": np.ones(32, np.float16)},
    "no numbers": {"conv1/bias": np.full(32, np.nan, np.float32)},
    "infinite": {"dense1/kernel": np.full((512, 128), np.inf, np.float32)},
    "values that overflow": {
        "conv3/bias": np.full(128, 9, np.float32),
        "dense1/kernel": np.full((512, 128), 3e38, np.float32),
    },
    "a huge shape": {"shape": np.array([65535, 65535, 3])},
    "a larger shape": {"shape": np.array([32, 32, 3])},
    "a shape of other features": {"shape": np.array([17, 17, 3])},
    "a shape beyond all numbers": {"shape": np.array([2**62, 2**62, 3])},
    "a negative shape": {"shape": np.array([-16, -16, 3])},
    "an empty shape": {"shape": np.array([0, 16, 3])},
    "a small shape": {"shape": np.array([4, 4, 3])},
    "a flat shape": {"shape": np.array([768])},
    "a deep shape": {"shape": np.array([[16, 16, 3]])},
    "a broken shape": {"shape": np.array([16.0, 16.0, 3.0])},
    "a small integer shape": {"shape": np.array([16, 16, 3], np.int8)},
    "more channels": {"shape": np.array([16, 4, 12])},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_model_file_is_refused_in_one_line(
    model_file: Path, tmp_path: Path, name: str
) -> None:
    path = rewritten(model_file, tmp_path / "m.safetensors", **HOSTILE[name])
    damaged = r"m\.safetensors: damaged \([^\n]+\); fit the head again$"
    with pytest.raises(ModelFileError, match=damaged):
        load_model(path)


def test_a_model_file_with_false_claims_is_refused(model_file: Path, tmp_path: Path) -> None:
    claims: list[dict[str, Any]] = [
        {"head": "finetune-all", "parameters": {}},
        {"head": "finetune-block5", "parameters": {}},
        {"head": "early-blocks", "parameters": {}},
        {"head": "dense-128", "parameters": {}},
        {"parameters": {"precision": "int4"}},
        {"parameters": {"precision": ["float32"]}},
        {"parameters": {"epochs": "1"}},
        {"pooling": "avg"},
        {"layer": "block5_pool"},
        {"provenance": PROVENANCE},
        {"provenance": PROVENANCE | {"backbone": "pixels-17"}},
        {"classes": ["a", "b", "c"]},
    ]
    for number, claim in enumerate(claims):
        path = rewritten(
            model_file, tmp_path / f"{number}.safetensors", lambda about, claim=claim: about | claim
        )
        damaged = r"safetensors: damaged \([^\n]+\); fit the head again$"
        with pytest.raises(ModelFileError, match=damaged):
            load_model(path)


def test_an_impossible_scale_is_refused() -> None:
    head = new(EarlyBlocks, (4, 4, 6))
    model = untrained_model(head, (4, 4, 6))
    head.set_weights(model.get_weights())
    EarlyBlocks().restore(head.arrays)
    for scale in ([0], [-1], [np.nan], [np.inf], [1, 1]):
        with pytest.raises(ValueError, match="scale"):
            EarlyBlocks().restore(head.arrays | {"scale": np.array(scale, np.float32)})


def test_a_missing_keras_names_the_extra(model_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = pictures(n=20)
    head = new(SimpleCNN)
    monkeypatch.setattr("freezeframe.extract.engines.keras.find_spec", lambda _: None)
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    message = r"the head cnn-simple needs Keras with a backend.*freezeframe\[cpu\]"
    with pytest.raises(MissingExtraError, match=message):
        load_model(model_file)
    with pytest.raises(MissingExtraError, match=message):
        head.fit(X, y, 2)


def test_an_error_of_keras_does_not_blame_the_file(
    model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "nonsense")
    with pytest.raises(FreezeframeError, match="KERAS_BACKEND must be one of") as caught:
        load_model(model_file)
    assert not isinstance(caught.value, ModelFileError)
    monkeypatch.delenv("KERAS_BACKEND")

    def broken() -> None:
        raise ImportError("libtensorflow.so: no such file")

    monkeypatch.setattr("freezeframe.extract.engines.keras.import_keras", broken)
    with pytest.raises(FreezeframeError, match=r"Keras cannot be loaded \(libtensorflow") as caught:
        load_model(model_file)
    assert not isinstance(caught.value, ModelFileError)
