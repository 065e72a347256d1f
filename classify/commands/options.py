"""Options of the commands that fit and score: test sets, seeds, and where results go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

LEADERBOARD = click.Path(path_type=Path, dir_okay=False)

_OPTIONS = (
    click.option(
        "--cv",
        "n_folds",
        default=0,
        show_default=True,
        metavar="FOLDS",
        help="Folds of cross-validation, copies and groups kept in one fold; 0 for none.",
    ),
    click.option(
        "--repeats",
        "n_repeats",
        default=1,
        show_default=True,
        metavar="N",
        type=click.IntRange(1),
        help="Repeat cross-validation N times, with other folds each time.",
    ),
    click.option(
        "--test-size",
        default=0.2,
        show_default=True,
        metavar="SHARE",
        help="Share of the images in the hold-out, for stores without splits.",
    ),
    click.option(
        "--classes",
        metavar="OLD=NEW,...",
        help="New names for classes, where two image sets name them differently.",
    ),
    click.option(
        "--positive",
        metavar="CLASS",
        help="Class that sensitivity is computed for; guessed from its name by default.",
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
        type=click.IntRange(0, 2**32 - 1),
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
