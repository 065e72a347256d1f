"""A map of features: images with similar features are close to each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...data.output.csv import csv_line
from ...data.output.figures import COLOURS, short_name
from ...errors import MissingFactError, StoreError
from ..store import FeatureStore

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAP_COLUMNS = ("path", "label", "split", "x", "y")
"""Header of the CSV file of a map."""

MOST_MAPPED = 20_000
"""Most images on a map; of more, a random sample is taken."""

GRID = (15, 14)
"""Cells across and down; each cell with images shows one thumbnail."""

MARKERS = "os^DvPX"
"""A marker for each colour, so that classes differ in grey, too."""


@dataclass(frozen=True)
class FeatureMap:
    """Images in the plane of the first two principal components of their features.

    Attributes:
        rows: row numbers of the images, of shape (n,).
        points: of shape (n, 2), float64, in units of the features.
        shares: share of the features' variance along each axis, of shape (2,).
    """

    rows: NDArray[np.intp]
    points: NDArray[np.float64]
    shares: NDArray[np.float64]


def feature_map(
    store: FeatureStore, layer: str, *, pooling: str = "avg", seed: int = 0
) -> FeatureMap:
    """Project the features of a store to a plane by principal component analysis.

    Args:
        store: an opened store.
        layer: name of the layer.
        pooling: of the features, see `FeatureStore.features`.
        seed: of the sample that is taken of more than `MOST_MAPPED` images.

    Raises:
        ParameterError: the store has no such layer, or the pooling is unknown.
        StoreError: fewer than three images can be used, or a row is damaged.
    """
    from sklearn.decomposition import PCA

    rows = store.rows()
    if len(rows) < 3:
        raise StoreError(
            f"{store.path}: has {len(rows)} images with features, and a map needs three; "
            "extract more images"
        )
    if len(rows) > MOST_MAPPED:
        sample = np.random.default_rng(seed).choice(len(rows), MOST_MAPPED, replace=False)
        rows = rows[np.sort(sample)]
    model = PCA(2, svd_solver="randomized", random_state=seed)
    points = model.fit_transform(store.features(layer, rows, pooling).astype(np.float64))
    return FeatureMap(rows, points, model.explained_variance_ratio_)


def map_csv(store: FeatureStore, feature_map: FeatureMap) -> str:
    """Write the places of the images as a CSV file, one line an image."""
    lines = [csv_line(MAP_COLUMNS)]
    for row, (x, y) in zip(feature_map.rows, feature_map.points, strict=True):
        names = [store.paths[row], store.labels[row], store.splits[row]]
        lines.append(csv_line([*map(str, names), f"{x:.6g}", f"{y:.6g}"]))
    return "".join(lines)


def draw_map(store: FeatureStore, feature_map: FeatureMap) -> Figure:
    """Draw all images as points in the colour of their class; beside them, some as thumbnails.

    A store of an older version may have no thumbnails. Its map has points alone.
    """
    from matplotlib.figure import Figure

    chosen = spread_out(feature_map.points)
    thumbnails = None
    with suppress(MissingFactError):
        thumbnails = store.thumbnails(feature_map.rows[chosen])
    n_panels = 1 if thumbnails is None else 2
    figure = Figure(figsize=(7.5 * n_panels, 7.5), layout="constrained")
    panels = figure.subplots(1, n_panels, sharex=True, sharey=True, squeeze=False)[0]
    labels = store.labels[feature_map.rows]
    styles = _styles(labels)
    for name, style in styles.items():
        x, y = feature_map.points[labels == name].T
        look = {"c": COLOURS[style], "marker": MARKERS[style], "label": short_name(name)}
        panels[0].scatter(x, y, s=16, alpha=0.5, **look)
    if thumbnails is not None:
        colours = [COLOURS[styles[name]] for name in labels[chosen]]
        _draw_thumbnails(panels[1], feature_map.points[chosen], thumbnails, colours)
    first, second = (f"{share:.0%} of the variance" for share in feature_map.shares)
    for axes in panels:
        axes.set_xlabel(f"first principal component, {first}")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel(f"second principal component, {second}")
    handles, texts = panels[0].get_legend_handles_labels()
    shown = slice(0, len(COLOURS))
    figure.legend(handles[shown], texts[shown], loc="outside upper center", ncols=4, frameon=False)
    return figure


def _styles(labels: NDArray[np.str_]) -> dict[str, int]:
    """Return the number of the colour and marker of each class, the largest class first."""
    names = [name for name, _ in Counter(labels.tolist()).most_common()]
    # The last style is for all classes without one of their own.
    return {name: min(place, len(COLOURS) - 1) for place, name in enumerate(names)}


def spread_out(points: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the numbers of points that are spread over a map, one for each cell of `GRID`.

    Args:
        points: of shape (n, 2).

    Returns:
        Of each cell, the point nearest its centre; ascending, of shape (n_chosen,).
    """
    low = points.min(axis=0)
    width = np.maximum(points.max(axis=0) - low, np.finfo(float).tiny)
    places = (points - low) / width * GRID
    cells = np.minimum(places.astype(int), np.array(GRID) - 1)
    distances = np.hypot(*(places - cells - 0.5).T)
    order = np.lexsort((distances, cells[:, 1], cells[:, 0]))
    _, firsts = np.unique(cells[order], axis=0, return_index=True)
    return np.sort(order[firsts])


def _draw_thumbnails(
    axes: Axes, points: NDArray[np.float64], pictures: NDArray[Any], colours: Sequence[str]
) -> None:
    """Draw small images at points, each with a frame in the colour of its class."""
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    for point, picture, colour in zip(points, pictures, colours, strict=True):
        image = OffsetImage(picture, zoom=0.5, cmap="gray", norm="linear")
        image.image.set_clim(0, 255)
        frame = {"edgecolor": colour, "linewidth": 2}
        axes.add_artist(AnnotationBbox(image, tuple(point), pad=0.05, bboxprops=frame))
