"""An exact reduction: a matrix of few columns with the inner products of many features.

Some classifiers learn through inner products of rows alone: L2-penalised linear models, support
vector machines, nearest neighbours. They learn the same from any matrix Z with Z Zᵀ = X Xᵀ, since
the two differ by a rotation. See Hastie and Tibshirani, "Efficient quadratic regularization for
expression arrays", Biostatistics 5, 2004. For n rows of d features, n < d, such a Z has at most n
columns. It is the Cholesky factor of the Gram matrix, which one pass over X computes. All folds and
all strengths of a penalty share Z. A second pass converts coefficients back to features.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import FreezeframeError
from ...features.rows.feature_rows import FeatureRows
from ..matrix import Matrix, take

MAX_GRAM_BYTES = 2 * 2**30
"""Most bytes of a Gram matrix (16,384 rows), or of features that are used without a reduction."""

PANEL_COLUMNS = 4096
"""Columns of one product.

Sums of so few float32 products are exact to float32's rounding. They are then added in float64.
"""


@dataclass(frozen=True)
class Reduction:
    """A matrix with the inner products of the features.

    Attributes:
        X: the features, of shape (n_rows, n_features).
        matrix: of shape (n_rows, rank), float32 for float32 features and float64 for others; the
            features themselves if they have no more columns than rows.
        upper: triangular, of shape (rank, rank), or None if `matrix` is X.
        pivots: numbers of the rows of X that span all rows, of shape (rank,).
    """

    X: Matrix
    matrix: NDArray[np.floating[Any]]
    upper: NDArray[np.float64] | None
    pivots: NDArray[np.intp]

    def to_features(self, V: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Convert coefficients for `matrix` to coefficients for features.

        X @ to_features(V).T equals matrix @ V.T.

        Args:
            V: of shape (n_outputs, rank), in the span of the rows of `matrix`, as every
                L2-penalised solution is.

        Returns:
            Coefficients of shape (n_outputs, n_features).
        """
        from scipy.linalg import solve_triangular

        # Without a reduction, the coefficients are those of the features already.
        if self.upper is None:
            return np.asarray(V, dtype=np.float64)
        # (rank, n_outputs) -> (n_outputs, rank)
        weights = solve_triangular(self.upper, np.asarray(V, dtype=np.float64).T).T
        coefficients = np.empty((len(weights), self.X.shape[1]))
        for columns, panel in panels_of(take(self.X, self.pivots)):
            coefficients[:, columns] = weights @ panel
        return coefficients


def reduce(X: Matrix, max_bytes: int = MAX_GRAM_BYTES) -> Reduction | None:
    """Reduce features, reading them once, panel by panel.

    Features of less than full rank (copies of an image, say) are reduced too. The factorisation
    pivots (LAPACK's pstrf; Higham, "Analysis of the Cholesky decomposition of a semi-definite
    matrix", 1990) and stops at the rank.

    Args:
        X: finite features of shape (n_rows, n_features).
        max_bytes: most bytes of the Gram matrix, or of X if it has no more columns than rows.

    Returns:
        The reduction; None if it would take more than `max_bytes`.

    Raises:
        FreezeframeError: products of the features are not finite.

    Examples:
        >>> X = np.random.default_rng(0).normal(size=(20, 500))
        >>> reduced = reduce(X)
        >>> reduced.matrix.shape, bool(np.allclose(reduced.matrix @ reduced.matrix.T, X @ X.T))
        ((20, 20), True)
    """
    n_rows, n_features = X.shape
    if n_rows >= n_features:
        fits = n_rows * n_features * X.dtype.itemsize <= max_bytes
        return Reduction(X, np.asarray(X), None, np.arange(0)) if fits else None
    return _factorise(X, gram(X)) if n_rows * n_rows * 8 <= max_bytes else None


def gram(X: Matrix) -> NDArray[np.float64]:
    """Return the upper triangle of X Xᵀ.

    Returns:
        An array of shape (n_rows, n_rows) in Fortran order; values below the diagonal are
        undefined.
    """
    from scipy.linalg import blas

    syrk = blas.ssyrk if X.dtype == np.float32 else blas.dsyrk
    # LAPACK factorises the matrix in place, and in Fortran order only.
    total = np.zeros((len(X), len(X)), order="F")
    for _, panel in panels_of(X):
        for start in range(0, panel.shape[1], PANEL_COLUMNS):
            total += syrk(1.0, panel[:, start : start + PANEL_COLUMNS].T, trans=1)
    return total


def panels_of(X: Matrix) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Yield the columns of a matrix in order, in panels: their positions, and their values.

    Yields:
        A slice of columns, and an array of shape (n_rows, n_columns).
    """
    if isinstance(X, FeatureRows):
        yield from X.panels()
    else:
        yield slice(0, X.shape[1]), X


def _factorise(X: Matrix, K: NDArray[np.float64]) -> Reduction:
    """Return the reduction of X from its Gram matrix K, which is overwritten."""
    from scipy.linalg import lapack

    # Products of float32 numbers overflow from some 1e19 on. No product of two rows is larger than
    # the largest square of one, so that the diagonal tells.
    if not np.isfinite(K.diagonal()).all():
        raise FreezeframeError(
            "features are not finite, or too large to multiply with each other; "
            "extract another layer, or with other weights"
        )
    dtype = np.float32 if X.dtype == np.float32 else np.float64
    # LAPACK refuses rank 0: features that are all 0 get one column of zeros.
    if not K.diagonal().any():
        return Reduction(X, np.zeros((len(K), 1), dtype), np.eye(1), np.arange(1))
    factor, order, rank, _ = lapack.dpstrf(K, lower=0, overwrite_a=1)
    # LAPACK counts from 1.
    order = order.astype(np.intp) - 1
    factor = np.triu(factor[:rank])
    # The factor is of the pivoted rows: they return to their places.
    matrix = np.empty((len(K), rank), dtype)
    matrix[order] = factor.T
    return Reduction(X, matrix, np.ascontiguousarray(factor[:, :rank]), order[:rank])
