"""Where a training stands, kept in a file, so that a killed one goes on as if nothing had happened."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from ....data.output.files import whole_file
from ....errors import FreezeframeError

Array = NDArray[Any]


@dataclass
class State:
    """Where a training stands.

    Attributes:
        epoch, step: epochs that are finished, and batches of the one that is not.
        loss: sum of the losses of these batches.
        seconds: spent on them, without validation.
        wall: seconds that all of it took up to here, in all processes.
        least: the least loss on what the training is judged by; infinite before the first epoch.
        waited: epochs since then.
        finished: there is nothing left to do.
        history: of each finished epoch, by column of `history.csv`.
        variables: everything that training changes: weights, moments, random states.
        best: weights of the best epoch; empty before the first.
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
    variables: list[Array] = field(default_factory=list)
    best: list[Array] = field(default_factory=list)


class Checkpoint:
    """The file of one training, whole or not at all written, and checked when read; its own from the first use on.

    Args:
        folder: where it is kept, made when something is; None: nowhere, and nothing is done.
        decides: tells all that decides the training: another training has another file. Asked when
            it is needed.
    """

    def __init__(self, folder: Path | None, decides: Callable[[], str]) -> None:
        self._folder, self._decides = folder, decides
        self._lock: FileLock | None = None

    @cached_property
    def path(self) -> Path:
        """The file, whether it is there or not."""
        name = hashlib.sha256(self._decides().encode()).hexdigest()[:20]
        return (self._folder or Path()) / f"{name}.safetensors"

    @property
    def used(self) -> bool:
        """Whether it was read or written."""
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
            self._lock.release()

    def _own(self) -> None:
        """Raise FreezeframeError if another process is at the same training."""
        if self._lock is None:
            lock = FileLock(self.path.with_suffix(".lock"))
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise FreezeframeError(
                    f"{self.path}: another process is at this very training"
                ) from None
            self._lock = lock

    def read(self) -> State | None:
        """Where the training stood; None if it was not begun, or if what was kept is damaged.

        Raises:
            FreezeframeError: another process is at the same training.
            OSError: that cannot be found out.
        """
        from safetensors import safe_open

        if self._folder is None or not self._folder.is_dir() or not self.path.is_file():
            return None
        self._own()
        try:
            with safe_open(self.path, framework="numpy") as file:
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                metadata = file.metadata() or {}
            if metadata.get("digest") != _digest(arrays, metadata["state"]):
                return None
            state = State(**json.loads(metadata["state"]))
            state.variables, state.best = (
                _numbered(arrays, name) for name in ("variables", "best")
            )
            return state
        except Exception:  # whatever is wrong with it, the training begins anew
            return None

    def write(self, state: State) -> None:
        """Keep where the training stands.

        Raises:
            FreezeframeError: another process is at the same training.
            OSError: it cannot be written; what was kept before is as it was.
        """
        from safetensors.numpy import save

        if self._folder is None:
            return
        arrays = {
            f"{name} {number:04}": np.asarray(array, order="C")
            for name in ("variables", "best")
            for number, array in enumerate(getattr(state, name))
        }
        shallow = State(**{**vars(state), "variables": [], "best": []})
        text = json.dumps(asdict(shallow))
        self._folder.mkdir(parents=True, exist_ok=True)
        self._own()
        content = save(arrays, {"state": text, "digest": _digest(arrays, text)})
        with whole_file(self.path, temporary=self.path.with_suffix(".new")) as temporary:
            temporary.write_bytes(content)


def forget(paths: Iterable[Path]) -> None:
    """Remove files of trainings whose outcome is kept elsewhere."""
    for path in paths:
        with suppress(OSError):
            for each in (path, path.with_suffix(".lock")):
                each.unlink(missing_ok=True)
            path.parent.rmdir()


def _numbered(arrays: Mapping[str, Array], name: str) -> list[Array]:
    return [arrays[key] for key in sorted(arrays) if key.startswith(f"{name} ")]


def _digest(arrays: Mapping[str, Array], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode() + array.tobytes())
    return digest.hexdigest()
