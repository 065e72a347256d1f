"""The command `freezeframe predict`."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...data.output.csv import csv_line
from ...data.output.json import json_text
from ...data.output.terminal import console, printable, table
from .new_images import check_engine, check_readable, engine_options, named_images, print_frames

if TYPE_CHECKING:
    from ..prediction.prediction import Prediction

MOST_COPIES = 10
"""Most copies of training images that are listed below the table."""


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument(
    "sources",
    metavar="IMAGE|FOLDER|CSV...",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path),
)
@click.option(
    "--format",
    "output",
    default="table",
    show_default=True,
    type=click.Choice(["table", "csv", "json"]),
    help="Format of the output.",
)
@engine_options
def predict(model: Path, sources: tuple[Path, ...], output: str, weights: str, engine: str) -> None:
    """Predict the class of images with a fitted head.

    MODEL is runs/RUN/model.safetensors, or the folder runs/RUN. Of a FOLDER, all images below it
    are predicted, sorted by path; of a CSV, those of its column path, in order.
    """
    from ..prediction.predictor import Predictor

    with Predictor(model, weights=weights, engine=engine) as predictor:
        check_engine(predictor)
        images = named_images(sources)
        # Features are not printed; without them thousands of predictions fit into memory.
        predictions = [
            replace(prediction, features=None) for prediction in predictor.stream(images)
        ]
    print_predictions = {"table": _print_table, "csv": _print_csv, "json": _print_json}[output]
    print_predictions(predictions, predictor.model.classes)
    if predictor.not_looked_up:
        note = f"images are not looked up among the training images: {predictor.not_looked_up}"
        click.echo(printable(f"note: {note}"), err=True)
    # Unreadable images have no frames.
    print_frames(Counter(prediction.frames for prediction in predictions if not prediction.error))
    errors = [(prediction.path, prediction.error) for prediction in predictions if prediction.error]
    check_readable(errors, len(images))


def _print_table(predictions: list[Prediction], classes: tuple[str, ...]) -> None:
    """Print the readable images; the others are listed on standard error."""
    rows = table("image", "label")
    # Paths are long and may wrap; labels and numbers do not.
    rows.columns[0].no_wrap = False
    for name in classes:
        rows.add_column(f"p({printable(name)})", justify="right", no_wrap=True)
    copies = [prediction for prediction in predictions if _is_copy(prediction)]
    if copies:
        rows.add_column("")
    for prediction in predictions:
        if not prediction.error:
            shares = [f"{prediction.probabilities[name]:.3f}" for name in classes]
            marks = ["trained on"] if _is_copy(prediction) else []
            rows.add_row(printable(prediction.path), printable(prediction.label), *shares, *marks)
    console().print(rows)
    _print_copies(copies)


def _print_copies(copies: list[Prediction]) -> None:
    """Print which training images the first images are copies of, one a line."""
    from ..guards.training_lookup import COPY_WARNING

    for prediction in copies[:MOST_COPIES]:
        line = f"{prediction.path}: {COPY_WARNING} ({prediction.training_copy})"
        click.echo(printable(line))
    if len(copies) > MOST_COPIES:
        click.echo(printable(f"and {len(copies) - MOST_COPIES} more copies of training images"))


def _is_copy(prediction: Prediction) -> bool:
    return prediction.training_copy is not None and prediction.training_copy.is_copy


def _print_csv(predictions: list[Prediction], classes: tuple[str, ...]) -> None:
    """Print all images; unreadable ones have a reason in place of probabilities."""
    # Six decimals, as in the leaderboard; JSON has all digits.
    shares = [f"p_{name}" for name in classes]
    lines = [csv_line(["path", "label", *shares, "known", "known_path", "known_label", "error"])]
    for prediction in predictions:
        if prediction.error:
            shares = [""] * len(classes)
        else:
            shares = [f"{prediction.probabilities[name]:.6f}" for name in classes]
        # An image that was not looked up has empty cells.
        copy = prediction.training_copy
        relation = [copy.level, copy.path, copy.label] if copy else [""] * 3
        cells = [prediction.path, prediction.label, *shares, *relation, prediction.error]
        lines.append(csv_line(cells))
    # CSV is UTF-8, whatever the encoding of the terminal is.
    click.echo("".join(lines).encode(), nl=False)


def _print_json(predictions: list[Prediction], classes: tuple[str, ...]) -> None:
    """Print all images as a JSON array; only unreadable ones have an error."""
    from ..prediction.record import prediction_record

    click.echo(json_text([prediction_record(prediction) for prediction in predictions]))
