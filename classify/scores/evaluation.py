"""Predictions of a head on one test set, with the images that they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import FreezeframeError
from ..task.relatives import UNKNOWN
from .predictions import Predictions


@dataclass(frozen=True)
class Evaluation:
    """Predictions of a head on one test set, with the images that they belong to.

    Attributes:
        test_id: identifies the test images and their labels.
        test_set, split: names of the test set, as in the leaderboard.
        classes: names of the classes, in the order of the probabilities.
        paths, sha256s: the images, in the order of the predictions' rows; sha256s may be empty
            texts.
        predictions: true classes, probabilities, groups and the positive class.
        relatives: relation of each image to the training images, a key of `LEVELS`, of shape
            (n_rows,); "" if it has none, `UNKNOWN` if that could not be checked.
        looked_for: True if the fit looked for all kinds of relatives; older versions noticed
            byte-identical files only.
        patients: patient of each image, "patient 1" say, "" for none; empty if all are unknown.
        unit: what a row is, "image", or `PATIENT` or `GROUP` in an evaluation by patient.
    """

    test_id: str
    test_set: str
    split: str
    classes: tuple[str, ...]
    paths: Sequence[str]
    sha256s: Sequence[str]
    predictions: Predictions
    relatives: NDArray[np.str_]
    looked_for: bool = True
    patients: Sequence[str] = ()
    unit: str = "image"

    @property
    def in_training(self) -> NDArray[np.bool_]:
        """True where an image is byte for byte among the training images, of shape (n_rows,)."""
        return np.asarray(self.relatives == "bytes")

    @property
    def clean(self) -> NDArray[np.bool_]:
        """True where an image has no relative among the training images, of shape (n_rows,)."""
        return np.asarray(self.relatives == "")

    @property
    def leaking(self) -> NDArray[np.bool_]:
        """True where an image has a relative among the training images, of shape (n_rows,)."""
        return np.asarray(~self.clean & ~self.unknown)

    @property
    def unknown(self) -> NDArray[np.bool_]:
        """True where relatives in training could not be checked, of shape (n_rows,)."""
        return np.asarray(self.relatives == UNKNOWN)

    @property
    def positive(self) -> str:
        """Name of the positive class; empty without one."""
        return "" if self.predictions.positive is None else self.classes[self.predictions.positive]

    def images(self) -> list[tuple[str, str]]:
        """Return bytes (or, if they are unknown, path) and label of each image, to identify it."""
        # Bytes identify an image even if its folder was moved. Labels are part of the identity,
        # since runs with other labels have another test set.
        labels = [self.classes[number] for number in self.predictions.y]
        return [
            (sha256 or path, label)
            for sha256, path, label in zip(self.sha256s, self.paths, labels, strict=True)
        ]

    def like(self, reference: Evaluation) -> Predictions:
        """Return the predictions in the order of another evaluation of the same images.

        Rows, classes, groups and the positive class become those of the reference.

        Raises:
            FreezeframeError: the reference has different images or classes.
        """
        rows = self.rows_like(reference)
        columns = np.array([self.classes.index(name) for name in reference.classes])
        # The inverse permutation: from class numbers here to those of the reference.
        renumbered = np.argsort(columns)
        return Predictions(
            reference.predictions.y,
            self.predictions.proba[:, rows][:, :, columns],
            renumbered[self.predictions.predicted[:, rows]],
            reference.predictions.groups,
            reference.predictions.positive,
        )

    def rows_like(self, reference: Evaluation) -> NDArray[np.intp]:
        """Return, for each row of another evaluation of the same images, the row of this one.

        Raises:
            FreezeframeError: the reference has different images or classes.
        """
        own = self.images()
        theirs = reference.images()
        # Two runs on one store list the images in the same order.
        if own == theirs and self.classes == reference.classes:
            return np.arange(len(own))
        if sorted(own) != sorted(theirs):
            raise FreezeframeError(
                f"two runs on {reference.test_set}, {reference.split} have the same test id "
                f"{reference.test_id} but not the same images: one predictions.csv was changed; "
                "fit again"
            )
        # A test set may hold two of the three classes that one of the heads knows.
        if sorted(self.classes) != sorted(reference.classes):
            raise FreezeframeError(
                f"two runs on {reference.test_set}, {reference.split} know different classes, "
                f"{', '.join(reference.classes)} and {', '.join(self.classes)}, so that no test "
                "compares them; fit both on the same classes"
            )
        rows = np.empty(len(own), dtype=np.intp)
        # Copies of a picture have the same bytes. Their paths keep the pairing one to one.
        rows[_order(reference)] = _order(self)
        return rows


def _order(evaluation: Evaluation) -> list[int]:
    """Return the row numbers, sorted by image and path."""
    keys = list(zip(evaluation.images(), evaluation.paths, strict=True))
    return sorted(range(len(keys)), key=keys.__getitem__)
