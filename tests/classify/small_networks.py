"""Small networks, and images that they are trained on in seconds."""

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
    """Return noisy images, each class in a colour of its own.

    Returns:
        Features of shape (n, height * width * channels), and class numbers of shape (n,).
    """
    y = np.arange(n) % n_classes
    X = np.random.default_rng(n).integers(0, 100, (n, *shape)).astype(np.float32)
    for number in range(n_classes):
        X[y == number, ..., number] += 120
    return X.reshape(n, -1), y


def new(
    kind: type[Any], shape: Shape = SHAPE, context: dict[str, Any] | None = None, **parameters: Any
) -> Any:
    """Return a head with a context, as `fit-cnn` makes it; VGG16's weights are random."""
    make_deterministic()
    options = {"weights": lambda: weights_of(0), **(context or {})}
    return kind(context=TrainingContext(shape, **options), **parameters)


def untrained_model(head: Network, shape: Sequence[int]) -> Any:
    """Return the Keras model that a head starts to train."""
    head.n_features = int(np.prod(shape))
    head.prepare(np.zeros((1, head.n_features), np.float32))
    return head.compiled_model(2, seed=0)


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
    """Train a head with everything that is drawn: dropout, augmentation, order.

    Args:
        folder: folder of the checkpoints.
        seed: seed of the training.
        kind: class of the head.
        more: fields of the context.
    """
    shape = (4, 4, 6) if kind is EarlyBlocks else SHAPE
    X, y = pictures(shape=shape)
    head = new(kind, shape, {"checkpoints": folder, "checkpoint_seconds": 0.0, **more}, **FULL)
    head.fit(X, y, 2, seed=seed, folds=folds_of(y))
    return head


@cache
def uninterrupted() -> Any:
    """Return the head of a training that was not interrupted."""
    return train(None)
