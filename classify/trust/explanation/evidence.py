"""The evidence that a map shows what a head uses: sums, deletions, and masks of what there is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ....features.rows.pooling import pool
from ...heads.base import Head
from .contributions import Contributions
from .logit import head_logits

TOP_SHARE = 0.1
"""Share of the cells that a deletion replaces."""

N_RANDOM = 5
"""Random choices of cells that a deletion is compared with."""

_UNKNOWN = float("nan")


@dataclass(frozen=True)
class MapEvidence:
    """The measurements of one map. Those about a mask are NaN for images without one.

    Attributes:
        error: absolute difference between the logit and base plus contributions.
        distance: absolute difference between the logit and the base.
        top: fall of the logit when the cells of the largest contributions are replaced by the
            training mean, `TOP_SHARE` of all.
        random: mean fall for as many random cells.
        centre: fall for as many cells in the centre.
        inside: share of the positive contributions that is inside the mask.
        area: share of the image that the mask covers.
        centre_inside: share inside for a Gaussian in the centre, a quarter of the image wide.
        hit: 1 if the mask touches the cell of the largest contribution, else 0.
        hit_area: share of the cells that the mask touches: the hits of a random cell.
        hit_centre: 1 if the mask touches the cell in the centre.
    """

    error: float
    distance: float
    top: float
    random: float
    centre: float
    inside: float = _UNKNOWN
    area: float = _UNKNOWN
    centre_inside: float = _UNKNOWN
    hit: float = _UNKNOWN
    hit_area: float = _UNKNOWN
    hit_centre: float = _UNKNOWN


@dataclass(frozen=True, eq=False)
class MapContext:
    """The head and the features that a map was computed from.

    Attributes:
        head: the head.
        pooling: pooling of its features.
        features: the map of the image, of shape (height, width, channels).
        mean: mean map of the training images, of the same shape.
        number: number of the class whose logit is explained.
    """

    head: Head
    pooling: str
    features: NDArray[np.float32]
    mean: NDArray[np.float32]
    number: int


def measure_map(
    context: MapContext,
    contributions: Contributions,
    mask: NDArray[np.bool_] | None,
    rng: np.random.Generator,
) -> MapEvidence:
    """Measure one map.

    Args:
        context: what the map was computed from.
        contributions: the map.
        mask: True where there is what the class is named for, of any size; None if unknown.
        rng: draws the random cells.
    """
    cells = contributions.cells
    near = _nearness(*cells.shape)
    n = max(1, round(TOP_SHARE * cells.size))
    orders = [np.argsort(-cells.ravel(), kind="stable"), np.argsort(-near.ravel(), kind="stable")]
    orders += [rng.permutation(cells.size) for _ in range(N_RANDOM)]
    deleted = [_deleted(context, order[:n], contributions) for order in orders]
    logits = head_logits(context.head, pool(np.stack(deleted), context.pooling), context.number)
    top, centre, *random = (contributions.logit - logits).tolist()
    missing = contributions.base + float(cells.sum()) - contributions.logit
    distance = contributions.logit - contributions.base
    falls = (abs(missing), abs(distance), top, float(np.mean(random)), centre)
    if mask is None:
        return MapEvidence(*falls)
    return MapEvidence(*falls, *_against_mask(cells, near, mask))


def _nearness(rows: int, columns: int) -> NDArray[np.float64]:
    """Return a Gaussian around the centre, of shape (rows, columns)."""
    y = (np.arange(rows) + 0.5) / rows - 0.5
    x = (np.arange(columns) + 0.5) / columns - 0.5
    return np.asarray(np.exp(-8 * (y[:, np.newaxis] ** 2 + x**2)))


def _deleted(
    context: MapContext, numbers: NDArray[np.intp], contributions: Contributions
) -> NDArray[np.float32]:
    """Return the map with some cells replaced by the training mean."""
    chosen = np.zeros(contributions.cells.shape, bool)
    chosen.ravel()[numbers] = True
    height, width = context.features.shape[:2]
    side = contributions.side
    # (rows, columns) -> (height, width); the last cells may be smaller
    positions = chosen.repeat(side, axis=0).repeat(side, axis=1)[:height, :width]
    return np.where(positions[..., np.newaxis], context.mean, context.features)


def _against_mask(
    cells: NDArray[np.float64], near: NDArray[np.float64], mask: NDArray[np.bool_]
) -> tuple[float, ...]:
    """Return the measurements about a mask, in the order of `MapEvidence`."""
    share = covered(mask, *cells.shape)
    positive = np.maximum(cells, 0)
    total = float(positive.sum())
    # A map that speaks against the class everywhere has no evidence to look for.
    inside = float((positive * share).sum()) / total if total > 0 else _UNKNOWN
    touched = share > 0
    return (
        inside,
        float(mask.mean()),
        float((near * share).sum() / near.sum()),
        float(touched.ravel()[cells.argmax()]),
        float(touched.mean()),
        float(touched.ravel()[near.argmax()]),
    )


def covered(mask: NDArray[np.bool_], rows: int, columns: int) -> NDArray[np.float64]:
    """Return the share of each cell that a mask covers, of shape (rows, columns).

    Examples:
        >>> covered(np.array([[True, False, False], [False, False, False]]), 1, 3).tolist()
        [[0.5, 0.0, 0.0]]
    """
    from PIL import Image

    picture = Image.fromarray(mask.astype(np.float32))
    return np.asarray(picture.resize((columns, rows), Image.Resampling.BOX), np.float64)
