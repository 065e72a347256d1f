"""Options that several commands share: test sets, seeds, metrics, and where results go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...data.output.options import Integer, Number, check_idle, class_options
from ...errors import ParameterError

if TYPE_CHECKING:
    from ..task.task import Task

LEADERBOARD = click.Path(path_type=Path, dir_okay=False)
OUTPUT_FORMATS = click.Choice(["table", "csv", "markdown", "json"])

RUNS_OPTION = click.option(
    "--runs",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Folder of the runs; by default runs/ beside the leaderboard.",
)
FORMAT_OPTION = click.option(
    "--format",
    "output",
    default="table",
    show_default=True,
    type=OUTPUT_FORMATS,
    help="Format of the output.",
)

# Tables call this metric AUC, so that is what people type.
_ALIASES = {"auc": "roc_auc", "clean_auc": "clean_roc_auc", "patient_auc": "patient_roc_auc"}

# One table for both commands that fit, so that an option means the same in each.
_OPTIONS = (
    click.option(
        "--cv",
        "n_folds",
        default=0,
        show_default=True,
        metavar="FOLDS",
        type=Integer(0),
        help="Number of folds of cross-validation; each keeps copies and groups together. 0: none.",
    ),
    click.option(
        "--repeats",
        "n_repeats",
        default=1,
        show_default=True,
        metavar="N",
        type=Integer(1),
        help="Repeat cross-validation N times, with other folds each time.",
    ),
    click.option(
        "--hold-out",
        is_flag=True,
        help="With --test, hold out a part of the training images, too, unless they have a test "
        "split.",
    ),
    click.option(
        "--test-size",
        default=0.2,
        show_default=True,
        metavar="SHARE",
        type=Number(0, 1, min_open=True, max_open=True),
        help="Share of the images in the hold-out, for stores without splits.",
    ),
    class_options,
    click.option(
        "--positive",
        metavar="CLASS",
        help="Class that sensitivity is computed for; by default the one whose opposite is a "
        "negation by its name, else the last by alphabet.",
    ),
    click.option(
        "--allow-leaks",
        is_flag=True,
        help="End with exit code 0 even if more than half of a test set leaks.",
    ),
    click.option(
        "--seed",
        default=0,
        show_default=True,
        type=Integer(0, 2**32 - 1),
        help="Seed of the splits and of the fits.",
    ),
    click.option(
        "--leaderboard",
        default="leaderboard.csv",
        show_default=True,
        type=LEADERBOARD,
        help="CSV file that scores are appended to.",
    ),
    click.option(
        "--runs",
        metavar="FOLDER",
        type=click.Path(path_type=Path),
        help="Folder for models and predictions; by default runs/ beside the leaderboard.",
    ),
)


def scoring_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of this module to a command."""
    # Decorators apply from the last to the first; help lists options in the order of the table.
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def test_option(
    metavar: str, *, exists: bool
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the option --test, which names further image sets to test on.

    Args:
        metavar: what a set may be, as help shows it.
        exists: True to refuse a path that does not exist before the command does any work.
    """
    return click.option(
        "--test",
        "tests",
        multiple=True,
        metavar=metavar,
        type=click.Path(path_type=Path, exists=exists),
        help="Another image set to test on. Repeat it for more sets.",
    )


def check_scoring(options: Mapping[str, Any], tests: Sequence[Path]) -> None:
    """Raise ParameterError if --repeats is set without --cv, or --hold-out without --test."""
    idle = options["n_repeats"] > 1 and not options["n_folds"]
    check_idle("n_repeats", idle, "without --cv")
    check_idle("hold_out", not tests, "without --test")


def check_hold_out(task: Task) -> None:
    """Raise ParameterError if the size of a hold-out is set, but the task has none."""
    # Imported late: --help must be quick.
    from ..task.store_split import HOLD_OUT, RANDOM

    held_out = any(test.split.startswith((HOLD_OUT, RANDOM)) for test in task.tests)
    check_idle("test_size", not held_out, "with --cv, --test or splits of the store's own")


def parse_metric(text: str, option: str, names: Sequence[str]) -> str:
    """Return the name of a metric; "auc" is short for "roc_auc".

    Args:
        text: as typed, in capitals or not.
        option: the option that has it, for the message.
        names: the metrics to choose from.

    Raises:
        ParameterError: there is no such metric.
    """
    # Headings of tables are in capitals, and users copy them.
    name = _ALIASES.get(text.lower(), text.lower())
    if name not in names:
        raise ParameterError(f"{option} must be one of {', '.join(names)}, got {name!r}")
    return name
