"""Batches of the rows that a network is trained on, in a new random order for each epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...matrix import Matrix

MIN_BATCHES = 10
"""Least number of batches in an epoch, if there are so many rows."""

TrainingInputs = Callable[
    [NDArray[np.float32], Sequence[tuple[int, int, int]]], NDArray[np.float32]
]
"""From features and draws to the inputs of a network; see `Network.training_inputs`."""


class Batches:
    """The batches of a training.

    Every batch has one size, so that Keras compiles the network once. The rows left over differ
    from epoch to epoch. Few rows are cut into at least MIN_BATCHES batches, since an epoch would
    otherwise be a step or two.

    Args:
        inputs: returns the inputs of a network.
        parameters: hyper-parameters of the network.
        X: features of the rows to train on.
        y: class numbers of these rows.
        n_classes: number of classes.
        seed: seed of the order, and of random changes of images.

    Attributes:
        size: number of rows in a batch.
    """

    def __init__(
        self,
        inputs: TrainingInputs,
        parameters: dict[str, Any],
        X: Matrix,
        y: NDArray[np.intp],
        n_classes: int,
        seed: int,
    ) -> None:
        self.size: int = max(1, min(parameters["batch_size"], len(y) // MIN_BATCHES))
        self._inputs = inputs
        self._X = X
        self._seed = seed
        self._rng = np.random.default_rng(seed)
        # (n_rows,) -> (n_rows, 1)
        self._targets = y[:, None].astype(np.float32 if n_classes == 2 else np.int32)
        self._weights = balanced_weights(y, n_classes) if parameters["class_weights"] else None

    def __len__(self) -> int:
        """Return the number of batches in an epoch, at least 1."""
        return max(1, len(self._targets) // self.size)

    def skip_epoch(self) -> None:
        """Draw the order of an epoch that was finished before the training was interrupted."""
        self._rng.permutation(len(self._targets))

    def epoch(self, number: int, first: int) -> Iterator[tuple[Any, ...]]:
        """Yield inputs, targets and, if classes are weighted, weights of the batches of an epoch.

        A thread reads the next batch meanwhile.

        Args:
            number: number of the epoch, from 0 on.
            first: number of the first batch; those before it were trained on already.
        """
        order = self._rng.permutation(len(self._targets))

        def read(start: int) -> tuple[Any, ...]:
            # Sorted, since a store is read fastest in the order of its rows.
            rows = np.sort(order[start : start + self.size])
            features = np.asarray(self._X[rows], dtype=np.float32)
            batch = self._inputs(features, [(self._seed, number, int(row)) for row in rows])
            if self._weights is None:
                return batch, self._targets[rows]
            return batch, self._targets[rows], self._weights[rows]

        starts = range(0, len(order) - self.size + 1, self.size)[first:]
        yield from _read_ahead(read, starts)


def balanced_weights(y: NDArray[np.intp], n_classes: int) -> NDArray[np.float32]:
    """Return a weight for each row, so that all classes count alike; weights average to 1."""
    # A class without rows has no weight, but must not divide by zero.
    counts = np.maximum(np.bincount(y, minlength=n_classes), 1)
    return (len(y) / (counts * n_classes))[y].astype(np.float32)


def _read_ahead(read: Callable[[int], Any], items: Sequence[int]) -> Iterator[Any]:
    """Yield `read(item)` of each item, in order, while a thread reads the next one."""
    with ThreadPoolExecutor(1) as pool:
        pending = None
        for item in items:
            # The next item is read while the caller works on this one.
            submitted = pool.submit(read, item)
            if pending is not None:
                yield pending.result()
            pending = submitted
        if pending is not None:
            yield pending.result()
