"""The check of maps: heads are refitted on folds, and their maps of unseen images are measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...data.output.terminal import Status
from ...data.splits import grouped_folds
from ...errors import ParameterError
from ..explanation.contributions import explain_map
from ..explanation.evidence import MapContext, MapEvidence, measure_map
from ..heads.base import Head
from ..heads.table import find_head
from ..runs.model_file import FittedHead
from ..scores.bootstrap import bca_interval, bootstrap
from ..scores.roc_area import Interval
from ..task.control import shuffled_labels
from ..task.part import Part
from ..task.task import Task
from .part_features import PartFeatures
from .search import FitOptions, fit_head, inner_folds

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


def check_maps(
    model: FittedHead, task: Task, masks: Masks, status: Status, *, shuffled: bool
) -> MapCheck:
    """Refit a model's kind of head on folds, and measure its maps of the images left out.

    Each map explains the logit of the image's own class.

    Args:
        model: name, hyper-parameters, layer and pooling of the head.
        task: the images; folds keep their groups together.
        masks: masks of some images.
        status: called with the number of the fold.
        shuffled: True to fit on shuffled labels: the control. What the maps show must change.

    Raises:
        ParameterError: the head is a network that takes hours to train.
        FreezeframeError: there are too few groups for folds, or a head cannot be fitted.
    """
    kind = find_head(model.head.name)
    if kind.layers:
        raise ParameterError(
            f"--check: refits the head on {2 * task.n_folds} folds, and {kind.name} would train "
            "for hours; check a head for any layer"
        )
    train = task.train
    y = np.searchsorted(task.classes, train.labels)
    labels = shuffled_labels(y, train.groups, task.seed) if shuffled else y
    evidence: dict[int, MapEvidence] = {}
    right = np.zeros(len(y), bool)
    folds = grouped_folds(train.labels, train.groups, n_folds=task.n_folds, seed=task.seed)
    for number, (fitted, judged) in enumerate(folds, 1):
        status(f"{'shuffled labels, ' if shuffled else ''}fold {number} of {len(folds)}")
        head, mean = _fit_fold(model, task, train.take(fitted), labels[fitted])
        maps = train.store.select(model.layer, train.rows[judged], None)
        for rows, block in maps.blocks():
            for row, features in zip(judged[rows], block, strict=True):
                context = MapContext(head, model.pooling, features, mean, int(y[row]))
                mask = masks.get(str(train.store.paths[train.rows[row]]))
                evidence[int(row)] = _measured(model.layer, context, mask, int(row))
        X = train.store.select(model.layer, train.rows[judged], model.pooling)
        right[judged] = head.predict(X) == y[judged]
    return MapCheck([evidence[row] for row in range(len(y))], right, train.groups)


def _measured(
    layer: str, context: MapContext, mask: NDArray[np.bool_] | None, row: int
) -> MapEvidence:
    contributions = explain_map(
        context.head, layer, context.pooling, context.features, context.mean, context.number
    )
    # Seeded by the image, so that both heads of a comparison lose the same random cells.
    return measure_map(context, contributions, mask, np.random.default_rng(row))


def _fit_fold(
    model: FittedHead, task: Task, part: Part, y: NDArray[np.intp]
) -> tuple[Head, NDArray[np.float32]]:
    """Fit a head on some rows; return it and the mean map of these rows."""
    features = PartFeatures(part, model.layer)
    X, reduction = features.for_head(model.head.reducible, model.pooling)
    folds = inner_folds(y, part.groups, None, task.seed)
    fixed = {f"{model.head.name}.{key}": value for key, value in model.head.parameters.items()}
    options = FitOptions("none", fixed, calibrate=bool(model.head.calibration.biases))
    head, _ = fit_head(model.head.name, X, y, len(task.classes), folds, options, seed=task.seed)
    if reduction is not None:
        head.to_features(reduction)
    return head, features.mean_map()


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
