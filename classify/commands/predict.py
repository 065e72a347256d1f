"""The command `predict`."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...data.output.terminal import console, printable, table
from ...errors import FreezeframeError

if TYPE_CHECKING:
    from ..predict import Prediction


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument(
    "images", metavar="IMAGE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--format",
    "output",
    default="table",
    show_default=True,
    type=click.Choice(["table", "csv", "json"]),
)
@click.option(
    "--weights",
    default="imagenet",
    metavar="imagenet|PATH",
    help="Where the backbone's weights come from.",
)
def predict(model: Path, images: tuple[Path, ...], output: str, weights: str) -> None:
    """Predict the class of images with a fitted head: runs/RUN/model.safetensors."""
    from ..predict import predict_images
    from ..runs.model_file import load_model

    fitted = load_model(model)
    predictions = predict_images(fitted, images, weights=weights)
    {"table": _print_table, "csv": _print_csv, "json": _print_json}[output](
        predictions, fitted.classes
    )
    failed = [prediction for prediction in predictions if prediction.error]
    for prediction in failed:
        click.echo(printable(f"unreadable: {prediction.path}: {prediction.error}"), err=True)
    if failed:
        raise FreezeframeError(f"{len(failed)} of {len(images)} images could not be read")


def _print_table(predictions: list[Prediction], classes: tuple[str, ...]) -> None:
    columns = table("image", "label")
    columns.columns[0].no_wrap = False
    for name in classes:
        columns.add_column(f"p({printable(name)})", justify="right", no_wrap=True)
    for prediction in predictions:
        if not prediction.error:
            shares = [f"{prediction.probabilities[name]:.3f}" for name in classes]
            columns.add_row(printable(prediction.path), printable(prediction.label), *shares)
    console().print(columns)


def _print_csv(predictions: list[Prediction], classes: tuple[str, ...]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["path", "label", *(f"p_{name}" for name in classes), "error"])
    for prediction in predictions:
        shares = [
            f"{prediction.probabilities[name]:.6f}" if not prediction.error else ""
            for name in classes
        ]
        writer.writerow([prediction.path, prediction.label, *shares, prediction.error])


def _print_json(predictions: list[Prediction], classes: tuple[str, ...]) -> None:
    rows = [
        {"path": p.path, "label": p.label, "probabilities": p.probabilities}
        | ({"error": p.error} if p.error else {})
        for p in predictions
    ]
    click.echo(json.dumps(rows, indent=2))
