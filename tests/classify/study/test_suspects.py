"""Label suspects: their order, copies, planted labels, the page and the pictures."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from freezeframe.classify.scores.evaluation import Evaluation
from freezeframe.classify.scores.predictions import Predictions
from freezeframe.classify.study.pictures import list_pictures
from freezeframe.classify.study.report.choice import choose_row
from freezeframe.classify.study.report.findings.suspects import (
    SUSPECT_COLUMNS,
    find_suspects,
    label_suspects,
    suspects_csv,
)
from freezeframe.classify.study.report.sections.labels import labels_section
from freezeframe.classify.study.report.study import Study

from .studies import SURE, MadeStudy, N, predictions


def judged(y: list[int], of_label: list[list[float]], relatives: list[str]) -> Evaluation:
    """Return an evaluation from the probability of each image's label, one list a repeat."""
    p = np.array(of_label)
    proba = np.stack([p, 1 - p], axis=2)
    # Labels of class 1 have their probability second.
    proba[:, np.array(y) == 1] = proba[:, np.array(y) == 1, ::-1]
    paths = [f"{number}.png" for number in range(len(y))]
    result = Predictions.of(np.array(y), proba, positive=1)
    digests = [f"{number}" for number in range(len(y))]
    return Evaluation("t", "set", "5-fold", ("a", "b"), paths, digests, result, np.array(relatives))


def test_the_least_likely_label_comes_first_and_likely_labels_are_no_suspects() -> None:
    evaluation = judged([0, 1, 0, 1], [[0.3, 0.9, 0.01, 0.2]], [""] * 4)
    suspects = label_suspects(evaluation, {})
    assert [(suspect.path, suspect.label, suspect.likeliest) for suspect in suspects] == [
        ("2.png", "a", "b"),
        ("3.png", "b", "a"),
        ("0.png", "a", "b"),
    ]
    assert [suspect.probability for suspect in suspects] == pytest.approx([0.01, 0.2, 0.3])
    assert [suspect.highest for suspect in suspects] == pytest.approx([0.99, 0.8, 0.7])
    lines = list(csv.DictReader(suspects_csv(suspects).splitlines()))
    assert tuple(lines[0]) == SUSPECT_COLUMNS
    assert [line["rank"] for line in lines] == ["1", "2", "3"]


def test_repeats_are_averaged() -> None:
    evaluation = judged([0, 0], [[0.1, 0.3], [0.8, 0.2]], ["", ""])
    suspects = label_suspects(evaluation, {})
    assert [(suspect.path, suspect.probability) for suspect in suspects] == [
        ("1.png", pytest.approx(0.25)),
        ("0.png", pytest.approx(0.45)),
    ]


def test_a_copy_counts_once_and_a_picture_with_two_labels_twice() -> None:
    evaluation = judged([0, 0, 1, 1], [[0.2, 0.1, 0.3, 0.4]], [""] * 4)
    pictures = {"0.png": "7", "1.png": "7", "2.png": "7", "3.png": "8"}
    suspects = label_suspects(evaluation, pictures)
    assert [(suspect.path, suspect.copies, suspect.label) for suspect in suspects] == [
        ("1.png", 2, "a"),
        ("2.png", 1, "b"),
        ("3.png", 1, "b"),
    ]
    # Without an audit, the same bytes are the same picture.
    same = replace(evaluation, sha256s=["x", "x", "y", "z"])
    assert [suspect.copies for suspect in label_suspects(same, {})] == [2, 1, 1]


def test_images_whose_relatives_were_trained_on_are_left_out() -> None:
    evaluation = judged([0, 0, 0], [[0.1, 0.2, 0.3]], ["near", "unknown", ""])
    assert [suspect.path for suspect in label_suspects(evaluation, {})] == ["1.png", "2.png"]


def test_most_planted_labels_are_among_the_first() -> None:
    """Scans of digits: 5 % of the labels are wrong, and the head does not know which."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    rng = np.random.default_rng(0)
    X, digits = load_digits(return_X_y=True)
    X, true = (rows[np.isin(digits, [3, 8])] for rows in (X, (digits == 8).astype(int)))
    wrong = rng.choice(len(true), len(true) // 20, replace=False)
    y = true.copy()
    y[wrong] = 1 - y[wrong]
    model = LogisticRegression(C=0.01, solver="liblinear")
    proba = cross_val_predict(model, X / 16, y, cv=5, method="predict_proba")
    evaluation = judged(y.tolist(), [proba[np.arange(len(y)), y].tolist()], [""] * len(y))
    first = [int(suspect.path.removesuffix(".png")) for suspect in label_suspects(evaluation, {})]
    assert len(set(wrong) & set(first[: 2 * len(wrong)])) / len(wrong) > 0.8
    by_chance = 2 * len(wrong) / len(y)
    assert by_chance < 0.11


def test_the_cross_validation_of_the_whole_set_is_preferred(tmp_path: Path) -> None:
    study = MadeStudy(tmp_path)
    few = predictions(SURE[:200], predictions().y[:200])
    study.add("logreg", few, split="hold-out 20%", test_id="a", n_test=200)
    study.add("logreg", predictions(), split="external", test_id="b", n_test=900)
    study.add("logreg", predictions(), split="random 20%", test_id="c", n_test=800)
    study.add("ridge", predictions(), test_id="d", n_test=700)
    whole = study.add("logreg", predictions(), test_id="e", n_test=N)
    read = Study.read(tmp_path)
    row, suspects = find_suspects(read, choose_row(read))
    assert row is not None
    assert row["run_id"] == whole
    text = "".join(labels_section(read, choose_row(read)))
    assert f"logreg on block5_pool, 5-fold: {N} images" in text
    assert f"{len(suspects)} pictures have a label that is not the likeliest class" in text
    assert text.count("<tr>") == 13


def test_a_study_draws_its_first_suspects(tmp_path: Path) -> None:
    study = MadeStudy(tmp_path / "study")
    study.folder.mkdir()
    study.add("logreg")
    read = Study.read(study.folder)
    _, suspects = find_suspects(read, choose_row(read))
    images = tmp_path / "images"
    for suspect in suspects[:2]:
        (images / suspect.path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (900, 300), 99).save(images / suspect.path)
    (images / suspects[1].path).write_text("no picture")
    assert list_pictures(study.folder, [images]) == []
    with (study.folder / "pictures.csv").open() as file:
        lines = list(csv.DictReader(file))
    # Images that are missing or damaged have no picture.
    assert [line["kind"] for line in lines] == ["suspect"]
    assert Path(suspects[0].path).name in lines[0]["caption"]
    with Image.open(study.folder / lines[0]["path"]) as picture:
        assert max(picture.size) == 200
    section = "".join(labels_section(read, choose_row(read)))
    assert section.count("<img") == 1
