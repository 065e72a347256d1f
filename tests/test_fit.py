"""Scores, choosing training and test rows, and the leaderboard."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freezeframe import FeatureStore, FreezeframeError, ParameterError, StoreError
from freezeframe.classify.fit import fit_classifier
from freezeframe.classify.heads import Majority
from freezeframe.classify.leaderboard import COLUMNS, append_rows, read_rows
from freezeframe.classify.metrics import METRICS, guess_positive, score
from freezeframe.classify.model_file import load_model
from freezeframe.classify.task import COMPARABLE, make_task

from .conftest import MakeStore

TWO = ["sick", "healthy"] * 20


@given(st.integers(2, 4), st.integers(8, 40), st.integers(0, 10**6))
def test_scores_equal_scikit_learn_s(n_classes: int, n: int, seed: int) -> None:
    from sklearn import metrics

    rng = np.random.default_rng(seed)
    y = np.concatenate([np.arange(n_classes), rng.integers(0, n_classes, n)])
    proba = rng.dirichlet(np.ones(n_classes), len(y))
    predicted = proba.argmax(axis=1)
    positive = 1 if n_classes == 2 else None
    got = score(y, proba, positive)
    assert list(got) == list(METRICS)
    assert got["accuracy"] == pytest.approx(metrics.accuracy_score(y, predicted))
    assert got["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(y, predicted))
    assert got["macro_f1"] == pytest.approx(metrics.f1_score(y, predicted, average="macro"))
    assert got["mcc"] == pytest.approx(metrics.matthews_corrcoef(y, predicted))
    if n_classes == 2:
        assert got["sensitivity"] == pytest.approx(metrics.recall_score(y, predicted))
        assert got["specificity"] == pytest.approx(metrics.recall_score(y, predicted, pos_label=0))
        assert got["roc_auc"] == pytest.approx(metrics.roc_auc_score(y, proba[:, 1]))
    else:
        assert got["sensitivity"] == pytest.approx(metrics.recall_score(y, predicted, average="macro"))
        assert got["roc_auc"] == pytest.approx(metrics.roc_auc_score(y, proba, multi_class="ovr"))
    assert got["accuracy_low"] <= got["accuracy"] <= got["accuracy_high"]


def test_wilson_interval_of_the_article_s_score() -> None:
    y = np.zeros(253, dtype=int)
    y[:155] = 1
    proba = np.column_stack([1 - y, y]).astype(float)
    proba[0] = [1, 0]
    got = score(y, proba, 1)
    none_right = score(np.zeros(14, dtype=int), np.tile([0.0, 1.0], (14, 1)), 1)
    assert (none_right["accuracy_low"], none_right["accuracy"]) == (0, 0)
    # 252 of 253: Wilson's interval, by the formula of his paper worked out by hand.
    assert got["accuracy"] == pytest.approx(252 / 253)
    assert (got["accuracy_low"], got["accuracy_high"]) == pytest.approx((0.97797, 0.99930), abs=5e-5)


def test_positive_0_turns_sensitivity_round() -> None:
    y, proba = np.array([0, 0, 0, 1]), np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8]])
    as_one, as_zero = score(y, proba, 1), score(y, proba, 0)
    assert (as_one["sensitivity"], as_one["specificity"]) == (as_zero["specificity"], as_zero["sensitivity"])
    assert as_zero["sensitivity"] == pytest.approx(2 / 3)


def test_what_is_not_defined_is_nan() -> None:
    got = score(np.array([1, 1]), np.array([[0.2, 0.8], [0.6, 0.4]]), 1)
    assert {name for name, value in got.items() if np.isnan(value)} == {"specificity", "mcc", "roc_auc"}


@pytest.mark.parametrize(
    ("classes", "positive"),
    [
        (["no_tumor", "brain_tumor"], "brain_tumor"),
        (["yes", "no"], "yes"),
        (["Healthy", "glioma"], "glioma"),
        (["0", "1"], "1"),
        (["normal", "abnormal"], "abnormal"),
        (["lesion", "no_lesion"], "lesion"),
        (["cat", "dog"], "dog"),
        (["clear", "nodule"], "nodule"),
        (["node", "tissue"], "tissue"),
        (["notumor", "glioma"], "glioma"),
    ],
)
def test_the_positive_class_is_the_one_that_is_no_negation(classes: list[str], positive: str) -> None:
    assert guess_positive(classes) == positive


def test_hold_out_keeps_copies_and_groups_on_one_side(make_store: MakeStore) -> None:
    sha256s = [f"{i // 4:064x}" for i in range(80)]
    groups = ["", "g"] * 4 + [""] * 72
    labels = ["sick", "sick", "healthy", "healthy"] * 20
    store = FeatureStore(make_store("a.h5", labels, sha256s=sha256s, groups=groups))
    for seed in range(5):
        task = make_task(store, seed=seed)
        assert not task.test.overlap(task.train).any()
        assert not ({"g"} & set(store.groups[task.train.rows]) and {"g"} & set(store.groups[task.test.rows]))
        assert len(task.train.rows) + len(task.test.rows) == 80
        assert task.split == "hold-out 20%"


def test_the_store_s_own_splits_are_used(make_store: MakeStore) -> None:
    splits = ["train"] * 20 + ["validation"] * 10 + ["test"] * 10
    store = FeatureStore(make_store("a.h5", TWO, splits=splits))
    task = make_task(store)
    assert (len(task.train.rows), len(task.test.rows), task.split) == (20, 10, "test")
    no_test = FeatureStore(make_store("b.h5", TWO, splits=["train"] * 30 + ["validation"] * 10))
    task = make_task(no_test)
    assert (len(task.train.rows), len(task.test.rows), task.split) == (30, 10, "validation")
    assert make_task(FeatureStore(make_store("c.h5", TWO, splits=["train"] * 40))).split == "hold-out 20%"


def test_rows_that_the_splits_leave_out_and_groups_they_cut_are_told(make_store: MakeStore, tmp_path: Path) -> None:
    splits = ["train"] * 20 + [""] * 8 + ["test"] * 12
    groups = ["p"] * 2 + [""] * 35 + ["p"] * 3
    store = FeatureStore(make_store("a.h5", TWO, splits=splits, groups=groups))
    run = fit_classifier(make_task(store), "majority", leaderboard=tmp_path / "l.csv")
    assert run.warnings == [
        "3 of 12 test images are of a group that is trained on, too",
        "a.h5: 8 images are of no split that is used, and are left out",
    ]
    no_test = FeatureStore(make_store("c.h5", TWO, splits=["train"] * 20 + [""] * 20))
    for task in (make_task(no_test), make_task(no_test, test=store)):
        run = fit_classifier(task, "majority", leaderboard=tmp_path / "l.csv")
        assert "c.h5: 20 images are of no split that is used, and are left out" in run.warnings
    other = FeatureStore(make_store("b.h5", TWO, groups=groups))
    task = make_task(store, test=other)
    assert len(task.train.rows) == 20
    assert not task.test.shared_groups(task.train).any()


def test_a_head_gets_the_seed_of_the_task(
    make_store: MakeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds, fit = [], Majority.fit

    def spied(self: Majority, X: Any, y: Any, n_classes: int, seed: int) -> None:
        seeds.append(seed)
        fit(self, X, y, n_classes, seed)

    monkeypatch.setattr(Majority, "fit", spied)
    task = make_task(FeatureStore(make_store("a.h5", TWO)), seed=7)
    run = fit_classifier(task, "majority", leaderboard=tmp_path / "l.csv")
    assert seeds == [run.row["seed"]] == [7]


@pytest.mark.parametrize("name", COMPARABLE)
def test_stores_that_cannot_be_compared_are_refused(make_store: MakeStore, name: str) -> None:
    store = FeatureStore(make_store("a.h5", TWO))
    old = store.provenance[name]
    other = FeatureStore(make_store("b.h5", TWO, provenance={name: 7 if isinstance(old, int) else "other"}))
    with pytest.raises(StoreError, match=rf"b\.h5: made with {name} "):
        make_task(store, test=other)


def test_a_test_store_of_other_shape_or_without_a_class(make_store: MakeStore, tmp_path: Path) -> None:
    store = FeatureStore(make_store("a.h5", ["a", "b", "c"] * 10))
    other = FeatureStore(make_store("b.h5", ["a", "b"] * 10))
    run = fit_classifier(make_task(store, test=other), "majority", leaderboard=tmp_path / "l.csv")
    assert "no test image is of class c" in run.warnings
    other.layers["block5_pool"] = (9, 9, 9)
    with pytest.raises(StoreError, match=r"block5_pool has shape \(9, 9, 9\), in .*a\.h5 \(2, 2, 5\)"):
        make_task(store, test=other)


def test_images_without_a_checksum_are_not_taken_for_copies(make_store: MakeStore) -> None:
    store = FeatureStore(make_store("a.h5", TWO, sha256s=[""] * 40))
    assert not make_task(store, test=store).test.overlap(make_task(store).train).any()


def test_damaged_features_are_not_scored(make_store: MakeStore, tmp_path: Path) -> None:
    path = make_store("a.h5", TWO)
    with h5py.File(path, "r+") as file:
        file["layers/block5_pool"][3, 0, 0, 0] = 1e6
    with pytest.raises(StoreError, match=r"a\.h5: the block5_pool features of healthy/3\.png are damaged"):
        fit_classifier(make_task(FeatureStore(path)), "majority", leaderboard=tmp_path / "l.csv")
    assert {file.name for file in tmp_path.iterdir()} == {"a.h5", "a.h5.lock"}


def test_a_run_whose_row_cannot_be_appended_is_none(
    make_store: MakeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*_: object) -> None:
        raise FreezeframeError("locked")

    monkeypatch.setattr("freezeframe.classify.fit.append_rows", locked)
    with pytest.raises(FreezeframeError, match="locked"):
        fit_classifier(make_task(FeatureStore(make_store("a.h5", TWO))), "majority", leaderboard=tmp_path / "l.csv")
    assert list((tmp_path / "runs").iterdir()) == []


def test_another_store_tests(make_store: MakeStore) -> None:
    store = FeatureStore(make_store("a.h5", TWO))
    other = FeatureStore(make_store("b.h5", ["ill", "no"] * 5, sha256s=[f"{i + 35:064x}" for i in range(10)]))
    task = make_task(store, test=other, classes={"ill": "sick", "no": "healthy"})
    assert (len(task.train.rows), len(task.test.rows), task.split) == (40, 10, "external")
    assert task.test.overlap(task.train).sum() == 5
    assert task.positive == "sick"
    assert task.classes == ["healthy", "sick"]


def test_tasks_that_make_no_sense_are_refused(make_store: MakeStore) -> None:
    store = FeatureStore(make_store("a.h5", TWO))
    other = FeatureStore(make_store("b.h5", ["ill", "no"] * 5))
    foreign = FeatureStore(make_store("c.h5", TWO, provenance={"weights_digest": "1" * 64}))
    resized = FeatureStore(make_store("i.h5", TWO, provenance={"resize": "nearest"}))
    half = FeatureStore(make_store("d.h5", TWO, pending=3))
    one = FeatureStore(make_store("e.h5", ["sick"] * 10))
    only_test = FeatureStore(make_store("f.h5", TWO, splits=["test"] * 40))
    broken = FeatureStore(make_store("g.h5", TWO, failed=40))
    three = FeatureStore(make_store("h.h5", ["a", "b", "c"] * 10))

    def refused(kind: type[Exception], message: str, store: FeatureStore, **options: Any) -> None:
        with pytest.raises(kind, match=message):
            make_task(store, **options)

    refused(FreezeframeError, "class 'ill' is none of the training classes healthy, sick; rename", store, test=other)
    refused(StoreError, r"c\.h5: made with weights_digest '1+', but .*a\.h5 with '0+'", store, test=foreign)
    refused(StoreError, r"i\.h5: made with resize 'nearest', but .*a\.h5 with 'bilinear'", store, test=resized)
    refused(StoreError, r"d\.h5: 3 of 40 rows are not computed yet; run extract-features again", half)
    refused(StoreError, r"d\.h5: 3 of 40 rows", store, test=half)
    refused(FreezeframeError, "two classes are needed, all its images are 'sick'", one)
    refused(FreezeframeError, "images are split into test, but none are for training", only_test, test=store)
    refused(FreezeframeError, "images are split into test, but none are for training", only_test)
    refused(StoreError, "none of its images could be read", broken)
    refused(ParameterError, "has no layer 'block9_pool'; it has block3_pool, block5_pool", store, layer="block9_pool")
    refused(ParameterError, "pooling must be one of flat, avg, max, got 'mean'", store, pooling="mean")
    refused(ParameterError, "positive must be one of healthy, sick, got 'yes'", store, positive="yes")
    refused(ParameterError, "positive is for two classes; there are 3", three, positive="a")
    refused(ParameterError, "no image is labelled 'sik'; labels are healthy, sick", store, classes={"sik": "x"})
    refused(ParameterError, "test_size must lie between 0 and 1", store, test_size=1.5)


def test_a_run_leaves_a_row_a_model_and_its_predictions(make_store: MakeStore, tmp_path: Path) -> None:
    store = FeatureStore(make_store("a.h5", TWO, provenance={"source": "/scans/brain"}, failed=2))
    run = fit_classifier(make_task(store), "majority", leaderboard=tmp_path / "l.csv", runs=tmp_path / "runs")
    (row,) = read_rows(tmp_path / "l.csv")
    assert tuple(row) == COLUMNS
    assert (row["schema"], row["head"], row["layer"], row["pooling"]) == ("1", "majority", "block5_pool", "avg")
    assert (row["data_set"], row["test_set"], row["split"], row["classes"]) == (
        "brain",
        "brain",
        "hold-out 20%",
        '["healthy", "sick"]',
    )
    assert (row["n_train"], row["n_test"], row["n_test_in_train"], row["positive"]) == ("30", "8", "0", "sick")
    assert row["accuracy"] == "0.500000"
    assert row["store_fingerprint"] == row["test_fingerprint"] == store.fingerprint
    assert row["weights_digest"] == "0" * 64
    assert run.warnings == ["a.h5: 2 unreadable images are left out"]
    folder = tmp_path / "runs" / row["run_id"]
    predictions = list(csv.DictReader((folder / "predictions.csv").open()))
    assert len(predictions) == 8
    assert predictions[0].keys() == {"path", "sha256", "label", "predicted", "p_sick", "p_healthy", "in_training"}
    right = sum(line["label"] == line["predicted"] for line in predictions) / 8
    assert right == float(row["accuracy"])
    assert load_model(folder / "model.safetensors").run_id == row["run_id"]


def test_three_classes(make_store: MakeStore, tmp_path: Path) -> None:
    store = FeatureStore(make_store("a.h5", ["a", "b", "c"] * 20))
    for head in ("logreg", "xgboost", "majority"):
        run = fit_classifier(make_task(store), head, leaderboard=tmp_path / "l.csv", runs=tmp_path / "runs")
        assert run.row["positive"] == ""
        assert 0 <= run.row["roc_auc"] <= 1


def test_leaks_and_random_weights_are_told(make_store: MakeStore, tmp_path: Path) -> None:
    store = FeatureStore(make_store("a.h5", TWO, provenance={"weights_source": "random, seed 3"}))
    run = fit_classifier(make_task(store, test=store), "logreg", leaderboard=tmp_path / "l.csv", runs=tmp_path / "runs")
    assert run.row["n_test_in_train"] == 40
    assert run.row["weights"] == "random, seed 3"
    assert "40 of 40 test images are byte for byte among the training images" in run.warnings[0]
    assert "random, seed 3" in run.warnings[1]


def some_row(run_id: str) -> dict[str, Any]:
    return dict.fromkeys(COLUMNS[1:], "") | {"run_id": run_id, "accuracy": 0.5, "roc_auc": float("nan")}


APPENDING = """
import json, sys
from freezeframe.classify.leaderboard import append_rows
path, number, row = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
print("go", flush=True)
for i in range(50):
    append_rows(path, [row | {"run_id": f"{number}-{i}", "roc_auc": float("nan")}])
"""


def appending(path: Path, number: int) -> subprocess.Popen[str]:
    """A process that appends 50 rows."""
    row = json.dumps(some_row("") | {"roc_auc": ""})
    command = [sys.executable, "-c", APPENDING, str(path), str(number), row]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_sixteen_processes_lose_no_row(tmp_path: Path) -> None:
    path = tmp_path / "leaderboard.csv"
    processes = [appending(path, number) for number in range(16)]
    assert [process.wait() for process in processes] == [0] * 16
    rows = read_rows(path)
    assert sorted(row["run_id"] for row in rows) == sorted(f"{n}-{i}" for n in range(16) for i in range(50))
    assert {row["accuracy"] for row in rows} == {"0.500000"}
    assert {row["roc_auc"] for row in rows} == {""}


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_killed_process_leaves_whole_rows_and_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "leaderboard.csv"
    for number in range(5):
        process = appending(path, number)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.01 * number)
        process.kill()
        process.wait()
        append_rows(path, [some_row("after")])
    rows = read_rows(path)
    assert all(tuple(row) == COLUMNS and None not in row.values() for row in rows)
    assert [row["run_id"] for row in rows].count("after") == 5


def test_other_files_are_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    for content in ("a,b\n1,2\n", ",".join(COLUMNS), ",".join(COLUMNS[:-1]) + "\n", "\x00\xff"):
        path.write_bytes(content.encode("latin-1"))
        with pytest.raises(FreezeframeError, match="not a leaderboard of schema 1"):
            append_rows(path, [some_row("x")])
        assert path.read_bytes() == content.encode("latin-1")
    with pytest.raises(FreezeframeError, match="no leaderboard here; fit-classifier makes it"):
        read_rows(tmp_path / "none.csv")
    with pytest.raises(FreezeframeError, match="cannot be written"):
        append_rows(tmp_path, [some_row("x")])


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "l.csv"
    append_rows(path, [some_row("first")])
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FreezeframeError, match="No space left on device"):
        append_rows(path, [some_row("second")])
    assert path.read_bytes() == before
    assert {file.name for file in tmp_path.iterdir()} == {"l.csv", "l.csv.lock"}


def test_a_link_stays_a_link_and_a_mode_stays(tmp_path: Path) -> None:
    real = tmp_path / "real.csv"
    append_rows(real, [some_row("first")])
    real.chmod(0o640)
    (tmp_path / "link.csv").symlink_to(real)
    append_rows(tmp_path / "link.csv", [some_row("second")])
    assert (tmp_path / "link.csv").is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert len(read_rows(real)) == 2
