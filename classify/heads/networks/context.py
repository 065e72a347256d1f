"""The context of a training: shape of the features, first weights, checkpoints and callbacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ....data.output.terminal import Status


def _ignore(value: Any) -> None:
    """Do nothing with a text or a path that nobody listens for."""


@dataclass(frozen=True)
class TrainingContext:
    """The surroundings of a training: shape of the features, first weights, checkpoints, callbacks.

    Attributes:
        shape: (height, width, channels) of an image's features before they were flattened; None if
            the features have no positions.
        weights: loads the weights of the backbone that computed the features, by tensor name.
        checkpoints: folder of the checkpoints that a killed training continues from; None: no
            checkpoints.
        checkpoint_seconds: seconds between two checkpoints.
        status: called now and then with one line that says how far the training is.
        log: called with one finished line for each epoch.
        on_checkpoint: called with the path of each checkpoint that is written or continued from.
    """

    shape: tuple[int, int, int] | None = None
    weights: Callable[[], Mapping[str, NDArray[Any]]] = dict
    checkpoints: Path | None = None
    checkpoint_seconds: float = 60.0
    status: Status = _ignore
    log: Callable[[str], None] = _ignore
    on_checkpoint: Callable[[Path], None] = _ignore
