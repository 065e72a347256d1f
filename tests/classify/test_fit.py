"""Training and test rows, rows of the leaderboard, and the files of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from safetensors.numpy import load_file

from freezeframe import FeatureStore, FreezeframeError, ParameterError, StoreError
from freezeframe.classify.fit.fitting import HeadFitter, fit_classifier
from freezeframe.classify.fit.search import FitOptions
from freezeframe.classify.heads.baselines import Majority
from freezeframe.classify.heads.neighbours import NearestNeighbours
from freezeframe.classify.heads.table import FOR_ANY_LAYER
from freezeframe.classify.runs.leaderboard import read_rows
from freezeframe.classify.runs.model_file import load_model
from freezeframe.classify.runs.prediction_file import read_predictions
from freezeframe.classify.runs.schema import COLUMNS, SCHEMA
from freezeframe.classify.scores.metrics import METRIC_COLUMNS
from freezeframe.classify.scores.score import score
from freezeframe.classify.task.relatives import UNKNOWN, relatives
from freezeframe.classify.task.task import COMPARABLE, Task, make_task
from freezeframe.data.fingerprints import Fingerprint
from freezeframe.data.splits import grouped_folds

from ..conftest import MakeStore

TWO = ["sick", "healthy"] * 20


def test_hold_out_keeps_copies_and_groups_on_one_side(make_store: MakeStore) -> None:
    sha256s = [f"{i // 4:064x}" for i in range(80)]
    groups = ["", "g"] * 4 + [""] * 72
    labels = ["sick", "sick", "healthy", "healthy"] * 20
    store = FeatureStore(make_store("a.h5", labels, sha256s=sha256s, groups=groups))
    for seed in range(5):
        task = make_task(store, seed=seed)
        (test,) = task.tests
        # There are no fingerprints, so that more relatives than the known ones may exist.
        assert set(relatives(test.part, task.train)) == {UNKNOWN}
        assert not (
            {"g"} & set(store.groups[task.train.rows]) and {"g"} & set(store.groups[test.part.rows])
        )
        assert len(task.train.rows) + len(test.part.rows) == 80
        assert test.split == "hold-out 20%"


def parts(task: Task) -> tuple[int, int, list[tuple[str, int]]]:
    """Count the training rows, the validation rows among them, and the rows of each test set."""
    return (
        len(task.train.rows),
        int(task.validation.sum()),
        [(test.split, len(test.part.rows)) for test in task.tests],
    )


def test_splits_of_the_store_are_used(make_store: MakeStore) -> None:
    splits = ["train"] * 20 + ["validation"] * 10 + ["test"] * 10
    store = FeatureStore(make_store("a.h5", TWO, splits=splits))
    large = FeatureStore(make_store("o.h5", TWO))
    small = FeatureStore(make_store("p.h5", TWO[:6]))
    assert parts(make_task(store)) == (30, 10, [("test", 10)])
    assert parts(make_task(store, tests=[large, small])) == (
        30,
        10,
        [("test", 10), ("external", 40), ("external", 6)],
    )
    no_test = FeatureStore(make_store("b.h5", TWO, splits=["train"] * 30 + ["validation"] * 10))
    assert parts(make_task(no_test)) == (30, 0, [("validation", 10)])
    assert parts(make_task(no_test, tests=[large])) == (40, 10, [("external", 40)])
    assert parts(make_task(no_test, n_folds=3)) == (40, 10, [])
    only_train = FeatureStore(make_store("c.h5", TWO, splits=["train"] * 40))
    assert parts(make_task(only_train)) == (32, 0, [("hold-out 20%", 8)])
    assert parts(make_task(only_train, tests=[large], n_folds=5)) == (40, 0, [("external", 40)])


def test_a_run_warns_of_unused_images_and_of_groups_that_a_split_cuts(
    make_store: MakeStore, tmp_path: Path
) -> None:
    splits = ["train"] * 20 + [""] * 8 + ["test"] * 12
    groups = ["p"] * 2 + [""] * 35 + ["p"] * 3
    store = FeatureStore(make_store("a.h5", TWO, splits=splits, groups=groups))
    run = fit_classifier(make_task(store), "majority", leaderboard=tmp_path / "l.csv")
    assert run.warnings == [
        "at least 3 of 12 test images of scans have a relative among the training images (3 the "
        "same group): "
        "a score on all of them says nothing about unseen images",
        "the clean scores of scans are unknown because a.h5 has no fingerprint of 40 of 40 "
        "images: only "
        "byte-identical copies are found; run extract-features again, which adds fingerprints "
        "and computes no feature again",
        "a.h5: 8 images belong to no split in use and are skipped",
    ]
    no_test = FeatureStore(make_store("c.h5", TWO, splits=["train"] * 20 + [""] * 20))
    for task in (make_task(no_test), make_task(no_test, tests=[store])):
        run = fit_classifier(task, "majority", leaderboard=tmp_path / "l.csv")
        assert "c.h5: 20 images belong to no split in use and are skipped" in run.warnings
    second = FeatureStore(
        make_store("b.h5", TWO, groups=groups, sha256s=[f"{100 + i:064x}" for i in range(40)])
    )
    task = make_task(store, tests=[second])
    assert len(task.train.rows) == 20
    # Groups of two stores are different groups, even if they have one name.
    assert set(relatives(task.tests[1].part, task.train)) == {UNKNOWN}


def test_a_head_gets_the_seed_of_the_task(
    make_store: MakeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = []
    fit = Majority.fit

    def spy(
        self: Majority, X: Any, y: Any, n_classes: int, *, seed: int = 0, folds: Any = ()
    ) -> None:
        seeds.append(seed)
        fit(self, X, y, n_classes, seed=seed)

    monkeypatch.setattr(Majority, "fit", spy)
    task = make_task(FeatureStore(make_store("a.h5", TWO)), seed=7)
    run = fit_classifier(task, "majority", leaderboard=tmp_path / "l.csv")
    # Folds judge the rows for prediction sets.
    assert set(seeds) == {run.row["seed"]} == {7}


@pytest.mark.parametrize("name", COMPARABLE)
def test_stores_that_cannot_be_compared_are_refused(make_store: MakeStore, name: str) -> None:
    store = FeatureStore(make_store("a.h5", TWO))
    old = store.provenance[name]
    test = FeatureStore(
        make_store("b.h5", TWO, provenance={name: 7 if isinstance(old, int) else "other"})
    )
    with pytest.raises(StoreError, match=rf"b\.h5: made with {name} "):
        make_task(store, tests=[test])


def test_a_test_store_may_lack_a_class_but_not_the_shape(
    make_store: MakeStore, tmp_path: Path
) -> None:
    store = FeatureStore(make_store("a.h5", ["a", "b", "c"] * 10))
    test = FeatureStore(make_store("b.h5", ["a", "b"] * 10))
    run = fit_classifier(make_task(store, tests=[test]), "majority", leaderboard=tmp_path / "l.csv")
    assert "no test image is of class c" in run.warnings
    test.layers["block5_pool"] = (9, 9, 9)
    with pytest.raises(
        StoreError, match=r"block5_pool has shape \(9, 9, 9\), in .*a\.h5 \(2, 2, 5\)"
    ):
        make_task(store, tests=[test])


def test_images_without_a_checksum_do_not_count_as_copies(make_store: MakeStore) -> None:
    store = FeatureStore(make_store("a.h5", TWO, sha256s=[""] * 40))
    task = make_task(store, tests=[FeatureStore(store.path)])
    assert set(relatives(task.tests[0].part, task.train)) == {UNKNOWN}


def test_damaged_features_are_not_scored(make_store: MakeStore, tmp_path: Path) -> None:
    path = make_store("a.h5", TWO)
    with h5py.File(path, "r+") as file:
        file["layers/block5_pool"][3, 0, 0, 0] = 1e6
    with pytest.raises(
        StoreError, match=r"a\.h5: the block5_pool features of healthy/3\.png are damaged"
    ):
        fit_classifier(make_task(FeatureStore(path)), "majority", leaderboard=tmp_path / "l.csv")
    assert {file.name for file in tmp_path.iterdir()} == {"a.h5"}


def test_a_run_whose_row_cannot_be_appended_leaves_no_folder(
    make_store: MakeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*_: object) -> None:
        raise FreezeframeError("locked")

    monkeypatch.setattr("freezeframe.classify.runs.run.append_rows", locked)
    with pytest.raises(FreezeframeError, match="locked"):
        fit_classifier(
            make_task(FeatureStore(make_store("a.h5", TWO))),
            "majority",
            leaderboard=tmp_path / "l.csv",
        )
    assert list((tmp_path / "runs").iterdir()) == []


def test_another_store_is_a_test_set(make_store: MakeStore) -> None:
    store = FeatureStore(make_store("a.h5", TWO))
    test = FeatureStore(
        make_store("b.h5", ["ill", "no"] * 5, sha256s=[f"{i + 35:064x}" for i in range(10)])
    )
    task = make_task(store, tests=[test], classes={"ill": "sick", "no": "healthy"})
    assert parts(task) == (40, 0, [("external", 10)])
    assert relatives(task.tests[0].part, task.train).tolist() == ["bytes"] * 5 + [UNKNOWN] * 5
    assert task.positive == "sick"
    assert task.classes == ["healthy", "sick"]


def test_a_part_is_held_out_beside_another_store(make_store: MakeStore) -> None:
    """One fit is scored on both: it is trained on neither."""
    store = FeatureStore(make_store("a.h5", TWO))
    other = FeatureStore(make_store("b.h5", TWO[:20]))
    task = make_task(store, tests=[other], hold_out=True)
    assert parts(task) == (32, 0, [("hold-out 20%", 8), ("external", 20)])


def test_impossible_tasks_are_refused(make_store: MakeStore) -> None:
    store = FeatureStore(make_store("a.h5", TWO))
    renamed = FeatureStore(make_store("b.h5", ["ill", "no"] * 5))
    foreign = FeatureStore(make_store("c.h5", TWO, provenance={"weights_digest": "1" * 64}))
    resized = FeatureStore(make_store("i.h5", TWO, provenance={"resize": "nearest"}))
    half = FeatureStore(make_store("d.h5", TWO, pending=3))
    one_class = FeatureStore(make_store("e.h5", ["sick"] * 10))
    only_test = FeatureStore(make_store("f.h5", TWO, splits=["test"] * 40))
    broken = FeatureStore(make_store("g.h5", TWO, failed=40))
    three = FeatureStore(make_store("h.h5", ["a", "b", "c"] * 10))

    def refused(kind: type[Exception], message: str, store: FeatureStore, **options: Any) -> None:
        with pytest.raises(kind, match=message):
            make_task(store, **options)

    refused(
        FreezeframeError,
        "class 'ill' is none of the training classes healthy, sick; rename",
        store,
        tests=[renamed],
    )
    refused(
        StoreError,
        r"c\.h5: made with weights_digest '1+', but .*a\.h5 with '0+'",
        store,
        tests=[foreign],
    )
    refused(
        StoreError,
        r"i\.h5: made with resize 'nearest', but .*a\.h5 with 'bilinear'",
        store,
        tests=[resized],
    )
    refused(
        StoreError, r"d\.h5: 3 of 40 rows are not computed yet; run extract-features again", half
    )
    refused(StoreError, r"d\.h5: 3 of 40 rows", store, tests=[half])
    refused(FreezeframeError, "two classes are needed, but all its images are 'sick'", one_class)
    refused(
        FreezeframeError,
        "images are split into test, but none are for training",
        only_test,
        tests=[store],
    )
    refused(FreezeframeError, "images are split into test, but none are for training", only_test)
    refused(StoreError, "none of its images could be read", broken)
    refused(
        ParameterError,
        "has no layer 'block9_pool'; it has block3_pool, block5_pool",
        store,
        layer="block9_pool",
    )
    refused(
        ParameterError, "pooling must be one of flat, avg, max, got 'mean'", store, pooling="mean"
    )
    refused(
        ParameterError, "positive must be one of healthy, sick, got 'yes'", store, positive="yes"
    )
    refused(
        ParameterError,
        "positive is for two classes, but there are 3; leave it out",
        three,
        positive="a",
    )
    refused(
        ParameterError,
        "no image is labelled 'sik'; labels are healthy, sick",
        store,
        classes={"sik": "x"},
    )
    refused(
        ParameterError,
        r"f\.h5: given twice as a test store; give it once",
        store,
        tests=[only_test, only_test],
    )
    refused(ParameterError, "needs 2 folds and 1 repeat at least, got 1 and 1", store, n_folds=1)
    refused(ParameterError, "test_size must be between 0 and 1", store, test_size=1.5)


def test_a_run_writes_a_row_a_model_and_predictions(make_store: MakeStore, tmp_path: Path) -> None:
    thumbnails = np.random.default_rng(0).integers(0, 256, (38, 64, 64)).astype(np.uint8)
    fingerprints = {
        "fingerprints": [Fingerprint(f"{i:064x}", thumbnails[i]) for i in range(38)],
        "merged": True,
    }
    store = FeatureStore(
        make_store("a.h5", TWO, provenance={"source": "/scans/brain"}, failed=2, **fingerprints)
    )
    run = fit_classifier(
        make_task(store), "majority", leaderboard=tmp_path / "l.csv", runs=tmp_path / "runs"
    )
    (row,) = read_rows(tmp_path / "l.csv")
    assert tuple(row) == COLUMNS
    assert set(run.row) == set(COLUMNS) - {"schema"}
    assert (run.row.n_test, run.row["n_test"]) == (8, 8)
    assert (row["schema"], row["head"], row["layer"], row["pooling"]) == (
        str(SCHEMA),
        "majority",
        "block5_pool",
        "avg",
    )
    names = ("data_set", "test_set", "split", "classes")
    assert [row[name] for name in names] == [
        "brain",
        "brain",
        "hold-out 20%",
        '["healthy", "sick"]',
    ]
    numbers = ("n_train", "n_test", "n_test_groups", "n_test_in_train", "positive")
    assert [row[name] for name in numbers] == ["30", "8", "8", "0", "sick"]
    assert [row[name] for name in ("n_test_leaking", "n_test_clean", "n_test_clean_groups")] == [
        "0",
        "8",
        "8",
    ]
    assert row["accuracy"] == "0.500000"
    assert row["store_fingerprint"] == row["test_fingerprint"] == store.fingerprint
    assert row["weights_digest"] == "0" * 64
    assert run.warnings == ["a.h5: 2 unreadable images are skipped"]
    folder = tmp_path / "runs" / row["run_id"]
    assert int(row["model_bytes"]) == (folder / "model.safetensors").stat().st_size
    (evaluation,) = read_predictions(folder).values()
    assert (evaluation.test_id, evaluation.test_set, evaluation.classes) == (
        row["test_id"],
        "brain",
        ("healthy", "sick"),
    )
    again = score(evaluation.predictions)
    for name in METRIC_COLUMNS:
        assert (
            row[name]
            == row[f"clean_{name}"]
            == ("" if np.isnan(again[name]) else f"{again[name]:.6f}")
        )
    model = load_model(folder / "model.safetensors")
    assert model.run_id == row["run_id"]
    assert model.scores[0]["accuracy"] == 0.5


def test_every_test_set_has_a_row(make_store: MakeStore, tmp_path: Path) -> None:
    store = FeatureStore(make_store("a.h5", TWO, splits=["train"] * 30 + ["test"] * 10))
    test_stores = [
        FeatureStore(make_store(name, TWO[:n], provenance={"source": name}))
        for name, n in (("b", 8), ("c", 6))
    ]
    run = fit_classifier(
        make_task(store, tests=test_stores, n_folds=3), "logreg", leaderboard=tmp_path / "l.csv"
    )
    rows = read_rows(tmp_path / "l.csv")
    assert [
        (row["split"], row["test_set"], row["n_test"], row["n_test_in_train"]) for row in rows
    ] == [
        ("3-fold", "scans", "30", "0"),
        ("test", "scans", "10", "0"),
        ("external", "b", "8", "8"),
        ("external", "c", "6", "6"),
    ]
    assert len({row["run_id"] for row in rows}) == 1
    assert len({row["test_id"] for row in rows}) == 4
    assert list(read_predictions(run.folder)) == [row["test_id"] for row in rows]
    assert rows[2]["test_fingerprint"] == test_stores[0].fingerprint
    assert run.warnings[0].startswith(
        "the clean scores of scans are unknown because a.h5 has no fingerprint of 40 of 40 images"
    )
    assert run.warnings[1].startswith(
        "8 of 8 test images of b have a relative among the training images (8 the same bytes): "
    )
    assert (
        run.warnings[2] == "0 of 8 test images of b have no relative in training: too few to score"
    )


def test_a_test_set_is_identified_by_its_images(make_store: MakeStore, tmp_path: Path) -> None:
    def identity(name: str, seed: int = 0, **options: Any) -> str:
        task = make_task(FeatureStore(make_store(name, TWO, **options)), seed=seed)
        return str(fit_classifier(task, "majority", leaderboard=tmp_path / "l.csv").row["test_id"])

    assert identity("a.h5") == identity("b.h5", provenance={"source": "elsewhere"})
    assert identity("a.h5") != identity("a.h5", seed=1)
    assert identity("a.h5") != identity("c.h5", sha256s=[f"{i:063x}f" for i in range(40)])


def test_cross_validation_fits_no_head_on_relatives_of_a_judged_image(
    make_store: MakeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = [f"patient {i // 4}" for i in range(40)]
    store = FeatureStore(make_store("a.h5", TWO, groups=groups))
    X = store.features("block5_pool", pooling="avg")
    row_of = {features.tobytes(): row for row, features in enumerate(X)}
    fitted: list[set[str]] = []
    fit = NearestNeighbours.fit
    scores = NearestNeighbours.scores

    def spy_on_fit(self: Any, X: Any, *arguments: Any, **options: Any) -> None:
        fitted.append({groups[row_of[x.tobytes()]] for x in X})
        fit(self, X, *arguments, **options)

    def spy_on_scores(self: Any, X: Any) -> Any:
        # The head on all rows is not evaluated by folds; it predicts one row, as a check.
        if 1 < len(X) < 40:
            assert not fitted[-1] & {groups[row_of[x.tobytes()]] for x in X}
        return scores(self, X)

    monkeypatch.setattr(NearestNeighbours, "fit", spy_on_fit)
    monkeypatch.setattr(NearestNeighbours, "scores", spy_on_scores)
    # The scale of explanations is computed on training images.
    monkeypatch.setattr(HeadFitter, "_background", lambda *_: None)
    task = make_task(store, n_folds=5, n_repeats=2)
    run = fit_classifier(task, "knn", leaderboard=tmp_path / "l.csv", runs=tmp_path / "runs")
    assert len(fitted) == 11
    assert (run.row["split"], run.row["n_test"], run.row["n_test_groups"]) == ("5-fold x 2", 40, 10)
    (evaluation,) = read_predictions(run.folder).values()
    assert evaluation.predictions.proba.shape == (2, 40, 2)
    with pytest.raises(
        FreezeframeError, match="11 folds are too many: class 'healthy' has 10 independent images"
    ):
        fit_classifier(make_task(store, n_folds=11), "knn", leaderboard=tmp_path / "l.csv")


def test_cross_validation_of_a_reduced_head_equals_that_on_the_features(
    make_store: MakeStore, tmp_path: Path
) -> None:
    from sklearn.linear_model import LogisticRegression

    store = FeatureStore(make_store("a.h5", TWO))
    # 40 images have 48 features each, so that a reduction is smaller.
    task = make_task(store, layer="block3_pool", n_folds=4)
    options = FitOptions("none", {"C": 0.1, "tol": 1e-8})
    run = fit_classifier(task, "logreg", options, leaderboard=tmp_path / "l.csv")
    assert run.row["reduce_seconds"] > 0
    (evaluation,) = read_predictions(run.folder).values()
    X = store.features("block3_pool", pooling="flat")
    y = store.labels == "sick"
    proba = np.empty(40)
    for fitted, judged in grouped_folds(store.labels, np.arange(40), n_folds=4):
        solver = LogisticRegression(C=0.1, tol=1e-8).fit(X[fitted], y[fitted])
        proba[judged] = solver.predict_proba(X[judged])[:, 1]
    np.testing.assert_allclose(evaluation.predictions.proba[0, :, 1], proba, atol=1e-4)
    # The model is fitted on all rows; its coefficients are those of features, not of the reduction.
    arrays = load_file(run.folder / "model.safetensors")
    np.testing.assert_allclose(
        arrays["coef"], LogisticRegression(C=0.1, tol=1e-8).fit(X, y).coef_, atol=1e-4
    )


# Stores without thumbnails have no border.
@pytest.mark.parametrize("head", [name for name in FOR_ANY_LAYER if name != "image-border"])
def test_every_head_takes_three_classes(make_store: MakeStore, tmp_path: Path, head: str) -> None:
    store = FeatureStore(make_store("a.h5", ["a", "b", "c"] * 20))
    run = fit_classifier(
        make_task(store), head, leaderboard=tmp_path / "l.csv", runs=tmp_path / "runs"
    )
    assert run.row["positive"] == ""
    assert 0 <= run.row["roc_auc"] <= 1


def test_a_run_warns_of_leaks_and_random_weights(make_store: MakeStore, tmp_path: Path) -> None:
    store = FeatureStore(make_store("a.h5", TWO, provenance={"weights_source": "random, seed 3"}))
    run = fit_classifier(
        make_task(store, tests=[store]),
        "logreg",
        leaderboard=tmp_path / "l.csv",
        runs=tmp_path / "runs",
    )
    assert run.row["n_test_in_train"] == 40
    assert run.row["weights"] == "random, seed 3"
    assert run.row["n_test_leaking"] == 40
    assert (
        "40 of 40 test images of scans have a relative among the training images" in run.warnings[0]
    )
    assert "random, seed 3" in run.warnings[2]
