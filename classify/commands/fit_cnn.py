"""Command line of end-to-end networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ...data.output.options import group_options, parse_classes
from ...data.output.terminal import message_console
from .fitting import fit_and_print, log_line
from .options import scoring_options

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
"""Options that are hyper-parameters."""


@click.command()
@click.argument("source", metavar="FOLDER|CSV|STORE", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--arch",
    required=True,
    type=click.Choice(["simple", "dropout", "augmented", "vgg16-block5", "vgg16-block3", "vgg16"]),
    help="The article's five models, or vgg16 to be fine-tuned.",
)
@click.option(
    "--test",
    "tests",
    multiple=True,
    metavar="FOLDER|CSV|STORE",
    type=click.Path(path_type=Path, exists=True),
    help="Other images, to be tested on; may be given several times.",
)
@click.option(
    "--trainable",
    metavar="all|blocks=4,5",
    help="Of vgg16: all, or the last blocks; the rest is frozen. By default blocks=5.",
)
@click.option(
    "--weights",
    metavar="imagenet|random|PATH",
    help="What VGG16 starts with; by default ImageNet's.",
)
@click.option(
    "--size",
    type=int,
    metavar="PIXELS",
    help="Of networks on pixels; by default 250, of vgg16 224.",
)
@click.option("--epochs", type=int, help="At most; by default 10.")
@click.option(
    "--patience", type=int, help="Epochs without a better validation loss before it stops."
)
@click.option(
    "--keep",
    default="best",
    show_default=True,
    type=click.Choice(["best", "last"]),
    help="Weights of the best epoch, or those of the last, for which all epochs are trained.",
)
@click.option(
    "--max-failed",
    default=10.0,
    show_default=True,
    metavar="PERCENT",
    type=click.FloatRange(0, 100),
    help="End with an error if more of the images are unreadable.",
)
@click.option("--batch-size", type=int, help="By default 32.")
@click.option("--learning-rate", type=float, help="Of Adam; by default 0.001, of vgg16 0.00001.")
@click.option(
    "--augment/--no-augment",
    default=None,
    help="Of networks on pixels; by default what the arch says.",
)
@click.option(
    "--class-weights", is_flag=True, help="Count each class alike, however many images it has."
)
@click.option(
    "--precision",
    default="float32",
    show_default=True,
    type=click.Choice(["float32", "bfloat16", "float16"]),
    help="In which it is trained; weights stay float32.",
)
@group_options
@scoring_options
@click.option(
    "--checkpoint-seconds",
    default=60.0,
    show_default=True,
    type=click.FloatRange(0),
    help="How often a training keeps where it stands, in runs/.checkpoints, until it is finished.",
)
@click.option(
    "--stores",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Where decoded images, or features of what is frozen, are kept; by default stores/ beside the leaderboard.",
)
def fit_cnn(
    source: Path,
    arch: str,
    tests: tuple[Path, ...],
    trainable: str | None,
    weights: str | None,
    size: int | None,
    classes: str | None,
    group_column: str | None,
    group_regex: str | None,
    max_failed: float,
    allow_leaks: bool,
    leaderboard: Path,
    runs: Path | None,
    stores: Path | None,
    checkpoint_seconds: float,
    **options: Any,
) -> None:
    """Train a network on the images in FOLDER, score it as the heads are scored, append to the same leaderboard.

    The article's models: simple, dropout and augmented are convolutional networks on 250 x 250
    pixels, vgg16-block5 and vgg16-block3 dense layers on a frozen VGG16. vgg16 is fine-tuned, all
    of it or its last blocks; what is frozen is computed once, as extract-features does it.

    Splits, groups, tests, scores, model file and predictions are those of fit-classifier. A fifth
    of the training images (or the validation split) decides when training stops. Killed at any
    instant, the same command goes on.
    """
    from ...extract.engines.keras import choose_keras_backend, make_deterministic
    from ..fit.fitting import Fitting
    from ..fit.image_stores import Stores
    from ..fit.search import Wanted
    from ..heads.architectures import find_architecture
    from ..task.task import make_task

    architecture = find_architecture(arch, trainable=trainable, weights=weights, size=size)
    asked = {name: options.pop(name) for name in PARAMETERS}
    numbers = {
        name: int(value) if isinstance(value, bool) else value for name, value in asked.items()
    }
    given = {name: value for name, value in numbers.items() if value is not None}
    wanted = Wanted("none", {**architecture.parameters, **given})
    wanted.check([architecture.head])
    choose_keras_backend()  # before the images are decoded
    renamed = parse_classes(classes)
    place = stores or leaderboard.parent / "stores"
    made = Stores(place, architecture, weights, group_column, group_regex, max_failed)
    train, others = made.training(source, size), [made.testing(test) for test in tests]
    with message_console().status("") as status:
        task = make_task(
            train,
            layer=architecture.layer,
            tests=others,
            classes=renamed,
            tell=status.update,
            **options,
        )
    make_deterministic()
    fitting = Fitting(
        task,
        wanted,
        leaderboard=leaderboard,
        runs=runs,
        log=log_line,
        checkpoint_seconds=checkpoint_seconds,
        weights=weights if weights not in (None, "random") else "imagenet",
    )
    guessed = options["positive"] is None
    fit_and_print(fitting, [architecture.head], False, guessed=guessed, allow_leaks=allow_leaks)
