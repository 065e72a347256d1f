"""A row of the leaderboard: the one place that fills its columns.

A new column is a field of `LeaderboardRow` here, and a name in `runs.schema`.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np

from ...data.output.version import VERSION
from ...features.store import FeatureStore
from ..scores.metric_names import CLEAN_COLUMNS, PATIENT_COLUMNS
from ..scores.metrics import METRIC_COLUMNS
from ..task.grade import grade, parted
from ..task.task import Task
from .model_file import FittedHead
from .part_result import PartResult
from .tables.seeds import SeedScores, seed_cells

SUMMARY = (
    "test_set",
    "split",
    "positive",
    "n_train",
    "n_test",
    "n_test_groups",
    "n_test_in_train",
    "n_test_leaking",
    "n_test_clean",
    "n_test_clean_groups",
    "grade",
    "clean_grade",
    "clean_missing",
    *METRIC_COLUMNS,
    *CLEAN_COLUMNS,
    "clean_recalls",
    "patient_unit",
    "n_test_patients",
    *PATIENT_COLUMNS,
)
"""Columns that a model file keeps of each row."""


@dataclass(frozen=True)
class Costs:
    """The costs of a run: how long it took, and how much was tried.

    Attributes:
        n_searched: candidates that hyper-parameters were chosen from.
        reduce_seconds: seconds that the reduction of the features took, once for all heads.
        fit_seconds: seconds that the search for hyper-parameters and the fit took.
        predict_ms_per_image: milliseconds that the head alone takes for an image.
        epochs: epochs that a network was trained for; None: no network.
        train_images_per_second: speed of that training.
    """

    n_searched: int
    reduce_seconds: float
    fit_seconds: float
    predict_ms_per_image: float
    epochs: int | None = None
    train_images_per_second: float | None = None


@dataclass(frozen=True, eq=False)
class LeaderboardRow(Mapping[str, Any]):
    """A row of the leaderboard: one run on one test set.

    Fields are named as the columns, which `classify/runs/LEADERBOARD.md` explains; `scores` and
    `costs` hold several columns each. A row is also a mapping from column to value. None and NaN
    are empty cells.
    """

    run_id: str
    time: str
    head: str
    layer: str
    pooling: str
    hyperparameters: str
    calibration: str
    threshold: float | None
    data_set: str
    test_set: str
    test_id: str
    split: str
    classes: str
    positive: str
    choices: str
    n_train: int
    n_test: int
    n_test_groups: int
    n_test_in_train: int
    n_test_leaking: int
    n_test_clean: int
    n_test_clean_groups: int
    grade: str
    clean_grade: str
    clean_missing: str
    clean_recalls: str
    patient_unit: str
    n_test_patients: int | None
    n_seeds: int
    seeds_accuracy_mean: float
    seeds_accuracy_lowest: float
    seeds_accuracy_highest: float
    store_fingerprint: str
    test_fingerprint: str
    weights: str
    weights_digest: str
    seed: int
    version: str
    scores: Mapping[str, float] = field(repr=False)
    costs: Costs = field(repr=False)
    model_bytes: int | None = None

    @cached_property
    def _cells(self) -> dict[str, Any]:
        """All columns by name, with those of `scores` and `costs`."""
        cells = {column.name: getattr(self, column.name) for column in fields(self)}
        # Both hold several columns, which are added by their own names.
        del cells["scores"], cells["costs"]
        return {**cells, **self.scores, **vars(self.costs)}

    def __getitem__(self, column: str) -> Any:
        return self._cells[column]

    def __iter__(self) -> Iterator[str]:
        return iter(self._cells)

    def __len__(self) -> int:
        return len(self._cells)

    def summary(self) -> dict[str, Any]:
        """Return the columns that a model file keeps, without undefined scores: JSON has no NaN."""
        # A missing score reads the same as an undefined one.
        return {name: self[name] for name in SUMMARY if not _undefined(self[name])}


def leaderboard_row(
    task: Task,
    model: FittedHead,
    result: PartResult,
    costs: Costs,
    time: datetime,
    seeds: Sequence[SeedScores] = (),
) -> LeaderboardRow:
    """Fill the row of one test set.

    Args:
        task: the task that the head was fitted to.
        model: the fitted head.
        result: its predictions of the test set.
        costs: what the run took.
        time: when it ended.
        seeds: scores of each seed on each test set; none for a head that draws nothing.
    """
    head = model.head
    # Cross-validation tests on the training part; other results have a part of their own.
    part = result.part
    evaluation = result.evaluation
    return LeaderboardRow(
        run_id=model.run_id,
        time=time.isoformat(timespec="seconds"),
        head=head.name,
        # Controls see the size or the border of images, and no layer.
        layer="image" if head.judges else layer_name(task.train.store, model.layer),
        pooling=model.pooling,
        # JSON keeps names, numbers and commas within one cell.
        hyperparameters=json.dumps(head.parameters),
        # A calibration without biases changes nothing.
        calibration="sigmoid" if head.calibration.biases else "",
        threshold=head.calibration.threshold,
        data_set=task.train.store.data_set,
        test_set=evaluation.test_set,
        test_id=evaluation.test_id,
        split=evaluation.split,
        classes=json.dumps(model.classes, ensure_ascii=False),
        positive=task.positive or "",
        choices=json.dumps(_choices(task, result), ensure_ascii=False),
        n_train=len(task.train.rows),
        n_test=len(part.rows),
        # Images of one group are not independent; intervals count groups.
        n_test_groups=len(np.unique(part.groups)),
        n_test_in_train=int(evaluation.in_training.sum()),
        n_test_leaking=int(evaluation.leaking.sum()),
        n_test_clean=int(evaluation.clean.sum()),
        n_test_clean_groups=len(np.unique(part.groups[evaluation.clean])),
        grade=grade(part, task.train, evaluation.relatives),
        clean_grade=_clean_grade(task, result),
        clean_missing=_json_of(result.clean_missing),
        clean_recalls=_json_of(result.clean_recalls),
        patient_unit=result.by_patient.unit if result.by_patient.scored else "",
        n_test_patients=result.by_patient.n_scored or None,
        **seed_cells(seeds, evaluation.test_id),
        store_fingerprint=model.training_fingerprint,
        test_fingerprint=part.store.fingerprint,
        weights=model.provenance.get("weights_source", ""),
        weights_digest=model.provenance["weights_digest"],
        seed=task.seed,
        version=VERSION,
        scores=result.scores,
        costs=costs,
    )


def _json_of(value: list[str] | dict[str, list[float]]) -> str:
    """Write a list or mapping as JSON; "" if it is empty."""
    return json.dumps(value, ensure_ascii=False) if value else ""


def _clean_grade(task: Task, result: PartResult) -> str:
    """Return the grade of the clean scores; "" without clean test images."""
    clean = result.evaluation.clean
    return parted(result.part.take(clean), task.train) if clean.any() else ""


def _choices(task: Task, result: PartResult) -> dict[str, Any]:
    """Return what options and defaults decided about a row, for the column `choices`."""
    choices: dict[str, Any] = {"positive": task.positive_by} if task.positive_by else {}
    if task.patients_ignored:
        choices["patients"] = "ignored"
    if task.control:
        choices["control"] = task.control
    # A head may be tested on its own store: its images count once.
    stores = {store.path: store for store in (task.train.store, result.part.store)}
    left_out = Counter[str]()
    for store in stores.values():
        left_out.update(task.left_out(store))
    by_patient = result.by_patient
    if by_patient.scored:
        choices["by_patient"] = {"unit": by_patient.unit, **by_patient.combination.record}
    return choices | ({"left_out": dict(left_out)} if left_out else {})


def layer_name(store: FeatureStore, layer: str) -> str:
    """Return the layer's name; for decoded images the backbone's, which holds their size."""
    backbone = str(store.provenance["backbone"])
    return backbone if backbone.startswith("pixels-") else layer


def _undefined(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)
