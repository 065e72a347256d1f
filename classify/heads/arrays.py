"""Plain arrays that fitted heads are saved as, and the check of arrays that come from a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
"""The fitted arrays of a head by name."""

MIN_SHARE = 1e-6
"""Least share of votes: without it, one wrong vote of all trees would cost an infinite log loss."""


def checked_array(
    arrays: Mapping[str, NDArray[Any]], name: str, ndim: int, dtype: type[np.generic]
) -> NDArray[Any]:
    """Return an array of a model file if a head can have written it.

    Args:
        arrays: arrays of the file by name.
        name: name of the array.
        ndim: number of dimensions that it must have.
        dtype: dtype that it must have.

    Raises:
        KeyError: the array is missing.
        ValueError: it is empty, not finite, or has another dtype or number of dimensions.
    """
    array = arrays[name]
    fits = array.ndim == ndim and array.dtype == dtype and array.size > 0
    if not fits or not np.isfinite(array).all():
        raise ValueError(f"{name} is {array.dtype} with {array.ndim} dimensions, or not finite")
    return array
