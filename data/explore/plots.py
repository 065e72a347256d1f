"""Pictures of a collection of images: plots by matplotlib, contact sheets by Pillow."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import FreezeframeError
from ..formats.images import read_image
from ..output.terminal import printable
from .summary import ClassSummary, Side, density

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL import Image

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999")
"""Told apart by the colour-blind, too (Okabe and Ito); the last is for all classes that have no colour of their own."""

OTHERS = "other classes"
MOST_BARS = 30
SHEET_IMAGES = 48
SHEET_COLUMNS = 8

_TILE, _GAP, _TEXT = 128, 8, 16
_INK, _PAPER, _FRAME = "#333333", "#ffffff", "#1a1a1a"


def png(picture: Figure | Image.Image) -> bytes:
    """The file of a figure or a contact sheet."""
    file = BytesIO()
    if hasattr(picture, "savefig"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # class names in scripts that the font lacks
            picture.savefig(file, format="png", dpi=110, metadata={"Software": None})
    else:
        picture.save(file, "PNG", optimize=True)
    return file.getvalue()


def plot_balance(classes: Sequence[ClassSummary]) -> Figure:
    """How many images each class has, and how many of them cannot be read."""
    from matplotlib.ticker import MaxNLocator

    shown = sorted(classes, key=lambda summary: summary.images)[-MOST_BARS:]
    figure, (axes,) = _figure(1, 7.5, 1.1 + 0.36 * max(2, len(shown)))
    rows = range(len(shown))
    readable, unreadable = (
        [summary.readable for summary in shown],
        [summary.unreadable for summary in shown],
    )
    axes.barh(rows, readable, color=COLOURS[0], label="readable", height=0.7)
    if any(unreadable):
        axes.barh(rows, unreadable, left=readable, color=COLOURS[5], label="unreadable", height=0.7)
        axes.legend(
            frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, handlelength=1
        )
    total = sum(summary.images for summary in classes)
    for row, summary in zip(rows, shown, strict=True):
        axes.text(
            summary.images,
            row,
            f" {summary.images} ({summary.images / total:.0%})",
            va="center",
            color=_INK,
        )
    _name_rows(axes, [summary.label for summary in shown])
    axes.set_xlim(0, 1.18 * shown[-1].images)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(
        "images"
        + f", the {MOST_BARS} largest of {len(classes)} classes" * (len(classes) > MOST_BARS)
    )
    return figure


def plot_sizes(readable: pd.DataFrame, sides: Sequence[Side]) -> Figure:
    """How heights and widths are distributed, with the most frequent value and the median of each."""
    figure, panels = _figure(len(sides), 10.5, 3.6)
    for axes, side in zip(panels, sides, strict=True):
        values = readable[side.name].to_numpy(int)
        bins = _bins(values)
        _by_class(axes, readable, side.name, bins)
        if side.low < side.high:
            at = np.linspace(side.low, side.high, 400)
            axes.plot(
                at,
                density(values, at) * len(values) * (bins[1] - bins[0]),
                color=_INK,
                linewidth=1.2,
            )
        _mark(
            axes,
            side.most_frequent,
            f"most frequent {side.most_frequent} ({side.share:.0%})",
            0.97,
            "-",
        )
        _mark(axes, side.median, f"median {side.median}", 0.90, ":")
        axes.set_xlabel(
            f"{side.name} in pixels ({side.low} to {side.high}); smoothed curve highest at {side.peak}"
        )
        axes.set_ylim(0, 1.15 * axes.get_ylim()[1])
    panels[0].set_ylabel("images")
    _legend(figure, panels[0])
    return figure


def plot_kinds(readable: pd.DataFrame) -> Figure:
    """Which share of each class has which format, and which mode."""
    labels = _by_number(readable["label"])[:MOST_BARS][::-1]
    figure, panels = _figure(2, 10.5, 1.5 + 0.36 * max(2, len(labels)))
    for axes, column in zip(panels, ("format", "mode"), strict=True):
        left = np.zeros(len(labels))
        for number, value in enumerate(_by_number(readable[column])):
            shares = [
                100 * float((readable[column][readable["label"] == label] == value).mean())
                for label in labels
            ]
            colour = COLOURS[min(number, len(COLOURS) - 1)]
            axes.barh(range(len(labels)), shares, left=left, color=colour, label=value, height=0.7)
            left += shares
        _name_rows(axes, labels)
        axes.set_xlim(0, 100)
        axes.set_xlabel(f"{column}, % of the class")
        axes.legend(
            frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=5, handlelength=1
        )
    panels[1].tick_params(labelleft=False)
    return figure


def plot_light(readable: pd.DataFrame) -> Figure:
    """How brightness and contrast are distributed in each class, whatever its size."""
    figure, panels = _figure(2, 10.5, 3.4)
    for axes, column, most in zip(panels, ("brightness", "contrast"), (255, 128), strict=True):
        _shares_by_class(axes, readable, column, np.linspace(0, most, 52))
        axes.set_xlim(0, most)
    panels[0].set_xlabel("brightness: mean grey level, 0 to 255")
    panels[1].set_xlabel("contrast: standard deviation of the grey levels")
    panels[0].set_ylabel("% of the class")
    _legend(figure, panels[0])
    return figure


def contact_sheet(root: Path, images: pd.DataFrame, *, seed: int = 0) -> Image.Image:
    """Some images of one class with their names, in the order of their paths.

    Args:
        root: the folder that paths are relative to.
        images: readable ones; of more than `SHEET_IMAGES`, so many are drawn.
        seed: of the drawing.
    """
    from concurrent.futures import ThreadPoolExecutor

    from PIL import Image, ImageDraw, ImageFont

    n = min(len(images), SHEET_IMAGES)
    chosen = np.sort(np.random.default_rng(seed).choice(len(images), n, replace=False))
    paths = [str(images["path"].iloc[row]) for row in chosen]
    columns, rows = min(n, SHEET_COLUMNS), -(-n // SHEET_COLUMNS)
    size = (_GAP + columns * (_TILE + _GAP), _GAP + rows * (_TILE + _TEXT + _GAP))
    sheet = Image.new("RGB", size, _PAPER)
    draw, font = (
        ImageDraw.Draw(sheet),
        ImageFont.truetype(_font_file(), 11, layout_engine=ImageFont.Layout.BASIC),
    )
    with ThreadPoolExecutor(4) as pool:
        tiles = pool.map(_tile, [root / path for path in paths])
        for number, (path, tile) in enumerate(zip(paths, tiles, strict=True)):
            left = _GAP + number % SHEET_COLUMNS * (_TILE + _GAP)
            top = _GAP + number // SHEET_COLUMNS * (_TILE + _TEXT + _GAP)
            sheet.paste(tile, (left, top))
            draw.text(
                (left, top + _TILE + 1), _fitting(Path(path).name, font), fill=_INK, font=font
            )
    return sheet


def _tile(path: Path) -> Image.Image:
    """A picture within a square; the square alone if it has been lost meanwhile."""
    from PIL import Image

    tile = Image.new("RGB", (_TILE, _TILE), _FRAME)
    try:
        picture = Image.fromarray(read_image(path))
    except FreezeframeError:
        return tile
    scale = _TILE / max(picture.size)
    width, height = (max(1, round(scale * side)) for side in picture.size)
    picture = picture.resize(
        (width, height), Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.NEAREST
    )
    tile.paste(picture, ((_TILE - width) // 2, (_TILE - height) // 2))
    return tile


def _fitting(name: str, font: Any) -> str:
    """A name cut in its middle to the width of a tile: the ends tell more."""
    name = printable(name)
    name = name if len(name) <= 60 else f"{name[:30]}…{name[-30:]}"
    cut = name
    for kept in range(len(name), 1, -1):
        if font.getlength(cut) <= _TILE:
            break
        cut = f"{name[: (kept + 1) // 2]}…{name[len(name) - kept // 2 :]}"
    return cut


def _font_file() -> str:
    """A font that matplotlib brings along: Latin, Greek, Cyrillic and more."""
    from matplotlib import get_data_path

    return str(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")


def _figure(n: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of n panels in a row, made without pyplot: that would keep it, and choose a window system."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    panels = list(figure.subplots(1, n, squeeze=False)[0])
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(visible=True, color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
    return figure, panels


def _by_class(axes: Axes, readable: pd.DataFrame, column: str, bins: Any) -> None:
    """A stacked histogram: the largest classes in their colours, all others in grey."""
    names, members = zip(*_largest(readable), strict=True)
    values = [readable[column][rows].to_numpy(float) for rows in members]
    colours = [
        COLOURS[-1] if name == OTHERS else COLOURS[number] for number, name in enumerate(names)
    ]
    axes.hist(values, bins=bins, stacked=True, color=colours, label=[_name(name) for name in names])


def _shares_by_class(axes: Axes, readable: pd.DataFrame, column: str, bins: Any) -> None:
    """A histogram of each class over the others', every one of the same area."""
    for number, (name, rows) in enumerate(_largest(readable)):
        values = readable[column][rows].to_numpy(float)
        colour = COLOURS[-1] if name == OTHERS else COLOURS[number]
        weights = np.full(len(values), 100 / len(values))
        axes.hist(values, bins, weights=weights, color=colour, alpha=0.3, label=_name(name))
        axes.hist(values, bins, weights=weights, color=colour, histtype="step", linewidth=1.2)


def _largest(readable: pd.DataFrame) -> Iterator[tuple[str, Any]]:
    """Names and rows of the classes that get a colour of their own, and of the rest."""
    labels = _by_number(readable["label"])
    own = len(labels) if len(labels) < len(COLOURS) else len(COLOURS) - 1
    for label in labels[:own]:
        yield label, (readable["label"] == label).to_numpy()
    if own < len(labels):
        yield OTHERS, (~readable["label"].isin(labels[:own])).to_numpy()


def _by_number(values: pd.Series[str]) -> list[str]:
    """The distinct values, the most frequent first."""
    return [value for value, _ in Counter(values.to_list()).most_common()]


def _name_rows(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), [_name(label) for label in labels])
    axes.grid(visible=False, axis="y")


def _bins(values: Any) -> Any:
    low, high = int(values.min()), int(values.max())
    width = max(1, -(-(high - low + 1) // 60))
    return np.arange(low - 0.5, high + width + 0.5, width)


def _mark(axes: Axes, at: float, text: str, height: float, style: str) -> None:
    axes.axvline(at, color=_INK, linestyle=style, linewidth=1)
    left = at > sum(axes.get_xlim()) / 2  # there is room
    axes.annotate(
        text,
        (at, height),
        xycoords=axes.get_xaxis_transform(),
        xytext=(-4 if left else 4, 0),
        textcoords="offset points",
        ha="right" if left else "left",
        va="top",
        fontsize=9,
        color=_INK,
        bbox={"facecolor": _PAPER, "edgecolor": "none", "pad": 1, "alpha": 0.85},
    )


def _legend(figure: Figure, axes: Axes) -> None:
    """One for all panels, above them."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=min(4, len(labels)), frameon=False
    )


def _name(label: str) -> str:
    """A class name as matplotlib shows it: short, on one line, and no formula."""
    text = printable(str(label))
    return (text if len(text) <= 28 else f"{text[:14]}…{text[-13:]}").replace("$", r"\$")
