"""All tables that a fit leaves in a run's folder, beside the model and its predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..warning_file import write_warnings
from .conformal import MeasuredSets, write_conformal
from .seeds import SeedScores, write_seeds


@dataclass(frozen=True)
class RunTables:
    """The tables of a run.

    Attributes:
        warnings: reasons to doubt the scores, see `write_warnings`.
        seeds: scores of each seed on each test set; none for a head that draws nothing.
        sets: prediction sets of each test set; none for a head that claims nothing.
    """

    warnings: Sequence[tuple[str, str]] = ()
    seeds: Sequence[SeedScores] = ()
    sets: Sequence[MeasuredSets] = ()

    def write(self, folder: Path) -> None:
        """Write each table that has lines, and that of the warnings always.

        Raises:
            OSError: a file exists, or cannot be written.
        """
        write_warnings(folder, self.warnings)
        write_seeds(folder, self.seeds)
        write_conformal(folder, self.sets)
