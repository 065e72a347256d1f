"""The command `freezeframe predict`."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...data.output.csv import csv_line
from ...data.output.json import json_text
from ...data.output.options import check_idle, slice_options
from ...data.output.slice_choice import SliceChoice
from ...data.output.terminal import NOT_DEFINED, console, printable, table
from .new_images import check_engine, check_readable, engine_options, named_images, print_frames

if TYPE_CHECKING:
    from ..prediction.prediction import Prediction

HIDDEN = "; no answer is shown, as it would mean nothing: --unfamiliar shows it"
"""Words about images unlike the training images, after their number."""


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
@slice_options
@engine_options
@click.option(
    "--unfamiliar",
    is_flag=True,
    help="Show in the table also the answers about images that are unlike the training images. "
    "CSV and JSON always have them, with `familiar` [default: no].",
)
def predict(
    model: Path,
    sources: tuple[Path, ...],
    output: str,
    choice: SliceChoice,
    weights: str,
    engine: str,
    unfamiliar: bool,
) -> None:
    """Predict the class of images with a fitted head.

    MODEL is runs/RUN/model.safetensors, or the folder runs/RUN. Of a FOLDER, all images below it
    are predicted, sorted by path; of a CSV, those of its column path, in order.
    """
    from ..prediction.notes import set_notes
    from ..prediction.predictor import Predictor

    check_idle("unfamiliar", output != "table", f"with --format {output}, which has all answers")
    with Predictor(model, weights=weights, engine=engine) as predictor:
        check_engine(predictor)
        images = named_images(sources, choice)
        # Features are not printed; without them thousands of predictions fit into memory.
        predictions = [
            replace(prediction, features=None) for prediction in predictor.stream(images)
        ]
    classes = predictor.model.classes
    if output == "table":
        _print_table(predictions, classes, unfamiliar)
        rule = predictor.model.head.conformal
        readable = [prediction for prediction in predictions if not prediction.error]
        for line in set_notes(readable, rule.error_rate if rule and not rule.problem else None):
            click.echo(printable(line))
    elif output == "csv":
        _print_csv(predictions, classes)
    else:
        _print_json(predictions)
    if predictor.not_looked_up:
        note = f"images are not looked up among the training images: {predictor.not_looked_up}"
        click.echo(printable(f"note: {note}"), err=True)
    # Unreadable images have no frames.
    print_frames(Counter(prediction.frames for prediction in predictions if not prediction.error))
    errors = [(prediction.path, prediction.error) for prediction in predictions if prediction.error]
    check_readable(errors, len(images))


def _print_table(predictions: list[Prediction], classes: tuple[str, ...], unfamiliar: bool) -> None:
    """Print the readable images; the others are listed on standard error.

    Args:
        predictions: predictions of all images.
        classes: names of the classes.
        unfamiliar: True to show answers about images that are unlike the training images.
    """
    from ..prediction.notes import (
        CANNOT_SAY,
        answer_marks,
        answer_notes,
        is_unfamiliar,
        set_text,
    )

    rows = table("image", "label")
    # Paths are long and may wrap; labels and numbers do not.
    rows.columns[0].no_wrap = False
    for name in classes:
        rows.add_column(f"p({printable(name)})", justify="right", no_wrap=True)
    readable = [prediction for prediction in predictions if not prediction.error]
    notes = [
        ", ".join(filter(None, (set_text(prediction), answer_marks(prediction))))
        for prediction in readable
    ]
    if any(notes):
        rows.add_column("note", no_wrap=False)
    for prediction, note in zip(readable, notes, strict=True):
        label = CANNOT_SAY if prediction.cannot_say else prediction.label
        answer = [label, *(f"{prediction.probabilities[name]:.3f}" for name in classes)]
        if not unfamiliar and is_unfamiliar(prediction):
            answer = [NOT_DEFINED] * len(answer)
        cells = [prediction.path, *answer, note] if any(notes) else [prediction.path, *answer]
        rows.add_row(*map(printable, cells))
    console().print(rows)
    hidden = "" if unfamiliar else HIDDEN
    for line in answer_notes(readable, hidden):
        click.echo(printable(line))


def _print_csv(predictions: list[Prediction], classes: tuple[str, ...]) -> None:
    """Print all images; unreadable ones have a reason in place of probabilities."""
    # Six decimals, as in the leaderboard; JSON has all digits.
    shares = [f"p_{name}" for name in classes]
    sets = ["cannot_say", "prediction_set"]
    guards = ["known", "known_path", "known_label", "familiar", "distance_percentile"]
    lines = [csv_line(["path", "label", *shares, *sets, *guards, "error"])]
    for prediction in predictions:
        if prediction.error:
            shares = [""] * len(classes)
        else:
            shares = [f"{prediction.probabilities[name]:.6f}" for name in classes]
        # A head without an error rate has empty cells.
        sets = [""] * 2
        if prediction.prediction_set is not None and not prediction.error:
            answer = "yes" if prediction.cannot_say else "no"
            sets = [answer, json_text(list(prediction.prediction_set), indent=None)]
        # An image that was not looked up has empty cells.
        copy = prediction.training_copy
        guards = [copy.level, copy.path, copy.label] if copy else [""] * 3
        like = prediction.familiarity
        guards += ["yes" if like.familiar else "no", f"{like.percentile:.2f}"] if like else ["", ""]
        cells = [prediction.path, prediction.label, *shares, *sets, *guards, prediction.error]
        lines.append(csv_line(cells))
    # CSV is UTF-8, whatever the encoding of the terminal is.
    click.echo("".join(lines).encode(), nl=False)


def _print_json(predictions: list[Prediction]) -> None:
    """Print all images as a JSON array; only unreadable ones have an error."""
    from ..prediction.record import prediction_record

    click.echo(json_text([prediction_record(prediction) for prediction in predictions]))
