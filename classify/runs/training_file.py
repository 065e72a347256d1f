"""The file in a run's folder that keeps the fingerprints of its training images."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import numpy as np

from ...data.output.capacity import memory_bytes
from ...errors import ModelFileError
from ..trust.guards.training_images import TrainingImages
from ..trust.guards.training_lookup import TrainingLookup
from .array_file import content_digest, one_line, read_header
from .model_file import FittedHead

TRAINING_FILE = "training_images.safetensors"
TRAINING_FORMAT = "freezeframe-training-images"

_TITLE = f"{TRAINING_FORMAT} 1\n"


class TrainingImagesFile:
    """A file of training images that is written into the folder of each run of a fit.

    Args:
        images: the training images, the same for all runs.

    Attributes:
        digest: digest of the file's content, which model files keep: no other file counts as
            theirs.
    """

    def __init__(self, images: TrainingImages) -> None:
        self._arrays = {name: np.ascontiguousarray(a) for name, a in images.arrays.items()}
        self.digest = content_digest(_TITLE, "", self._arrays)
        self._written: list[Path] = []

    def write(self, folder: Path) -> None:
        """Write the file into a run's folder.

        Raises:
            OSError: the file exists, or cannot be written.
        """
        from safetensors.numpy import save

        path = folder / TRAINING_FILE
        for earlier in self._written:
            # Runs of one fit share the bytes on the disk, where it has hard links.
            with suppress(OSError):
                os.link(earlier, path)
                return
        # "x": a file that exists is never overwritten.
        with path.open("xb") as file:
            file.write(save(self._arrays, {"format": TRAINING_FORMAT, "format_version": "1"}))
        self._written = [path]


def load_lookup(folder: Path, model: FittedHead) -> tuple[TrainingLookup | None, str]:
    """Return the lookup of a run's training images; or None, and the reason.

    Args:
        folder: the folder of the run.
        model: the model of the run.

    Raises:
        ModelFileError: the file was changed, or is that of another model.
    """
    path = folder / TRAINING_FILE
    if not model.training_images:
        return None, "the model file is of an earlier version; fit the head again"
    if not path.is_file():
        return None, f"{path} is missing; keep it beside the model"
    return TrainingLookup(_load_images(path, model)), ""


def _load_images(path: Path, model: FittedHead) -> TrainingImages:
    """Read the training images of a model.

    Raises:
        ModelFileError: the file was changed, or is that of another model.
    """
    advice = "copy the whole run folder again, or delete the file: images are not looked up then"
    try:
        stored, _ = read_header(path)
        if sum(array.n_bytes for array in stored.values()) > memory_bytes():
            raise ValueError("larger than the memory")
        if content_digest(_TITLE, "", stored) != model.training_images:
            raise ValueError("its digest does not match")
        arrays = {name: array.read() for name, array in stored.items()}
        return TrainingImages.restore(arrays, model.classes)
    # Safetensors reports damage by exceptions of several kinds.
    except Exception as error:
        raise ModelFileError(
            f"{path}: not the file that was written with its model ({one_line(error)}); {advice}"
        ) from None
