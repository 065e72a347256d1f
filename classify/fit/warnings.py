"""Warnings about a run: reasons to doubt its scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...data.audit.class_changes import dropped_text
from ...data.audit.findings import conflict_sentence
from ...data.splits import join_groups
from ...features.layout import FAILED
from ...features.store import FeatureStore
from ..runs.part_result import PartResult
from ..scores.clean import have, kinds, leak_warnings
from ..task.relatives import LEVELS, relatives
from ..task.task import Task


def run_warnings(task: Task, results: Sequence[PartResult]) -> list[str]:
    """Return the reasons to doubt the scores of a run, the most important first.

    Args:
        task: the task that the head was fitted to.
        results: its results, one for each test set.
    """
    texts: list[str] = []
    for result in results:
        cause = _missing_fingerprints(result.part.store, task.train.store)
        texts += leak_warnings(result.evaluation, cause)
    texts += _two_labels(task)
    texts += _validation_leaks(task)
    texts += _random_weights(task)
    texts += _untested_classes(task)
    texts += _skipped_images(task)
    # Two test sets of one store give the same warning.
    return list(dict.fromkeys(texts))


def _missing_fingerprints(*stores: FeatureStore) -> str:
    """Name the stores in which only byte-identical copies can be found, and say what to do."""
    causes = {}
    for store in stores:
        rows = store.rows()
        n_missing = int((store.pixels[rows] == "").sum())
        if n_missing and store.format_version == 1:
            causes[store.path] = f"{store.path.name} was written by an older version"
        # A merged store may lack the fingerprints of some images only.
        elif n_missing:
            causes[store.path] = (
                f"{store.path.name} has no fingerprint of {n_missing} of {len(rows)} images"
            )
    # A store of an older format may have groups in common with the other store, or not.
    names = [set(store.groups[store.rows()].tolist()) - {""} for store in stores]
    if len(names) == 2 and stores[0] is not stores[1] and names[0] & names[1]:
        for store in stores:
            if not store.has_row_checksums:
                causes[store.path] = (
                    f"{store.path.name} (format version {store.format_version}) does not keep "
                    "whether its groups are those of other stores"
                )
                return f"{causes[store.path]}; run extract-features again, which rewrites it"
    advice = "run extract-features again, which adds fingerprints and computes no feature again"
    return f"{' and '.join(causes.values())}: only byte-identical copies are found; {advice}"


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
