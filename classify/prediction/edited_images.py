"""Predictions of edited images: each original file is read once, and its edits stay in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ...data.edits import Edit
from ...data.formats.image_file import open_image
from ...errors import FreezeframeError, ImageError
from .image_input import ImageInput
from .predictor import Predictor


def predict_edited(
    predictor: Predictor,
    paths: Sequence[str | os.PathLike[str]],
    sha256s: Sequence[str],
    edits: Sequence[Edit],
    progress: Callable[[int, int], None] = lambda finished, total: None,
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Predict images as they are and after each edit.

    Args:
        predictor: the model.
        paths: the images, n of them.
        sha256s: digest that each file must have; "" for any.
        edits: the edits.
        progress: called with the number of finished predictions and of all.

    Returns:
        Probabilities of shape (1 + n_edits, n, n_classes), those of the unedited images first, and
        the numbers of the predicted classes, of shape (1 + n_edits, n).

    Raises:
        FreezeframeError: a file is missing, cannot be read or edited, or is another one.
    """
    classes = predictor.model.classes
    n_versions = 1 + len(edits)
    proba = np.empty((len(paths), n_versions, len(classes)))
    predicted = np.empty((len(paths), n_versions), dtype=np.intp)
    answers = predictor.stream(_versions(paths, sha256s, edits))
    for number, answer in enumerate(answers):
        image, version = divmod(number, n_versions)
        if answer.error:
            raise FreezeframeError(f"{paths[image]}: cannot be read ({answer.error})")
        proba[image, version] = [answer.probabilities[name] for name in classes]
        predicted[image, version] = classes.index(answer.label)
        progress(number + 1, predicted.size)
    return proba.transpose(1, 0, 2).copy(), predicted.T.copy()


def _versions(
    paths: Sequence[str | os.PathLike[str]], sha256s: Sequence[str], edits: Sequence[Edit]
) -> Iterator[ImageInput]:
    """Yield each image as it is, by its path, and then with each edit."""
    for path, sha256 in zip(paths, sha256s, strict=True):
        try:
            image = open_image(path)
            if sha256 not in ("", image.sha256):
                raise FreezeframeError(
                    f"{path}: is not the file that the run was tested on; give the folder or list "
                    "of the images that its features were extracted from"
                )
            pixels = image.pixels()
        except (ImageError, OSError) as error:
            raise FreezeframeError(f"{path}: cannot be read ({error})") from None
        yield path
        for edit in edits:
            try:
                edited = edit.apply(pixels)
            # No JPEG has a side above 65,500 pixels.
            except (OSError, ValueError) as error:
                height, width = pixels.shape[:2]
                raise FreezeframeError(
                    f"{path}: the edit {edit.title} of {width} x {height} pixels fails "
                    f"({error}); give a copy of the folder or list without this image"
                ) from None
            yield edited
