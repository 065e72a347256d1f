"""From scores to probabilities, and from probabilities to a class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Calibration:
    """Probabilities are softmax(slope * scores + biases).

    For two classes that is Platt scaling (Platt, "Probabilistic outputs for support vector
    machines", 1999), for more classes temperature scaling with a bias a class (Alexandari et al.,
    arXiv:1901.06852).

    Attributes:
        slope: 1 leaves log-probabilities as they are.
        biases: one a class; none: all 0.
        threshold: the positive class of two is predicted from this probability on; None: the
            likeliest class is.
        positive: number of that class.
    """

    slope: float = 1.0
    biases: tuple[float, ...] = ()
    threshold: float | None = None
    positive: int = 1

    def proba(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities of shape (n_rows, n_classes) from scores of that shape."""
        from scipy.special import softmax

        return np.asarray(
            softmax(self.slope * scores + (np.array(self.biases) if self.biases else 0.0), axis=1)
        )

    def decide(self, proba: NDArray[np.float64]) -> NDArray[np.intp]:
        """Class numbers of shape (n_rows,) from probabilities."""
        if self.threshold is None:
            return np.asarray(proba.argmax(axis=1))
        return np.where(proba[:, self.positive] >= self.threshold, self.positive, 1 - self.positive)


def fit_calibration(scores: NDArray[np.float64], y: NDArray[np.intp]) -> Calibration:
    """Slope and biases of the least log loss, by L-BFGS, on rows that the head was not fitted on.

    Targets are smoothed as Platt does, so that scores which separate the classes do not make it
    overconfident.

    Args:
        scores: of shape (n_rows, n_classes); rows with NaN are left out.
        y: class numbers of shape (n_rows,).

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> margin = rng.normal(size=2000)
        >>> y = (rng.random(2000) < 1 / (1 + np.exp(-3 * margin - 1))).astype(int)
        >>> found = fit_calibration(np.column_stack([0 * margin, margin]), y)
        >>> round(found.slope), round(found.biases[1] - found.biases[0])
        (3, 1)
    """
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    known = ~np.isnan(scores).any(axis=1)
    scores, y = scores[known], y[known]
    n, n_classes = scores.shape
    scale = max(float(np.std(scores - scores.mean(axis=1, keepdims=True))), 1e-12)
    scores = scores / scale
    counts = np.bincount(y, minlength=n_classes)
    targets = np.full((n, n_classes), 1.0) / (counts + n_classes)[y][:, None]
    targets[np.arange(n), y] += counts[y] / (counts + n_classes)[y]

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logs = log_softmax(parameters[0] * scores + parameters[1:], axis=1)
        wrong = np.exp(logs) - targets
        gradient = np.concatenate([[(wrong * scores).sum()], wrong.sum(axis=0)]) / n
        return float(-(targets * logs).sum() / n), gradient

    start = np.concatenate([[1.0], np.zeros(n_classes)])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000}).x
    return Calibration(float(found[0] / scale), tuple(map(float, found[1:])))


def threshold_for(
    proba: NDArray[np.float64], y: NDArray[np.intp], sensitivity: float, positive: int
) -> float:
    """The highest threshold at which at least this share of the positive rows are found.

    Args:
        proba: of the positive class, of shape (n_rows,), for rows that the head was not fitted on.

    Examples:
        >>> threshold_for(np.array([0.1, 0.4, 0.6, 0.9]), np.array([0, 1, 1, 1]), 0.66, positive=1)
        0.6
    """
    found = np.sort(proba[y == positive])[::-1]
    return float(found[max(0, int(np.ceil(sensitivity * len(found) - 1e-9)) - 1)])
