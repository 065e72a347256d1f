"""The commands that show the leaderboard, and runs against each other."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .. import ParameterError, printable
from .scoring_options import LEADERBOARD

if TYPE_CHECKING:
    from .pairs import Pair
    from .ranking import Place


FORMATS = click.Choice(["table", "csv", "markdown", "json"])
RUNS_HELP = "Where the runs are kept; by default runs/ beside the leaderboard."
SHOWN_ROWS = 20
MARKS = {"best": "", "equal": " =", "worse": "", "untested": " ?"}


@click.command()
@click.argument("path", default="leaderboard.csv", metavar="[CSV]", type=LEADERBOARD)
@click.option(
    "--sort", default="accuracy", show_default=True, metavar="METRIC", help="auc, mcc, clean_accuracy, ... ranks."
)
@click.option("--format", "output", default="table", show_default=True, type=FORMATS)
@click.option("--runs", metavar="FOLDER", type=click.Path(path_type=Path), help=RUNS_HELP)
@click.option(
    "--all", "everything", is_flag=True, help=f"Show every row, not just the best {SHOWN_ROWS} of a test set."
)
def leaderboard(path: Path, sort: str, output: str, runs: Path | None, everything: bool) -> None:
    """Show the leaderboard: each test set by itself, best first, and who cannot be told from the best.

    The ranks are of the metric given with --sort. Two heads on the same images are told apart by a paired test on their
    predictions; its p-values are adjusted to the number of heads (Holm). Clean scores leave out the test images that
    have a relative among the training images.
    """
    from .clean import CLEAN_NAMES

    metric = _metric(sort, "--sort", CLEAN_NAMES)
    from .leaderboard import read_rows
    from .ranking import RunFolders, rank_rows
    from .schemas import COLUMNS

    folders = RunFolders(runs or path.parent / "runs")
    sets = rank_rows(read_rows(path), metric, folders)
    records = [_place_record(place) for places in sets for place in places]
    if output == "csv":
        _write_csv((*COLUMNS, "rank", "p_vs_best", "indistinguishable"), records)
    elif output == "json":
        _write_json(records)
    else:
        _show_places(sets, metric, output == "markdown", None if everything else SHOWN_ROWS)
    for problem in dict.fromkeys(folders.problems):
        click.echo(printable(f"warning: {problem}"), err=True)


@click.command()
@click.argument("texts", nargs=-1, required=True, metavar="RUN RUN...")
@click.option("--leaderboard", "path", default="leaderboard.csv", show_default=True, type=LEADERBOARD)
@click.option("--runs", metavar="FOLDER", type=click.Path(path_type=Path), help=RUNS_HELP)
@click.option(
    "--metric", default="accuracy", show_default=True, help="What decides; accuracy and AUC are always shown."
)
@click.option("--format", "output", default="table", show_default=True, type=FORMATS)
def compare(texts: tuple[str, ...], path: Path, runs: Path | None, metric: str, output: str) -> None:
    """Tell whether one run is better than another, on the images that both were tested on.

    RUN is a run's folder, a file of predictions, a run id of the leaderboard, or its beginning. All pairs are tested:
    accuracy by McNemar's exact test, the AUC by DeLong's, other metrics by a paired bootstrap; p-values are adjusted to
    the number of pairs (Holm). Where test images have relatives among the training images, the metric is compared
    without them, too.
    """
    metric = _metric(metric, "--metric")
    if len(texts) < 2:
        raise ParameterError(f"two runs are needed for a comparison, got only {texts[0]}")
    from .pairs import compare_runs, find_runs, leaks, shared_evaluations

    found = find_runs(texts, path, runs or path.parent / "runs")
    shared = shared_evaluations(found)
    pairs = compare_runs(found, shared, metric)
    records = [_pair_record(pair) for pair in pairs]
    if output == "csv":
        _write_csv(tuple(records[0]), records)
    elif output == "json":
        _write_json(records)
    else:
        _show_pairs(pairs, metric, output == "markdown")
    for warning in leaks(found, shared):
        click.echo(printable(f"warning: {warning}"), err=True)


def _metric(name: str, option: str, more: Sequence[str] = ()) -> str:
    from .metrics import NAMES

    name = {"auc": "roc_auc", "clean_auc": "clean_roc_auc"}.get(name.lower(), name.lower())
    if name not in (*NAMES, *more):
        raise ParameterError(f"{option} must be one of {', '.join((*NAMES, *more))}, got {name!r}")
    return name


def _show_places(sets: Sequence[Sequence[Place]], metric: str, markdown: bool, most: int | None) -> None:
    """Every test set under a line of its own, and what the marks mean."""
    from .tables import Column, as_markdown, as_table, as_text, console, fitted, row_columns

    screen, shown = console(), [places[:most] for places in sets]
    every = [place for places in shown for place in places]
    if not every:
        click.echo("no runs yet; fit-classifier appends them")
        return
    ranks = [("-" if place.rank is None else str(place.rank)) + MARKS[place.standing] for place in every]
    names, numbers = row_columns([place.row for place in every], metric)
    columns = [Column("rank", ranks, name=True), *names, *numbers]
    if not markdown:
        run_ids = Column("run", [printable(place.row["run_id"]) for place in every], keep=-1, name=True)
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
    from .areas import ALPHA
    from .clean import leaked, plain_metric
    from .tables import heading, is_random

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
    counts, unknown = zip(*(leaked(place.row) for place in places), strict=True)
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
        lines.append("random: the backbone's weights are random; the score says nothing about VGG16")
    return lines


def _show_pairs(pairs: Sequence[Pair], metric: str, markdown: bool) -> None:
    """A table for each test set, and below it in words what the metric that was asked for says."""
    from .clean import plain_metric
    from .tables import as_markdown, as_table, as_text, console, fitted, pair_columns

    screen = console()
    for test_id in dict.fromkeys(pair.tested.test_id for pair in pairs):
        here = [pair for pair in pairs if pair.tested.test_id == test_id]
        tested, columns = here[0].tested, pair_columns(here)
        title = f"{tested.test_set}, {tested.split}: {len(tested.paths)} images"
        said = [_conclusion(pair) for pair in here if plain_metric(pair.difference.metric) == metric]
        if markdown:
            click.echo(f"**{as_text(title)}**\n\n{as_markdown(columns)}\n")
            click.echo("\n".join(f"- {as_text(line)}" for line in said) + "\n")
        else:
            click.echo(printable(title))
            screen.print(as_table(fitted(columns, screen.width)))
            click.echo("\n" + "\n".join(map(printable, said)) + "\n")


def _conclusion(pair: Pair) -> str:
    """A pair in a sentence: "on navoneel, logreg and xgboost cannot be told apart (accuracy, p = 0.410)"."""
    from .clean import plain_metric
    from .tables import heading, p_text

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


def _place_record(place: Place) -> dict[str, Any]:
    return {
        **place.row,
        "rank": place.rank,
        "p_vs_best": _defined(place.p),
        "indistinguishable": {"best": True, "equal": True, "worse": False, "untested": None}[place.standing],
    }


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
        **{name: _defined(getattr(found, name)) for name in ("first", "second", "difference", "low", "high", "p")},
        "p_holm": _defined(pair.p_holm),
        "test": found.test,
        "conclusion": _conclusion(pair),
    }


def _defined(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _write_csv(columns: Sequence[str], records: Sequence[Mapping[str, Any]]) -> None:
    from ..data.cells import csv_line

    lines = [csv_line(_cell(name, record[name]) for name in columns) for record in records]
    click.echo("".join([csv_line(columns), *lines]), nl=False)


def _cell(name: str, value: Any) -> str:
    """As in the leaderboard, where text is so written that no spreadsheet computes it."""
    from ..data.cells import defused
    from .schemas import NUMBERS

    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value if name in NUMBERS else defused(value)
    return "" if value is None else repr(value)


def _write_json(records: Sequence[Mapping[str, Any]]) -> None:
    click.echo(
        json.dumps([{name: _value(name, value) for name, value in record.items()} for record in records], indent=2)
    )


def _value(name: str, value: Any) -> Any:
    """Numbers of the leaderboard as numbers, its JSON as what it says."""
    from .schemas import INTEGERS, NUMBERS

    if not isinstance(value, str):
        return value
    if name in NUMBERS or name == "schema":
        return None if not value else int(value) if name in (*INTEGERS, "schema") else _defined(float(value))
    if name in ("hyperparameters", "classes"):
        with suppress(ValueError, RecursionError):  # what is no JSON stays text
            return json.loads(value)
    return value
