"""What a researcher wants to know of images before anything else: how many, of what kind, how large, how bright."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..inspection.facts import ImageFacts
from ..manifest import Manifest
from ..output.csv import defuse
from ..splits import join_groups
from .shortcuts import FEW, TOGETHER, Hint, find_hints, telltales

if TYPE_CHECKING:
    import pandas as pd

VGG16_SIDE = 224
"""In pixels: what a VGG16 with ImageNet's weights takes."""

COMMON = 0.25
"""A height or width that so many images share is worth keeping as it is."""

DISTORTED = 1.1
"""A picture whose sides' ratio changes by this factor looks squeezed."""

_MOST_SMOOTHED = 20_000


@dataclass(frozen=True, slots=True)
class Side:
    """The heights, or the widths, of images.

    Attributes:
        name: "height" or "width".
        most_frequent: the value that most images have; the smallest of several.
        share: of the images, those that have it.
        peak: where the smoothed distribution is highest; what one reads off a density plot as "most
            frequent".
        median, low, high: the middle one, the smallest and the largest.
    """

    name: str
    most_frequent: int
    share: float
    peak: int
    median: int
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class ClassSummary:
    """The images of one class: how many, how many of them can be read, and what those are like.

    Attributes:
        label: name of the class.
        images, readable: how many.
        formats, modes: each with its number, see `counts`.
        height, width: medians, in pixels; 0 if none can be read.
        brightness: mean grey level, 0 to 255.
    """

    label: str
    images: int
    readable: int
    formats: str
    modes: str
    height: int
    width: int
    brightness: float

    @property
    def unreadable(self) -> int:
        """How many cannot be read."""
        return self.images - self.readable


@dataclass(frozen=True, eq=False)
class Exploration:
    """All that is told of a manifest's images.

    Attributes:
        manifest: the images.
        images: one row an image, in the manifest's order; see `image_table`.
        classes: what there is of each, by name.
        sides: height and width; none if no image could be read.
        advice: sentences on the input size.
        hints: how well file-level columns alone tell the classes apart.
        telltales: formats and modes that only one class has.
        n_copies: images that repeat another one's pixels.
    """

    manifest: Manifest
    images: pd.DataFrame
    classes: tuple[ClassSummary, ...]
    sides: tuple[Side, ...]
    advice: tuple[str, ...]
    hints: tuple[Hint, ...]
    telltales: tuple[str, ...]
    n_copies: int

    @property
    def readable(self) -> pd.DataFrame:
        """The rows of those images that could be read."""
        return self.images[self.images["reason"] == ""]

    @property
    def left_out(self) -> str:
        """What lies beside the images, by reason: "hidden 3, not an image 1"; "" if nothing does."""
        reasons = Counter(reason.partition(":")[0] for _, reason in self.manifest.skipped)
        return ", ".join(f"{reason} {n}" for reason, n in reasons.most_common())

    @property
    def warnings(self) -> list[str]:
        """What should be looked at before any score is believed."""
        n_unreadable = len(self.images) - len(self.readable)
        told = (
            [f"{n_unreadable} of {len(self.images)} images cannot be read"] if n_unreadable else []
        )
        few = [summary for summary in self.classes if summary.readable < FEW]
        told += [
            f"too few to learn from: class {summary.label}, {summary.readable} readable"
            for summary in few
        ]
        warning = {hint.columns: hint for hint in self.hints if hint.warns}
        together = warning.pop(TOGETHER, None)
        if (
            together
            and together.score > max((hint.score for hint in warning.values()), default=0) + 0.02
        ):
            warning[TOGETHER] = together  # else one of them does it all
        told += [hint.sentence for hint in warning.values()]
        return told + [
            text for text in self.telltales if text.rpartition(": ")[2].split()[0] not in warning
        ]


def explore(manifest: Manifest, inspected: Sequence[ImageFacts]) -> Exploration:
    """What there is to tell of a manifest, from what its images are like (`inspect_images`, in the same order)."""
    images = image_table(manifest, inspected)
    rows = np.flatnonzero(images["reason"] == "")
    readable = images.iloc[rows]
    sha256s, own_groups = zip(
        *((image.sha256, image.group) for image in manifest.images), strict=True
    )
    pixels = [found.fingerprint.pixels if found.fingerprint else "" for found in inspected]
    groups = join_groups(sha256s, own_groups, pixels)[rows]
    names = ("height", "width") if len(rows) else ()
    sides = tuple(side(name, readable[name].to_numpy(np.intp)) for name in names)
    return Exploration(
        manifest,
        images,
        class_summaries(images),
        sides,
        input_size_advice(readable, sides) if sides else (),
        tuple(find_hints(readable, groups)),
        tuple(telltales(readable, groups)),
        len(rows) - len({pixels[row] for row in rows}),
    )


def image_table(manifest: Manifest, inspected: Sequence[ImageFacts]) -> pd.DataFrame:
    """One row an image: path, label, split, format, mode, height, width, brightness, contrast, bytes, reason.

    What is not known of an image that could not be read is missing there, and `reason` says why; it
    is "" otherwise.
    """
    import pandas as pd

    return pd.DataFrame(
        {
            "path": [image.path for image in manifest.images],
            "label": [image.label for image in manifest.images],
            "split": [image.split for image in manifest.images],
            "format": [found.kind for found in inspected],
            "mode": [found.mode for found in inspected],
            "height": pd.array([found.height or None for found in inspected], "Int64"),
            "width": pd.array([found.width or None for found in inspected], "Int64"),
            "brightness": [nan if found.reason else found.brightness for found in inspected],
            "contrast": [nan if found.reason else found.contrast for found in inspected],
            "bytes": [found.n_bytes for found in inspected],
            "reason": [found.reason for found in inspected],
        }
    )


def class_summaries(images: pd.DataFrame) -> tuple[ClassSummary, ...]:
    """What there is of each class, by name."""
    summaries = []
    for label in sorted(set(images["label"])):
        members = images[images["label"] == label]
        readable = members[members["reason"] == ""]
        height, width = (_median(readable[name].to_numpy(float)) for name in ("height", "width"))
        formats, modes = counts(readable["format"]), counts(readable["mode"])
        light = float(readable["brightness"].to_numpy(float).mean()) if len(readable) else 0.0
        summaries.append(
            ClassSummary(label, len(members), len(readable), formats, modes, height, width, light)
        )
    return tuple(summaries)


def counts(values: pd.Series[str]) -> str:
    """Each value with its number, the most frequent first: "JPEG 12, PNG 3"."""
    return ", ".join(f"{value} {n}" for value, n in Counter(values.to_list()).most_common())


def side(name: str, values: NDArray[np.intp]) -> Side:
    """Sum up the heights, or the widths, of images.

    >>> side("height", np.array([200, 225, 225, 512])).most_frequent
    225
    """
    distinct, n = np.unique(values, return_counts=True)
    commonest = int(n.argmax())
    share = float(n[commonest] / len(values))
    low, high = int(distinct[0]), int(distinct[-1])
    return Side(name, int(distinct[commonest]), share, _peak(values), _median(values), low, high)


def density(values: NDArray[np.intp], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """The smoothed distribution of values (Gaussian kernels, Scott's width) at some points, of shape (n_points,).

    Zero everywhere if all values are the same.
    """
    from scipy.stats import gaussian_kde

    if len(np.unique(values)) < 2:
        return np.zeros(len(at))
    # Evenly from the sorted values, which keeps their distribution.
    chosen = np.sort(values)[:: max(1, len(values) // _MOST_SMOOTHED)]
    smoothed: NDArray[np.float64] = gaussian_kde(chosen)(at)
    return smoothed


def _peak(values: NDArray[np.intp]) -> int:
    at = np.linspace(values.min(), values.max(), 400)
    return round(float(at[density(values, at).argmax()]))


def _median(values: NDArray[np.intp] | NDArray[np.float64]) -> int:
    return round(float(np.median(values))) if len(values) else 0


def input_size_advice(readable: pd.DataFrame, sides: Sequence[Side]) -> tuple[str, ...]:
    """What size to bring images to for a network of one's own, and what VGG16 does to them.

    Sizes that many images share are kept; otherwise the medians are taken, at which as many are
    enlarged as shrunk.
    """
    common = all(side.share >= COMMON for side in sides)
    height, width = (side.most_frequent if common else side.median for side in sides)
    frequent = " x ".join(str(side.most_frequent) for side in sides)
    shares = " and ".join(dict.fromkeys(percent(side.share) for side in sides))
    why = f"the most frequent height and width, which {shares} of the images have"
    if not common:
        why = f"the medians, since only {shares} of the images have the most frequent height and width ({frequent})"
    enlarged = percent(_enlarged(readable, height, width))
    return (
        f"input size for a CNN of your own: {height} x {width} (height x width), {why}; {enlarged} would be enlarged",
        _vgg16(readable),
    )


def _vgg16(readable: pd.DataFrame) -> str:
    heights, widths = readable["height"].to_numpy(float), readable["width"].to_numpy(float)
    n, largest = VGG16_SIDE, float(max(heights.max(), widths.max())) / VGG16_SIDE
    shrunk = percent(float(((heights > n) & (widths > n)).mean()))
    squeezed = percent(float((np.maximum(heights / widths, widths / heights) > DISTORTED).mean()))
    told = f"VGG16 takes {n} x {n}, whatever the images are: {shrunk} are shrunk along both sides"
    told += f", the largest {largest:.1f}-fold" * (largest > 1)
    return f"{told}; {percent(_enlarged(readable, n, n))} are enlarged; {squeezed} change their shape visibly"


def _enlarged(readable: pd.DataFrame, height: int, width: int) -> float:
    """Share of the images that are smaller along both sides."""
    heights, widths = readable["height"].to_numpy(float), readable["width"].to_numpy(float)
    return float(((heights < height) & (widths < width)).mean())


def percent(share: float) -> str:
    """3 %, 0.4 %; never 0 % or 100 % for what is not quite that."""
    per_cent = 100 * float(share)
    if 0 < per_cent < 1:
        return f"{max(per_cent, 0.1):.1f} %"
    return f"{min(round(per_cent), 99) if per_cent < 100 else 100} %"


def csv_text(images: pd.DataFrame) -> str:
    """The table as CSV; an apostrophe stands before text that a spreadsheet would compute."""
    import csv

    safe = images.copy()
    for name in ("path", "label", "split", "format", "mode", "reason"):
        safe[name] = [defuse(text) for text in images[name]]
    # All text is quoted: the csv module of Python 3.11 would leave a lone carriage return bare.
    text: str = safe.to_csv(
        index=False, quoting=csv.QUOTE_NONNUMERIC, float_format="%.2f", lineterminator="\n"
    )
    return text
