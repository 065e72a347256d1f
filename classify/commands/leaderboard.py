"""The command `leaderboard`: all runs, ranked on each test set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...data.output.options import check_idle
from ...data.output.terminal import console, counted, first_names, printable
from .options import FORMAT_OPTION, LEADERBOARD, RUNS_OPTION, parse_metric

if TYPE_CHECKING:
    from ..board.ranking import RankedRow
    from ..board.run_folders import RunFolders

SHOWN_ROWS = 20


@click.command()
@click.argument("path", default="leaderboard.csv", metavar="[CSV]", type=LEADERBOARD)
@click.option(
    "--sort",
    default="accuracy",
    show_default=True,
    metavar="METRIC",
    help="Metric that ranks the rows: auc, mcc, clean_accuracy, ...",
)
@FORMAT_OPTION
@RUNS_OPTION
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help=f"Show every row, not just the best {SHOWN_ROWS} of a test set.",
)
@click.option(
    "--mlflow",
    "uri",
    metavar="URI",
    help="Log the runs to this MLflow server, too: parameters, scores, models, and the names of "
    "image folders and classes. No image leaves this machine.",
)
@click.option(
    "--predictions",
    is_flag=True,
    help="With --mlflow, log predictions and warnings, too: they have paths and labels of images.",
)
def leaderboard(
    path: Path,
    sort: str,
    output: str,
    runs: Path | None,
    everything: bool,
    uri: str | None,
    predictions: bool,
) -> None:
    """Show the leaderboard: the rows of each test set, best first, and which equal the best.

    --sort names the metric that ranks. A paired test on their predictions compares each run with
    the best on the same images; its p-values are adjusted to the number of runs (Holm). Clean
    scores are computed without the test images that have a relative among the training images.
    """
    from ..board.ranking import rank_rows
    from ..board.records import RANKED_COLUMNS, as_csv, as_json, ranked_record
    from ..board.run_folders import RunFolders
    from ..runs.leaderboard import read_rows
    from ..scores.metric_names import CLEAN_NAMES, PATIENT_NAMES
    from ..scores.metrics import METRIC_NAMES

    metric = parse_metric(sort, "--sort", (*METRIC_NAMES, *CLEAN_NAMES, *PATIENT_NAMES))
    check_idle("predictions", uri is None, "without --mlflow")
    folders = RunFolders(runs or path.parent / "runs")
    rows = read_rows(path)
    test_sets = rank_rows(rows, metric, folders)
    records = [ranked_record(place) for ranked in test_sets for place in ranked]
    if output == "csv":
        # CSV is UTF-8, whatever the encoding of the terminal is.
        click.echo(as_csv(RANKED_COLUMNS, records).encode(), nl=False)
    elif output == "json":
        click.echo(as_json(records))
    else:
        # CSV and JSON have all rows; a table for readers has the best ones.
        most = None if everything else SHOWN_ROWS
        _print_test_sets(test_sets, metric, output == "markdown", most)
    # Two rows of one run have the same problems.
    for problem in dict.fromkeys(folders.problems):
        click.echo(printable(f"warning: {problem}"), err=True)
    if uri is not None:
        _log(rows, folders, uri, predictions)


def _log(
    rows: Sequence[Mapping[str, str]], folders: RunFolders, uri: str, predictions: bool
) -> None:
    """Log the runs to MLflow, and say how many."""
    from ..board.tracker import log_runs

    logged = log_runs(rows, folders, uri, predictions=predictions)
    earlier = f"; {len(logged.earlier)} were there before" if logged.earlier else ""
    click.echo(
        printable(
            f"{counted(len(logged.new), 'run')} logged to MLflow, "
            f"experiment {logged.experiment}{earlier}"
        ),
        err=True,
    )
    if logged.bare:
        click.echo(
            printable(
                f"warning: no folder in {folders.runs} of {first_names(logged.bare)}: the scores "
                "alone were logged; if the runs are elsewhere, delete these in MLflow and "
                "give --runs"
            ),
            err=True,
        )


def _print_by_patient(rows: Sequence[Mapping[str, str]], markdown: bool) -> None:
    """Print the scores by patient of one test set, if it has any."""
    from ..board.columns import as_markdown, as_table, fit_columns
    from ..board.tables import patient_columns

    columns = [column for column in patient_columns(rows) if column.heading != "tested on"]
    if columns and markdown:
        click.echo(f"{as_markdown(columns)}\n")
    elif columns:
        screen = console()
        screen.print(as_table(fit_columns(columns, screen.width)))
        click.echo()


def _print_test_sets(
    test_sets: Sequence[Sequence[RankedRow]], metric: str, markdown: bool, most: int | None
) -> None:
    """Print each test set as a table under its title, and explain the marks below.

    Args:
        test_sets: from `rank_rows`.
        metric: the metric that ranks.
        markdown: True to print Markdown, with the columns and footnotes that a paper needs.
        most: number of rows of a test set to print; None: all.
    """
    from ..board.columns import Column, as_markdown, as_table, as_text, fit_columns
    from ..board.sentences import legend, paper_legend, title_of_test_set
    from ..board.tables import paper_columns, ranked_columns

    screen = console()
    shown = [place for ranked in test_sets for place in ranked[:most]]
    # A header without rows would leave the user wondering.
    if not shown:
        click.echo("no runs yet; fit-classifier appends them")
        return
    # The columns are those of all test sets together, so that their tables align.
    columns = (paper_columns if markdown else ranked_columns)(shown, metric)
    if not markdown:
        run_ids = [printable(place.row["run_id"]) for place in shown]
        # Run ids are long and only needed for other commands: they go first where room is short.
        columns.append(Column("run", run_ids, keep=-1, name=True))
        columns = fit_columns(columns, screen.width)
    start = 0
    for ranked in test_sets:
        rows = slice(start, start + len(ranked[:most]))
        start = rows.stop
        title = title_of_test_set(ranked)
        if most is not None and len(ranked) > most:
            title += f", the best {most} of {len(ranked)} rows (--all shows all)"
        if markdown:
            click.echo(f"**{as_text(title)}**\n\n{as_markdown(columns, rows)}\n")
        else:
            click.echo(printable(title))
            screen.print(as_table(columns, rows))
            click.echo()
        _print_by_patient([place.row for place in ranked[:most]], markdown)
    for line in paper_legend(shown, metric) if markdown else legend(shown, metric):
        click.echo(f"- {as_text(line)}" if markdown else printable(line))
