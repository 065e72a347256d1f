"""Grades of scores: leaking, or what is kept on one side of a split, patients or pictures alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .part import Part
from .relatives import UNKNOWN, unknown

PATIENTS_PARTED = "patients parted"
PICTURES_PARTED = "pictures parted"
LEAKING = "leaking"
UNKNOWN_GRADE = ""


def grade(test: Part, train: Part, levels: NDArray[np.str_]) -> str:
    """Return the grade of scores: how far the test rows are parted from the training rows.

    A relative is a copy, a near-duplicate, or an image of the same patient or group.

    - `LEAKING`: a test row has a relative among the training rows.
    - "" (unknown): no relative is found, but some rows could not be checked.
    - `PATIENTS_PARTED`: no test row has a relative, and the patient of every row is known.
    - `PICTURES_PARTED`: no test row has a relative, but the patient of some row is unknown.

    A list's own column `group` names no patients: one patient may have two groups.

    Args:
        test: the test rows.
        train: the training rows, the same ones in cross-validation.
        levels: relation of each test row to the training rows, see `relatives`.
    """
    checked = levels != UNKNOWN
    if (checked & (levels != "")).any():
        return LEAKING
    if not checked.all():
        return UNKNOWN_GRADE
    return parted(test, train)


def fold_grade(train: Part) -> str:
    """Return the grade of scores by cross-validation, whose folds cut no known relatives."""
    return grade(train, train, unknown(train, train))


def parted(test: Part, train: Part) -> str:
    """Return the grade of test rows without a relative in training."""
    complete = not n_without_patient(test) + n_without_patient(train)
    return PATIENTS_PARTED if complete else PICTURES_PARTED


def n_without_patient(part: Part) -> int:
    """Return the number of rows whose patient is not known."""
    return sum(not name for name in part.names.patient_names())
