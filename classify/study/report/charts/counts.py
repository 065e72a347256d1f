"""Drawings of counts and changes: wrong heads, stress levels, edits of files, flow of images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from .....data.output.terminal import number
from ..tables import Line
from .canvas import CURVES, INK, PANEL, QUIET, Chart, draw, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.ticker import NullLocator

MOST_LABELLED_BARS = 12


def disagreement(shares: Sequence[float], caption: str) -> Chart:
    """Draw the share of test images that 0, 1, 2, ... heads get wrong."""

    def paint(axes: Axes) -> None:
        bars = axes.bar(range(len(shares)), [100 * share for share in shares], color=CURVES[0])
        # The texts of many bars would overlap.
        if len(shares) <= MOST_LABELLED_BARS:
            axes.bar_label(bars, [f"{100 * share:.1f}" for share in shares], fontsize=8.5)
        step = 1 + len(shares) // (MOST_LABELLED_BARS + 1)
        axes.set_xticks(range(0, len(shares), step))
        axes.set(xlabel="number of heads that are wrong", ylabel="test images, %")
        axes.grid(axis="x", visible=False)
        axes.margins(y=0.12)

    return draw("Heads that are wrong about an image", caption, paint)


def edit_changes(lines: Sequence[Line], caption: str) -> Chart:
    """Draw the change of the accuracy by each edit of the files, with its interval."""

    def paint(axes: Axes) -> None:
        places = range(len(lines))
        values, lows, highs = (
            [100 * number(line[name]) for line in lines]
            for name in ("accuracy_change", "lower", "upper")
        )
        axes.axvline(0, color=QUIET, linestyle=":")
        axes.hlines(places, lows, highs, color=CURVES[0])
        axes.plot(values, places, color=CURVES[0], marker="o", linestyle="none")
        names = [label(f"{line['edit']} {line['strength']}".strip()) for line in lines]
        axes.set_yticks(places, names)
        axes.set_ylim(len(lines) - 0.4, -0.6)
        axes.tick_params(left=False)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("change of accuracy, points (95 % interval)")

    height = 1 + 0.22 * max(3, len(lines))
    return draw("Accuracy after edits of the files", caption, paint, height=height)


def stress_curve(levels: Sequence[Line], judged: int, caption: str) -> Chart:
    """Draw the accuracy at each level of a stress test, the fewest groups on the right."""

    def paint(axes: Axes) -> None:
        groups = [number(level["n_groups"]) for level in levels]
        values, lows, highs = (
            [100 * number(level[f"accuracy{end}"]) for level in levels]
            for end in ("", "_low", "_high")
        )
        axes.vlines(groups, lows, highs, color=CURVES[0])
        axes.plot(groups, values, color=CURVES[0], marker="o")
        if judged:
            axes.plot(
                [groups[judged]],
                [values[judged]],
                marker="*",
                markersize=15,
                color=CURVES[1],
                linestyle="none",
                label="compared with the first",
            )
            axes.legend(loc="lower left")
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(_no_ticks())
        # The first numbers may be too near to each other for their texts.
        ticks = [n for n, smaller in pairwise([*groups, 0.0]) if n > 1.4 * smaller]
        axes.set_xticks(ticks, [f"{n:.0f}" for n in ticks])
        axes.invert_xaxis()
        axes.set(xlabel="groups that are kept together", ylabel="accuracy, %")

    return draw("Stress test", caption, paint)


def _no_ticks() -> NullLocator:
    from matplotlib.ticker import NullLocator

    return NullLocator()


def flow(boxes: Sequence[tuple[str, str]], ends: Sequence[str], caption: str) -> Chart:
    """Draw boxes below each other, with what is lost between them, and the parts at the end.

    Args:
        boxes: text of each box, and of what the step to the next one leaves out.
        ends: texts of the last boxes, beside each other.
        caption: text below.
    """
    n = len(boxes) + bool(ends)

    def paint(axes: Axes) -> None:
        axes.set(xlim=(0, 10), ylim=(n - 0.35, -0.65))
        axes.set_axis_off()
        for place, (text, lost) in enumerate(boxes):
            _box(axes, 3.2, place, text)
            if place < len(boxes) - 1:
                _arrow(axes, (3.2, place + 0.28), (3.2, place + 0.7))
            if lost:
                axes.text(6.6, place + 0.5, lost, va="center", color=QUIET, fontsize=8.5)
                _arrow(axes, (3.2, place + 0.5), (6.5, place + 0.5))
        for place, text in enumerate(ends):
            x = 3.2 if len(ends) == 1 else 10 * (place + 0.5) / len(ends)
            _arrow(axes, (3.2, n - 2 + 0.28), (x, n - 1 - 0.3))
            _box(axes, x, n - 1, text)

    return draw("Flow of the images", caption, paint, height=0.3 + 0.72 * n)


def _box(axes: Axes, x: float, y: float, text: str) -> None:
    frame = {"boxstyle": "round,pad=0.45", "facecolor": PANEL, "edgecolor": QUIET}
    axes.text(x, y, text, ha="center", va="center", color=INK, bbox=frame)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    style = {"arrowstyle": "->", "color": QUIET}
    axes.annotate("", xy=end, xytext=start, arrowprops=style)
