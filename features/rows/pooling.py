"""Pooling of feature maps over their positions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ParameterError

POOLINGS = ("flat", "avg", "max")


def pool(features: NDArray[Any], pooling: str | None) -> NDArray[np.float32]:
    """Pool features of shape (n, height, width, channels) into float32.

    Args:
        features: features of any float dtype.
        pooling: None keeps the shape. "flat" gives (n, height * width * channels). "avg" and "max"
            take the mean or the maximum over the positions and give (n, channels).

    Raises:
        ParameterError: the pooling is unknown.

    Examples:
        >>> pool(np.ones((2, 7, 7, 512)), "avg").shape
        (2, 512)
    """
    values: NDArray[np.float32] = np.asarray(features, dtype=np.float32)
    match pooling:
        case None:
            return values
        case "flat":
            # reshape cannot compute -1 if there are no rows.
            return values.reshape(len(values), math.prod(values.shape[1:]))
        case "avg":
            return np.asarray(values.mean(axis=(1, 2)))
        case "max":
            return np.asarray(values.max(axis=(1, 2)))
    raise ParameterError(
        f"pooling must be one of {', '.join(POOLINGS)}, got {pooling!r}; take one of these"
    )
