"""The command `freezeframe run`: the whole study of an image set, in one folder."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ...data.output.files import write_whole
from ...data.output.options import (
    Integer,
    Number,
    class_options,
    group_options,
    layout_option,
    volume_options,
)
from ...data.output.slice_choice import SliceChoice
from ...data.output.terminal import counted, printable
from ...errors import FreezeframeError, LeakError
from .options import test_option

if TYPE_CHECKING:
    from ..study.inputs import ImageFiles
    from ..study.runner import StudyRunner
    from ..study.settings import StudySettings
    from ..study.sources import StudyImages
    from ..study.step import Step

_KEYS = {"tests": "test", "models": "model", "layers": "layer", "drop_classes": "drop_class"}
"""Settings whose name is not that of the parameter."""


@click.command()
@click.argument("source", metavar="[FOLDER|CSV]", required=False, type=click.Path(path_type=Path))
@test_option("FOLDER|CSV", exists=False)
@click.option(
    "--output",
    metavar="STUDY",
    type=click.Path(path_type=Path),
    help="Folder of the study; by default studies/ and the name of FOLDER.",
)
@click.option(
    "--quick",
    is_flag=True,
    help="Try it out: 100 images of each class at most, one layer, three heads.",
)
@click.option(
    "--config",
    metavar="TOML",
    type=click.Path(path_type=Path),
    help="File with these options by name, such as the run.toml of a study. "
    "Options of the command line override it.",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    default=("all",),
    show_default=True,
    metavar="HEAD",
    help="Head to fit. Repeat it for more heads; see fit-classifier.",
)
@click.option(
    "--layer",
    "layers",
    multiple=True,
    default=("block3_pool", "block5_pool"),
    show_default=True,
    metavar="NAME",
    help="Layer of the features. Repeat it for more layers, the deepest last: the report is about "
    "it.",
)
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=Integer(0, 2**32 - 1),
    help="Seed of the splits and of the fits.",
)
@class_options
@click.option(
    "--positive",
    default="",
    metavar="CLASS",
    help="Class that sensitivity is computed for; see fit-classifier.",
)
@group_options
@layout_option
@volume_options
@click.option(
    "--backbone",
    default="vgg16",
    show_default=True,
    metavar="vgg16|pixels-N",
    help="Frozen network; see extract-features.",
)
@click.option(
    "--weights",
    default="imagenet",
    show_default=True,
    metavar="imagenet|random|PATH",
    type=click.Path(),
    help="Weights of the network.",
)
@click.option(
    "--engine",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "keras", "mnn", "none"]),
    help="Engine that computes the features; see extract-features.",
)
@click.option(
    "--reuse",
    multiple=True,
    metavar="STORE",
    type=click.Path(path_type=Path),
    help="Store of the same provenance to copy features from. Repeat the option for more stores.",
)
@click.option(
    "--margin",
    default=2.0,
    show_default=True,
    metavar="POINTS",
    type=Number(0, 100, min_open=True),
    help="Smallest difference between heads that matters, in percentage points; see compare.",
)
@click.option(
    "--seeds",
    default=1,
    show_default=True,
    metavar="N",
    type=Integer(1, 1000),
    help="Fit each head that draws with N seeds; see fit-classifier.",
)
@click.option(
    "--strict",
    default="",
    metavar="CODE,...",
    help="Codes of findings of the report that end with exit code 3; see report.",
)
def run(config: Path | None, choice: SliceChoice, **options: Any) -> None:
    """Do the whole study of the images in FOLDER: all steps, and one page at the end.

    The steps are explore, audit, extract-features, fit-classifier on each layer, its controls,
    compare, explain and report. Each is a command of its own, and says how to run it alone. All
    results are in the folder of the study. Without FOLDER, the command uses the built-in synthetic
    demo set.

    After a stop, a crash or a failed step, run the same command again to continue. A step whose
    inputs have not changed is not repeated.
    """
    # Imports wait for the command, so that --help is quick.
    from ..study.child import Screen, ended_by_signals
    from ..study.place import open_folder, placed
    from ..study.runner import StudyRunner, locked
    from ..study.settings import SETTINGS_FILE

    settings = placed(_settings(config, options | asdict(choice)))
    folder = open_folder(settings)
    with ended_by_signals(), locked(folder) as lock:
        write_whole(folder / SETTINGS_FILE, settings.to_toml())
        screen = Screen(_say, _show, sys.stderr.isatty())
        steps, sets = _steps(settings, folder)
        study = StudyRunner(folder, steps, sets, screen, lock)
        try:
            study.run()
        except KeyboardInterrupt:
            _say("stopped; run the same command again to continue")
            raise
    _conclude(study)


def _settings(config: Path | None, options: Mapping[str, Any]) -> StudySettings:
    """Return the settings that the command line and the TOML file name.

    Args:
        config: the TOML file.
        options: values of the command line by name of the parameter, defaults included.
    """
    from ..study.settings import StudySettings, read_settings

    context = click.get_current_context()
    values = read_settings(config) if config else {}
    for name, value in options.items():
        typed = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        key = _KEYS.get(name, name)
        if typed or key not in values:
            values[key] = _plain(value)
    return StudySettings(**values)


def _plain(value: Any) -> Any:
    """Return a value as TOML has it: paths are texts, nothing is an empty text."""
    if isinstance(value, tuple):
        return tuple(map(str, value))
    return value if isinstance(value, bool | int | float) else str(value or "")


def _steps(settings: StudySettings, folder: Path) -> tuple[list[Step], dict[Path, ImageFiles]]:
    """Look at the image sets; return the steps of the study and the files of each set."""
    from ..study.class_names import name_classes
    from ..study.inputs import image_files
    from ..study.place import source_folder
    from ..study.plan import study_steps
    from ..study.settings import SETTINGS_FILE
    from ..study.sources import source_to_test_on, source_to_train_on

    training = source_to_train_on(settings, source_folder(settings))
    tests = [source_to_test_on(settings, Path(path)) for path in settings.test]
    # A mistake in a class ends the command before its first step.
    named = name_classes(settings, training, tests)
    for sentence in named.sentences:
        _say(sentence)
    settings = named.settings
    write_whole(folder / SETTINGS_FILE, settings.to_toml())
    if settings.quick:
        training, *tests = _few(settings, [training, *tests], folder)
    sets = {source.path: image_files(source.path) for source in (training, *tests)}
    return study_steps(settings, training, tests, folder, named.trained), sets


def _few(
    settings: StudySettings, sources: Sequence[StudyImages], folder: Path
) -> list[StudyImages]:
    """List a few images of each set, and say how many."""
    from ..study.place import image_set_name
    from ..study.sources import quick_source

    few: dict[str, StudyImages] = {}
    for number, source in enumerate(sources):
        whole = source.path if number or settings.source else None
        name = image_set_name(whole)
        # Two sets may have one name.
        name = f"{name}-{number}" if name in few else name
        few[name], sentence = quick_source(settings, source, name, folder)
        _say(f"quick: {sentence}; the scores are a try, no result")
    return list(few.values())


def _conclude(study: StudyRunner) -> None:
    """Name what the study left; raise for the steps that failed or found what is not allowed."""
    page = study.folder / "report.html"
    if page.exists():
        click.echo(printable(f"report: {page}"))
    click.echo(printable(f"all results: {study.folder}"))
    if study.failed:
        raise FreezeframeError(
            f"{len(study.failed)} of {counted(len(study.steps), 'step')} failed: "
            f"{', '.join(study.failed)}; correct the cause, then run the same command again"
        )
    if study.strict:
        raise LeakError(f"--strict: the report has findings that it names; see {page}")


def _say(text: str) -> None:
    """Print a line about the work on standard error."""
    click.echo(printable(text), err=True)


def _show(block: bytes) -> None:
    """Pass on what a step writes on standard error."""
    sys.stderr.buffer.write(block)
    sys.stderr.buffer.flush()
