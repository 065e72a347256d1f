"""Warnings about runs: reasons to doubt its scores."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ...data.audit.class_changes import dropped_text
from ...data.audit.findings import conflict_sentence
from ...data.groups import OTHER_KEY, PATIENTS_RISK
from ...data.output.terminal import counted
from ...data.splits import join_groups
from ...features.layout import FAILED
from ...features.store import FeatureStore
from ..runs.part_result import PartResult
from ..runs.row import LeaderboardRow
from ..scores.clean import have, kinds, leak_warnings
from ..task.part import Part
from ..task.relatives import LEVELS, PartRelatives, relatives
from ..task.task import Task


def leak_reasons(task: Task, results: Sequence[PartResult]) -> list[str]:
    """Return the reasons to doubt the scores of a run that are about relatives in training.

    Args:
        task: the task that the head was fitted to.
        results: its results, one for each test set.
    """
    texts: list[str] = []
    for result in results:
        # The cause takes a look at all rows, and most runs have no need of it.
        uncertain = result.evaluation.unknown.any()
        cause = _unknown_cause(result.part, task.train) if uncertain else ""
        texts += leak_warnings(result.evaluation, cause)
        if result.by_patient.reason:
            where = f"{result.evaluation.test_set}, {result.evaluation.split}"
            texts.append(f"{where}, by {result.by_patient.unit}: {result.by_patient.reason}")
    return texts


def task_warnings(task: Task, relations: Sequence[PartRelatives]) -> list[str]:
    """Return the reasons to doubt the scores of all heads of a task.

    Args:
        task: the task.
        relations: of each of its test sets.
    """
    # Shuffled labels contradict each other on purpose.
    about_labels = [] if task.control else [*_two_labels(task), *_contradictions(task, relations)]
    return [
        *about_labels,
        *_validation_leaks(task),
        *_ignored_patients(task),
        *_random_weights(task),
        *_untested_classes(task),
        *_skipped_images(task),
    ]


def control_findings(task: Task, rows: Sequence[LeaderboardRow]) -> list[str]:
    """Say what a control with shuffled labels found; nothing for a real task."""
    return [_control_finding(row) for row in rows] if task.control else []


def _control_finding(row: LeaderboardRow) -> str:
    """Compare the AUC of a head on shuffled labels with chance."""
    value, low, high = (100 * float(row[f"roc_auc{end}"]) for end in ("", "_low", "_high"))
    scored = f"AUC {value:.1f} ({low:.1f}-{high:.1f}), chance 50.0"
    where = f"{row['head']} on {row['test_set']}, {row['split']}"
    if math.isnan(low):
        return f"{where}: no AUC, and so no comparison with chance: test images are of one class"
    if low > 50:
        return (
            f"{where}: beats chance, {scored}: it found a leak (a relative of test images in "
            "training), or a trait that whole groups share, such as their scanner"
        )
    return f"{where}: does not beat chance, {scored}: no leak of this kind was found"


def _unknown_cause(test: Part, train: Part) -> str:
    """Say why relatives of some test images are unknown, and what to do."""
    # The same names may be of one group, or of two: an older store does not say.
    names = [(part.whole or part).names for part in (test, train)]
    shared = frozenset.intersection(*(frozenset().union(*column.texts()) for column in names))
    for part, column in zip((test, train), names, strict=True):
        if test.store is not train.store and shared & set(column.uncertain_groups()):
            store = part.store
            return (
                f"{store.path.name} (format version {store.format_version}) does not keep "
                "whether its groups are those of other stores; "
                "run extract-features again, which rewrites it"
            )
    # One store may have both parts.
    causes = [_missing_fingerprints(store) for store in {test.store: None, train.store: None}]
    return (
        f"{' and '.join(filter(None, causes))}: only byte-identical copies are found; "
        "run extract-features again, which adds fingerprints and computes no feature again"
    )


def _missing_fingerprints(store: FeatureStore) -> str:
    """Say that a store lacks the fingerprints of some images; "" if it has all."""
    rows = store.rows()
    n_missing = int((store.pixels[rows] == "").sum())
    if not n_missing:
        return ""
    if store.format_version == 1:
        return f"{store.path.name} was written by an older version"
    # A merged store may lack the fingerprints of some images only.
    return f"{store.path.name} has no fingerprint of {n_missing} of {len(rows)} images"


def _two_labels(task: Task) -> list[str]:
    """Count the pictures with two labels, in the training part and in each test set."""
    texts = []
    tests = [(f"{test.part.store.data_set}, {test.split}", test.part) for test in task.tests]
    for name, part in (("training images", task.train), *tests):
        duplicates = [number or "" for number in part.duplicates.tolist()]
        pictures = join_groups(part.sha256s.tolist(), part.pixels.tolist(), duplicates)
        # Each label of a picture counts once; a picture that is left twice has two labels.
        labelled = set(zip(pictures.tolist(), part.labels.tolist(), strict=True))
        numbers, n_labels = np.unique([picture for picture, _ in labelled], return_counts=True)
        torn = numbers[n_labels > 1]
        if len(torn):
            n_images = int(np.isin(pictures, torn).sum())
            texts.append(f"{name}: {conflict_sentence(len(torn), n_images)}")
    return texts


def _contradictions(task: Task, relations: Sequence[PartRelatives]) -> list[str]:
    """Count the test images of which training has a copy with another label."""
    texts = []
    for test, related in zip(task.tests, relations, strict=True):
        part = test.part
        rows = part.rows[related.contradicted]
        if len(rows):
            texts.append(
                f"{part.store.data_set}, {test.split}: {counted(len(rows), 'test image')} "
                f"{have(len(rows))} a copy in training with another label: "
                f"first {part.store.paths[rows[0]]}"
            )
    return texts


def _validation_leaks(task: Task) -> list[str]:
    """Warn if hyper-parameters were chosen by relatives of the images that were fitted on."""
    if not task.validation.any():
        return []
    validation = task.train.take(task.validation)
    fitted = task.train.take(~task.validation)
    levels = relatives(validation, fitted)
    n = int(np.isin(levels, list(LEVELS)).sum())
    if not n:
        return []
    return [
        f"{n} of {len(levels)} validation images {have(n)} a relative among the other training "
        f"images ({kinds(levels)}): the choice of hyper-parameters is optimistic"
    ]


def _ignored_patients(task: Task) -> list[str]:
    lines = [f"PatientIDs are ignored: {PATIENTS_RISK}"] if task.patients_ignored else []
    parts = [task.train, *(test.part for test in task.tests)]
    if any(any(part.names.incomparable(task.train.names)) for part in parts):
        lines.append(f"patients cannot be compared: {OTHER_KEY}")
    return lines


def _random_weights(task: Task) -> list[str]:
    source = str(task.train.store.provenance.get("weights_source", ""))
    if not source.startswith("random"):
        return []
    return [f"the backbone's weights are {source}: this score says nothing about VGG16"]


def _untested_classes(task: Task) -> list[str]:
    texts = []
    for test in task.tests:
        # Sensitivity and similar scores are not defined for a class without test images.
        missing = sorted(set(task.classes) - set(map(str, test.part.labels)))
        if missing:
            texts.append(f"no test image is of class {', '.join(missing)}")
    return texts


def _skipped_images(task: Task) -> list[str]:
    """Count the images of the stores that are neither trained nor tested on."""
    texts = []
    store = task.train.store
    own_tests = [test.part for test in task.tests if test.part.store is store]
    n_used = len(task.train.rows) + sum(len(part.rows) for part in own_tests)
    # Only the training store may hold images of splits that are not used.
    n_unused = len(store.rows()) - n_used - sum(task.left_out(store).values())
    if n_unused > 0:
        texts.append(
            f"{store.path.name}: {n_unused} images belong to no split in use and are skipped"
        )
    for used in (store, *(test.part.store for test in task.tests)):
        left_out = task.left_out(used)
        if left_out:
            texts.append(f"{used.path.name}: {dropped_text(left_out)}")
        n_failed = int((used.status == FAILED).sum())
        if n_failed:
            texts.append(f"{used.path.name}: {n_failed} unreadable images are skipped")
    return texts
