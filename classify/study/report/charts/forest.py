"""The leaderboard as a forest plot: each row's accuracy with its interval and its grade."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .....data.output.terminal import number
from ....scores.grades import grade_rank
from ..choice import BASELINE, IMAGE_CONTROLS, Choice
from ..findings.outcome import head_name
from ..study import Row
from .canvas import CURVES, QUIET, Chart, draw, label

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

MOST_ROWS = 30

# By `grade_rank`: mark, colour, and True for a filled mark.
_MARKS = (
    ("o", CURVES[2], True, "patients parted"),
    ("s", CURVES[0], True, "pictures parted"),
    ("D", QUIET, False, "relatives unknown"),
    ("X", CURVES[1], False, "leaking"),
)


def forest(
    rows: Sequence[Row], choice: Choice, title: str, names: Sequence[str] | None = None
) -> Chart:
    """Draw rows in their order from above.

    Args:
        rows: of the leaderboard.
        choice: its row is drawn in bold.
        title: title of the drawing.
        names: name of each row; None takes its head.
    """
    # A name is shorter without the layer that all rows have.
    n_layers = len({row["layer"] for row in rows if row["head"] not in IMAGE_CONTROLS})
    heads = [row["head"] if n_layers < 2 else head_name(row) for row in rows]
    named = [
        (row, label(name))
        for row, name in zip(rows, names or heads, strict=True)
        if not math.isnan(number(row["accuracy"]))
    ]
    shown = [row for row, _ in named][:MOST_ROWS]
    caption = (
        "Accuracy in per cent with its 95 % interval; the row of the first sentence is bold. The "
        f"dotted line is the commonest class ({BASELINE}). The table has the numbers."
    )

    def paint(axes: Axes) -> None:
        for place, row in enumerate(shown):
            _paint_row(axes, place, row)
            if row["head"] == BASELINE:
                axes.axvline(100 * number(row["accuracy"]), color=QUIET, linestyle=":")
        axes.set_ylim(len(shown) - 0.4, -0.6)
        ends = [100 * number(row["accuracy_low"] or row["accuracy"]) for row in shown]
        # The best possible accuracy is always in view.
        axes.set_xlim(min(ends, default=0) - 4, 102)
        axes.set_yticks(range(len(shown)), [name for _, name in named][:MOST_ROWS])
        for text, row in zip(axes.get_yticklabels(), shown, strict=True):
            text.set_fontweight("bold" if row is choice.row else "normal")
        axes.tick_params(left=False)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("accuracy, % (95 % interval)")
        axes.legend(*_legend(axes), loc="lower center", bbox_to_anchor=(0.4, 1), ncols=2)

    height = 1.2 + 0.27 * max(2, len(shown))
    return draw(title, caption, paint, height=height)


def _paint_row(axes: Axes, place: int, row: Row) -> None:
    value, low, high = (100 * number(row[f"accuracy{end}"]) for end in ("", "_low", "_high"))
    mark, colour, filled, name = _MARKS[grade_rank(row)]
    ends = [100 * number(row[f"seeds_accuracy_{end}"]) for end in ("lowest", "highest")]
    if not math.isnan(sum(ends)):
        axes.plot(
            ends,
            [place, place],
            marker="|",
            color=QUIET,
            linestyle="none",
            markersize=12,
            markeredgewidth=2,
            label="lowest and highest seed",
        )
    if not math.isnan(low + high):
        axes.plot([low, high], [place, place], color=colour, solid_capstyle="butt")
    axes.plot(
        [value],
        [place],
        marker=mark,
        color=colour,
        linestyle="none",
        markersize=7,
        markerfacecolor=colour if filled else "none",
        label=name,
    )


def _legend(axes: Axes) -> tuple[list[Artist], list[str]]:
    """Return a mark and a name for each grade that is drawn."""
    handles, names = axes.get_legend_handles_labels()
    once = dict(zip(names, handles, strict=True))
    return list(once.values()), list(once)
