"""Heads learn, are saved without pickle, and predict the same after loading."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from freezeframe import MissingExtraError, ModelFileError, ParameterError
from freezeframe.classify.heads.table import FOR_ANY_LAYER, HEADS, make_head
from freezeframe.classify.runs.model_file import FittedHead, load_model, save_model

from ..conftest import PROVENANCE, fast_environment

RNG = np.random.default_rng(0)

PREDICTING = [name for name in FOR_ANY_LAYER if not HEADS[name].judges]
"""Controls predict no new image, so that their files are never loaded."""


def problem(n_classes: int, d: int = 512, n: int = 90) -> tuple[np.ndarray, np.ndarray]:
    y = np.arange(n) % n_classes
    X = RNG.normal(size=(n, d)).astype(np.float32)
    X[:, :n_classes] += 4 * np.eye(n_classes, dtype=np.float32)[y]
    return X, y


def fitted(name: str, n_classes: int = 2) -> tuple[FittedHead, np.ndarray]:
    X, y = problem(n_classes)
    head = make_head(name)
    head.fit(X, y, n_classes, seed=0)
    classes = tuple("abcd"[:n_classes])
    return FittedHead(head, classes, "block5_pool", "avg", PROVENANCE, "f" * 64, "run-1"), X


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", FOR_ANY_LAYER)
def test_heads_learn_and_their_probabilities_sum_to_1(name: str, n_classes: int) -> None:
    X, y = problem(n_classes, d=20)
    # Networks need larger steps on so few rows.
    parameters = {"learning_rate": 0.02} if name.startswith("dense") else {}
    head = make_head(name, **parameters)
    head.fit(X[:60], y[:60], n_classes, seed=0)
    proba = head.predict_proba(X[60:])
    assert proba.shape == (30, n_classes)
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-6)
    right = (proba.argmax(axis=1) == y[60:]).mean()
    assert right == pytest.approx(1 / n_classes) if name == "majority" else right > 0.9


@pytest.mark.parametrize("n_classes", [2, 3])
def test_logreg_predicts_as_scikit_learn(n_classes: int) -> None:
    from sklearn.linear_model import LogisticRegression

    X, y = problem(n_classes, d=20)
    head = make_head("logreg")
    head.fit(X, y, n_classes, seed=0)
    expected = LogisticRegression(C=1.0, max_iter=1000).fit(X, y).predict_proba(X)
    np.testing.assert_allclose(head.predict_proba(X), expected, atol=1e-5)


def test_a_note_names_a_fit_that_did_not_converge() -> None:
    X, y = problem(2)
    head = make_head("logreg", max_iter=1)
    head.fit(X, y, 2, seed=0)
    assert head.notes == ["logreg did not converge within 1 iterations"]


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", PREDICTING)
def test_a_loaded_head_predicts_exactly_the_same(tmp_path: Path, name: str, n_classes: int) -> None:
    model, X = fitted(name, n_classes)
    save_model(tmp_path / "m.safetensors", model)
    loaded = load_model(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(loaded.head.predict_proba(X), model.head.predict_proba(X))
    assert loaded.head.name == name
    assert loaded.head.parameters == model.head.parameters
    assert loaded.provenance == PROVENANCE
    assert (
        loaded.classes,
        loaded.layer,
        loaded.pooling,
        loaded.training_fingerprint,
        loaded.run_id,
    ) == (
        model.classes,
        "block5_pool",
        "avg",
        "f" * 64,
        "run-1",
    )


def test_a_file_is_never_replaced(tmp_path: Path) -> None:
    model, _ = fitted("majority")
    save_model(tmp_path / "m.safetensors", model)
    with pytest.raises(FileExistsError):
        save_model(tmp_path / "m.safetensors", model)


@pytest.mark.parametrize("name", PREDICTING)
def test_any_changed_byte_is_refused(tmp_path: Path, name: str) -> None:
    model, _ = fitted(name)
    path = tmp_path / "m.safetensors"
    save_model(path, model)
    whole = path.read_bytes()
    for position in [
        *range(0, 64),
        *np.random.default_rng(0).integers(0, len(whole), 100).tolist(),
        len(whole) - 1,
    ]:
        changed = bytearray(whole)
        changed[position] ^= 0x15
        path.write_bytes(changed)
        with pytest.raises(ModelFileError, match=r"m\.safetensors: [^\n]*$"):
            load_model(path)


def edited(path: Path, metadata: dict[str, str] | None = None, **arrays: np.ndarray) -> None:
    """Rewrite a model file as its format allows, with a digest that fits."""
    from safetensors import safe_open

    from freezeframe.classify.runs.model_file import _digest

    with safe_open(path, framework="numpy") as file:
        text = file.metadata() | (metadata or {})
    both = load_file(path) | arrays
    text["digest"] = _digest(text["format_version"], text["about"], both)
    save_file(both, path, text)


@pytest.mark.parametrize("version", ["1", "2", "3"])
def test_another_format_version_is_a_change(tmp_path: Path, version: str) -> None:
    path = tmp_path / "m.safetensors"
    save_model(path, fitted("majority")[0])
    whole = path.read_bytes()
    changed = whole.replace(b'"format_version":"4"', f'"format_version":"{version}"'.encode())
    assert changed != whole
    path.write_bytes(changed)
    with pytest.raises(ModelFileError, match="changed since it was written"):
        load_model(path)


@pytest.mark.parametrize(
    ("format_", "gigabytes", "message"),
    [
        ("other", 1e4, "not a model file"),
        ("freezeframe-model", 1e4, "its arrays would take 10000 GB, this machine has"),
        ("freezeframe-model", 0.1, "changed since"),
    ],
)
def test_a_sparse_file_takes_no_memory(
    tmp_path: Path, format_: str, gigabytes: float, message: str
) -> None:
    """A file of a few kB can claim to hold arrays of any size."""
    n_bytes = int(gigabytes * 1e9)
    metadata = {"format": format_, "format_version": "4", "about": "{}", "digest": "0" * 64}
    hole = {"dtype": "U8", "shape": [n_bytes], "data_offsets": [0, n_bytes]}
    header = json.dumps({"__metadata__": metadata, "hole": hole}).encode()
    path = tmp_path / "m.safetensors"
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + n_bytes)
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError, match=message):
            load_model(path)
        assert tracemalloc.get_traced_memory()[1] < 2e7
    finally:
        tracemalloc.stop()


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    with pytest.raises(ModelFileError, match="no such model file"):
        load_model(path)
    import pickle

    planted = pickle.dumps(print)
    for content in (b"", b"junk", planted, b"\xff" * 100, (10**18).to_bytes(8, "little") + b"{}"):
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match="not a model file of freezeframe"):
            load_model(path)
    save_file({"coef": np.zeros((1, 512), np.float32)}, path)
    with pytest.raises(ModelFileError, match="not a model file of freezeframe"):
        load_model(path)


def test_a_forged_file_with_a_valid_digest_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"

    def refused(
        head: str, message: str, metadata: dict[str, str] | None = None, **arrays: np.ndarray
    ) -> None:
        path.unlink(missing_ok=True)
        save_model(path, fitted(head)[0])
        edited(path, metadata, **arrays)
        with pytest.raises(ModelFileError, match=message):
            load_model(path)

    refused("logreg", "format version '5' is unknown", {"format_version": "5"})
    refused("logreg", "damaged", {"about": "{}"})
    refused("logreg", "damaged", {"about": "no json"})
    refused("logreg", "damaged", {"about": "[]"})
    refused("logreg", "damaged .*1 dimensions", coef=np.zeros(5, np.float32))
    refused("logreg", "damaged", coef=np.zeros((1, 7), np.float32))
    refused("logreg", "damaged", coef=np.zeros((5, 512), np.float32))
    refused("majority", "damaged .*do not fit", shares=np.ones(3) / 3)
    refused("majority", "damaged .*not shares", shares=np.array([5.0, -4.0]))
    refused("logreg", "damaged .*not finite", coef=np.full((1, 512), np.nan, np.float32))
    sound = fitted("xgboost")[0].head.arrays
    for name, value in (
        ("left", 10**6),
        ("left", 0),
        ("right", -5),
        ("feature", 512),
        ("feature", -1),
    ):
        for position in (0, len(sound[name]) // 2):
            changed = sound[name].copy()
            changed[np.flatnonzero(sound["left"] >= 0)[position // 8]] = value
            refused("xgboost", "damaged", **{name: changed})
    for name, value in (("root", 10**6), ("root", -1), ("output", 10**9), ("output", -1)):
        changed = sound[name].copy()
        changed[-1] = value
        refused("xgboost", "damaged", **{name: changed})
    # Trees that share nodes would make a small file a long walk.
    shared_roots = np.zeros(len(sound["root"]), np.int32)
    refused("xgboost", "damaged", root=shared_roots)
    refused("majority", "damaged", {"about": "[" * 100000})
    refused("xgboost", "damaged", leaf=sound["leaf"][:-1])
    refused("xgboost", "damaged", threshold=sound["threshold"].astype(np.float64))


def test_the_message_on_an_unknown_head_lists_the_heads(tmp_path: Path) -> None:
    with pytest.raises(
        ParameterError, match="head 'svm' is unknown; choose one of logreg, ridge, linear-svm"
    ):
        make_head("svm")
    path = tmp_path / "m.safetensors"
    save_model(path, fitted("majority")[0])
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        about = file.metadata()["about"]
    edited(path, {"about": about.replace('"majority"', '"os.system"')})
    with pytest.raises(ModelFileError, match=r"head 'os\.system' is unknown"):
        load_model(path)


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xgboost", None)
    X, y = problem(2)
    with pytest.raises(
        MissingExtraError, match=r"the head xgboost needs xgboost.*freezeframe\[cpu\]"
    ):
        make_head("xgboost").fit(X, y, 2, seed=0)


def test_the_same_seed_gives_the_same_head() -> None:
    # test_dense_heads.py has the same for networks, which take most of the time.
    for name in (name for name in FOR_ANY_LAYER if not name.startswith("dense")):
        X, y = problem(2)
        heads = [make_head(name), make_head(name)]
        for head in heads:
            head.fit(X, y, 2, seed=1)
        np.testing.assert_array_equal(heads[0].predict_proba(X), heads[1].predict_proba(X))


def test_the_golden_model_of_version_1_predicts_as_before() -> None:
    model = load_model(Path(__file__).parents[1] / "golden" / "model-v1.safetensors")
    assert model.classes == ("lesion", "none ä")
    assert (model.layer, model.pooling, model.run_id) == (
        "block5_pool",
        "avg",
        "20261123-150000-logreg-000000",
    )
    assert model.head.parameters == {"C": 1.0, "max_iter": 1000, "tol": 1e-4}
    assert model.provenance["weights_source"] == "random, seed 0"
    X = np.zeros((2, 512), np.float32)
    # The coefficient of this feature is 0.5.
    X[1, 256 + 128] = 1
    sigmoid = 1 / (1 + np.exp(-np.array([0.5, 1.0])))
    np.testing.assert_allclose(model.head.predict_proba(X), np.column_stack([1 - sigmoid, sigmoid]))


def test_a_covariance_matrix_of_too_many_features_is_refused() -> None:
    X, y = problem(2, d=5000)
    with pytest.raises(
        ParameterError, match="lda takes at most 4096 features, these are 5000; give --pooling avg"
    ):
        make_head("lda").fit(X, y, 2)


@pytest.mark.parametrize("version", [2, 3, 4])
def test_the_golden_models_of_later_versions_predict_as_before(version: int) -> None:
    model = load_model(Path(__file__).parents[1] / "golden" / f"model-v{version}.safetensors")
    assert model.classes == ("lesion", "none ä")
    assert (model.head.name, model.run_id) == ("xgboost", "20261124-183000-xgboost-000000")
    assert model.scores == [
        {"test_set": "scans", "split": "5-fold", "n_test": 48, "accuracy": 0.875}
    ]
    X = np.zeros((2, 512), np.float32)
    # The trees split feature 300 at 0.25: a score of 0.5 for one class and of -0.5 for the other.
    X[1, 300] = 1
    # Slope and bias of the calibration.
    margins = 2 * np.array([-1.0, 1.0]) + 1
    positive = 1 / (1 + np.exp(-margins))
    np.testing.assert_allclose(
        model.head.predict_proba(X), np.column_stack([1 - positive, positive])
    )
    assert model.head.calibration.threshold == 0.3
    assert model.head.predict(X).tolist() == [0, 1]


def test_an_impossible_calibration_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    model, _ = fitted("logreg")
    save_model(path, model)
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        about = json.loads(file.metadata()["about"])
    for change in (
        {"slope": "1"},
        {"slope": float("inf")},
        {"biases": [0.0]},
        {"biases": [0.0, True]},
        {"threshold": "high"},
        {"positive": 2},
        {"positive": [1]},
        {"positive": True},
        {"positive": 1.0},
    ):
        edited(path, {"about": json.dumps(about | {"calibration": about["calibration"] | change})})
        with pytest.raises(ModelFileError, match="damaged"):
            load_model(path)


@pytest.mark.parametrize("name", ["linear-svm", "rbf-svm"])
def test_predictions_do_not_depend_on_the_number_of_threads(name: str) -> None:
    """BLAS shares products of this size among its threads, and the order of sums would differ."""
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(0)
    head = make_head(name)
    if name == "linear-svm":
        X = rng.random((700, 25088), np.float32)
        head.restore({"coef": X[:1] - 0.5, "intercept": np.zeros(1)})
    else:
        X = rng.random((700, 16), np.float32)
        support = rng.random((4000, 16), np.float32)
        dual = rng.normal(size=(1, 4000))
        one = np.ones(1)
        head.restore({"support": support, "dual": dual, "intercept": one, "gamma": one})
    results = []
    for n_threads in (1, 2):
        with threadpool_limits(n_threads, "blas"):
            results.append(head.scores_of(X))
    np.testing.assert_array_equal(*results)


PREDICT_ALL = """
import sys
import numpy as np
from pathlib import Path
from freezeframe.classify.runs.model_file import load_model

X = np.load("X.npy")
for path in Path().glob("*.safetensors"):
    np.save(f"{path.stem}-{sys.argv[1]}.npy", load_model(path).head.predict_proba(X))
"""


@pytest.mark.slow
def test_predictions_in_processes_of_one_and_of_two_threads_are_equal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    X, y = problem(2, n=1200)
    np.save("X.npy", X)
    for name in PREDICTING:
        head = make_head(name, **({"epochs": 2} if name.startswith("dense") else {}))
        head.fit(X, y, 2)
        model = FittedHead(head, ("a", "b"), "block5_pool", "avg", PROVENANCE, "f" * 64, "run-1")
        save_model(f"{name}.safetensors", model)
    for n_threads in ("1", "2"):
        threads = {"OMP_NUM_THREADS": n_threads, "OPENBLAS_NUM_THREADS": n_threads}
        command = [sys.executable, "-c", PREDICT_ALL, n_threads]
        subprocess.run(command, check=True, env=fast_environment() | threads)
    for name in PREDICTING:
        first, second = (np.load(f"{name}-{n_threads}.npy") for n_threads in "12")
        np.testing.assert_array_equal(first, second, err_msg=name)
