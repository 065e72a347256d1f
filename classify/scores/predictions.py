"""What a head said of a test set: the input of every score and of every comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Predictions:
    """Predicted probabilities of a test set whose classes are known.

    Attributes:
        y: true class numbers, intp of shape (n_rows,).
        proba: probability of each class, float64 of shape (n_repeats, n_rows, n_classes); more than
            one repeat where cross-validation was repeated.
        predicted: predicted class numbers, intp of shape (n_repeats, n_rows); not the likeliest
            class where a threshold was chosen.
        groups: group number of each row, intp of shape (n_rows,); rows of one group (copies of a
            picture, images of a patient) are no independent observations.
        positive: the class that sensitivity speaks of; None: mean over classes, each against the
            rest.
    """

    y: NDArray[np.intp]
    proba: NDArray[np.float64]
    predicted: NDArray[np.intp]
    groups: NDArray[np.intp]
    positive: int | None

    @classmethod
    def of(
        cls,
        y: NDArray[np.intp],
        proba: NDArray[np.float64],
        *,
        groups: NDArray[np.intp] | None = None,
        positive: int | None = None,
    ) -> Predictions:
        """The likeliest class is predicted, each row is a group of its own, unless told otherwise.

        Args:
            proba: of shape (n_rows, n_classes) or (n_repeats, n_rows, n_classes).
        """
        repeats = proba.reshape(-1, *proba.shape[-2:])
        return cls(
            y,
            repeats,
            repeats.argmax(axis=2),
            np.arange(len(y)) if groups is None else groups,
            positive,
        )

    def take(self, rows: NDArray[Any]) -> Predictions:
        """Those of some rows, by their numbers or by a boolean."""
        kept = self.proba[:, rows], self.predicted[:, rows]
        return Predictions(self.y[rows], *kept, self.groups[rows], self.positive)

    @property
    def n_classes(self) -> int:
        """How many classes there are, those without test rows included."""
        return int(self.proba.shape[2])


def group_numbers(groups: NDArray[np.intp]) -> NDArray[np.intp]:
    """Groups numbered from 0 on without gaps."""
    return np.unique(groups, return_inverse=True)[1].reshape(-1)
