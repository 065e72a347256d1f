"""Findings on scores: too few images, wrong probabilities, other seeds, look-alikes apart.

References:
    Collins GS, Ogundimu EO, Altman DG (2016): Sample size considerations for the external
    validation of a multivariable prognostic model: a resampling study. Statistics in Medicine 35,
    214-226: at least 100 events and 100 non-events.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .....data.output.terminal import counted, number
from ....runs.stress_file import STRESS_NAME
from ..calibration import class_lines
from ..choice import Choice, is_candidate
from ..numbers import points_text, share_text
from ..study import Row, Study
from .outcome import Evidence, RuleOutcome, head_name, row_source

LEAST_GROUPS_TO_VALIDATE = 100
"""Fewer independent images of a class are too few (Collins 2016)."""

WRONG_SLOPE = 1.25
"""A slope beyond this, or below its inverse, is wrong by an amount that matters."""

WRONG_INTERCEPT = 0.25
"""An intercept beyond this, in logits, moves a probability of 50 % by 6 points."""


def few_independent_images(study: Study, choice: Choice) -> RuleOutcome:
    """Look for classes with too few independent test images."""
    row = choice.row
    evaluation = study.evaluation(row)
    if evaluation is None:
        n = int(row["n_test_groups"] or row["n_test"] or 0)
        # Without predictions, the rarer class has half of the groups at most.
        enough = n >= 2 * LEAST_GROUPS_TO_VALIDATE
        counts = {"all classes": n}
    else:
        predictions = evaluation.predictions
        counts = {
            name: len(np.unique(predictions.groups[predictions.y == label]))
            for label, name in enumerate(evaluation.classes)
        }
        enough = min(counts.values()) >= LEAST_GROUPS_TO_VALIDATE
    if enough:
        return RuleOutcome()
    sizes = ", ".join(f"{name} {n}" for name, n in counts.items())
    text = (
        f"independent test images (images of one group count once): {sizes}; a validation needs "
        f"{LEAST_GROUPS_TO_VALIDATE} of each class. The accuracy may be anywhere in "
        f"{share_text(row, 'accuracy')}"
    )
    return RuleOutcome([Evidence(text, row_source(row))])


def miscalibrated(study: Study, choice: Choice) -> RuleOutcome:
    """Look for probabilities that are not the shares that they claim to be."""
    evaluation = study.evaluation(choice.row)
    if evaluation is None:
        return RuleOutcome((), "freezeframe fit-classifier training.h5")
    evidence = []
    for name, line in class_lines(evaluation).items():
        if line is None:
            continue
        slope, low, high = line.slope
        steep = not low <= 1 <= high and not 1 / WRONG_SLOPE <= slope <= WRONG_SLOPE
        shift, least, most = line.intercept
        shifted = not least <= 0 <= most and abs(shift) > WRONG_INTERCEPT
        if steep or shifted:
            text = (
                f"probabilities of {name}: slope {slope:.2f} [{low:.2f}, {high:.2f}], should be "
                f"1; intercept {shift:+.2f} [{least:+.2f}, {most:+.2f}], should be 0"
            )
            evidence.append(Evidence(text, f"runs/{choice.row['run_id']}/predictions.csv"))
    return RuleOutcome(evidence)


def seeds_disagree(study: Study, choice: Choice) -> RuleOutcome:
    """Look for rows that differ in their seed alone, and in their scores by more than chance."""
    rows_of: dict[tuple[str, ...], dict[str, Row]] = {}
    for row in filter(is_candidate, study.rows):
        rows_of.setdefault(_but_seed(row), {})[row["seed"]] = row
    repeated = [list(rows.values()) for rows in rows_of.values() if len(rows) > 1]
    command = f"freezeframe fit-classifier training.h5 --model {choice.row['head']} --seed 1"
    evidence = list(filter(None, map(_disagreement, repeated)))
    return RuleOutcome(evidence, "" if repeated else command)


def _but_seed(row: Row) -> tuple[str, ...]:
    names = ("head", "layer", "pooling", "calibration", "data_set", "test_set", "split", "n_test")
    return tuple(row[name] for name in names)


def _disagreement(rows: Sequence[Row]) -> Evidence | None:
    """Return the two rows that differ most, if one is outside of the interval of the other."""
    ordered = sorted(rows, key=lambda row: number(row["accuracy"]))
    least, most = ordered[0], ordered[-1]
    apart = number(most["accuracy"]) > number(least["accuracy_high"])
    if not apart and not number(least["accuracy"]) < number(most["accuracy_low"]):
        return None
    text = (
        f"{head_name(least)}: accuracy {share_text(least, 'accuracy')} with seed {least['seed']}, "
        f"{share_text(most, 'accuracy')} with seed {most['seed']}"
    )
    return Evidence(text, f"{row_source(least)}; {row_source(most)}")


def stress_falls(study: Study, choice: Choice) -> RuleOutcome:
    """Look for scores that fall when similar images are kept on one side."""
    evidence = []
    looked = False
    for row in {row["run_id"]: row for row in filter(is_candidate, study.rows)}.values():
        levels = study.stress(row)
        looked |= levels is not None
        judged = study.judged_level(row)
        if not levels or not judged:
            continue
        first, last = levels[0], levels[judged]
        if number(first["accuracy"]) > number(last["accuracy_high"]):
            fall = number(first["accuracy"]) - number(last["accuracy"])
            text = (
                f"{head_name(row)} falls by {points_text(fall)} of accuracy, from "
                f"{share_text(first, 'accuracy')} to {share_text(last, 'accuracy')}, when look-"
                f"alikes are kept together in {counted(int(float(last['n_groups'])), 'group')}"
            )
            source = f"runs/{row['run_id']}/{STRESS_NAME}: levels 0 and {judged}"
            evidence.append(Evidence(text, source))
    command = f"freezeframe fit-classifier training.h5 --model {choice.row['head']} --stress"
    return RuleOutcome(evidence, "" if looked else command)
