"""The command `freezeframe fit-classifier`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...data.output.options import Integer, Number, check_idle, parse_classes, patient_option
from ...data.output.terminal import message_console
from .head_results import fit_and_print, log_line, parse_parameters
from .options import check_hold_out, check_scoring, scoring_options, test_option

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
    help="Head to fit. Repeat it for more heads. 'all' fits the heads for any layer; "
    "an unknown name lists all names.",
)
@click.option(
    "--layer",
    metavar="NAME",
    help="Layer of the features; by default the deepest in the store.",
)
@click.option(
    "--pooling",
    type=click.Choice(["flat", "avg", "max"]),
    help="Pooling of the features; by default the one that suits the head.",
)
@test_option("STORE", exists=False)
@click.option(
    "--search",
    default="default",
    show_default=True,
    type=click.Choice(["none", "default", "wide"]),
    help="Size of the search for hyper-parameters, within the training part.",
)
@click.option(
    "--param",
    "parameters",
    multiple=True,
    metavar="[HEAD.]NAME=VALUE",
    help="Fixed hyper-parameter, of one head or of all that have it. Repeat it for more.",
)
@click.option(
    "--calibrate",
    is_flag=True,
    help="Calibrate probabilities on images that were not fitted on.",
)
@click.option(
    "--sensitivity",
    type=Number(0, 1, min_open=True),
    metavar="SHARE",
    help="Choose the threshold so that this share of the positive class is found.",
)
@click.option(
    "--seeds",
    "n_seeds",
    default=1,
    show_default=True,
    type=Integer(1, 1000),
    metavar="N",
    help="Fit each head that draws (networks, xgboost, extra-trees) with N seeds, from --seed on. "
    "Splits and folds stay the same. The row is that of the first seed; the accuracies of all "
    "stand beside it.",
)
@click.option(
    "--error-rate",
    default=0.1,
    show_default=True,
    type=Number(0, 1, min_open=True, max_open=True),
    metavar="SHARE",
    help="Say 'cannot say' about new images where needed, so that at most this share of all of "
    "them, if they are like the training images, gets a wrong answer.",
)
@click.option(
    "--stress",
    is_flag=True,
    help="Cross-validate each head also while more and more similar images are kept together; "
    "5 folds without --cv.",
)
@click.option(
    "--control",
    type=click.Choice(["shuffled-labels"]),
    help="Fit and score on labels that are shuffled between groups: a head that still beats chance "
    "shows a leak.",
)
@click.option(
    "--random-split",
    is_flag=True,
    help="Hold out images at random, whatever their splits and relatives, as most people do: "
    "the score shows what leaks add.",
)
@patient_option
@scoring_options
def fit_classifier(
    store: Path,
    models: tuple[str, ...],
    tests: tuple[Path, ...],
    classes: tuple[str, ...],
    search: str,
    parameters: tuple[str, ...],
    calibrate: bool,
    sensitivity: float | None,
    n_seeds: int,
    error_rate: float,
    stress: bool,
    control: str | None,
    leaderboard: Path,
    runs: Path | None,
    allow_leaks: bool,
    **options: Any,
) -> None:
    """Fit heads on the features in STORE, score them on unseen images, append to the leaderboard.

    Scores are computed on each store given with --test, on grouped folds with --cv, and on the
    store's own test split. Without any of these, they are computed on a stratified hold-out.
    Hyper-parameters are chosen within the training part. Hold-out and folds keep relatives on one
    side: images of one group, and copies, even if saved again, resized, cropped or mirrored.

    Other test images that have a relative among the training images leak. They are counted, and
    every score is computed with and without them. If more than half of a test set leaks, the exit
    code is 3.
    """
    from ...extract.engines.keras import make_deterministic
    from ...features.store import FeatureStore
    from ..fit.search import FitOptions
    from ..heads.table import HEADS

    check_scoring(options, tests)
    check_idle("random_split", bool(tests or options["n_folds"]), "with --test or --cv")
    names = _head_names(models)
    fit_options = FitOptions(
        search, parse_parameters(parameters), calibrate, sensitivity, n_seeds, error_rate
    )
    # A wrong name must fail before the command reads any store.
    fit_options.check(names)
    renamed = parse_classes(classes)
    train = FeatureStore(store)
    test_stores = [FeatureStore(test) for test in tests]
    # Imported late: a missing store is reported before slow libraries load.
    from ..fit.fitting import HeadFitter
    from ..task.control import with_shuffled_labels
    from ..task.task import make_task

    options["layer"] = options["layer"] or _layer_for(names, train)
    with message_console().status("", spinner="line") as line:
        task = make_task(train, tests=test_stores, classes=renamed, status=line.update, **options)
    check_hold_out(task)
    if control:
        task = with_shuffled_labels(task)
    networks = any(HEADS[name].layers for name in names)
    # This setting holds for the rest of the process, which is this command.
    if networks:
        make_deterministic()
    fitter = HeadFitter(
        task,
        fit_options,
        leaderboard=leaderboard,
        runs=runs,
        log=log_line if networks else None,
    )
    fit_and_print(fitter, names, "all" in models, allow_leaks=allow_leaks, stress=stress)


def _head_names(models: tuple[str, ...]) -> list[str]:
    """Replace "all" by the names of all heads for any layer, and drop repeats."""
    from ..heads.table import FOR_ANY_LAYER

    names: list[str] = []
    # "all" may be one of several: --model all --model early-blocks.
    for model in models:
        names += FOR_ANY_LAYER if model == "all" else [model]
    return list(dict.fromkeys(names))


def _layer_for(names: list[str], store: FeatureStore) -> str | None:
    """Return the deepest layer of the store that all heads can be fitted on, or None."""
    from ..heads.table import HEADS

    # Heads without layers of their own take any.
    layers = set(store.layers)
    for name in names:
        layers &= set(HEADS[name].layers or store.layers)
    # None lets the task take its default, so that the error names the layer that does not fit.
    ordered = [layer for layer in store.layers if layer in layers]
    return ordered[-1] if ordered else None
