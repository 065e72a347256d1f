"""The command `robustness`: how far the answers of a run depend on how a file was saved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...data.output.options import Integer
from ...data.output.terminal import console, counted, percent, printable, progress_bar
from ...errors import FreezeframeError
from .new_images import check_engine, engine_options

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..runs.robustness import EditScore
    from ..scores.evaluation import Evaluation


@click.command()
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("source", metavar="FOLDER|CSV", type=click.Path(path_type=Path))
@click.option(
    "--images",
    "n_images",
    default=60,
    show_default=True,
    metavar="N",
    type=Integer(2),
    help="Largest number of images: each class by its share, one image of each group first.",
)
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=Integer(0, 2**32 - 1),
    help="Seed of the choice of images.",
)
@engine_options
def robustness(
    run: Path, source: Path, n_images: int, seed: int, weights: str, engine: str
) -> None:
    """Score test images of a run again after edits such as JPEG, brightness and crop.

    Copies in memory are edited; no file is changed.
    RUN is a run's folder. FOLDER or CSV is where its test images are, as extract-features took
    them. Images with a relative in training are left out. The results are in robustness.csv in the
    run's folder. Runs of --cv are refused: their model was fitted on all images.
    """
    # Imports wait for the command, so that --help is quick.
    from ...data.edits import EDITS
    from ..prediction.edited_images import predict_edited
    from ..prediction.model_place import find_model
    from ..prediction.predictor import Predictor
    from ..runs.model_file import load_model
    from ..runs.prediction_file import read_predictions
    from ..runs.robustness import check_held_out, choose_images, edit_scores, write_robustness

    evaluation, readable = _test_set_in(list(read_predictions(run).values()), source)
    check_held_out(evaluation)
    rows = choose_images(evaluation, readable, n_images, seed)
    if not len(rows):
        raise FreezeframeError(
            f"{run}: every test image of {evaluation.test_set} has a relative in training, or "
            "may have one; see freezeframe audit for the pairs"
        )
    root = source if source.is_dir() else source.parent
    paths = [root / evaluation.paths[row] for row in rows]
    sha256s = [evaluation.sha256s[row] for row in rows]
    # A head without its folder looks no image up among the training images: that takes time.
    with (
        Predictor(load_model(find_model(run)), weights=weights, engine=engine) as predictor,
        progress_bar("editing", "images") as progress,
    ):
        check_engine(predictor)
        proba, predicted = predict_edited(predictor, paths, sha256s, EDITS, progress)
    scores = edit_scores(evaluation.predictions.take(rows), EDITS, proba, predicted)
    path = write_robustness(run, scores)
    title = f"{evaluation.test_set}, {evaluation.split}: {counted(len(rows), 'image')}"
    click.echo(printable(title))
    _print_scores(scores)
    click.echo(printable(f"written: {path}"))


def _test_set_in(
    evaluations: Sequence[Evaluation], source: Path
) -> tuple[Evaluation, NDArray[np.bool_]]:
    """Return the test set that a folder or list has most images of, and which images are there."""
    import numpy as np

    from ...data.formats.image_file import file_of

    root = source if source.is_dir() else source.parent
    places = [
        np.array([Path(file_of(root / path)).is_file() for path in evaluation.paths])
        for evaluation in evaluations
    ]
    best = max(range(len(places)), key=lambda number: int(places[number].sum()))
    if not places[best].any():
        names = ", ".join(evaluation.test_set for evaluation in evaluations)
        raise FreezeframeError(
            f"{source}: has no test image of the run ({names}); give the folder or list that its "
            "features were extracted from"
        )
    return evaluations[best], places[best]


def _print_scores(scores: Sequence[EditScore]) -> None:
    """Print a table of the edits, and below it how exactly the stored answers came back."""
    from ..board.columns import Column, as_table, fit_columns
    from ..board.tables import difference_text

    unedited, *edited = scores
    screen = console()
    columns = [
        Column("edit", [score.edit.title for score in edited], name=True),
        Column("accuracy", [percent(score.change.first) for score in edited]),
        Column("change (95 %)", [difference_text(score.change) for score in edited]),
        Column("answers changed", [percent(score.changed) for score in edited]),
    ]
    click.echo(printable(f"accuracy without an edit: {percent(unedited.change.first)} %"))
    screen.print(as_table(fit_columns(columns, screen.width)))
    if unedited.changed:
        n = round(unedited.changed * unedited.n_images)
        same = f"{counted(n, 'answer')} to the unedited files differ from those of the run"
    else:
        same = "the answers to the unedited files are those of the run"
    click.echo(printable(f"{same}; probabilities differ by at most {unedited.largest:.1e}"))
