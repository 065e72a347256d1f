"""The column `choices` of leaderboard rows: what options and defaults decided about a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any


def is_alphabetical(row: Mapping[str, Any]) -> bool:
    """Return True if the alphabet chose the positive class; older rows do not know it."""
    return bool(_choice(row, "positive") == "alphabet")


def ignores_patients(row: Mapping[str, Any]) -> bool:
    """Return True if the PatientIDs of the files were ignored; older rows do not know it."""
    return bool(_choice(row, "patients") == "ignored")


def is_control(row: Mapping[str, Any]) -> bool:
    """Return True if the labels of a run were shuffled, as a control."""
    return bool(_choice(row, "control"))


def combination_of(row: Mapping[str, Any]) -> str:
    """Return how the probabilities of a patient's images were combined; "" if they were not."""
    choice = _choice(row, "by_patient")
    return str(choice.get("combination", "")) if isinstance(choice, dict) else ""


def _choice(row: Mapping[str, Any], name: str) -> Any:
    """Return an entry of the column `choices`; None without one."""
    # The cell comes from a file: it may hold anything.
    with suppress(ValueError, AttributeError, RecursionError):
        return json.loads(row.get("choices") or "{}").get(name)
    return None
