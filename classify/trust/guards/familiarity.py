"""Measures how similar an image is to the training images of a head, by its features.

The features of an image are averaged over the cells of a coarse grid and scaled to length 1. Their
distance to the distribution of the training images is Mahalanobis's: it counts differences in units
of the usual variation. Its covariance is shrunk towards a simple one, as there are few images. The
distance is compared with those of the training images. Each of these is measured with the images of
its own group (copies, one patient) left out. `scripts/checks/guard_check.py` measures how many
images are refused: pictures that are no scans nearly always, scans of other hospitals seldom.

References:
    Lee, Lee, Lee and Shin (2018): A simple unified framework for detecting out-of-distribution
        samples and adversarial attacks. NeurIPS (the distance).
    Chen, Wiesel, Eldar and Hero (2010): Shrinkage algorithms for MMSE covariance estimation. IEEE
        Transactions on Signal Processing 58, 5016-5029 (the shrinkage).
    Tipping and Bishop (1999): Probabilistic principal component analysis. Journal of the Royal
        Statistical Society B 61, 611-622 (few directions, one variance for all others).
    Vovk, Gammerman and Shafer (2005): Algorithmic learning in a random world. Springer (the rank
        of a new distance among n has n + 1 equally likely places).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

LIMIT = 99.0
"""Percentile from which on an image is not familiar."""

LEAST_IMAGES = 99
"""Fewest training images: among fewer, no distance can be beyond the 99th percentile."""

FEWEST_GROUPS = 5
"""Fewest groups of related training images: with fewer, no distribution is left without one."""

MOST_IMAGES = 20_000
"""Most training images that a distribution is computed of, spread evenly over all."""

N_DIRECTIONS = 32
"""Directions of the covariance that are kept; all others share one variance."""

N_PARTS = 5
"""Parts of the training images, by group, that are left out in turn."""

MOST_FEATURES = 1024
"""Most features that are compared: the grid is as fine as they allow."""

NOT_KNOWN = (
    "not checked: are these images like the training images? An answer about a foreign picture "
    f"looks like any other. The check needs a head on features, at least {LEAST_IMAGES} training "
    f"images, at least {FEWEST_GROUPS} groups of them, and a model of this version"
)

LEAST_VARIANCE = 1e-12
"""Least variance of a direction; features of length 1 vary more, or not at all."""


def guard_features(maps: NDArray[Any]) -> NDArray[np.float32]:
    """Average feature maps over the cells of a grid, as fine as `MOST_FEATURES` allows.

    Args:
        maps: of shape (n, height, width, channels).

    Returns:
        Of shape (n, n_features): all channels of the first cell, then those of the next one.

    Examples:
        >>> guard_features(np.ones((3, 7, 7, 512))).shape
        (3, 512)
        >>> guard_features(np.ones((3, 28, 28, 256))).shape
        (3, 1024)
    """
    height, width, channels = maps.shape[1:]
    side = grid_side((height, width, channels))
    cells = [
        maps[:, down, across].mean(axis=(1, 2), dtype=np.float32)
        for down in _cuts(height, side)
        for across in _cuts(width, side)
    ]
    return np.concatenate(cells, axis=1)


def grid_side(shape: tuple[int, ...]) -> int:
    """Return the number of cells along each side of the grid, a power of 2.

    Args:
        shape: height, width and channels of the maps.
    """
    height, width, channels = shape
    side = 1
    while (2 * side) ** 2 * channels <= MOST_FEATURES and 2 * side <= min(height, width):
        side *= 2
    return side


def _cuts(length: int, n: int) -> list[slice]:
    """Cut a side into n equal slices; they overlap by one where the length does not divide."""
    return [slice(i * length // n, -(-(i + 1) * length // n)) for i in range(n)]


@dataclass(frozen=True)
class Familiarity:
    """The place of an image's distance among those of the training images.

    Attributes:
        percentile: 100 k / (n + 1), where k of the n training images are nearer than the image is.
            It is below 100.
    """

    percentile: float

    @property
    def familiar(self) -> bool:
        """False if the percentile is `LIMIT` or more."""
        return self.percentile < LIMIT


@dataclass(frozen=True, eq=False)
class FeatureDistribution:
    """The distribution of training features, and how far the training images are from it.

    Attributes:
        mean: float32 of shape (n_features,).
        directions: unit vectors, float32 of shape (n_directions, n_features).
        variances: variance along each direction; the last one is that of every other direction;
            float32 of shape (n_directions + 1,).
        distances: distances of the training images to the distribution of those that are not
            related to them; sorted, so not in the images' order; float32 of shape (n_images,).
    """

    mean: NDArray[np.float32]
    directions: NDArray[np.float32]
    variances: NDArray[np.float32]
    distances: NDArray[np.float32]

    @classmethod
    def fit(cls, features: NDArray[np.floating[Any]], groups: NDArray[np.intp]) -> Self | None:
        """Compute the distribution of training features; None for too few images or groups.

        Args:
            features: from `guard_features`, of shape (n_images, n_features).
            groups: group of each image, of shape (n_images,); images of a group are related.
        """
        names, numbers = np.unique(groups, return_inverse=True)
        if len(features) < LEAST_IMAGES or len(names) < FEWEST_GROUPS:
            return None
        units = _units(features)
        # A fixed seed: the same images always have the same distribution.
        parts = (np.random.default_rng(0).permutation(len(names)) % N_PARTS)[numbers]
        distances = np.empty(len(units))
        for part in np.unique(parts):
            without = _fit_normal(units[parts != part])
            distances[parts == part] = [_distance(unit, *without) for unit in units[parts == part]]
        return cls(*_fit_normal(units), np.sort(distances).astype(np.float32))

    def familiarity(self, features: NDArray[np.floating[Any]]) -> Familiarity:
        """Compare the features of an image with those of the training images.

        Args:
            features: a row of `guard_features`.
        """
        unit = _units(features[None])[0]
        distance = _distance(unit, self.mean, self.directions, self.variances)
        nearer = int(np.searchsorted(self.distances, distance))
        return Familiarity(100 * nearer / (len(self.distances) + 1))

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays that a model file keeps."""
        return dict(vars(self))

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[Any]], n_features: int) -> Self:
        """Build a distribution from a file's arrays.

        Raises:
            ValueError: the arrays do not fit together, or hold impossible numbers; a missing one
                is a KeyError.
        """
        n_directions = len(arrays["directions"])
        shapes = {
            "mean": (n_features,),
            "directions": (n_directions, n_features),
            "variances": (n_directions + 1,),
            "distances": arrays["distances"].shape[:1],
        }
        for name, shape in shapes.items():
            array = arrays[name]
            if array.shape != shape or array.dtype != np.float32 or not np.isfinite(array).all():
                raise ValueError(f"its distribution has {name} of {array.dtype}, {array.shape}")
        distances = arrays["distances"]
        if len(distances) < LEAST_IMAGES or (np.diff(distances) < 0).any() or distances[0] < 0:
            raise ValueError("its distances are not ascending")
        if not (arrays["variances"] > 0).all():
            raise ValueError("its variances are not positive")
        # Vectors of features and of directions have length 1.
        if max(np.abs(arrays["mean"]).max(), np.abs(arrays["directions"]).max(initial=0)) > 2:
            raise ValueError("its directions are no unit vectors")
        return cls(**{name: arrays[name] for name in shapes})


def _units(features: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return vectors scaled to length 1; a vector of zeros stays as it is."""
    values = np.asarray(features, np.float64)
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    units: NDArray[np.float64] = values / np.where(norms > 0, norms, 1)
    return units


def _fit_normal(
    units: NDArray[np.float64],
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return the mean, the directions and the variances of vectors, see `FeatureDistribution`."""
    from scipy.linalg import eigh
    from sklearn.covariance import oas

    mean = units.mean(axis=0)
    covariance, _ = oas(units - mean, assume_centered=True)
    n = len(covariance)
    n_kept = min(N_DIRECTIONS, n)
    # The largest variance comes last.
    variances, vectors = eigh(covariance, subset_by_index=(n - n_kept, n - 1))
    n_rest = max(1, n - n_kept)
    rest = (np.trace(covariance) - variances.sum()) / n_rest
    both = np.maximum(np.append(variances, rest), LEAST_VARIANCE)
    return mean.astype(np.float32), vectors.T.astype(np.float32), both.astype(np.float32)


def _distance(
    unit: NDArray[np.float64],
    mean: NDArray[np.float32],
    directions: NDArray[np.float32],
    variances: NDArray[np.float32],
) -> np.float32:
    """Return Mahalanobis's distance of a vector.

    One vector at a time: the low bits of a product of matrices depend on their number of rows.
    """
    centred = unit - mean
    along = directions.astype(np.float64) @ centred
    beside = max(0.0, float(centred @ centred - along @ along))
    return np.float32(np.sqrt((along**2 / variances[:-1]).sum() + beside / variances[-1]))
