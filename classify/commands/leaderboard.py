"""The commands that show the leaderboard, and runs against each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...data.output.terminal import console, printable
from .options import LEADERBOARD
from .records import FORMATS, RUNS_HELP, checked_metric, finite_or_none, write_csv, write_json

if TYPE_CHECKING:
    from ..board.ranking import Place


SHOWN_ROWS = 20
MARKS = {"best": "", "equal": " =", "worse": "", "untested": " ?"}


@click.command()
@click.argument("path", default="leaderboard.csv", metavar="[CSV]", type=LEADERBOARD)
@click.option(
    "--sort",
    default="accuracy",
    show_default=True,
    metavar="METRIC",
    help="auc, mcc, clean_accuracy, ... ranks.",
)
@click.option("--format", "output", default="table", show_default=True, type=FORMATS)
@click.option("--runs", metavar="FOLDER", type=click.Path(path_type=Path), help=RUNS_HELP)
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help=f"Show every row, not just the best {SHOWN_ROWS} of a test set.",
)
def leaderboard(path: Path, sort: str, output: str, runs: Path | None, everything: bool) -> None:
    """Show the leaderboard: each test set by itself, best first, and who cannot be told from the best.

    The ranks are of the metric given with --sort. Two heads on the same images are told apart by a
    paired test on their predictions; its p-values are adjusted to the number of heads (Holm). Clean
    scores leave out the test images that have a relative among the training images.
    """
    from ..scores.clean import CLEAN_NAMES

    metric = checked_metric(sort, "--sort", CLEAN_NAMES)
    from ..board.ranking import RunFolders, rank_rows
    from ..runs.leaderboard import read_rows
    from ..runs.schema import COLUMNS

    folders = RunFolders(runs or path.parent / "runs")
    sets = rank_rows(read_rows(path), metric, folders)
    records = [_place_record(place) for places in sets for place in places]
    if output == "csv":
        write_csv((*COLUMNS, "rank", "p_vs_best", "indistinguishable"), records)
    elif output == "json":
        write_json(records)
    else:
        _show_places(sets, metric, output == "markdown", None if everything else SHOWN_ROWS)
    for problem in dict.fromkeys(folders.problems):
        click.echo(printable(f"warning: {problem}"), err=True)


def _show_places(
    sets: Sequence[Sequence[Place]], metric: str, markdown: bool, most: int | None
) -> None:
    """Every test set under a line of its own, and what the marks mean."""
    from ..board.tables import Column, as_markdown, as_table, as_text, fitted, row_columns

    screen, shown = console(), [places[:most] for places in sets]
    every = [place for places in shown for place in places]
    if not every:
        click.echo("no runs yet; fit-classifier appends them")
        return
    ranks = [
        ("-" if place.rank is None else str(place.rank)) + MARKS[place.standing] for place in every
    ]
    names, numbers = row_columns([place.row for place in every], metric)
    columns = [Column("rank", ranks, name=True), *names, *numbers]
    if not markdown:
        run_ids = Column(
            "run", [printable(place.row["run_id"]) for place in every], keep=-1, name=True
        )
        columns = fitted([*columns, run_ids], screen.width)
    start = 0
    for places, all_places in zip(shown, sets, strict=True):
        rows = slice(start, start + len(places))
        start += len(places)
        title = _title(all_places)
        if len(places) < len(all_places):
            title += f", the best {len(places)} of {len(all_places)} rows (--all shows all)"
        if markdown:
            click.echo(f"**{as_text(title)}**\n\n{as_markdown(columns, rows)}\n")
        else:
            click.echo(printable(title))
            screen.print(as_table(columns, rows))
            click.echo()
    for line in _legend(every, metric):
        click.echo(f"- {line}" if markdown else line)


def _title(places: Sequence[Place]) -> str:
    """Which test set: edureka4600, hold-out 20%: 920 images in 780 groups."""
    rows = [place.row for place in places]
    names = " / ".join(dict.fromkeys(f"{row['test_set']}, {row['split']}" for row in rows))
    groups = rows[0]["n_test_groups"]
    grouped = f" in {groups} groups" if groups not in ("", rows[0]["n_test"]) else ""
    return f"{names}: {rows[0]['n_test'] or '?'} images{grouped}"


def _legend(places: Sequence[Place], metric: str) -> list[str]:
    from ..board.tables import heading, is_random
    from ..scores.clean import leak_count, plain_metric
    from ..scores.roc_area import ALPHA

    standings = {place.standing for place in places}
    lines = []
    if "equal" in standings:
        test = f"paired test, Holm-adjusted p above {ALPHA}"
        lines.append(f"=  cannot be told from the best of its test set ({heading(metric)}: {test})")
    if "untested" in standings:
        why = "predictions are missing, or the score is not defined"
        if metric != plain_metric(metric):
            why = f"{why}; or too few images are clean for both, or on these the best is the worse one"
        lines.append(f"?  not tested against the best: {why}")
    counts, unknown = zip(*(leak_count(place.row) for place in places), strict=True)
    if any(counts) or any(unknown):
        says = "a score on them says nothing about unseen images"
        lines.append(f"leaked: test images with a relative among the training images; {says}")
    if any(unknown):
        lines.append(
            'leaked "?" or "+": not known, or not of all: older versions, and stores made by them, know byte-identical '
            "copies alone"
        )
    if any(counts) or metric != plain_metric(metric):
        lines.append('clean: on the other test images; "-" where they are too few, or not known')
    if any(is_random(place.row) for place in places):
        lines.append(
            "random: the backbone's weights are random; the score says nothing about VGG16"
        )
    return lines


def _place_record(place: Place) -> dict[str, Any]:
    return {
        **place.row,
        "rank": place.rank,
        "p_vs_best": finite_or_none(place.p),
        "indistinguishable": {"best": True, "equal": True, "worse": False, "untested": None}[
            place.standing
        ],
    }
