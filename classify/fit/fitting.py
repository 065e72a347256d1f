"""Fitting heads on features and scoring them on images they have not seen."""

from __future__ import annotations

import os
import secrets
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.splits import grouped_folds
from ...errors import ParameterError
from ...extract.backbones.weights import made_with
from ..heads.base import Head
from ..heads.networks.checkpoints import forget
from ..heads.networks.context import TrainingContext
from ..heads.table import HEADS, make_head
from ..matrix import Folds, Matrix, take
from ..runs.leaderboard import check_leaderboard
from ..runs.model_file import FittedHead
from ..runs.row import data_set, describe, doubts, test_id
from ..runs.run import Run, check_writable, epochs_and_rate, keep_run
from ..scores.clean import CLEAN_COLUMNS, clean_scores
from ..scores.evaluation import Evaluation
from ..scores.metrics import METRIC_COLUMNS
from ..scores.predictions import Predictions
from ..scores.score import score
from ..task.part import Part
from ..task.relatives import relatives, unknown
from ..task.task import Task, Tell
from .part_features import PartFeatures
from .search import Wanted, fit_head, folds_within

Tested = tuple[Part, Evaluation]


class Fitting:
    """Fits one head after the other to one task; what they share, relatives of test images too, is computed once.

    Args:
        task: from `freezeframe.classify.task.task.make_task`.
        wanted: search, fixed hyper-parameters, calibration, threshold.
        leaderboard: CSV file, made if missing.
        runs: where the runs' folders go; by default `runs` beside the leaderboard. In
            `.checkpoints` there networks keep how far they are while they are trained, and go on
            after a kill.
        log: told of each epoch of a network, in one line.
        checkpoint_seconds: how often.
        weights: where networks that start from those of ImageNet take them from, as for
            `load_weights`.

    Raises:
        FreezeframeError: the leaderboard cannot be appended to, or cross-validation asks for too
            many folds.
    """

    def __init__(
        self,
        task: Task,
        wanted: Wanted | None = None,
        *,
        leaderboard: str | os.PathLike[str] = "leaderboard.csv",
        runs: str | os.PathLike[str] | None = None,
        log: Tell | None = None,
        checkpoint_seconds: float = 60.0,
        weights: str = "imagenet",
    ) -> None:
        check_leaderboard(leaderboard)  # before the work, not after it
        self.task, self.wanted, self.leaderboard = task, wanted or Wanted(), Path(leaderboard)
        self.runs = Path(runs or self.leaderboard.parent / "runs")
        check_writable(self.runs)
        self._log, self._checkpoint_seconds = log or (lambda text: None), checkpoint_seconds
        self._weights = weights
        self._classes = task.classes
        self._positive = None if task.positive is None else self._classes.index(task.positive)
        if self.wanted.sensitivity is not None and task.positive is None:
            raise ParameterError("a sensitivity can be asked for with two classes only")
        self._train = PartFeatures(task.train, task.layer)
        self._tests = [PartFeatures(test.part, task.layer) for test in task.tests]
        self._relatives: list[NDArray[np.str_]] = []
        labels, groups = task.train.labels, task.train.groups
        self._y = np.searchsorted(self._classes, labels)
        self._folds = folds_within(labels, groups, task.validation, task.seed)
        self._outer = [
            grouped_folds(labels, groups, n_folds=task.n_folds, seed=task.seed + repeat)
            for repeat in range(task.n_repeats if task.n_folds else 0)
        ]

    def fit(self, model: str, tell: Tell | None = None) -> Run:
        """Fit a head, score it, keep its model and predictions in a folder, append its rows to the leaderboard.

        Args:
            model: name of a head in `HEADS`.
            tell: told what is being done.

        Raises:
            ParameterError: an unknown head, one that is not for this layer, or hyper-parameters it
                does not have.
            MissingExtraError: the head's library is not installed.
            FreezeframeError: the head cannot be fitted to these features, or its run cannot be
                written.
        """
        make_head(
            model, **self.wanted.fixed_for(model)
        )  # what is wrong with a name is told before the work
        tell = tell or (lambda text: None)
        kind = HEADS[model]
        if kind.layers and self.task.layer not in kind.layers:
            wanted = " or ".join(kind.layers)
            raise ParameterError(
                f"{model} is fitted on {wanted}, not on {self.task.layer}; extract that, too"
            )
        pooling = self.task.pooling or kind.pooling
        self._context = self._context_for(tell)
        self._look_for_relatives(tell)
        tell("reading features")
        X, reduction = self._train.for_head(kind.reducible, pooling)
        tell("fitting")
        start = time.perf_counter()
        head, n_searched = self._fit(model, X, self._folds)
        if reduction is not None:
            head.to_features(reduction)
        seconds = time.perf_counter() - start + head.record.earlier_seconds
        tested, milliseconds = self._test(head, pooling)
        if self._outer:
            tested.insert(0, (self.task.train, self._cross_validated(model, X, head.notes, tell)))
        about = {
            "n_searched": n_searched,
            "reduce_seconds": self._train.reduce_seconds.get(pooling, 0.0)
            if kind.reducible
            else 0.0,
            "fit_seconds": seconds,
            "predict_ms_per_image": milliseconds,
            **epochs_and_rate(head),
        }
        return self._keep(head, pooling, tested, about)

    def _context_for(self, tell: Tell) -> TrainingContext:
        store = self.task.train.store
        height, width, channels = store.layers[self.task.layer]
        weights = partial(made_with, store.provenance, self._weights)
        folder = self.runs / ".checkpoints"
        every = self._checkpoint_seconds
        self._checkpoints: set[Path] = set()
        return TrainingContext(
            (height, width, channels),
            weights,
            folder,
            every,
            tell,
            self._log,
            self._checkpoints.add,
        )

    def _look_for_relatives(self, tell: Tell) -> None:
        """How each test image is related to the training images, for all heads."""

        def progress(finished: int, total: int) -> None:
            tell(f"comparing test with training images: {finished} of {total} pairs")

        for test in self.task.tests[len(self._relatives) :]:
            self._relatives.append(relatives(test.part, self.task.train, progress))

    def _fit(
        self, model: str, X: Matrix, folds: Folds, rows: NDArray[np.intp] | None = None
    ) -> tuple[Head, int]:
        y = self._y if rows is None else self._y[rows]
        n_classes, seed = len(self._classes), self.task.seed
        return fit_head(
            model,
            X,
            y,
            n_classes,
            folds,
            self.wanted,
            positive=self._positive,
            seed=seed,
            context=self._context,
        )

    def _test(self, head: Head, pooling: str) -> tuple[list[Tested], float]:
        """What the head says of each test set, and the milliseconds that one image took."""
        tested: list[Tested] = []
        seconds, n = 0.0, 0
        for test, features, related in zip(
            self.task.tests, self._tests, self._relatives, strict=True
        ):
            X = features.matrix(pooling)
            head.predict_proba(
                take(X, np.arange(min(1, len(X))))
            )  # what is made once is not an image's time
            start = time.perf_counter()
            proba = head.predict_proba(X)
            seconds += time.perf_counter() - start
            n += len(proba)
            decided = head.calibration.decide(proba)
            tested.append(
                (
                    test.part,
                    self._evaluation(test.part, test.split, proba[None], decided[None], related),
                )
            )
        return tested, 1000 * seconds / n if n else float("nan")

    def _cross_validated(self, model: str, X: Matrix, notes: list[str], tell: Tell) -> Evaluation:
        """What is said of each training image by heads that were neither fitted on it nor chosen by it.

        Args:
            notes: to which theirs are added.
        """
        train, n = self.task.train, len(self._y)
        proba = np.empty((len(self._outer), n, len(self._classes)))
        predicted = np.empty((len(self._outer), n), dtype=np.intp)
        for repeat, folds in enumerate(self._outer):
            for number, (fitted, judged) in enumerate(folds):
                tell(f"fold {repeat * len(folds) + number + 1} of {len(self._outer) * len(folds)}")
                inner = folds_within(
                    train.labels[fitted], train.groups[fitted], None, self.task.seed
                )
                head, _ = self._fit(model, take(X, fitted), inner, fitted)
                notes += [f"in cross-validation: {note}" for note in head.notes]
                proba[repeat, judged] = head.predict_proba(take(X, judged))
                predicted[repeat, judged] = head.calibration.decide(proba[repeat, judged])
        split = f"{self.task.n_folds}-fold" + (
            f" x {self.task.n_repeats}" if self.task.n_repeats > 1 else ""
        )
        # Folds cut no chain that is known of.
        return self._evaluation(train, split, proba, predicted, unknown(train, train))

    def _evaluation(
        self,
        part: Part,
        split: str,
        proba: NDArray[np.float64],
        predicted: NDArray[np.intp],
        related: NDArray[np.str_],
    ) -> Evaluation:
        y = np.searchsorted(self._classes, part.labels)
        return Evaluation(
            test_id=test_id(part, split),
            test_set=data_set(part.store),
            split=split,
            classes=tuple(self._classes),
            paths=part.store.paths[part.rows].tolist(),
            sha256s=part.sha256s.tolist(),
            predictions=Predictions(y, proba, predicted, part.groups, self._positive),
            relatives=related,
        )

    def _keep(self, head: Head, pooling: str, tested: list[Tested], about: dict[str, Any]) -> Run:
        """Write the run's folder and its rows; what its training kept while it went on is not needed any more."""
        run_id = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{head.name}-{secrets.token_hex(3)}"
        rows = [
            {"run_id": run_id, "time": datetime.now(UTC).isoformat(timespec="seconds")}
            | describe(self.task, head, pooling, part, evaluation)
            | _scores(evaluation)
            | about
            for part, evaluation in tested
        ]
        folder, model = self.runs / run_id, self._fitted(head, pooling, run_id, rows)
        keep_run(folder, model, [evaluation for _, evaluation in tested], rows, self.leaderboard)
        forget(self._checkpoints)
        return Run(rows, folder, [*doubts(self.task, tested), *dict.fromkeys(head.notes)])

    def _fitted(
        self, head: Head, pooling: str, run_id: str, rows: list[dict[str, Any]]
    ) -> FittedHead:
        store = self.task.train.store
        counts = ("n_test", "n_test_in_train", "n_test_leaking", "n_test_clean")
        told = ("test_set", "split", *counts, *METRIC_COLUMNS, *CLEAN_COLUMNS)
        scores = [
            {name: row[name] for name in told if row[name] == row[name]} for row in rows
        ]  # NaN is no JSON
        layer, classes = self.task.layer, tuple(self._classes)
        return FittedHead(
            head, classes, layer, pooling, store.provenance, store.fingerprint, run_id, scores
        )


def _scores(evaluation: Evaluation) -> dict[str, float]:
    """Of all test rows, and of those that are known to have no relative in training."""
    found = score(evaluation.predictions)
    return found | clean_scores(evaluation.predictions, evaluation.clean, found)


def fit_classifier(
    task: Task,
    model: str,
    wanted: Wanted | None = None,
    *,
    leaderboard: str | os.PathLike[str] = "leaderboard.csv",
    runs: str | os.PathLike[str] | None = None,
) -> Run:
    """Fit and score one head; see `Fitting`, which shares what several heads have in common.

    Examples:
        >>> run = fit_classifier(make_task(FeatureStore("features.h5")), "logreg")  # doctest: +SKIP
        >>> run.row["accuracy"], run.row["accuracy_low"], run.row["accuracy_high"]  # doctest: +SKIP
        (0.875, 0.7529, 0.9414)
    """
    return Fitting(task, wanted, leaderboard=leaderboard, runs=runs).fit(model)
