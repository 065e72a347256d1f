"""Plots of a collection of images, by matplotlib."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..output.figures import COLOURS, short_name
from .image_size import Side, density
from .summary import ClassSummary

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OTHER_CLASSES = "other classes"

MOST_BARS = 30
"""Most classes in a plot with a bar for each."""

_TEXT_COLOUR = "#333333"


def plot_balance(classes: Sequence[ClassSummary]) -> Figure:
    """Plot how many images each class has, and how many of them cannot be read."""
    from matplotlib.ticker import MaxNLocator

    # Bars are drawn upwards, so the largest class, the last one, is on top.
    shown = sorted(classes, key=lambda summary: summary.images)[-MOST_BARS:]
    figure, (axes,) = _figure(1, 7.5, 1.1 + 0.36 * max(2, len(shown)))
    rows = range(len(shown))
    readable = [summary.readable for summary in shown]
    unreadable = [summary.unreadable for summary in shown]
    axes.barh(rows, readable, color=COLOURS[0], label="readable", height=0.7)
    if any(unreadable):
        axes.barh(rows, unreadable, left=readable, color=COLOURS[5], label="unreadable", height=0.7)
        axes.legend(
            frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, handlelength=1
        )
    total = sum(summary.images for summary in classes)
    for row, summary in zip(rows, shown, strict=True):
        count = f" {summary.images} ({summary.images / total:.0%})"
        axes.text(summary.images, row, count, va="center", color=_TEXT_COLOUR)
    _name_rows(axes, [summary.label for summary in shown])
    # The counts beside the bars need room.
    axes.set_xlim(0, 1.18 * shown[-1].images)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(classes) > MOST_BARS:
        axes.set_xlabel(f"images, the {MOST_BARS} largest of {len(classes)} classes")
    else:
        axes.set_xlabel("images")
    return figure


def plot_sizes(readable: pd.DataFrame, sides: Sequence[Side]) -> Figure:
    """Plot the distribution of heights and widths, with their most frequent value and median."""
    figure, panels = _figure(len(sides), 10.5, 3.6)
    for axes, side in zip(panels, sides, strict=True):
        _plot_side(axes, readable, side)
    panels[0].set_ylabel("images")
    _legend(figure, panels[0])
    return figure


def _plot_side(axes: Axes, readable: pd.DataFrame, side: Side) -> None:
    """Plot the distribution of heights, or of widths."""
    values = readable[side.name].to_numpy(int)
    bins = _bins(values)
    _by_class(axes, readable, side.name, bins)
    if side.low < side.high:
        at = np.linspace(side.low, side.high, 400)
        # Scaled to the area of the histogram, so that curve and bars can be compared.
        curve = density(values, at) * len(values) * (bins[1] - bins[0])
        axes.plot(at, curve, color=_TEXT_COLOUR, linewidth=1.2)
    most_frequent = f"most frequent {side.most_frequent} ({side.share:.0%})"
    _mark(axes, side.most_frequent, most_frequent, 0.97, "-")
    _mark(axes, side.median, f"median {side.median}", 0.90, ":")
    axes.set_xlabel(
        f"{side.name} in pixels ({side.low} to {side.high}); smoothed curve highest at {side.peak}"
    )
    # The texts of the marks need room above the bars.
    axes.set_ylim(0, 1.15 * axes.get_ylim()[1])


def plot_kinds(readable: pd.DataFrame) -> Figure:
    """Plot the shares of formats and of modes in each class."""
    # Reversed, because bars are drawn upwards and the largest class belongs on top.
    labels = _by_frequency(readable["label"])[:MOST_BARS][::-1]
    figure, panels = _figure(2, 10.5, 1.5 + 0.36 * max(2, len(labels)))
    for axes, column in zip(panels, ("format", "mode"), strict=True):
        left = np.zeros(len(labels))
        for number, value in enumerate(_by_frequency(readable[column])):
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
    # The left panel has the names already.
    panels[1].tick_params(labelleft=False)
    return figure


def plot_light(readable: pd.DataFrame) -> Figure:
    """Plot the distribution of brightness and contrast in each class, as shares of the class."""
    figure, panels = _figure(2, 10.5, 3.4)
    for axes, column, most in zip(panels, ("brightness", "contrast"), (255, 128), strict=True):
        _shares_by_class(axes, readable, column, np.linspace(0, most, 52))
        axes.set_xlim(0, most)
    panels[0].set_xlabel("brightness: mean grey level, 0 to 255")
    panels[1].set_xlabel("contrast: standard deviation of the grey levels")
    panels[0].set_ylabel("% of the class")
    _legend(figure, panels[0])
    return figure


def _figure(n: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Make a figure of n panels in a row.

    pyplot is not used: it would keep the figure in memory and choose a window system.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    panels = list(figure.subplots(1, n, squeeze=False)[0])
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(visible=True, color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
    return figure, panels


def _by_class(axes: Axes, readable: pd.DataFrame, column: str, bins: Any) -> None:
    """Draw a stacked histogram: the largest classes in their colours, all others in grey."""
    names, members = zip(*_largest(readable), strict=True)
    values = [readable[column][rows].to_numpy(float) for rows in members]
    colours = [
        COLOURS[-1] if name == OTHER_CLASSES else COLOURS[number]
        for number, name in enumerate(names)
    ]
    axes.hist(
        values, bins=bins, stacked=True, color=colours, label=[short_name(name) for name in names]
    )


def _shares_by_class(axes: Axes, readable: pd.DataFrame, column: str, bins: Any) -> None:
    """Draw the histograms of all classes over each other, all of the same area."""
    for number, (name, rows) in enumerate(_largest(readable)):
        values = readable[column][rows].to_numpy(float)
        colour = COLOURS[-1] if name == OTHER_CLASSES else COLOURS[number]
        # In per cent of the class, so that small classes are as visible as large ones.
        weights = np.full(len(values), 100 / len(values))
        axes.hist(values, bins, weights=weights, color=colour, alpha=0.3, label=short_name(name))
        axes.hist(values, bins, weights=weights, color=colour, histtype="step", linewidth=1.2)


def _largest(readable: pd.DataFrame) -> Iterator[tuple[str, Any]]:
    """Yield names and rows of the classes with a colour of their own, and of the rest."""
    labels = _by_frequency(readable["label"])
    # The last colour is kept for all further classes, if there are any.
    own = len(labels) if len(labels) < len(COLOURS) else len(COLOURS) - 1
    for label in labels[:own]:
        yield label, (readable["label"] == label).to_numpy()
    if own < len(labels):
        yield OTHER_CLASSES, (~readable["label"].isin(labels[:own])).to_numpy()


def _by_frequency(values: pd.Series[str]) -> list[str]:
    """Return the distinct values, the most frequent first."""
    return [value for value, _ in Counter(values.to_list()).most_common()]


def _name_rows(axes: Axes, labels: Sequence[str]) -> None:
    """Write the names of classes beside their bars."""
    axes.set_yticks(range(len(labels)), [short_name(label) for label in labels])
    axes.grid(visible=False, axis="y")


def _bins(values: Any) -> Any:
    """Return the edges of at most 60 bins, each of whole pixels."""
    low = int(values.min())
    high = int(values.max())
    width = max(1, -(-(high - low + 1) // 60))
    return np.arange(low - 0.5, high + width + 0.5, width)


def _mark(axes: Axes, at: float, text: str, height: float, style: str) -> None:
    """Draw a vertical line with a text on the side where there is more room."""
    axes.axvline(at, color=_TEXT_COLOUR, linestyle=style, linewidth=1)
    left = at > sum(axes.get_xlim()) / 2
    axes.annotate(
        text,
        (at, height),
        xycoords=axes.get_xaxis_transform(),
        xytext=(-4 if left else 4, 0),
        textcoords="offset points",
        ha="right" if left else "left",
        va="top",
        fontsize=9,
        color=_TEXT_COLOUR,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.85},
    )


def _legend(figure: Figure, axes: Axes) -> None:
    """Draw one legend for all panels, above them."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=min(4, len(labels)), frameon=False
    )
