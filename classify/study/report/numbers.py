"""Numbers of leaderboard rows as a report writes them."""

from __future__ import annotations

import math

from ....data.output.terminal import NOT_DEFINED, number
from .study import Row


def share_text(row: Row, metric: str) -> str:
    """Write a share in per cent with its 95 % interval: "92 % [86, 96]".

    Near 100 % a decimal is needed: 99.6 is not 100.

    Examples:
        >>> share_text({"accuracy": "0.92", "accuracy_low": "0.86", "accuracy_high": "0.96"},
        ...            "accuracy")
        '92 % [86, 96]'
    """
    ends = [100 * number(row.get(f"{metric}{end}", "")) for end in ("", "_low", "_high")]
    if math.isnan(ends[0]):
        return NOT_DEFINED
    digits = 1 if max(value for value in ends if not math.isnan(value)) > 98 else 0
    value, low, high = (f"{end:.{digits}f}" for end in ends)
    return f"{value} % [{low}, {high}]" if not math.isnan(ends[1] + ends[2]) else f"{value} %"


def points_text(share: float) -> str:
    """Write a difference of two shares in points of per cent: "4.5 points"."""
    return f"{100 * share:.1f} points"
