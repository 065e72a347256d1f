"""Patients: their probabilities from those of their images, and their labels.

A declared group of images, a volume say, takes the place of a patient where no patient is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .predictions import Floats

COMBINATIONS = ("mean", "max", "noisy-or")
"""Ways to combine the probabilities of a patient's images; of equal ones the first is chosen."""

MIXED_LABELS = "images of one {unit} have several labels, so that a {unit} has none"
"""Reason for having no scores by patient with more than two classes."""


@dataclass(frozen=True)
class Combination:
    """The way from the probabilities of a patient's images to that of the patient.

    Attributes:
        name: one of `COMBINATIONS`.
        chosen_by: "log loss" if it was chosen by patients of the training part that the head was
            not fitted on; "rule" if there was no choice.
        threshold: least probability from which the positive class is predicted; None: the likelier
            class is predicted.
    """

    name: str
    chosen_by: str
    threshold: float | None = None

    def decide(self, proba: Floats, positive: int | None) -> NDArray[np.intp]:
        """Return class numbers of shape (n_patients,) from probabilities."""
        if self.threshold is None or positive is None:
            return np.asarray(proba.argmax(axis=1))
        return np.where(proba[:, positive] >= self.threshold, positive, 1 - positive)

    @property
    def record(self) -> dict[str, Any]:
        """The combination as a JSON object, for the column `choices`."""
        record: dict[str, Any] = {"combination": self.name, "chosen_by": self.chosen_by}
        return record | ({} if self.threshold is None else {"threshold": self.threshold})


def combine(proba: Floats, patients: NDArray[np.intp], name: str, positive: int | None) -> Floats:
    """Compute the probabilities of patients from those of their images.

    - "mean": the mean of each class's probability.
    - "max": the greatest probability of the positive class.
    - "noisy-or": 1 minus the product of the images' probabilities of the other class, as if each
      image showed the finding independently.

    Args:
        proba: of the images, of shape (n_images, n_classes).
        patients: patient of each image, from 0 on without gaps, of shape (n_images,).
        name: one of `COMBINATIONS`; with a positive class of None, "mean" only.
        positive: number of the positive class of two.

    Returns:
        Probabilities of shape (n_patients, n_classes).

    References:
        Pearl (1988): Probabilistic Reasoning in Intelligent Systems, section 4.3.2 (noisy or).

    Examples:
        >>> proba = np.array([[0.5, 0.5], [0.8, 0.2], [0.9, 0.1]])
        >>> patients = np.array([0, 0, 1])
        >>> [combine(proba, patients, name, 1)[:, 1].round(3).tolist() for name in COMBINATIONS]
        [[0.35, 0.1], [0.5, 0.1], [0.6, 0.1]]
    """
    n_patients = int(patients.max()) + 1
    if name == "mean" or positive is None:
        sums = np.zeros((n_patients, proba.shape[1]))
        np.add.at(sums, patients, proba)
        return sums / np.bincount(patients)[:, None]
    combined = np.empty((n_patients, 2))
    if name == "max":
        greatest = np.zeros(n_patients)
        np.maximum.at(greatest, patients, proba[:, positive])
        combined[:, positive] = greatest
        combined[:, 1 - positive] = 1 - greatest
    else:
        # The product is taken of the other class itself: 1 - p would lose its small values.
        none = np.ones(n_patients)
        np.multiply.at(none, patients, proba[:, 1 - positive])
        combined[:, positive] = 1 - none
        combined[:, 1 - positive] = none
    return combined


def labels_of_patients(
    y: NDArray[np.intp], patients: NDArray[np.intp], positive: int | None
) -> NDArray[np.intp] | None:
    """Return the class number of each patient; None if one has images of several classes.

    With a positive class of two, a patient is positive if any image is.

    Args:
        y: class number of each image, of shape (n_images,).
        patients: patient of each image, from 0 on without gaps, of the same shape.
        positive: number of the positive class of two; None with more classes.

    Examples:
        >>> labels_of_patients(np.array([0, 1, 0]), np.array([0, 0, 1]), positive=1).tolist()
        [1, 0]
        >>> labels_of_patients(np.array([0, 1, 0]), np.array([0, 0, 1]), positive=None) is None
        True
    """
    n_patients = int(patients.max()) + 1
    if positive is not None:
        any_positive = np.bincount(patients, y == positive, n_patients) > 0
        return np.where(any_positive, positive, 1 - positive)
    labels = np.zeros(n_patients, dtype=np.intp)
    labels[patients] = y
    return labels if (labels[patients] == y).all() else None
