"""Facts on the images of a study: sources, files, copies, classes and parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from ....data.output.terminal import counted
from ...scores.clean import leak_count
from ...scores.grades import grade_rank
from ...scores.metric_names import CLEAN
from ..report.choice import is_by_folds
from ..report.findings.outcome import Evidence
from ..report.study import EXPLORED, GROUPS, PAIRS
from ..report.tables import Line
from .citation import Citation, code, is_defined
from .facts import Facts, json_cell

MOST_NAMES = 12
"""Most classes, formats or modes in a statement, the commonest ones."""

_ALL_IMAGES = {"quick": "false", "drop-class": "[]", "slices": "all"}
"""Settings of a study that leaves no image out."""

_LEVELS = {
    0: "By patient: each image has the name of a patient or study from the author, and no name is "
    "on both sides",
    1: "By picture: no known copy or near-duplicate is on both sides. By patient this is unknown: "
    "a patient may be on both sides",
}
"""Levels on which parts are disjoint, by `grade_rank`."""


def data_sets(facts: Facts) -> Iterator[Evidence]:
    """State the sets that are trained and tested on."""
    row, cite = facts.row, Citation()
    if row.has("data_set", "test_set", "split"):
        yield cite.evidence(
            f"Training set {cite.name(row, 'data_set')}, test set {cite.name(row, 'test_set')} "
            f"({cite.name(row, 'split')})."
        )


def fingerprints(facts: Facts) -> Iterator[Evidence]:
    """State the digests of the features, which show that two studies have the same data."""
    row, cite = facts.row, Citation()
    if row.has("store_fingerprint", "test_fingerprint"):
        yield cite.evidence(
            f"Fingerprint of the training features {cite.name(row, 'store_fingerprint')}, of the "
            f"test features {cite.name(row, 'test_fingerprint')}."
        )


def files(facts: Facts) -> Iterator[Evidence]:
    """State how many files there were, and how many of them could be read."""
    images, cite = facts.study.images, Citation()
    if images:
        n = cite.count(EXPLORED, images, {})
        readable = cite.count(EXPLORED, images, {"reason": ""})
        yield cite.evidence(
            f"The exploration looked at {counted(n, 'file')}; {readable} could be read."
        )


def formats(facts: Facts) -> Iterator[Evidence]:
    """State formats, modes and the commonest size of the readable files."""
    images = [line for line in facts.study.images or [] if not line["reason"]]
    if not images:
        return
    for column in ("format", "mode"):
        cite = Citation()
        counts = _counts(cite, EXPLORED, images, {"reason": ""}, column)
        yield cite.evidence(f"Readable files by {column}: {counts}.")
    sizes = Counter((line["height"], line["width"]) for line in images)
    (height, width), _ = sizes.most_common(1)[0]
    cite = Citation()
    n = cite.count(EXPLORED, images, {"reason": "", "height": height, "width": width})
    yield cite.evidence(
        f"Commonest size, height by width: {code(height)} by {code(width)} pixels ({n} files)."
    )


def copies(facts: Facts) -> Iterator[Evidence]:
    """State how many different pictures and independent groups the training set has."""
    groups, cite = facts.study.groups, Citation()
    if not groups:
        return
    # Sets to test on come after the set that the study is about.
    own = {"set": groups[0]["set"], "not_looked_at": ""}
    n = cite.count(GROUPS, groups, own)
    pictures = cite.count(GROUPS, groups, own, "picture")
    independent = cite.count(GROUPS, groups, own, "group")
    yield cite.evidence(
        f"The audit looked at {counted(n, 'image')} of {code(groups[0]['set'])}: "
        f"{counted(pictures, 'different picture')} in {counted(independent, 'group')}; copies, "
        "near-duplicates and images of one given group are in one group."
    )


def two_labels(facts: Facts) -> Iterator[Evidence]:
    """State how many pictures have two labels."""
    pairs, cite = facts.study.pairs, Citation()
    if pairs is not None:
        n = cite.count(PAIRS, pairs, {"conflict": "yes"}, "picture")
        yield cite.evidence(
            f"Pictures that are there twice, with two labels: {n}. The audit compared copies; no "
            "image was labelled again."
        )


def classes_of_files(facts: Facts) -> Iterator[Evidence]:
    """State how many readable files each class has."""
    images, cite = facts.study.images, Citation()
    readable = [line for line in images or [] if not line["reason"]]
    if readable:
        counts = _counts(cite, EXPLORED, readable, {"reason": ""}, "label")
        yield cite.evidence(
            f"All readable files of the exploration, of whatever part, by class: {counts}."
        )


def classes_tested(facts: Facts) -> Iterator[Evidence]:
    """State how many test images each class has."""
    evaluation = facts.study.evaluation(facts.choice.row)
    if evaluation is None:
        return
    cite = Citation()
    totals = np.bincount(evaluation.predictions.y, minlength=len(evaluation.classes))
    key = {"test_id": evaluation.test_id, "repeat": "1"}
    counts = []
    for label in np.argsort(-totals, kind="stable")[:MOST_NAMES]:
        name = evaluation.classes[label]
        n = cite.counted(
            facts.predictions_file, {**key, "label": name}, "lines", int(totals[label])
        )
        counts.append(f"{code(name)} {n}")
    more = " and further classes" * (len(totals) > MOST_NAMES)
    yield cite.evidence(f"Test images by class: {', '.join(counts)}{more}.")


def left_out(facts: Facts) -> Iterator[Evidence]:
    """State that classes were left out, with the numbers of their images."""
    row, cite = facts.row, Citation()
    choices = json_cell(row.cells["choices"])
    if isinstance(choices, dict) and "left_out" in choices:
        yield cite.evidence(
            f"Whole classes were left out; see the images of each under `left_out` in "
            f"{cite.name(row, 'choices')}."
        )


def subset(facts: Facts) -> Iterator[Evidence]:
    """State whether the study took a part of the images."""
    settings, row, cite = facts.settings, facts.row, Citation()
    if settings.cells.get("quick") == "true" and row.has("data_set"):
        yield cite.evidence(
            f"This is a try on a part of the images (quick = {cite.name(settings, 'quick')}), the "
            f"list {cite.name(row, 'data_set')}: it is no result to publish."
        )
    elif all(settings.cells.get(name) == cell for name, cell in _ALL_IMAGES.items()):
        chosen = ", ".join(f"{name} = {cite.name(settings, name)}" for name in _ALL_IMAGES)
        yield cite.evidence(f"The study took all images that it was given ({chosen}).")


def parts(facts: Facts) -> Iterator[Evidence]:
    """State how many images train and test, and how they were parted."""
    row, cite = facts.row, Citation()
    if not row.has("split", "n_train", "n_test"):
        return
    groups = (
        f" in {cite.plain(row, 'n_test_groups')} independent groups"
        if row.has("n_test_groups")
        else ""
    )
    seed = f" Seed {cite.plain(row, 'seed')}." if row.has("seed") else ""
    if is_by_folds(row.cells):
        text = (
            f"Cross-validation ({cite.name(row, 'split')}): each of "
            f"{cite.plain(row, 'n_test')} images{groups} is tested by heads that were not fitted "
            "on its fold."
        )
    else:
        text = (
            f"{cite.plain(row, 'n_train')} images train the head and "
            f"{cite.plain(row, 'n_test')} images{groups} test it ({cite.name(row, 'split')})."
        )
    yield cite.evidence(text + seed)


def disjoint(facts: Facts) -> Iterator[Evidence]:
    """State on which level training and test images are disjoint; nothing if it is unknown."""
    row, cite = facts.row, Citation()
    count, _ = leak_count(row.cells)
    if count and row.has("n_test"):
        column = "n_test_leaking" if row.has("n_test_leaking") else "n_test_in_train"
        clean = (
            f" Scores are also there for the {cite.plain(row, 'n_test_clean')} others."
            if is_defined(row, f"{CLEAN}accuracy")
            else ""
        )
        yield cite.evidence(
            f"They are not disjoint: {cite.plain(row, column)} of {cite.plain(row, 'n_test')} "
            "test images have a known relative in training (a copy, a near-duplicate, or an image "
            f"of the same group or patient).{clean}"
        )
        return
    level = _LEVELS.get(grade_rank(row.cells))
    # Rows of older versions have no grade.
    if level is None or not row.has("grade", "n_test"):
        return
    yield cite.evidence(
        f"{level} (grade {cite.name(row, 'grade')}; {cite.plain(row, 'n_test_leaking')} of "
        f"{cite.plain(row, 'n_test')} test images have a known relative in training)."
    )


def patients(facts: Facts) -> Iterator[Evidence]:
    """State how many patients, or declared groups, are scored."""
    row, cite = facts.row, Citation()
    if row.has("patient_unit", "n_test_patients"):
        yield cite.evidence(
            f"Units that are scored as one observation each: "
            f"{cite.plain(row, 'n_test_patients')} (unit {cite.name(row, 'patient_unit')})."
        )


def _counts(
    cite: Citation, file: str, lines: Sequence[Line], key: dict[str, str], column: str
) -> str:
    """Write how many lines have each value of a column: "`PNG` 120, `JPEG` 80"."""
    values = Counter(line[column] for line in lines).most_common(MOST_NAMES + 1)
    counts = [
        f"{code(value)} {cite.count(file, lines, {**key, column: value})}"
        for value, _ in values[:MOST_NAMES]
    ]
    return ", ".join(counts) + ", and others" * (len(values) > MOST_NAMES)
