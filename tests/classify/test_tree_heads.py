"""Tree heads equal scikit-learn's and XGBoost's to the last leaf, and refuse damaged trees."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from freezeframe import FeatureStore, FreezeframeError, MissingExtraError, ParameterError
from freezeframe.classify.heads import boosting
from freezeframe.classify.heads.base import Head
from freezeframe.classify.heads.boosting import XGBoost
from freezeframe.classify.heads.trees import MAX_DEPTH, ExtraTrees, Trees
from freezeframe.data.splits import grouped_folds

from ..conftest import MakeStore

Arrays = dict[str, np.ndarray]
KINDS: list[type[Head]] = [ExtraTrees, XGBoost]


def problem(
    n_classes: int, n: int = 120, d: int = 20, shift: float = 4
) -> tuple[np.ndarray, np.ndarray]:
    """Return features that separate the classes; with shift 0 they do not, and trees grow deep."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % n_classes
    X = rng.normal(size=(n, d)).astype(np.float32)
    X[:, :n_classes] += shift * np.eye(n_classes, dtype=np.float32)[y]
    return X, y


def folds_of(y: np.ndarray) -> Any:
    return grouped_folds(y.astype(str), np.arange(len(y)), n_folds=5, seed=0)


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_a_restored_head_predicts_the_same(kind: type[Head], n_classes: int) -> None:
    X, y = problem(n_classes)
    head = kind(n_estimators=30)
    head.fit(X[:60], y[:60], n_classes, seed=0)
    proba = head.predict_proba(X[60:])
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    assert (proba.argmax(axis=1) == y[60:]).mean() > 0.85
    restored = kind()
    restored.restore(head.arrays)
    np.testing.assert_array_equal(restored.predict_proba(X[60:].astype(np.float64)), proba)
    again = kind(n_estimators=30)
    again.fit(X[:60], y[:60], n_classes, seed=0)
    np.testing.assert_array_equal(again.scores(X), head.scores(X))


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_a_store_and_an_array_give_the_same(
    kind: type[Head], make_store: MakeStore
) -> None:
    rows = FeatureStore(make_store("f.h5", ["a", "b"] * 20)).select("block5_pool", pooling="avg")
    y = np.arange(40) % 2
    heads = [kind(n_estimators=10), kind(n_estimators=10)]
    for head, X in zip(heads, (rows, rows[:]), strict=True):
        head.fit(X, y, 2, folds=folds_of(y))
    np.testing.assert_array_equal(heads[0].scores_of(rows), heads[1].scores(rows[:]))
    results = [
        list(kind(n_estimators=10).cross_validate(X, y, 2, folds_of(y), [{}], 0))
        for X in (rows, rows[:])
    ]
    np.testing.assert_array_equal(results[0][0][1], results[1][0][1])
    assert results[0][0][0] == results[1][0][0]


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("shift", [4, 0])
def test_the_forest_predicts_as_scikit_learn(n_classes: int, shift: float) -> None:
    from sklearn.ensemble import ExtraTreesClassifier

    X, y = problem(n_classes, shift=shift)
    # Many rows have equal values.
    X = X.round(1)
    head = ExtraTrees(n_estimators=25, max_features=1)
    head.fit(X, y, n_classes, seed=3)
    forest = ExtraTreesClassifier(25, max_features=1.0, random_state=3).fit(X, y)
    unseen = np.concatenate([X, np.random.default_rng(1).normal(size=X.shape).astype(np.float32)])
    np.testing.assert_allclose(
        head.predict_proba(unseen), forest.predict_proba(unseen), atol=n_classes * 1e-6
    )


def test_rows_at_a_threshold_turn_as_in_scikit_learn() -> None:
    from sklearn.ensemble import ExtraTreesClassifier

    X, y = problem(2, shift=0)
    forest = ExtraTreesClassifier(20, random_state=0).fit(X, y)
    trees = Trees.from_forest(forest, 2)
    edges = np.concatenate(
        [tree.tree_.threshold[tree.tree_.children_left >= 0] for tree in forest.estimators_]
    )
    near = edges.astype(np.float32)
    for edge in (np.nextafter(near, np.float32(-9)), near, np.nextafter(near, np.float32(9))):
        rows = np.repeat(edge[:, None], X.shape[1], axis=1)
        np.testing.assert_allclose(trees.scores(rows) / 20, forest.predict_proba(rows), atol=1e-6)


def test_a_class_without_rows_gets_the_least_share() -> None:
    X, y = problem(3)
    head = ExtraTrees(n_estimators=5)
    head.fit(X[y != 1], y[y != 1], 3)
    proba = head.predict_proba(X)
    assert proba.shape == (120, 3)
    assert (proba[:, 1] < 2e-6).all()


def test_many_rows_are_walked_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = problem(3)
    for head in (ExtraTrees(n_estimators=7), XGBoost(n_estimators=7)):
        head.fit(X, y, 3)
        whole = head.scores(X)
        monkeypatch.setattr("freezeframe.classify.heads.trees._LEAVES_AT_ONCE", 50)
        np.testing.assert_array_equal(head.scores(X), whole)
        assert head.scores(X[:0]).shape == (0, 3)
        monkeypatch.undo()


@pytest.mark.parametrize(("n_classes", "shift"), [(2, 4), (2, 0), (4, 0)])
def test_walked_trees_predict_as_xgboost(
    n_classes: int, shift: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    import xgboost

    boosters = []
    train = xgboost.train

    def train_and_record(*arguments: Any, **options: Any) -> Any:
        boosters.append(train(*arguments, **options))
        return boosters[-1]

    monkeypatch.setattr(xgboost, "train", train_and_record)
    X, y = problem(n_classes, shift=shift)
    head = XGBoost(n_estimators=40)
    head.fit(X, y, n_classes, seed=0)
    expected = boosters[-1].predict(xgboost.DMatrix(X))
    expected = np.column_stack([1 - expected, expected]) if n_classes == 2 else expected
    np.testing.assert_allclose(head.predict_proba(X), expected, atol=1e-5)


def test_older_model_files_with_a_tree_for_each_class_work() -> None:
    import json

    import xgboost

    X, y = problem(2)
    options = {"objective": "multi:softprob", "num_class": 2, "base_score": 0.5, "max_depth": 3}
    booster = xgboost.train(options, xgboost.DMatrix(X, label=y), 5)
    trees = Trees.from_xgboost(json.loads(booster.save_raw("json")))
    head = XGBoost()
    head.restore(trees.arrays)
    assert len(trees.arrays["root"]) == 10
    np.testing.assert_allclose(
        head.predict_proba(X), booster.predict(xgboost.DMatrix(X)), atol=1e-6
    )


@pytest.mark.parametrize("n_classes", [2, 3])
def test_large_features_are_read_block_by_block(
    n_classes: int, make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FeatureStore(make_store("f.h5", list("abc"[:n_classes]) * 40))
    rows = store.select("block5_pool", pooling="flat")
    y = np.arange(len(rows)) % n_classes
    heads = [XGBoost(), XGBoost()]
    heads[0].fit(rows, y, n_classes, folds=folds_of(y))
    results = list(
        XGBoost().cross_validate(rows, y, n_classes, folds_of(y), [{}, {"max_depth": 1}], 0)
    )
    monkeypatch.setattr(boosting, "IN_MEMORY_BYTES", 0)
    # 7 rows at a time.
    monkeypatch.setattr("freezeframe.features.rows.feature_rows.BLOCK_BYTES", 600)
    monkeypatch.setattr(type(rows), "__array__", lambda *_: pytest.fail("all of it was read"))
    heads[1].fit(rows, y, n_classes, folds=folds_of(y))
    for name, array in heads[0].arrays.items():
        np.testing.assert_array_equal(heads[1].arrays[name], array)
    streamed = list(
        XGBoost().cross_validate(rows, y, n_classes, folds_of(y), [{}, {"max_depth": 1}], 0)
    )
    for (candidate, scores), (expected, memory_scores) in zip(streamed, results, strict=True):
        assert candidate == expected
        np.testing.assert_array_equal(scores, memory_scores)


def test_a_damaged_row_is_reported_from_within_xgboost(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_store("f.h5", ["a", "b"] * 10)
    rows = FeatureStore(path).select("block5_pool", pooling="flat")
    content = bytearray(path.read_bytes())
    place = content.index(rows[:][7].tobytes())
    content[place] ^= 1
    path.write_bytes(content)
    monkeypatch.setattr(boosting, "IN_MEMORY_BYTES", 0)
    rows = FeatureStore(path).select("block5_pool", pooling="flat")
    with pytest.raises(FreezeframeError, match=r"b/7\.png are damaged"):
        XGBoost().fit(rows, np.arange(20) % 2, 2)


def n_rounds(head: Head, n_classes: int = 2) -> int:
    return len(head.arrays["root"]) // (1 if n_classes == 2 else n_classes)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_rounds_are_the_best_for_rows_not_fitted_on(n_classes: int) -> None:
    X, y = problem(n_classes, shift=1)
    folds = folds_of(y)
    head = XGBoost(early_stopping=5)
    head.fit(X, y, n_classes, folds=folds)
    rounds = n_rounds(head, n_classes)
    assert rounds < 200
    fitted, judged = folds[0]
    losses = []
    for number in range(max(1, rounds - 3), rounds + 6):
        tried = XGBoost(n_estimators=number)
        tried.fit(X[fitted], y[fitted], n_classes)
        losses.append(
            -np.log(tried.predict_proba(X[judged])[np.arange(len(judged)), y[judged]]).mean()
        )
    assert np.argmin(np.round(losses, 6)) == min(3, rounds - 1)
    fixed = XGBoost(n_estimators=rounds, early_stopping=0)
    fixed.fit(X, y, n_classes, folds=folds)
    np.testing.assert_array_equal(fixed.scores(X), head.scores(X))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_candidate_includes_the_rounds_to_fit_it_with(n_classes: int) -> None:
    X, y = problem(n_classes, shift=1)
    folds = folds_of(y)
    results = list(
        XGBoost(early_stopping=5).cross_validate(X, y, n_classes, folds, [{"max_depth": 1}, {}], 0)
    )
    assert [candidate.get("max_depth") for candidate, _ in results] == [1, None]
    for candidate, scores in results:
        assert candidate["early_stopping"] == 0
        head = XGBoost(**candidate)
        head.fit(X, y, n_classes, folds=folds)
        assert n_rounds(head, n_classes) == candidate["n_estimators"] < 200
        assert scores.shape == (120, n_classes)
        assert np.isfinite(scores).all()
        assert (scores.argmax(axis=1) == y).mean() > 0.5


def test_without_early_stopping_folds_fit_all_rounds_and_score_as_the_head() -> None:
    X, y = problem(2, shift=1)
    folds = folds_of(y)[:2]
    ((candidate, scores),) = XGBoost(n_estimators=8, early_stopping=0).cross_validate(
        X, y, 2, folds, [{}], 0
    )
    assert candidate["n_estimators"] == 8
    ((_, expected),) = Head.cross_validate(XGBoost(**candidate), X, y, 2, folds, [{}], 0)
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert np.isnan(scores).any()


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        (ExtraTrees, {"n_estimators": 0}),
        (ExtraTrees, {"max_features": 1.5}),
        (ExtraTrees, {"min_samples_leaf": -1}),
        (XGBoost, {"learning_rate": float("nan")}),
        (XGBoost, {"max_depth": 0}),
        (XGBoost, {"colsample_bytree": 0.0}),
        (XGBoost, {"early_stopping": -1}),
    ],
)
def test_impossible_parameters_are_refused(kind: type[Head], parameters: dict[str, Any]) -> None:
    with pytest.raises(
        ParameterError, match=f"{kind.name}: {next(iter(parameters))} must lie between"
    ):
        kind(**parameters)


def chain(depth: int) -> Arrays:
    """Return a tree in which every left child is a leaf."""
    n = 2 * depth + 1
    inner = np.arange(n) % 2 == 0
    inner[-1] = False
    node = np.arange(n)
    return {
        "left": np.where(inner, node + 1, -1).astype(np.int32),
        "right": np.where(inner, node + 2, -1).astype(np.int32),
        "feature": np.zeros(n, np.int32),
        "threshold": np.zeros(n, np.float32),
        "leaf": np.ones(n, np.float32),
        "root": np.zeros(1, np.int32),
        "output": np.zeros(1, np.int32),
    }


def test_trees_with_long_walks_are_refused() -> None:
    assert Trees(chain(MAX_DEPTH)).scores(np.ones((3, 1))).tolist() == [[1]] * 3
    with pytest.raises(ValueError, match="damaged"):
        Trees(chain(MAX_DEPTH + 1))
    with pytest.raises(ValueError, match="damaged"):
        Trees(chain(200_000))
    shared = chain(3)
    # A node with two parents.
    shared["left"][2] = shared["right"][2]
    with pytest.raises(ValueError, match="damaged"):
        Trees(shared)


def test_arrays_of_no_forest_are_refused() -> None:
    X, y = problem(2)
    head = ExtraTrees(n_estimators=3)
    head.fit(X, y, 2)
    sound = head.arrays
    inner = int(np.flatnonzero(sound["left"] >= 0)[0])
    leaf = int(np.flatnonzero(sound["left"] < 0)[0])

    def changed(name: str, place: Any, value: float) -> Arrays:
        array = sound[name].copy()
        array[place] = value
        return sound | {name: array}

    damaged = [
        changed("left", inner, inner),
        changed("right", inner, 10**6),
        changed("left", inner, sound["right"][inner]),
        changed("feature", inner, -1),
        changed("root", 1, 0),
        changed("root", 0, 1),
        changed("output", 0, 1),
        changed("output", 0, -1),
        changed("leaf", (leaf, 0), -0.5),
        changed("leaf", (leaf, 0), np.nan),
        changed("leaf", (leaf, 0), 2),
        changed("threshold", inner, np.inf),
        sound | {"leaf": sound["leaf"][:, 0].copy()},
        sound | {"leaf": sound["leaf"][:-1]},
        sound | {"leaf": sound["leaf"][:, :0]},
        sound | {"leaf": sound["leaf"][None]},
        sound | {"leaf": sound["leaf"].astype(np.float64)},
        sound | {"root": sound["root"][:0], "output": sound["output"][:0]},
    ]
    for arrays in damaged:
        with pytest.raises(ValueError, match=r"damaged|shares|dimensions"):
            ExtraTrees().restore(arrays)
    for name in sound:
        with pytest.raises(KeyError, match=name):
            ExtraTrees().restore({key: array for key, array in sound.items() if key != name})
    with pytest.raises(ValueError, match="ask for feature"):
        head.scores(X[:, :1])


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xgboost", None)
    X, y = problem(2)
    with pytest.raises(
        MissingExtraError, match=r"the head xgboost needs xgboost.*freezeframe\[cpu\]"
    ):
        XGBoost().fit(X, y, 2)


def test_a_gpu_is_used_where_xgboost_can(monkeypatch: pytest.MonkeyPatch) -> None:
    import xgboost

    for built, megabytes, device in (
        (True, 80_000, "cuda"),
        (True, 0, "cpu"),
        (False, 80_000, "cpu"),
    ):
        monkeypatch.setattr(xgboost, "build_info", lambda built=built: {"USE_CUDA": built})
        monkeypatch.setattr(
            "freezeframe.extract.engines.devices.gpu_megabytes",
            lambda megabytes=megabytes: megabytes,
        )
        assert XGBoost()._options(2, 0, 1)["device"] == device


def test_heavy_libraries_are_loaded_late() -> None:
    code = (
        "import sys; from freezeframe.classify.heads import boosting, trees; "
        "from freezeframe.classify.heads.networks import dense; "
        "print({'sklearn', 'xgboost', 'keras', 'tensorflow', 'joblib'} & set(sys.modules))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        == "set()\n"
    )
