"""Print the curve of a stress test, and what it suggests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ...data.output.terminal import console, counted, percent, printable
from ..board.columns import Column, as_table, fit_columns

if TYPE_CHECKING:
    from ..fit.stress import StressCurve, StressLevel

NOT_PATIENTS = (
    "clusters of look-alikes are not patients: a patient may be in several clusters, and a cluster "
    "may hold several patients"
)


def print_stress(curve: StressCurve) -> None:
    """Print the levels as a table on standard output, and below it what they suggest."""
    screen = console()
    levels = curve.levels
    area = Column("AUC", [percent(level.numbers("roc_auc")[0]) for level in levels])
    areas = [_cell(level, "roc_auc") for level in levels]
    columns = [
        Column("in one fold", [_name(curve, number) for number in range(len(levels))], name=True),
        Column("groups", [str(level.n_groups) for level in levels]),
        Column("largest", [str(level.largest) for level in levels]),
        Column("accuracy (95 %)", [_cell(level, "accuracy") for level in levels]),
        Column("AUC (95 %)", areas, keep=1, instead=area),
        Column("grade", [curve.grade or "?"] * len(levels)),
    ]
    labels = " on shuffled labels" if curve.control else ""
    title = f"stress test of {curve.head}{labels}, {curve.n_folds} folds at each level"
    click.echo(printable(title))
    screen.print(as_table(fit_columns(columns, screen.width)))
    click.echo(printable(suggestion(curve)))
    click.echo(NOT_PATIENTS)


def _name(curve: StressCurve, level: int) -> str:
    """Name what a level keeps together, with a mark if it is compared with the first."""
    mark = " *" if level and level == curve.judged else ""
    return ("look-alikes" if level else "known relatives") + mark


def _cell(level: StressLevel, metric: str) -> str:
    """Write a score in per cent with its interval: 96.8 (95.5-97.8)."""
    value, low, high = map(percent, level.numbers(metric))
    return f"{value} ({low}-{high})"


def suggestion(curve: StressCurve) -> str:
    """Say what it costs to keep look-alikes in one fold, and what that suggests."""
    if not curve.judged:
        groups = counted(curve.levels[0].n_groups, "group")
        return (
            f"the {groups} of known relatives are too few for a stress test: it takes clusters of "
            f"them, four in each of {curve.n_folds} folds"
        )
    cost = curve.cost("accuracy")
    points, low, high = (100 * value for value in (cost.difference, cost.low, cost.high))
    amount = (
        f"* look-alikes in one fold cost {points:.1f} points of accuracy ({low:.1f} to "
        f"{high:.1f}), from {percent(cost.first)} to {percent(cost.second)} %"
    )
    # The comparison is False for NaN.
    if low > 0:
        return f"{amount}: the first number rests on similar images in training"
    return f"{amount}: no more than chance explains"
