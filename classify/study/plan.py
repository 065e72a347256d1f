"""The steps of a study, in the order in which they are run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from ...data.output.options import class_text, parse_classes
from .late import compared_runs, held_out_run, mistakes_explained
from .pictures import list_pictures
from .settings import StudySettings
from .sources import StudyImages
from .step import Step

BOARD = "leaderboard.csv"
CHECKED_HEAD = "logreg"
"""Head of the random split and the stress test: it is quick, and no chance is in its fit."""

CONTROL_HEAD = "lda"
"""Head on shuffled labels: they cannot be separated, and `CHECKED_HEAD` would converge for long."""

EDITED_IMAGES = 20
"""Images that the robustness is measured on: 240 pictures for the network."""

TRAINING = "training.h5"


def study_steps(
    settings: StudySettings,
    training: StudyImages,
    tests: Sequence[StudyImages],
    folder: Path,
    trained: Collection[str] = (),
) -> list[Step]:
    """Return the steps of a study.

    Args:
        settings: the settings.
        training: the images to train on.
        tests: the image sets to test on.
        folder: folder of the study.
        trained: classes of the training images, by their names in the files; needed with `tests`.
    """
    stores = [TRAINING, *(f"test-{number}.h5" for number in range(1, len(tests) + 1))]
    own = _of_classes(settings, trained) if tests else settings
    deepest, *shallower = _head_fits(settings, stores)
    fits = [deepest, *_checks(own, stores[0]), *shallower]
    boards = [step.leaderboard for step in fits if step.kind.startswith("heads")]
    steps = [
        _explore(training),
        _audit(settings, training, tests),
        *(
            _extract(settings, source, store)
            for source, store in zip((training, *tests), stores, strict=True)
        ),
        _map(settings),
        *fits,
        _compare(settings, lambda: compared_runs(folder, boards)),
        _explain(
            lambda: mistakes_explained(folder, boards[0], training.path, CHECKED_HEAD),
            settings,
        ),
        _robustness(
            lambda: held_out_run(folder, boards[0], training.path, CHECKED_HEAD),
            settings,
        ),
    ]
    sources = [training.path, *(test.path for test in tests)]
    return [*steps, _report(settings, steps, lambda: list_pictures(folder, sources))]


def _explore(training: StudyImages) -> Step:
    return Step(
        "explore",
        "what the training images are",
        ("explore", str(training.path), "--output", "explore", *training.arguments),
        sources=(training.path,),
        outputs=("explore/index.html", "explore/explore.csv"),
        kind="explore",
    )


def _audit(settings: StudySettings, training: StudyImages, tests: Sequence[StudyImages]) -> Step:
    against = [part for test in tests for part in ("--against", str(test.path))]
    # An option that does not fit a set has no effect on it here.
    options = {
        name: value for images in (*tests, training) for name, value in images.options.items()
    }
    return Step(
        "audit",
        "copies within the training images and the test sets",
        (
            *("audit", str(training.path), *against, "--output", "audit"),
            *replace(training, options=options).arguments,
            *_class_options(settings),
        ),
        sources=(training.path, *(test.path for test in tests)),
        outputs=("audit/index.html", "audit/audit.csv", "audit/groups.csv"),
        kind="audit",
        shown=True,
    )


def _extract(settings: StudySettings, source: StudyImages, store: str) -> Step:
    name = store.removesuffix(".h5")
    layers = settings.layer if not settings.quick else settings.layers
    return Step(
        f"extract-{name}",
        f"features of the images of {source.path.name}",
        (
            *("extract-features", str(source.path), "--output", store),
            *_repeated("--layer", layers),
            *_changed(settings, "backbone", "weights", "engine"),
            *_repeated("--reuse", settings.reuse),
            *source.arguments,
        ),
        sources=(source.path,),
        outputs=(store,),
        kind="copy" if settings.reuse else "extract",
    )


def _map(settings: StudySettings) -> Step:
    return Step(
        "map",
        "a map of the images by their features",
        ("store", "map", TRAINING, "--layer", settings.layers[0], "--output", "map"),
        files=(TRAINING,),
        outputs=("map/map.png", "map/map.csv"),
        needs=("extract-training",),
        kind="map",
    )


def _head_fits(settings: StudySettings, stores: Sequence[str]) -> list[Step]:
    """Return the fits of all heads, on the deepest layer first."""
    tests = _repeated("--test", stores[1:])
    held_out = (*tests, "--hold-out") if tests else ()
    return [
        _fit(
            settings,
            f"heads-{layer}",
            f"all heads on {layer}" if settings.heads == ("all",) else f"heads on {layer}",
            layer,
            (*_repeated("--model", settings.heads), *held_out, *_changed(settings, "seeds")),
            stores,
        )
        for layer in settings.layers
    ]


def _checks(settings: StudySettings, store: str) -> list[Step]:
    """Return the fits on the training images alone that show what a score is worth."""
    checks = {
        "random-split": (
            "what a random split would claim",
            ("--model", CHECKED_HEAD, "--random-split"),
        ),
        "shuffled-labels": (
            "control: a fit on shuffled labels",
            ("--model", CONTROL_HEAD, "--cv", "5", "--control", "shuffled-labels"),
        ),
        "stress": (
            "stress test: look-alikes are kept in one fold, too",
            ("--model", CHECKED_HEAD, "--cv", "5", "--stress"),
        ),
    }
    return [
        _fit(settings, name, title, settings.layers[0], options, [store])
        for name, (title, options) in checks.items()
    ]


def _of_classes(settings: StudySettings, classes: Collection[str]) -> StudySettings:
    """Return the settings without options on classes that the images do not have."""
    renamed = parse_classes(settings.classes).items()
    return replace(
        settings,
        classes=tuple(class_text(old, new) for old, new in renamed if old in classes),
        drop_class=tuple(name for name in settings.drop_class if name in classes),
    )


def _fit(
    settings: StudySettings,
    name: str,
    title: str,
    layer: str,
    options: Sequence[str],
    stores: Sequence[str],
) -> Step:
    """Return a step that fits heads, with a leaderboard of its own and the runs in runs/.

    Args:
        settings: the settings.
        name: name of the step.
        title: what it does.
        layer: layer of the features.
        options: the heads, and how they are scored.
        stores: the training store, then the test stores.
    """
    leaderboard = f"fits/{name}.csv"
    ignore = ("--ignore-patient-ids",) if settings.ignore_patient_ids else ()
    return Step(
        name,
        title,
        (
            *("fit-classifier", stores[0], "--layer", layer, *options, "--allow-leaks"),
            *_class_options(settings),
            *_changed(settings, "positive", "seed"),
            *ignore,
            *("--leaderboard", leaderboard, "--runs", "runs"),
        ),
        files=tuple(stores),
        outputs=(leaderboard,),
        needs=tuple(f"extract-{store.removesuffix('.h5')}" for store in stores),
        kind=name,
        leaderboard=leaderboard,
    )


def _compare(settings: StudySettings, late: Callable[[], Sequence[str] | None]) -> Step:
    return Step(
        "compare",
        "is the best head better than the next, or are they equivalent",
        ("compare", "--format", "csv", *_changed(settings, "margin")),
        files=(BOARD,),
        outputs=("compare.csv",),
        kind="compare",
        printed="compare.csv",
        late=late,
    )


def _explain(late: Callable[[], Sequence[str] | None], settings: StudySettings) -> Step:
    # Models of random weights name them themselves.
    weights = _changed(settings, "weights") if settings.weights != "random" else ()
    return Step(
        "explain",
        "what the worst mistakes were decided by",
        ("explain", "--output", "explain", "--nearest", TRAINING, *weights),
        files=(BOARD, TRAINING),
        outputs=("explain/explanations.json",),
        kind="explain",
        late=late,
    )


def _robustness(late: Callable[[], Sequence[str] | None], settings: StudySettings) -> Step:
    # Models of random weights name them themselves.
    weights = _changed(settings, "weights") if settings.weights != "random" else ()
    return Step(
        "robustness",
        "do answers depend on how a file was saved",
        ("robustness", "--images", str(EDITED_IMAGES), *weights),
        files=(BOARD,),
        # The results are in the folder of the run, whose name is not known yet.
        outputs=("logs/robustness.txt",),
        kind="robustness",
        late=late,
    )


def _report(
    settings: StudySettings, steps: Sequence[Step], late: Callable[[], Sequence[str] | None]
) -> Step:
    outputs = [name for step in steps for name in step.outputs]
    return Step(
        "report",
        "the page about all of it",
        ("report", ".", *_changed(settings, "strict")),
        files=(BOARD, *outputs),
        outputs=("report.html", "report/claim.md", "report/tripod.md", "report/model_card.md"),
        kind="report",
        shown=True,
        # Its exit code says which findings there are.
        always=bool(settings.strict),
        late=late,
    )


def _class_options(settings: StudySettings) -> tuple[str, ...]:
    return (
        *_repeated("--classes", settings.classes),
        *_repeated("--drop-class", settings.drop_class),
    )


def _repeated(option: str, values: Sequence[str]) -> tuple[str, ...]:
    """Return an option once for each value."""
    return tuple(part for value in values for part in (option, value))


def _changed(settings: StudySettings, *names: str) -> tuple[str, ...]:
    """Return the options that differ from their defaults."""
    return tuple(
        part
        for name in names
        if getattr(settings, name) != getattr(StudySettings, name)
        for part in (f"--{name}", str(getattr(settings, name)))
    )
