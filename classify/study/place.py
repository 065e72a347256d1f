"""The folder of a study: where it is, and whether it may be filled."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...data.demo.images import demo_folder
from ...data.output.reports import ReportFolder
from ...errors import FreezeframeError, ParameterError
from .settings import LOCK_FILE, SETTINGS_FILE, StudySettings, earlier_source

STUDIES = "studies"
"""Folder of the studies, in the current folder, if none is named."""


def image_set_name(path: Path | None) -> str:
    """Return the name of an image set: that of its folder, and of a list, too.

    Examples:
        >>> image_set_name(Path("/scans/navoneel"))
        'navoneel'
        >>> image_set_name(Path("/scans/progression/list.csv"))
        'progression-list'
        >>> image_set_name(None)
        'demo'
    """
    if path is None:
        return "demo"
    name = f"{path.parent.name}-{path.stem}" if path.suffix == ".csv" else path.name
    return re.sub(r"[^\w.-]+", "-", name).strip(".-") or "images"


def placed(settings: StudySettings) -> StudySettings:
    """Return the settings with absolute paths, and with an output folder if none is named."""
    # A quick study must not replace the results of a whole one.
    name = image_set_name(Path(settings.source).absolute() if settings.source else None)
    name += "-quick" * settings.quick
    paths: dict[str, Any] = {
        key: str(Path(value).absolute())
        for key in ("source", "label_from_mask")
        if (value := getattr(settings, key))
    }
    if settings.weights not in ("imagenet", "random"):
        paths["weights"] = str(Path(settings.weights).absolute())
    return replace(
        settings,
        **paths,
        output=str(Path(settings.output or Path(STUDIES, name)).absolute()),
        test=tuple(str(Path(path).absolute()) for path in settings.test),
        reuse=tuple(str(Path(path).absolute()) for path in settings.reuse),
    )


def source_folder(settings: StudySettings) -> Path:
    """Return the folder or list of the training images; the demo set is drawn on first use."""
    return Path(settings.source) if settings.source else demo_folder()


def open_folder(settings: StudySettings) -> Path:
    """Make the folder of a study, or check that it may be filled.

    Raises:
        ParameterError: an image set does not exist, or the folder is within one, holds other files
            or the study of other images.
        FreezeframeError: the folder cannot be made.
    """
    folder = Path(settings.output)
    sets = [Path(path) for path in (settings.source, *settings.test) if path]
    for path in sets:
        if not path.exists():
            raise ParameterError(f"{path}: no such folder or list; check the path")
    ReportFolder(folder, "run", {}).check((), sets)
    before = earlier_source(folder) if folder.exists() else None
    if before is not None and before != settings.source:
        raise ParameterError(
            f"{folder}: holds the study of {before or 'the demo set'}; give another --output"
        )
    files = {path.name for path in folder.iterdir()} if folder.exists() else set()
    # A run that was killed at once leaves its lock only.
    if before is None and files - {LOCK_FILE}:
        raise ParameterError(
            f"{folder}: has files, but no {SETTINGS_FILE} of a study; give another --output"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FreezeframeError(
            f"{folder}: cannot be made ({error.strerror}); give another --output"
        ) from None
    return folder
