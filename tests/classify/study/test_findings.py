"""Findings of a report: each is triggered by a made study, and absent from a clean one."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from freezeframe.classify.study.report.choice import choose_row
from freezeframe.classify.study.report.findings.outcome import Finding
from freezeframe.classify.study.report.findings.table import (
    FINDINGS,
    findings_csv,
    look_for_findings,
)
from freezeframe.classify.study.report.study import Study

from .studies import SHUFFLED, SURE, TRUTH, MadeStudy, N, predictions

MIRRORED = 1 - SURE
HALF = np.where(np.arange(N) % 3 == 0, 1 - SURE, SURE)
"""Probabilities that are wrong for a third of the images."""

RIGHT = np.where(TRUTH == 0, 0.9, 0.1)
EXTREME = 1 / (1 + np.exp(-3 * np.log(SURE / (1 - SURE))))
"""Probabilities whose logits are three times what they should be."""

FORTY = np.arange(N) % 40
COPIES = ["near" if place < 9 else "" for place in range(N)]
PATIENTS = ["group" if place < 9 else "" for place in range(N)]


def outcomes(study: MadeStudy) -> dict[str, Finding]:
    """Return what each rule saw, by code."""
    read = Study.read(study.folder)
    return {result.kind.code: result for result in look_for_findings(read, choose_row(read))}


def codes(study: MadeStudy) -> set[str]:
    """Return the codes of the findings that are present."""
    return {code for code, result in outcomes(study).items() if result.evidence}


@pytest.fixture
def study(tmp_path: Path) -> MadeStudy:
    return MadeStudy(tmp_path).clean()


def test_too_few_groups_for_a_stress_test_are_not_called_a_good_result(tmp_path: Path) -> None:
    study = MadeStudy(tmp_path)
    study.stress(study.add("logreg"), SURE)
    result = outcomes(study)["stress-falls"].result
    assert "not looked for; needs: more independent images of demo" in result


def test_a_head_worse_than_none_is_serious_only_in_the_first_sentence(tmp_path: Path) -> None:
    study = MadeStudy(tmp_path)
    study.add("majority", predictions(np.full(N, 0.49)))
    # Every third of 24 images is wrong: the interval holds the score of no head.
    few = np.arange(N) < 24
    study.add("logreg", predictions(np.where(few, HALF, SURE)))
    study.add("knn", predictions(MIRRORED))
    result = outcomes(study)["worse-than-majority"]
    assert not result.serious
    knn, headline = result.evidence
    assert "knn on block5_pool" in knn.text
    assert "chance" not in knn.text
    assert "The first sentence of this report is not affected" in headline.text
    study = MadeStudy(tmp_path / "serious")
    study.add("majority", predictions(np.full(N, 0.49)))
    study.add("logreg", predictions(np.where(TRUTH == 0, 0.9, 0.6), groups=np.arange(N) % 9))
    result = outcomes(study)["worse-than-majority"]
    assert [item.text.endswith("this may be chance") for item in result.evidence] == [True]
    assert result.serious


def test_a_clean_study_has_no_finding_and_was_looked_at_for_all(study: MadeStudy) -> None:
    assert {code: result.result for code, result in outcomes(study).items()} == dict.fromkeys(
        FINDINGS, "not found"
    )


TRIGGERS: dict[str, list[Callable[[MadeStudy], object]]] = {
    "copies-across-splits": [
        lambda study: study.audited(("yes", "", "nearly the same")),
        lambda study: study.add("knn", relatives=COPIES, test_id="other"),
    ],
    "patient-on-both-sides": [
        lambda study: study.audited(("yes", "", "same group")),
        lambda study: study.add("knn", relatives=PATIENTS, test_id="other"),
    ],
    "two-labels": [lambda study: study.audited(("", "yes", "same bytes"))],
    "shortcut": [
        lambda study: study.explored((200, 260)),
        lambda study: study.add("image-border", predictions(RIGHT)),
    ],
    "control-beats-chance": [
        lambda study: study.add("ridge", predictions(RIGHT), test_id="s", choices=SHUFFLED),
    ],
    "worse-than-majority": [lambda study: study.add("knn", predictions(MIRRORED))],
    "collapsed-network": [
        lambda study: study.add("dense-128", predictions(np.full(N, 0.2))),
        lambda study: study.add("dense-128", warnings=[("collapsed-network", "it collapsed")]),
    ],
    "edge-of-search": [
        lambda study: study.add("ridge", warnings=[("edge-of-search", "alpha is the least")]),
    ],
    "few-independent-images": [lambda study: study.add("logreg", predictions(groups=FORTY))],
    "miscalibrated": [lambda study: study.add("logreg", predictions(EXTREME))],
    "seeds-disagree": [
        lambda study: study.add("ridge", seed=0) and _other_seed(study),
        lambda study: _seeds(study, 0.041),
    ],
    "stress-falls": [lambda study: study.stress(study.add("ridge"), SURE, HALF)],
}


def _other_seed(study: MadeStudy) -> str:
    return study.add("ridge", predictions(HALF), seed=1)


def _seeds(study: MadeStudy, width: float, **cells: object) -> str:
    """Add a head whose accuracies with 3 seeds are this far apart; half an interval is 0.04."""
    ends = {"seeds_accuracy_lowest": 0.8 - width, "seeds_accuracy_highest": 0.8}
    return study.add("xgboost", n_seeds=3, seeds_accuracy_mean=0.79, **ends, **cells)


def test_seeds_agree_within_half_of_the_interval_and_within_a_point(study: MadeStudy) -> None:
    _seeds(study, 0.039)
    # A narrow interval does not make a tiny range matter.
    _seeds(study, 0.009, test_id="other", accuracy_low=0.799, accuracy_high=0.8)
    # Another test set has other images, which may explain another score.
    study.add("ridge", test_id="first")
    study.add("ridge", predictions(HALF), seed=1, test_id="second")
    assert codes(study) == set()


def test_seeds_that_disagree_are_named_with_their_numbers(study: MadeStudy) -> None:
    run_id = _seeds(study, 0.05)
    (evidence,) = outcomes(study)["seeds-disagree"].evidence
    assert evidence.text.startswith(
        "xgboost on block5_pool: accuracy from 75.0 to 80.0 % with 3 seeds on the same images, "
        "5.0 points apart; half of its 95 % interval, "
    )
    assert evidence.text.endswith(" is 4.0 points")
    assert evidence.source == f"runs/{run_id}/seeds.csv"


def test_seeds_are_looked_for_in_heads_that_draw(tmp_path: Path) -> None:
    study = MadeStudy(tmp_path)
    study.add("logreg", n_seeds=0)
    assert outcomes(study)["seeds-disagree"].result == "not found"
    study.add("xgboost", n_seeds=1)
    assert outcomes(study)["seeds-disagree"].result == (
        "not looked for; needs: freezeframe fit-classifier training.h5 --model xgboost --seeds 3"
    )


def test_rows_that_do_not_say_whether_a_head_draws_give_no_advice_on_seeds(tmp_path: Path) -> None:
    study = MadeStudy(tmp_path)
    study.add("logreg")
    result = outcomes(study)["seeds-disagree"].result
    assert "--seeds" not in result
    assert "rows of older versions do not say which heads draw" in result


def test_every_finding_has_a_trigger() -> None:
    assert set(TRIGGERS) == set(FINDINGS)


@pytest.mark.parametrize(
    ("code", "place"),
    [(code, place) for code, triggers in TRIGGERS.items() for place in range(len(triggers))],
)
def test_a_made_study_triggers_its_finding(study: MadeStudy, code: str, place: int) -> None:
    TRIGGERS[code][place](study)
    present = codes(study)
    # A head that predicts one class is no better than the commonest class, or worse.
    assert present - {"worse-than-majority"} == {code} - {"worse-than-majority"}
    assert code in present


def test_copies_elsewhere_do_not_make_the_first_sentence_doubtful(study: MadeStudy) -> None:
    study.audited(("yes", "", "same bytes"))
    result = outcomes(study)["copies-across-splits"]
    assert (result.serious, result.severity) == (False, "to check")
    assert "is not affected: none of its 300 test images" in result.evidence[-1].text


def test_copies_in_the_row_of_the_first_sentence_are_serious(tmp_path: Path) -> None:
    study = MadeStudy(tmp_path)
    study.add("logreg", relatives=COPIES)
    result = outcomes(study)["copies-across-splits"]
    assert result.serious
    assert result.evidence[0].text == (
        "9 of 300 test images of demo, 5-fold, have a relative among the training images "
        "(9 nearly the same picture)"
    )


def test_what_was_not_run_is_named_with_its_command(tmp_path: Path) -> None:
    study = MadeStudy(tmp_path)
    study.add("logreg")
    results = {code: result.result for code, result in outcomes(study).items()}
    assert results["two-labels"] == (
        "not looked for; needs: freezeframe audit FOLDER --output audit"
    )
    unknown = {code for code, result in results.items() if result.startswith("not looked for")}
    assert unknown == {
        "copies-across-splits",
        "patient-on-both-sides",
        "two-labels",
        "shortcut",
        "control-beats-chance",
        "worse-than-majority",
        "seeds-disagree",
        "stress-falls",
    }


def test_the_table_has_a_line_for_each_piece_of_evidence(study: MadeStudy) -> None:
    study.audited(("yes", "", "nearly the same"))
    study.add("ridge", warnings=[("edge-of-search", "=alpha is the least")])
    present = [result for result in outcomes(study).values() if result.evidence]
    lines = list(csv.DictReader(findings_csv(present).splitlines()))
    assert [(line["code"], line["severity"]) for line in lines] == [
        ("copies-across-splits", "to check"),
        ("copies-across-splits", "to check"),
        ("edge-of-search", "to check"),
    ]
    assert lines[0]["source"] == "audit/audit.csv: lines with leak = yes"
    # A spreadsheet computes nothing.
    assert lines[2]["evidence"] == "'=alpha is the least"
    assert lines[2]["source"].endswith("/warnings.csv")
