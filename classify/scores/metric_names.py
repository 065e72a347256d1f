"""Names of metrics on three kinds of units: all test images, the clean ones, and patients."""

from __future__ import annotations

from .metrics import METRIC_COLUMNS, METRIC_NAMES, METRIC_TABLE, Metric

CLEAN = "clean_"
"""Prefix of metrics on the test images that have no known relative in training."""

BY_PATIENT = "patient_"
"""Prefix of metrics whose units are patients, or declared groups."""

CLEAN_NAMES = tuple(f"{CLEAN}{name}" for name in METRIC_NAMES)
CLEAN_COLUMNS = tuple(f"{CLEAN}{column}" for column in METRIC_COLUMNS)
PATIENT_NAMES = tuple(f"{BY_PATIENT}{name}" for name in METRIC_NAMES)
PATIENT_COLUMNS = tuple(f"{BY_PATIENT}{column}" for column in METRIC_COLUMNS)
"""Columns of the leaderboard: each of `METRIC_COLUMNS` again."""


def plain_metric(metric: str) -> str:
    """Return the name of a metric without the prefix of clean ones or of those by patient.

    Examples:
        >>> plain_metric("clean_mcc"), plain_metric("patient_mcc"), plain_metric("mcc")
        ('mcc', 'mcc', 'mcc')
    """
    return metric.removeprefix(CLEAN).removeprefix(BY_PATIENT)


def is_clean(metric: str) -> bool:
    """Return True for the name of a clean metric."""
    return metric.startswith(CLEAN)


def is_by_patient(metric: str) -> bool:
    """Return True for the name of a metric by patient."""
    return metric.startswith(BY_PATIENT)


def metric_of(name: str) -> Metric:
    """Return the row of `METRIC_TABLE` for the name of a metric on any units."""
    return METRIC_TABLE[plain_metric(name)]


def heading(metric: str, unit: str = "patient") -> str:
    """Return a metric's name at the head of a column and in a sentence, with its units.

    Args:
        metric: its name.
        unit: what metrics by patient count: "patient", or "group".

    Examples:
        >>> heading("accuracy"), heading("clean_accuracy"), heading("patient_accuracy")
        ('accuracy', 'clean accuracy', 'accuracy by patient')
    """
    by_patient = f" by {unit}" * is_by_patient(metric)
    return "clean " * is_clean(metric) + metric_of(metric).heading + by_patient
