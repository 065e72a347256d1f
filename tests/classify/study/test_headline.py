"""The first sentence of a report, and the row that it is about."""

from __future__ import annotations

from pathlib import Path

import pytest

from freezeframe.classify.runs.stress_file import STRESS_COLUMNS
from freezeframe.classify.study.report.choice import choose_row
from freezeframe.classify.study.report.headline import make_headline
from freezeframe.classify.study.report.study import Study
from freezeframe.data.audit.report import GROUP_COLUMNS
from freezeframe.errors import ParameterError

from .studies import TRUTH, MadeStudy, N


@pytest.fixture
def study(tmp_path: Path) -> MadeStudy:
    return MadeStudy(tmp_path).clean()


def sentence(study: MadeStudy) -> str:
    """Return the first sentence of a report."""
    read = Study.read(study.folder)
    return make_headline(read, choose_row(read)).sentence


def test_the_first_sentence_has_numbers_of_rows(study: MadeStudy) -> None:
    study.add("logreg", accuracy=0.921, accuracy_low=0.861, accuracy_high=0.958)
    relatives = ["bytes" if place < 70 else "" for place in range(N)]
    study.add("logreg", accuracy=0.985, split="random 20%", relatives=relatives, test_id="random")
    study.write(
        f"runs/2026-{study.n_runs - 1}-logreg/stress.csv",
        STRESS_COLUMNS,
        [
            ["logreg", "5", "0", "300", "1", "0.92", "0.86", "0.95", "0.9", "0.8", "0.95", ""],
            ["logreg", "5", "1", "20", "9", "0.81", "0.72", "0.93", "0.9", "0.8", "0.95", ""],
        ],
    )
    text = sentence(study)
    assert text.startswith(
        "92 % [86, 96] right on pictures not trained on; patients unknown; a random split would "
        "have claimed 98.5 % "
    )
    assert (
        " (70 of its 300 pictures have a relative in training); with look-alikes kept on one side "
        "81 % [72, 93]. Always naming"
    ) in text
    # 49 % is said of all images to be lesions: the share of the other class is right.
    none = 100 * TRUTH.mean()
    assert text.endswith(
        f"Always naming the commonest class gets {none:.0f} % [{none - 4:.0f}, {none + 4:.0f}]."
    )


def test_a_test_set_that_is_known_is_in_the_first_sentence(study: MadeStudy) -> None:
    lines = [
        ["old", "0.png", "a", "", "", "0", "0", "1", ""],
        ["old", "1.png", "a", "", "", "1", "1", "1", ""],
        # Two files of one picture, of which the first set has one.
        *(["new", f"{name}.png", "a", "", "", "1", "1", "3", ""] for name in "ab"),
        ["new", "c.png", "a", "", "", "2", "2", "1", ""],
        ["other", "d.png", "a", "", "", "2", "2", "1", ""],
    ]
    study.write("audit/groups.csv", GROUP_COLUMNS, lines)
    text = sentence(study)
    assert (
        "2 of the 3 pictures of new are in old, too: a test on new is no test on new pictures. "
        "Always naming"
    ) in text
    assert "of other" not in text


def test_a_random_split_is_quoted_before_a_larger_test_set(study: MadeStudy) -> None:
    relatives = ["bytes"] * N
    study.add("logreg", accuracy=0.97, split="external", relatives=relatives, test_id="larger")
    study.add(
        "logreg", accuracy=0.96, split="random 20%", relatives=relatives, test_id="r", n_test=99
    )
    # Another head, layer or pooling says nothing about this one.
    study.add("ridge", accuracy=0.98, split="random 20%", relatives=relatives, test_id="r2")
    assert "; a random split would have claimed 96 % " in sentence(study)


def test_a_score_without_clean_images_is_no_finding(tmp_path: Path) -> None:
    study = MadeStudy(tmp_path)
    study.add("logreg", relatives=["bytes"] * N)
    assert sentence(study).startswith(
        "nothing is known about pictures not trained on: 300 of 300 test pictures have a relative"
    )


def test_the_row_is_not_chosen_by_its_score(tmp_path: Path) -> None:
    study = MadeStudy(tmp_path)
    study.add("logreg", accuracy=0.7, layer="block10_pool")
    study.add("logreg", accuracy=0.9, layer="block9_pool")
    study.add("knn", accuracy=0.95)
    read = Study.read(tmp_path)
    choice = choose_row(read)
    assert choice.row["layer"] == "block10_pool"
    assert "logreg is the default head and block10_pool the deepest layer" in choice.reason
    assert choose_row(read, "2026-3").row["head"] == "knn"
    for run, problem in (("2026", "begins 3 run ids"), ("none", "is no run of the leaderboard")):
        with pytest.raises(ParameterError, match=problem):
            choose_row(read, run)


def test_a_row_that_was_chosen_by_its_score_is_called_so(tmp_path: Path) -> None:
    study = MadeStudy(tmp_path)
    study.add("knn", accuracy=0.95)
    study.add("ridge", accuracy=0.9)
    choice = choose_row(Study.read(tmp_path))
    assert choice.row["head"] == "knn"
    assert "best accuracy of 2 rows, so the images that test it also chose it" in choice.reason


def test_of_one_grade_the_largest_test_set_counts(tmp_path: Path) -> None:
    study = MadeStudy(tmp_path)
    for n in (100, 300, 200):
        study.add("logreg", test_id=str(n), n_test=n)
    assert choose_row(Study.read(tmp_path)).row["n_test"] == "300"


def test_a_better_grade_counts_more_than_a_larger_test_set(tmp_path: Path) -> None:
    study = MadeStudy(tmp_path)
    study.add("logreg", run_id="one", test_id="a", n_test=100, grade="patients parted")
    study.add("logreg", run_id="two", test_id="b", n_test=900)
    assert "; no patient was trained on and tested." in sentence(study)
