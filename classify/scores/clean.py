"""Clean scores: scores on the test images that have no relative among the training images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..task.relatives import LEVELS
from .evaluation import Evaluation
from .metrics import METRIC_COLUMNS, METRIC_NAMES, METRIC_TABLE, Metric
from .predictions import Predictions
from .score import score

PREFIX = "clean_"
CLEAN_NAMES = tuple(f"{PREFIX}{name}" for name in METRIC_NAMES)
CLEAN_COLUMNS = tuple(f"{PREFIX}{column}" for column in METRIC_COLUMNS)
"""Columns of the leaderboard: each of `METRIC_COLUMNS` again."""

LEAST_GROUPS = 10
"""Least number of independent groups that are scored.

With fewer, the interval of the accuracy begins below 72 % even if all are right.
"""
LEAST_GROUPS_OF_A_CLASS = 2
"""Least number of groups of a class that are scored, unless the whole test set has fewer.

One group is not a sample.
"""


def clean_scores(
    predictions: Predictions, clean: NDArray[np.bool_], scores: dict[str, float]
) -> dict[str, float]:
    """Compute all of `CLEAN_COLUMNS`; NaN where too few rows are clean.

    Args:
        predictions: of all test rows.
        clean: True where a row has no relative in training, of shape (n_rows,). If it is True
            everywhere, nothing is computed again.
        scores: of all test rows, by `METRIC_COLUMNS`.
    """
    if not enough(predictions, clean):
        values = dict.fromkeys(METRIC_COLUMNS, float("nan"))
    # The bootstrap takes seconds, and here it would give the same numbers.
    elif clean.all():
        values = scores
    else:
        values = score(predictions.take(clean))
    return {f"{PREFIX}{column}": values[column] for column in METRIC_COLUMNS}


def enough(predictions: Predictions, clean: NDArray[np.bool_]) -> bool:
    """Return True if the clean rows can be scored; if all rows are clean, they can.

    Examples:
        >>> predictions = Predictions.of(np.arange(30) % 2, np.full((30, 2), 0.5))
        >>> numbers = np.arange(30)
        >>> [enough(predictions, clean) for clean in (numbers < 10, numbers < 9, numbers % 2 == 0)]
        [True, False, False]
    """
    # Clean scores of a small but clean test set are its scores, which exist anyway.
    if clean.all():
        return True
    # Images of one group count once: they are not independent.
    if len(np.unique(predictions.groups[clean])) < LEAST_GROUPS:
        return False
    for number in np.unique(predictions.y):
        rows = predictions.y == number
        n_before = len(np.unique(predictions.groups[rows]))
        n_after = len(np.unique(predictions.groups[rows & clean]))
        # A class that was rare before may stay as rare.
        if n_after < min(n_before, LEAST_GROUPS_OF_A_CLASS):
            return False
    return True


def plain_metric(metric: str) -> str:
    """Return the name of a metric without the prefix of clean ones.

    Examples:
        >>> plain_metric("clean_mcc"), plain_metric("mcc")
        ('mcc', 'mcc')
    """
    return metric.removeprefix(PREFIX)


def is_clean(metric: str) -> bool:
    """Return True for the name of a clean metric."""
    return metric.startswith(PREFIX)


def metric_of(name: str) -> Metric:
    """Return the row of `METRIC_TABLE` for the name of a metric, a clean one too."""
    return METRIC_TABLE[plain_metric(name)]


def leak_text(evaluation: Evaluation, where: str, training: str = "the training images") -> str:
    """Write how many test images have relatives in training, by kind; "" if none has.

    "252 of 253 test images of navoneel have a relative among the training images (248 the same
    bytes, 1 the same pixels, 3 nearly the same picture): a score on all of them says nothing about
    unseen images"

    Args:
        evaluation: of the test set.
        where: name of the test set.
        training: name of the training images.
    """
    n = len(evaluation.clean)
    n_leaking = int(evaluation.leaking.sum())
    if not n_leaking:
        return ""
    # Images that could not be checked may have relatives, too.
    least = "at least " * bool(evaluation.unknown.any())
    return (
        f"{least}{n_leaking} of {n} test images of {where} {have(n_leaking)} a relative among "
        f"{training} ({kinds(evaluation.relatives)}): a score on all of them says nothing about "
        "unseen images"
    )


def kinds(relatives: NDArray[np.str_]) -> str:
    """Write the number of relations of each kind: "248 the same bytes, 1 the same pixels"."""
    counts = {words: int((relatives == level).sum()) for level, words in LEVELS.items()}
    return ", ".join(f"{count} {words}" for words, count in counts.items() if count)


def leak_warnings(evaluation: Evaluation, reason: str) -> list[str]:
    """Return warnings of test images with relatives in training, and of what is scored without.

    Args:
        evaluation: of the test set.
        reason: why relatives of some images could not be checked, and what to do; needed only if
            there are such images.
    """
    if evaluation.clean.all():
        return []
    where = evaluation.test_set
    n = len(evaluation.clean)
    n_clean = int(evaluation.clean.sum())
    leaks = leak_text(evaluation, where)
    clean_images = f"{n_clean} of {n} test images of {where}"
    if enough(evaluation.predictions, evaluation.clean):
        if not evaluation.unknown.any():
            return [f"{leaks}; the clean scores use the {n_clean} other images"]
        text = f"the clean scores use {clean_images} alone because {reason}"
    elif evaluation.unknown.any():
        text = f"the clean scores of {where} are unknown because {reason}"
    else:
        text = f"{clean_images} {have(n_clean)} no relative in training: too few to score"
    return [line for line in (leaks, text) if line]


def leak_count(row: Mapping[str, Any]) -> tuple[int, bool]:
    """Return a leaderboard row's number of leaking test images, and True if there may be more.

    Rows of older versions count byte-identical images only.
    """
    leaking = row["n_test_leaking"]
    clean = row["n_test_clean"]
    # Schemas 1 and 2 have no such column.
    if leaking == "":
        return int(row["n_test_in_train"] or 0), True
    return int(leaking), clean != "" and int(leaking) + int(clean) < int(row["n_test"] or 0)


def leak_count_text(count: int, more: bool) -> str:
    """Write the number of leaking images: "7+" where there may be more, "?" where it is unknown.

    Examples:
        >>> leak_count_text(7, False), leak_count_text(7, True), leak_count_text(0, True)
        ('7', '7+', '?')
    """
    if not more:
        return str(count)
    return f"{count}+" if count else "?"


def have(n: int) -> str:
    """Return the verb for n images."""
    return "has" if n == 1 else "have"
