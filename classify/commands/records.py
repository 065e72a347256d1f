"""What `leaderboard` and `compare` share: metric names, and rows as CSV and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import click

from ...errors import ParameterError

FORMATS = click.Choice(["table", "csv", "markdown", "json"])


RUNS_HELP = "Where the runs are kept; by default runs/ beside the leaderboard."


def checked_metric(name: str, option: str, more: Sequence[str] = ()) -> str:
    from ..scores.metrics import METRIC_NAMES

    name = {"auc": "roc_auc", "clean_auc": "clean_roc_auc"}.get(name.lower(), name.lower())
    if name not in (*METRIC_NAMES, *more):
        raise ParameterError(
            f"{option} must be one of {', '.join((*METRIC_NAMES, *more))}, got {name!r}"
        )
    return name


def finite_or_none(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def write_csv(columns: Sequence[str], records: Sequence[Mapping[str, Any]]) -> None:
    from ...data.output.csv import csv_line

    lines = [csv_line(_cell(name, record[name]) for name in columns) for record in records]
    click.echo("".join([csv_line(columns), *lines]), nl=False)


def _cell(name: str, value: Any) -> str:
    """As in the leaderboard, where text is so written that no spreadsheet computes it."""
    from ...data.output.csv import defuse
    from ..runs.schema import NUMBERS

    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value if name in NUMBERS else defuse(value)
    return "" if value is None else repr(value)


def write_json(records: Sequence[Mapping[str, Any]]) -> None:
    click.echo(
        json.dumps(
            [{name: _value(name, value) for name, value in record.items()} for record in records],
            indent=2,
        )
    )


def _value(name: str, value: Any) -> Any:
    """Numbers of the leaderboard as numbers, its JSON as what it says."""
    from ..runs.schema import INTEGERS, NUMBERS

    if not isinstance(value, str):
        return value
    if name in NUMBERS or name == "schema":
        return (
            None
            if not value
            else int(value)
            if name in (*INTEGERS, "schema")
            else finite_or_none(float(value))
        )
    if name in ("hyperparameters", "classes"):
        with suppress(ValueError, RecursionError):  # what is no JSON stays text
            return json.loads(value)
    return value
