"""The command `freezeframe explain`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...data.output.options import check_idle, volume_options
from ...data.output.slice_choice import SliceChoice
from ...data.output.terminal import console, printable, table
from ...errors import ParameterError
from .new_images import check_engine, check_readable, engine_options, named_images

if TYPE_CHECKING:
    from ..prediction.neighbours import TrainingPictures
    from ..prediction.predictor import Predictor
    from ..runs.model_file import FittedHead
    from ..trust.explanation.explanation import Explanation


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument(
    "sources",
    metavar="IMAGE|FOLDER|CSV...",
    nargs=-1,
    type=click.Path(path_type=Path),
)
@click.option(
    "--output",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Folder for the pictures, explanations.npz and explanations.json.",
)
@click.option(
    "--nearest",
    "store",
    metavar="STORE",
    type=click.Path(path_type=Path),
    help="Also name the training pictures with the most similar features, from the feature store "
    "that MODEL was fitted on.",
)
@click.option(
    "--class",
    "class_name",
    metavar="CLASS",
    help="Class whose logit is explained; by default the predicted one of each image.",
)
@click.option(
    "--check",
    metavar="STORE|FOLDER|CSV",
    type=click.Path(path_type=Path, exists=True),
    help="Draw no maps; measure on these images what maps of this kind of head are worth.",
)
@click.option(
    "--masks",
    metavar="FOLDER",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Masks for --check, each named as its image: white where the class is to be seen.",
)
@volume_options
@engine_options
def explain(
    model: Path,
    sources: tuple[Path, ...],
    output: Path | None,
    store: Path | None,
    class_name: str | None,
    check: Path | None,
    masks: Path | None,
    choice: SliceChoice,
    weights: str,
    engine: str,
) -> None:
    """Show how much each part of an image speaks for or against a class.

    MODEL, images, folders and lists are as for predict. For each image a picture shows the map:
    the logit of the class, split into contributions of the cells of the features. All pictures of
    a model have one scale; to compare pictures, give --class, too.

    --check measures maps of images that a head of this kind was not fitted on. Does the logit fall
    without the cells that they name? Is their evidence inside the masks? It fits the head on 5
    folds of the images, and as a control on 2 folds with shuffled labels. So it takes as long as 7
    fits of fit-classifier, and up to a second for each image; a status line shows how far it is.
    """
    if check is not None:
        _check_alone(sources, output, store, class_name)
        from .map_results import check_and_print

        check_and_print(model, check, choice, masks, weights=weights, engine=engine)
        return

    check_idle("label_from_mask", True, "without --check")
    if masks is not None:
        raise ParameterError("--masks: has no effect without --check; leave it out")
    if not sources:
        raise ParameterError("no image is named; name images, a folder or a list, or --check STORE")
    if output is None:
        raise ParameterError("--output: no folder is named for the pictures; add --output FOLDER")
    from ..prediction.predictor import Predictor

    predictor = Predictor(model, weights=weights, engine=engine)
    _explain(predictor, sources, choice, output, class_name, _nearest(store, model, predictor))


def _check_alone(
    sources: tuple[Path, ...], output: Path | None, store: Path | None, class_name: str | None
) -> None:
    """Raise ParameterError if --check is given with what it does not use."""
    idle = {"images": sources, "--output": output, "--nearest": store, "--class": class_name}
    for name, value in idle.items():
        if value:
            raise ParameterError(f"{name}: no effect with --check; leave it out")


def _nearest(store: Path | None, model: Path, predictor: Predictor) -> TrainingPictures | None:
    """Read the training pictures of a model from the store that it was fitted on."""
    if store is None:
        return None
    from ...features.store import FeatureStore
    from ..prediction.model_place import find_model
    from ..prediction.neighbours import training_pictures
    from ..runs.prediction_file import held_out_paths

    # The predictions of a fit are beside its model.
    held_out = held_out_paths(find_model(model).parent)
    (pictures,) = training_pictures(
        FeatureStore(store), [predictor.model], lambda _: held_out
    ).values()
    return pictures


def _explain(
    predictor: Predictor,
    sources: tuple[Path, ...],
    choice: SliceChoice,
    output: Path,
    class_name: str | None,
    pictures: TrainingPictures | None,
) -> None:
    """Write the report of some images, and print a line for each."""
    from ..trust.explanation.report import ExplanationReport

    report = ExplanationReport(output)
    report.check(sources)
    with predictor:
        check_engine(predictor)
        images = named_images(sources, choice)
        for explanation in predictor.explain_stream(images, class_name=class_name):
            report.add(explanation, _nearest_record(explanation, pictures))
    readable = [row for row in report.rows if not row[0].error]
    report.finish(_about(predictor.model, readable))
    if readable:
        _print_table(readable)
    errors = [(explanation.path, explanation.error) for explanation, _ in report.rows]
    check_readable([row for row in errors if row[1]], len(images))


def _nearest_record(
    explanation: Explanation, pictures: TrainingPictures | None
) -> dict[str, Any] | None:
    """Return the nearest training pictures as JSON has them; None where there are none."""
    if pictures is None or explanation.features is None:
        return None
    nearest = pictures.nearest_of_all(explanation.features)
    return {
        "nearest": [
            {"path": picture.path, "label": picture.label, "similarity": picture.similarity}
            for picture in nearest
        ]
    }


def _about(model: FittedHead, readable: list[tuple[Explanation, str]]) -> dict[str, Any]:
    """Return what is the same for all images, as JSON has it."""
    about: dict[str, Any] = {
        "run_id": model.run_id,
        "head": model.head.name,
        "classes": list(model.classes),
        "layer": model.layer,
        "pooling": model.pooling,
    }
    if model.background is not None:
        about |= {"scale": model.background.scale, "scale_images": model.background.n_images}
    if readable:
        first = readable[0][0]
        about["method"] = first.method
        about["receptive_field"] = first.receptive_field and asdict(first.receptive_field)
    return about


def _print_table(readable: list[tuple[Explanation, str]]) -> None:
    """Print the images that were read, and what their cells see."""
    from ..prediction.notes import answer_marks, answer_notes

    rows = table("image", "class", "p(class)", "logit", "error of the sum", "picture")
    rows.columns[0].no_wrap = False
    explanations = [explanation for explanation, _ in readable]
    notes = [answer_marks(explanation) for explanation in explanations]
    if any(notes):
        rows.add_column("note", no_wrap=False)
    for (explanation, name), note in zip(readable, notes, strict=True):
        rows.add_row(
            printable(explanation.path),
            printable(explanation.class_name),
            f"{explanation.probability:.3f}",
            f"{explanation.logit:.3f}",
            f"{explanation.completeness_error:.1e}",
            printable(name),
            *([printable(note)] if any(notes) else ()),
        )
    console().print(rows)
    for line in answer_notes(explanations):
        click.echo(printable(line))
    for text in dict.fromkeys(explanation.field_text for explanation, _ in readable):
        click.echo(printable(f"{readable[0][0].layer}: {text}"), err=True)
