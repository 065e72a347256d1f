"""Evaluators: they score heads on images that the heads were not fitted on."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ...data.groups import cause_named
from ...data.output.terminal import Status
from ...data.splits import grouped_folds
from ...errors import FreezeframeError
from ..heads.base import Head
from ..matrix import Folds, Matrix, take
from ..runs.part_result import PartResult, part_result
from ..scores.patients import Combination
from ..task.relatives import PartRelatives, all_relatives, unknown
from ..task.task import Task
from .part_features import PartFeatures
from .patients import PatientProbabilities
from .search import inner_folds

FitRows = Callable[[Matrix, NDArray[np.intp], Folds, NDArray[np.intp]], tuple[Head, int]]
"""Called with features, class numbers, folds, and the numbers of these rows in the training part.

Returns a head and the number of candidates.
"""

Combine = Callable[[Head, NDArray[np.intp]], Combination]
"""Called with a head and the numbers of the training rows that it was fitted on."""


def finite_probabilities(head: Head, X: Matrix) -> NDArray[np.float64]:
    """Return probabilities of shape (n_rows, n_classes).

    Raises:
        FreezeframeError: one of them is not finite: no score of the head would mean anything.
    """
    proba = head.predict_proba(X)
    if not np.isfinite(proba).all():
        raise FreezeframeError(
            f"{head.name}: some of its probabilities are not finite; "
            "give other hyper-parameters with --param, or another layer"
        )
    return proba


def prediction_sets(head: Head, proba: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 for each class in each row's prediction set, else 0; NaN if the head has no sets.

    Args:
        head: the head.
        proba: its probabilities, of shape (n_rows, n_classes).

    Returns:
        An array of that shape.
    """
    sets = head.conformal.sets(proba) if head.conformal else None
    # A head that claims nothing withholds no answer: its rows must not count as covered.
    return np.full(proba.shape, np.nan) if sets is None else sets.astype(np.float64)


class HeldOutEvaluator:
    """Evaluates heads on the test sets of a task.

    Features of the test sets are read once for all heads, and their relatives in training are
    found once.

    Attributes:
        features: of each test set.
        relations: of each test set, after `find_relatives`.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self.features = [PartFeatures(test.part, task.layer) for test in task.tests]
        self.relations: list[PartRelatives] = []

    def find_relatives(self, status: Status) -> None:
        """Find how test images are related to the training images; the second call does nothing."""

        def progress(finished: int, total: int) -> None:
            status(f"comparing test with training images: {finished} of {total} pairs")

        # Heads that follow find all relatives here already.
        if not self.relations:
            parts = [test.part for test in self._task.tests]
            self.relations = all_relatives(parts, self._task.train, progress)

    def evaluate(
        self, head: Head, pooling: str, combination: Combination
    ) -> tuple[list[PartResult], float]:
        """Predict all test sets.

        Args:
            head: the fitted head.
            pooling: pooling of its features.
            combination: how the probabilities of a patient's images are combined.

        Returns:
            The results, and the milliseconds that the head took for one image; NaN without test
            images.
        """
        results = []
        seconds = 0.0
        n = 0
        tests = zip(self._task.tests, self.features, self.relations, strict=True)
        for test, features, relations in tests:
            X = features.matrix(pooling)
            # The first prediction builds and compiles what later ones reuse.
            head.predict_proba(take(X, np.arange(min(1, len(X)))))
            start = time.perf_counter()
            proba = finite_probabilities(head, X)
            seconds += time.perf_counter() - start
            n += len(proba)
            predicted = head.calibration.decide(proba)
            # Unlike cross-validation, a test set has one repeat.
            patients = PatientProbabilities(test.part, self._task, 1)
            patients.add(0, np.arange(len(proba)), proba, combination)
            result = part_result(
                self._task,
                test.part,
                test.split,
                proba[None],
                predicted[None],
                relations.levels,
                patients.combined(combination),
            )
            results.append(replace(result, in_sets=prediction_sets(head, proba)[None]))
        return results, 1000 * seconds / n if n else float("nan")


class FoldEvaluator:
    """Evaluates heads by cross-validation on the training part, if the task asks for it.

    Raises:
        FreezeframeError: there are more folds than independent images of a class.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        train = task.train
        seeds = range(task.seed, task.seed + task.n_repeats) if task.n_folds else ()
        with cause_named(train.store.path, train.labels, train.groups, train.names):
            self._repeats = [
                grouped_folds(train.labels, train.groups, n_folds=task.n_folds, seed=seed)
                for seed in seeds
            ]

    def evaluate(
        self,
        fit: FitRows,
        combine: Combine,
        X: Matrix,
        y: NDArray[np.intp],
        final: Head,
        status: Status,
    ) -> list[PartResult]:
        """Predict each training image by heads that were neither fitted on it nor chosen by it.

        Args:
            fit: fits a head on some rows, and chooses its hyper-parameters within them.
            combine: chooses how a head's probabilities of a patient's images are combined.
            X: features of the training part, of shape (n_rows, n_features).
            y: class numbers of shape (n_rows,).
            final: the head that is saved, fitted on all rows; notes of the others are added to its.
            status: called with the number of the fold.

        Returns:
            One result, or none without cross-validation.
        """
        if not self._repeats:
            return []
        task = self._task
        train = task.train
        proba = np.empty((len(self._repeats), len(y), len(task.classes)))
        predicted = np.empty(proba.shape[:2], dtype=np.intp)
        in_sets = np.empty(proba.shape)
        patients = PatientProbabilities(train, task, len(self._repeats))
        n_fits = len(self._repeats) * task.n_folds
        for repeat, folds in enumerate(self._repeats):
            for number, (fitted, judged) in enumerate(folds):
                status(f"fold {repeat * task.n_folds + number + 1} of {n_fits}")
                # Hyper-parameters are chosen by folds within the fold: the judged rows take no
                # part in the choice.
                folds_within = inner_folds(
                    train.labels[fitted], train.groups[fitted], None, task.seed
                )
                head, _ = fit(take(X, fitted), y[fitted], folds_within, fitted)
                # A note about a fold must not read like one about the head that is kept.
                for note in head.notes:
                    text = f"in cross-validation: {note}"
                    final.notes.append(text)
                    if note in head.record.codes:
                        final.record.codes[text] = head.record.codes[note]
                proba[repeat, judged] = finite_probabilities(head, take(X, judged))
                predicted[repeat, judged] = head.calibration.decide(proba[repeat, judged])
                in_sets[repeat, judged] = prediction_sets(head, proba[repeat, judged])
                # Folds cut no patient: all images of one are judged by the same head.
                patients.add(repeat, judged, proba[repeat, judged], combine(head, fitted))
        split = f"{task.n_folds}-fold"
        if task.n_repeats > 1:
            split += f" x {task.n_repeats}"
        split += ", shuffled labels" * bool(task.control)
        # Folds cut no chain of known relatives, so that only unknown ones are left.
        combined = patients.combined(combine(final, np.arange(len(y))))
        levels = unknown(train, train)
        result = part_result(task, train, split, proba, predicted, levels, combined)
        return [replace(result, in_sets=in_sets)]
