"""Fitting a head on features and scoring it on images it has not seen."""

from __future__ import annotations

import csv
import json
import os
import secrets
import shutil
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import FreezeframeError, __version__
from ..features.layout import FAILED
from ..features.store import FeatureStore
from .heads import Head, make_head
from .leaderboard import append_rows, check_leaderboard
from .metrics import score
from .model_file import FittedHead, save_model
from .task import Part, Task


@dataclass(frozen=True)
class Run:
    """A fitted head and how it did.

    Attributes:
        row: its line in the leaderboard, by column.
        folder: where its model and its predictions are.
        warnings: what must be known before the number is believed.
    """

    row: dict[str, Any]
    folder: Path
    warnings: list[str] = field(default_factory=list)


def fit_classifier(
    task: Task,
    model: str,
    *,
    leaderboard: str | os.PathLike[str] = "leaderboard.csv",
    runs: str | os.PathLike[str] | None = None,
) -> Run:
    """Fit a head, score it, keep its model and predictions in a folder of the run's name, append to the leaderboard.

    Args:
        task: from `freezeframe.classify.task.make_task`.
        model: name of a head in `HEADS`.
        leaderboard: CSV file, made if missing.
        runs: where the run's folder goes; by default `runs` beside the leaderboard.

    Raises:
        ParameterError: an unknown head.
        MissingExtraError: the head's library is not installed.
        FreezeframeError: the leaderboard or the run folder cannot be written.

    Examples:
        >>> run = fit_classifier(make_task(FeatureStore("features.h5")), "logreg")  # doctest: +SKIP
        >>> run.row["accuracy"]                                                    # doctest: +SKIP
        0.875
    """
    head = make_head(model)
    check_leaderboard(leaderboard)  # before the work, not after it
    pooling = task.pooling or head.pooling
    proba, seconds = _fit_and_predict(task, head, pooling)
    leaked = task.test.overlap(task.train)
    run_id = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{head.name}-{secrets.token_hex(3)}"
    row = {
        "run_id": run_id,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        **_describe(task, head, pooling),
        "n_test_in_train": int(leaked.sum()),
        **score(_numbers(task, task.test), proba, task.classes.index(task.positive) if task.positive else None),
        "fit_seconds": seconds[0],
        "predict_ms_per_image": 1000 * seconds[1] / len(proba),
    }
    store = task.train.store
    fitted = FittedHead(head, tuple(task.classes), task.layer, pooling, store.provenance, store.fingerprint, run_id)
    folder = Path(runs or Path(leaderboard).parent / "runs") / run_id
    try:
        folder.mkdir(parents=True)
        save_model(folder / "model.safetensors", fitted)
        _write_predictions(folder / "predictions.csv", task, proba, leaked)
        append_rows(leaderboard, [row])  # last: a row in the leaderboard has its model and predictions
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)  # half a run is none
        if isinstance(error, OSError):
            raise FreezeframeError(f"{folder}: cannot be written ({error.strerror or error})") from None
        raise
    return Run(row, folder, _warnings(task, int(leaked.sum())) + head.notes)


def _fit_and_predict(task: Task, head: Head, pooling: str) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """Probabilities of the test rows, of shape (n_rows, n_classes), and the seconds that fit and prediction took."""
    X = task.train.store.features(task.layer, task.train.rows, pooling)
    start = time.perf_counter()
    head.fit(X, _numbers(task, task.train), len(task.classes), task.seed)
    fit_seconds = time.perf_counter() - start
    X = task.test.store.features(task.layer, task.test.rows, pooling)
    start = time.perf_counter()
    proba = head.predict_proba(X)
    return proba, (fit_seconds, time.perf_counter() - start)


def _numbers(task: Task, part: Part) -> NDArray[np.intp]:
    return np.searchsorted(task.classes, part.labels)


def _describe(task: Task, head: Head, pooling: str) -> dict[str, Any]:
    """The leaderboard columns that say what was done to what."""
    train, test = task.train.store, task.test.store
    return {
        "head": head.name,
        "layer": task.layer,
        "pooling": pooling,
        "hyperparameters": json.dumps(head.parameters),
        "data_set": _data_set(train),
        "test_set": _data_set(test),
        "split": task.split,
        "classes": json.dumps(task.classes, ensure_ascii=False),
        "positive": task.positive or "",
        "n_train": len(task.train.rows),
        "n_test": len(task.test.rows),
        "store_fingerprint": train.fingerprint,
        "test_fingerprint": test.fingerprint,
        "weights": train.provenance.get("weights_source", ""),
        "weights_digest": train.provenance["weights_digest"],
        "seed": task.seed,
        "version": __version__,
    }


def _data_set(store: FeatureStore) -> str:
    return PurePath(str(store.provenance.get("source", ""))).name or store.path.stem


def _warnings(task: Task, n_leaked: int) -> list[str]:
    warnings = []
    n_test = len(task.test.rows)
    if n_leaked:
        warnings.append(
            f"{n_leaked} of {n_test} test images are byte for byte among the training images: "
            "this score is not one on unseen data"
        )
    source = str(task.train.store.provenance.get("weights_source", ""))
    if source.startswith("random"):
        warnings.append(f"the backbone's weights are {source}: this score says nothing about VGG16")
    related = int(task.test.shared_groups(task.train).sum())
    if related:
        warnings.append(f"{related} of {n_test} test images are of a group that is trained on, too")
    unused = len(task.train.store.rows()) - len(task.train.rows)
    unused -= n_test if task.test.store is task.train.store else 0
    if unused:
        warnings.append(f"{task.train.store.path.name}: {unused} images are of no split that is used, and are left out")
    untested = sorted(set(task.classes) - set(map(str, task.test.labels)))
    if untested:
        warnings.append(f"no test image is of class {', '.join(untested)}")
    for store in (task.train.store, task.test.store):
        failed = int((store.status == FAILED).sum())
        if failed:
            warnings.append(f"{store.path.name}: {failed} unreadable images are left out")
    return list(dict.fromkeys(warnings))


def _write_predictions(path: Path, task: Task, proba: NDArray[np.float64], leaked: NDArray[np.bool_]) -> None:
    store, predicted = task.test.store, proba.argmax(axis=1)
    with path.open("x", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            ["path", "sha256", "label", "predicted", *(f"p_{name}" for name in task.classes), "in_training"]
        )
        for i, row in enumerate(task.test.rows):
            writer.writerow(
                [
                    store.paths[row],
                    store.sha256s[row],
                    task.test.labels[i],
                    task.classes[predicted[i]],
                    *(f"{p:.6f}" for p in proba[i]),
                    "yes" if leaked[i] else "no",
                ]
            )
