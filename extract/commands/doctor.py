"""The command `freezeframe doctor`: what works on this machine, and how to mend what does not."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import click

from ...data.output.json import json_text
from ...data.output.terminal import console, message_console, printable, table
from ...errors import FreezeframeError

if TYPE_CHECKING:
    from ..doctor.check import Check
    from ..doctor.diagnosis import Diagnosis
    from ..doctor.requirements import Extra

STATUS_COLOURS = {"ok": "green", "warning": "yellow", "broken": "red", "missing": "red"}
"""Colour of a status on a terminal; elsewhere the word alone says it."""

TRIED = "it was done on drawn images"
NOT_TRIED = "extract-features, then fit-classifier; `freezeframe doctor --try` does it"

_OWN_LIBRARIES = ("rich", "packaging")
"""Libraries without which this command itself cannot run."""


@click.command()
@click.option(
    "--try",
    "trial",
    is_flag=True,
    help="Also import every installed library, and do the main job on 20 drawn images.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for other programs.")
def doctor(trial: bool, as_json: bool) -> None:
    """Check this machine: what works, what is broken or missing, and the command that mends it.

    The main job is to compute features with the default backbone and to fit the default head. The
    exit code is 1 if it cannot run here. Nothing is installed, changed or sent. Only if VGG16's
    weights are missing, the address of their download is asked if it answers.
    """
    _check_own_libraries()
    from ..doctor.diagnosis import diagnose

    with message_console().status("", spinner="line") as line:
        diagnosis = diagnose(trial=trial, status=line.update)
    if as_json:
        click.echo(json_text(diagnosis.as_json()))
    else:
        _print_checks(diagnosis.checks)
        _print_extras(diagnosis.extras)
        _print_problems(diagnosis)
    if not diagnosis.ready:
        codes = ", ".join(check.code for check in diagnosis.checks if check.blocks)
        raise FreezeframeError(
            f"the main job cannot run here ({codes}); {diagnosis.problems[0].mend}"
        )
    if not as_json:
        click.echo(f"the main job can run here: {TRIED if trial else NOT_TRIED}")


def _check_own_libraries() -> None:
    """Raise an error if a library of this command is broken, which may raise anything."""
    for name in _OWN_LIBRARIES:
        try:
            import_module(name)
        except Exception as error:
            raise FreezeframeError(
                f"{name}: cannot be imported ({error}); pip install --force-reinstall {name}"
            ) from None


def _print_checks(checks: tuple[Check, ...]) -> None:
    """Print a line for each check."""
    from rich.text import Text

    rows = table("status", "check")
    rows.add_column("seen", overflow="fold")
    for check in checks:
        status = Text(check.status, style=STATUS_COLOURS[check.status])
        rows.add_row(status, check.code, printable(check.seen))
    console().print(rows)


def _print_extras(extras: tuple[Extra, ...]) -> None:
    """Print what each extra brings, and what of it is installed."""
    from ..doctor.requirements import install_command

    if not extras:
        return
    rows = table("extra", "installed")
    rows.add_column("has", overflow="fold")
    rows.add_column("lacks", overflow="fold")
    for extra in extras:
        has = [f"{item.name} {item.version}" for item in extra.libraries if item.version]
        lacks = [item.name + item.options for item in extra.libraries if not item.version]
        state = "yes" if extra.installed else "no"
        rows.add_row(extra.name, state, printable(", ".join(has)), printable(", ".join(lacks)))
    console().print()
    console().print(rows)
    click.echo(printable(f"to add extras: {install_command(('NAME', 'NAME'))}"))


def _print_problems(diagnosis: Diagnosis) -> None:
    """Print what to mend; problems that one command mends are one paragraph."""
    by_mend: dict[str, list[Check]] = {}
    for check in diagnosis.problems:
        by_mend.setdefault(check.mend, []).append(check)
    for number, (mend, checks) in enumerate(by_mend.items(), start=1):
        first = checks[0]
        codes = ", ".join(check.code for check in checks)
        click.echo("")
        click.secho(
            printable(f"{number}. {codes}: {first.status}"), fg=STATUS_COLOURS[first.status]
        )
        click.echo(printable(f"   {first.seen}"))
        click.echo(printable(f"   {first.why}"))
        click.echo("   -> ", nl=False)
        click.secho(printable(mend), bold=True)
    click.echo("")
