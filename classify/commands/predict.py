"""The command `freezeframe predict`."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...data.output.csv import csv_line
from ...data.output.json import json_text
from ...data.output.options import check_idle
from ...data.output.skipped import skipped_lines
from ...data.output.terminal import console, printable, table
from ...errors import FreezeframeError

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
@click.option(
    "--weights",
    default="imagenet",
    metavar="imagenet|PATH",
    show_default=True,
    help="Weights of the backbone.",
)
@click.option(
    "--engine",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "keras", "mnn", "none"]),
    help="Engine: auto takes the one that computed the features of the training images.",
)
def predict(model: Path, sources: tuple[Path, ...], output: str, weights: str, engine: str) -> None:
    """Predict the class of images with a fitted head.

    MODEL is runs/RUN/model.safetensors, or the folder runs/RUN. Of a FOLDER, all images below it
    are predicted, sorted by path; of a CSV, those of its column path, in order.
    """
    from ...data.inspection.facts import frames_lines
    from ..prediction.predictor import Predictor

    with Predictor(model, weights=weights, engine=engine) as predictor:
        fitted_with = predictor.model.provenance["engine"]
        if predictor.engine != fitted_with:
            note = (
                f"note: the head was fitted on features of the engine {fitted_with}, "
                f"these are of {predictor.engine}: their low bits may differ"
            )
            click.echo(printable(note), err=True)
        random = str(predictor.model.provenance["weights_source"]).startswith("random")
        idle = random or predictor.engine == "none"
        check_idle("weights", idle, "on a head of pixels or of random weights")
        images = [image for source in sources for image in _images(source)]
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
    frames = Counter(prediction.frames for prediction in predictions if not prediction.error)
    for line in frames_lines(frames):
        click.echo(printable(line), err=True)
    failed = [prediction for prediction in predictions if prediction.error]
    for prediction in failed:
        click.echo(printable(f"unreadable: {prediction.path}: {prediction.error}"), err=True)
    # All predictions are printed before the error, so that one bad file costs no result.
    if failed:
        raise FreezeframeError(f"{len(failed)} of {len(images)} images could not be read")


def _images(source: Path) -> list[Path]:
    """Return the images that an argument names; print the files of a folder that are skipped."""
    from ...data.lists.folder_tree import find_images
    from ...data.lists.image_list import read_paths

    if source.is_dir():
        images, skipped = find_images(source)
        for line in skipped_lines(skipped):
            click.echo(printable(line), err=True)
        return images
    return read_paths(source) if source.suffix.lower() == ".csv" else [source]


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
