"""The limits of findings: numbers just on this side of a limit, and just beyond it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from freezeframe.classify.runs.stress_file import STRESS_COLUMNS
from freezeframe.classify.study.report.choice import choose_row
from freezeframe.classify.study.report.findings import scores
from freezeframe.classify.study.report.findings.table import look_for_findings
from freezeframe.classify.study.report.formulas import CalibrationLine
from freezeframe.classify.study.report.study import Study

from .studies import SHUFFLED, TRUTH, MadeStudy, N, predictions


@pytest.fixture
def study(tmp_path: Path) -> MadeStudy:
    """A study of one head, without anything to find."""
    study = MadeStudy(tmp_path)
    study.add("logreg")
    return study


def codes(study: MadeStudy) -> set[str]:
    read = Study.read(study.folder)
    results = look_for_findings(read, choose_row(read))
    return {result.kind.code for result in results if result.evidence}


def interval(name: str, value: float, low: float, high: float) -> dict[str, float]:
    return {name: value, f"{name}_low": low, f"{name}_high": high}


@pytest.mark.parametrize(("n_groups", "found"), [(100, False), (99, True)])
def test_a_class_needs_a_hundred_independent_images(
    tmp_path: Path, n_groups: int, found: bool
) -> None:
    study = MadeStudy(tmp_path)
    # The other class has more of them.
    groups = np.where(TRUTH == 0, np.cumsum(TRUTH == 0) % n_groups, 1000 + np.arange(N))
    run = study.add("logreg", predictions(groups=groups))
    assert (codes(study) == {"few-independent-images"}) == found
    # Without predictions, the rarer class has half of the groups at most.
    (study.folder / "runs" / run / "predictions.csv").unlink()
    board = study.folder / "leaderboard.csv"
    n = len(set(groups.tolist()))
    board.write_text(board.read_text().replace(f",{n},", f",{2 * n_groups},"))
    assert (codes(study) == {"few-independent-images"}) == found


RIGHT = (0.0, -0.1, 0.1)


@pytest.mark.parametrize(
    ("slope", "intercept", "found"),
    [
        ((1.0, 0.9, 1.1), RIGHT, False),
        # Wrong by a small amount that is certain, or by a large one that is not.
        ((1.24, 1.1, 1.4), RIGHT, False),
        ((2.0, 0.9, 3.1), RIGHT, False),
        ((1.26, 1.1, 1.4), RIGHT, True),
        ((0.79, 0.6, 0.9), RIGHT, True),
        ((0.81, 0.6, 0.9), RIGHT, False),
        ((1.0, 0.9, 1.1), (0.24, 0.1, 0.3), False),
        ((1.0, 0.9, 1.1), (0.9, -0.1, 1.9), False),
        ((1.0, 0.9, 1.1), (0.26, 0.1, 0.4), True),
        ((1.0, 0.9, 1.1), (-0.26, -0.4, -0.1), True),
    ],
)
def test_calibration_is_wrong_by_an_amount_that_matters_and_is_certain(
    study: MadeStudy, monkeypatch: pytest.MonkeyPatch, slope: Any, intercept: Any, found: bool
) -> None:
    line = CalibrationLine(intercept, slope)
    monkeypatch.setattr(scores, "class_lines", lambda _: {"lesion": line})
    assert codes(study) == ({"miscalibrated"} if found else set())


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        ((0.90, 0.86, 0.94), (0.93, 0.89, 0.97), False),
        ((0.90, 0.86, 0.94), (0.95, 0.90, 0.99), True),
        ((0.90, 0.80, 0.99), (0.95, 0.94, 0.96), False),
    ],
)
def test_seeds_disagree_beyond_half_an_interval(
    study: MadeStudy, first: Any, second: Any, found: bool
) -> None:
    study.add("ridge", seed=0, **interval("accuracy", *first))
    study.add("ridge", seed=1, **interval("accuracy", *second))
    # Another head, layer or test is no other seed.
    study.add("ridge", seed=2, layer="block3_pool", **interval("accuracy", 0.5, 0.4, 0.6))
    study.add("ridge", seed=3, split="random 20%", **interval("accuracy", 0.5, 0.4, 0.6))
    assert codes(study) == ({"seeds-disagree"} if found else set())


@pytest.mark.parametrize(("high", "found"), [("0.91", False), ("0.89", True)])
def test_a_stress_test_falls_below_the_interval_of_its_last_level(
    study: MadeStudy, high: str, found: bool
) -> None:
    lines = [
        ["logreg", "5", "0", "300", "1", "0.90", "0.86", "0.95", "0.9", "0.8", "0.95", ""],
        ["logreg", "5", "1", "20", "9", "0.85", "0.72", high, "0.9", "0.8", "0.95", ""],
    ]
    study.write("runs/2026-1-logreg/stress.csv", STRESS_COLUMNS, lines)
    assert codes(study) == ({"stress-falls"} if found else set())


@pytest.mark.parametrize(("low", "found"), [(0.5, False), (0.51, True)])
def test_a_control_beats_chance_by_its_interval(study: MadeStudy, low: float, found: bool) -> None:
    study.add("lda", test_id="s", choices=SHUFFLED, **interval("roc_auc", 0.6, low, 0.7))
    assert codes(study) == ({"control-beats-chance"} if found else set())


@pytest.mark.parametrize(
    ("classes", "low", "found"),
    [
        ('["a", "b"]', 0.54, False),
        ('["a", "b"]', 0.56, True),
        ('["a", "b", "c", "d"]', 0.29, False),
        ('["a", "b", "c", "d"]', 0.31, True),
    ],
)
def test_a_shortcut_is_clearly_better_than_a_guess(
    study: MadeStudy, classes: str, low: float, found: bool
) -> None:
    cells = interval("balanced_accuracy", 0.7, low, 0.8)
    # They see no features: the same control of another layer is no more evidence.
    for layer in ("block3_pool", "block5_pool"):
        study.add("image-size", classes=classes, layer=layer, **cells)
    read = Study.read(study.folder)
    (result,) = [
        result
        for result in look_for_findings(read, choose_row(read))
        if result.kind.code == "shortcut"
    ]
    assert len(result.evidence) == found


def test_a_head_is_compared_with_the_commonest_class_of_its_own_test(study: MadeStudy) -> None:
    best = interval("accuracy", 0.99, 0.98, 1)
    study.add("majority", test_id="other", **best)
    study.add("majority", split="random 20%", **best)
    study.add("majority", test_set="another", **best)
    assert codes(study) == set()
    study.add("majority", **best)
    assert codes(study) == {"worse-than-majority"}


def test_what_the_commonest_class_does_is_no_finding(study: MadeStudy) -> None:
    warnings = [("edge-of-search", "x"), ("collapsed-network", "x")]
    study.add("majority", predictions(np.full(N, 0.4)), warnings=warnings)
    assert codes(study) == set()


def test_one_class_in_a_test_is_no_collapse(study: MadeStudy) -> None:
    study.add("ridge", predictions(np.full(N, 0.9), np.zeros(N, np.intp)), test_id="other")
    assert "collapsed-network" not in codes(study)
    study.add("ridge", predictions(np.full(N, 0.9)), test_id="another")
    assert "collapsed-network" in codes(study)
