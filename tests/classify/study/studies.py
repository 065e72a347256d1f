"""Made studies: folders with a leaderboard, runs and reports, written by the package's writers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freezeframe.classify.fit.stress import StressCurve, StressLevel, write_stress
from freezeframe.classify.runs.leaderboard import append_rows
from freezeframe.classify.runs.prediction_file import write_predictions
from freezeframe.classify.runs.warning_file import write_warnings
from freezeframe.classify.scores.evaluation import Evaluation
from freezeframe.classify.scores.predictions import Predictions
from freezeframe.classify.scores.weighted_metrics import point_values
from freezeframe.data.audit.report import GROUP_COLUMNS, PAIR_COLUMNS
from freezeframe.data.explore.summary import IMAGE_COLUMNS
from freezeframe.data.output.csv import csv_line

CLASSES = ("lesion", "none")
N = 300
RNG = np.random.default_rng(1)
SURE = RNG.uniform(0.02, 0.98, N)
"""Probabilities of `lesion` that are right: `TRUTH` is drawn by them."""

TRUTH: NDArray[np.intp] = (RNG.uniform(size=N) >= SURE).astype(np.intp)
SHUFFLED = '{"control": "shuffled-labels"}'


def predictions(
    p: NDArray[np.float64] = SURE, y: NDArray[np.intp] = TRUTH, groups: Any = None
) -> Predictions:
    """Return predictions of two classes from the probability of the first."""
    return Predictions.of(y, np.column_stack([p, 1 - p]), groups=groups, positive=0)


class MadeStudy:
    """A study that is filled run by run; it begins clean, with a head and all controls."""

    def __init__(self, folder: Path, classes: Sequence[str] = CLASSES) -> None:
        self.folder = folder
        self.classes = tuple(classes)
        self.n_runs = 0

    def clean(self) -> MadeStudy:
        """Add what a report needs to look for everything, without anything to find."""
        rng = np.random.default_rng(2)
        chance = predictions(rng.uniform(0.3, 0.7, N))
        run_id = self.add("logreg")
        self.add("logreg", seed=1)
        self.add("majority", predictions(np.full(N, 0.49)))
        self.add("image-size", chance)
        split = "5-fold, shuffled labels"
        self.add("logreg", chance, test_id="shuffled", choices=SHUFFLED, split=split)
        self.stress(run_id, SURE, SURE)
        self.explored()
        self.audited()
        return self

    def add(
        self,
        head: str,
        result: Predictions | None = None,
        *,
        relatives: Sequence[str] | None = None,
        warnings: Sequence[tuple[str, str]] = (),
        **cells: Any,
    ) -> str:
        """Add a run with its row, its predictions and its warnings; return its id."""
        result = result or predictions()
        n = len(result.y)
        self.n_runs += 1
        run_id = str(cells.pop("run_id", f"2026-{self.n_runs}-{head}"))
        test_id = str(cells.pop("test_id", "test"))
        related = np.array(relatives or [""] * n)
        folder = self.folder / "runs" / run_id
        folder.mkdir(parents=True)
        paths = [f"{self.classes[y]}/{place}.png" for place, y in enumerate(result.y)]
        evaluation = Evaluation(
            test_id, "demo", "5-fold", self.classes, paths, [""] * n, result, related
        )
        write_predictions(folder / "predictions.csv", [evaluation])
        write_warnings(folder, warnings)
        n_leaking = int((related != "").sum())
        row = {
            "run_id": run_id,
            "time": f"2026-11-29T10:00:{self.n_runs:02d}+00:00",
            "head": head,
            "layer": "block5_pool",
            "pooling": "flat",
            "data_set": "demo",
            "test_set": "demo",
            "test_id": test_id,
            "split": "5-fold",
            "classes": '["lesion", "none"]',
            "positive": "lesion" if result.positive == 0 else "",
            "n_train": n,
            "n_test": n,
            "n_test_groups": len(set(result.groups.tolist())),
            "n_test_leaking": n_leaking,
            "n_test_clean": n - n_leaking,
            "grade": "pictures parted",
            "seed": 0,
            "fit_seconds": 1.5,
            "model_bytes": 1000,
            **_scores(result),
            **cells,
        }
        append_rows(self.folder / "leaderboard.csv", [row])
        return run_id

    def stress(self, run_id: str, *levels: NDArray[np.float64]) -> None:
        """Write a stress test, whose levels have these probabilities and 300, 150, ... groups."""
        curves = [
            StressLevel(N >> k, 1 << k, predictions(p, groups=np.arange(N) >> k))
            for k, p in enumerate(levels)
        ]
        curve = StressCurve("logreg", 5, curves, 0, "pictures parted")
        write_stress(self.folder / "runs" / run_id, curve)

    def explored(self, size_of: Sequence[int] = (200, 200)) -> None:
        """Write explore.csv; images of each class have a size of their own."""
        lines = [
            [
                *(f"{place}.png", CLASSES[y], "", "PNG", "L", str(size_of[y]), "200", "1"),
                *(f"{20 + place % 7}.00", f"{10 + place % 5}.00", "900", ""),
            ]
            for place, y in enumerate(TRUTH.tolist())
        ]
        self.write("explore/explore.csv", IMAGE_COLUMNS, lines)

    def audited(self, *pairs: Sequence[str]) -> None:
        """Write audit.csv with pairs of (leak, conflict, level), and groups.csv."""
        sides = ["demo", "a.png", "lesion", "train", "demo", "b.png", "none", "test"]
        lines = [
            [leak, conflict, level, "1.0000", "", *sides, "0"] for leak, conflict, level in pairs
        ]
        self.write("audit/audit.csv", PAIR_COLUMNS, lines)
        groups = [
            ["demo", f"{place}.png", CLASSES[y], "", "", str(place), str(place), "1", ""]
            for place, y in enumerate(TRUTH.tolist())
        ]
        self.write("audit/groups.csv", GROUP_COLUMNS, groups)

    def write(self, name: str, columns: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
        """Write a CSV file."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(map(csv_line, [columns, *lines])), encoding="utf-8")


def _scores(result: Predictions) -> dict[str, float]:
    """Return quick scores: each interval is four points wide on both sides."""
    values = point_values(replace(result, proba=result.proba[:1], predicted=result.predicted[:1]))
    scores = {}
    for name, value in values.items():
        scores |= {name: value, f"{name}_low": value - 0.04, f"{name}_high": value + 0.04}
    return scores
