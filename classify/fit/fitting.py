"""Fits of heads: each is scored on images that it has not seen, and is kept as a run."""

from __future__ import annotations

import os
import secrets
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path

from ...data.output.terminal import Status
from ...errors import FreezeframeError, ParameterError
from ...extract.backbones.table import find_backbone
from ...extract.backbones.weights import reload_weights
from ..heads.base import Head
from ..heads.networks.checkpoints import remove_checkpoints
from ..heads.networks.context import TrainingContext
from ..heads.table import make_head
from ..runs.leaderboard import check_leaderboard
from ..runs.model_file import FittedHead
from ..runs.row import leaderboard_row
from ..runs.run import Run, check_writable, write_run
from ..runs.tables.conformal import measure_sets
from ..runs.tables.run_tables import RunTables
from ..runs.tables.seeds import SeedScores, seed_scores
from ..runs.training_file import TrainingImagesFile
from ..task.task import Task
from ..trust.explanation.background import Background, make_background, scale_images
from ..trust.guards.familiarity import LEAST_IMAGES, MOST_IMAGES, FeatureDistribution
from ..trust.guards.training_images import TrainingImages
from .scored_head import HeadScorer, ScoredHead
from .search import FitOptions
from .stress import StressCurve, StressTest, write_stress
from .warnings import control_findings, leak_reasons, task_warnings

MOST_OF_A_REASON = 160
"""Most characters of a library's error; scikit-learn writes paragraphs."""


class HeadFitter:
    """Fits one head after another to one task; features and relatives are computed once for all.

    Args:
        task: from `freezeframe.classify.task.task.make_task`.
        options: search, fixed hyper-parameters, calibration, threshold.
        leaderboard: CSV file to append to, made if missing.
        runs: folder of the runs' folders; by default `runs` beside the leaderboard. Networks keep
            checkpoints in its `.checkpoints`, and continue from there after a kill.
        log: called with one line for each epoch of a network.
        checkpoint_seconds: seconds between two checkpoints.
        weights: source of ImageNet weights that networks start with, as for `load_weights`.

    Raises:
        FreezeframeError: the leaderboard cannot be appended to, or cross-validation asks for too
            many folds.
    """

    def __init__(
        self,
        task: Task,
        options: FitOptions | None = None,
        *,
        leaderboard: str | os.PathLike[str] = "leaderboard.csv",
        runs: str | os.PathLike[str] | None = None,
        log: Status | None = None,
        checkpoint_seconds: float = 60.0,
        weights: str = "imagenet",
    ) -> None:
        self.task = task
        self.options = options or FitOptions()
        self.leaderboard = Path(leaderboard)
        self.runs = Path(runs or self.leaderboard.parent / "runs")
        # A run that cannot be written must fail before hours of training, not after.
        check_leaderboard(leaderboard)
        check_writable(self.runs)
        self.options.check_sensitivity(task.positive)
        self._log = log or _ignore
        self._checkpoint_seconds = checkpoint_seconds
        self._weights = weights
        self._scorer = HeadScorer(task, self.options)
        self._task_warnings: list[str] | None = None

    def fit(self, name: str, status: Status | None = None) -> Run:
        """Fit and score a head, write its model and predictions, append its rows to the CSV file.

        Args:
            name: name of a head in `HEADS`.
            status: called with a line that says what is being done.

        Raises:
            ParameterError: the head is unknown, is not for this layer, or lacks a hyper-parameter.
            MissingExtraError: the head's library is not installed.
            FreezeframeError: the head cannot be fitted to these features, for whatever reason, or
                its run cannot be written.
        """
        with _errors_of(name):
            return self._fit(name, status or _ignore)

    def _fit(self, name: str, status: Status) -> Run:
        kind = self._make_trial_head(name)
        pooling = kind.judges or self.task.pooling or kind.pooling
        checkpoints: set[Path] = set()
        context = self._context(status, checkpoints.add)
        score = partial(self._scorer.score, kind, pooling, context)
        scored = score(self.task.seed, status)
        seeds = seed_scores(scored.seed, scored.results) if kind.draws else []
        for seed in self._further_seeds(kind):
            # Only the scores are kept: some heads are large.
            further = score(seed, partial(_with_seed, status, seed))
            seeds += seed_scores(seed, further.results)
            scored.head.notes += [f"with seed {seed}: {note}" for note in further.head.notes]
        run = self._write(scored, pooling, seeds)
        # The run holds the outcome of the training; its checkpoints are not needed any more.
        remove_checkpoints(checkpoints)
        return run

    def stress(self, run: Run, status: Status | None = None) -> StressCurve:
        """Cross-validate a fitted head at each level of likeness, and write it beside the model.

        Args:
            run: from `fit`.
            status: called with a line that says what is being done.

        Raises:
            ParameterError: the head is a network that trains for hours.
            FreezeframeError: there are too many images to cluster, too few for folds, or the file
                cannot be written.
        """
        name = run.row.head
        with _errors_of(name):
            test = StressTest(self.task, name, self.options, self._scorer.train)
            curve = test.curve(status or _ignore)
            write_stress(run.folder, curve)
        return curve

    def _make_trial_head(self, name: str) -> Head:
        """Make the head once, to report a mistake in its name or parameters before the work."""
        head = make_head(name, **self.options.fixed_for(name))
        if head.layers and self.task.layer not in head.layers:
            layers = " or ".join(head.layers)
            raise ParameterError(
                f"{name}: needs features of {layers}, but the layer is {self.task.layer}; "
                f"give another --layer, or extract {layers}, too"
            )
        return head

    def _context(self, status: Status, on_checkpoint: Callable[[Path], None]) -> TrainingContext:
        """Collect what networks need beside features."""
        store = self.task.train.store
        height, width, channels = store.layers[self.task.layer]
        return TrainingContext(
            shape=(height, width, channels),
            weights=partial(reload_weights, store.provenance, self._weights),
            checkpoints=self.runs / ".checkpoints",
            checkpoint_seconds=self._checkpoint_seconds,
            status=status,
            log=self._log,
            on_checkpoint=on_checkpoint,
        )

    def _further_seeds(self, kind: Head) -> list[int]:
        """Return the seeds beside the first; none for a head that draws nothing."""
        n_seeds = self.options.n_seeds if kind.draws else 1
        # After the largest seed that libraries take comes 0, as in `grouped_folds`.
        return [(self.task.seed + step) % 2**32 for step in range(1, n_seeds)]

    @cached_property
    def _images(self) -> TrainingImagesFile:
        """The training images, which all runs share."""
        return TrainingImagesFile(TrainingImages.of_part(self.task.train, self.task.classes))

    def _background(self, head: Head, pooling: str) -> Background | None:
        """Return what explanations of the head are compared with; None for controls."""
        if head.judges:
            return None
        layer = self.task.layer
        maps = self._scorer.train.maps(scale_images(head, layer, pooling))
        return make_background(head, layer, pooling, maps, self._scorer.train.mean_map())

    @cached_property
    def _distribution(self) -> FeatureDistribution | None:
        """The distribution of the training features, which all runs share."""
        # Pixels do not tell scans from photographs; too few images have no distribution.
        backbone = find_backbone(self.task.train.store.provenance["backbone"])
        if not backbone.tensors or len(self.task.train.rows) < LEAST_IMAGES:
            return None
        return FeatureDistribution.fit(*self._scorer.train.guard_features(MOST_IMAGES))

    def _write(self, scored: ScoredHead, pooling: str, seeds: Sequence[SeedScores]) -> Run:
        """Write the run's folder and its rows."""
        head, results = scored.head, scored.results
        now = datetime.now(UTC)
        store = self.task.train.store
        # A head on shuffled labels must not pass for one to predict with.
        mark = "-shuffled" if self.task.control else ""
        # The random end tells runs apart that other processes begin in the same second.
        model = FittedHead(
            head=head,
            classes=tuple(self.task.classes),
            layer=self.task.layer,
            pooling=pooling,
            provenance=store.provenance,
            training_fingerprint=store.fingerprint,
            training_images=self._images.digest,
            distribution=self._distribution,
            run_id=f"{now:%Y%m%d-%H%M%S}-{head.name}{mark}-{secrets.token_hex(3)}",
            background=self._background(head, pooling),
        )
        # The model file keeps its own scores, so that it can be judged without the leaderboard.
        rows = [
            leaderboard_row(self.task, model, result, scored.costs, now, seeds)
            for result in results
        ]
        model = replace(model, scores=[row.summary() for row in rows])
        folder = self.runs / model.run_id
        # Copies are compared once for all heads.
        if self._task_warnings is None:
            self._task_warnings = task_warnings(self.task, self._scorer.tests.relations)
        rule = head.conformal
        sets = [measure_sets(result, rule) for result in results] if rule else []
        texts = [
            *leak_reasons(self.task, results),
            *self._task_warnings,
            *head.notes,
            *(f"{head.name}: {measured.broken}" for measured in sets if measured.broken),
        ]
        # Two test sets of one store give the same warning, each fold may leave the same note.
        texts = list(dict.fromkeys(texts))
        coded = [(head.record.codes.get(text, ""), text) for text in texts]
        tables = RunTables(coded, seeds, sets)
        rows = write_run(folder, model, results, rows, self.leaderboard, self._images, tables)
        return Run(rows, folder, texts, control_findings(self.task, rows))


def fit_classifier(
    task: Task,
    name: str,
    options: FitOptions | None = None,
    *,
    leaderboard: str | os.PathLike[str] = "leaderboard.csv",
    runs: str | os.PathLike[str] | None = None,
) -> Run:
    """Fit and score one head; `HeadFitter` fits several and shares their work.

    Args:
        task: from `freezeframe.classify.task.task.make_task`.
        name: name of a head in `HEADS`.
        options: search, fixed hyper-parameters, calibration, threshold.
        leaderboard: CSV file to append to, made if missing.
        runs: folder of the runs' folders; by default `runs` beside the leaderboard.

    Raises:
        FreezeframeError: see `HeadFitter.fit`.

    Examples:
        >>> run = fit_classifier(make_task(FeatureStore("features.h5")), "logreg")  # doctest: +SKIP
        >>> run.row["accuracy"], run.row["accuracy_low"], run.row["accuracy_high"]  # doctest: +SKIP
        (0.875, 0.7529, 0.9414)
    """
    return HeadFitter(task, options, leaderboard=leaderboard, runs=runs).fit(name)


@contextmanager
def _errors_of(name: str) -> Iterator[None]:
    """Turn any exception of a library into one line that names the head; print no warning of one.

    Users fit many heads at once, and one that fails must not end the others.
    """
    with warnings.catch_warnings():
        # Libraries warn of a class of one image, say, in words for programmers.
        warnings.simplefilter("ignore")
        try:
            yield
        except FreezeframeError:
            raise
        except MemoryError as error:
            raise FreezeframeError(
                f"{name}: not enough memory; give --pooling avg, or fit fewer images"
            ) from error
        except Exception as error:
            reason = " ".join(str(error).split())[:MOST_OF_A_REASON]
            raise FreezeframeError(
                f"{name}: cannot be fitted to these features ({type(error).__name__}: {reason}); "
                "give other hyper-parameters with --param, or another head"
            ) from error


def _ignore(text: str) -> None:
    """Take a line of text and do nothing."""


def _with_seed(status: Status, seed: int, text: str) -> None:
    """Report a line about a fit with a further seed."""
    status(f"seed {seed}: {text}")
