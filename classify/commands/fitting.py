"""What the commands that fit heads share: fitting one head after the other and printing what came of it."""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from ...data.output.terminal import message_console, percent, printable
from ...errors import FreezeframeError, LeakError, MissingExtraError, ParameterError
from ..board import tables

if TYPE_CHECKING:
    from rich.status import Status

    from ..fit.fitting import Fitting
    from ..runs.run import Run


def fit_and_print(
    fitting: Fitting, names: list[str], everything: bool, *, guessed: bool, allow_leaks: bool
) -> None:
    """Fit heads and print their scores.

    Args:
        names: of the heads.
        everything: they are all there are, and one whose library is missing is left out.
        guessed: the positive class was.
        allow_leaks: so that test sets that mostly leak are no error.

    Raises:
        LeakError: more than half of a test set leaks.
    """
    done: list[Run] = []
    try:
        _fit_all(fitting, names, everything, done)
    except (
        BaseException
    ):  # what is in the leaderboard is told all the same; the exit code is that of the failure
        _print_runs(done, guessed)
        leaks = _leaks(done, allow_leaks)
        if leaks:
            click.echo(printable(f"error: {leaks}"), err=True)
        raise
    _print_runs(done, guessed)
    leaks = _leaks(done, allow_leaks)
    if leaks:
        raise LeakError(leaks)


def log_line(text: str) -> None:
    """Tell what came of an epoch, in a line of its own above what is going on."""
    message_console().print(printable(text))


def _fit_all(fitting: Fitting, names: list[str], everything: bool, done: list[Run]) -> None:
    """Fit heads one after the other; one that fails does not keep the others from being fitted.

    Args:
        done: to which each run is added when it is in the leaderboard.
    """
    console = message_console()
    failed: list[str] = []
    for number, name in enumerate(names, 1):
        start = time.monotonic()
        try:
            with console.status("") as status:
                done.append(
                    fitting.fit(name, partial(_tell, status, f"{name} ({number} of {len(names)})"))
                )
            outcome = f"{time.monotonic() - start:.1f} s, {_briefly(done[-1].row)}"
        except FreezeframeError as error:
            missing = isinstance(error, MissingExtraError)
            if len(names) == 1 or (missing and not everything):
                raise
            failed += [] if missing else [name]
            outcome = f"{'left out' if missing else 'failed'}; {error}"
        if len(names) > 1:
            console.print(printable(f"{name}: {outcome}"))
    if failed:
        raise FreezeframeError(
            f"{len(failed)} of {len(names)} heads could not be fitted: {', '.join(failed)}"
        )


def _leaks(done: list[Run], allowed: bool) -> str:
    """Of which test sets more than half is known to have relatives in training; empty if of none, or if allowed."""
    found = dict.fromkeys(
        f"{row['n_test_leaking']} of {row['n_test']} of {row['test_set']}, {row['split']}"
        for run in done
        for row in run.rows
        if 2 * row["n_test_leaking"] > row["n_test"]
    )
    if allowed or not found:
        return ""
    return f"more than half of the test images leak ({'; '.join(found)}); --allow-leaks to end with exit code 0"


def _tell(status: Status, head: str, text: str) -> None:
    status.update(f"{head}: {text}")


def _briefly(row: dict[str, Any]) -> str:
    low, high = (percent(row[name]) for name in ("accuracy_low", "accuracy_high"))
    return (
        f"accuracy {percent(row['accuracy'])} ({low}-{high}) on {row['test_set']}, {row['split']}"
    )


def parse_parameters(texts: tuple[str, ...]) -> dict[str, Any]:
    """`["C=0.1", "knn.weights=distance"]` as a dict; numbers become numbers."""
    parameters: dict[str, Any] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value):
            raise ParameterError(f"--param must be NAME=VALUE or HEAD.NAME=VALUE, got {text!r}")
        parameters[name] = value
        for number in (float, int):
            with suppress(ValueError):
                parameters[name] = number(value)
    return parameters


def _print_runs(done: list[Run], guessed: bool) -> None:
    if not done:
        return
    tables.print_rows([row for run in done for row in run.rows])
    positive = done[0].row["positive"]
    if positive:
        click.echo(
            printable(f"sensitivity is that for {positive}" + " (--positive to change)" * guessed),
            err=True,
        )
    for warning in dict.fromkeys(text for run in done for text in run.warnings):
        click.echo(printable(f"warning: {warning}"), err=True)
    for run in done:
        click.echo(printable(f"model and predictions: {run.folder}"), err=True)
