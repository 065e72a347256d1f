"""Scores of predicted probabilities against true classes."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

NEGATIONS = frozenset(
    {"no", "non", "not", "none", "normal", "healthy", "control", "controls", "negative", "neg", "without", "absent"}
    | {"benign", "false", "0", "notumor", "notumour"}
)
"""A class whose name's first word is one of these is taken for the negative class of two."""

METRICS = (
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "balanced_accuracy",
    "sensitivity",
    "specificity",
    "macro_f1",
    "mcc",
    "roc_auc",
)


def guess_positive(classes: Sequence[str]) -> str:
    """Which of two classes a sensitivity speaks of: the one whose name is not a negation, else the last by name.

    Examples:
        >>> guess_positive(["brain_tumor", "no_tumor"]), guess_positive(["clear", "nodule"])
        ('brain_tumor', 'nodule')
    """
    affirmative = [name for name in classes if re.split(r"[\W_]+", name.lower())[0] not in NEGATIONS]
    return affirmative[0] if len(affirmative) == 1 else max(classes)


def score(y: NDArray[np.intp], proba: NDArray[np.float64], positive: int | None) -> dict[str, float]:
    """All of `METRICS`; NaN where one is not defined (a class without test rows, say).

    The accuracy's 95 % interval is Wilson's (JASA 22, 1927; statsmodels). With more than two classes sensitivity and
    specificity are means over the classes, each against the rest, and so is the area under the ROC curve.

    Args:
        y: true class numbers, of shape (n_rows,), n_rows >= 1.
        proba: probability of each class, of shape (n_rows, n_classes).
        positive: the class that sensitivity speaks of; None: mean over classes.

    Examples:
        >>> proba = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7]])
        >>> found = score(np.array([0, 0, 1, 1]), proba, positive=1)
        >>> found["accuracy"], found["sensitivity"], found["specificity"], found["roc_auc"]
        (0.75, 1.0, 0.5, 1.0)
    """
    from sklearn import metrics
    from statsmodels.stats.proportion import proportion_confint

    n_classes = proba.shape[1]
    predicted = proba.argmax(axis=1)
    right = int((predicted == y).sum())
    low, high = proportion_confint(right, len(y), alpha=0.05, method="wilson")
    confusion = metrics.confusion_matrix(y, predicted, labels=range(n_classes))
    hits = np.diag(confusion)
    positives, negatives = confusion.sum(axis=1), len(y) - confusion.sum(axis=1)
    sensitivities = _ratio(hits, positives)
    specificities = _ratio(negatives - (confusion.sum(axis=0) - hits), negatives)
    return {
        "accuracy": right / len(y),
        # Rounding can leave the accuracy a hair outside when it is 0 or 1.
        "accuracy_low": min(float(low), right / len(y)),
        "accuracy_high": max(float(high), right / len(y)),
        "balanced_accuracy": _mean_defined(sensitivities),
        "sensitivity": _mean_defined(sensitivities) if positive is None else float(sensitivities[positive]),
        "specificity": _mean_defined(specificities) if positive is None else float(specificities[positive]),
        "macro_f1": float(metrics.f1_score(y, predicted, average="macro", zero_division=0)),
        "mcc": float(metrics.matthews_corrcoef(y, predicted)) if len(np.unique(y)) > 1 else float("nan"),
        "roc_auc": _roc_auc(y, proba),
    }


def _roc_auc(y: NDArray[np.intp], proba: NDArray[np.float64]) -> float:
    from sklearn.metrics import roc_auc_score

    n_classes = proba.shape[1]
    present = np.unique(y)
    if len(present) < 2:
        return float("nan")
    if n_classes == 2:
        return float(roc_auc_score(y == 1, proba[:, 1]))
    return float(np.mean([roc_auc_score(y == number, proba[:, number]) for number in present]))


def _ratio(part: NDArray[np.intp], whole: NDArray[np.intp]) -> NDArray[np.float64]:
    ratio: NDArray[np.float64] = np.full(len(part), np.nan)
    np.divide(part, whole, out=ratio, where=whole > 0)
    return ratio


def _mean_defined(values: NDArray[np.float64]) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")
