"""Usefulness of a head: net benefit over thresholds, predictive values over prevalence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .....data.output.terminal import number
from ..calibration import ClassRows
from ..formulas import net_benefit, predictive_values
from ..study import Row
from .canvas import CURVES, PANEL, QUIET, Chart, draw, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

THRESHOLDS = np.arange(1, 100) / 100
"""Probabilities from which on somebody acts."""


def decision_curve(rows: ClassRows, caption: str) -> Chart:
    """Draw the net benefit of a head, of acting on all images and on none."""
    benefit = net_benefit(rows.outcomes, rows.probabilities, THRESHOLDS)
    everybody = net_benefit(rows.outcomes, np.ones(len(rows.outcomes)), THRESHOLDS)
    share = float(rows.outcomes.mean())

    def paint(axes: Axes) -> None:
        axes.plot(THRESHOLDS, benefit, color=CURVES[0], label="the head")
        axes.plot(THRESHOLDS, everybody, color=CURVES[1], linestyle="--", label="act on all")
        axes.axhline(0, color=QUIET, linestyle=":", label="act on none")
        # Acting on all loses without bound near 1, which would squeeze everything else.
        axes.set(xlim=(0, 1), ylim=(-0.25 * share - 0.02, share + 0.03))
        axes.set(xlabel=f"threshold: probability of {label(rows.name)}", ylabel="net benefit")
        axes.legend(loc="upper right")

    return draw("Decision curve", caption, paint)


def prevalence_chart(row: Row, caption: str, prefix: str = "") -> Chart:
    """Draw PPV and NPV over the share of the positive class.

    Args:
        row: has sensitivity and specificity with their intervals.
        caption: text below.
        prefix: "clean_" for the scores without relatives.
    """
    prevalence = np.linspace(0.001, 0.999, 200)
    ends = [
        [number(row[f"{prefix}{name}{end}"]) for name in ("sensitivity", "specificity")]
        for end in ("", "_low", "_high")
    ]
    middle, low, high = (predictive_values(pair[0], pair[1], prevalence) for pair in ends)

    def paint(axes: Axes) -> None:
        for place, (name, dashes) in enumerate((("PPV", "-"), ("NPV", "--"))):
            axes.fill_between(prevalence, low[place], high[place], color=PANEL, linewidth=0)
            for edge in (low[place], high[place]):
                axes.plot(prevalence, edge, color=CURVES[place], linewidth=0.6, linestyle=":")
            axes.plot(prevalence, middle[place], color=CURVES[place], linestyle=dashes, label=name)
        axes.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="share of right answers")
        axes.set_xlabel(f"share of {label(row['positive'])} among the images")
        axes.legend(loc="lower center")

    return draw("PPV and NPV over prevalence", caption, paint)
