"""The range of a head's accuracy over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .....data.output.terminal import number
from ..study import Row

LEAST_SEED_RANGE = 0.01
"""A smaller range of accuracies changes no conclusion, however narrow the interval is."""


@dataclass(frozen=True)
class SeedRange:
    """The accuracies of a head with several seeds, on the same test images.

    Attributes:
        row: the row of its first seed.
        n: number of seeds.
        lowest, highest: ends of the accuracies.
    """

    row: Row
    n: int
    lowest: float
    highest: float

    @classmethod
    def of(cls, rows: Sequence[Row]) -> SeedRange:
        """Return the range of rows that differ in their seed alone, each with seeds of its own."""
        ends = []
        n = 0
        for row in rows:
            several = number(row["n_seeds"]) > 1
            n += int(row["n_seeds"]) if several else 1
            own = ("seeds_accuracy_lowest", "seeds_accuracy_highest")
            ends += [number(row[name]) for name in (own if several else ("accuracy",))]
        return cls(rows[0], n, min(ends), max(ends))

    @property
    def width(self) -> float:
        """Distance from the lowest to the highest accuracy."""
        return self.highest - self.lowest

    @property
    def half_interval(self) -> float:
        """Half of the width of the 95 % interval of the first seed's accuracy; it may be NaN."""
        return (number(self.row["accuracy_high"]) - number(self.row["accuracy_low"])) / 2

    @property
    def disagrees(self) -> bool:
        """True if the seed moves the accuracy by more than the interval allows for."""
        return self.width > max(LEAST_SEED_RANGE, self.half_interval)
