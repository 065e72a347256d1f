"""Probabilities of patients, collected while heads predict the images of a part."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..runs.patient_result import CombinedProbabilities
from ..scores.patients import Combination, combine
from ..scores.predictions import Floats
from ..task.part import Part
from ..task.task import Task
from ..task.units import units_of


class PatientProbabilities:
    """Probabilities of the patients of a part, fold by fold and repeat by repeat.

    Args:
        part: the rows that are predicted.
        task: the task of the heads.
        n_repeats: number of times that each row is predicted.
    """

    def __init__(self, part: Part, task: Task, n_repeats: int) -> None:
        self._units = units_of(part)
        self._positive = task.positive_number
        n_patients = 0 if self._units is None else int(self._units.numbers.max()) + 1
        self._proba = np.zeros((n_repeats, n_patients, len(task.classes)))
        self._predicted = np.zeros((n_repeats, n_patients), dtype=np.intp)

    def add(
        self, repeat: int, rows: NDArray[np.intp], proba: Floats, combination: Combination
    ) -> None:
        """Combine the probabilities of rows that one head predicted.

        Args:
            repeat: number of the repeat.
            rows: numbers of the rows; all images of a patient, or none.
            proba: probabilities of these rows, of shape (n, n_classes).
            combination: how they are combined.
        """
        if self._units is None:
            return
        patients = self._units.numbers[rows]
        named = patients >= 0
        if not named.any():
            return
        present, numbers = np.unique(patients[named], return_inverse=True)
        combined = combine(proba[named], numbers.reshape(-1), combination.name, self._positive)
        self._proba[repeat, present] = combined
        self._predicted[repeat, present] = combination.decide(combined, self._positive)

    def combined(self, combination: Combination) -> CombinedProbabilities | None:
        """Return all probabilities; None if no row has a patient.

        Args:
            combination: that of the head that is kept.
        """
        if self._units is None:
            return None
        return CombinedProbabilities(self._units, self._proba, self._predicted, combination)
