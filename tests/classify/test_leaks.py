"""Relatives between training and test images: how they are found, and scores without them."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from freezeframe import FeatureStore, FreezeframeError
from freezeframe.__main__ import cli
from freezeframe.classify.fit.fitting import HeadFitter, fit_classifier
from freezeframe.classify.runs.leaderboard import read_rows
from freezeframe.classify.runs.model_file import load_model
from freezeframe.classify.runs.prediction_file import read_predictions
from freezeframe.classify.scores.clean import (
    LEAST_GROUPS,
    clean_scores,
    enough,
    has_missing_class,
)
from freezeframe.classify.scores.metric_names import CLEAN_COLUMNS
from freezeframe.classify.scores.metrics import METRIC_COLUMNS
from freezeframe.classify.scores.predictions import Predictions
from freezeframe.classify.scores.score import score
from freezeframe.classify.task.part import Part
from freezeframe.classify.task.relatives import UNKNOWN, all_relatives, near_duplicates, relatives
from freezeframe.classify.task.task import make_task
from freezeframe.data.fingerprints import Fingerprint, fingerprint
from freezeframe.data.splits import grouped_folds, hold_out

from ..conftest import MakeStore

GOLDEN = Path(__file__).parents[1] / "golden" / "store-v1.h5"
TWO = ["sick", "healthy"] * 20


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@cache
def picture(seed: int) -> Image.Image:
    """Draw a picture that is unlike all others: blobs of several sizes."""
    rng = np.random.default_rng(seed)
    down, across = np.arange(90), np.arange(110)
    grey = np.zeros((90, 110))
    for _ in range(150):
        y, x, size = rng.uniform((0, 0, 1.5), (90, 110, 10))
        tall, wide = (
            np.exp(-((d - at) ** 2) / (2 * size**2)) for d, at in ((down, y), (across, x))
        )
        grey += rng.normal() * np.outer(tall, wide)
    grey = (grey - grey.min()) / np.ptp(grey) * 200 + 20
    return Image.fromarray(grey.astype(np.uint8)).convert("RGB")


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


COPIES: dict[str, tuple[str, Callable[[Image.Image], bytes]]] = {
    "the file itself": ("bytes", saved),
    "another format": ("pixels", lambda image: saved(image, "BMP")),
    "encoded again": ("near", lambda image: saved(image, "JPEG", quality=60)),
    "mirrored, encoded again": (
        "near",
        lambda image: saved(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "JPEG", quality=75),
    ),
    "resized": ("near", lambda image: saved(image.resize((60, 50)))),
    "turned": ("near", lambda image: saved(image.transpose(Image.Transpose.ROTATE_90))),
}


def recognised(files: list[bytes]) -> dict[str, Any]:
    """Return checksums and fingerprints of files, as arguments of `make_store`."""
    return {
        "sha256s": [hashlib.sha256(file).hexdigest() for file in files],
        "fingerprints": [fingerprint_of(file) for file in files],
    }


@cache
def fingerprint_of(file: bytes) -> Fingerprint:
    return fingerprint(np.array(Image.open(io.BytesIO(file)).convert("RGB")))


def pictures(n: int, first: int = 0) -> list[bytes]:
    return [png(first + i) for i in range(n)]


@cache
def png(seed: int) -> bytes:
    return saved(picture(seed))


def fit(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["fit-classifier", *map(str, arguments), "--model", "majority"])


# How relatives are found.


def planted() -> tuple[list[bytes], list[str]]:
    """Return copies of training pictures 0, 1, ... and a new picture, and their relations."""
    files = [copy(picture(number)) for number, (_, copy) in enumerate(COPIES.values())]
    return [*files, saved(picture(99))], [*(level for level, _ in COPIES.values()), ""]


def test_planted_copies_are_found_between_the_splits_of_one_store(make_store: MakeStore) -> None:
    files, levels = planted()
    splits = ["train"] * 12 + ["test"] * len(files)
    groups = [""] * 11 + ["patient"] + [""] * len(files)
    files.append(saved(picture(98)))
    splits.append("test")
    groups.append("patient")
    labels = (TWO * 2)[: len(splits)]
    images = recognised([*pictures(12), *files])
    store = FeatureStore(make_store("a.h5", labels, splits=splits, groups=groups, **images))
    task = make_task(store)
    assert relatives(task.tests[0].part, task.train).tolist() == [*levels, "group"]


@pytest.mark.parametrize("merged", [False, True])
def test_planted_copies_are_found_between_two_stores(
    make_store: MakeStore, merged: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    files, levels = planted()
    train = FeatureStore(make_store("a.h5", TWO[:12], merged=merged, **recognised(pictures(12))))
    test = FeatureStore(make_store("b.h5", TWO[: len(files)], merged=merged, **recognised(files)))
    task = make_task(train, tests=[test])
    calls: list[tuple[int, int]] = []
    assert (
        relatives(task.tests[0].part, task.train, lambda *counts: calls.append(counts)).tolist()
        == levels
    )
    assert calls[-1][0] == calls[-1][1] > 0
    calls.clear()
    assert (
        relatives(task.tests[0].part, task.train, lambda *counts: calls.append(counts)).tolist()
        == levels
    )
    # Pairs that were compared once come from the cache.
    assert not calls


def test_relations_form_chains_as_they_do_when_rows_are_split(make_store: MakeStore) -> None:
    train = FeatureStore(
        make_store("a.h5", TWO[:12], groups=["p"] * 12, **recognised(pictures(12)))
    )
    image = picture(0)
    files = [
        saved(image),
        saved(image, "JPEG", quality=60),
        saved(picture(50)),
        saved(picture(51)),
        saved(picture(52)),
    ]
    groups = ["", "anna", "anna", "p", ""]
    test = FeatureStore(make_store("b.h5", TWO[:5], groups=groups, **recognised(files)))
    task = make_task(train, tests=[test])
    # One picture of anna is trained on, so that her second one is related. The group p of another
    # store is another person.
    assert relatives(task.tests[0].part, task.train).tolist() == ["bytes", "near", "group", "", ""]


def test_a_chain_may_lead_through_rows_of_an_unused_split(make_store: MakeStore) -> None:
    image = picture(50)
    files = [*pictures(12), saved(image, "JPEG", quality=60), saved(image), saved(picture(51))]
    groups = ["p"] * 13 + [""] * 2
    splits = ["train"] * 12 + [""] + ["test"] * 2
    store = FeatureStore(
        make_store("a.h5", TWO[:15], splits=splits, groups=groups, **recognised(files))
    )
    task = make_task(store)
    assert relatives(task.tests[0].part, task.train).tolist() == ["group", ""]


def test_folds_cut_no_chain_that_leads_through_an_unused_row(
    make_store: MakeStore,
) -> None:
    files = [*pictures(12), saved(picture(0), "BMP"), *pictures(1, 50)]
    groups = [*[""] * 12, "p", "p"]
    splits = [*["train"] * 12, "", "train"]
    store = FeatureStore(
        make_store("a.h5", TWO[:14], splits=splits, groups=groups, **recognised(files))
    )
    train = make_task(store, n_folds=2).train
    assert train.rows.tolist() == [*range(12), 13]
    assert train.groups.tolist() == [*range(12), 0]


def test_copies_stay_on_one_side_of_a_hold_out_also_in_a_merged_store(
    make_store: MakeStore,
) -> None:
    copies = [saved(picture(i // 2), "JPEG", quality=50 + 30 * (i % 2)) for i in range(40)]
    labels = ["sick", "sick", "healthy", "healthy"] * 10
    for merged in (False, True):
        store = FeatureStore(make_store("a.h5", labels, merged=merged, **recognised(copies)))
        assert (near_duplicates(store) == np.repeat(np.arange(20), 2) + 1).all()
        for seed in range(3):
            task = make_task(store, seed=seed)
            assert (
                len(np.unique(task.tests[0].part.groups)) == len(task.tests[0].part.rows) / 2 == 4
            )
            assert not relatives(task.tests[0].part, task.train).any()


def test_a_merged_store_that_lacks_fingerprints_uses_those_it_has(make_store: MakeStore) -> None:
    copies = [saved(picture(i // 2), "JPEG", quality=50 + 30 * (i % 2)) for i in range(20)]
    images = recognised(copies)
    images["fingerprints"] = images["fingerprints"][:16]
    store = FeatureStore(make_store("a.h5", TWO[:20], merged=True, **images))
    assert near_duplicates(store).tolist() == [*np.repeat(np.arange(8), 2) + 1, 0, 0, 0, 0]
    run = fit_classifier(make_task(store), "majority", leaderboard="l.csv")
    assert run.warnings == [
        "the clean scores of scans are unknown because a.h5 has no fingerprint of 4 of 20 "
        "images: only "
        "byte-identical copies are found; run extract-features again, which adds fingerprints "
        "and computes no feature again",
        # Eight of the ten pictures are known to be there twice, each with both labels.
        "training images: 7 pictures have two labels, 14 images in all",
        "scans, hold-out 20%: 1 picture has two labels, 2 images in all",
    ]


def test_near_duplicate_groups_of_a_store_without_fingerprints_are_ignored(
    make_store: MakeStore,
) -> None:
    store = FeatureStore(make_store("a.h5", TWO, splits=["train"] * 20 + ["test"] * 20))
    store.duplicates[:] = 7
    assert not near_duplicates(store).any()
    task = make_task(store)
    assert set(relatives(task.tests[0].part, task.train)) == {UNKNOWN}


KEYS = st.tuples(*(st.sampled_from(["", *"abcdefgh"]) for _ in range(3)), st.integers(0, 8))


@given(st.lists(KEYS, min_size=8, max_size=40), st.integers(0, 3))
def test_no_hold_out_and_no_fold_cuts_through_a_chain_of_relations(
    keys: list[tuple[str, str, str, int]], seed: int
) -> None:
    sha256s, pixels, groups, near = (np.array(column) for column in zip(*keys, strict=True))
    labels = np.array(TWO[: len(keys)])
    rows = np.arange(len(keys))
    none = np.full(len(keys), "")
    store: Any = SimpleNamespace(sha256s=sha256s, pixels=pixels, groups=groups, rows=lambda: rows)
    store.group_scopes = none
    store.patients = none
    whole = Part.of_store(store, labels, near)
    cuts = []
    try:
        cuts.append(hold_out(labels, whole.groups, seed=seed))
        cuts += grouped_folds(labels, whole.groups, n_folds=2, seed=seed)
    # A class may have too few groups to be split.
    except FreezeframeError:
        pass
    for fitted, judged in cuts:
        for i in fitted:
            for j in judged:
                assert not any(a == b and a for a, b in zip(keys[i], keys[j], strict=True))
        assert set(relatives(whole.take(judged), whole.take(fitted))) <= {"", UNKNOWN}


# Scores without relatives.


def predicted(n: int, seed: int = 0, groups: NDArray[np.intp] | None = None) -> Predictions:
    rng = np.random.default_rng(seed)
    proba = rng.dirichlet((1, 1), n)
    return Predictions.of(np.arange(n) % 2, proba, groups=groups, positive=1)


def same(scores: dict[str, float], expected: dict[str, float]) -> bool:
    return all(
        scores[f"clean_{name}"] == expected[name]
        or np.isnan([scores[f"clean_{name}"], expected[name]]).all()
        for name in METRIC_COLUMNS
    )


def test_a_clean_score_is_the_score_of_the_clean_images() -> None:
    predictions = predicted(60, groups=np.arange(60) // 2)
    clean = np.arange(60) >= 24
    scores = clean_scores(predictions, clean, score(predictions))
    subset = Predictions.of(
        predictions.y[clean], predictions.proba[:, clean], groups=np.arange(24, 60) // 2, positive=1
    )
    assert tuple(scores) == CLEAN_COLUMNS
    assert same(scores, score(subset))
    assert scores["clean_accuracy"] != score(predictions)["accuracy"]


def test_a_random_split_shows_what_copies_add(make_store: MakeStore) -> None:
    """It ignores splits and relatives; the score is marked, and the exit code says so."""
    copies = [f"{i // 4:064x}" for i in range(80)]
    labels = [label for label in ("sick", "healthy") * 10 for _ in range(4)]
    splits = ["train", "test"] * 40
    path = make_store("a.h5", labels, sha256s=copies, splits=splits)
    store = FeatureStore(path)
    (test,) = make_task(store, random_split=True).tests
    assert (test.split, len(test.part.rows)) == ("random 20%", 16)
    result = fit(path, "--random-split")
    assert result.exit_code == 3
    (row,) = read_rows("leaderboard.csv")
    assert (row["split"], row["grade"]) == ("random 20%", "leaking")
    for options in (["--cv", "5"], ["--test", path]):
        result = fit(path, "--random-split", *options)
        assert result.exit_code == 2
        assert "--random-split: has no effect with --test or --cv" in result.stderr


def test_without_leaks_clean_scores_are_not_computed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    predictions = predicted(6)
    scores = score(predictions)
    monkeypatch.setattr("freezeframe.classify.scores.clean.score", None)
    assert same(clean_scores(predictions, np.ones(6, dtype=bool), scores), scores)


@pytest.mark.parametrize(
    ("clean", "expected"),
    [
        (np.arange(40) < 2 * LEAST_GROUPS, True),
        (np.arange(40) < 2 * LEAST_GROUPS - 2, False),
        (np.arange(40) % 4 != 0, True),
        # No image of a class remains, then one, then two.
        (np.arange(40) % 2 == 1, False),
        ((np.arange(40) % 2 == 1) | (np.arange(40) == 0), False),
        ((np.arange(40) % 2 == 1) | np.isin(np.arange(40), [0, 2]), True),
    ],
)
def test_too_few_is_fewer_than_ten_groups_or_two_of_a_class(
    clean: NDArray[np.bool_], expected: bool
) -> None:
    predictions = predicted(40, groups=np.repeat(np.arange(20), 2) if clean[:18].all() else None)
    assert enough(predictions, clean) == expected
    scores = clean_scores(predictions, clean, score(predictions))
    # Without a class, only the share of right images of the other one is known.
    some = has_missing_class(predictions, clean)
    assert np.isnan(scores["clean_balanced_accuracy"]) != expected
    assert np.isnan(scores["clean_accuracy"]) == (not expected and not some)
    if some:
        known = {name for name in CLEAN_COLUMNS if not np.isnan(scores[name])}
        names = ("clean_accuracy", "clean_sensitivity")
        assert known == {f"{name}{end}" for name in names for end in ("", "_low", "_high")}


def test_a_class_without_clean_images_is_named_and_the_others_are_scored(
    make_store: MakeStore,
) -> None:
    """All test images of one of four classes are copies of training images."""
    classes = ["a", "b", "c", "d"]
    labels = classes * 20
    files = pictures(80)
    # The test images of class a are those of training.
    files[40:] = [files[n - 40] if labels[n] == "a" else files[n] for n in range(40, 80)]
    splits = ["train"] * 40 + ["test"] * 40
    store = make_store("a.h5", labels, splits=splits, **recognised(files))
    arguments = ["fit-classifier", str(store), "--model", "logreg", "--search", "none"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    (row,) = read_rows("leaderboard.csv")
    assert (row["n_test_clean"], row["clean_missing"]) == ("30", '["a"]')
    (folder,) = Path("runs").iterdir()
    (tested,) = read_predictions(folder).values()
    y = tested.predictions.y
    right = tested.predictions.predicted[0] == y
    assert float(row["clean_accuracy"]) == pytest.approx(right[y != 0].mean(), abs=1e-6)
    assert row["clean_balanced_accuracy"] == row["clean_roc_auc"] == ""
    recalls = json.loads(row["clean_recalls"])
    assert list(recalls) == ["b", "c", "d"]
    for name, (share, low, high, n) in recalls.items():
        assert share == pytest.approx(right[y == classes.index(name)].mean(), abs=1e-6)
        assert low <= share <= high
        assert n == 10
    assert "none or too few of class a: the clean accuracy is that of the other classes alone" in (
        result.stderr
    )
    assert re.search(
        r"\(right of each class: b \d+\.\d \(\d+\.\d-\d+\.\d\) of 10, c ", result.stderr
    )
    clean = "clean: on test images without a relative in training (grade: pictures parted)"
    star = "*: too few clean images of some class"
    for shown in (
        result.output,
        CliRunner().invoke(cli, ["leaderboard"]).stdout,
        CliRunner().invoke(cli, ["leaderboard", "--sort", "clean_accuracy"]).stdout,
    ):
        assert re.search(r"\) \*  ", shown)
        assert clean in shown
        assert star in shown


def test_what_is_left_of_a_missing_class_does_not_count() -> None:
    """Nine groups of one class and one of the other are nine groups that could be scored."""
    predictions = predicted(40)
    odd = np.flatnonzero(np.arange(40) % 2)
    assert not has_missing_class(predictions, np.isin(np.arange(40), [0, *odd[:9]]))
    clean = np.isin(np.arange(40), [0, *odd[:10]])
    assert has_missing_class(predictions, clean)
    # Nor is it scored.
    right = predictions.predicted[0] == predictions.y
    scores = clean_scores(predictions, clean, score(predictions))
    assert scores["clean_accuracy"] == pytest.approx(right[odd[:10]].mean())
    assert right[0] != right[odd[:10]].mean()


def test_a_class_of_one_group_does_not_prevent_clean_scores() -> None:
    predictions = replace(predicted(30), y=np.array([1] + [0] * 29))
    assert enough(predictions, np.arange(30) < 20)
    assert not enough(predictions, np.arange(30) > 0)


# Output of the commands.


@pytest.fixture
def leaking(make_store: MakeStore) -> Callable[[int], Path]:
    """Make stores with 30 training images and 30 test images, the first n of them copies."""

    def make(n: int) -> Path:
        files = [*pictures(30), *pictures(n), *pictures(30 - n, 100)]
        splits = ["train"] * 30 + ["test"] * 30
        return make_store("features.h5", (TWO * 2)[:60], splits=splits, **recognised(files))

    return make


def test_leaks_are_in_the_leaderboard_the_predictions_and_the_model(
    leaking: Callable[[int], Path],
) -> None:
    run = fit_classifier(make_task(FeatureStore(leaking(9))), "majority", leaderboard="l.csv")
    (row,) = read_rows("l.csv")
    names = ("n_test", "n_test_in_train", "n_test_leaking", "n_test_clean", "n_test_clean_groups")
    assert [row[name] for name in names] == ["30", "9", "9", "21", "21"]
    (evaluation,) = read_predictions(run.folder).values()
    assert evaluation.relatives.tolist() == ["bytes"] * 9 + [""] * 21
    again = score(evaluation.predictions.take(evaluation.clean))
    for name in METRIC_COLUMNS:
        assert row[f"clean_{name}"] == ("" if np.isnan(again[name]) else f"{again[name]:.6f}")
    model = load_model(run.folder / "model.safetensors")
    assert model.scores[0]["n_test_leaking"] == 9
    assert model.scores[0]["clean_accuracy"] == pytest.approx(again["accuracy"])
    assert run.warnings == [
        "9 of 30 test images of scans have a relative among the training images (9 the same "
        "bytes): a score on all "
        "of them says nothing about unseen images; the clean scores use the 21 other images"
    ]


@pytest.mark.parametrize("options", [{"hold_out": True}, {"n_folds": 3}], ids=str)
@pytest.mark.parametrize("dropped", [(), ("odd",)])
def test_images_that_a_test_set_links_stay_on_one_side(
    make_store: MakeStore, options: dict[str, Any], dropped: tuple[str, ...]
) -> None:
    """Two training images are unlike, but a test set has both of them as one patient's."""
    labels = [dropped[0] if dropped else "sick", *TWO[:24]]
    train = FeatureStore(make_store("a.h5", labels, **recognised(pictures(25))))
    patients = [f"p{number // 4}" for number in range(24)]
    copies = recognised(pictures(24, 1))
    test = FeatureStore(make_store("b.h5", TWO[:24], patients=patients, **copies))
    task = make_task(train, tests=[test], drop_classes=dropped, seed=3, **options)
    parts = [task.train, *(held_out.part for held_out in task.tests[:-1])]
    assert len(parts) == 1 + ("hold_out" in options)
    # Four training images in a row are of one patient of the test set; the first is of none.
    patients_of = [{(row - 1) // 4 for row in part.rows.tolist()} for part in parts]
    assert [len(set(part.groups.tolist())) for part in parts] == list(map(len, patients_of))
    assert sum(map(len, patients_of)) == 6 + (not dropped)
    for part in parts[1:]:
        assert set(relatives(part, task.train)) == {""}


def test_too_few_clean_images_are_not_scored(
    leaking: Callable[[int], Path],
) -> None:
    run = fit_classifier(make_task(FeatureStore(leaking(29))), "majority", leaderboard="l.csv")
    (row,) = read_rows("l.csv")
    assert {row[name] for name in CLEAN_COLUMNS} == {""}
    assert (row["n_test_clean"], row["n_test_leaking"]) == ("1", "29")
    assert (
        run.warnings[1]
        == "1 of 30 test images of scans has no relative in training: too few to score"
    )
    assert not any(
        name in load_model(run.folder / "model.safetensors").scores[0] for name in CLEAN_COLUMNS
    )


def test_cross_validation_has_no_leaks(leaking: Callable[[int], Path]) -> None:
    store = FeatureStore(leaking(9))
    task = make_task(store, n_folds=3)
    fit_classifier(task, "majority", leaderboard="l.csv")
    folds, test = read_rows("l.csv")
    assert (folds["split"], folds["n_test_leaking"], test["n_test_leaking"]) == ("3-fold", "0", "9")
    assert all(folds[name] == folds[f"clean_{name}"] for name in METRIC_COLUMNS)


def test_relatives_are_found_once_for_all_heads(
    leaking: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def spy(*arguments: Any) -> Any:
        calls.append(arguments)
        return all_relatives(*arguments)

    monkeypatch.setattr("freezeframe.classify.fit.evaluators.all_relatives", spy)
    monkeypatch.setattr(
        "freezeframe.classify.fit.fitting.task_warnings", lambda *_: calls.append("warnings") or []
    )
    fitter = HeadFitter(make_task(FeatureStore(leaking(9))), leaderboard="l.csv")
    for head in ("majority", "naive-bayes"):
        assert fitter.fit(head).row["n_test_leaking"] == 9
    assert len(calls) == 2


def test_copies_in_training_with_another_label_are_counted(make_store: MakeStore) -> None:
    # Tested on: copies of the sick pictures 0 and 2 as healthy, of the healthy 1 as healthy.
    own = [saved(picture(0)), saved(picture(1), "BMP"), saved(picture(2), "JPEG", quality=60)]
    labels = [*TWO[:14], "healthy", "healthy", "healthy", "sick"]
    splits = ["train"] * 14 + ["test"] * 4
    files = [*pictures(14), *own, *pictures(1, 90)]
    # A patient's other picture may have another label; that is no contradiction.
    patients = ["p"] + [""] * 16 + ["p"]
    train = make_store("a.h5", labels, splits=splits, patients=patients, **recognised(files))
    turned = picture(3).transpose(Image.Transpose.ROTATE_90)
    test = make_store("b.h5", ["sick", "healthy"], **recognised([saved(turned), *pictures(1, 95)]))
    run = fit_classifier(make_task(FeatureStore(train)), "majority", leaderboard="l.csv")
    sentence = "scans, test: 2 test images have a copy in training with another label: first "
    assert [text for text in run.warnings if "another label" in text] == [
        sentence + "healthy/14.png"
    ]
    printed = fit(train, "--test", test, "--allow-leaks").stderr
    assert f"warning: {sentence}healthy/14.png\n" in printed
    external = "scans, external: 1 test image has a copy in training with another label: first"
    assert f"warning: {external} sick/0.png\n" in printed


def test_the_table_shows_leaks_and_the_clean_accuracy(leaking: Callable[[int], Path]) -> None:
    result = fit(leaking(9), "--model", "logreg")
    assert result.exit_code == 0, result.stderr
    heading, first, second = result.stdout.splitlines()
    assert "clean accuracy (95 %)" in heading
    assert re.search(r"logreg .* 9 of 30 ", first)
    assert re.search(
        r"majority .* 50\.0 \([\d.-]+\) +(47\.6|52\.4) \([\d.-]+\) .* 9 of 30 ", second
    )
    assert result.stderr.count("have a relative among the training images") == 1
    board = CliRunner().invoke(cli, ["leaderboard"]).stdout
    assert "clean accuracy (95 %)" in board
    assert "9 of 30" in board


def test_without_leaks_the_output_names_none(leaking: Callable[[int], Path]) -> None:
    result = fit(leaking(0))
    assert result.exit_code == 0
    assert "clean" not in result.output
    assert "relative" not in result.output
    (row,) = read_rows("leaderboard.csv")
    assert all(row[name] == row[f"clean_{name}"] for name in METRIC_COLUMNS)


@pytest.mark.parametrize(
    ("n", "more", "code"), [(15, [], 0), (16, [], 3), (16, ["--allow-leaks"], 0), (30, [], 3)]
)
def test_exit_code_3_if_more_than_half_leaks(
    n: int, more: list[str], code: int, leaking: Callable[[int], Path]
) -> None:
    arguments = ["fit-classifier", str(leaking(n)), "--model", "majority", *more]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == code, result.stderr
    assert read_rows("leaderboard.csv")[0]["n_test_leaking"] == str(n)
    assert f"{n} of 30" in result.stdout
    assert f"warning: {n} of 30 test images of scans have a relative" in result.stderr
    assert "model and predictions: " in result.stderr
    if code:
        assert result.stderr.splitlines()[-1] == (
            f"error: more than half of the test images leak ({n} of 30 of scans, test); "
            "give --allow-leaks to end with exit code 0"
        )
    else:
        assert "error" not in result.stderr


def test_a_run_warns_of_a_store_of_version_1(make_store: MakeStore) -> None:
    assert near_duplicates(FeatureStore(GOLDEN)).tolist() == [0] * 4
    store = FeatureStore(make_store("old.h5", TWO))
    store.format_version = 1
    test = FeatureStore(make_store("new.h5", TWO, **recognised(pictures(40))))
    task = make_task(store, tests=[test])
    run = fit_classifier(task, "majority", leaderboard="l.csv")
    assert run.warnings == [
        "the clean scores of scans are unknown because old.h5 was written by an older "
        "version: only byte-identical "
        "copies are found; run extract-features again, which adds fingerprints and computes no "
        "feature again"
    ]
    (row,) = read_rows("l.csv")
    assert (row["n_test_leaking"], row["n_test_clean"], row["n_test_clean_groups"]) == (
        "0",
        "0",
        "0",
    )
    assert {row[name] for name in CLEAN_COLUMNS} == {""}
    assert set(read_predictions(run.folder)[row["test_id"]].relatives) == {UNKNOWN}
    assert ",no,unknown\n" in (run.folder / "predictions.csv").read_text()


@pytest.mark.parametrize("options", [{}, {"n_folds": 3}])
def test_a_store_without_fingerprints_has_no_clean_images(
    make_store: MakeStore, options: dict[str, Any]
) -> None:
    store = FeatureStore(make_store("old.h5", TWO))
    run = fit_classifier(make_task(store, **options), "majority", leaderboard="l.csv")
    assert (run.row["n_test_leaking"], run.row["n_test_clean"]) == (0, 0)
    assert {row[name] for row in read_rows("l.csv") for name in CLEAN_COLUMNS} == {""}
    assert run.warnings[0].startswith(
        "the clean scores of scans are unknown because old.h5 has no fingerprint of 40 of 40 images"
    )


def test_only_test_images_with_fingerprints_can_be_clean(
    make_store: MakeStore,
) -> None:
    train = FeatureStore(make_store("a.h5", TWO[:20], **recognised(pictures(20))))
    images = recognised([*pictures(3), *pictures(37, 100)])
    images["fingerprints"] = images["fingerprints"][:32]
    groups = ["anna", *[""] * 29, "bert", "carl", "bert", *[""] * 6, ""]
    test = FeatureStore(make_store("b.h5", TWO, merged=True, groups=groups, **images))
    run = fit_classifier(make_task(train, tests=[test]), "majority", leaderboard="l.csv")
    # Bert's second image has no fingerprint and may be a copy of a training image, so that his
    # first one is unknown, too.
    (evaluation,) = read_predictions(run.folder).values()
    assert (
        evaluation.relatives.tolist() == ["bytes"] * 3 + [""] * 27 + [UNKNOWN, ""] + [UNKNOWN] * 8
    )
    (row,) = read_rows("l.csv")
    assert (row["n_test_leaking"], row["n_test_clean"]) == ("3", "28")
    assert row["clean_accuracy"] != ""
    cause = "b.h5 has no fingerprint of 8 of 40 images: only byte-identical copies are found; run "
    assert run.warnings == [
        "at least 3 of 40 test images of scans have a relative among the training images (3 the "
        "same bytes): a score "
        "on all of them says nothing about unseen images",
        f"the clean scores use 28 of 40 test images of scans alone because "
        f"{cause}extract-features again, "
        "which adds fingerprints and computes no feature again",
    ]
    assert "3+ of 40" in fit("a.h5", "--test", "b.h5").stdout


def test_the_table_shows_a_question_mark_without_fingerprints(make_store: MakeStore) -> None:
    make_store("old.h5", TWO)
    result = fit("old.h5")
    assert result.exit_code == 0
    heading, line = result.stdout.splitlines()
    assert line.split()[-4] == "?"
    assert "clean" not in heading


def test_a_run_warns_of_relatives_of_validation_images(make_store: MakeStore) -> None:
    files = [
        *pictures(20),
        *pictures(3),
        saved(picture(3), "BMP"),
        *pictures(6, 50),
        *pictures(10, 100),
    ]
    splits = ["train"] * 20 + ["validation"] * 10 + ["test"] * 10
    store = FeatureStore(make_store("a.h5", TWO, splits=splits, **recognised(files)))
    run = fit_classifier(make_task(store), "majority", leaderboard="l.csv")
    assert run.warnings == [
        "4 of 10 validation images have a relative among the other training images (3 the same "
        "bytes, 1 the same "
        "pixels): the choice of hyper-parameters is optimistic"
    ]


def test_a_head_that_fails_does_not_hide_that_most_leaks(
    leaking: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any, **__: Any) -> None:
        raise FreezeframeError("no")

    monkeypatch.setattr("freezeframe.classify.heads.neighbours.NearestNeighbours.fit", failing)
    path = leaking(30)
    for more in ([], ["--allow-leaks"]):
        result = fit(path, "--model", "knn", *more)
        assert result.exit_code == 1
        errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
        assert errors[-1] == "error: 1 of 2 heads could not be fitted: knn"
        leaks = (
            "error: more than half of the test images leak (30 of 30 of scans, test); "
            "give --allow-leaks to end with"
        )
        assert [line.startswith(leaks) for line in errors[:-1]] == [True] * (not more)
