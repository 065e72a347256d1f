"""Decoded volumes that stay in memory while their slices are read one after another."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ....errors import FreezeframeError

REMEMBERED_BYTES = 2**28
"""Most bytes of decoded volumes in the memory of one process; the latest one is always kept."""


@dataclass(frozen=True, slots=True, eq=False)
class DecodedVolume:
    """A volume file after decoding.

    Attributes:
        sha256: SHA-256 of the file, hexadecimal.
        n_bytes: size of the file.
        kind: name of its format.
        mode: how its voxels are stored.
        stack: see `volume.py`; None if it cannot be decoded.
        n_volumes: number of volumes in the file, of which this is the first.
        error: why it cannot be decoded.
    """

    sha256: str
    n_bytes: int
    kind: str
    mode: str = ""
    stack: NDArray[np.uint8] | None = None
    n_volumes: int = 1
    error: FreezeframeError | None = None


class VolumeMemory:
    """The latest decoded volumes, which the threads of one process share.

    A thread that needs a volume that another one decodes waits for it.

    Args:
        most_bytes: limit of all stacks together.
    """

    def __init__(self, most_bytes: int = REMEMBERED_BYTES) -> None:
        self._most_bytes = most_bytes
        self._volumes: OrderedDict[Hashable, DecodedVolume] = OrderedDict()
        self._decoding: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, decode: Callable[[], DecodedVolume]) -> DecodedVolume:
        """Return a volume, and decode it if it is not in memory.

        Args:
            key: the file with its size and time, so that a changed file is decoded again.
            decode: called at most once for several threads that ask at the same time.
        """
        with self._lock:
            decoding = self._decoding.setdefault(key, threading.Lock())
        with decoding:
            with self._lock:
                volume = self._volumes.get(key)
            if volume is None:
                volume = decode()
            with self._lock:
                self._volumes[key] = volume
                self._volumes.move_to_end(key)
                self._forget_oldest()
                self._decoding.pop(key, None)
        return volume

    def _forget_oldest(self) -> None:
        """Forget the volumes that were used longest ago, until the others fit."""
        while len(self._volumes) > 1 and self._n_bytes() > self._most_bytes:
            self._volumes.popitem(last=False)

    def _n_bytes(self) -> int:
        # A volume that could not be decoded takes a little memory, too.
        return sum(
            1000 if volume.stack is None else volume.stack.nbytes
            for volume in self._volumes.values()
        )
