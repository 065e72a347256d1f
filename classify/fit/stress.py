"""The stress test: a head cross-validated while more and more similar images are kept together.

Copies are not all that a head can recognise. Without patient ids nobody knows which images are of
one head, but slices of one head look alike, and clusters of look-alikes part many of them. The
curve shows how far a score depends on having seen similar images. Clusters are no patients.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...data.groups import cause_named
from ...data.output.csv import csv_line
from ...data.output.files import whole_file
from ...data.output.terminal import Status
from ...data.splits import grouped_folds
from ...errors import FreezeframeError, ParameterError
from ..heads.base import Head
from ..heads.calibration import Calibration, fit_calibration
from ..heads.table import find_head, make_head
from ..matrix import Folds, Matrix
from ..runs.stress_file import GROUPS_A_FOLD, STRESS_COLUMNS, STRESS_NAME, judged_level
from ..scores.intervals import proportion_interval
from ..scores.paired.paired_tests import Difference, compare
from ..scores.predictions import Predictions
from ..scores.roc_area import area_interval
from ..scores.weighted_metrics import point_values
from ..task.grade import fold_grade
from ..task.task import Task
from .look_alikes import LookAlikes
from .part_features import PartFeatures
from .search import N_FOLDS, FitOptions, candidates_of, mean_log_loss

MOST_OF_BEFORE = 0.75
"""The first clusters are at most this share of the known groups; more would change little."""

LARGEST = 1 / 3
"""Share of the images that a group may hold: without more of them, a head learns less anyway."""


@dataclass(frozen=True)
class StressLevel:
    """The scores of a head while the images of each group are kept together.

    Attributes:
        n_groups: number of groups.
        largest: number of images in the largest group.
        predictions: out-of-fold predictions of the training part; their groups are these groups.
    """

    n_groups: int
    largest: int
    predictions: Predictions

    def numbers(self, name: str) -> tuple[float, float, float]:
        """Return "accuracy" or "roc_auc", and the ends of its 95 % interval, by group."""
        value = float(point_values(self.predictions, [name])[name])
        if name == "roc_auc":
            return value, *area_interval(self.predictions)
        return value, *proportion_interval(self.predictions, name)


@dataclass(frozen=True)
class StressCurve:
    """The levels of a stress test, from known relatives to as few groups as the folds allow.

    Attributes:
        head: name of the head.
        n_folds: number of folds of each level.
        levels: at least one; the first keeps only known relatives together.
        judged: index of the level that is compared with the first: the last one with at least
            `GROUPS_A_FOLD` groups in each fold. With fewer, one cluster can move the score.
        grade: grade of all levels, see `fold_grade`: clusters of look-alikes are no patients.
        control: name of the control that the task is; "" for a real task.
    """

    head: str
    n_folds: int
    levels: Sequence[StressLevel]
    judged: int
    grade: str
    control: str = ""

    def cost(self, name: str) -> Difference:
        """Compare the first level with the judged one: what look-alikes in one fold cost.

        Args:
            name: "accuracy" or "roc_auc".
        """
        first, judged = (self.levels[number].predictions for number in (0, self.judged))
        # The interval counts the larger groups, those of the judged level, as one piece each.
        return compare(replace(first, groups=judged.groups), judged, name)


class StressTest:
    """A head, ready to be cross-validated on the training part of a task with any groups.

    One matrix, the reduction of linear heads for example, serves all folds of all levels.

    Args:
        task: the task.
        name: name of a head.
        options: search and fixed hyper-parameters.
        features: of the training part.

    Raises:
        ParameterError: the head is a network that trains for hours.
    """

    def __init__(self, task: Task, name: str, options: FitOptions, features: PartFeatures) -> None:
        kind = find_head(name)
        if kind.layers:
            raise ParameterError(
                f"--stress: fits a head on {task.n_folds or N_FOLDS} folds many times, and {name} "
                "would train for hours; give a head for any layer"
            )
        self._task = task
        self._options = options
        self._head = make_head(name, **options.fixed_for(name))
        pooling = kind.judges or task.pooling or kind.pooling
        self._X, _ = features.for_head(kind.reducible, pooling)

    def level(self, groups: NDArray[np.intp], folds: Folds) -> StressLevel:
        """Cross-validate the head.

        Args:
            groups: group number of each training row, of shape (n_rows,).
            folds: folds that cut none of them.
        """
        task = self._task
        y = np.searchsorted(task.classes, task.train.labels)
        proba = _out_of_fold(
            self._head, self._options, self._X, y, len(task.classes), folds, task.seed
        )
        positive = None if task.positive is None else task.classes.index(task.positive)
        predictions = Predictions.of(y, proba, groups=groups, positive=positive)
        sizes = np.unique(groups, return_counts=True)[1]
        return StressLevel(len(sizes), int(sizes.max()), predictions)

    def curve(self, status: Status) -> StressCurve:
        """Cross-validate the head at each level of likeness.

        Args:
            status: called with the level and an estimate of the time left.

        Raises:
            FreezeframeError: there are too many images to cluster, or too few for folds.
        """
        task = self._task
        n_folds = task.n_folds or N_FOLDS
        status("clustering look-alikes")
        look_alikes = LookAlikes(task.train)
        splits = list(_splits(task, look_alikes, n_folds))
        levels: list[StressLevel] = []
        start = time.monotonic()
        for number, (groups, folds) in enumerate(splits):
            left = _time_left(start, number, len(splits))
            status(f"stress level {number + 1} of {len(splits)}{left}")
            levels.append(self.level(groups, folds))
        judged = judged_level([level.n_groups for level in levels], n_folds)
        grade = fold_grade(task.train)
        return StressCurve(self._head.name, n_folds, levels, judged, grade, task.control)


def _time_left(start: float, n_done: int, n_levels: int) -> str:
    """Estimate the time that the levels still take, from those that are done."""
    if not n_done:
        return ""
    seconds = (time.monotonic() - start) / n_done * (n_levels - n_done)
    return f", about {seconds:.0f} s left"


def _splits(
    task: Task, look_alikes: LookAlikes, n_folds: int
) -> Iterator[tuple[NDArray[np.intp], Folds]]:
    """Yield the groups of each level and its folds, the most groups first.

    Raises:
        FreezeframeError: there are too few known groups for folds.
    """
    train = task.train
    groups = train.groups
    # Known relatives alone: the error of too many folds is the user's to read.
    try:
        with cause_named(train.store.path, train.labels, groups, train.names):
            folds: Folds = grouped_folds(train.labels, groups, n_folds=n_folds, seed=task.seed)
    except FreezeframeError as error:
        raise FreezeframeError(f"--stress: {error}") from None
    yield groups, folds
    n_known = n_groups = len(np.unique(groups))
    target = GROUPS_A_FOLD * n_folds
    # Steps of four: each level takes as long as a fit by folds.
    steps = range(math.floor(math.log(MOST_OF_BEFORE * n_known / target, 4)), -1, -1)
    for n_clusters in (target * 4**number for number in steps):
        groups = look_alikes.groups(n_clusters)
        folds = _folds(train.labels, groups, n_folds, task.seed)
        if not folds:
            break
        yield groups, folds
        # Equal distances may leave fewer clusters.
        n_groups = len(np.unique(groups))
    # The last level has as few groups as the folds allow.
    for n_clusters in range(n_folds, min(n_groups, target)):
        groups = look_alikes.groups(n_clusters)
        folds = _folds(train.labels, groups, n_folds, task.seed)
        if folds:
            yield groups, folds
            return


def _folds(labels: NDArray[np.str_], groups: NDArray[np.intp], n_folds: int, seed: int) -> Folds:
    """Return folds that cut no group; none where a group is too large or a class in too few."""
    if np.bincount(groups).max() > LARGEST * len(groups):
        return []
    try:
        return grouped_folds(labels, groups, n_folds=n_folds, seed=seed)
    except FreezeframeError:
        return []


def _out_of_fold(
    head: Head,
    options: FitOptions,
    X: Matrix,
    y: NDArray[np.intp],
    n_classes: int,
    folds: Folds,
    seed: int,
) -> NDArray[np.float64]:
    """Return probabilities of all rows, of shape (n_rows, n_classes).

    Each fold is scored with the hyper-parameters that do best in the other folds. A search within
    each fold would cost five times as much for nearly the same choice.
    """
    candidates = candidates_of(head, X, options.search, options.fixed_for(head.name))
    tried = [scores for _, scores in head.cross_validate(X, y, n_classes, folds, candidates, seed)]
    calibrates = head.margins or options.calibrate
    needs_calibration = calibrates or not head.proper
    proba = np.empty((len(y), n_classes))
    for number, (_, judged) in enumerate(folds):
        other_folds = [fold for place, fold in enumerate(folds) if place != number]
        rows = np.concatenate([scored for _, scored in other_folds])
        best = (np.inf, tried[0], Calibration())
        for scores in tried:
            fitted = fit_calibration(scores[rows], y[rows]) if needs_calibration else Calibration()
            compared = Calibration() if head.proper else fitted
            loss = mean_log_loss(compared.proba(scores), y, other_folds)
            # The first of equal candidates is the simplest. A loss of NaN is never less.
            if loss < best[0]:
                best = (loss, scores, fitted if calibrates else Calibration())
        proba[judged] = best[2].proba(best[1][judged])
    if not np.isfinite(proba).all():
        raise FreezeframeError(
            f"{head.name}: no candidate gives finite probabilities; fix other hyper-parameters"
        )
    return proba


def write_stress(folder: Path, curve: StressCurve) -> None:
    """Write the curve as `stress.csv` in a run's folder, one line a level.

    Raises:
        FreezeframeError: the file cannot be written.
    """
    lines = [csv_line(STRESS_COLUMNS)]
    for number, level in enumerate(curve.levels):
        scores = [value for name in ("accuracy", "roc_auc") for value in level.numbers(name)]
        cells = [curve.head, curve.n_folds, number, level.n_groups, level.largest]
        numbers = [f"{value:.6f}" for value in scores]
        lines.append(csv_line([*map(str, cells), *numbers, curve.grade]))
    path = folder / STRESS_NAME
    try:
        with whole_file(path) as temporary:
            temporary.write_text("".join(lines), encoding="utf-8")
    except OSError as error:
        raise FreezeframeError(f"{path}: cannot be written ({error.strerror or error})") from None
