"""Command line of the classify room."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .. import FreezeframeError, ParameterError, printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from .fit import Run
    from .predict import Prediction

LEADERBOARD = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("store", default="features.h5", type=click.Path(path_type=Path))
@click.option(
    "--model",
    "models",
    multiple=True,
    default=("logreg",),
    show_default=True,
    metavar="HEAD",
    help="A head to fit; may be given several times. An unknown name lists all.",
)
@click.option("--layer", metavar="NAME", help="Whose features; by default the deepest layer of the store.")
@click.option(
    "--pooling", type=click.Choice(["flat", "avg", "max"]), help="Of the features; by default what suits the head."
)
@click.option("--test", type=click.Path(path_type=Path), metavar="STORE", help="Another store, to be tested on.")
@click.option("--classes", metavar="OLD=NEW,...", help="New names for classes, where two stores name them differently.")
@click.option("--positive", metavar="CLASS", help="The class that sensitivity speaks of; guessed from its name.")
@click.option("--test-size", default=0.2, show_default=True, help="Share of the hold-out, where there are no splits.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**32 - 1), help="Of hold-out and head.")
@click.option("--leaderboard", default="leaderboard.csv", show_default=True, type=LEADERBOARD, help="CSV to append to.")
@click.option(
    "--runs",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Where models and predictions go; by default runs/ beside the leaderboard.",
)
def fit_classifier(
    store: Path,
    models: tuple[str, ...],
    layer: str | None,
    pooling: str | None,
    test: Path | None,
    classes: str | None,
    positive: str | None,
    test_size: float,
    seed: int,
    leaderboard: Path,
    runs: Path | None,
) -> None:
    """Fit heads on the features in STORE, score them on images they have not seen, append to the leaderboard.

    Scored is on the store given with --test; without it on the store's own test split; without splits on a stratified
    hold-out that keeps byte-identical images on one side.
    """
    from ..features.store import FeatureStore
    from .heads import make_head

    for model in models:
        make_head(model)  # an unknown name is told before anything is read
    renamed = _parse_classes(classes)
    train, test_store = FeatureStore(store), FeatureStore(test) if test else None
    from .task import make_task

    task = make_task(
        train,
        layer=layer,
        pooling=pooling,
        test=test_store,
        classes=renamed,
        positive=positive,
        test_size=test_size,
        seed=seed,
    )
    from .fit import fit_classifier as fit

    done: list[Run] = []
    try:
        for model in models:
            done.append(fit(task, model, leaderboard=leaderboard, runs=runs))
    finally:  # what is in the leaderboard is told, even if a later head fails
        if done:
            _print_runs(done, guessed=positive is None)


@click.command()
@click.argument("path", default="leaderboard.csv", metavar="[CSV]", type=LEADERBOARD)
def leaderboard(path: Path) -> None:
    """Show the leaderboard, best accuracy first."""
    from .leaderboard import read_rows

    rows = read_rows(path)
    _print_rows(sorted(rows, key=lambda row: float(row["accuracy"] or "nan"), reverse=True))


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--format", "output", default="table", show_default=True, type=click.Choice(["table", "csv", "json"]))
@click.option("--weights", default="imagenet", metavar="imagenet|PATH", help="Where the backbone's weights come from.")
def predict(model: Path, images: tuple[Path, ...], output: str, weights: str) -> None:
    """Predict the class of images with a fitted head: runs/RUN/model.safetensors."""
    from .model_file import load_model
    from .predict import predict_images

    fitted = load_model(model)
    predictions = predict_images(fitted, images, weights=weights)
    {"table": _print_table, "csv": _print_csv, "json": _print_json}[output](predictions, fitted.classes)
    failed = [prediction for prediction in predictions if prediction.error]
    for prediction in failed:
        click.echo(printable(f"unreadable: {prediction.path}: {prediction.error}"), err=True)
    if failed:
        raise FreezeframeError(f"{len(failed)} of {len(images)} images could not be read")


def _parse_classes(text: str | None) -> dict[str, str]:
    """`yes=tumor,no=healthy` as a dict."""
    renamed = {}
    for pair in text.split(",") if text else ():
        old, equals, new = (part.strip() for part in pair.partition("="))
        if not (old and equals and new):
            raise ParameterError(f"--classes must be OLD=NEW,OLD=NEW,..., got {pair!r}")
        renamed[old] = new
    return renamed


def _print_runs(done: list[Run], guessed: bool) -> None:
    _print_rows([run.row for run in done])
    positive = done[0].row["positive"]
    if positive:
        click.echo(printable(f"sensitivity is that for {positive}" + " (--positive to change)" * guessed), err=True)
    for warning in dict.fromkeys(text for run in done for text in run.warnings):
        click.echo(printable(f"warning: {warning}"), err=True)
    for run in done:
        click.echo(printable(f"model and predictions: {run.folder}"), err=True)


def _print_rows(rows: list[dict[str, Any]]) -> None:
    """Leaderboard rows as a table, the columns that a reader compares; the CSV has the rest."""
    wide = _console().width >= 110
    table = _table("head", "features", "tested on")
    table.columns[2].no_wrap = False
    for heading in ("n", "accuracy (95 %)", *(("sens.", "spec.", "AUC") if wide else ()), "leaked"):
        table.add_column(heading, justify="right", no_wrap=True)
    if wide:
        table.add_column("fit s", justify="right")
    for row in rows:
        random = str(row["weights"]).startswith("random")
        more = [_percent(row[name]) for name in ("sensitivity", "specificity", "roc_auc")]
        table.add_row(
            printable(row["head"]),
            printable(f"{row['layer']} {row['pooling']}" + ", random" * random),
            printable(f"{row['test_set']}, {row['split']}"),
            str(row["n_test"]),
            f"{_percent(row['accuracy'])} ({_percent(row['accuracy_low'])}-{_percent(row['accuracy_high'])})",
            *(more if wide else ()),
            str(row["n_test_in_train"]),
            *([f"{float(row['fit_seconds'] or 'nan'):.1f}"] if wide else ()),
        )
    _console().print(table)


def _table(*headings: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, no_wrap=True, overflow="fold")
    return table


def _console() -> Console:
    """A console that takes names for what they are, and never cuts a number off to fit a narrow terminal.

    A pipe or a log has no width to fold to.
    """
    from rich.console import Console

    plain = Console(markup=False, emoji=False, highlight=False)
    width = max(plain.width, 80) if plain.is_terminal else 1000
    return Console(markup=False, emoji=False, highlight=False, width=width)


def _percent(value: float | str) -> str:
    number = float(value) if value != "" else float("nan")
    return "-" if number != number else f"{100 * number:.1f}"


def _print_table(predictions: list[Prediction], classes: tuple[str, ...]) -> None:
    table = _table("image", "label")
    table.columns[0].no_wrap = False
    for name in classes:
        table.add_column(f"p({printable(name)})", justify="right", no_wrap=True)
    for prediction in predictions:
        if not prediction.error:
            shares = [f"{prediction.probabilities[name]:.3f}" for name in classes]
            table.add_row(printable(prediction.path), printable(prediction.label), *shares)
    _console().print(table)


def _print_csv(predictions: list[Prediction], classes: tuple[str, ...]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["path", "label", *(f"p_{name}" for name in classes), "error"])
    for prediction in predictions:
        shares = [f"{prediction.probabilities[name]:.6f}" if not prediction.error else "" for name in classes]
        writer.writerow([prediction.path, prediction.label, *shares, prediction.error])


def _print_json(predictions: list[Prediction], classes: tuple[str, ...]) -> None:
    rows = [
        {"path": p.path, "label": p.label, "probabilities": p.probabilities} | ({"error": p.error} if p.error else {})
        for p in predictions
    ]
    click.echo(json.dumps(rows, indent=2))
