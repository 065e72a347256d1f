"""Clean scores: those of the test images that have no relative among the training images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .evaluation import Evaluation
from .metrics import METRICS, NAMES, score
from .predictions import Predictions
from .relatives import LEVELS

PREFIX = "clean_"
CLEAN_NAMES = tuple(f"{PREFIX}{name}" for name in NAMES)
CLEAN_METRICS = tuple(f"{PREFIX}{column}" for column in METRICS)
"""Columns of the leaderboard: each of `METRICS` again."""

LEAST_GROUPS = 10
"""Fewer independent groups are not scored: even if all are right, the interval of their accuracy begins below 72 %."""
LEAST_GROUPS_OF_A_CLASS = 2
"""Nor is a rest that keeps fewer groups of a class, unless the whole test set had no more: one group is no sample."""


def clean_scores(predictions: Predictions, clean: NDArray[np.bool_], scores: dict[str, float]) -> dict[str, float]:
    """All of `CLEAN_METRICS`; NaN where too few rows are clean.

    Args:
        predictions: of all test rows.
        clean: which rows have no relative in training, of shape (n_rows,); where all have none, nothing is computed.
        scores: of all test rows, by `METRICS`.
    """
    if not enough(predictions, clean):
        found = dict.fromkeys(METRICS, float("nan"))
    else:
        found = scores if clean.all() else score(predictions.take(clean))
    return {f"{PREFIX}{column}": found[column] for column in METRICS}


def enough(predictions: Predictions, clean: NDArray[np.bool_]) -> bool:
    """Whether the clean rows can be scored; if all rows are clean, they can.

    Examples:
        >>> said = Predictions.of(np.arange(30) % 2, np.full((30, 2), 0.5))
        >>> enough(said, np.arange(30) < 10), enough(said, np.arange(30) < 9), enough(said, np.arange(30) % 2 == 0)
        (True, False, False)
    """
    if clean.all():
        return True
    if len(np.unique(predictions.groups[clean])) < LEAST_GROUPS:
        return False
    for number in np.unique(predictions.y):
        of_class = predictions.y == number
        before, after = (len(np.unique(predictions.groups[rows])) for rows in (of_class, of_class & clean))
        if after < min(before, LEAST_GROUPS_OF_A_CLASS):
            return False
    return True


def plain_metric(metric: str) -> str:
    """The metric that a clean one is of; of any other, itself.

    Examples:
        >>> plain_metric("clean_mcc"), plain_metric("mcc")
        ('mcc', 'mcc')
    """
    return metric.removeprefix(PREFIX)


def leaking(evaluation: Evaluation, where: str, by: str = "the training images") -> str:
    """How many test images have relatives in training, and of which kinds; empty if none has.

    "252 of 253 test images of navoneel have a relative among the training images (248 the same bytes, 1 the same
    pixels, 3 nearly the same picture): scores on all of them are none on unseen data"

    Args:
        where: what the test set is called.
        by: what the training images are called.
    """
    counts = {words: int((evaluation.relatives == level).sum()) for level, words in LEVELS.items()}
    n, n_leaking = len(evaluation.clean), sum(counts.values())
    if not n_leaking:
        return ""
    kinds = ", ".join(f"{count} {words}" for words, count in counts.items() if count)
    return (
        f"{n_leaking} of {n} test images of {where} {have(n_leaking)} a relative among {by} ({kinds}): "
        "scores on all of them are none on unseen data"
    )


def leak_doubts(evaluation: Evaluation) -> list[str]:
    """That test images have relatives in training, and whether the others are enough to be scored."""
    where, clean = evaluation.test_set, evaluation.clean
    told = leaking(evaluation, where)
    if not told:
        return []
    if enough(evaluation.predictions, clean):
        return [f"{told}; the clean scores are those of the {clean.sum()} others"]
    some = f"{clean.sum()} of {len(clean)} test images of {where} {have(int(clean.sum()))}"
    return [told, f"{some} no relative in training: too few to score"]


def have(n: int) -> str:
    """The verb that n images take."""
    return "has" if n == 1 else "have"
