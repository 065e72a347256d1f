"""Findings on scores: too few images, wrong probabilities, other seeds, look-alikes apart.

References:
    Bouthillier X and others (2021): Accounting for variance in machine learning benchmarks. MLSys.
    Collins GS, Ogundimu EO, Altman DG (2016): Sample size considerations for the external
    validation of a multivariable prognostic model: a resampling study. Statistics in Medicine 35,
    214-226: at least 100 events and 100 non-events.
    Tippett LHC (1925): On the extreme individuals and the range of samples taken from a normal
    population. Biometrika 17, 364-387.
"""

from __future__ import annotations

import numpy as np

from .....data.output.terminal import counted, number, percent
from ....runs.stress_file import STRESS_NAME
from ....runs.tables.seeds import SEEDS_NAME
from ..calibration import class_lines
from ..choice import Choice, is_candidate
from ..numbers import points_text, share_text
from ..study import Row, Study
from .outcome import Evidence, RuleOutcome, head_name, row_source
from .seed_range import SeedRange

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
        "independent groups (one patient, or copies of one picture) with test images of a class: "
        f"{sizes}; a validation needs {LEAST_GROUPS_TO_VALIDATE} for each class. The images of a "
        "group do not count one by one. The accuracy may be anywhere in "
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
    """Look for heads whose accuracy depends on the seed by more than on the test images.

    All seeds of a head are scored on the same test images, which therefore do not explain the range
    from the lowest to the highest accuracy. It is a finding if it is more than `LEAST_SEED_RANGE`
    and more than half of the width of the 95 % interval. The interval accounts for the test images
    alone, and this half is 1.96 standard errors. Three seeds have a range of 1.69 standard
    deviations on average (Tippett 1925). So the seed adds more variance to the score than the
    interval shows. More seeds have a larger range, and are found sooner (Bouthillier 2021).
    """
    rows_of: dict[tuple[str, ...], dict[str, Row]] = {}
    for row in filter(is_candidate, study.rows):
        rows_of.setdefault(_but_seed(row), {})[row["seed"]] = row
    ranges = [SeedRange.of(list(rows.values())) for rows in rows_of.values()]
    evidence = [_seed_evidence(seeds) for seeds in ranges if seeds.disagrees]
    # Heads that draw nothing have no seeds to disagree; rows of older versions do not say it.
    drawing = [seeds for seeds in ranges if number(seeds.row["n_seeds"]) >= 1]
    if any(seeds.n > 1 for seeds in ranges):
        return RuleOutcome(evidence)
    if not drawing:
        unknown = any(not seeds.row["n_seeds"] for seeds in ranges)
        new = "a fit of this version: rows of older versions do not say which heads draw"
        return RuleOutcome(evidence, new * unknown)
    heads = [seeds.row["head"] for seeds in drawing]
    head = choice.row["head"] if choice.row["head"] in heads else heads[0]
    return RuleOutcome((), f"freezeframe fit-classifier training.h5 --model {head} --seeds 3")


def _but_seed(row: Row) -> tuple[str, ...]:
    names = ("head", "layer", "pooling", "calibration", "data_set", "test_id", "split", "n_test")
    return tuple(row[name] for name in names)


def _seed_evidence(seeds: SeedRange) -> Evidence:
    row = seeds.row
    text = (
        f"{head_name(row)}: accuracy from {percent(seeds.lowest)} to {percent(seeds.highest)} % "
        f"with {seeds.n} seeds on the same images, {points_text(seeds.width)} apart; half of its "
        f"95 % interval, {share_text(row, 'accuracy')}, is {points_text(seeds.half_interval)}"
    )
    own = number(row["n_seeds"]) > 1
    source = f"runs/{row['run_id']}/{SEEDS_NAME}" if own else row_source(row)
    return Evidence(text, source)


def stress_falls(study: Study, choice: Choice) -> RuleOutcome:
    """Look for scores that fall when similar images are kept on one side."""
    evidence = []
    looked = False
    few = ""
    for row in {row["run_id"]: row for row in filter(is_candidate, study.rows)}.values():
        levels = study.stress(row)
        judged = study.judged_level(row)
        if levels and not judged:
            few = (
                f"more independent images of {row['data_set']}: no level of the stress test has "
                "enough groups to be compared with the first"
            )
        if not levels or not judged:
            continue
        looked = True
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
    return RuleOutcome(evidence, "" if looked else few or command)
