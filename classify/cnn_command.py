"""Command line of end-to-end networks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .. import ParameterError
from ..data.terminal import group_options
from .commands import fit_and_print, log_line, parse_classes, told
from .scoring_options import scoring_options

if TYPE_CHECKING:
    from ..features.store import FeatureStore
    from .architectures import Architecture


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
@click.option("--weights", metavar="imagenet|random|PATH", help="What VGG16 starts with; by default ImageNet's.")
@click.option("--size", type=int, metavar="PIXELS", help="Of networks on pixels; by default 250, of vgg16 224.")
@click.option("--epochs", type=int, help="At most; by default 10.")
@click.option("--patience", type=int, help="Epochs without a better validation loss before it stops.")
@click.option(
    "--keep",
    default="best",
    show_default=True,
    type=click.Choice(["best", "last"]),
    help="Weights of the best epoch, or those of the last, for which all epochs are trained.",
)
@click.option("--batch-size", type=int, help="By default 32.")
@click.option("--learning-rate", type=float, help="Of Adam; by default 0.001, of vgg16 0.00001.")
@click.option("--augment/--no-augment", default=None, help="Of networks on pixels; by default what the arch says.")
@click.option("--class-weights", is_flag=True, help="Count each class alike, however many images it has.")
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
    allow_leaks: bool,
    leaderboard: Path,
    runs: Path | None,
    stores: Path | None,
    checkpoint_seconds: float,
    **options: Any,
) -> None:
    """Train a network on the images in FOLDER, score it as the heads are scored, append to the same leaderboard.

    The article's models: simple, dropout and augmented are convolutional networks on 250 x 250 pixels, vgg16-block5 and
    vgg16-block3 dense layers on a frozen VGG16. vgg16 is fine-tuned, all of it or its last blocks; what is frozen is
    computed once, as extract-features does it.

    Splits, groups, tests, scores, model file and predictions are those of fit-classifier. A fifth of the training
    images (or the validation split) decides when training stops. Killed at any instant, the same command goes on.
    """
    from ..extract.keras_engine import choose_keras_backend, make_deterministic
    from .architectures import find_architecture
    from .search import Wanted
    from .task import make_task

    architecture = find_architecture(arch, trainable=trainable, weights=weights, size=size)
    wanted = Wanted("none", _parameters(architecture, options))
    wanted.check([architecture.head])
    choose_keras_backend()  # before the images are decoded
    renamed = parse_classes(classes)
    place = stores or leaderboard.parent / "stores"
    groups = {"group_column": group_column, "group_regex": group_regex}
    _check_store(source, {**groups, "weights": weights if architecture.backbone.tensors else None})
    train = _store(source, architecture, place, weights, groups)
    others = [_store(test, architecture, place, weights, groups, unmatched="ignored") for test in tests]
    if size is not None and train.provenance["backbone"] != architecture.backbone.name:
        raise ParameterError(f"size is {size}, but {source} is a store of {train.provenance['backbone']}")
    with told().status("") as status:
        task = make_task(train, layer=architecture.layer, tests=others, classes=renamed, tell=status.update, **options)
    from .fit import Fitting

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


def _parameters(architecture: Architecture, options: dict[str, Any]) -> dict[str, Any]:
    """Hyper-parameters of the head; what was given on the command line is taken out of the options."""
    names = ("epochs", "patience", "keep", "batch_size", "learning_rate", "augment", "class_weights", "precision")
    given = {name: options.pop(name) for name in names}
    asked = {
        name: int(value) if isinstance(value, bool) else value for name, value in given.items() if value is not None
    }
    return {**architecture.parameters, **asked}


def _check_store(source: Path, given: Mapping[str, str | None]) -> None:
    """Raise ParameterError if something is asked of a store that only a folder can be made to have."""
    for name, value in given.items():
        if value is not None and _is_store(source):
            raise ParameterError(f"{name} is for folders and lists; {source} is a store, and is taken as it is")


def _is_store(source: Path) -> bool:
    from ..features.layout import begins_as_store

    return source.is_file() and begins_as_store(source)


def _store(
    source: Path,
    architecture: Architecture,
    place: Path,
    weights: str | None,
    groups: dict[str, str | None],
    unmatched: str = "refused",
) -> FeatureStore:
    """The store of what the network is fitted on: the one given, or that of a folder, filled with what it lacks."""
    from ..data.manifest import read_manifest
    from ..extract.commands import extract_and_tell
    from ..extract.settings import Settings
    from ..features.store import FeatureStore

    if _is_store(source):
        return FeatureStore(source)
    column = groups["group_column"] if source.is_file() else None
    manifest = read_manifest(source, group_column=column, group_regex=groups["group_regex"], unmatched=unmatched)
    backbone, layer = architecture.backbone, architecture.layer
    frozen = bool(backbone.tensors)
    settings = Settings(
        layers=(layer,),
        backbone=backbone.name,
        weights=weights or "imagenet" if frozen else "imagenet",
        dtype="float32" if frozen else "float16",  # which holds all pixels exactly
    )
    place.mkdir(parents=True, exist_ok=True)
    where = hashlib.sha256(str(source.resolve()).encode()).hexdigest()[:8]  # two folders may be called alike
    what = "-".join([backbone.name, *[layer] * frozen, *["random"] * (frozen and settings.weights == "random")])
    return extract_and_tell(manifest, place / f"{source.resolve().stem}-{where}-{what}.h5", settings)
