"""Options of the commands that fit and score: on what is scored, and where it is kept."""

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
        metavar="FOLDS",
        help="Score by cross-validation on grouped folds.",
    ),
    click.option(
        "--repeats",
        "n_repeats",
        default=1,
        show_default=True,
        type=click.IntRange(1),
        help="Of --cv.",
    ),
    click.option(
        "--test-size",
        default=0.2,
        show_default=True,
        help="Share of the hold-out, where there are no splits.",
    ),
    click.option(
        "--classes",
        metavar="OLD=NEW,...",
        help="New names for classes that two sets name differently.",
    ),
    click.option(
        "--positive",
        metavar="CLASS",
        help="The class that sensitivity speaks of; guessed from its name.",
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
        help="Of splits and fits.",
    ),
    click.option(
        "--leaderboard",
        default="leaderboard.csv",
        show_default=True,
        type=LEADERBOARD,
        help="CSV to append to.",
    ),
    click.option(
        "--runs",
        metavar="FOLDER",
        type=click.Path(path_type=Path),
        help="Where models and predictions go; by default runs/ beside the leaderboard.",
    ),
)


def scoring_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add them all."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
