"""Clean scores: scores on the test images that have no relative among the training images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.output.terminal import percent
from ..task.relatives import LEVELS
from .evaluation import Evaluation
from .intervals import proportion_interval
from .metric_names import CLEAN
from .metrics import METRIC_COLUMNS, columns_of
from .predictions import Predictions
from .score import score
from .weighted_metrics import point_values

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
    """Compute all of `metric_names.CLEAN_COLUMNS`; NaN where too few rows are clean.

    If too few are left of some class only, the accuracy is that of the other classes' clean rows;
    of two classes, the sensitivity or specificity is there, too. Other metrics need every class.

    Args:
        predictions: of all test rows.
        clean: True where a row has no relative in training, of shape (n_rows,). If it is True
            everywhere, nothing is computed again.
        scores: of all test rows, by `METRIC_COLUMNS`.
    """
    values = dict.fromkeys(METRIC_COLUMNS, float("nan"))
    if not enough(predictions, clean):
        if has_missing_class(predictions, clean):
            values |= _scores_of_some_classes(predictions, clean)
    # The bootstrap takes seconds, and here it would give the same numbers.
    elif clean.all():
        values = scores
    else:
        values = score(predictions.take(clean))
    return {f"{CLEAN}{column}": values[column] for column in METRIC_COLUMNS}


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
    return not missing_classes(predictions, clean)


def missing_classes(predictions: Predictions, clean: NDArray[np.bool_]) -> list[int]:
    """Return the numbers of the classes of which too few clean rows are left."""
    missing = []
    for label in np.unique(predictions.y).tolist():
        rows = predictions.y == label
        n_before = len(np.unique(predictions.groups[rows]))
        n_after = len(np.unique(predictions.groups[rows & clean]))
        # A class that was rare before may stay as rare.
        if n_after < min(n_before, LEAST_GROUPS_OF_A_CLASS):
            missing.append(label)
    return missing


def has_missing_class(predictions: Predictions, clean: NDArray[np.bool_]) -> bool:
    """Return True if there are enough clean rows of some classes, but too few of another.

    Examples:
        >>> predictions = Predictions.of(np.arange(30) % 2, np.full((30, 2), 0.5))
        >>> has_missing_class(predictions, predictions.y == 0)
        True
    """
    missing = missing_classes(predictions, clean)
    # What is left of a missing class is not scored, so that it does not count.
    scored = clean & ~np.isin(predictions.y, missing)
    return bool(missing) and len(np.unique(predictions.groups[scored])) >= LEAST_GROUPS


def _scores_of_some_classes(predictions: Predictions, clean: NDArray[np.bool_]) -> dict[str, float]:
    """Return the scores of the clean rows of all but the missing classes, by column."""
    names = ["accuracy"]
    missing = missing_classes(predictions, clean)
    rows = predictions.take(clean & ~np.isin(predictions.y, missing))
    if predictions.positive is not None:
        names += [] if predictions.positive in missing else ["sensitivity"]
        names += [] if 1 - predictions.positive in missing else ["specificity"]
    values: dict[str, float] = {}
    for name in names:
        value = point_values(rows, [name])[name]
        values |= zip(columns_of(name), (value, *proportion_interval(rows, name)), strict=True)
    return values


def clean_recalls(
    predictions: Predictions, clean: NDArray[np.bool_]
) -> dict[int, tuple[float, float, float, int]]:
    """Return the share of right rows of each class that has enough clean ones.

    Returns:
        By class number: the share, the ends of its 95 % interval, and the number of clean rows.
    """
    missing = missing_classes(predictions, clean)
    recalls = {}
    for label in np.unique(predictions.y[clean]).tolist():
        if label not in missing:
            rows = predictions.take(clean & (predictions.y == label))
            # Among the rows of one class, the accuracy is the share of right ones.
            share = point_values(rows, ["accuracy"])["accuracy"]
            recalls[label] = (share, *proportion_interval(rows, "accuracy"), len(rows.y))
    return recalls


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
    elif has_missing_class(evaluation.predictions, evaluation.clean):
        text = f"{clean_images} {have(n_clean)} no known relative in training, "
        text += _missing_text(evaluation)
        if evaluation.unknown.any():
            text += f"; relatives of others are unknown because {reason}"
    elif evaluation.unknown.any():
        text = f"the clean scores of {where} are unknown because {reason}"
    else:
        text = f"{clean_images} {have(n_clean)} no relative in training: too few to score"
    return [line for line in (leaks, text) if line]


def _missing_text(evaluation: Evaluation) -> str:
    """Name the classes of which too few images are clean, and the recall of the others."""
    predictions = evaluation.predictions
    names = [
        evaluation.classes[number] for number in missing_classes(predictions, evaluation.clean)
    ]
    recalls = [
        f"{evaluation.classes[number]} {percent(share)} ({percent(low)}-{percent(high)}) of {n}"
        for number, (share, low, high, n) in clean_recalls(predictions, evaluation.clean).items()
    ]
    return (
        f"but none or too few of class {', '.join(names)}: the clean accuracy is that of the other "
        f"classes alone (right of each class: {', '.join(recalls)})"
    )


def leak_count(row: Mapping[str, Any]) -> tuple[int, bool]:
    """Return a leaderboard row's number of leaking test images, and True if there may be more.

    Rows of older versions count byte-identical images only.
    """
    # Model files leave out what is not known.
    leaking = row.get("n_test_leaking", "")
    clean = row.get("n_test_clean", "")
    # Schemas 1 and 2 have no such column.
    if leaking == "":
        return int(row.get("n_test_in_train") or 0), True
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
