"""Rows in the order of a score, for the areas under curves, all resamples at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .predictions import Floats


@dataclass(frozen=True)
class Sweep:
    """Weights of rows from the highest score to the lowest, summed over rows of equal score.

    Attributes:
        called: weight of the rows at each score, of shape (n_resamples, n_scores).
        hits: weight of those that are of the class, of the same shape.
        called_so_far: cumulated `called`.
        hits_so_far: cumulated `hits`.
    """

    called: Floats
    hits: Floats
    called_so_far: Floats
    hits_so_far: Floats

    @property
    def n_hits(self) -> Floats:
        """Weight of all rows of the class, of shape (n_resamples,)."""
        return self.hits_so_far[:, -1]

    @property
    def n_called(self) -> Floats:
        """Weight of all rows, of shape (n_resamples,)."""
        return self.called_so_far[:, -1]


@dataclass(frozen=True)
class RankingCurve:
    """Rows in the order of a score.

    Attributes:
        order: numbers of the rows, highest score first, of shape (n_rows,).
        hits: 1 for each row, in this order, that is of the class, else 0; float64 of shape
            (n_rows,).
        starts: the first place of each run of equal scores, of shape (n_scores,).
    """

    order: NDArray[np.intp]
    hits: Floats
    starts: NDArray[np.intp]

    @classmethod
    def of(cls, positives: NDArray[np.bool_], scores: Floats) -> RankingCurve:
        """Sort rows by their scores.

        Args:
            positives: which rows are of the class, of shape (n_rows,).
            scores: of shape (n_rows,).
        """
        # A stable sort gives the same order, and so the same sums, on every machine.
        order = np.argsort(-scores, kind="stable")
        # True where a new, lower score begins.
        falls = np.append(True, np.diff(scores[order]) != 0)
        return cls(order, positives[order].astype(np.float64), np.flatnonzero(falls))

    def sweep(self, weights: Floats) -> Sweep:
        """Cumulate weights of shape (n_resamples, n_rows) along the order."""
        called = weights[:, self.order]
        hits = called * self.hits
        # Without ties each row is a score of its own, and nothing needs to be added up.
        if len(self.starts) < len(self.order):
            called = np.add.reduceat(called, self.starts, axis=1)
            hits = np.add.reduceat(hits, self.starts, axis=1)
        return Sweep(called, hits, np.cumsum(called, axis=1), np.cumsum(hits, axis=1))
