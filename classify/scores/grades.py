"""Grades of leaderboard rows, and what the grade of parted pictures may hide."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

from ...data.output.terminal import number
from ..task.grade import LEAKING, PATIENTS_PARTED, PICTURES_PARTED, UNKNOWN_GRADE
from .clean import leak_count, leak_count_text

# `scripts/article/patients_parted` prints both figures.
PICTURES_RISK = (
    "no copy or near-duplicate is in both training and test, but a patient may be; in another set, "
    "of 11 known patients (progression), such a split gave 94.5 % where new patients get 72.1 %"
)
"""Explanation of `PICTURES_PARTED`: what the grade may hide, and by how much it did once."""


def risk_lines(grades: Collection[str]) -> list[str]:
    """Return the line that explains parted pictures, if a grade is that one."""
    return [f"{PICTURES_PARTED}: {PICTURES_RISK}"] if PICTURES_PARTED in grades else []


def patients_lines(grades: Collection[str]) -> list[str]:
    """Return the line that explains parted patients, if a grade is that one."""
    meaning = "no test image has a relative in training, and the patient of every image is known"
    return [f"{PATIENTS_PARTED}: {meaning}"] if PATIENTS_PARTED in grades else []


def row_grade(row: Mapping[str, Any]) -> str:
    """Return the grade of a leaderboard row, or of the scores in a model file.

    Rows of older versions do not know patients: at best, their pictures are parted.
    """
    count, more = leak_count(row)
    if count:
        return LEAKING
    return UNKNOWN_GRADE if more else str(row.get("grade") or PICTURES_PARTED)


def has_clean(row: Mapping[str, Any]) -> bool:
    """Return True if a row has clean scores that are not those of all test images."""
    # Without leaks, clean scores are those of all images.
    return any(leak_count(row)) and not math.isnan(number(row.get("clean_accuracy", "")))


def shown_grades(row: Mapping[str, Any]) -> set[str]:
    """Return the grades of the scores of a row: on all test images, and on the clean ones."""
    grades = {row_grade(row)}
    if has_clean(row):
        grades.add(clean_grade(row))
    return grades


def clean_grade(row: Mapping[str, Any]) -> str:
    """Return the grade of the clean scores of a row; older versions do not know patients."""
    return str(row.get("clean_grade") or PICTURES_PARTED)


def grade_text(row: Mapping[str, Any]) -> str:
    """Write the grade of a row, with the number of leaking images; "?" where it is unknown.

    Examples:
        >>> row = {"n_test": 253, "n_test_leaking": 252, "n_test_clean": 1}
        >>> grade_text(row), grade_text(row | {"n_test_leaking": 0, "n_test_clean": 253})
        ('leaking: 252 of 253', 'pictures parted')
    """
    count, more = leak_count(row)
    if count:
        return f"{LEAKING}: {leak_count_text(count, more)} of {row['n_test']}"
    return row_grade(row) or "?"


def grade_rank(row: Mapping[str, Any]) -> int:
    """Return the place of a row's grade: 0 for parted patients, then pictures, unknown, leaking."""
    places = {PATIENTS_PARTED: 0, PICTURES_PARTED: 1, LEAKING: 3}
    # The cell comes from a file: it may hold anything.
    return places.get(row_grade(row), 2)
