"""Parts that several sections have: drawings, and lines on what was not run."""

from __future__ import annotations

from collections.abc import Iterable

from .....data.output import html as pages
from ..charts.canvas import Chart


def show(charts: Iterable[Chart]) -> str:
    """Return drawings beside each other."""
    return pages.columns(draw_html(chart) for chart in charts)


def draw_html(chart: Chart) -> str:
    """Return a drawing as a part of the page."""
    return pages.chart(chart.svg, chart.title, chart.caption)


def not_run(command: str) -> str:
    """Return the line for a part that is missing, with the command that makes it."""
    return pages.paragraph(f"not run: {command}", quiet=True)
