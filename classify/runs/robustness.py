"""Robustness: which test images are edited, and what edits do to the answers of a run.

`robustness.csv` in a run's folder has a line for each edit, the unedited images first:

    edit, strength     the edit, and how strong it is; `none` are the unedited images, read again
    n_images           number of images
    accuracy           share of right answers
    accuracy_change    from the unedited images to these, as a share; that of `none` is the change
                       from the stored predictions, 0 if they are reproduced
    lower, upper       ends of its paired 95 % interval
    changed_answers    share of images with another answer than before the edit
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...data.edits import Edit
from ...data.output.csv import csv_line
from ...data.output.files import write_whole
from ...errors import FreezeframeError
from ..scores.evaluation import Evaluation
from ..scores.paired.paired_tests import Difference, compare
from ..scores.predictions import Predictions

ROBUSTNESS_NAME = "robustness.csv"
ROBUSTNESS_COLUMNS = (
    *("edit", "strength", "n_images"),
    *("accuracy", "accuracy_change", "lower", "upper", "changed_answers"),
)
UNEDITED = Edit("none", "", lambda pixels: pixels)


@dataclass(frozen=True)
class EditScore:
    """Effect of an edit on the answers about some images.

    Attributes:
        edit: the edit.
        change: of the accuracy, after the edit minus before.
        changed: share of the images with another answer.
        n_images: their number.
        largest: largest change of a probability.
    """

    edit: Edit
    change: Difference
    changed: float
    n_images: int
    largest: float


def check_held_out(evaluation: Evaluation) -> None:
    """Raise FreezeframeError if the model of a run was fitted on its test images."""
    if "-fold" in evaluation.split:
        raise FreezeframeError(
            f"{evaluation.test_set}, {evaluation.split}: the folds' heads are not kept, and the "
            "model of the run was fitted on all of these images: edits would seem harmless; fit "
            "with a hold-out, fit-classifier --hold-out, or test on another set with --test"
        )


def choose_images(
    evaluation: Evaluation, readable: NDArray[np.bool_], n: int, seed: int
) -> NDArray[np.intp]:
    """Choose test images without a known relative in training, each class by its share.

    Each group gives one image before any gives a second one.

    Args:
        evaluation: of the test set.
        readable: True for images that can be read, of shape (n_rows,).
        n: most images.
        seed: of the choice.

    Returns:
        Sorted numbers of rows; none if no image is left.
    """
    rng = np.random.default_rng(seed)
    y, groups = evaluation.predictions.y, evaluation.predictions.groups
    usable = rng.permutation(np.flatnonzero(readable & evaluation.clean))
    seen: dict[int, int] = {}
    turn = np.empty(len(usable), dtype=np.intp)
    for place, group in enumerate(groups[usable].tolist()):
        turn[place] = seen[group] = seen.get(group, -1) + 1
    chosen: list[int] = []
    for label, quota in _quotas(y[usable], n).items():
        members = y[usable] == label
        # The sort is stable: among images of one turn, chance decides.
        order = np.argsort(turn[members], kind="stable")[:quota]
        chosen += usable[members][order].tolist()
    return np.sort(np.array(chosen, dtype=np.intp))


def _quotas(labels: NDArray[np.intp], n: int) -> dict[int, int]:
    """Return the number of images of each class: its share of n, together n, or all if fewer.

    Each class has at least 1 if n is at least the number of classes.
    """
    names, counts = np.unique(labels, return_counts=True)
    n = min(n, len(labels))
    shares = counts * n / max(1, len(labels))
    quotas = np.maximum(1, np.floor(shares)).astype(int)
    # The largest remainders get what is left.
    for place in np.argsort(quotas - shares, kind="stable"):
        quotas[place] += bool(quotas.sum() < n)
    # What small classes have beyond their share, the largest quotas give.
    for _ in range(quotas.sum() - n):
        quotas[np.lexsort((counts, -quotas))[0]] -= 1
    return dict(zip(names.tolist(), quotas.tolist(), strict=True))


def edit_scores(
    stored: Predictions,
    edits: Sequence[Edit],
    proba: NDArray[np.float64],
    predicted: NDArray[np.intp],
) -> list[EditScore]:
    """Score images after each edit against the unedited ones, and these against what is stored.

    Args:
        stored: predictions of the images in the run.
        edits: the edits.
        proba: from `predict_edited`, of shape (1 + n_edits, n, n_classes).
        predicted: of shape (1 + n_edits, n).
    """
    versions = [
        replace(stored, proba=shares[np.newaxis], predicted=labels[np.newaxis])
        for shares, labels in zip(proba, predicted, strict=True)
    ]
    unedited = versions[0]
    scores = [_score(UNEDITED, unedited, stored)]
    pairs = zip(edits, versions[1:], strict=True)
    return scores + [_score(edit, version, unedited) for edit, version in pairs]


def _score(edit: Edit, after: Predictions, before: Predictions) -> EditScore:
    change = compare(after, before, "accuracy")
    changed = float((after.predicted[0] != before.predicted[0]).mean())
    largest = float(np.abs(after.proba - before.proba).max())
    return EditScore(edit, change, changed, len(after.y), largest)


def write_robustness(folder: Path, scores: Sequence[EditScore]) -> Path:
    """Write the file into a run's folder, in place of an earlier one; return its path.

    Raises:
        OSError: it cannot be written.
    """
    lines = [csv_line(ROBUSTNESS_COLUMNS)]
    for score in scores:
        change = score.change
        numbers = (change.first, change.difference, change.low, change.high, score.changed)
        cells = [score.edit.name, score.edit.strength, str(score.n_images)]
        lines.append(csv_line([*cells, *(f"{value:.6f}" for value in numbers)]))
    path = folder / ROBUSTNESS_NAME
    write_whole(path, "".join(lines))
    return path
