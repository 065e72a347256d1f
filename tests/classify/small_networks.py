"""Small networks and what they are trained on, in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from freezeframe.classify.heads.networks.context import TrainingContext
from freezeframe.classify.heads.networks.convolutional import AugmentedCNN, EarlyBlocks
from freezeframe.classify.heads.networks.network import Network
from freezeframe.classify.matrix import Folds
from freezeframe.extract.backbones.weights import random_weights
from freezeframe.extract.engines.keras import make_deterministic

weights_of = cache(random_weights)

Shape = tuple[int, int, int]

SHAPE: Shape = (16, 16, 3)
FULL = {"epochs": 4, "batch_size": 8, "learning_rate": 2e-3, "patience": 100, "class_weights": 1}


def pictures(
    n_classes: int = 2, n: int = 40, shape: Shape = SHAPE
) -> tuple[np.ndarray, np.ndarray]:
    """Noise, in each class of another colour: features of shape (n, height * width * channels), and class numbers."""
    y = np.arange(n) % n_classes
    X = np.random.default_rng(n).integers(0, 100, (n, *shape)).astype(np.float32)
    for number in range(n_classes):
        X[y == number, ..., number] += 120
    return X.reshape(n, -1), y


def new(
    kind: type[Any], shape: Shape = SHAPE, context: dict[str, Any] | None = None, **parameters: Any
) -> Any:
    """A head with what it needs beside features, as in a process of `fit-cnn`; VGG16's weights are random."""
    make_deterministic()
    options = {"weights": lambda: weights_of(0), **(context or {})}
    return kind(context=TrainingContext(shape, **options), **parameters)


def begun(head: Network, shape: Sequence[int]) -> Any:
    """The Keras model that a head begins to train."""
    head.n_features = int(np.prod(shape))
    head.begin(np.zeros((1, head.n_features), np.float32))
    return head.compiled(2, seed=0)


def folds_of(y: np.ndarray) -> Folds:
    judged = np.arange(len(y)) % 10 > 7
    return [(np.flatnonzero(~judged), np.flatnonzero(judged))]


def equal(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> bool:
    return first.keys() == second.keys() and all(
        np.array_equal(first[name], second[name]) for name in first
    )


def train(
    folder: Path | None, *, seed: int = 0, kind: type[Any] = AugmentedCNN, **more: Any
) -> Any:
    """A training with everything that is drawn: dropout, augmentation, order. `more`: of the context."""
    shape = (4, 4, 6) if kind is EarlyBlocks else SHAPE
    X, y = pictures(shape=shape)
    head = new(kind, shape, {"checkpoints": folder, "checkpoint_seconds": 0.0, **more}, **FULL)
    head.fit(X, y, 2, seed=seed, folds=folds_of(y))
    return head


@cache
def undisturbed() -> Any:
    """The same, left alone."""
    return train(None)
