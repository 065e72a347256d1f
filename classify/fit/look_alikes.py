"""Look-alikes: clusters of images that resemble each other in texture, contrast and noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...data.splits import join_groups
from ...errors import FreezeframeError
from ..task.part import Part
from ..trust.explanation.contributions import PIXELS
from .part_features import PartFeatures

MOST_CLUSTERED = 10_000
"""Most groups that are clustered: their distances take 400 MB, and twice as much meanwhile."""


class LookAlikes:
    """A hierarchy of clusters of a part's known groups, from which any number of groups is cut.

    Images are compared by the channel means of the first layer of their store, scaled to length 1.
    They tell texture, contrast and noise, which the slices of one head share, and little of what a
    slice shows. Where the store has pixels and no features, thumbnails are compared. The means of
    known groups (copies, patients) are clustered by Ward's method, whose clusters are alike in
    size. `scripts/checks/stress_check.py` measures how near this comes to patients.

    Args:
        part: the images.

    Raises:
        FreezeframeError: there are more than `MOST_CLUSTERED` groups, their features are not
            finite, or a store of pixels has no thumbnails.

    References:
        Ward (1963): Hierarchical grouping to optimize an objective function. JASA 58, 236-244.
    """

    def __init__(self, part: Part) -> None:
        from scipy.cluster.hierarchy import ward
        from scipy.spatial.distance import pdist

        sizes = np.bincount(part.groups)
        if len(sizes) > MOST_CLUSTERED:
            raise FreezeframeError(
                f"{part.store.path}: {len(sizes)} groups of images are too many to cluster by "
                f"likeness, {MOST_CLUSTERED} at most; give --stress a store of some of them"
            )
        self._inseparable = part.groups
        points = _points(part)
        means = np.zeros((len(sizes), points.shape[1]))
        np.add.at(means, part.groups, points)
        self._tree = ward(pdist(means / sizes[:, None]))

    def groups(self, n_groups: int) -> NDArray[np.intp]:
        """Return group numbers from 0 on, of shape (n_rows,), of so many groups.

        Known groups stay together.
        """
        from scipy.cluster.hierarchy import fcluster

        clusters = fcluster(self._tree, n_groups, "maxclust")
        return join_groups(clusters[self._inseparable].tolist())


def _points(part: Part) -> NDArray[np.float64]:
    """Return what images are compared by, of shape (n_rows, n_values)."""
    # Layers are listed from the first to the deepest.
    first = next(iter(part.store.layers))
    if first == PIXELS:
        return part.store.thumbnails(part.rows).reshape(len(part.rows), -1) / 255
    means = np.asarray(PartFeatures(part, first).matrix("avg")[:], np.float64)
    # Directions: the brightness of a picture says little about whose it is.
    return np.asarray(means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12))
