"""Files of seeds: the scores of one head that was fitted with several seeds.

`seeds.csv` in a run's folder has one line for each seed and test set, the first seed first, whose
head the model file has. All seeds share splits, folds and features: what differs is the head's own
chance alone. Heads that draw nothing, and fits with one seed, have no such file. Its columns:

    seed                       seed of the fits
    test_id, test_set, split   the test set, as in the leaderboard
    accuracy, roc_auc, ...     each metric of the leaderboard, without an interval
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....data.output.csv import csv_line
from ...scores.metrics import METRIC_NAMES
from ...scores.weighted_metrics import point_values
from ..part_result import PartResult

SEEDS_NAME = "seeds.csv"
SEED_COLUMNS = ("seed", "test_id", "test_set", "split", *METRIC_NAMES)


@dataclass(frozen=True)
class SeedScores:
    """Scores of a head that was fitted with one seed, on one test set.

    Attributes:
        seed: the seed.
        test_id, test_set, split: the test set, as in the leaderboard.
        values: value of each metric, by name.
    """

    seed: int
    test_id: str
    test_set: str
    split: str
    values: Mapping[str, float]


def seed_scores(seed: int, results: Sequence[PartResult]) -> list[SeedScores]:
    """Return the scores of the results of one seed."""
    lines = []
    for of in (result.evaluation for result in results):
        values = point_values(of.predictions)
        lines.append(SeedScores(seed, of.test_id, of.test_set, of.split, values))
    return lines


def seed_cells(lines: Sequence[SeedScores], test_id: str) -> dict[str, Any]:
    """Return the leaderboard's columns of the accuracy over seeds, on one test set.

    Args:
        lines: of all seeds and test sets; of one seed alone, or none for a head that draws nothing.
        test_id: the test set.

    Examples:
        >>> lines = [SeedScores(seed, "a", "", "", {"accuracy": seed / 4}) for seed in (1, 2)]
        >>> seed_cells(lines, "a")["seeds_accuracy_mean"]
        0.375
    """
    values = [line.values["accuracy"] for line in lines if line.test_id == test_id]
    ends = (sum(values) / len(values), min(values), max(values)) if len(values) > 1 else ()
    names = [f"seeds_accuracy_{end}" for end in ("mean", "lowest", "highest")]
    cells = dict(zip(names, ends, strict=True)) if ends else dict.fromkeys(names, float("nan"))
    return {"n_seeds": len(values), **cells}


def write_seeds(folder: Path, lines: Sequence[SeedScores]) -> None:
    """Write the scores of several seeds into a run's folder; one seed needs no file.

    Raises:
        OSError: the file exists, or cannot be written.
    """
    if len({line.seed for line in lines}) < 2:
        return
    with (folder / SEEDS_NAME).open("x", newline="", encoding="utf-8") as file:
        file.write(csv_line(SEED_COLUMNS))
        for line in lines:
            scores = [line.values[name] for name in METRIC_NAMES]
            # A score that is not defined is an empty cell, as in the leaderboard.
            cells = ["" if math.isnan(score) else f"{score:.6f}" for score in scores]
            file.write(csv_line([str(line.seed), line.test_id, line.test_set, line.split, *cells]))
