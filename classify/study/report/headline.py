"""The first sentence of a report: the finding, each number of it from a row."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ....data.output.terminal import number
from ...board.choices import is_control
from ...scores.clean import leak_count, leak_count_text
from ...scores.grades import grade_rank
from .choice import BASELINE, Choice, is_candidate, is_random_split
from .findings.outcome import Evidence, head_name, row_source
from .numbers import share_text
from .study import GROUPS, Row, Study

_PATIENTS = {
    0: "no patient was trained on and tested",
    1: "patients unknown",
    2: "copies of test pictures in training unknown",
}
"""Knowledge of patients, by `grade_rank`."""


@dataclass(frozen=True)
class Headline:
    """The first sentence of a report.

    Attributes:
        sentence: the finding.
        sources: each clause with the row that its numbers come from.
    """

    sentence: str
    sources: Sequence[Evidence]


def make_headline(study: Study, choice: Choice) -> Headline:
    """Write the first sentence about the chosen row."""
    row = choice.row
    clauses = [_score(row), *_by_patient(row), *_claimed(study, row), *_stress(study, row)]
    # The least that a score must beat is part of the finding, and so is a test set that is known.
    beside = [*_known_tests(study), *_baseline(study, row)]
    sentence = "; ".join(clause.text for clause in clauses) + "."
    sentence += "".join(f" {clause.text}." for clause in beside)
    return Headline(sentence, [*clauses, *beside])


def _score(row: Row) -> Evidence:
    """Write the score on images without a relative in training, and what is known of patients."""
    source = row_source(row)
    count, more = leak_count(row)
    rank = grade_rank(row)
    if not count:
        text = f"{share_text(row, 'accuracy')} right on pictures not trained on; {_PATIENTS[rank]}"
        return Evidence(text, source)
    leaking = f"{leak_count_text(count, more)} of {row['n_test']} test pictures"
    if math.isnan(number(row["clean_accuracy"])):
        text = (
            f"nothing is known about pictures not trained on: {leaking} have a relative in "
            f"training, and the {share_text(row, 'accuracy')} on all of them says nothing"
        )
        return Evidence(text, source)
    text = (
        f"{share_text(row, 'clean_accuracy')} right on the {row['n_test_clean']} pictures not "
        f"trained on; on all test pictures the number would be {share_text(row, 'accuracy')}, "
        f"but {leaking} have a relative in training"
    )
    return Evidence(text, source)


def _by_patient(row: Row) -> Iterator[Evidence]:
    if not math.isnan(number(row["patient_accuracy"])):
        unit = row["patient_unit"] or "patient"
        text = f"of {row['n_test_patients']} {unit}s {share_text(row, 'patient_accuracy')}"
        yield Evidence(text, row_source(row))


def _baseline(study: Study, row: Row) -> Iterator[Evidence]:
    """Write the score of the commonest class, on the same images."""
    for rival in study.rows:
        same = rival["test_id"] == row["test_id"] and rival["split"] == row["split"]
        if same and rival["head"] == BASELINE and not is_control(rival):
            text = f"Always naming the commonest class gets {share_text(rival, 'accuracy')}"
            yield Evidence(text, row_source(rival))
            return


def _claimed(study: Study, row: Row) -> Iterator[Evidence]:
    """Write what the same head claims where test images have relatives in training."""
    names = ("head", "layer", "pooling")
    leaking = [
        rival
        for rival in filter(is_candidate, study.rows)
        if leak_count(rival)[0]
        and rival["test_id"] != row["test_id"]
        and all(rival[name] == row[name] for name in names)
    ]
    # A random split comes first, as articles use it; then the largest test set.
    leaking.sort(key=lambda rival: (not is_random_split(rival), -int(rival["n_test"] or 0)))
    for rival in leaking[:1]:
        count = leak_count_text(*leak_count(rival))
        which = "a random split" if is_random_split(rival) else f"the test set {rival['test_set']}"
        text = (
            f"{which} would have claimed {share_text(rival, 'accuracy')} ({count} of its "
            f"{rival['n_test']} pictures have a relative in training)"
        )
        yield Evidence(text, row_source(rival))


def _known_tests(study: Study) -> Iterator[Evidence]:
    """Write how many pictures of each further image set the first one has, too."""
    sets: dict[str, list[str]] = {}
    for line in study.groups or []:
        sets.setdefault(line["set"], []).append(line["picture"])
    first, *further = sets or [""]
    for name in further:
        trained = set(sets[first])
        n = sum(picture in trained for picture in sets[name])
        if n:
            text = (
                f"{n} of the {len(sets[name])} pictures of {name} {'is' if n == 1 else 'are'} in "
                f"{first}, too: a test on {name} is no test on new pictures"
            )
            yield Evidence(text, f"{GROUPS}: pictures in both sets")


def _stress(study: Study, row: Row) -> Iterator[Evidence]:
    """Write the score of the judged level of a stress test, of this run or the same head."""
    same = [
        rival
        for rival in study.rows
        if head_name(rival) == head_name(row) and not is_control(rival) and is_candidate(rival)
    ]
    for rival in (row, *same):
        levels = study.stress(rival) or []
        judged = study.judged_level(rival)
        if judged:
            text = f"with look-alikes kept on one side {share_text(levels[judged], 'accuracy')}"
            source = f"runs/{rival['run_id']}/stress.csv: level {judged}"
            yield Evidence(text, source)
            return
