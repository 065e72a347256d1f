"""A run: a fitted head with its scores, and the folder that keeps its model and predictions."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ...data.formats.regular_file import read_regular
from ...data.output.files import flush_tree
from ...errors import FreezeframeError, ImageError
from .leaderboard import append_rows
from .model_file import FittedHead, save_model
from .part_result import PartResult
from .prediction_file import BY_PATIENT_NAME, PREDICTIONS_NAME, write_predictions
from .row import LeaderboardRow
from .tables.run_tables import RunTables
from .training_file import TrainingImagesFile


@dataclass(frozen=True)
class Run:
    """A fitted head and its scores.

    Attributes:
        rows: its rows of the leaderboard, one for each test set.
        folder: the folder of its model and its predictions.
        warnings: reasons to doubt the scores, the most important first.
        findings: sentences on what a control or a stress test found.
    """

    rows: list[LeaderboardRow]
    folder: Path
    warnings: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)

    @property
    def row(self) -> LeaderboardRow:
        """The first row."""
        return self.rows[0]


def check_writable(folder: Path) -> None:
    """Raise FreezeframeError if a folder cannot be made or nothing can be written into it."""
    # The folder itself is made later, when there is a run to keep.
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise FreezeframeError(f"{existing}: is not a folder; choose another folder for the runs")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise FreezeframeError(f"{existing}: is not writable; choose another folder for the runs")


def write_run(
    folder: Path,
    model: FittedHead,
    results: Sequence[PartResult],
    rows: Sequence[LeaderboardRow],
    leaderboard: Path,
    images: TrainingImagesFile,
    tables: RunTables | None = None,
) -> list[LeaderboardRow]:
    """Write a run's folder, then append its rows: every row has its model and its predictions.

    Args:
        folder: a path that does not exist yet.
        model: the fitted head.
        results: its predictions of each test set.
        rows: its rows; they do not hold the size of the model file yet.
        leaderboard: the CSV file to append to.
        images: the training images; the model has the digest of this file.
        tables: further files; by default a table of no warnings.

    Returns:
        The rows as appended, with the size of the model file.

    Raises:
        FreezeframeError: a file cannot be written; the folder is removed then, if it has no rows.
    """
    path = folder / "model.safetensors"
    try:
        folder.mkdir(parents=True)
        save_model(path, model)
        images.write(folder)
        write_predictions(folder / PREDICTIONS_NAME, [result.evaluation for result in results])
        by_patient = [result.by_patient.evaluation for result in results]
        if patients := [evaluation for evaluation in by_patient if evaluation is not None]:
            write_predictions(folder / BY_PATIENT_NAME, patients)
        (tables or RunTables()).write(folder)
        _write_history(folder / "history.csv", model.head.record.history)
        # A power cut must not leave rows whose model is empty.
        flush_tree(folder)
        size = path.stat().st_size
        whole_rows = [replace(row, model_bytes=size) for row in rows]
        # Last: a crash before this line leaves a folder without rows, never rows without a folder.
        append_rows(leaderboard, whole_rows)
    except BaseException as error:
        # A folder without rows would look like a finished run. An interruption may also come after
        # the rows were written; then the folder stays.
        if not _mentions(leaderboard, folder.name):
            shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError):
            raise FreezeframeError(
                f"{folder}: cannot be written ({error.strerror or error})"
            ) from None
        raise
    return whole_rows


def _mentions(leaderboard: Path, run_id: str) -> bool:
    """Return True if a leaderboard has a row of a run, or if it cannot be read."""
    try:
        return run_id.encode() in read_regular(leaderboard)
    except FileNotFoundError:
        return False
    except (OSError, ImageError):
        return True


def _write_history(path: Path, history: list[dict[str, float]]) -> None:
    """Write a network's epochs, one a line; write no file for heads that have none."""
    if history:
        with path.open("x", newline="") as file:
            writer = csv.DictWriter(file, history[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(history)
