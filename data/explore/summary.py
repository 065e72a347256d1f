"""The summary of a collection of images: how many, of what kind, how large and how bright."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from typing import TYPE_CHECKING

import numpy as np

from ..groups import split_names
from ..inspection.facts import ImageFacts, check_readable, frames_lines
from ..manifest import Manifest
from ..output.terminal import counted, counts_by_name
from ..splits import join_groups
from .image_size import Side, input_size_advice, rounded_median, side
from .patients import PatientSummary, summarise_patients
from .shortcuts import FEW_IMAGES, TOGETHER, Hint, Telltale, find_hints, telltales

if TYPE_CHECKING:
    import pandas as pd

IMAGE_COLUMNS = (
    *("path", "label", "split", "format", "mode"),
    *("height", "width", "frames", "brightness", "contrast", "bytes", "reason"),
)
"""Columns of an `image_table`, and of explore.csv."""

_CLEARLY_BETTER = 0.02
"""Least gain of all columns together over the best single one that is worth a warning."""


@dataclass(frozen=True, slots=True)
class ClassSummary:
    """The images of one class.

    Attributes:
        label: name of the class.
        images: number of images.
        readable: number of images that can be read.
        formats: formats with their counts: "JPEG 12, PNG 3".
        modes: colour modes with their counts.
        height: median in pixels; 0 if no image can be read.
        width: median in pixels; 0 if no image can be read.
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
        """Number of images that cannot be read."""
        return self.images - self.readable


@dataclass(frozen=True, eq=False)
class Exploration:
    """The result of an exploration.

    Attributes:
        manifest: the images.
        images: one row for each image, in the manifest's order; see `image_table`.
        classes: a summary of each class, by name.
        sides: height and width.
        advice: sentences on the input size.
        hints: scores of file properties alone, see `find_hints`.
        telltales: formats and modes that nearly only one class has.
        n_copies: number of images that repeat the pixels of another one.
        patients: what is known of the patients.
    """

    manifest: Manifest
    images: pd.DataFrame
    classes: tuple[ClassSummary, ...]
    sides: tuple[Side, ...]
    advice: tuple[str, ...]
    hints: tuple[Hint, ...]
    telltales: tuple[Telltale, ...]
    n_copies: int
    patients: PatientSummary

    @property
    def readable(self) -> pd.DataFrame:
        """Rows of the images that can be read."""
        return self.images[self.images["reason"] == ""]

    @property
    def unreadable(self) -> pd.DataFrame:
        """Rows of the images that cannot be read."""
        return self.images[self.images["reason"] != ""]

    @property
    def frames(self) -> list[str]:
        """The sentence on images with several frames; empty if there are none."""
        return frames_lines(Counter(self.readable["frames"].to_list()))

    @property
    def warnings(self) -> list[str]:
        """Sentences on problems to solve before any score can be trusted."""
        lines = []
        if len(self.unreadable):
            lines.append(f"{len(self.unreadable)} of {len(self.images)} images cannot be read")
        for summary in self.classes:
            if summary.readable < FEW_IMAGES:
                readable = counted(summary.readable, "readable image")
                lines.append(f"class {summary.label} has {readable}, too few to learn from")
        hints = _warning_hints(self.hints)
        lines += [hint.sentence for hint in hints.values()]
        # A column that warns already needs no second sentence.
        lines += [telltale.sentence for telltale in self.telltales if telltale.column not in hints]
        return lines


def _warning_hints(hints: Sequence[Hint]) -> dict[str, Hint]:
    """Return the hints that warn, by their columns.

    All columns together are dropped if one of them is about as good alone.
    """
    # The columns contain each other, so one cause would give two warnings.
    warning = {hint.columns: hint for hint in hints if hint.warns}
    together = warning.pop(TOGETHER, None)
    best = max((hint.score for hint in warning.values()), default=0)
    if together and together.score > best + _CLEARLY_BETTER:
        warning[TOGETHER] = together
    return warning


def explore(manifest: Manifest, inspected: Sequence[ImageFacts]) -> Exploration:
    """Summarise the images of a manifest.

    Args:
        manifest: the images.
        inspected: their facts from `inspect_images`, in the same order.

    Raises:
        ManifestError: no image can be read.
    """
    check_readable(manifest.source, inspected)
    images = image_table(manifest, inspected)
    rows = np.flatnonzero(images["reason"] == "")
    readable = images.iloc[rows]
    sha256s = [image.sha256 for image in manifest.images]
    named_groups = [image.group for image in manifest.images]
    patients = [frozenset(split_names(image.patient)) for image in manifest.images]
    pixels = [facts.fingerprint.pixels if facts.fingerprint else "" for facts in inspected]
    # Otherwise a tree would be scored on copies of its training images, or on their patients.
    groups = join_groups(sha256s, named_groups, patients, pixels)[rows]
    sides = tuple(side(name, readable[name].to_numpy(np.intp)) for name in ("height", "width"))
    return Exploration(
        manifest,
        images,
        classes=class_summaries(images),
        sides=sides,
        advice=input_size_advice(readable, sides),
        hints=tuple(find_hints(readable, groups)),
        telltales=tuple(telltales(readable, groups)),
        n_copies=len(rows) - len({pixels[row] for row in rows}),
        patients=summarise_patients(manifest),
    )


def image_table(manifest: Manifest, inspected: Sequence[ImageFacts]) -> pd.DataFrame:
    """Return a table with one row for each image.

    The columns are `IMAGE_COLUMNS`. An image that cannot be read has missing values and a reason,
    which is "" for all others.

    Args:
        manifest: the images.
        inspected: their facts, in the same order.
    """
    import pandas as pd

    columns = (
        [image.path for image in manifest.images],
        [image.label for image in manifest.images],
        [image.split for image in manifest.images],
        [facts.kind for facts in inspected],
        [facts.mode for facts in inspected],
        # The type Int64 allows missing values; 0 means that the file cannot be read.
        pd.array([facts.height or None for facts in inspected], "Int64"),
        pd.array([facts.width or None for facts in inspected], "Int64"),
        pd.array([facts.frames or None for facts in inspected], "Int64"),
        [nan if facts.reason else facts.brightness for facts in inspected],
        [nan if facts.reason else facts.contrast for facts in inspected],
        [facts.n_bytes for facts in inspected],
        [facts.reason for facts in inspected],
    )
    return pd.DataFrame(dict(zip(IMAGE_COLUMNS, columns, strict=True)))


def class_summaries(images: pd.DataFrame) -> tuple[ClassSummary, ...]:
    """Summarise each class of an `image_table`, by name."""
    summaries = []
    for label in sorted(set(images["label"])):
        members = images[images["label"] == label]
        readable = members[members["reason"] == ""]
        brightness = readable["brightness"].to_numpy(float)
        summaries.append(
            ClassSummary(
                label,
                images=len(members),
                readable=len(readable),
                formats=_counts(readable["format"]),
                modes=_counts(readable["mode"]),
                height=rounded_median(readable["height"].to_numpy(float)),
                width=rounded_median(readable["width"].to_numpy(float)),
                brightness=float(brightness.mean()) if len(readable) else 0.0,
            )
        )
    return tuple(summaries)


def _counts(values: pd.Series[str]) -> str:
    """Return each value with its count, the most frequent first: "JPEG 12, PNG 3"."""
    return counts_by_name(dict(Counter(values.to_list()).most_common()))
