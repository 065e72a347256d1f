"""The check of maps: heads are refitted on folds, and their maps of unseen images are measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ...data.output.terminal import Status
from ...data.splits import grouped_folds
from ...errors import ParameterError
from ...features.rows.pooling import pool
from ..heads.base import Head
from ..heads.networks.context import TrainingContext
from ..heads.networks.network import Network
from ..heads.table import find_head
from ..matrix import Matrix, take
from ..runs.model_file import FittedHead
from ..scores.bootstrap import bca_interval, bootstrap
from ..scores.roc_area import Interval
from ..solvers.reduction import Reduction
from ..task.control import shuffled_labels
from ..task.task import Task
from ..trust.explanation.contributions import explain_map
from ..trust.explanation.evidence import MapContext, MapEvidence, measure_map
from .part_features import PartFeatures
from .search import FitOptions, fit_head, inner_folds

CHECK_FOLDS = 5
"""Folds that a head is fitted on."""

CONTROL_FOLDS = 2
"""Folds of the head with shuffled labels. It learns nothing, from few images as from many."""

Masks = Mapping[str, NDArray[np.bool_]]
"""Masks by path of their image."""


@dataclass(frozen=True)
class MapCheck:
    """The measurements of a head's maps of images that it was not fitted on.

    Attributes:
        evidence: measurements of each image.
        right: True for each image whose class the head predicts, of shape (n,).
        groups: group number of each image, of shape (n,).
    """

    evidence: list[MapEvidence]
    right: NDArray[np.bool_]
    groups: NDArray[np.intp]

    def values(self, measure: str) -> NDArray[np.float64]:
        """Return one measurement of each image, of shape (n,); NaN where it is not defined."""
        if measure == "right":
            return self.right.astype(np.float64)
        return np.array([getattr(evidence, measure) for evidence in self.evidence])

    def mean(self, *measures: str) -> tuple[float, Interval]:
        """Return the mean of a measurement, or of the first minus the second.

        The 95 % interval is a bootstrap over groups; it is undefined for a single group.
        """
        values = self.values(measures[0])
        for measure in measures[1:]:
            values = values - self.values(measure)
        defined = ~np.isnan(values)
        return _mean_interval(values[defined], self.groups[defined])


def refuse_long_fits(name: str) -> None:
    """Raise ParameterError for a head that the check would fit for hours.

    Args:
        name: name of the head.
    """
    if find_head(name).layers:
        raise ParameterError(
            f"--check: fits the head {CHECK_FOLDS + CONTROL_FOLDS} times, and {name} trains for "
            "hours each time; give the model of a head for any layer, as logreg or dense-128"
        )


def check_maps(
    model: FittedHead, task: Task, masks: Masks, status: Status
) -> tuple[MapCheck, MapCheck]:
    """Refit a model's kind of head on folds, and measure its maps of the images left out.

    Each map explains the logit of the image's own class. The control is the same with shuffled
    labels, in fewer folds: what its maps show must differ.

    Args:
        model: name, hyper-parameters, layer and pooling of the head.
        task: the images; folds keep their groups together.
        masks: masks of some images.
        status: called with the number of the fold.

    Returns:
        The measurements of the head, and those of the control.

    Raises:
        ParameterError: the head is a network that takes hours to train.
        FreezeframeError: there are too few groups for folds, or a head cannot be fitted.
    """
    refuse_long_fits(model.head.name)
    train = task.train
    y = np.searchsorted(task.classes, train.labels)
    # One matrix serves all fits: folds keep the inner products of its rows.
    X, reduction = PartFeatures(train, model.layer).for_head(model.head.reducible, model.pooling)
    refits = _Refits(model, task, y, X, reduction)
    head = _measure_folds(refits, y, CHECK_FOLDS, masks, status)
    shuffled = shuffled_labels(y, train.groups, task.seed)
    say = partial(_say, status, "shuffled labels")
    return head, _measure_folds(refits, shuffled, CONTROL_FOLDS, masks, say)


@dataclass(frozen=True, eq=False)
class _Refits:
    """All that heads are fitted on, and judged by.

    Attributes:
        y: class number of each row, of shape (n_rows,).
        X: features of all rows, reduced if the head allows it.
        reduction: the reduction; None for features that are not reduced.
    """

    model: FittedHead
    task: Task
    y: NDArray[np.intp]
    X: Matrix
    reduction: Reduction | None

    def fit(
        self, rows: NDArray[np.intp], labels: NDArray[np.intp], status: Status
    ) -> tuple[Head, NDArray[np.float32]]:
        """Fit a head on some rows; return it and the mean map of these rows."""
        model = self.model
        part = self.task.train.take(rows)
        fixed = {f"{model.head.name}.{key}": value for key, value in model.head.parameters.items()}
        head, _ = fit_head(
            model.head.name,
            take(self.X, rows),
            labels[rows],
            len(self.task.classes),
            inner_folds(labels[rows], part.groups, None, self.task.seed),
            FitOptions("none", fixed, calibrate=is_calibrated_again(model.head)),
            seed=self.task.seed,
            context=TrainingContext(status=status),
        )
        if self.reduction is not None:
            head.to_features(self.reduction)
        return head, PartFeatures(part, model.layer).mean_map()


def is_calibrated_again(head: Head) -> bool:
    """Return True if the refits of a head are calibrated as it is.

    A network would have to be fitted five times more for it. Calibration changes the unit of a map
    and not what it shows.
    """
    return bool(head.calibration.biases) and not isinstance(head, Network)


def _measure_folds(
    refits: _Refits, labels: NDArray[np.intp], n_folds: int, masks: Masks, status: Status
) -> MapCheck:
    """Fit a head on each fold's labels, and measure its maps of the rows that are left out."""
    model, y = refits.model, refits.y
    train = refits.task.train
    evidence: dict[int, MapEvidence] = {}
    right = np.zeros(len(y), bool)
    folds = grouped_folds(train.labels, train.groups, n_folds=n_folds, seed=refits.task.seed)
    for number, (fitted, judged) in enumerate(folds, 1):
        say = partial(_say, status, f"fold {number} of {len(folds)}")
        say("fitting")
        head, mean = refits.fit(fitted, labels, say)
        maps = train.store.select(model.layer, train.rows[judged], None)
        for rows, block in maps.blocks():
            say(f"map {rows.start + 1} of {len(judged)}")
            right[judged[rows]] = head.predict(pool(block, model.pooling)) == y[judged[rows]]
            for row, features in zip(judged[rows], block, strict=True):
                context = MapContext(head, model.pooling, features, mean, int(y[row]))
                mask = masks.get(str(train.store.paths[train.rows[row]]))
                evidence[int(row)] = _measured(model.layer, context, mask, int(row))
    return MapCheck([evidence[row] for row in range(len(y))], right, train.groups)


def _say(status: Status, where: str, text: str) -> None:
    status(f"{where}: {text}")


def _measured(
    layer: str, context: MapContext, mask: NDArray[np.bool_] | None, row: int
) -> MapEvidence:
    contributions = explain_map(
        context.head, layer, context.pooling, context.features, context.mean, context.number
    )
    # Seeded by the image, so that both heads of a comparison lose the same random cells.
    return measure_map(context, contributions, mask, np.random.default_rng(row))


def _mean_interval(values: NDArray[np.float64], groups: NDArray[np.intp]) -> tuple[float, Interval]:
    """Return a mean and its 95 % interval, by a bootstrap over groups."""
    undefined = (float("nan"), float("nan"))
    if not len(values):
        return float("nan"), undefined
    mean = float(values.mean())
    n_groups = len(np.unique(groups))
    if n_groups < 2:
        return mean, undefined

    def measure(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        return {"mean": weights @ values / weights.sum(axis=1)}

    resampled, left_out = bootstrap(measure, groups, seed=0)
    return mean, bca_interval(mean, resampled["mean"], left_out["mean"], n_groups)
