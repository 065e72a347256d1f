"""The logit of a class: the number that an explanation splits into contributions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...heads.base import Head
from ...heads.calibration import Calibration


def logit_direction(n_classes: int, number: int) -> NDArray[np.float64]:
    """Return the weight of each calibrated score in the logit of a class.

    With two classes the logit is log(p / (1 - p)): the class's score minus that of the other one.
    With more classes it is the class's score minus the mean of all. The softmax of these logits
    gives the probabilities. Scores have a constant in each row that means nothing; it cancels.

    Args:
        n_classes: number of classes.
        number: number of the class.

    Examples:
        >>> logit_direction(2, 1).tolist()
        [-1.0, 1.0]
        >>> logit_direction(4, 0).tolist()
        [0.75, -0.25, -0.25, -0.25]
    """
    weights = np.full(n_classes, -1.0 if n_classes == 2 else -1.0 / n_classes)
    weights[number] += 2.0 if n_classes == 2 else 1.0
    return weights


def class_logits(
    calibration: Calibration, scores: NDArray[np.float64], number: int
) -> NDArray[np.float64]:
    """Return the logit of one class for each row, of shape (n_rows,).

    Args:
        calibration: the head's map from scores to probabilities.
        scores: the head's scores, of shape (n_rows, n_classes).
        number: number of the class.
    """
    direction = logit_direction(scores.shape[1], number)
    biases = np.array(calibration.biases) if calibration.biases else np.zeros(scores.shape[1])
    return np.asarray((calibration.slope * scores + biases) @ direction)


def head_logits(head: Head, features: NDArray[np.float32], number: int) -> NDArray[np.float64]:
    """Return a head's logit of one class for each row of features, of shape (n_rows,)."""
    return class_logits(head.calibration, head.scores_of(features), number)
