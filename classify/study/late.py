"""Arguments of steps that depend on what earlier steps of a study left."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ...data.output.csv import csv_line
from ...data.output.files import write_whole
from ..runs.leaderboard import read_rows
from ..runs.prediction_file import read_predictions
from .report.choice import is_external

MOST_RUNS_COMPARED = 5
"""Heads that are compared with each other, the most accurate ones, beside `majority`."""

MOST_EXPLAINED = 8
MISTAKES_FILE = "mistakes.csv"
MISTAKE_COLUMNS = ("path", "label", "predicted", "probability")


def compared_runs(folder: Path, boards: Sequence[str]) -> list[str] | None:
    """Return the ids of the most accurate runs on the first test set, and of `majority`.

    Args:
        folder: folder of the study.
        boards: leaderboards of the fits of heads.
    """
    rows = [row for board in boards for row in _rows_of(folder / board)]
    tested = [row for row in rows if row["test_id"] == rows[0]["test_id"]]
    ranked = sorted(tested, key=lambda row: -float(row["accuracy"] or 0))
    best = [row["run_id"] for row in ranked if row["head"] != "majority"][:MOST_RUNS_COMPARED]
    least = [row["run_id"] for row in ranked if row["head"] == "majority"][:1]
    return [*best, *least] if len(best) + len(least) > 1 else None


def mistakes_explained(folder: Path, board: str, source: Path, head: str) -> list[str] | None:
    """List the most confident mistakes of a head on its first test set, and return its model.

    The list is `mistakes.csv` in the study, the worst mistake first.

    Args:
        folder: folder of the study.
        board: leaderboard of the fit.
        source: the folder or list of the training images, of which the test set is a part.
        head: name of the head.
    """
    rows = [row for row in _rows_of(folder / board) if row["head"] == head and not is_external(row)]
    if not rows:
        return None
    run = folder / "runs" / rows[0]["run_id"]
    evaluation = read_predictions(run)[rows[0]["test_id"]]
    predictions = evaluation.predictions
    proba, predicted = predictions.proba[0], predictions.predicted[0]
    wrong = (predicted != predictions.y).nonzero()[0]
    surest: dict[int, int] = {}
    for image in sorted(wrong, key=lambda image: proba[image, predictions.y[image]]):
        # One of each group: copies of a picture would fill the page.
        surest.setdefault(int(predictions.groups[image]), int(image))
    worst = list(surest.values())[:MOST_EXPLAINED]
    if not worst:
        return None
    root = source if source.is_dir() else source.parent
    lines = [csv_line(MISTAKE_COLUMNS)]
    for image in worst:
        label, answer = (evaluation.classes[of[image]] for of in (predictions.y, predicted))
        share = f"{proba[image, predicted[image]]:.6f}"
        # A list may name its images by a way through other folders.
        path = os.path.normpath(root / evaluation.paths[image])
        lines.append(csv_line((path, label, answer, share)))
    write_whole(folder / MISTAKES_FILE, "".join(lines))
    return [f"runs/{run.name}", MISTAKES_FILE]


def held_out_run(folder: Path, board: str, source: Path, head: str) -> list[str] | None:
    """Return the run of a head that was tested on a part of the training images, and their place.

    Args:
        folder: folder of the study.
        board: leaderboard of the fit.
        source: the folder or list of the training images.
        head: name of the head.
    """
    for row in _rows_of(folder / board):
        # Without images that have no relative in training there is nothing to measure.
        if row["head"] == head and not is_external(row) and int(row["n_test_clean"] or 0):
            return [f"runs/{row['run_id']}", str(source)]
    return None


def _rows_of(board: Path) -> list[dict[str, str]]:
    return read_rows(board) if board.exists() else []
