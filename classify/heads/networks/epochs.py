"""Epochs: their losses, their rows in the history, and the lines that report them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .checkpoints import TrainingState


def log_loss(scores: NDArray[np.float64], y: NDArray[np.intp]) -> float:
    """Return the mean cross-entropy; NaN once training has diverged.

    Args:
        scores: of shape (n_rows, n_classes).
        y: class numbers of shape (n_rows,).
    """
    from scipy.special import log_softmax

    # Scores of a diverged network overflow, which is no reason for a warning.
    with np.errstate(all="ignore"):
        return -float(log_softmax(scores, axis=1)[np.arange(len(y)), y].mean())


def validation_accuracy(scores: NDArray[np.float64], y: NDArray[np.intp]) -> float:
    """Return the share of rows that are predicted correctly; NaN if there are no rows."""
    return float((scores.argmax(axis=1) == y).mean()) if len(y) else math.nan


def history_row(
    state: TrainingState, batch_size: int, validation_loss: float, accuracy: float
) -> dict[str, float]:
    """Return the row of an epoch whose last batch is finished, by column of `history.csv`."""
    return {
        "epoch": state.epoch + 1,
        "loss": state.loss / max(1, state.step),
        "validation_loss": validation_loss,
        "validation_accuracy": accuracy,
        "seconds": state.seconds,
        "images_per_second": state.step * batch_size / max(state.seconds, 1e-9),
    }


def status_line(state: TrainingState, epochs: int, n_batches: int, batch_size: int) -> str:
    """Return a line that says how far an epoch is."""
    # The first line may come before a clock tick.
    rate = state.step * batch_size / state.seconds if state.seconds else 0.0
    seconds_left = (n_batches - state.step) * batch_size / rate if rate else 0.0
    return (
        f"epoch {state.epoch + 1} of {epochs}, {state.step / n_batches:.0%}, "
        f"{rate:.1f} images/s, {seconds_left:.0f} s left in it, "
        f"loss {state.loss / max(1, state.step):.4f}"
    )


def epoch_line(state: TrainingState, epochs: int, *, is_best: bool) -> str:
    """Return a line with the results of the last finished epoch."""
    row = state.history[-1]
    validation = ""
    if not math.isnan(row["validation_accuracy"]):
        validation = (
            f", validation loss {row['validation_loss']:.4f}, "
            f"accuracy {row['validation_accuracy']:.1%}{', the best so far' if is_best else ''}"
        )
    return (
        f"epoch {state.epoch} of {epochs}: loss {row['loss']:.4f}{validation}; "
        f"{row['seconds']:.1f} s, {row['images_per_second']:.1f} images/s"
    )
