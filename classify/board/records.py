"""Ranked rows and compared runs as records, and records as CSV and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from ...data.output.csv import csv_line
from ...data.output.json import json_text
from ..runs.schema import COLUMNS, INTEGERS, NUMBERS
from .comparison import RunPair
from .ranking import RankedRow
from .sentences import conclusion

RANKED_COLUMNS = (*COLUMNS, "rank", "p_vs_best", "indistinguishable")
"""Columns of a ranked row: those of the leaderboard, and its place among its test set."""

# Without a test, nobody knows: that is null in JSON, and not "no".
_INDISTINGUISHABLE = {"best": True, "equal": True, "worse": False, "untested": None}


def ranked_record(place: RankedRow) -> dict[str, Any]:
    """Return a ranked row by `RANKED_COLUMNS`."""
    return {
        **place.row,
        "rank": place.rank,
        "p_vs_best": _finite_or_none(place.p),
        "indistinguishable": _INDISTINGUISHABLE[place.standing],
    }


def pair_record(pair: RunPair) -> dict[str, Any]:
    """Return a compared pair by the names of its columns."""
    # Columns of earlier versions keep their names and their order: scripts read them.
    difference = pair.difference
    numbers = {
        name: _finite_or_none(getattr(difference, name))
        for name in ("first", "second", "difference", "low", "high", "p")
    }
    return {
        "test_id": pair.tested.test_id,
        "test_set": pair.tested.test_set,
        "split": pair.tested.split,
        "n_test": pair.n,
        "metric": difference.metric,
        "first_run": pair.run_ids[0],
        "second_run": pair.run_ids[1],
        "first_leaking": pair.leaking[0],
        "second_leaking": pair.leaking[1],
        "first_unknown": pair.unknown[0],
        "second_unknown": pair.unknown[1],
        **numbers,
        "p_holm": _finite_or_none(pair.p_holm),
        "test": difference.test,
        "conclusion": conclusion(pair),
        "positive": pair.tested.positive,
        "first_grade": pair.grades[0],
        "second_grade": pair.grades[1],
        "outcome": pair.outcome,
        **_equivalence_record(pair),
    }


def _equivalence_record(pair: RunPair) -> dict[str, Any]:
    """Return the columns of the tests against a margin; None where they are not defined."""
    tested = pair.difference.equivalence
    return {
        "margin": tested.margin if tested else None,
        "low_90": _finite_or_none(tested.low) if tested else None,
        "high_90": _finite_or_none(tested.high) if tested else None,
        "p_equivalent": _finite_or_none(tested.p) if tested else None,
        "p_equivalent_holm": _finite_or_none(pair.p_equivalent),
        "equivalent": pair.equivalent,
    }


def as_csv(columns: Sequence[str], records: Sequence[Mapping[str, Any]]) -> str:
    """Write records as CSV with a header."""
    lines = [csv_line(_cell(record[name]) for name in columns) for record in records]
    return "".join([csv_line(columns), *lines])


def _cell(value: Any) -> str:
    """Write a cell as in the leaderboard."""
    # Scripts expect "yes" and "no"; `repr` would write "True" and "False".
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    return "" if value is None else repr(value)


def as_json(records: Sequence[Mapping[str, Any]]) -> str:
    """Write records as a list of JSON objects."""
    objects = [
        {name: _json_value(name, value) for name, value in record.items()} for record in records
    ]
    return json_text(objects)


def _json_value(name: str, value: Any) -> Any:
    """Convert a cell of the leaderboard: numbers to numbers, its JSON to objects."""
    if not isinstance(value, str):
        return value
    # Cells of a leaderboard are text; an empty one is an undefined or missing number.
    if name in (*INTEGERS, "schema"):
        return int(value) if value else None
    if name in NUMBERS:
        return _finite_or_none(float(value)) if value else None
    if name in ("hyperparameters", "classes", "choices", "clean_missing", "clean_recalls"):
        # A leaderboard may hold anything here: text that is not JSON stays text.
        with suppress(ValueError, RecursionError):
            return json.loads(value)
    return value


def _finite_or_none(value: float) -> float | None:
    # JSON has neither NaN nor infinity.
    return float(value) if math.isfinite(value) else None
