"""The result of a head by patient: predictions of the patients of a test set, and their scores."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ...data.output.terminal import counted
from ..scores.clean import have
from ..scores.evaluation import Evaluation
from ..scores.metric_names import BY_PATIENT
from ..scores.metrics import METRIC_COLUMNS, columns_of
from ..scores.patients import Combination, labels_of_patients
from ..scores.predictions import Floats, Predictions, group_numbers
from ..scores.score import score
from ..task.units import Units


@dataclass(frozen=True, eq=False)
class CombinedProbabilities:
    """Probabilities of the patients of a test set.

    Attributes:
        units: patient of each image.
        proba: of shape (n_repeats, n_patients, n_classes).
        predicted: class numbers, of shape (n_repeats, n_patients).
        combination: how the head that is kept combines the probabilities of images. In
            cross-validation, the head of each fold chose its own.
    """

    units: Units
    proba: Floats
    predicted: NDArray[np.intp]
    combination: Combination


@dataclass(frozen=True, eq=False)
class PatientResult:
    """The result of a head on the patients of a test set.

    Attributes:
        unit: what a patient is here: "patient", "group", or "" if nothing is known.
        combination: how the probabilities of images were combined.
        evaluation: predictions of the patients, each a row; None without scores by patient.
        reason: why there are no scores, or why some patients have none; "" if there is nothing to
            say.
    """

    unit: str
    combination: Combination
    evaluation: Evaluation | None = None
    reason: str = ""

    @property
    def scored(self) -> bool:
        """True if there are scores by patient."""
        return self.n_scored > 0

    @property
    def n_scored(self) -> int:
        """Number of patients that are scored: those without a relative in training."""
        return 0 if self.evaluation is None else int(self.evaluation.clean.sum())

    @cached_property
    def scores(self) -> dict[str, float]:
        """Scores by column of the leaderboard; NaN where there are none."""
        values = dict.fromkeys(METRIC_COLUMNS, float("nan"))
        if self.evaluation is not None and self.scored:
            predictions = self.evaluation.predictions.take(self.evaluation.clean)
            values |= _of_present_classes(predictions, score(predictions))
        return {f"{BY_PATIENT}{column}": values[column] for column in METRIC_COLUMNS}


def _of_present_classes(predictions: Predictions, scores: dict[str, float]) -> dict[str, float]:
    """Return the scores, or only the one that is defined for patients of a single class.

    A head that calls every patient ill would have an accuracy of 100 % on ill patients.
    """
    present = np.unique(predictions.y)
    if len(present) > 1:
        return scores
    if predictions.positive is None:
        return {}
    name = "sensitivity" if present[0] == predictions.positive else "specificity"
    return {column: scores[column] for column in columns_of(name)}


NO_PATIENTS = PatientResult("", Combination("mean", "rule"))
"""The result on a test set whose patients are unknown."""


def patient_result(evaluation: Evaluation, combined: CombinedProbabilities) -> PatientResult:
    """Make the result by patient from the evaluation of the images.

    Args:
        evaluation: of the images.
        combined: probabilities of the patients.
    """
    units = combined.units
    named = np.flatnonzero(units.numbers >= 0)
    patients = group_numbers(units.numbers[named])
    y = labels_of_patients(
        evaluation.predictions.y[named], patients, evaluation.predictions.positive
    )
    result = PatientResult(units.name, combined.combination)
    if y is None:
        text = f"images of one {units.name} have several labels"
        return replace(result, reason=f"{text}: with more than two classes, it has no label")
    _, firsts = np.unique(patients, return_index=True)
    first_images = named[firsts]
    by_patient = Evaluation(
        test_id=evaluation.test_id,
        test_set=evaluation.test_set,
        split=evaluation.split,
        classes=evaluation.classes,
        paths=[f"{units.name} {number + 1}" for number in range(len(firsts))],
        sha256s=_digests(evaluation, named, patients),
        predictions=Predictions(
            y,
            combined.proba,
            combined.predicted,
            # Two patients with one picture are not independent.
            evaluation.predictions.groups[first_images],
            evaluation.predictions.positive,
        ),
        # All images of a patient are one chain, so that they have relatives or none.
        relatives=evaluation.relatives[first_images],
        unit=units.name,
    )
    result = replace(result, evaluation=by_patient)
    return replace(result, reason=_reason(result, by_patient, len(evaluation.paths) - len(named)))


def _digests(
    evaluation: Evaluation, named: NDArray[np.intp], patients: NDArray[np.intp]
) -> list[str]:
    """Return a digest of each patient's images, which identifies the patient in any store."""
    images = evaluation.images()
    members: dict[int, list[str]] = {}
    for row, patient in zip(named.tolist(), patients.tolist(), strict=True):
        members.setdefault(patient, []).append("\t".join(images[row]))
    texts = ["\n".join(sorted(members[patient])) for patient in range(len(members))]
    return [hashlib.sha256(text.encode()).hexdigest() for text in texts]


def _reason(result: PatientResult, by_patient: Evaluation, n_unnamed: int) -> str:
    """Say which patients have no score, or a score in part; "" if there is nothing to say."""
    unit = result.unit
    n = len(by_patient.paths)
    n_left = n - result.n_scored
    texts = []
    if n_left == n:
        texts.append(f"{counted(n, unit)} of {n} {have(n)} a relative in training, or may have one")
    elif n_left:
        texts.append(
            f"{n_left} of {n} {unit}s {have(n_left)} a relative in training and "
            f"{'is' if n_left == 1 else 'are'} left out"
        )
    if n_unnamed:
        verb = "is" if n_unnamed == 1 else "are"
        texts.append(f"{counted(n_unnamed, 'image')} of no known {unit} {verb} left out")
    labels = np.unique(by_patient.predictions.y[by_patient.clean])
    if len(labels) == 1 and result.scored:
        n_scores = "no score by" if by_patient.predictions.positive is None else "only one score by"
        name = by_patient.classes[labels[0]]
        subject = f"all {result.n_scored} are" if result.n_scored > 1 else f"the only {unit} is"
        texts.append(f"{subject} {name}, so that {n_scores} {unit} is defined")
    return "; ".join(texts)
