"""The command `compare`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...data.output.terminal import console, printable
from ...errors import ParameterError
from .options import LEADERBOARD
from .records import FORMATS, RUNS_HELP, checked_metric, finite_or_none, write_csv, write_json

if TYPE_CHECKING:
    from ..board.comparison import Pair


@click.command()
@click.argument("texts", nargs=-1, required=True, metavar="RUN RUN...")
@click.option(
    "--leaderboard", "path", default="leaderboard.csv", show_default=True, type=LEADERBOARD
)
@click.option("--runs", metavar="FOLDER", type=click.Path(path_type=Path), help=RUNS_HELP)
@click.option(
    "--metric",
    default="accuracy",
    show_default=True,
    help="What decides; accuracy and AUC are always shown.",
)
@click.option("--format", "output", default="table", show_default=True, type=FORMATS)
def compare(
    texts: tuple[str, ...], path: Path, runs: Path | None, metric: str, output: str
) -> None:
    """Tell whether one run is better than another, on the images that both were tested on.

    RUN is a run's folder, a file of predictions, a run id of the leaderboard, or its beginning. All
    pairs are tested: accuracy by McNemar's exact test, the AUC by DeLong's, other metrics by a
    paired bootstrap; p-values are adjusted to the number of pairs (Holm). Where test images have
    relatives among the training images, the metric is compared without them, too.
    """
    metric = checked_metric(metric, "--metric")
    if len(texts) < 2:
        raise ParameterError(f"two runs are needed for a comparison, got only {texts[0]}")
    from ..board.comparison import compare_runs, find_runs, leaks, shared_evaluations

    found = find_runs(texts, path, runs or path.parent / "runs")
    shared = shared_evaluations(found)
    pairs = compare_runs(found, shared, metric)
    records = [_pair_record(pair) for pair in pairs]
    if output == "csv":
        write_csv(tuple(records[0]), records)
    elif output == "json":
        write_json(records)
    else:
        _show_pairs(pairs, metric, output == "markdown")
    for warning in leaks(found, shared):
        click.echo(printable(f"warning: {warning}"), err=True)


def _show_pairs(pairs: Sequence[Pair], metric: str, markdown: bool) -> None:
    """A table for each test set, and below it in words what the metric that was asked for says."""
    from ..board.tables import as_markdown, as_table, as_text, fitted, pair_columns
    from ..scores.clean import plain_metric

    screen = console()
    for test_id in dict.fromkeys(pair.tested.test_id for pair in pairs):
        here = [pair for pair in pairs if pair.tested.test_id == test_id]
        tested, columns = here[0].tested, pair_columns(here)
        title = f"{tested.test_set}, {tested.split}: {len(tested.paths)} images"
        said = [
            _conclusion(pair) for pair in here if plain_metric(pair.difference.metric) == metric
        ]
        if markdown:
            click.echo(f"**{as_text(title)}**\n\n{as_markdown(columns)}\n")
            click.echo("\n".join(f"- {as_text(line)}" for line in said) + "\n")
        else:
            click.echo(printable(title))
            screen.print(as_table(fitted(columns, screen.width)))
            click.echo("\n" + "\n".join(map(printable, said)) + "\n")


def _conclusion(pair: Pair) -> str:
    """A pair in a sentence: "on navoneel, logreg and xgboost cannot be told apart (accuracy, p = 0.410)"."""
    from ..board.tables import heading, p_text
    from ..scores.clean import plain_metric

    where, metric = f"on {pair.tested.test_set}", heading(pair.difference.metric)
    if pair.difference.metric != plain_metric(pair.difference.metric):
        where = f"on the {pair.n} clean images of {pair.tested.test_set}"
    if pair.better is None:
        return f"{where}, {pair.first} and {pair.second} cannot be compared: {metric} has no test there"
    p = "p < 0.001" if pair.p_holm < 0.001 else f"p = {p_text(pair.p_holm)}"
    if not pair.better:
        return f"{where}, {pair.first} and {pair.second} cannot be told apart ({metric}, {p})"
    worse = pair.second if pair.better == pair.first else pair.first
    return f"{where}, {pair.better} is better than {worse} ({metric}, {p})"


def _pair_record(pair: Pair) -> dict[str, Any]:
    found = pair.difference
    return {
        "test_id": pair.tested.test_id,
        "test_set": pair.tested.test_set,
        "split": pair.tested.split,
        "n_test": pair.n,
        "metric": found.metric,
        "first_run": pair.run_ids[0],
        "second_run": pair.run_ids[1],
        "first_leaking": pair.leaking[0],
        "second_leaking": pair.leaking[1],
        "first_unknown": pair.unknown[0],
        "second_unknown": pair.unknown[1],
        **{
            name: finite_or_none(getattr(found, name))
            for name in ("first", "second", "difference", "low", "high", "p")
        },
        "p_holm": finite_or_none(pair.p_holm),
        "test": found.test,
        "conclusion": _conclusion(pair),
    }
