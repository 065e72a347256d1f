"""Calibration: it turns scores into probabilities, and probabilities into a class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Calibration:
    """The map from scores to probabilities, softmax(slope * scores + biases).

    For two classes this is Platt scaling (Platt, "Probabilistic outputs for support vector
    machines", 1999). For more classes it is temperature scaling with a bias for each class
    (Alexandari et al., arXiv:1901.06852).

    Attributes:
        slope: factor of the scores; 1 leaves log-probabilities unchanged.
        biases: one number for each class; empty: all 0.
        threshold: least probability from which the positive class of two is predicted; None: the
            most probable class is predicted.
        positive: number of the positive class.
    """

    slope: float = 1.0
    biases: tuple[float, ...] = ()
    threshold: float | None = None
    positive: int = 1

    def proba(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return probabilities of shape (n_rows, n_classes) from scores of that shape."""
        from scipy.special import softmax

        biases = np.array(self.biases) if self.biases else 0.0
        return np.asarray(softmax(self.slope * scores + biases, axis=1))

    def decide(self, proba: NDArray[np.float64]) -> NDArray[np.intp]:
        """Return class numbers of shape (n_rows,) from probabilities."""
        if self.threshold is None:
            return np.asarray(proba.argmax(axis=1))
        return np.where(proba[:, self.positive] >= self.threshold, self.positive, 1 - self.positive)


def fit_calibration(scores: NDArray[np.float64], y: NDArray[np.intp]) -> Calibration:
    """Find the slope and biases of the least log loss, by L-BFGS.

    Targets are smoothed as by Platt, so that scores which separate the classes do not lead to
    overconfident probabilities.

    Args:
        scores: scores of shape (n_rows, n_classes) of rows that the head was not fitted on; rows
            with NaN are skipped.
        y: class numbers of shape (n_rows,).

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> margin = rng.normal(size=2000)
        >>> y = (rng.random(2000) < 1 / (1 + np.exp(-3 * margin - 1))).astype(int)
        >>> calibration = fit_calibration(np.column_stack([0 * margin, margin]), y)
        >>> round(calibration.slope), round(calibration.biases[1] - calibration.biases[0])
        (3, 1)
    """
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    complete = ~np.isnan(scores).any(axis=1)
    scores = scores[complete]
    y = y[complete]
    n_rows, n_classes = scores.shape
    # L-BFGS converges in few steps on scores of unit spread only.
    scale = max(float(np.std(scores - scores.mean(axis=1, keepdims=True))), 1e-12)
    scores = scores / scale
    targets = _smoothed_targets(y, n_classes)

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logs = log_softmax(parameters[0] * scores + parameters[1:], axis=1)
        errors = np.exp(logs) - targets
        gradient = np.concatenate([[(errors * scores).sum()], errors.sum(axis=0)]) / n_rows
        return float(-(targets * logs).sum() / n_rows), gradient

    start = np.concatenate([[1.0], np.zeros(n_classes)])
    solution = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000}).x
    return Calibration(float(solution[0] / scale), tuple(map(float, solution[1:])))


def _smoothed_targets(y: NDArray[np.intp], n_classes: int) -> NDArray[np.float64]:
    """Return Platt's target probabilities, of shape (n_rows, n_classes)."""
    counts = np.bincount(y, minlength=n_classes)
    targets = np.full((len(y), n_classes), 1.0) / (counts + n_classes)[y][:, None]
    targets[np.arange(len(y)), y] += counts[y] / (counts + n_classes)[y]
    return targets


def threshold_for(
    proba: NDArray[np.float64], y: NDArray[np.intp], sensitivity: float, positive: int
) -> float:
    """Return the highest threshold that reaches a sensitivity.

    Args:
        proba: probability of the positive class, of shape (n_rows,), for rows that the head was
            not fitted on.
        y: class numbers of shape (n_rows,).
        sensitivity: share of the positive rows that must be at or above the threshold.
        positive: number of the positive class.

    Examples:
        >>> threshold_for(np.array([0.1, 0.4, 0.6, 0.9]), np.array([0, 1, 1, 1]), 0.66, positive=1)
        0.6
    """
    # The k-th highest probability is the threshold that k rows reach.
    falling = np.sort(proba[y == positive])[::-1]
    # A tiny margin, so that rounding does not ask for one row more.
    n_required = int(np.ceil(sensitivity * len(falling) - 1e-9))
    return float(falling[max(0, n_required - 1)])
