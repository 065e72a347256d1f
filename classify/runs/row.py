"""What must be told of a run beside its scores: what was done to what, and why a number may not be believed."""

from __future__ import annotations

import hashlib
import json
from pathlib import PurePath
from typing import Any

import numpy as np

from ...data.version import VERSION
from ...features.layout import FAILED
from ...features.store import FeatureStore
from ..heads.base import Head
from ..scores.clean import have, kinds, leak_warnings
from ..scores.evaluation import Evaluation
from ..task.part import Part
from ..task.relatives import LEVELS, relatives
from ..task.task import Task


def describe(
    task: Task, head: Head, pooling: str, part: Part, evaluation: Evaluation
) -> dict[str, Any]:
    """The leaderboard columns that say what was done to what.

    Args:
        part: the rows that the evaluation is of.
    """
    train, clean = task.train.store, evaluation.clean
    return {
        "head": head.name,
        "layer": layer_name(task),
        "pooling": pooling,
        "hyperparameters": json.dumps(head.parameters),
        "calibration": "sigmoid" if head.calibration.biases else "",
        "threshold": "" if head.calibration.threshold is None else head.calibration.threshold,
        "data_set": data_set(train),
        "test_set": evaluation.test_set,
        "test_id": evaluation.test_id,
        "split": evaluation.split,
        "classes": json.dumps(task.classes, ensure_ascii=False),
        "positive": task.positive or "",
        "n_train": len(task.train.rows),
        "n_test": len(part.rows),
        "n_test_groups": len(np.unique(part.groups)),
        "n_test_in_train": int(evaluation.in_training.sum()),
        "n_test_leaking": int(evaluation.leaking.sum()),
        "n_test_clean": int(clean.sum()),
        "n_test_clean_groups": len(np.unique(part.groups[clean])),
        "store_fingerprint": train.fingerprint,
        "test_fingerprint": part.store.fingerprint,
        "weights": train.provenance.get("weights_source", ""),
        "weights_digest": train.provenance["weights_digest"],
        "seed": task.seed,
        "version": VERSION,
    }


def layer_name(task: Task) -> str:
    """What heads are fitted on: the layer; of images themselves their size, too, "pixels-250"."""
    backbone = str(task.train.store.provenance["backbone"])
    return backbone if backbone.startswith("pixels-") else task.layer


def data_set(store: FeatureStore) -> str:
    """What a store's images are called: their folder."""
    return PurePath(str(store.provenance.get("source", ""))).name or store.path.stem


def test_id(part: Part, split: str) -> str:
    """12 hexadecimal digits that two runs share if they were tested on the same images in the same way.

    Images are told by their bytes, so that a store of another layer, or of a folder that was moved,
    counts as the same.
    """
    store = part.store
    images = sorted(
        f"{store.sha256s[row] or store.paths[row]}\t{label}"
        for row, label in zip(part.rows, part.labels, strict=True)
    )
    return hashlib.sha256("\n".join([split, *images]).encode()).hexdigest()[:12]


def doubts(task: Task, tested: list[tuple[Part, Evaluation]]) -> list[str]:
    """What must be known before the scores are believed, what matters most first."""
    found = []
    for part, evaluation in tested:
        found += leak_warnings(evaluation, _unrecognised(part.store, task.train.store))
    found += _validation_doubts(task)
    source = str(task.train.store.provenance.get("weights_source", ""))
    if source.startswith("random"):
        found.append(f"the backbone's weights are {source}: this score says nothing about VGG16")
    for test in task.tests:
        untested = sorted(set(task.classes) - set(map(str, test.part.labels)))
        if untested:
            found.append(f"no test image is of class {', '.join(untested)}")
    return list(dict.fromkeys([*found, *_left_out(task)]))


def _unrecognised(*stores: FeatureStore) -> str:
    """Which stores have images whose copies are noticed only if they are the same file, and what to do."""
    causes = {}
    for store in stores:
        rows = store.rows()
        n_unknown = int((store.pixels[rows] == "").sum())
        if n_unknown and store.format_version == 1:
            causes[store.path] = f"{store.path.name} was made by an older version"
        elif n_unknown:
            causes[store.path] = (
                f"{store.path.name} lacks what {n_unknown} of {len(rows)} images are recognised by"
            )
    noticed = "only byte-identical copies are noticed; run extract-features again, which computes no feature anew"
    return f"{' and '.join(causes.values())}: {noticed}"


def _validation_doubts(task: Task) -> list[str]:
    """That hyper-parameters were chosen by relatives of what was fitted on."""
    if not task.validation.any():
        return []
    validation, others = task.train.take(task.validation), task.train.take(~task.validation)
    related = relatives(validation, others)
    n = int(np.isin(related, list(LEVELS)).sum())
    if not n:
        return []
    return [
        f"{n} of {len(related)} validation images {have(n)} a relative among the other training images "
        f"({kinds(related)}): the choice of hyper-parameters is optimistic"
    ]


def _left_out(task: Task) -> list[str]:
    """Images of the stores that are neither trained nor tested on."""
    found, store = [], task.train.store
    used = len(task.train.rows) + sum(
        len(test.part.rows) for test in task.tests if test.part.store is store
    )
    unused = len(store.rows()) - used
    if unused > 0:
        found.append(
            f"{store.path.name}: {unused} images are of no split that is used, and are left out"
        )
    for each in (store, *(test.part.store for test in task.tests)):
        failed = int((each.status == FAILED).sum())
        if failed:
            found.append(f"{each.path.name}: {failed} unreadable images are left out")
    return found
