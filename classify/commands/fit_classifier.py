"""Command line of the classify room."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...data.output.options import parse_classes
from ...data.output.terminal import message_console
from .fitting import fit_and_print, log_line, parse_parameters
from .options import scoring_options

if TYPE_CHECKING:
    from ...features.store import FeatureStore


@click.command()
@click.argument("store", default="features.h5", type=click.Path(path_type=Path))
@click.option(
    "--model",
    "models",
    multiple=True,
    default=("logreg",),
    show_default=True,
    metavar="HEAD",
    help="A head to fit; may be given several times. all: those for any layer. An unknown name lists all.",
)
@click.option(
    "--layer", metavar="NAME", help="Whose features; by default the deepest layer of the store."
)
@click.option(
    "--pooling",
    type=click.Choice(["flat", "avg", "max"]),
    help="Of the features; by default what suits the head.",
)
@click.option(
    "--test",
    "tests",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="STORE",
    help="Another store, to be tested on; may be given several times.",
)
@click.option(
    "--search",
    default="default",
    show_default=True,
    type=click.Choice(["none", "default", "wide"]),
    help="How many hyper-parameters to choose from, within the training part.",
)
@click.option(
    "--param",
    "parameters",
    multiple=True,
    metavar="[HEAD.]NAME=VALUE",
    help="Fix a hyper-parameter, of one head or of all that have it; may be given several times.",
)
@click.option(
    "--calibrate", is_flag=True, help="Calibrate probabilities on images that were not fitted on."
)
@click.option(
    "--sensitivity",
    type=float,
    metavar="SHARE",
    help="Choose the threshold to find this share of the positive class.",
)
@scoring_options
def fit_classifier(
    store: Path,
    models: tuple[str, ...],
    tests: tuple[Path, ...],
    classes: str | None,
    search: str,
    parameters: tuple[str, ...],
    calibrate: bool,
    sensitivity: float | None,
    leaderboard: Path,
    runs: Path | None,
    allow_leaks: bool,
    **options: Any,
) -> None:
    """Fit heads on the features in STORE, score them on images they have not seen, append to the leaderboard.

    Scored is on every store given with --test, on grouped folds with --cv, and on the store's own
    test split; with none of these on a stratified hold-out. Hyper-parameters are chosen within the
    training part. Hold-out and folds keep relatives on one side: copies, also those saved anew,
    resized, cropped or mirrored, and images of one group.

    Other test images that have a relative among the training images leak. They are counted,
    everything is scored with and without them, and if more than half of a test set leaks the exit
    code is 3.
    """
    from ...extract.engines.keras import make_deterministic
    from ...features.store import FeatureStore
    from ..fit.search import Wanted
    from ..heads.table import FOR_ANY_LAYER, HEADS

    everything = "all" in models
    names = list(
        dict.fromkeys(
            name for model in models for name in (FOR_ANY_LAYER if model == "all" else [model])
        )
    )
    wanted = Wanted(search, parse_parameters(parameters), calibrate, sensitivity)
    wanted.check(names)  # an unknown name is told before anything is read
    renamed = parse_classes(classes)
    train, others = FeatureStore(store), [FeatureStore(test) for test in tests]
    from ..task.task import make_task

    options["layer"] = options["layer"] or _layer_of(names, train)
    with message_console().status("") as status:
        task = make_task(train, tests=others, classes=renamed, tell=status.update, **options)
    from ..fit.fitting import Fitting

    slow = any(HEADS[name].layers for name in names)
    if slow:
        make_deterministic()
    fitting = Fitting(
        task, wanted, leaderboard=leaderboard, runs=runs, log=log_line if slow else None
    )
    fit_and_print(
        fitting, names, everything, guessed=options["positive"] is None, allow_leaks=allow_leaks
    )


def _layer_of(names: list[str], store: FeatureStore) -> str | None:
    """The deepest layer that all heads can be fitted on, where it matters."""
    from ..heads.table import HEADS

    fitting = [
        name
        for name in store.layers
        if all(name in (HEADS[head].layers or store.layers) for head in names)
    ]
    return fitting[-1] if fitting else None
