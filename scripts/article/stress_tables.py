"""Fill the tables of what a score may rest on: the stress tests, and the controls."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from article_rows import Row
from result_tables import NOT_RUN, Table

from freezeframe.classify.board import tables
from freezeframe.data.output.terminal import percent

CONTROLS = ("majority", "image-size", "image-border")
SHUFFLED = ", shuffled labels"


def stress_table(rows: Iterable[Row], runs: Path) -> Table:
    """Return the levels of all stress tests.

    Args:
        rows: of the leaderboard.
        runs: the folder of the runs, each with its `stress.csv`.
    """
    cells = [cell for row in rows for cell in stress_cells(row, runs / row["run_id"])]
    headings = ["head", "features", "groups", "largest", "accuracy, % (95 %)", "AUC, % (95 %)"]
    remarks = [
        "In the first line of a head, known relatives are kept together, in each further line more "
        "and more images that look alike. Clusters of look-alikes are not patients."
    ]
    remarks += [] if cells else [f"Stress tests: {NOT_RUN}."]
    return Table("Stress test", headings, list(dict.fromkeys(cells)), names=(0, 1), remarks=remarks)


def stress_cells(row: Row, folder: Path) -> list[tuple[str, ...]]:
    """Return the cells of each level of one run; nothing for a run without a stress test."""
    with suppress(FileNotFoundError), (folder / "stress.csv").open(newline="") as file:
        return [
            (
                row["head"],
                f"{row['layer']} {row['pooling']}",
                level["n_groups"],
                level["largest_group"],
                score(level, "accuracy"),
                score(level, "roc_auc"),
            )
            for level in csv.DictReader(file)
        ]
    return []


def score(level: Row, name: str) -> str:
    """Write a score in per cent with its interval."""
    value, low, high = (
        percent(float(level[column])) for column in (name, f"{name}_low", f"{name}_high")
    )
    return f"{value} ({low}-{high})"


def control_table(rows: Sequence[Row]) -> Table:
    """Return the baselines that see no content, and the heads on shuffled labels."""
    shown = [row for row in rows if row["head"] in CONTROLS or row["split"].endswith(SHUFFLED)]
    shown.sort(key=lambda row: row["split"].endswith(SHUFFLED))
    cells = []
    for row in shown:
        names = [row["head"], f"{row['layer']} {row['pooling']}", row["test_set"], row["split"]]
        scores = [tables.metric_with_interval(row, name) for name in ("accuracy", "roc_auc")]
        cells.append([*names, *scores])
    headings = ["head", "features", "test set", "split", "accuracy, % (95 %)", "AUC, % (95 %)"]
    remarks = [
        "What gives a class away without the content of a picture: image-size sees format, mode "
        "and size of the file, image-border the frame of the image. A head that beats chance "
        "(AUC 50) on shuffled labels has found a leak, or a trait that whole groups share."
    ]
    remarks += [] if cells else [f"Controls: {NOT_RUN}."]
    return Table("Controls", headings, cells, names=(0, 1, 2, 3), remarks=remarks)
