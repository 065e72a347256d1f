"""Heads by name."""

from __future__ import annotations

from typing import Any

from ...errors import ParameterError
from .base import Head
from .boosting import XGBoost
from .forest import ExtraTrees
from .linear import LinearDiscriminant, LogisticRegression, Ridge
from .neighbours import NearestNeighbours
from .networks.convolutional import (
    AugmentedCNN,
    DropoutCNN,
    EarlyBlocks,
    FineTunedAll,
    FineTunedBlock2,
    FineTunedBlock3,
    FineTunedBlock4,
    FineTunedBlock5,
    SimpleCNN,
)
from .networks.dense import Dense128, Dense128x64x32
from .simple import Majority, NaiveBayes
from .svm import LinearSVM, RbfSVM

_KINDS: tuple[type[Head], ...] = (
    LogisticRegression,
    Ridge,
    LinearSVM,
    RbfSVM,
    NearestNeighbours,
    LinearDiscriminant,
    NaiveBayes,
    ExtraTrees,
    XGBoost,
    Dense128,
    Dense128x64x32,
    Majority,
    EarlyBlocks,
    FineTunedBlock5,
    FineTunedBlock4,
    FineTunedBlock3,
    FineTunedBlock2,
    FineTunedAll,
    SimpleCNN,
    DropoutCNN,
    AugmentedCNN,
)

HEADS: dict[str, type[Head]] = {head.name: head for head in _KINDS}
"""Heads by name."""

FOR_ANY_LAYER = tuple(name for name, head in HEADS.items() if not head.layers)
"""Names of those that are quick and can be fitted on any layer's features; the others are networks for certain ones."""


def find_head(name: str) -> type[Head]:
    """The kind of head of that name.

    Raises:
        ParameterError: there is none; the text lists those there are.
    """
    if name not in HEADS:
        raise ParameterError(f"there is no head {name!r}; there are {', '.join(HEADS)}")
    return HEADS[name]


def make_head(name: str, **parameters: Any) -> Head:
    """A new, unfitted head.

    Raises:
        ParameterError: there is no head of this name, or it has no such parameter; the text lists
            those there are.
    """
    return find_head(name)(**parameters)
