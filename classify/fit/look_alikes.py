"""Look-alikes: clusters of images that resemble each other in texture, contrast and noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...data.splits import join_groups
from ...errors import FreezeframeError
from ..explanation.contributions import PIXELS
from ..task.part import Part
from .part_features import PartFeatures

MOST_CLUSTERED = 10_000
"""Most images that are clustered: their distances take 400 MB, and twice as much meanwhile."""


class LookAlikes:
    """A hierarchy of clusters of a part's images, from which groups of any number are cut.

    Images are compared by the channel means of the first layer of their store, scaled to length 1.
    They tell texture, contrast and noise, which the slices of one head share, and little of what a
    slice shows. Where the store has pixels and no features, thumbnails are compared. The linkage
    is the average distance. `scripts/checks/stress_check.py` measures how near this comes to
    patients.

    Args:
        part: the images.

    Raises:
        FreezeframeError: there are more than `MOST_CLUSTERED` images, their features are not
            finite, or a store of pixels has no thumbnails.
    """

    def __init__(self, part: Part) -> None:
        from scipy.cluster.hierarchy import average
        from scipy.spatial.distance import pdist

        n = len(part.rows)
        if n > MOST_CLUSTERED:
            raise FreezeframeError(
                f"{part.store.path}: {n} images are too many to cluster by likeness, "
                f"{MOST_CLUSTERED} at most; give --stress a store of some of them"
            )
        self._relatives = part.groups
        self._tree = average(pdist(_points(part)))

    def groups(self, n_groups: int) -> NDArray[np.intp]:
        """Return group numbers from 0 on, of shape (n_rows,), of about so many groups.

        Known relatives are in one group, so that there may be fewer.
        """
        from scipy.cluster.hierarchy import fcluster

        clusters = fcluster(self._tree, n_groups, "maxclust")
        return join_groups(clusters.tolist(), self._relatives.tolist())


def _points(part: Part) -> NDArray[np.float64]:
    """Return what images are compared by, of shape (n_rows, n_values)."""
    # Layers are listed from the first to the deepest.
    first = next(iter(part.store.layers))
    if first == PIXELS:
        return part.store.thumbnails(part.rows).reshape(len(part.rows), -1) / 255
    means = np.asarray(PartFeatures(part, first).matrix("avg")[:], np.float64)
    # Directions: the brightness of a picture says little about whose it is.
    return np.asarray(means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12))
