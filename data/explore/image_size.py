"""Heights and widths of images, and the input size that suits them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..output.terminal import rounded_percent

if TYPE_CHECKING:
    import pandas as pd

VGG16_SIDE = 224
"""Side of the input of a VGG16 with ImageNet's weights, in pixels."""

COMMON_SHARE = 0.25
"""The most frequent height and width are kept if at least this share of the images has each."""

DISTORTED = 1.1
"""A picture looks squeezed if the ratio of its sides changes by this factor."""

_MOST_SMOOTHED = 20_000


@dataclass(frozen=True, slots=True)
class Side:
    """The heights, or the widths, of images, in pixels.

    Attributes:
        name: "height" or "width".
        most_frequent: the value that most images have; if there are several, the smallest.
        share: share of the images that have the most frequent value.
        peak: the value where the smoothed distribution is highest; a reader of a density plot
            would call it "most frequent".
        median: the median.
        low: the smallest value.
        high: the largest value.
    """

    name: str
    most_frequent: int
    share: float
    peak: int
    median: int
    low: int
    high: int


def side(name: str, values: NDArray[np.intp]) -> Side:
    """Summarise the heights, or the widths, of images.

    >>> side("height", np.array([200, 225, 225, 512])).most_frequent
    225
    """
    distinct, n = np.unique(values, return_counts=True)
    commonest = int(n.argmax())
    return Side(
        name,
        most_frequent=int(distinct[commonest]),
        share=float(n[commonest] / len(values)),
        peak=_peak(values),
        median=rounded_median(values),
        low=int(distinct[0]),
        high=int(distinct[-1]),
    )


def density(values: NDArray[np.intp], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the smoothed distribution of values at some points.

    The kernels are Gaussian, of Scott's width. If all values are the same, the result is zero.

    Args:
        values: of shape (n,).
        at: the points, of shape (n_points,).

    Returns:
        Of shape (n_points,).
    """
    from scipy.stats import gaussian_kde

    # Kernels of width zero have no density.
    if len(np.unique(values)) < 2:
        return np.zeros(len(at))
    # Every n-th of the sorted values: this keeps their distribution.
    sample = np.sort(values)[:: max(1, len(values) // _MOST_SMOOTHED)]
    smoothed: NDArray[np.float64] = gaussian_kde(sample)(at)
    return smoothed


def _peak(values: NDArray[np.intp]) -> int:
    """Return the value where the smoothed distribution is highest."""
    at = np.linspace(values.min(), values.max(), 400)
    return round(float(at[density(values, at).argmax()]))


def rounded_median(values: NDArray[np.intp] | NDArray[np.float64]) -> int:
    """Return the median as a whole number; 0 without values."""
    return round(float(np.median(values))) if len(values) else 0


def input_size_advice(readable: pd.DataFrame, sides: Sequence[Side]) -> tuple[str, ...]:
    """Return advice on the input size of a new network, and on what VGG16 does to the images.

    If many images share a size, the advice is that size. Otherwise it is the medians: there, as
    many images are enlarged as shrunk.

    Args:
        readable: images with the columns height and width.
        sides: summaries of height and width.
    """
    # Resizing as few images as possible keeps most of them sharp.
    common = all(side.share >= COMMON_SHARE for side in sides)
    height, width = (side.most_frequent if common else side.median for side in sides)
    frequent = " x ".join(str(side.most_frequent) for side in sides)
    shares = " and ".join(dict.fromkeys(rounded_percent(side.share) for side in sides))
    if common:
        reason = f"the most frequent height and width, which {shares} of the images have"
    else:
        reason = (
            f"the medians, since only {shares} of the images have the most frequent height and "
            f"width ({frequent})"
        )
    enlarged = rounded_percent(_enlarged(readable, height, width))
    return (
        f"input size for a CNN of your own: {height} x {width} (height x width), {reason}; "
        f"{enlarged} would be enlarged",
        _vgg16_sentence(readable),
    )


def _vgg16_sentence(readable: pd.DataFrame) -> str:
    """Say how VGG16's input size changes the images."""
    heights = readable["height"].to_numpy(float)
    widths = readable["width"].to_numpy(float)
    n = VGG16_SIDE
    largest = float(max(heights.max(), widths.max())) / n
    shrunk = rounded_percent(float(((heights > n) & (widths > n)).mean()))
    # Ratio of the longer side to the shorter: how much a picture is squeezed into a square.
    ratios = np.maximum(heights / widths, widths / heights)
    distorted = rounded_percent(float((ratios > DISTORTED).mean()))
    by = f", the largest {largest:.1f}-fold" if largest > 1 else ""
    return (
        f"VGG16 takes {n} x {n} pixels: resizing shrinks {shrunk} of the images along both "
        f"sides{by}; it enlarges {rounded_percent(_enlarged(readable, n, n))} and visibly "
        f"distorts {distorted}"
    )


def _enlarged(readable: pd.DataFrame, height: int, width: int) -> float:
    """Return the share of the images that are smaller along both sides."""
    heights = readable["height"].to_numpy(float)
    widths = readable["width"].to_numpy(float)
    return float(((heights < height) & (widths < width)).mean())
