"""Command line of the classify room."""

from __future__ import annotations

import csv
import json
import sys
import time
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .. import FreezeframeError, LeakError, MissingExtraError, ParameterError, printable
from . import tables
from .scoring_options import scoring_options

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

    from ..features.store import FeatureStore
    from .fit import Fitting
    from .predict import Prediction
    from .runs import Run


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
@click.option("--layer", metavar="NAME", help="Whose features; by default the deepest layer of the store.")
@click.option(
    "--pooling", type=click.Choice(["flat", "avg", "max"]), help="Of the features; by default what suits the head."
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
@click.option("--calibrate", is_flag=True, help="Calibrate probabilities on images that were not fitted on.")
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

    Scored is on every store given with --test, on grouped folds with --cv, and on the store's own test split; with none
    of these on a stratified hold-out. Hyper-parameters are chosen within the training part. Hold-out and folds keep
    relatives on one side: copies, also those saved anew, resized, cropped or mirrored, and images of one group.

    Other test images that have a relative among the training images leak. They are counted, everything is scored with
    and without them, and if more than half of a test set leaks the exit code is 3.
    """
    from ..extract.keras_engine import make_deterministic
    from ..features.store import FeatureStore
    from .heads import FOR_ANY_LAYER, HEADS
    from .search import Wanted

    everything = "all" in models
    names = list(dict.fromkeys(name for model in models for name in (FOR_ANY_LAYER if model == "all" else [model])))
    wanted = Wanted(search, _parse_parameters(parameters), calibrate, sensitivity)
    wanted.check(names)  # an unknown name is told before anything is read
    renamed = parse_classes(classes)
    train, others = FeatureStore(store), [FeatureStore(test) for test in tests]
    from .task import make_task

    options["layer"] = options["layer"] or _layer_of(names, train)
    with told().status("") as status:
        task = make_task(train, tests=others, classes=renamed, tell=status.update, **options)
    from .fit import Fitting

    slow = any(HEADS[name].layers for name in names)
    if slow:
        make_deterministic()
    fitting = Fitting(task, wanted, leaderboard=leaderboard, runs=runs, log=log_line if slow else None)
    fit_and_print(fitting, names, everything, guessed=options["positive"] is None, allow_leaks=allow_leaks)


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--format", "output", default="table", show_default=True, type=click.Choice(["table", "csv", "json"]))
@click.option("--weights", default="imagenet", metavar="imagenet|PATH", help="Where the backbone's weights come from.")
def predict(model: Path, images: tuple[Path, ...], output: str, weights: str) -> None:
    """Predict the class of images with a fitted head: runs/RUN/model.safetensors."""
    from .model_file import load_model
    from .predict import predict_images

    fitted = load_model(model)
    predictions = predict_images(fitted, images, weights=weights)
    {"table": _print_table, "csv": _print_csv, "json": _print_json}[output](predictions, fitted.classes)
    failed = [prediction for prediction in predictions if prediction.error]
    for prediction in failed:
        click.echo(printable(f"unreadable: {prediction.path}: {prediction.error}"), err=True)
    if failed:
        raise FreezeframeError(f"{len(failed)} of {len(images)} images could not be read")


def _layer_of(names: list[str], store: FeatureStore) -> str | None:
    """The deepest layer that all heads can be fitted on, where it matters."""
    from .heads import HEADS

    fitting = [name for name in store.layers if all(name in (HEADS[head].layers or store.layers) for head in names)]
    return fitting[-1] if fitting else None


def fit_and_print(fitting: Fitting, names: list[str], everything: bool, *, guessed: bool, allow_leaks: bool) -> None:
    """Fit heads and print their scores.

    Args:
        names: of the heads.
        everything: they are all there are, and one whose library is missing is left out.
        guessed: the positive class was.
        allow_leaks: so that test sets that mostly leak are no error.

    Raises:
        LeakError: more than half of a test set leaks.
    """
    done: list[Run] = []
    try:
        _fit_all(fitting, names, everything, done)
    except BaseException:  # what is in the leaderboard is told all the same; the exit code is that of the failure
        _print_runs(done, guessed)
        leaks = _leaks(done, allow_leaks)
        if leaks:
            click.echo(printable(f"error: {leaks}"), err=True)
        raise
    _print_runs(done, guessed)
    leaks = _leaks(done, allow_leaks)
    if leaks:
        raise LeakError(leaks)


def log_line(text: str) -> None:
    """Tell what came of an epoch, in a line of its own above what is going on."""
    told().print(printable(text))


def _fit_all(fitting: Fitting, names: list[str], everything: bool, done: list[Run]) -> None:
    """Fit heads one after the other; one that fails does not keep the others from being fitted.

    Args:
        done: to which each run is added when it is in the leaderboard.
    """
    console = told()
    failed: list[str] = []
    for number, name in enumerate(names, 1):
        start = time.monotonic()
        try:
            with console.status("") as status:
                done.append(fitting.fit(name, partial(_tell, status, f"{name} ({number} of {len(names)})")))
            outcome = f"{time.monotonic() - start:.1f} s, {_briefly(done[-1].row)}"
        except FreezeframeError as error:
            missing = isinstance(error, MissingExtraError)
            if len(names) == 1 or (missing and not everything):
                raise
            failed += [] if missing else [name]
            outcome = f"{'left out' if missing else 'failed'}; {error}"
        if len(names) > 1:
            console.print(printable(f"{name}: {outcome}"))
    if failed:
        raise FreezeframeError(f"{len(failed)} of {len(names)} heads could not be fitted: {', '.join(failed)}")


def _leaks(done: list[Run], allowed: bool) -> str:
    """Of which test sets more than half is known to have relatives in training; empty if of none, or if allowed."""
    found = dict.fromkeys(
        f"{row['n_test_leaking']} of {row['n_test']} of {row['test_set']}, {row['split']}"
        for run in done
        for row in run.rows
        if 2 * row["n_test_leaking"] > row["n_test"]
    )
    if allowed or not found:
        return ""
    return f"more than half of the test images leak ({'; '.join(found)}); --allow-leaks to end with exit code 0"


@cache
def told() -> Console:
    """Where it is told how far the work is; one for all, so that lines and what is going on keep out of each other."""
    from rich.console import Console

    return Console(stderr=True, markup=False, emoji=False, highlight=False, soft_wrap=True)


def _tell(status: Status, head: str, text: str) -> None:
    status.update(f"{head}: {text}")


def _briefly(row: dict[str, Any]) -> str:
    low, high = (tables.percent(row[name]) for name in ("accuracy_low", "accuracy_high"))
    return f"accuracy {tables.percent(row['accuracy'])} ({low}-{high}) on {row['test_set']}, {row['split']}"


def _parse_parameters(texts: tuple[str, ...]) -> dict[str, Any]:
    """`["C=0.1", "knn.weights=distance"]` as a dict; numbers become numbers."""
    parameters: dict[str, Any] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value):
            raise ParameterError(f"--param must be NAME=VALUE or HEAD.NAME=VALUE, got {text!r}")
        parameters[name] = value
        for number in (float, int):
            with suppress(ValueError):
                parameters[name] = number(value)
    return parameters


def parse_classes(text: str | None) -> dict[str, str]:
    """`yes=tumor,no=healthy` as a dict."""
    renamed = {}
    for pair in text.split(",") if text else ():
        old, equals, new = (part.strip() for part in pair.partition("="))
        if not (old and equals and new):
            raise ParameterError(f"--classes must be OLD=NEW,OLD=NEW,..., got {pair!r}")
        renamed[old] = new
    return renamed


def _print_runs(done: list[Run], guessed: bool) -> None:
    if not done:
        return
    tables.print_rows([row for run in done for row in run.rows])
    positive = done[0].row["positive"]
    if positive:
        click.echo(printable(f"sensitivity is that for {positive}" + " (--positive to change)" * guessed), err=True)
    for warning in dict.fromkeys(text for run in done for text in run.warnings):
        click.echo(printable(f"warning: {warning}"), err=True)
    for run in done:
        click.echo(printable(f"model and predictions: {run.folder}"), err=True)


def _print_table(predictions: list[Prediction], classes: tuple[str, ...]) -> None:
    table = tables.table("image", "label")
    table.columns[0].no_wrap = False
    for name in classes:
        table.add_column(f"p({printable(name)})", justify="right", no_wrap=True)
    for prediction in predictions:
        if not prediction.error:
            shares = [f"{prediction.probabilities[name]:.3f}" for name in classes]
            table.add_row(printable(prediction.path), printable(prediction.label), *shares)
    tables.console().print(table)


def _print_csv(predictions: list[Prediction], classes: tuple[str, ...]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["path", "label", *(f"p_{name}" for name in classes), "error"])
    for prediction in predictions:
        shares = [f"{prediction.probabilities[name]:.6f}" if not prediction.error else "" for name in classes]
        writer.writerow([prediction.path, prediction.label, *shares, prediction.error])


def _print_json(predictions: list[Prediction], classes: tuple[str, ...]) -> None:
    rows = [
        {"path": p.path, "label": p.label, "probabilities": p.probabilities} | ({"error": p.error} if p.error else {})
        for p in predictions
    ]
    click.echo(json.dumps(rows, indent=2))
