"""Occlusion: cells of a feature map are replaced by the training mean, one after the other.

Zeiler and Fergus, arXiv:1311.2901, occlude pixels; here it is done in the space of the features, so
that the backbone computes nothing again.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ....features.rows.pooling import pool
from ...heads.base import Head
from ...heads.networks.network import Network
from .logit import head_logits

MOST_CELLS = 28
"""Most rows, and most columns, of cells that are replaced one by one."""

MOST_PATCHES = 10
"""Most rows and columns for a network, which computes the whole image for each cell."""

_BLOCK_BYTES = 2**26
"""About the number of bytes of features in one call of a head."""


def cell_side(head: Head, positions: tuple[int, ...]) -> int:
    """Return the side of the squares of positions that are replaced together.

    Args:
        head: the head.
        positions: rows and columns of positions in the layer.
    """
    most = MOST_PATCHES if isinstance(head, Network) else MOST_CELLS
    return -(-max(positions) // most)


def occluded_logits(
    head: Head, features: NDArray[np.float32], pooling: str, mean: NDArray[np.float32], number: int
) -> NDArray[np.float64]:
    """Return the logit of a class with each cell replaced by the training mean.

    Args:
        head: the head.
        features: the map of one image, of shape (height, width, channels).
        pooling: pooling of the head's features.
        mean: mean map of the training images, of the same shape.
        number: number of the class.

    Returns:
        Logits of shape (rows, columns), one for each cell.
    """
    side = cell_side(head, features.shape[:2])
    rows, columns = (-(-length // side) for length in features.shape[:2])
    if pooling == "avg":
        blocks = _mean_blocks(features, mean, side)
    else:
        blocks = _map_blocks(features, mean, side, pooling)
    logits = [head_logits(head, block, number) for block in blocks]
    return np.concatenate(logits).reshape(rows, columns)


def _mean_blocks(
    features: NDArray[np.float32], mean: NDArray[np.float32], side: int
) -> Iterator[NDArray[np.float32]]:
    """Yield the mean features of the map with each cell replaced; no map is copied for it."""
    change = mean.astype(np.float64) - features
    starts = [np.arange(0, length, side) for length in features.shape[:2]]
    # (height, width, channels) -> (rows, columns, channels): sums over the positions of a cell
    change = np.add.reduceat(np.add.reduceat(change, starts[0], axis=0), starts[1], axis=1)
    pooled = features.mean(axis=(0, 1), dtype=np.float64)
    n_positions = features.shape[0] * features.shape[1]
    yield (pooled + change.reshape(-1, features.shape[2]) / n_positions).astype(np.float32)


def _map_blocks(
    features: NDArray[np.float32], mean: NDArray[np.float32], side: int, pooling: str
) -> Iterator[NDArray[np.float32]]:
    """Yield the pooled maps with each cell replaced, some at a time."""
    height, width = features.shape[:2]
    corners = [(y, x) for y in range(0, height, side) for x in range(0, width, side)]
    step = max(1, _BLOCK_BYTES // features.nbytes)
    for start in range(0, len(corners), step):
        part = corners[start : start + step]
        # (height, width, channels) -> (n, height, width, channels)
        maps = np.repeat(features[np.newaxis], len(part), axis=0)
        for copy, (y, x) in zip(maps, part, strict=True):
            copy[y : y + side, x : x + side] = mean[y : y + side, x : x + side]
        yield pool(maps, pooling)
