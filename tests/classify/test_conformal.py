"""Prediction sets: thresholds by group, coverage in simulations, and "cannot say" to the end."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from freezeframe import FeatureStore, ModelFileError, ParameterError
from freezeframe.classify.fit.abstention import choose_conformal
from freezeframe.classify.fit.fitting import HeadFitter
from freezeframe.classify.fit.search import FitOptions
from freezeframe.classify.heads.conformal import Conformal, fit_conformal, least_groups
from freezeframe.classify.heads.table import make_head
from freezeframe.classify.prediction.notes import set_notes, set_text
from freezeframe.classify.prediction.prediction import Prediction
from freezeframe.classify.prediction.record import prediction_record
from freezeframe.classify.runs.model_file import FittedHead, load_model, save_model
from freezeframe.classify.runs.part_result import part_result
from freezeframe.classify.runs.tables.conformal import measure_sets
from freezeframe.classify.scores.intervals import wilson
from freezeframe.classify.task.task import make_task

from ..conftest import PROVENANCE, MakeStore

GOLDEN = Path(__file__).parents[1] / "golden"
LABELS = ["sick", "well"] * 40


def two_classes(p: np.ndarray) -> np.ndarray:
    """Return probabilities of two classes from that of the first."""
    return np.column_stack([p, 1 - p])


def threshold_of(p: np.ndarray, groups: np.ndarray, rate: float = 0.1) -> float | None:
    """Return the threshold by images of the first class with these probabilities."""
    return fit_conformal(two_classes(p), np.zeros(len(p), np.intp), groups, rate).threshold


@pytest.mark.parametrize(("n", "rate"), [(9, 0.1), (50, 0.1), (137, 0.1), (19, 0.05), (400, 0.3)])
def test_images_alone_have_the_threshold_of_the_textbook(n: int, rate: float) -> None:
    p = np.random.default_rng(n).random(n)
    # Angelopoulos and Bates 2021: the ceil((n + 1)(1 - rate)) / n quantile of the scores 1 - p.
    place = int(np.ceil((n + 1) * (1 - rate) - 1e-9))
    assert threshold_of(p, np.arange(n), rate) == np.sort(p)[::-1][place - 1]


def test_each_group_has_one_vote_which_its_images_share() -> None:
    rng = np.random.default_rng(3)
    groups = rng.integers(0, 30, 200) * 7
    p = rng.random(200).round(2)
    names = np.unique(groups)

    def votes(threshold: float) -> float:
        return sum(float(np.mean(p[groups == name] >= threshold)) for name in names)

    # By trial: the highest threshold that enough votes reach, the new group's counted as missing.
    enough = 0.9 * (len(names) + 1)
    expected = max(threshold for threshold in p.tolist() if votes(threshold) >= enough)
    assert threshold_of(p, groups) == expected


def test_too_few_groups_claim_nothing() -> None:
    p = np.linspace(0.5, 0.9, 24)
    assert threshold_of(p[:9], np.arange(9)) == 0.5
    assert threshold_of(p[:8], np.arange(8)) is None
    # 24 images of 8 patients are no more than 8 images.
    rule = fit_conformal(two_classes(p), np.zeros(24, np.intp), np.arange(24) // 3, 0.1)
    assert (rule.threshold, rule.n_groups, rule.sets(two_classes(p))) == (None, 8, None)
    assert rule.problem == (
        "no answer is withheld: an error rate of 10 % needs 9 independent training images that the "
        "head was not fitted on, and there are 8"
    )
    assert [least_groups(rate) for rate in (0.5, 0.1, 0.05, 0.01)] == [1, 9, 19, 99]


def test_images_that_no_fold_judges_do_not_count() -> None:
    p = np.linspace(0.1, 0.9, 30)
    proba = two_classes(np.where(np.arange(30) < 10, np.nan, p))
    rule = fit_conformal(proba, np.zeros(30, np.intp), np.arange(30), 0.1)
    assert rule == replace(
        fit_conformal(two_classes(p[10:]), np.zeros(20, np.intp), np.arange(20), 0.1)
    )


def simulate(rng: np.random.Generator, n_groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw probabilities of the true class of patients: those with many images are easy."""
    sizes = np.where(rng.random(n_groups) < 0.3, 20, 1)
    groups = np.repeat(np.arange(n_groups), sizes)
    level = np.where(sizes == 20, 0.95, rng.uniform(0, 0.9, n_groups))
    return np.clip(rng.normal(level[groups], 0.03), 0, 1), groups


def test_the_error_rate_holds_for_new_images_and_new_patients() -> None:
    """The coverage of 400 calibrations is 90 % within 4 standard errors.

    Image by image, the many images of easy patients set the threshold, and new patients get a
    wrong set far more often.
    """
    rng = np.random.default_rng(0)
    alone, by_group, by_image = [], [], []
    for _ in range(400):
        # 45 of 50 is exactly 90 %: with 49 images the textbook's bound is reached.
        p = rng.random(49)
        # Of uniform probabilities, the share above a threshold is known.
        alone.append(1 - (threshold_of(p, np.arange(49)) or 0))
        p, groups = simulate(rng, 49)
        new, of = simulate(rng, 100)
        for found, ids in ((by_group, groups), (by_image, np.arange(len(p)))):
            threshold = threshold_of(p, ids) or 0
            # A random image of a random new patient.
            covered = np.bincount(of, new >= threshold) / np.bincount(of)
            found.append(covered.mean())
    errors = [np.std(found) / 20 for found in (alone, by_group)]
    assert np.mean(alone) == pytest.approx(0.9, abs=4 * errors[0])
    # Shared votes never promise too much; they may give a little more.
    assert 0.9 - 4 * errors[1] < np.mean(by_group) < 0.9 + 1 / 50 + 4 * errors[1]
    assert np.mean(by_image) < 0.75


def test_a_fit_calibrates_by_groups_out_of_fold_and_measures(
    make_store: MakeStore, tmp_path: Path
) -> None:
    patients = [f"p{i // 4}" for i in range(160)]
    labels = [LABELS[i // 4] for i in range(160)]
    store = FeatureStore(make_store("a.h5", labels, patients=patients))
    task = make_task(store, n_folds=4)
    run = HeadFitter(task, FitOptions(error_rate=0.25), leaderboard=tmp_path / "l.csv").fit("lda")
    # The small maps of this store are no VGG16's: the file cannot be loaded, but read.
    with safe_open(run.folder / "model.safetensors", framework="numpy") as file:
        rule = Conformal(**json.loads(file.metadata()["about"])["conformal"])
    assert (rule.error_rate, rule.n_groups, rule.source) == (0.25, 40, "out of fold")
    (line,) = csv.DictReader((run.folder / "conformal.csv").open())
    assert float(line["threshold"]) == rule.threshold
    assert (line["split"], line["n_test"], line["n_test_groups"]) == ("4-fold", "160", "40")
    shares = {name: float(line[name]) for name in ("coverage", "cannot_say", "wrong")}
    assert shares["wrong"] <= 1 - shares["coverage"] + 1e-6
    # 40 patients: the measured coverage is near the promise.
    assert float(line["coverage_low"]) < 0.75 < float(line["coverage_high"])
    assert (float(line["coverage_low"]), float(line["coverage_high"])) == pytest.approx(
        wilson(shares["coverage"], 40), abs=1e-6
    )


@pytest.mark.parametrize(("n_patients", "counted"), [(10, "0 0"), (11, "40 8")])
def test_folds_with_too_few_groups_are_not_measured(
    make_store: MakeStore, tmp_path: Path, n_patients: int, counted: str
) -> None:
    """At 10 % the kept head has a threshold, and heads fitted on 8 patients have none."""
    patients = [f"p{i // 5}" for i in range(5 * n_patients)]
    store = FeatureStore(make_store("a.h5", LABELS[: len(patients)], patients=patients))
    task = make_task(store, n_folds=5)
    run = HeadFitter(task, leaderboard=tmp_path / "l.csv").fit("lda")
    (line,) = csv.DictReader((run.folder / "conformal.csv").open())
    assert (line["n_calibration"], line["threshold"] != "") == (str(n_patients), True)
    assert f"{line['n_test']} {line['n_test_groups']}" == counted
    assert {line[name] == "" for name in ("coverage", "cannot_say_low", "wrong_high")} == {
        counted == "0 0"
    }


def test_measured_shares_count_each_group_once(make_store: MakeStore) -> None:
    """By hand: three patients of 2, 1 and 1 images, and an image that leaks."""
    store = FeatureStore(make_store("a.h5", ["a", "b"] * 10))
    task = make_task(store)
    (test,) = task.tests
    part = test.part
    n = len(part.rows)
    assert n == 4
    y = np.searchsorted(task.classes, part.labels)
    right = np.eye(2)[y]
    relatives = np.array([""] * n)
    result = part_result(task, part, "test", right[None], y[None], relatives, None)
    predictions = replace(result.evaluation.predictions, groups=np.array([0, 0, 1, 2]))
    leaking = np.array(["", "", "", "bytes"])
    evaluation = replace(result.evaluation, predictions=predictions, relatives=leaking)
    sets = np.array([right.astype(bool)])
    # The first image has a set of both classes, the third an empty one; the fourth leaks.
    sets[0, 0] = True
    sets[0, 2] = False
    sets[0, 3] = False
    measured = measure_sets(
        replace(result, evaluation=evaluation, in_sets=sets), Conformal(0.1, 0.5, 20)
    )
    assert (measured.n_images, measured.n_groups) == (3, 2)
    assert measured.shares["coverage"][0] == 0.5
    assert measured.shares["cannot_say"][0] == pytest.approx((0.5 + 1) / 2)
    assert measured.shares["wrong"][0] == 0
    assert measured.broken == ""
    # A wrong answer in a set of its own is wrong.
    wrong = ~np.array([right.astype(bool)])
    answers = replace(predictions, predicted=1 - y[None])
    measured = measure_sets(
        replace(result, evaluation=replace(evaluation, predictions=answers), in_sets=wrong),
        Conformal(0.05, 0.5, 20),
    )
    assert [measured.shares[name][0] for name in ("coverage", "cannot_say", "wrong")] == [0, 0, 1]
    # A row without a rule in all repeats does not count; else its repeats with one do.
    repeated = replace(answers, proba=right[None].repeat(2, 0), predicted=np.array([y, y]))
    rules = np.array([right, right])
    rules[0, 0] = rules[:, 2] = np.nan
    ruled = measure_sets(
        replace(result, evaluation=replace(evaluation, predictions=repeated), in_sets=rules),
        Conformal(0.1, 0.5, 20),
    )
    assert (ruled.n_images, ruled.n_groups) == (2, 1)
    assert [ruled.shares[name][0] for name in ("coverage", "cannot_say", "wrong")] == [1, 0, 0]
    # A wrong answer that is withheld is none.
    both = replace(result, evaluation=replace(evaluation, predictions=answers), in_sets=sets | True)
    withheld = measure_sets(both, Conformal(0.05, 0.5, 20)).shares
    assert [withheld[name][0] for name in ("coverage", "cannot_say", "wrong")] == [1, 1, 0]
    assert (
        "0.0 % (0.0-65.8) of the prediction sets hold the class, and 95.0 % are" in measured.broken
    )


def test_a_network_calibrates_by_the_images_that_it_stops_by() -> None:
    """It is not trained on them; nobody trains it once more for each fold."""
    pytest.importorskip("keras")
    rng = np.random.default_rng(0)
    y = np.arange(80) % 2
    X = (rng.normal(size=(80, 6)) + y[:, None]).astype(np.float32)
    fold = (np.arange(40), np.arange(40, 80))
    head = make_head("dense-128", epochs=1)
    head.fit(X, y, 2, folds=[fold])
    rule = choose_conformal(head, X, y, np.arange(80), [fold], 0.2)
    expected = fit_conformal(head.predict_proba(X[40:]), y[40:], np.arange(40), 0.2, "held out")
    assert rule == expected
    # Without such images nothing is known; controls predict no new image.
    assert choose_conformal(head, X, y, np.arange(80), [], 0.2) is None
    assert choose_conformal(make_head("image-size"), X, y, np.arange(80), [fold], 0.2) is None


def small_model(rule: Conformal | None) -> FittedHead:
    """Return a fitted head with a rule."""
    head = make_head("majority")
    head.fit(np.zeros((4, 1), np.float32), np.array([0, 1, 1, 1]), 2)
    head.conformal = rule
    return FittedHead(head, ("a", "b"), "block5_pool", "avg", PROVENANCE, "f" * 64, "run-1")


def test_the_model_file_keeps_the_rule(tmp_path: Path) -> None:
    for number, rule in enumerate((Conformal(0.1, 0.7, 30), Conformal(0.1, None, 3), None)):
        path = tmp_path / f"{number}.safetensors"
        save_model(path, small_model(rule))
        assert load_model(path).head.conformal == rule


@pytest.mark.parametrize(
    "cells",
    [
        *({"threshold": 1.5}, {"n_groups": "9"}, {"source": "me"}, {"x": 1}),
        *({"error_rate": rate} for rate in (-0.1, 0.0, 5e-324, 1.0, float("nan"))),
        {"error_rate": 0.0, "threshold": None},
    ],
)
def test_an_impossible_rule_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cells: dict[str, object]
) -> None:
    record = {"error_rate": 0.1, "threshold": 0.7, "n_groups": 30, "source": "held out"} | cells
    monkeypatch.setattr(
        "freezeframe.classify.runs.model_file.asdict",
        lambda value: record if isinstance(value, Conformal) else vars(value),
    )
    save_model(tmp_path / "m.safetensors", small_model(Conformal(0.1, 0.7, 30)))
    with pytest.raises(ModelFileError, match="damaged"):
        load_model(tmp_path / "m.safetensors")


def test_golden_models_with_and_without_a_rule() -> None:
    """Files of before claim nothing; that of today promises what it was written with."""
    assert load_model(GOLDEN / "model-v4.safetensors").head.conformal is None
    model = load_model(GOLDEN / "model-v4-conformal.safetensors")
    assert model.head.conformal == Conformal(0.1, 0.26, 40, "out of fold")
    assert model.prediction_set(np.array([[0.25, 0.75]])) == ("b",)
    assert model.prediction_set(np.array([[0.26, 0.74]])) == ("a", "b")
    assert load_model(GOLDEN / "model-v4.safetensors").prediction_set(np.ones((1, 2))) is None


def test_an_answer_is_withheld_unless_it_alone_is_in_the_set() -> None:
    def of(*names: str) -> Prediction:
        return Prediction("a.png", "sick", {"sick": 0.6, "well": 0.4}, prediction_set=names)

    several, none, other, alone = of("sick", "well"), of(), of("well"), of("sick")
    # A threshold for a sensitivity may choose an answer that is not in the set.
    unknown = replace(alone, prediction_set=None)
    texts = [set_text(one) for one in (several, none, other, alone, unknown)]
    assert texts == ["sick or well", "no class is likely enough", "well", "", ""]
    records = [prediction_record(one) for one in (several, alone, unknown)]
    assert [(one["cannot_say"], one["prediction_set"]) for one in records] == [
        (True, ["sick", "well"]),
        (False, ["sick"]),
        (None, None),
    ]
    assert set_notes([several, none, alone], 0.025) == [
        "cannot say: 2 of 3 images; of images like the training images, at most 2.5 % get a wrong "
        "answer"
    ]
    assert set_notes([several], None) == []


def test_an_impossible_error_rate_is_refused() -> None:
    for rate in (0, 1, float("nan")):
        with pytest.raises(ParameterError, match="error_rate must be between 0 and 1"):
            FitOptions(error_rate=rate)
