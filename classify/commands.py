"""Command line of the classify room."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .. import FreezeframeError, ParameterError

if TYPE_CHECKING:
    from rich.table import Table

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
@click.option("--seed", default=0, show_default=True, help="Of the hold-out and of the head.")
@click.option("--leaderboard", default="leaderboard.csv", show_default=True, type=LEADERBOARD, help="CSV to append to.")
@click.option(
    "--runs",
    default="runs",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Where models and predictions go.",
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
    runs: Path,
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

    done = [fit(task, model, leaderboard=leaderboard, runs=runs) for model in models]
    _print_rows([run.row for run in done])
    for warning in dict.fromkeys(text for run in done for text in run.warnings):
        click.echo(f"warning: {warning}", err=True)
    for run in done:
        click.echo(f"model and predictions: {run.folder}", err=True)


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
        click.echo(f"unreadable: {prediction.path}: {prediction.error}", err=True)
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


def _print_rows(rows: list[dict[str, Any]]) -> None:
    """Leaderboard rows as a table, the columns that a reader compares; the CSV has the rest."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("head", "features", "tested on"):
        table.add_column(heading, overflow="fold")
    for heading in ("n", "accuracy (95 %)", "sens.", "spec.", "AUC", "leaked", "fit s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        random = str(row["weights"]).startswith("random")
        table.add_row(
            row["head"],
            f"{row['layer']} {row['pooling']}" + " of random weights" * random,
            f"{row['test_set']}, {row['split']}",
            str(row["n_test"]),
            f"{_percent(row['accuracy'])} ({_percent(row['accuracy_low'])}-{_percent(row['accuracy_high'])})",
            *(_percent(row[name]) for name in ("sensitivity", "specificity", "roc_auc")),
            str(row["n_test_in_train"]),
            f"{float(row['fit_seconds']):.1f}",
        )
    _print_wide(table)


def _print_wide(table: Table) -> None:
    """Print a table; into a pipe or a log, which have no width to fold to, as wide as it wants to be."""
    from rich.console import Console

    console = Console()
    (console if console.is_terminal else Console(width=1000)).print(table)


def _percent(value: float | str) -> str:
    number = float(value) if value != "" else float("nan")
    return "-" if number != number else f"{100 * number:.1f}"


def _print_table(predictions: list[Prediction], classes: tuple[str, ...]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("image", overflow="fold")
    table.add_column("label")
    for name in classes:
        table.add_column(f"p({name})", justify="right")
    for prediction in predictions:
        if not prediction.error:
            table.add_row(
                prediction.path, prediction.label, *(f"{prediction.probabilities[name]:.3f}" for name in classes)
            )
    _print_wide(table)


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
