"""Fit heads one after another and print their results, for the commands that fit."""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from ...data.output.options import is_plain_number
from ...data.output.terminal import console, counted, message_console, percent, printable
from ...errors import (
    FreezeframeError,
    LeakError,
    MissingExtraError,
    MissingFactError,
    ParameterError,
)
from ..board.columns import Column, as_table, fit_columns
from ..board.sentences import clean_lines, seed_lines
from ..board.tables import fitted_columns, patient_columns
from ..scores.grades import grade_text, risk_lines

if TYPE_CHECKING:
    from rich.status import Status as StatusLine

    from ..fit.fitting import HeadFitter
    from ..fit.stress import StressCurve, StressLevel
    from ..runs.row import LeaderboardRow
    from ..runs.run import Run

NOT_PATIENTS = (
    "clusters of look-alikes are not patients: a patient may be in several clusters, and a cluster "
    "may hold several patients"
)


_POSITIVE_HINTS = {
    "option": "",
    "name": "; set another class with --positive",
    "alphabet": ", the last by alphabet, as no name says which class is positive; "
    "set it with --positive",
}
"""Ends of the line that names the positive class, by what chose it."""


def fit_and_print(
    fitter: HeadFitter,
    names: list[str],
    everything: bool,
    *,
    allow_leaks: bool,
    stress: bool = False,
) -> None:
    """Fit heads and print their scores.

    Args:
        fitter: fits the heads to its task.
        names: names of the heads.
        everything: True if the user asked for all heads; heads without their library, or without
            the facts that they judge, are skipped then.
        allow_leaks: True to accept test sets that mostly leak.
        stress: True to run the stress test of each head, too.

    Raises:
        LeakError: more than half of a test set leaks.
    """
    runs: list[Run] = []
    curves: list[StressCurve] | None = [] if stress else None
    try:
        _fit_all(fitter, names, everything, runs, curves)
    except BaseException:
        # Finished runs are in the leaderboard, so they are printed. The exit code is that of the
        # failure, so leaks are no more than a message.
        _print_runs(runs, fitter.task.positive_by, curves)
        leaks = _leak_message(runs, allow_leaks)
        if leaks:
            click.echo(printable(f"error: {leaks}"), err=True)
        raise
    _print_runs(runs, fitter.task.positive_by, curves)
    leaks = _leak_message(runs, allow_leaks)
    if leaks:
        raise LeakError(leaks)


def log_line(text: str) -> None:
    """Print the outcome of an epoch, on a line of its own above the status line."""
    message_console().print(printable(text))


def parse_parameters(texts: tuple[str, ...]) -> dict[str, Any]:
    """Parse `["C=0.1", "knn.weights=distance"]`, the values of --param; numbers become numbers.

    Raises:
        ParameterError: a text is not NAME=VALUE.
    """
    parameters: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise ParameterError(f"--param must be NAME=VALUE or HEAD.NAME=VALUE, got {text!r}")
        parameters[name] = value
        # The last type that fits is the narrowest: 3 becomes an integer, 0.5 a float.
        for convert in (float, int) if is_plain_number(value) else ():
            with suppress(ValueError):
                parameters[name] = convert(value)
    return parameters


def _fit_all(
    fitter: HeadFitter,
    names: list[str],
    everything: bool,
    runs: list[Run],
    curves: list[StressCurve] | None,
) -> None:
    """Fit heads one after another; a failure of one does not stop the others.

    Args:
        fitter: fits them to its task.
        names: names of the heads.
        everything: True to skip heads whose library or facts are missing.
        runs: each run is added to it as soon as it is in the leaderboard.
        curves: the stress curve of each run is added to it; None: no stress test.
    """
    messages = message_console()
    failed: list[str] = []
    for number, name in enumerate(names, 1):
        start = time.monotonic()
        try:
            # The line is gone when the head is done: its outcome takes its place.
            with messages.status("", spinner="line") as line:
                status = partial(_update, line, f"{name} ({number} of {len(names)})")
                runs.append(fitter.fit(name, status))
                if curves is not None:
                    curves.append(fitter.stress(runs[-1], status))
            outcome = f"{time.monotonic() - start:.1f} s, {_summary(runs[-1].row)}"
        except FreezeframeError as error:
            missing = isinstance(error, MissingExtraError | MissingFactError)
            # The user named this head, so a missing library or fact is an error; "all" skips it.
            if len(names) == 1 or (missing and not everything):
                raise
            if not missing:
                failed.append(name)
            outcome = f"{'skipped' if missing else 'failed'}; {error}"
        if len(names) > 1:
            messages.print(printable(f"{name}: {outcome}"))
    if failed:
        raise FreezeframeError(
            f"{len(failed)} of {len(names)} heads could not be fitted: {', '.join(failed)}"
        )


def _update(line: StatusLine, head: str, text: str) -> None:
    line.update(f"{head}: {text}")


def _leak_message(runs: list[Run], allowed: bool) -> str:
    """Name the test sets of which more than half leaks; "" if there are none or if allowed."""
    leaking = dict.fromkeys(
        f"{row.n_test_leaking} of {row.n_test} of {row.test_set}, {row.split}"
        for run in runs
        for row in run.rows
        if 2 * row.n_test_leaking > row.n_test
    )
    # Relatives that are unknown do not count: an old store must not end in an error.
    if allowed or not leaking:
        return ""
    return (
        f"more than half of the test images leak ({'; '.join(leaking)}); "
        "give --allow-leaks to end with exit code 0"
    )


def _summary(row: LeaderboardRow) -> str:
    """Write the accuracy of a row with its interval and its grade."""
    low, high = (percent(row[name]) for name in ("accuracy_low", "accuracy_high"))
    return (
        f"accuracy {percent(row['accuracy'])} ({low}-{high}) on {row.test_set}, {row.split} "
        f"({grade_text(row)})"
    )


def _print_runs(runs: list[Run], positive_by: str, curves: list[StressCurve] | None) -> None:
    """Print the scores on standard output, warnings and folders on standard error.

    Args:
        runs: the fitted heads.
        positive_by: what chose the positive class, see `choose_positive`.
        curves: their stress curves, if there are any.
    """
    if not runs:
        return
    screen = console()
    rows = [row for run in runs for row in run.rows]
    screen.print(as_table(fit_columns(fitted_columns(rows), screen.width)))
    by_patient = patient_columns(rows)
    if by_patient:
        click.echo()
        screen.print(as_table(fit_columns(by_patient, screen.width)))
    # The levels of a stress test may have a grade that no row has.
    risks = risk_lines({curve.grade for curve in curves or ()})
    for line in dict.fromkeys([*clean_lines(rows, "accuracy"), *risks, *seed_lines(rows)]):
        click.echo(printable(line), err=True)
    for curve in curves or ():
        print_stress(curve)
    positive = runs[0].row.positive
    if positive:
        hint = _POSITIVE_HINTS[positive_by]
        click.echo(printable(f"sensitivity is computed for {positive}{hint}"), err=True)
    # Heads on one task share most warnings; each is printed once.
    for warning in dict.fromkeys(text for run in runs for text in run.warnings):
        click.echo(printable(f"warning: {warning}"), err=True)
    for finding in (text for run in runs for text in run.findings):
        click.echo(printable(finding))
    for run in runs:
        click.echo(printable(f"model and predictions: {run.folder}"), err=True)


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
