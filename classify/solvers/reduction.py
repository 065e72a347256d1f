"""An exact reduction: few columns with the inner products of many.

What a classifier learns through inner products of rows alone (L2-penalised linear models, support
vector machines, nearest neighbours) it learns as well from any matrix Z with Z Zᵀ = X Xᵀ: the two
differ by a rotation (Hastie and Tibshirani, "Efficient quadratic regularization for expression
arrays", Biostatistics 5, 2004). For n rows of d features, n < d, such a Z has at most n columns:
the Cholesky factor of the Gram matrix, which one pass over X gives. All folds and all strengths of
a penalty share it, and a second pass brings coefficients back to features.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...features.rows import FeatureRows
from ..matrix import Matrix

MAX_BYTES = 2 * 2**30
"""A Gram matrix larger than this (16,384 rows), or features of more rows than features, are not held in memory."""

PANEL = 4096
"""Columns of one product: sums of so few float32 products are exact to float32's rounding, then added in float64."""


@dataclass(frozen=True)
class Reduction:
    """A matrix with the inner products of the features.

    Attributes:
        X: the features, of shape (n_rows, n_features).
        matrix: of shape (n_rows, rank), float32 for float32 features and float64 for others; the
            features themselves where they have no more columns than rows.
        upper: triangular, of shape (rank, rank), or None where `matrix` is X.
        pivots: rows of X that span all others, of shape (rank,).
    """

    X: Matrix
    matrix: NDArray[np.floating[Any]]
    upper: NDArray[np.float64] | None
    pivots: NDArray[np.intp]

    def to_features(self, V: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Coefficients for features from coefficients for `matrix`: X @ to_features(V).T is matrix @ V.T.

        Args:
            V: of shape (n_outputs, rank), in the span of the rows of `matrix`, as every
                L2-penalised solution is.

        Returns:
            Coefficients of shape (n_outputs, n_features).
        """
        from scipy.linalg import solve_triangular

        if self.upper is None:
            return np.asarray(V, dtype=np.float64)
        weights = solve_triangular(
            self.upper, np.asarray(V, dtype=np.float64).T
        ).T  # (n_outputs, rank)
        coefficients = np.empty((len(weights), self.X.shape[1]))
        spanning = (
            self.X.take(self.pivots) if isinstance(self.X, FeatureRows) else self.X[self.pivots]
        )
        for columns, panel in panels_of(spanning):
            coefficients[:, columns] = weights @ panel
        return coefficients


def reduce(X: Matrix, max_bytes: int = MAX_BYTES) -> Reduction | None:
    """Reduce features, reading them once, panel by panel.

    Rank-deficient features (copies of a picture, say) are no trouble: the factorisation pivots
    (LAPACK's pstrf; Higham, "Analysis of the Cholesky decomposition of a semi-definite matrix",
    1990) and stops at the rank.

    Args:
        X: of shape (n_rows, n_features), finite.
        max_bytes: of the Gram matrix, or of X if it has no more columns than rows.

    Returns:
        None if that would take more than `max_bytes`.

    Examples:
        >>> X = np.random.default_rng(0).normal(size=(20, 500))
        >>> reduced = reduce(X)
        >>> reduced.matrix.shape, bool(np.allclose(reduced.matrix @ reduced.matrix.T, X @ X.T))
        ((20, 20), True)
    """
    n, d = X.shape
    if n >= d:
        fits = n * d * X.dtype.itemsize <= max_bytes
        return Reduction(X, np.asarray(X), None, np.arange(0)) if fits else None
    return _factorised(X, gram(X)) if n * n * 8 <= max_bytes else None


def gram(X: Matrix) -> NDArray[np.float64]:
    """The upper triangle of X Xᵀ, of shape (n_rows, n_rows), in Fortran order; what is below is not defined."""
    from scipy.linalg import blas

    syrk = blas.ssyrk if X.dtype == np.float32 else blas.dsyrk
    total = np.zeros((len(X), len(X)), order="F")
    for _, panel in panels_of(X):
        for start in range(0, panel.shape[1], PANEL):
            total += syrk(1.0, panel[:, start : start + PANEL].T, trans=1)
    return total


def panels_of(X: Matrix) -> Iterator[tuple[slice, NDArray[Any]]]:
    """The columns of a matrix in order, in panels: which, and their values of shape (n_rows, n_columns)."""
    if isinstance(X, FeatureRows):
        yield from X.panels()
    else:
        yield slice(0, X.shape[1]), X


def _factorised(X: Matrix, K: NDArray[np.float64]) -> Reduction:
    from scipy.linalg import lapack

    dtype = np.float32 if X.dtype == np.float32 else np.float64
    if not K.diagonal().any():  # features that are all 0
        return Reduction(X, np.zeros((len(K), 1), dtype), np.eye(1), np.arange(1))
    factor, order, rank, _ = lapack.dpstrf(K, lower=0, overwrite_a=1)
    order = order.astype(np.intp) - 1  # LAPACK counts from 1
    factor = np.triu(factor[:rank])
    matrix = np.empty((len(K), rank), dtype)
    matrix[order] = factor.T
    return Reduction(X, matrix, np.ascontiguousarray(factor[:, :rank]), order[:rank])
