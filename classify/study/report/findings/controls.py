"""Findings from controls: heads that must not do well, and the score that each head must beat."""

from __future__ import annotations

from .....data.output.terminal import number
from ....board.choices import is_control
from ..choice import BASELINE, Choice, is_candidate
from ..numbers import share_text
from ..study import Row, Study
from .outcome import Evidence, RuleOutcome, head_name, row_source

CHANCE = 0.5
"""Area under the ROC curve of a guess."""


def control_beats_chance(study: Study, choice: Choice) -> RuleOutcome:
    """Look for heads that predict shuffled labels."""
    controls = [row for row in study.rows if is_control(row)]
    evidence = [
        Evidence(
            f"{head_name(row)}, fitted on shuffled labels, has an AUC of "
            f"{share_text(row, 'roc_auc')}; chance is 50 %",
            row_source(row),
        )
        for row in controls
        if number(row["roc_auc_low"]) > CHANCE
    ]
    command = "freezeframe fit-classifier training.h5 --control shuffled-labels"
    return RuleOutcome(evidence, "" if controls else command)


def worse_than_majority(study: Study, choice: Choice) -> RuleOutcome:
    """Look for heads that are right less often than the commonest class is."""
    baselines = {
        _question(row): row for row in study.rows if row["head"] == BASELINE and not is_control(row)
    }
    worse = []
    evidence = []
    for row in filter(is_candidate, study.rows):
        baseline = baselines.get(_question(row))
        if baseline and number(row["accuracy"]) < number(baseline["accuracy"]):
            text = (
                f"{head_name(row)} has an accuracy of {share_text(row, 'accuracy')}, "
                f"{BASELINE} {share_text(baseline, 'accuracy')}"
            )
            if number(row["accuracy_high"]) > number(baseline["accuracy"]):
                text += "; with so few images this may be chance"
            worse.append(row)
            evidence.append(Evidence(text, row_source(row)))
    elsewhere = not any(row is choice.row for row in worse)
    if worse and elsewhere:
        text = "The first sentence of this report is not affected: it is about another row"
        evidence.append(Evidence(text, row_source(choice.row)))
    command = f"freezeframe fit-classifier training.h5 --model {BASELINE}"
    return RuleOutcome(evidence, "" if baselines else command, elsewhere)


def _question(row: Row) -> tuple[str, str, str]:
    """Return the key of rows that were tested on the same images."""
    return row["test_id"], row["test_set"], row["split"]
