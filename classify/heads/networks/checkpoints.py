"""Checkpoints: the state of a training in a file, from which a killed training continues."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ....data.output.files import whole_file
from ....data.output.locks import file_lock
from ....errors import FreezeframeError

_ARRAY_LISTS = ("variables", "best")
"""Fields of a state that are lists of arrays; the other fields are written as JSON."""


@dataclass
class TrainingState:
    """The state of a training: its progress and everything that training changes.

    Attributes:
        epoch: number of finished epochs.
        step: number of finished batches of the epoch that is not finished.
        loss: sum of the losses of these batches.
        seconds: seconds spent on these batches, without validation.
        wall: seconds that the training took so far, in all processes.
        least: least loss on the judged rows; infinite before the first epoch.
        waited: number of epochs since the least loss.
        finished: True if nothing is left to do.
        history: a row for each finished epoch, by column of `history.csv`.
        variables: weights, moments of the optimizer and random states.
        best: weights of the best epoch; empty before the first epoch.
    """

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    seconds: float = 0.0
    wall: float = 0.0
    least: float = float("inf")
    waited: int = 0
    finished: bool = False
    history: list[dict[str, float]] = field(default_factory=list)
    variables: list[NDArray[Any]] = field(default_factory=list)
    best: list[NDArray[Any]] = field(default_factory=list)


class Checkpoint:
    """The checkpoint file of one training.

    The file is written completely or not at all, and it is checked when it is read. From the first
    use on, a lock keeps other processes away until the `with` block ends.

    Args:
        folder: folder of the file, created by the first write; None: nothing is written.
        identity: returns a text of everything that decides the training; another training has
            another file. It is called only when the file name is needed.
    """

    def __init__(self, folder: Path | None, identity: Callable[[], str]) -> None:
        self._folder = folder
        self._identity = identity
        self._lock: ExitStack | None = None

    @cached_property
    def path(self) -> Path:
        """Path of the file, which may be missing."""
        name = hashlib.sha256(self._identity().encode()).hexdigest()[:20]
        return (self._folder or Path()) / f"{name}.safetensors"

    @property
    def used(self) -> bool:
        """True if the file was read or written."""
        return self._lock is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._lock is not None:
            self._lock.close()

    def _acquire(self) -> None:
        """Lock the file; raise FreezeframeError if another process runs the same training."""
        if self._lock is None:
            lock = ExitStack()
            try:
                lock.enter_context(file_lock(self.path.with_suffix(".lock")))
            except TimeoutError as holder:
                raise FreezeframeError(
                    f"{self.path}: {holder} runs this training; wait until it ends"
                ) from None
            self._lock = lock

    def read(self) -> TrainingState | None:
        """Read the state of the training.

        Returns:
            The state; None if there is no file, or if it is damaged.

        Raises:
            FreezeframeError: another process runs the same training.
            OSError: the folder or the lock cannot be accessed.
        """
        from safetensors import safe_open

        if self._folder is None or not self._folder.is_dir() or not self.path.is_file():
            return None
        self._acquire()
        try:
            with safe_open(self.path, framework="numpy") as file:
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                metadata = file.metadata() or {}
            # A file that was cut or changed must not continue a training.
            if metadata.get("digest") != _digest(arrays, metadata["state"]):
                return None
            state = TrainingState(**json.loads(metadata["state"]))
            for name in _ARRAY_LISTS:
                setattr(state, name, _arrays_named(arrays, name))
            return state
        except Exception:
            # Damage shows in many ways. After all of them, the training starts from the beginning.
            return None

    def write(self, state: TrainingState) -> None:
        """Write the state of the training.

        Raises:
            FreezeframeError: another process runs the same training.
            OSError: the file cannot be written; the file of before is unchanged.
        """
        from safetensors.numpy import save

        if self._folder is None:
            return
        arrays: dict[str, NDArray[Any]] = {}
        for name in _ARRAY_LISTS:
            for number, array in enumerate(getattr(state, name)):
                arrays[f"{name} {number:04}"] = np.asarray(array, order="C")
        without_arrays = TrainingState(**{**vars(state), "variables": [], "best": []})
        text = json.dumps(asdict(without_arrays))
        # The folder appears with the first checkpoint: short trainings leave nothing behind.
        self._folder.mkdir(parents=True, exist_ok=True)
        self._acquire()
        content = save(arrays, {"state": text, "digest": _digest(arrays, text)})
        with whole_file(self.path) as temporary:
            temporary.write_bytes(content)


def remove_checkpoints(paths: Iterable[Path]) -> None:
    """Delete checkpoint files of trainings whose results are saved elsewhere."""
    for path in paths:
        with suppress(OSError):
            path.unlink(missing_ok=True)
            # Fails, and is suppressed, if the folder has other files.
            path.parent.rmdir()


def _arrays_named(arrays: Mapping[str, NDArray[Any]], name: str) -> list[NDArray[Any]]:
    return [arrays[key] for key in sorted(arrays) if key.startswith(f"{name} ")]


def _digest(arrays: Mapping[str, NDArray[Any]], text: str) -> str:
    """Return the SHA-256 of a text and of names, dtypes, shapes and bytes of arrays."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode() + array.tobytes())
    return digest.hexdigest()
