"""The place of a model file: its own path, or a run's folder."""

from __future__ import annotations

import os
from pathlib import Path

from ...errors import ModelFileError
from ..runs.training_file import TRAINING_FILE

MOST_NAMED = 5
"""Most model files that an error names."""


def find_model(place: str | os.PathLike[str]) -> Path:
    """Return the path of a model file; a run's folder, or a folder of one run, has it inside.

    Raises:
        ModelFileError: a folder has no model file, or several; the text lists them.
    """
    path = Path(place)
    if not path.is_dir():
        return path
    # The folder of a run first: its own model is meant, whatever else is below.
    for pattern in ("*.safetensors", "*/*.safetensors"):
        models = [model for model in sorted(path.glob(pattern)) if model.name != TRAINING_FILE]
        if len(models) == 1:
            return models[0]
        if models:
            names = ", ".join(str(model.relative_to(path)) for model in models[:MOST_NAMED])
            more = f" and {len(models) - MOST_NAMED} more" if len(models) > MOST_NAMED else ""
            raise ModelFileError(f"{path}: holds several model files, {names}{more}; give one")
    raise ModelFileError(
        f"{path}: no model file in this folder; fit-classifier writes runs/<run id>"
    )
