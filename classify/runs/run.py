"""Runs: what is kept of a fitted head, in a folder of its own."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import FreezeframeError
from ..heads.base import Head
from ..scores.evaluation import Evaluation
from .leaderboard import append_rows
from .model_file import FittedHead, save_model
from .prediction_file import write_predictions


@dataclass(frozen=True)
class Run:
    """A fitted head and how it did.

    Attributes:
        rows: its lines in the leaderboard, one a test set, by column.
        folder: where its model and its predictions are.
        warnings: what must be known before the numbers are believed.
    """

    rows: list[dict[str, Any]]
    folder: Path
    warnings: list[str] = field(default_factory=list)

    @property
    def row(self) -> dict[str, Any]:
        """The first of its lines."""
        return self.rows[0]


def check_writable(folder: Path) -> None:
    """Raise FreezeframeError if a folder is not there and cannot be made, or nothing can be written into it."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        reason = "nothing can be written into it" if there.is_dir() else "is no folder"
        raise FreezeframeError(f"{there}: {reason}; give another folder for the runs")


def keep_run(
    folder: Path,
    model: FittedHead,
    evaluations: Sequence[Evaluation],
    rows: list[dict[str, Any]],
    leaderboard: Path,
) -> None:
    """Write a run's folder, then its rows: a row in the leaderboard has its model and predictions.

    Args:
        folder: where nothing is yet.
        rows: to which the size of the model file is added.

    Raises:
        FreezeframeError: it cannot be written; then nothing of it is left.
    """
    try:
        folder.mkdir(parents=True)
        save_model(folder / "model.safetensors", model)
        write_predictions(folder / "predictions.csv", evaluations)
        _write_history(folder / "history.csv", model.head.record.history)
        for row in rows:
            row["model_bytes"] = (folder / "model.safetensors").stat().st_size
        append_rows(leaderboard, rows)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)  # half a run is none
        if isinstance(error, OSError):
            raise FreezeframeError(
                f"{folder}: cannot be written ({error.strerror or error})"
            ) from None
        raise


def epochs_and_rate(head: Head) -> dict[str, Any]:
    """How a network was trained, by column of the leaderboard; nothing of other heads."""
    seconds = sum(epoch["seconds"] for epoch in head.record.history)
    images = sum(epoch["seconds"] * epoch["images_per_second"] for epoch in head.record.history)
    return (
        {"epochs": len(head.record.history), "train_images_per_second": images / seconds}
        if seconds
        else {}
    )


def _write_history(path: Path, history: list[dict[str, float]]) -> None:
    """Write what is known of each epoch of a network, a line an epoch; no file for other heads."""
    if history:
        with path.open("x", newline="") as file:
            writer = csv.DictWriter(file, history[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(history)
