"""Scores by patient, and the grades of scores: patients parted, pictures parted, leaking."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from freezeframe import FeatureStore
from freezeframe.__main__ import cli
from freezeframe.classify.fit.combination import CombinationChoice, choose_combination
from freezeframe.classify.heads.base import Head
from freezeframe.classify.runs.array_file import read_header
from freezeframe.classify.runs.prediction_file import read_predictions
from freezeframe.classify.scores.intervals import proportion_interval
from freezeframe.classify.scores.patients import (
    COMBINATIONS,
    Combination,
    combine,
    labels_of_patients,
)
from freezeframe.classify.serve.cards import score_record
from freezeframe.classify.task.grade import LEAKING, PATIENTS_PARTED, PICTURES_PARTED, grade
from freezeframe.classify.task.part import Part
from freezeframe.classify.task.relatives import UNKNOWN, near_duplicates
from freezeframe.classify.task.units import units_of
from freezeframe.data.fingerprints import fingerprint
from freezeframe.data.groups import patient_digest
from freezeframe.data.patient_key import existing_key

from ..conftest import MakeStore

N_SLICES = 5
Pictures = Callable[[int, int], dict[str, Any]]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: object) -> Result:
    """Run freezeframe in this process."""
    return CliRunner().invoke(cli, list(map(str, arguments)), prog_name="freezeframe")


def fitted(*arguments: object, code: int = 0) -> Result:
    """Fit logreg without a search, which is quick."""
    result = run("fit-classifier", *arguments, "--search", "none")
    assert result.exit_code == code, result.output
    return result


def pictures(n: int, first: int = 0) -> dict[str, Any]:
    """Return digests and fingerprints of n different pictures."""
    prints = []
    for seed in range(first, first + n):
        noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        prints.append(fingerprint(np.kron(noise, np.ones((8, 8, 1), np.uint8))))
    return {"sha256s": [f"{n:064x}" for n in range(first, first + n)], "fingerprints": prints}


def patients_of(n_patients: int, first: int = 0) -> list[str]:
    """Return the patient of each slice."""
    return [f"SECRET-{first + n // N_SLICES}" for n in range(n_patients * N_SLICES)]


def labels_of(n_patients: int) -> list[str]:
    """Return labels of slices: of each second patient, two of five slices show a lesion."""
    ill = [["lesion", "lesion", "no_lesion", "no_lesion", "no_lesion"], ["no_lesion"] * N_SLICES]
    return [label for patient in range(n_patients) for label in ill[patient % 2]]


@pytest.fixture
def slices(make_store: MakeStore) -> Path:
    """A store of 16 patients in training and 12 in the test, half of each with lesions."""
    n = 28 * N_SLICES
    return make_store(
        "a.h5",
        labels_of(28),
        splits=["train"] * 16 * N_SLICES + ["test"] * 12 * N_SLICES,
        patients=patients_of(28),
        **pictures(n),
    )


def row_of(index: int = -1) -> Any:
    return pd.read_csv("leaderboard.csv", keep_default_na=False, dtype=str).iloc[index]


# Scores by patient.


def test_the_scores_by_patient_are_those_of_the_combined_probabilities(slices: Path) -> None:
    """Everything is computed again from the file of the images' predictions."""
    from sklearn.metrics import roc_auc_score

    shown = fitted(slices)
    row = row_of()
    choice = json.loads(row.choices)["by_patient"]
    assert choice["chosen_by"] == "log loss"
    assert (row.patient_unit, row.n_test_patients, row.n_test) == ("patient", "12", "60")
    (folder,) = Path("runs").glob("*-logreg-*")
    images = pd.read_csv(folder / "predictions.csv")
    ways = {
        "mean": lambda p: p.mean(),
        "max": lambda p: p.max(),
        "noisy-or": lambda p: 1 - np.prod(1 - p),
    }
    by_patient = images.groupby("patient").p_lesion.agg(ways[choice["combination"]])
    truth = images.groupby("patient").label.agg(lambda labels: (labels == "lesion").any())
    assert truth.sum() == 6
    right = (by_patient >= 0.5) == truth
    assert float(row.patient_accuracy) == pytest.approx(right.mean(), abs=1e-6)
    assert float(row.patient_sensitivity) == pytest.approx(right[truth].mean(), abs=1e-6)
    assert float(row.patient_specificity) == pytest.approx(right[~truth].mean(), abs=1e-6)
    assert float(row.patient_roc_auc) == pytest.approx(roc_auc_score(truth, by_patient), abs=1e-6)
    for name in ("accuracy", "roc_auc", "sensitivity", "specificity"):
        ends = [float(row[f"patient_{name}{end}"]) for end in ("_low", "", "_high")]
        assert ends == sorted(ends)
        assert ends[0] < ends[2]
    kept = pd.read_csv(folder / "predictions_by_patient.csv").set_index("path")
    assert kept.p_lesion.to_dict() == pytest.approx(by_patient.to_dict())
    assert (kept.label == "lesion").to_dict() == truth.to_dict()
    assert "12 patients" in shown.stdout
    assert choice["combination"] in shown.stdout
    # The model file keeps them, too.
    scores = json.loads(read_header(folder / "model.safetensors")[1]["about"])["scores"][0]
    assert scores["patient_accuracy"] == pytest.approx(float(row.patient_accuracy), abs=1e-6)
    # So does the card of the web page.
    card = score_record(scores, 2)
    assert (card["grade"], card["by_patient"]["n"]) == ("patients parted", 12)
    assert card["by_patient"]["accuracy"][0] == pytest.approx(float(row.patient_accuracy), abs=1e-6)


def test_no_file_of_a_run_names_a_patient(slices: Path) -> None:
    result = fitted(slices, "--cv", 3)
    texts = [path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()]
    texts += [Path("leaderboard.csv").read_bytes(), result.output.encode()]
    assert not any(b"SECRET" in text for text in texts)


def test_the_test_part_does_not_choose_the_combination(make_store: MakeStore) -> None:
    """Other labels of the test patients change the scores, not the choice."""
    labels = labels_of(28)
    swapped = {"lesion": "no_lesion", "no_lesion": "lesion"}
    n_train = 16 * N_SLICES
    choices = []
    for name, tested in (("a", labels[n_train:]), ("b", [swapped[x] for x in labels[n_train:]])):
        store = make_store(
            f"{name}.h5",
            labels[:n_train] + tested,
            splits=["train"] * n_train + ["test"] * len(tested),
            patients=patients_of(28),
            **pictures(len(labels)),
        )
        fitted(store)
        choices.append(json.loads(row_of().choices)["by_patient"])
    assert choices[0] == choices[1]


def test_a_fold_does_not_choose_the_combination_of_its_own_patients(
    slices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each fold asks with the rows that its head was fitted on; the head that is kept with all."""
    asked = []
    real = CombinationChoice.choose

    def watched(self: CombinationChoice, head: Head, rows: np.ndarray) -> Combination:
        asked.append(len(rows))
        return real(self, head, rows)

    monkeypatch.setattr(CombinationChoice, "choose", watched)
    fitted(slices, "--cv", 3)
    n = 16 * N_SLICES
    assert sum(asked[1:4]) == 2 * n
    assert asked[0] == asked[-1] == n


@pytest.mark.parametrize("name", COMBINATIONS)
def test_the_combination_that_made_the_labels_is_chosen(name: str) -> None:
    rng = np.random.default_rng(4)
    patients = np.repeat(np.arange(3000), rng.integers(1, 12, 3000))
    p = rng.beta(0.4, 2, len(patients))
    proba = np.column_stack([1 - p, p])
    ill = rng.random(3000) < combine(proba, patients, name, 1)[:, 1]
    # One image of an ill patient is positive; the head gave its probabilities to all of them.
    y = np.zeros(len(patients), np.intp)
    y[np.unique(patients, return_index=True)[1]] = ill
    chosen = choose_combination(proba, y, patients, 1)
    assert (chosen.name, chosen.chosen_by) == (name, "log loss")


def test_patients_choose_the_combination_whatever_their_number_of_images() -> None:
    """One ill patient of eight images wants "max"; three healthy ones of two images want "mean"."""
    patients = np.repeat([0, 1, 2, 3], [8, 2, 2, 2])
    y = (patients == 0).astype(np.intp)
    p = np.array([0.9] + [0.1] * 7 + [0.7, 0.1] * 3)
    proba = np.column_stack([1 - p, p])
    assert choose_combination(proba, y, patients, 1).name == "mean"


def test_a_sensitivity_is_one_of_patients_too(slices: Path) -> None:
    fitted(slices, "--sensitivity", 1)
    lowest = json.loads(row_of().choices)["by_patient"]["threshold"]
    fitted(slices, "--sensitivity", 0.5)
    assert lowest < json.loads(row_of().choices)["by_patient"]["threshold"]


def test_patients_of_one_class_have_no_accuracy(make_store: MakeStore) -> None:
    """A head that calls every patient ill would be right for all of them."""
    labels = labels_of(1) * 12
    store = make_store("a.h5", labels, patients=patients_of(12), **pictures(len(labels)))
    result = fitted(store, "--cv", 3)
    row = row_of()
    choice = json.loads(row.choices)["by_patient"]
    assert choice == {"unit": "patient", "combination": "max", "chosen_by": "rule"}
    assert (row.n_test_patients, row.patient_accuracy, row.patient_roc_auc) == ("12", "", "")
    assert float(row.patient_sensitivity) >= 0
    assert "all 12 are lesion, so that only one score by patient is defined" in result.stderr


@pytest.mark.parametrize("mixed", [False, True])
def test_three_classes_need_one_label_a_patient(make_store: MakeStore, mixed: bool) -> None:
    labels = [["a", "b", "c"][n // N_SLICES % 3] for n in range(18 * N_SLICES)]
    labels[0] = "b" if mixed else "a"
    store = make_store("a.h5", labels, patients=patients_of(18), **pictures(len(labels)))
    result = fitted(store, "--cv", 3)
    row = row_of()
    text = "images of one patient have several labels: with more than two classes, it has no label"
    assert (text in result.stderr) == mixed
    assert (row.n_test_patients, row.patient_accuracy == "") == (
        ("", True) if mixed else ("18", False)
    )
    if not mixed:
        assert json.loads(row.choices)["by_patient"]["combination"] == "mean"


def test_a_patient_is_positive_if_any_image_is() -> None:
    y = np.array([0, 1, 0, 0])
    assert labels_of_patients(y, np.array([0, 0, 1, 1]), 1).tolist() == [1, 0]  # type: ignore[union-attr]
    assert labels_of_patients(y, np.array([0, 0, 1, 1]), None) is None


def test_repeats_give_each_patient_a_probability_in_each(slices: Path) -> None:
    fitted(slices, "--cv", 3, "--repeats", 2)
    (folder,) = Path("runs").iterdir()
    lines = pd.read_csv(folder / "predictions_by_patient.csv")
    folds = lines[lines.split == "3-fold x 2"]
    assert folds.groupby("repeat").size().tolist() == [16, 16]


# Units: what a patient is.


def part_of(path: Path) -> Part:
    store = FeatureStore(path)
    return Part.of_store(store, store.labels[store.rows()], near_duplicates(store))


def test_declared_groups_take_the_place_of_patients_and_copies_do_not(
    make_store: MakeStore,
) -> None:
    n = 12 * N_SLICES
    volumes = [f"scan {number // N_SLICES}" for number in range(n)]
    store = make_store("a.h5", labels_of(12), groups=volumes, **pictures(n))
    result = fitted(store, "--cv", 3, "--model", "logreg", "--model", "naive-bayes")
    row = row_of()
    runs = sorted(path.name for path in Path("runs").iterdir())
    compared = run("compare", *runs).stdout
    assert "accuracy by group" in compared
    assert "on the 12 groups of" in compared
    assert "patient" not in compared
    assert "accuracy by group (95 %)" in run("leaderboard", "--sort", "patient_accuracy").stdout
    # A patient may have two volumes, so that patients are not known to be parted.
    assert (row.patient_unit, row.n_test_patients, row.grade) == ("group", "12", "pictures parted")
    assert "12 groups" in result.stdout
    few = ["scan 1"] * 4 + [""] * (n - 4)
    assert units_of(part_of(make_store("d.h5", labels_of(12), groups=few))) is None
    # `split` names groups of copies.
    copies = [f"group-{number // N_SLICES:012x}" for number in range(n)]
    assert units_of(part_of(make_store("b.h5", labels_of(12), groups=copies))) is None
    assert units_of(part_of(make_store("c.h5", labels_of(12)))) is None


def test_the_name_of_a_group_is_one_text(make_store: MakeStore) -> None:
    """Folds part these groups, so that they must not be taken for one."""
    volumes = [f"brain + {number // N_SLICES}" for number in range(12 * N_SLICES)]
    units = units_of(part_of(make_store("a.h5", labels_of(12), groups=volumes)))
    assert units is not None
    assert units.numbers.max() == 11


def test_a_fit_makes_no_key(slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of a list need no digest; a home that cannot be written must not end a fit."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    fitted(slices)
    assert row_of().n_test_patients == "12"
    assert existing_key() is None


def test_all_names_of_a_patient_are_one_unit(make_store: MakeStore) -> None:
    names = ["p1", "p1 + study", "study", "", patient_digest("p1"), "p2"]
    path = make_store("a.h5", ["x", "y"] * 3, patients=names)
    units = units_of(part_of(path))
    assert units is not None
    assert units.numbers.tolist() == [0, 0, 0, -1, 0, 1]
    assert units.texts == ["patient 1"] * 3 + ["", "patient 1", "patient 2"]


def test_patients_that_leak_or_have_no_name_are_left_out(make_store: MakeStore) -> None:
    n_train = 16 * N_SLICES
    patients = patients_of(28)
    # Two test patients are trained on, and a third has no name.
    patients[n_train] = patients[0]
    patients[n_train + N_SLICES] = patients[N_SLICES]
    patients[-N_SLICES:] = [""] * N_SLICES
    store = make_store(
        "a.h5",
        labels_of(28),
        splits=["train"] * n_train + ["test"] * 12 * N_SLICES,
        patients=patients,
        **pictures(28 * N_SLICES),
    )
    result = fitted(store)
    row = row_of()
    assert (row.grade, row.clean_grade) == ("leaking", "pictures parted")
    assert (
        "2 of 13 patients have a relative in training and are left out; 5 images of no known"
        in (result.stderr)
    )
    assert row.n_test_patients == "11"
    lines = pd.read_csv(next(Path("runs").glob("*/predictions_by_patient.csv")))
    right = (lines.label == lines.predicted)[lines.relative.isna()]
    assert len(lines) - len(right) == 2
    assert float(row.patient_accuracy) == pytest.approx(right.mean(), abs=1e-6)
    # Their table has the grade of what is left, and the leaderboard can be ranked by it.
    ranked = run("leaderboard", "--sort", "patient_accuracy")
    assert ranked.exit_code == 0, ranked.output
    for shown in (result.stdout, ranked.stdout):
        assert re.search(r"logreg .* 11 patients .* pictures parted *\n", shown)


def test_one_patient_and_one_image_are_named_in_the_singular(make_store: MakeStore) -> None:
    n_train = 16 * N_SLICES
    patients = patients_of(18)
    patients[n_train : n_train + N_SLICES] = patients[:N_SLICES]
    patients[-1] = ""
    store = make_store(
        "a.h5",
        labels_of(18),
        splits=["train"] * n_train + ["test"] * 2 * N_SLICES,
        patients=patients,
        **pictures(18 * N_SLICES),
    )
    result = fitted(store)
    assert (
        "1 of 2 patients has a relative in training and is left out; 1 image of no known patient "
        "is left out; the only patient is no_lesion" in result.stderr
    )


# Grades.


def graded(result: Result) -> str:
    """Return the grade of the last row, which the table shows, too."""
    text = str(row_of().grade)
    assert (text or "?") in result.stdout
    assert ("pictures parted: no copy or near-duplicate is in both" in result.stderr) == (
        text == "pictures parted"
    )
    return text


@pytest.mark.parametrize(
    ("patients", "options", "expected"),
    [
        (patients_of(12), (), "patients parted"),
        (["", *patients_of(12)[1:]], (), "pictures parted"),
        (None, (), "pictures parted"),
        ([patient_digest(name) for name in patients_of(12)], (), "patients parted"),
        (
            [patient_digest(name) for name in patients_of(12)],
            ("--ignore-patient-ids",),
            "pictures parted",
        ),
    ],
)
def test_the_grade_of_folds(
    make_store: MakeStore, patients: Sequence[str] | None, options: tuple[str, ...], expected: str
) -> None:
    n = 12 * N_SLICES
    store = make_store("a.h5", labels_of(12), patients=patients, **pictures(n))
    assert graded(fitted(store, "--cv", 3, *options)) == expected


@pytest.mark.parametrize(
    ("patients", "expected", "code"),
    [
        (patients_of(12, first=50), "patients parted", 0),
        (None, "pictures parted", 0),
        (patients_of(12), "leaking", 3),
    ],
)
def test_the_grade_of_a_test_store(
    make_store: MakeStore, patients: Sequence[str] | None, expected: str, code: int
) -> None:
    n = 12 * N_SLICES
    train = make_store("a.h5", labels_of(12), patients=patients_of(12), **pictures(n))
    test = make_store("b.h5", labels_of(12), patients=patients, **pictures(n, first=1000))
    assert graded(fitted(train, "--test", test, code=code)) == expected


def test_all_rows_of_training_and_test_must_have_a_patient(make_store: MakeStore) -> None:
    names = patients_of(4)
    full = part_of(make_store("a.h5", labels_of(4), patients=names))
    part = part_of(make_store("b.h5", labels_of(4), patients=["", *names[1:]]))
    none = np.full(4 * N_SLICES, "")
    some = np.array(["near", *none[1:]])
    assert grade(full, full, none) == PATIENTS_PARTED
    assert grade(part, full, none) == grade(full, part, none) == PICTURES_PARTED
    assert grade(full, full, some) == LEAKING
    # What could not be checked hides no leak, and makes all else unknown.
    unchecked = np.array([UNKNOWN, *some[:-1]])
    assert grade(full, full, unchecked) == LEAKING
    assert grade(full, full, np.array([UNKNOWN, *none[1:]])) == ""


def test_the_grade_of_clean_scores_is_that_of_the_clean_images(make_store: MakeStore) -> None:
    """The copies in the test part have no patient; all other images have one."""
    n_train, n = 16 * N_SLICES, 28 * N_SLICES
    files = pictures(n)
    for column in files.values():
        column[n_train : n_train + N_SLICES] = column[:N_SLICES]
    patients = patients_of(28)
    patients[n_train : n_train + N_SLICES] = [""] * N_SLICES
    splits = ["train"] * n_train + ["test"] * (n - n_train)
    fitted(make_store("a.h5", labels_of(28), splits=splits, patients=patients, **files))
    row = row_of()
    assert (row.grade, row.clean_grade) == ("leaking", "patients parted")


def test_the_interval_of_images_counts_patients(slices: Path) -> None:
    """A patient's images are not independent: 60 of them are worth less than 60."""
    fitted(slices)
    row = row_of()
    (tested,) = read_predictions(next(Path("runs").iterdir())).values()
    lines = pd.read_csv(next(Path("runs").glob("*/predictions.csv")))
    codes = pd.factorize(lines.patient)[0].astype(np.intp)
    by_patient = replace(tested.predictions, groups=codes)
    ends = [float(row.accuracy_low), float(row.accuracy_high)]
    assert ends == pytest.approx(proportion_interval(by_patient, "accuracy"), abs=1e-6)
    by_image = replace(tested.predictions, groups=np.arange(len(codes)))
    assert ends != pytest.approx(proportion_interval(by_image, "accuracy"), abs=1e-3)


def test_two_patients_with_one_picture_are_one_observation(make_store: MakeStore) -> None:
    """The interval by patient counts them once."""
    n_train, n = 16 * N_SLICES, 28 * N_SLICES
    splits = ["train"] * n_train + ["test"] * (n - n_train)
    widths = []
    for copied in (False, True):
        files = pictures(n)
        for column in files.values():
            # The first picture of each second test patient is one of the patient before.
            for start in range(n_train, n, 2 * N_SLICES) if copied else ():
                column[start + N_SLICES] = column[start + N_SLICES - 1]
        fitted(make_store("a.h5", labels_of(28), splits=splits, patients=patients_of(28), **files))
        row = row_of()
        assert row.n_test_patients == "12"
        widths.append(float(row.patient_accuracy_high) - float(row.patient_accuracy_low))
    assert widths[0] < widths[1]


def test_images_without_fingerprints_have_no_grade(make_store: MakeStore) -> None:
    store = make_store("a.h5", labels_of(12), patients=patients_of(12))
    result = fitted(store, "--cv", 3)
    assert row_of().grade == ""
    assert " ?" in result.stdout
    assert row_of().n_test_patients == ""


# Tables.


def test_runs_are_compared_and_ranked_by_patient(slices: Path, make_store: MakeStore) -> None:
    fitted(slices, "--model", "logreg", "--model", "naive-bayes")
    runs = sorted(path.name for path in Path("runs").iterdir())
    compared = run("compare", *runs, "--format", "json")
    assert compared.exit_code == 0, compared.output
    records = {record["metric"]: record for record in json.loads(compared.stdout)}
    by_patient = records["patient_accuracy"]
    assert by_patient["n_test"] == 12
    values = {row.run_id: float(row.patient_accuracy) for row in (row_of(0), row_of(1))}
    assert by_patient["first"] == pytest.approx(values[by_patient["first_run"]], abs=1e-6)
    assert by_patient["second"] == pytest.approx(values[by_patient["second_run"]], abs=1e-6)
    assert by_patient["first_grade"] == by_patient["second_grade"] == "patients parted"
    table = run("compare", *runs).stdout
    assert "accuracy by patient" in table
    assert "on the 12 patients of" in table
    ranked = run("leaderboard", "--sort", "patient_auc", "--format", "json")
    places = json.loads(ranked.stdout)
    assert [place["rank"] for place in places] in ([1, 2], [1, 1])
    assert places[0]["patient_roc_auc"] >= places[1]["patient_roc_auc"]
    assert places[1]["indistinguishable"] is not None
    assert "12 patients" in run("leaderboard").stdout
    # A run that knows other patients is ranked, and not tested.
    other = make_store(
        "b.h5",
        labels_of(28),
        splits=["train"] * 16 * N_SLICES + ["test"] * 12 * N_SLICES,
        patients=[f"{name}-{number % 2}" for number, name in enumerate(patients_of(28))],
        **pictures(28 * N_SLICES),
    )
    fitted(other)
    ranked = run("leaderboard", "--sort", "patient_accuracy")
    assert "not the same images" not in ranked.output
    assert "or the runs know other patients" in ranked.stdout
    # The same images without patients have nothing to compare by patient.
    labels = labels_of(28)
    splits = ["train"] * 16 * N_SLICES + ["test"] * 12 * N_SLICES
    make_store("a.h5", labels, splits=splits, **pictures(len(labels)))
    fitted(slices)
    compared = run("compare", runs[0], row_of().run_id)
    assert "by patient" not in compared.stdout
    assert "the grades differ (" in compared.stderr
