"""The explanation of one image: signed contributions of its cells to the logit of a class."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....data.output.terminal import rounded_percent
from ....extract.backbones.receptive_field import ReceptiveField
from ..guards.doubts import doubts, doubts_record
from ..guards.familiarity import Familiarity
from ..guards.training_lookup import TrainingCopy
from .contributions import OCCLUSION
from .drawing import CellMap, map_picture, overlay, short_name

ROUNDING = 5e-4
"""Error of a sum from which it would show in a text of three decimals."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """The explanation of one image.

    `base` plus the sum of `contributions` is the logit, but for `completeness_error`. The softmax
    of the logits of all classes is the probabilities; with two classes the logit is log(p / (1 -
    p)). With more classes it is relative to the mean of all: a cell that speaks for all classes
    alike contributes nothing.

    Attributes:
        path: path of the image file, as passed; "" for bytes and arrays.
        label: the predicted class; "" if the image could not be read.
        class_name: the class that the logit is of.
        probability: probability of this class.
        logit: logit of this class.
        base: logit of the mean of the training images, which every cell is compared with.
        contributions: float64 of shape (rows, columns): how much each cell raises the logit above
            the base; negative where it speaks against the class. None if the image could not be
            read.
        method: "exact", "gradient" or "occlusion", see `contributions.find_method`.
        layer: the layer that the cells are of.
        scale: 99th percentile of the absolute contributions of training images, which all maps of
            a model are drawn on.
        receptive_field: the part of the backbone's input that each cell depends on.
        size: height and width of the image in its own pixels.
        picture: uint8 RGB of the image, made smaller if it is large; None if it was not read.
        features: float32 of shape (n_features,), pooled, as the head takes them; None if the image
            was not read, or if they were not kept.
        error: why the image could not be read; "" if it could.
        familiarity: how like the training images the image is; None if that is not known.
        training_copy: the training image that the image is a copy of, if there is one; None if it
            was not looked up.
    """

    path: str
    label: str = ""
    class_name: str = ""
    probability: float = float("nan")
    logit: float = float("nan")
    base: float = float("nan")
    contributions: NDArray[np.float64] | None = field(default=None, repr=False)
    method: str = ""
    layer: str = ""
    scale: float = float("nan")
    receptive_field: ReceptiveField | None = None
    size: tuple[int, int] = (0, 0)
    picture: NDArray[np.uint8] | None = field(default=None, repr=False)
    features: NDArray[np.float32] | None = field(default=None, repr=False)
    error: str = ""
    familiarity: Familiarity | None = None
    training_copy: TrainingCopy | None = None

    @property
    def completeness_error(self) -> float:
        """The absolute difference between the logit and base plus contributions; NaN if unread."""
        if self.contributions is None:
            return float("nan")
        return abs(self.base + float(self.contributions.sum()) - self.logit)

    @property
    def doubts_record(self) -> dict[str, Any]:
        """The guards' answers about the image, as JSON has them."""
        return doubts_record(self.training_copy, self.familiarity)

    @property
    def field_text(self) -> str:
        """A sentence about the pixels that a cell depends on, so that nobody reads too much."""
        seen = self.receptive_field
        if seen is None:
            return ""
        height, width = seen.input_size
        rows, columns = (rounded_percent(min(1, seen.size / length)) for length in (height, width))
        text = (
            f"A cell sees up to {seen.size} x {seen.size} of the {height} x {width} pixels of the "
            f"network's input: {rows} of an image's height, {columns} of its width."
        )
        # From half the input on, a cell's colour says little about the place that it is drawn at.
        if 2 * seen.size > max(height, width):
            text += " The map does not show where a finding is: a cell reacts to all that it sees."
        return text

    def map_pixels(self) -> NDArray[np.uint8]:
        """Return the map as colours with transparency, to be laid over the image.

        Returns:
            uint8 RGBA of the size of the backbone's input, (height, width, 4).

        Raises:
            ValueError: the image could not be read.
        """
        return self._cell_map().pixels()

    def overlay(self) -> bytes:
        """Return a PNG file: the image, the map over it, and the map alone with its scale.

        Raises:
            ValueError: the image could not be read, or its picture was not kept.
        """
        cell_map = self._cell_map()
        name = short_name(self.class_name)
        return overlay(
            cell_map,
            self._kept_picture(),
            self.size,
            title=f"{name}: {self.probability:.1%}, logit {self.logit:.2f}",
            class_name=name,
            text="\n".join(
                [
                    *doubts(self.training_copy, self.familiarity),
                    f"{self._sum_text()} Full colour is {self.scale:.3g}, for all images of this "
                    "model.",
                    f"{self.layer}: {self.field_text}",
                ]
            ),
        )

    def map_picture(self) -> bytes:
        """Return a PNG file of the map over the image, without words, `MAP_SIDE` pixels at most.

        Raises:
            ValueError: the image could not be read, or its picture was not kept.
        """
        return map_picture(self._cell_map(), self._kept_picture())

    def _kept_picture(self) -> NDArray[np.uint8]:
        if self.picture is None:
            raise ValueError(f"{self.path}: the picture was not kept")
        return self.picture

    def _cell_map(self) -> CellMap:
        if self.contributions is None or self.receptive_field is None:
            raise ValueError(f"{self.path}: there is no map of an image that was not read")
        return CellMap(self.contributions, self.scale, self.receptive_field)

    def _sum_text(self) -> str:
        """Return how the contributions add up."""
        if self.method == OCCLUSION:
            return (
                f"logit {self.logit:.3f}; each cell alone is replaced by the mean of the training "
                "images, so the cells do not add up to the logit."
            )
        total = self.logit - self.base
        text = (
            f"logit {self.logit:.3f} = {self.base:.3f} (mean of the training images) "
            f"{total:+.3f} (all cells"
        )
        if self.completeness_error >= ROUNDING:
            text += f", but for {self.completeness_error:.3f}"
        return f"{text})."
