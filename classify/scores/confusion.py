"""Confusion matrices of all resamples at once, and functions that compute shares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .predictions import Floats


@dataclass(frozen=True)
class Confusion:
    """Confusion matrices, summed up class by class.

    Attributes:
        hits: rows of each class that were predicted as it, of shape (n_matrices, n_classes).
        actual: rows of each class, of the same shape.
        called: rows that were predicted as each class, of the same shape.
        total: all rows, of shape (n_matrices,).
        positive: the class that a metric of one class is computed for; None: the mean over all.
    """

    hits: Floats
    actual: Floats
    called: Floats
    total: Floats
    positive: int | None

    @classmethod
    def of(cls, matrices: Floats, positive: int | None) -> Confusion:
        """Sum up matrices of shape (n_matrices, n_classes true, n_classes predicted)."""
        return cls(
            np.diagonal(matrices, axis1=1, axis2=2),
            matrices.sum(axis=2),
            matrices.sum(axis=1),
            matrices.sum(axis=(1, 2)),
            positive,
        )

    @property
    def everything(self) -> Floats:
        """All rows, of shape (n_matrices, 1)."""
        return self.total[:, None]

    @property
    def rejected(self) -> Floats:
        """Rows of the other classes that were not predicted as each class, shaped like `hits`."""
        return self.everything - self.actual - self.called + self.hits

    def choose(self, by_class: Floats) -> Floats:
        """Return the values of the positive class, or the mean over the classes with a value.

        Args:
            by_class: values of each class, of shape (n_matrices, n_classes).

        Returns:
            Of shape (n_matrices,).
        """
        return mean_defined(by_class) if self.positive is None else by_class[:, self.positive]


def ratio(part: Floats, whole: Floats, undefined: float = np.nan) -> Floats:
    """Return part / whole, and `undefined` where the whole is 0."""
    part, whole = np.broadcast_arrays(part, whole)
    # Division happens only where the whole is positive, so that numpy prints no warning.
    quotients = np.full(part.shape, undefined, dtype=np.float64)
    np.divide(part, whole, out=quotients, where=whole > 0)
    return quotients


def mean_defined(values: Floats) -> Floats:
    """Return the mean along the last axis over the values that are not NaN."""
    # numpy's `nanmean` warns where all values are NaN; here that case is normal.
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0).sum(axis=-1), defined.sum(axis=-1).astype(np.float64))


def one_hot(numbers: NDArray[np.intp], n: int) -> Floats:
    """Return a matrix of shape (n_rows, n) with a 1 in the column of each row's number."""
    matrix = np.zeros((len(numbers), n))
    matrix[np.arange(len(numbers)), numbers] = 1
    return matrix
