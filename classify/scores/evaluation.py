"""What a head said of one test set, and of which images."""

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
    """What a head said of one test set.

    Attributes:
        test_id: of the test images and their labels.
        test_set, split: names of the test set, as in the leaderboard.
        classes: names of the classes, in the order of the probabilities.
        paths, sha256s: the images, in the order of the predictions' rows; sha256s may be empty
            texts.
        predictions: true classes, probabilities, groups and the positive class.
        relatives: how each image is related to one that was trained on, a key of `LEVELS`, of shape
            (n_rows,); "" if it is not, `UNKNOWN` if that could not be found out.
        looked_for: whether all relatives were; older versions noticed byte-identical files alone.
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

    @property
    def in_training(self) -> NDArray[np.bool_]:
        """Which images are byte for byte among the training images, of shape (n_rows,)."""
        return np.asarray(self.relatives == "bytes")

    @property
    def clean(self) -> NDArray[np.bool_]:
        """Which images are known to have no relative among the training images, of shape (n_rows,)."""
        return np.asarray(self.relatives == "")

    @property
    def leaking(self) -> NDArray[np.bool_]:
        """Which images are known to have a relative among the training images, of shape (n_rows,)."""
        return np.asarray(~self.clean & ~self.unknown)

    @property
    def unknown(self) -> NDArray[np.bool_]:
        """Of which images that could not be found out, of shape (n_rows,)."""
        return np.asarray(self.relatives == UNKNOWN)

    @property
    def positive(self) -> str:
        """Name of the positive class; empty without one."""
        return "" if self.predictions.positive is None else self.classes[self.predictions.positive]

    def images(self) -> list[tuple[str, str]]:
        """What tells each image from the others and from those of another test set: its bytes, else its path."""
        labels = [self.classes[number] for number in self.predictions.y]
        return [
            (sha256 or path, label)
            for sha256, path, label in zip(self.sha256s, self.paths, labels, strict=True)
        ]

    def like(self, other: Evaluation) -> Predictions:
        """The predictions with rows, classes, groups and positive class as in another evaluation of the same images.

        Raises:
            FreezeframeError: it is one of other images or of other classes.
        """
        own, there = self.predictions, other.predictions
        rows = self.rows_like(other)
        columns = np.array([self.classes.index(name) for name in other.classes])
        renumbered = np.argsort(columns)
        proba, predicted = own.proba[:, rows][:, :, columns], renumbered[own.predicted[:, rows]]
        return Predictions(there.y, proba, predicted, there.groups, there.positive)

    def rows_like(self, other: Evaluation) -> NDArray[np.intp]:
        """The row of each row of another evaluation of the same images.

        Raises:
            FreezeframeError: it is one of other images or of other classes.
        """
        images, theirs = self.images(), other.images()
        if images == theirs and self.classes == other.classes:
            return np.arange(len(images))
        if sorted(self.classes) != sorted(other.classes) or sorted(images) != sorted(theirs):
            raise FreezeframeError(
                f"two runs on {other.test_set}, {other.split} have the same test id {other.test_id} but not the same "
                "images or classes: one predictions.csv was changed; fit again"
            )
        rows = np.empty(len(images), dtype=np.intp)
        # Copies of a picture have the same bytes; by their paths, too, each finds its own.
        rows[_order(other)] = _order(self)
        return rows


def _order(evaluation: Evaluation) -> list[int]:
    keys = list(zip(evaluation.images(), evaluation.paths, strict=True))
    return sorted(range(len(keys)), key=keys.__getitem__)
