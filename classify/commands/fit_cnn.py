"""The command `freezeframe fit-cnn`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from ...data.output.options import (
    MAX_FAILED_OPTION,
    Integer,
    Number,
    check_idle,
    check_slices_idle,
    group_options,
    layout_option,
    parse_classes,
    volume_options,
)
from ...data.output.slice_choice import SliceChoice
from ...data.output.terminal import message_console
from ...errors import ParameterError
from .head_results import fit_and_print, log_line
from .options import check_hold_out, check_scoring, scoring_options, test_option

PARAMETERS = (
    "epochs",
    "patience",
    "keep",
    "batch_size",
    "learning_rate",
    "augment",
    "class_weights",
    "precision",
)
"""Options that are hyper-parameters of the network."""


def _only_one(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> str:
    """Return the single network that is given; click by itself would take the last of several."""
    if len(values) > 1:
        raise ParameterError(
            f"--arch: {len(values)} networks are given; run the command once for each"
        )
    return values[0]


@click.command()
@click.argument("source", metavar="FOLDER|CSV|STORE", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--arch",
    required=True,
    multiple=True,
    callback=_only_one,
    type=click.Choice(["simple", "dropout", "augmented", "vgg16-block5", "vgg16-block3", "vgg16"]),
    help="Network: one of the article's five models, or vgg16 to be fine-tuned.",
)
@test_option("FOLDER|CSV|STORE", exists=True)
@click.option(
    "--trainable",
    metavar="all|blocks=4,5",
    help="Part of vgg16 to train: all, or the last blocks; by default blocks=5.",
)
@click.option(
    "--weights",
    metavar="imagenet|random|PATH",
    type=click.Path(),
    help="Weights that VGG16 starts with; by default imagenet.",
)
@click.option(
    "--size",
    type=Integer(1),
    metavar="PIXELS",
    help="Side of the images for networks on pixels; by default 250, of vgg16 224.",
)
@click.option("--epochs", type=Integer(1), help="Greatest number of epochs; by default 10.")
@click.option(
    "--patience",
    type=Integer(1),
    help="Epochs without a better validation loss before training stops.",
)
@click.option(
    "--keep",
    default="best",
    show_default=True,
    type=click.Choice(["best", "last"]),
    help="Epoch whose weights are kept; with last, all epochs are trained.",
)
@MAX_FAILED_OPTION
@click.option("--batch-size", type=Integer(1), help="Images in a training step; by default 32.")
@click.option(
    "--learning-rate",
    type=Number(0, min_open=True),
    help="Learning rate of Adam; by default 0.001, of vgg16 0.00001.",
)
@click.option(
    "--augment/--no-augment",
    default=None,
    help="Augment the images of networks on pixels; the default depends on --arch.",
)
@click.option(
    "--class-weights",
    is_flag=True,
    help="Give all classes the same weight, whatever their numbers of images.",
)
@click.option(
    "--precision",
    default="float32",
    show_default=True,
    type=click.Choice(["float32", "bfloat16", "float16"]),
    help="Precision that the network computes in; weights stay float32.",
)
@group_options
@layout_option
@volume_options
@scoring_options
@click.option(
    "--checkpoint-seconds",
    default=60.0,
    show_default=True,
    type=Number(0),
    help="Seconds between checkpoints in runs/.checkpoints, which are removed at the end.",
)
@click.option(
    "--stores",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Folder for decoded images and features of frozen layers; "
    "by default stores/ beside the leaderboard.",
)
def fit_cnn(
    source: Path,
    arch: str,
    tests: tuple[Path, ...],
    trainable: str | None,
    weights: str | None,
    size: int | None,
    classes: tuple[str, ...],
    group_column: str | None,
    group_regex: str | None,
    ignore_patient_ids: bool,
    layout: str | None,
    choice: SliceChoice,
    max_failed: float,
    allow_leaks: bool,
    leaderboard: Path,
    runs: Path | None,
    stores: Path | None,
    checkpoint_seconds: float,
    **options: Any,
) -> None:
    """Train a network on the images in FOLDER, score it like heads, append to the leaderboard.

    The article's models: simple, dropout and augmented are convolutional networks on 250 x 250
    pixels; vgg16-block5 and vgg16-block3 are dense layers on a frozen VGG16. vgg16 is fine-tuned,
    as a whole or in its last blocks. Features of frozen layers are computed once, as
    extract-features does.

    Splits, groups, tests, scores, model file and predictions are those of fit-classifier. A fifth
    of the training images (or the validation split) decides when training stops. If the command
    is killed, run it again: it continues from the last checkpoint.
    """
    from ...extract.engines.keras import choose_keras_backend, make_deterministic
    from ...extract.report import extract_and_report
    from ...features.index import begins_as_store
    from ..fit.fitting import HeadFitter
    from ..fit.image_stores import ImageStores
    from ..fit.search import FitOptions
    from ..heads.architectures import find_architecture
    from ..task.task import make_task

    check_scoring(options, tests)
    only_stores = all(path.is_file() and begins_as_store(path) for path in (source, *tests))
    for name in ("stores", "max_failed"):
        check_idle(name, only_stores, "on stores, which have their features already")
    if only_stores:
        check_slices_idle()
    check_idle("patience", options["keep"] == "last", "with --keep last")
    # Options are checked in the order of their cost: names first, images last.
    architecture = find_architecture(arch, trainable=trainable, weights=weights, size=size)
    # Options that are not set keep the value of the architecture.
    parameters = _parameters({name: options.pop(name) for name in PARAMETERS})
    fit_options = FitOptions("none", {**architecture.parameters, **parameters})
    fit_options.check([architecture.head])
    # A missing library must fail before the images are decoded, which can take minutes.
    choose_keras_backend()
    renamed = parse_classes(classes)
    place = stores or leaderboard.parent / "stores"
    # Existing stores are reused, so that a second network starts at once.
    extract = partial(
        extract_and_report,
        log=partial(click.echo, err=True),
        result=click.echo,
        max_failed=max_failed,
    )
    makers = ImageStores(
        place,
        architecture,
        extract,
        weights,
        group_column,
        group_regex,
        layout,
        choice,
        read_patients=not ignore_patient_ids,
    )
    train = makers.training(source, size)
    test_stores = [makers.testing(test) for test in tests]
    with message_console().status("", spinner="line") as line:
        task = make_task(
            train,
            layer=architecture.layer,
            tests=test_stores,
            classes=renamed,
            ignore_patient_ids=ignore_patient_ids,
            status=line.update,
            **options,
        )
    check_hold_out(task)
    # This setting holds for the rest of the process, which is this command.
    make_deterministic()
    fitter = HeadFitter(
        task,
        fit_options,
        leaderboard=leaderboard,
        runs=runs,
        log=log_line,
        checkpoint_seconds=checkpoint_seconds,
        # Random weights are drawn by the store's seed: there is no file to read them from.
        weights=weights if weights not in (None, "random") else "imagenet",
    )
    fit_and_print(fitter, [architecture.head], False, allow_leaks=allow_leaks)


def _parameters(options: dict[str, Any]) -> dict[str, Any]:
    """Return the hyper-parameters that were set; heads keep flags as 0 and 1."""
    # None means that the option was not used; False does not.
    numbers = {
        name: int(value) if isinstance(value, bool) else value for name, value in options.items()
    }
    return {name: value for name, value in numbers.items() if value is not None}
