"""The choice of how a patient's images are combined, within the training part alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..heads.base import Head
from ..heads.calibration import threshold_for
from ..heads.networks.network import Network
from ..heads.table import find_head
from ..scores.metrics import log_losses
from ..scores.patients import COMBINATIONS, Combination, combine, labels_of_patients
from ..scores.predictions import Floats, group_numbers
from ..task.task import Task
from ..task.units import units_of


class CombinationChoice:
    """Chooses how heads' probabilities of a patient's images are combined, for one task.

    Args:
        task: the task of the heads.
        sensitivity: see `choose_combination`.
    """

    def __init__(self, task: Task, sensitivity: float | None) -> None:
        self._units = units_of(task.train)
        self._y = np.searchsorted(task.classes, task.train.labels)
        self._positive = task.positive_number
        self._sensitivity = sensitivity

    def needs_judged(self, name: str) -> bool:
        """Return True if a head must judge the training rows for this choice.

        With more than two classes there is no choice. A network would be trained again for each
        fold.
        """
        if self._units is None or self._positive is None:
            return False
        return not issubclass(find_head(name), Network)

    def choose(self, head: Head, fitted: NDArray[np.intp]) -> Combination:
        """Choose the combination for a head.

        Args:
            head: fitted on some training rows.
            fitted: numbers of these rows.
        """
        if self._units is None:
            return Combination("mean", "rule")
        return choose_combination(
            head.record.judged,
            self._y[fitted],
            self._units.numbers[fitted],
            self._positive,
            self._sensitivity,
        )


def choose_combination(
    proba: Floats | None,
    y: NDArray[np.intp],
    patients: NDArray[np.intp],
    positive: int | None,
    sensitivity: float | None = None,
) -> Combination:
    """Choose the combination of the least mean log loss over patients of the training part.

    Args:
        proba: of images that the head was not fitted on, of shape (n_images, n_classes), NaN for
            images that were not judged; None if there are none.
        y: class numbers of the images, of shape (n_images,).
        patients: their patients, of the same shape; -1 for images without one.
        positive: number of the positive class of two; None with more classes.
        sensitivity: share of the positive patients that the threshold must find; None: the likelier
            class is predicted.

    Examples:
        >>> proba = np.array([[0.9, 0.1], [0.2, 0.8], [0.8, 0.2], [0.7, 0.3]])
        >>> choose_combination(proba, np.array([0, 1, 0, 0]), np.array([0, 0, 1, 1]), 1).name
        'max'
    """
    if positive is None or proba is None:
        return combination_by_rule(y, patients, positive)
    judged = (patients >= 0) & ~np.isnan(proba).any(axis=1)
    if not judged.any():
        return combination_by_rule(y, patients, positive)
    numbers = group_numbers(patients[judged])
    labels = labels_of_patients(y[judged], numbers, positive)
    # Patients of one class do not show which combination tells two classes apart.
    if labels is None or len(np.unique(labels)) < 2:
        return combination_by_rule(y, patients, positive)
    combined = {name: combine(proba[judged], numbers, name, positive) for name in COMBINATIONS}
    losses = {name: float(log_losses(labels, combined[name]).mean()) for name in COMBINATIONS}
    name = min(COMBINATIONS, key=losses.__getitem__)
    threshold = None
    if sensitivity is not None:
        threshold = threshold_for(combined[name][:, positive], labels, sensitivity, positive)
    return Combination(name, "log loss", threshold)


def combination_by_rule(
    y: NDArray[np.intp], patients: NDArray[np.intp], positive: int | None
) -> Combination:
    """Return the combination where none can be chosen.

    It is "max" if some patients of the training part have images of both of two classes: one
    positive image then makes a patient positive. Otherwise it is "mean".
    """
    named = patients >= 0
    if positive is None or not named.any():
        return Combination("mean", "rule")
    mixed = labels_of_patients(y[named], group_numbers(patients[named]), None) is None
    return Combination("max" if mixed else "mean", "rule")
