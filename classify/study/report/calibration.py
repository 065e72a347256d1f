"""Calibration of an evaluation: one line for each class that has a curve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...scores.evaluation import Evaluation
from ...scores.predictions import Floats
from .formulas import CalibrationLine, calibration_line


@dataclass(frozen=True)
class ClassRows:
    """One class against the rest, the repeats of a cross-validation one after another.

    Attributes:
        name: name of the class.
        outcomes: True for its images, of shape (n,).
        probabilities: its probabilities, of shape (n,).
        groups: group number of each image, of shape (n,).
    """

    name: str
    outcomes: NDArray[np.bool_]
    probabilities: Floats
    groups: NDArray[np.intp]


def class_rows(evaluation: Evaluation) -> list[ClassRows]:
    """Return the positive class against the other, or each of several classes against the rest."""
    predictions = evaluation.predictions
    n_repeats = predictions.proba.shape[0]
    y = np.tile(predictions.y, n_repeats)
    groups = np.tile(predictions.groups, n_repeats)
    return [
        ClassRows(
            evaluation.classes[label], y == label, predictions.proba[:, :, label].ravel(), groups
        )
        for label in predictions.ranked_classes
    ]


def class_lines(evaluation: Evaluation) -> dict[str, CalibrationLine | None]:
    """Return the calibration line of each class by its name; None where it is not defined."""
    return {
        rows.name: calibration_line(rows.outcomes, rows.probabilities, rows.groups)
        for rows in class_rows(evaluation)
    }
