"""Predictions of a head on a test set: the input of every score and of every comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Predictions:
    """Predicted probabilities of a test set whose classes are known.

    Attributes:
        y: true class numbers, intp of shape (n_rows,).
        proba: probability of each class, float64 of shape (n_repeats, n_rows, n_classes); more than
            one repeat where cross-validation was repeated.
        predicted: predicted class numbers, intp of shape (n_repeats, n_rows). These are not the
            likeliest classes where a threshold was chosen.
        groups: group number of each row, intp of shape (n_rows,). Rows of one group (copies of a
            picture, images of a patient) are not independent observations.
        positive: number of the class that sensitivity is computed for; None: the mean over the
            classes, each against the rest.
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
        """Make predictions of the likeliest class; by default, each row is a group.

        Args:
            y: true class numbers, of shape (n_rows,).
            proba: of shape (n_rows, n_classes) or (n_repeats, n_rows, n_classes).
            groups: group number of each row, of shape (n_rows,).
            positive: number of the class that sensitivity is computed for.
        """
        # (n_rows, n_classes) -> (1, n_rows, n_classes); several repeats keep their shape
        repeats = proba.reshape(-1, *proba.shape[-2:])
        return cls(
            y,
            repeats,
            repeats.argmax(axis=2),
            np.arange(len(y)) if groups is None else groups,
            positive,
        )

    def take(self, rows: NDArray[Any]) -> Predictions:
        """Return the predictions of these rows, chosen by their numbers or by a boolean array."""
        return Predictions(
            self.y[rows],
            self.proba[:, rows],
            self.predicted[:, rows],
            self.groups[rows],
            self.positive,
        )

    @property
    def n_classes(self) -> int:
        """Number of classes, those without test rows included."""
        return int(self.proba.shape[2])

    @property
    def ranked_classes(self) -> list[int]:
        """Classes whose curves are averaged: the positive one, or all."""
        # Of two classes, the curve of the positive one alone is what readers expect.
        return list(range(self.n_classes)) if self.positive is None else [self.positive]


def group_numbers(groups: NDArray[np.intp]) -> NDArray[np.intp]:
    """Renumber groups from 0 on without gaps."""
    return np.unique(groups, return_inverse=True)[1].reshape(-1)
