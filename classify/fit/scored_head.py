"""Heads with their scores: fitted with a seed, and scored on images that they have not seen."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...data.output.terminal import Status
from ..heads.base import Head
from ..heads.networks.context import TrainingContext
from ..matrix import Folds, Matrix, take
from ..runs.part_result import PartResult
from ..runs.row import Costs
from ..task.task import Task
from .abstention import choose_conformal, judges_rows
from .combination import CombinationChoice
from .evaluators import FitRows, FoldEvaluator, HeldOutEvaluator, finite_probabilities
from .image_facts import facts_note
from .part_features import PartFeatures
from .search import FitOptions, fit_head, inner_folds, note_edges


@dataclass(frozen=True)
class ScoredHead:
    """A fitted head with its results.

    Attributes:
        head: fitted on all training rows.
        seed: seed of its fits.
        results: its results on folds and on test sets.
        costs: what fits and predictions took.
    """

    head: Head
    seed: int
    results: list[PartResult]
    costs: Costs


class HeadScorer:
    """Fits heads to one task and scores them; what they share is computed once.

    Args:
        task: the task.
        options: search, fixed hyper-parameters, calibration, threshold.

    Attributes:
        train: features of the training part.
        tests: evaluates heads on the test sets.

    Raises:
        FreezeframeError: cross-validation asks for too many folds.
    """

    def __init__(self, task: Task, options: FitOptions) -> None:
        self._task = task
        self._options = options
        self.train = PartFeatures(task.train, task.layer)
        self._y = np.searchsorted(task.classes, task.train.labels)
        # All heads are chosen by the same folds, so that their scores can be compared. The folds
        # stay the same for all seeds of a head: its own chance is all that differs.
        self._folds = inner_folds(task.train.labels, task.train.groups, task.validation, task.seed)
        self._combinations = CombinationChoice(task, options.sensitivity)
        self._by_folds = FoldEvaluator(task)
        self.tests = HeldOutEvaluator(task)

    def score(
        self, kind: Head, pooling: str, context: TrainingContext, seed: int, status: Status
    ) -> ScoredHead:
        """Fit a head with a seed, and score it.

        Args:
            kind: an unfitted head of this kind.
            pooling: pooling of the features.
            context: what networks need beside features.
            seed: seed of everything that the fits draw.
            status: called with a line that says what is being done.

        Raises:
            FreezeframeError: the head cannot be fitted.
        """
        self.tests.find_relatives(status)
        status("reading features")
        X, reduction = self.train.for_head(kind.reducible, pooling)
        status("fitting")
        fit = self._fit_rows(kind.name, context, seed)
        start = time.perf_counter()
        rows = np.arange(len(self._y))
        head, n_searched = fit(X, self._y, self._folds, rows)
        note_edges(head, X, self._options)
        # A new image has features, but no reduction: the model must predict from features.
        if reduction is not None:
            head.to_features(reduction)
        # A file of a head that predicts nothing could not be loaded again.
        finite_probabilities(head, take(self.train.matrix(pooling), np.arange(1)))
        # A training that continued after a kill took time in earlier processes, too.
        seconds = time.perf_counter() - start + head.record.earlier_seconds
        head.notes += self._facts_notes(kind.judges)
        if head.conformal and head.conformal.problem:
            head.notes.append(f"{head.name}: {head.conformal.problem}")
        combination = self._combinations.choose(head, rows)
        results, milliseconds = self.tests.evaluate(head, pooling, combination)
        # Folds fit on the reduced matrix, too: its rows keep their inner products.
        folds = self._by_folds.evaluate(fit, self._combinations.choose, X, self._y, head, status)
        reduce_seconds = self.train.reduce_seconds.get(pooling, 0.0) if kind.reducible else 0.0
        epochs, rate = _epochs_and_speed(head)
        costs = Costs(n_searched, reduce_seconds, seconds, milliseconds, epochs, rate)
        return ScoredHead(head, seed, [*folds, *results], costs)

    def _fit_rows(self, name: str, context: TrainingContext, seed: int) -> FitRows:
        """Return a function that fits the head on some rows."""
        judge = judges_rows(name) or self._combinations.needs_judged(name)
        groups = self._task.train.groups

        def fit_rows(
            X: Matrix, y: NDArray[np.intp], folds: Folds, rows: NDArray[np.intp]
        ) -> tuple[Head, int]:
            head, n_searched = fit_head(
                name,
                X,
                y,
                len(self._task.classes),
                folds,
                self._options,
                positive=self._task.positive_number,
                seed=seed,
                context=context,
                judge=judge,
            )
            rate = self._options.error_rate
            head.conformal = choose_conformal(head, X, y, groups[rows], folds, rate)
            return head, n_searched

        return fit_rows

    def _facts_notes(self, judges: str) -> list[str]:
        """Say which images a control knows too little about."""
        if not judges:
            return []
        parts = [self._task.train, *(test.part for test in self._task.tests)]
        features = [self.train, *self.tests.features]
        notes = [
            facts_note(judges, np.asarray(own.matrix(judges)), part)
            for own, part in zip(features, parts, strict=True)
        ]
        return list(filter(None, notes))


def _epochs_and_speed(head: Head) -> tuple[int | None, float | None]:
    """Return a network's epochs and its speed in images per second; None for other heads."""
    seconds = sum(epoch["seconds"] for epoch in head.record.history)
    # Heads that are no networks have no epochs.
    if not seconds:
        return None, None
    images = sum(epoch["seconds"] * epoch["images_per_second"] for epoch in head.record.history)
    return len(head.record.history), images / seconds
