"""The result of a head on one part of a task: its predictions and all scores of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..scores.clean import clean_recalls, clean_scores, has_missing_class, missing_classes
from ..scores.evaluation import Evaluation
from ..scores.predictions import Predictions
from ..scores.score import score
from ..task.part import Part
from ..task.task import Task
from .patient_result import NO_PATIENTS, CombinedProbabilities, PatientResult, patient_result


@dataclass(frozen=True)
class PartResult:
    """The result of a head on one part of a task.

    Attributes:
        part: the rows that were predicted.
        evaluation: the predictions, with names of classes and images.
        by_patient: the result on the patients of the rows.
        in_sets: 1 for each class in the prediction set of each row, else 0, of shape (n_repeats,
            n_rows, n_classes), by the head that predicted the row; NaN for rows whose head has no
            rule. None if there are no sets.
    """

    part: Part
    evaluation: Evaluation
    by_patient: PatientResult
    in_sets: NDArray[np.float64] | None = None

    @cached_property
    def scores(self) -> dict[str, float]:
        """Scores of all rows, of the clean ones and by patient, by column of the leaderboard."""
        predictions = self.evaluation.predictions
        # Without leaks, the clean scores are those of all rows: a second bootstrap is saved.
        of_all = score(predictions)
        clean = clean_scores(predictions, self.evaluation.clean, of_all)
        return of_all | clean | self.by_patient.scores

    @property
    def clean_missing(self) -> list[str]:
        """Names of the classes of which too few images are clean, if the others are scored."""
        predictions, clean = self.evaluation.predictions, self.evaluation.clean
        if not has_missing_class(predictions, clean):
            return []
        return [self.evaluation.classes[label] for label in missing_classes(predictions, clean)]

    @property
    def clean_recalls(self) -> dict[str, list[float]]:
        """Share of right clean images of each other class, with its interval and their number."""
        if not self.clean_missing:
            return {}
        recalls = clean_recalls(self.evaluation.predictions, self.evaluation.clean)
        return {
            self.evaluation.classes[label]: [round(value, 6) for value in values]
            for label, values in recalls.items()
        }


def part_result(
    task: Task,
    part: Part,
    split: str,
    proba: NDArray[np.float64],
    predicted: NDArray[np.intp],
    relatives: NDArray[np.str_],
    combined: CombinedProbabilities | None,
) -> PartResult:
    """Join predictions with the names of their images and classes.

    Args:
        task: the task that the head was fitted to.
        part: the rows that were predicted.
        split: name of the split, as in the leaderboard.
        proba: probabilities of shape (n_repeats, n_rows, n_classes).
        predicted: class numbers of shape (n_repeats, n_rows).
        relatives: relation of each row to the training images, of shape (n_rows,); see
            `Evaluation.relatives`.
        combined: probabilities of the patients; None if no row has one.
    """
    classes = task.classes
    # Classes are sorted, so that the place of a name is its number.
    y = np.searchsorted(classes, part.labels)
    evaluation = Evaluation(
        test_id=test_id(part, split),
        test_set=part.store.data_set,
        split=split,
        classes=tuple(classes),
        paths=part.store.paths[part.rows].tolist(),
        sha256s=part.sha256s.tolist(),
        predictions=Predictions(y, proba, predicted, part.groups, task.positive_number),
        relatives=relatives,
        patients=[] if combined is None else combined.units.texts,
    )
    by_patient = NO_PATIENTS if combined is None else patient_result(evaluation, combined)
    return PartResult(part, evaluation, by_patient)


def test_id(part: Part, split: str) -> str:
    """Return 12 hexadecimal digits that identify the images, labels and split of a test set.

    Images are identified by their bytes. So a store of another layer, or of a folder that was
    moved, has the same id.
    """
    store = part.store
    # Sorted: the order of the rows does not matter.
    images = sorted(
        f"{store.sha256s[row] or store.paths[row]}\t{label}"
        for row, label in zip(part.rows, part.labels, strict=True)
    )
    return hashlib.sha256("\n".join([split, *images]).encode()).hexdigest()[:12]
