"""The command `compare`: paired tests of runs on the same images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...data.output.options import Number
from ...data.output.terminal import console, printable
from ...errors import ParameterError
from .options import FORMAT_OPTION, LEADERBOARD, RUNS_OPTION, parse_metric

if TYPE_CHECKING:
    from ..board.comparison import RunPair


@click.command()
@click.argument("texts", nargs=-1, required=True, metavar="RUN RUN...", type=click.Path())
@click.option(
    "--leaderboard",
    "path",
    default="leaderboard.csv",
    show_default=True,
    type=LEADERBOARD,
    help="CSV file of the runs.",
)
@RUNS_OPTION
@click.option(
    "--metric",
    default="accuracy",
    show_default=True,
    help="Metric that decides; accuracy and AUC are always shown.",
)
@click.option(
    "--margin",
    default=2.0,
    show_default=True,
    metavar="POINTS",
    type=Number(0, 100, min_open=True),
    help="Smallest difference that matters to you, in percentage points: two runs are equivalent "
    "only if their difference is shown to be smaller. Choose it before you look at the scores.",
)
@FORMAT_OPTION
def compare(
    texts: tuple[str, ...],
    path: Path,
    runs: Path | None,
    metric: str,
    margin: float,
    output: str,
) -> None:
    """Test whether one run is better than another, on the images that both were tested on.

    RUN is a run's folder, a file of predictions, a run id of the leaderboard, or the beginning of
    one. All pairs are tested: accuracy by McNemar's exact test, the AUC by DeLong's, other metrics
    by a paired bootstrap. The p-values are adjusted to the number of pairs (Holm). Two one-sided
    tests ask if runs are equivalent: a difference that is not shown is no equality. Where test
    images have relatives among the training images, the metric is compared without them, too.
    Where the runs have scores by patient, it is compared by patient.
    """
    from ..board.comparison import compare_runs, comparison_warnings
    from ..board.named_runs import find_runs
    from ..board.records import as_csv, as_json, pair_record
    from ..board.shared_tests import shared_test_sets
    from ..scores.metrics import METRIC_NAMES

    metric = parse_metric(metric, "--metric", METRIC_NAMES)
    # click cannot require two values or more of one argument.
    if len(texts) < 2:
        raise ParameterError(f"a comparison needs two runs, got only {texts[0]}; name another run")
    named = find_runs(texts, path, runs or path.parent / "runs")
    shared = shared_test_sets(named)
    pairs = compare_runs(named, shared, metric, margin / 100)
    records = [pair_record(pair) for pair in pairs]
    if output == "csv":
        # CSV is UTF-8, whatever the encoding of the terminal is.
        click.echo(as_csv(tuple(records[0]), records).encode(), nl=False)
    elif output == "json":
        click.echo(as_json(records))
    else:
        _print_pairs(pairs, metric, output == "markdown")
    # On standard error, so that CSV and JSON stay readable for programs.
    for warning in comparison_warnings(named, shared):
        click.echo(printable(f"warning: {warning}"), err=True)


def _print_pairs(pairs: Sequence[RunPair], metric: str, markdown: bool) -> None:
    """Print a table for each test set, and below it the conclusions of the requested metric."""
    from ..board.columns import as_markdown, as_table, as_text, fit_columns
    from ..board.sentences import conclusion, pair_title
    from ..board.tables import pair_columns
    from ..scores.metric_names import plain_metric

    screen = console()
    for test_id in dict.fromkeys(pair.tested.test_id for pair in pairs):
        # Each test set has a table of its own: its columns depend on what leaks in it.
        members = [pair for pair in pairs if pair.tested.test_id == test_id]
        columns = pair_columns(members)
        title = pair_title(members[0])
        # Accuracy and AUC are in the table; sentences are about the requested metric.
        lines = [
            conclusion(pair) for pair in members if plain_metric(pair.difference.metric) == metric
        ]
        if markdown:
            click.echo(f"**{as_text(title)}**\n\n{as_markdown(columns)}\n")
            for line in lines:
                click.echo(f"- {as_text(line)}")
            click.echo()
        else:
            click.echo(printable(title))
            screen.print(as_table(fit_columns(columns, screen.width)))
            click.echo()
            for line in lines:
                click.echo(printable(line))
            click.echo()
