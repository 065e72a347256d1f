"""Clean scores: those of the test images that are known to have no relative among the training images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..task.relatives import LEVELS
from .evaluation import Evaluation
from .metrics import METRICS, NAMES
from .predictions import Predictions
from .score import score

PREFIX = "clean_"
CLEAN_NAMES = tuple(f"{PREFIX}{name}" for name in NAMES)
CLEAN_METRICS = tuple(f"{PREFIX}{column}" for column in METRICS)
"""Columns of the leaderboard: each of `METRICS` again."""

LEAST_GROUPS = 10
"""Fewer independent groups are not scored: even if all are right, the interval of their accuracy begins below 72 %."""
LEAST_GROUPS_OF_A_CLASS = 2
"""Nor is a rest that keeps fewer groups of a class, unless the whole test set had no more: one group is no sample."""


def clean_scores(
    predictions: Predictions, clean: NDArray[np.bool_], scores: dict[str, float]
) -> dict[str, float]:
    """All of `CLEAN_METRICS`; NaN where too few rows are clean.

    Args:
        predictions: of all test rows.
        clean: which rows are known to have no relative in training, of shape (n_rows,); where all
            have none, nothing is computed.
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
        before, after = (
            len(np.unique(predictions.groups[rows])) for rows in (of_class, of_class & clean)
        )
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
    """How many test images are known to have relatives in training, and of which kinds; empty if none has.

    "252 of 253 test images of navoneel have a relative among the training images (248 the same
    bytes, 1 the same pixels, 3 nearly the same picture): a score on all of them says nothing about
    unseen images"

    Args:
        where: what the test set is called.
        by: what the training images are called.
    """
    n, n_leaking = len(evaluation.clean), int(evaluation.leaking.sum())
    if not n_leaking:
        return ""
    least = "at least " * bool(evaluation.unknown.any())
    return (
        f"{least}{n_leaking} of {n} test images of {where} {have(n_leaking)} a relative among {by} "
        f"({kinds(evaluation.relatives)}): a score on all of them says nothing about unseen images"
    )


def kinds(relatives: NDArray[np.str_]) -> str:
    """How many relations of each kind there are: "248 the same bytes, 3 nearly the same picture"."""
    counts = {words: int((relatives == level).sum()) for level, words in LEVELS.items()}
    return ", ".join(f"{count} {words}" for words, count in counts.items() if count)


def leak_doubts(evaluation: Evaluation, because: str) -> list[str]:
    """That test images have relatives in training, and whether the others are enough to be scored.

    Args:
        because: why that is not known of some images, and what is to be done; needed only if there
            are such.
    """
    where, clean = evaluation.test_set, evaluation.clean
    told, n, n_clean = leaking(evaluation, where), len(clean), int(clean.sum())
    if clean.all():
        return []
    some = f"{n_clean} of {n} test images of {where}"
    if not enough(evaluation.predictions, clean):
        few = f"{some} {have(n_clean)} no relative in training: too few to score"
        unknown = f"the clean scores of {where} are not known because {because}"
        return [text for text in (told, unknown if evaluation.unknown.any() else few) if text]
    if evaluation.unknown.any():
        return [
            text
            for text in (told, f"the clean scores are those of {some} alone because {because}")
            if text
        ]
    return [f"{told}; the clean scores are those of the {n_clean} others"]


def leaked(row: Mapping[str, Any]) -> tuple[int, bool]:
    """Test images of a leaderboard row that are known to leak, and whether there may be more.

    Rows of older versions know of byte-identical ones alone.
    """
    known, clean = row["n_test_leaking"], row["n_test_clean"]
    if known == "":
        return int(row["n_test_in_train"] or 0), True
    return int(known), clean != "" and int(known) + int(clean) < int(row["n_test"] or 0)


def leaked_text(count: int, more: bool) -> str:
    """The number; "7+" where there may be more, and "?" where nothing is known.

    Examples:
        >>> leaked_text(7, False), leaked_text(7, True), leaked_text(0, True)
        ('7', '7+', '?')
    """
    return ("?" if not count else f"{count}+") if more else str(count)


def have(n: int) -> str:
    """The verb that n images take."""
    return "has" if n == 1 else "have"
