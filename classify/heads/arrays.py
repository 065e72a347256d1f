"""Plain arrays, as fitted heads are kept in files, and the checks they must pass when they come from one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]

SMALLEST = 1e-6
"""Probabilities of votes are kept at least so large, lest one wrong vote of all trees cost an infinite log loss."""


def checked_array(
    arrays: Mapping[str, NDArray[Any]], name: str, ndim: int, dtype: type[np.generic]
) -> NDArray[Any]:
    """An array of a model file, if it is what a head can have written.

    Raises:
        KeyError: it is missing.
        ValueError: it is empty, not finite, or has another dtype or number of dimensions.
    """
    array = arrays[name]
    if (
        array.ndim != ndim
        or array.dtype != dtype
        or array.size == 0
        or not np.isfinite(array).all()
    ):
        raise ValueError(f"{name} is {array.dtype} with {array.ndim} dimensions, or not finite")
    return array
