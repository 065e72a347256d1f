"""Drawings of maps: colours over the image, and a figure with a scale, by matplotlib."""

from __future__ import annotations

import textwrap
import warnings
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....data.output.terminal import printable
from ....extract.backbones.receptive_field import ReceptiveField

COLOUR_MAP = "PuOr_r"
"""A diverging map of ColorBrewer that the colour-blind can read: purple, white at zero, orange."""

FOR_CLASS = (253, 150, 40)
"""Red, green, blue of cells over an image that speak for the class: an orange of COLOUR_MAP."""

AGAINST_CLASS = (150, 120, 235)
"""Red, green, blue of cells that speak against it: a purple that is visible on black."""

MAP_SIDE = 320
"""Most pixels of the longer side of a map over the image without words."""

MOST_OPAQUE = 0.75
"""Opacity of a cell over the image whose contribution reaches the scale."""

_MAP_TEXT_COLOUR = "#333333"
_MOST_OF_A_NAME = 40
_MOST_OF_A_LINE = 150


@dataclass(frozen=True, eq=False)
class CellMap:
    """A map to be drawn.

    Attributes:
        contributions: of shape (rows, columns).
        scale: contribution that has the full colour.
        field: places of the cells.
    """

    contributions: NDArray[np.float64]
    scale: float
    field: ReceptiveField

    def pixels(self) -> NDArray[np.uint8]:
        """Return the map as colours with transparency, of the size of the backbone's input.

        A cell's opacity grows with its contribution, up to the scale. A contribution of zero leaves
        the image as it is.

        Returns:
            uint8 RGBA of shape (height, width, 4).
        """
        values = np.clip(self.contributions / self.scale, -1, 1)
        cells = np.empty((*values.shape, 4), np.uint8)
        cells[..., :3] = np.where(values[..., np.newaxis] > 0, FOR_CLASS, AGAINST_CLASS)
        cells[..., 3] = np.round(255 * MOST_OPAQUE * np.abs(values))
        y, x = self.field.edges(*values.shape)
        # Cells are drawn as cells: nothing is interpolated between them.
        return cells.repeat(np.diff(y), axis=0).repeat(np.diff(x), axis=1)


def overlay(
    cell_map: CellMap,
    picture: NDArray[np.uint8],
    size: tuple[int, int],
    *,
    title: str,
    class_name: str,
    text: str,
) -> bytes:
    """Return a PNG file: the image, the map over it, and the map alone with its scale.

    Args:
        cell_map: the map.
        picture: uint8 RGB of the image.
        size: height and width of the image, in its own pixels.
        title: text above the image.
        class_name: the class that contributions speak for.
        text: text below, of one or more lines.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 4.6), layout="constrained")
    axes = figure.subplots(1, 3, gridspec_kw={"wspace": 0.03})
    for place, words in zip(axes, (title, "the map over the image", "the map alone"), strict=True):
        place.set_title(_drawable(words), fontsize=9, color=_MAP_TEXT_COLOUR)
        place.set_axis_off()
        place.set_aspect("equal")
    height, width = size
    extent = (0, width, height, 0)
    for place in axes[:2]:
        place.imshow(picture, extent=extent)
    axes[1].imshow(cell_map.pixels(), extent=extent, interpolation="nearest")
    _draw_alone(figure, axes[2], cell_map, size, class_name)
    figure.supxlabel(_drawable(_wrapped(text)), fontsize=8, color=_MAP_TEXT_COLOUR)
    return _png_file(figure)


def _draw_alone(
    figure: Any, axes: Any, cell_map: CellMap, size: tuple[int, int], class_name: str
) -> None:
    """Draw the map with a colour bar, its numbers and the meaning of its ends."""
    y, x = cell_map.field.edges(*cell_map.contributions.shape)
    height, width = cell_map.field.input_size
    limit = cell_map.scale
    mesh = axes.pcolormesh(
        x * size[1] / width,
        y * size[0] / height,
        cell_map.contributions,
        cmap=COLOUR_MAP,
        vmin=-limit,
        vmax=limit,
    )
    axes.invert_yaxis()
    bar = figure.colorbar(mesh, ax=axes, extend="both", shrink=0.82, format="%.3g")
    bar.ax.tick_params(labelsize=8, colors=_MAP_TEXT_COLOUR)
    bar.outline.set_visible(False)
    bar.set_label(
        f"contribution to the logit of {_drawable(class_name)}\n"
        "orange: for the class, purple: against it",
        fontsize=8,
        color=_MAP_TEXT_COLOUR,
    )


def map_picture(cell_map: CellMap, picture: NDArray[np.uint8]) -> bytes:
    """Return a PNG file of the map over the image, without words, `MAP_SIDE` pixels at most.

    Args:
        cell_map: the map.
        picture: uint8 RGB of the image.
    """
    from PIL import Image

    image = Image.fromarray(picture).convert("RGBA")
    cells = Image.fromarray(cell_map.pixels()).resize(image.size, Image.Resampling.NEAREST)
    both = Image.alpha_composite(image, cells).convert("RGB")
    both.thumbnail((MAP_SIDE, MAP_SIDE))
    file = BytesIO()
    both.save(file, "PNG")
    return file.getvalue()


def short_name(name: str) -> str:
    """Return a class name that leaves room for other words."""
    return name if len(name) <= _MOST_OF_A_NAME else f"{name[: _MOST_OF_A_NAME - 3]}..."


def _wrapped(text: str) -> str:
    """Break the lines of a text that are wider than the figure."""
    lines = [textwrap.wrap(line, _MOST_OF_A_LINE) for line in text.split("\n")]
    return "\n".join("\n".join(parts) for parts in lines)


def _drawable(text: str) -> str:
    """Return text for matplotlib: without control characters, and not taken for a formula."""
    return "\n".join(map(printable, text.split("\n"))).replace("$", r"\$")


def _png_file(figure: Any) -> bytes:
    file = BytesIO()
    # Class names may be in scripts that the font lacks; matplotlib would warn of each letter.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        figure.savefig(file, format="png", dpi=110, metadata={"Software": None})
    return file.getvalue()
