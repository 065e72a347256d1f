"""Findings on fits: heads that predict one class, and searches that ended at an edge."""

from __future__ import annotations

from collections.abc import Iterator

from ....runs.warning_file import WARNINGS_NAME
from ..choice import BASELINE, Choice, is_candidate
from ..study import Row, Study
from .outcome import Evidence, RuleOutcome, head_name, row_source

_FIT = "freezeframe fit-classifier training.h5"


def collapsed_network(study: Study, choice: Choice) -> RuleOutcome:
    """Look for heads that predict one class, on training images or on all test images."""
    evidence = list(_warned(study, "collapsed-network"))
    seen = bool(evidence)
    for row in filter(is_candidate, study.rows):
        evaluation = study.evaluation(row)
        seen |= evaluation is not None or study.warnings(row) is not None
        if evaluation is None or len(set(evaluation.predictions.y.tolist())) < 2:
            continue
        answers = evaluation.predictions.predicted
        if (answers == answers.flat[0]).all():
            text = (
                f"{head_name(row)} answers {evaluation.classes[answers.flat[0]]} for all "
                f"{row['n_test']} test images"
            )
            evidence.append(Evidence(text, row_source(row)))
    return RuleOutcome(evidence, "" if seen else _FIT)


def edge_of_search(study: Study, choice: Choice) -> RuleOutcome:
    """Look for hyper-parameters whose best value is the least or the greatest one tried."""
    seen = any(study.warnings(row) is not None for row in _runs(study))
    return RuleOutcome(list(_warned(study, "edge-of-search")), "" if seen else _FIT)


def _warned(study: Study, code: str) -> Iterator[Evidence]:
    """Yield the warnings of one code of all runs."""
    for row in _runs(study):
        for line in study.warnings(row) or []:
            if line["code"] == code:
                yield Evidence(line["text"], f"runs/{row['run_id']}/{WARNINGS_NAME}")


def _runs(study: Study) -> list[Row]:
    """Return a row of each run that is no control."""
    rows = (row for row in study.rows if is_candidate(row) and row["head"] != BASELINE)
    return list({row["run_id"]: row for row in rows}.values())
