"""Drawing by matplotlib: SVG in the colours of the page, with texts as text.

The colours of a drawing are those of the page's style sheet, in light and in dark: each colour
below stands for a variable of it. Lines differ in their dashes and marks, too, so that grey print
and the colour-blind can tell them apart (colours after Okabe and Ito).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

from .....data.output.terminal import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK = "#010101"
QUIET = "#020202"
GRID_LINE = "#030303"
PANEL = "#040404"
CURVES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
"""Colours of curves; a reader could not distinguish more."""

DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))
CURVE_MARKS = ("o", "s", "^", "D", "v", "P")

_VARIABLES = {
    INK: "ink",
    QUIET: "quiet",
    GRID_LINE: "line",
    PANEL: "panel",
    **dict(zip(CURVES, ("blue", "red", "green", "pink", "sky", "orange"), strict=True)),
}

INCHES_WIDE = 4.6
"""Width in inches; a phone shows it at about this size."""


@dataclass(frozen=True)
class Chart:
    """A drawing.

    Attributes:
        title: its name, for readers who do not see it.
        caption: how to read it, with its numbers.
        svg: HTML of the drawing.
    """

    title: str
    caption: str
    svg: str


def draw(title: str, caption: str, paint: Callable[[Axes], None], *, height: float = 3.2) -> Chart:
    """Make a drawing.

    Args:
        title: its name; drawings of one page have different ones.
        caption: text below it.
        paint: draws into axes.
        height: in inches.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({**_SETTINGS, "svg.hashsalt": title}):
        figure = Figure(figsize=(INCHES_WIDE, height), layout="constrained")
        paint(figure.add_subplot())
        file = StringIO()
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", transparent=True, metadata=metadata)
    return Chart(title, caption, _inline(file.getvalue()))


def label(text: object) -> str:
    """Return a text for a drawing, without control characters and not too long."""
    shown = printable(str(text))
    return shown if len(shown) <= 28 else f"{shown[:27]}…"


_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    # A dollar in the name of a class is no formula.
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID_LINE,
    "grid.linewidth": 0.7,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "lines.linewidth": 1.7,
}


def _inline(svg: str) -> str:
    """Return a file of SVG as a part of a page: without header and names, colours as variables."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"\s*<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    # One sheet of styles serves the whole page.
    body = re.sub(r"\s*<defs>\s*<style[^>]*>.*?</style>\s*</defs>", "", body, flags=re.DOTALL)
    body = re.sub(r' xmlns(:xlink)?="[^"]*"| version="1.1"', "", body)
    # Names of groups repeat in each drawing, and nothing refers to them.
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    body = re.sub(r'<svg width="[^"]*" height="[^"]*"', "<svg", body)
    body = re.sub(r"font-family: 'DejaVu Sans'[^;\"]*", "font-family: system-ui, sans-serif", body)
    return re.sub(r"(?<=: )#[0-9a-f]{6}", _variable, body).strip()


def _variable(match: re.Match[str]) -> str:
    name = _VARIABLES.get(match[0])
    return f"var(--{name})" if name else match[0]
