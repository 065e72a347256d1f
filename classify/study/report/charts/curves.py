"""Curves of one evaluation: ROC, precision and recall, reliability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ....scores.predictions import Floats
from ..calibration import ClassRows
from ..formulas import CalibrationLine
from .canvas import CURVE_MARKS, CURVES, DASHES, QUIET, Chart, draw, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Corner = Literal["lower right", "lower left", "upper left"]

MOST_CLASSES = len(CURVES)
"""Most classes with a curve of their own."""

MOST_POINTS_DRAWN = 200
BINS_OF_RELIABILITY = 10


def roc(classes: Sequence[ClassRows], caption: str) -> Chart:
    """Draw ROC curves: the share of a class that is found, over the share of false alarms."""
    from sklearn.metrics import roc_curve

    def paint(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=QUIET, linestyle=":", linewidth=1)
        for number, rows in enumerate(classes):
            x, y, _ = roc_curve(rows.outcomes, rows.probabilities)
            axes.plot(*_thinned(x, y), **_style(number), label=label(rows.name))
        _square(axes, "false alarms (1 - specificity)", "found (sensitivity)")

    return draw("ROC curve", caption, paint, height=4.2)


def precision_recall(classes: Sequence[ClassRows], caption: str) -> Chart:
    """Draw precision over recall; a dotted line is the share of the class."""
    from sklearn.metrics import precision_recall_curve

    def paint(axes: Axes) -> None:
        for number, rows in enumerate(classes):
            precision, recall, _ = precision_recall_curve(rows.outcomes, rows.probabilities)
            axes.plot(*_thinned(recall, precision), **_style(number), label=label(rows.name))
            share = float(rows.outcomes.mean())
            axes.axhline(share, color=CURVES[number], linestyle=":", linewidth=1)
        _square(axes, "found (recall)", "right among the found (precision)", corner="lower left")

    return draw("Precision-recall curve", caption, paint, height=4.2)


def reliability(
    classes: Sequence[ClassRows], lines: dict[str, CalibrationLine | None], caption: str
) -> Chart:
    """Draw the share of a class among images with about the same probability of it."""
    from sklearn.calibration import calibration_curve

    def paint(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=QUIET, linestyle=":", linewidth=1)
        for number, rows in enumerate(classes):
            shares, means = calibration_curve(
                rows.outcomes, rows.probabilities, n_bins=BINS_OF_RELIABILITY
            )
            line = lines[rows.name]
            slope = f", slope {line.slope[0]:.2f}" if line else ""
            name = f"{label(rows.name)}{slope}"
            axes.plot(means, shares, marker=CURVE_MARKS[number], **_style(number), label=name)
        _square(axes, "probability of the class", "share of the class", corner="upper left")

    return draw("Reliability curve", caption, paint, height=4.2)


def _style(number: int) -> dict[str, Any]:
    return {"color": CURVES[number], "linestyle": DASHES[number]}


def _square(axes: Axes, x: str, y: str, corner: Corner = "lower right") -> None:
    axes.set(xlabel=x, ylabel=y, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.legend(loc=corner)


def _thinned(*columns: Floats) -> list[Floats]:
    """Return at most `MOST_POINTS_DRAWN` points, the first and the last among them."""
    n = len(columns[0])
    places = np.unique(np.linspace(0, n - 1, min(n, MOST_POINTS_DRAWN)).astype(int))
    return [column[places] for column in columns]
