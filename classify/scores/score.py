"""All scores of predictions, each with its interval."""

from __future__ import annotations

from .intervals import intervals
from .metrics import METRIC_NAMES, columns_of
from .predictions import Predictions
from .weighted_metrics import point_values


def score(predictions: Predictions, seed: int = 0) -> dict[str, float]:
    """Compute all of `METRIC_COLUMNS`; NaN where one is not defined (a class without rows, say).

    With a positive class, sensitivity, specificity, PPV, NPV, F1, the area under the ROC curve and
    average precision are those of that class. Without one they are unweighted means over the
    classes for which they are defined, each class against the rest. The confusion matrix is that of
    `predictions.predicted`; all other metrics come from the probabilities. Several repeats are
    scored one by one and averaged.

    - `mcc`: Matthews' correlation, for several classes Gorodkin's; 0 where only one class is
      predicted.
    - `log_loss`: in nats, probabilities clipped to [2.2e-16, 1 - 2.2e-16].
    - `brier`: mean (p - y)^2 of one class of two; with more classes, of the sum over the classes.
    - `ece`: |right - confidence| of the likeliest class, mean over 15 equally wide bins (Guo et al.
      2017).

    `intervals` explains how the intervals are computed and how often they hold the truth.

    Args:
        predictions: of at least one row.
        seed: seed of the bootstrap; the metrics themselves do not depend on it.

    References:
        Guo et al. (2017): On calibration of modern neural networks. ICML.
        Gorodkin (2004): Comparing two K-category assignments by a K-category correlation
        coefficient. Computational Biology and Chemistry 28, 367-374.

    Examples:
        >>> import numpy as np
        >>> proba = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7]])
        >>> scores = score(Predictions.of(np.array([0, 0, 1, 1]), proba, positive=1))
        >>> scores["accuracy"], scores["sensitivity"], scores["specificity"], scores["roc_auc"]
        (0.75, 1.0, 0.5, 1.0)
        >>> round(scores["accuracy_low"], 3), round(scores["accuracy_high"], 3)
        (0.301, 0.954)
    """
    values = point_values(predictions)
    ends = intervals(predictions, seed=seed)
    scores: dict[str, float] = {}
    for name in METRIC_NAMES:
        scores |= zip(columns_of(name), (values[name], *ends[name]), strict=True)
    return scores
