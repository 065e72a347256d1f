"""The table of heads: one row for each head that `fit-classifier --model` or `fit-cnn` can fit."""

from __future__ import annotations

from typing import Any

from ...errors import ParameterError
from .base import Head
from .baselines import ImageBorder, ImageSize, Majority
from .boosting import XGBoost
from .linear import LinearDiscriminant, LogisticRegression, Ridge
from .neighbours import NearestNeighbours
from .networks.context import TrainingContext
from .networks.convolutional import AugmentedCNN, DropoutCNN, EarlyBlocks, SimpleCNN
from .networks.dense import Dense128, Dense128x64x32
from .networks.finetuned import (
    FineTunedAll,
    FineTunedBlock2,
    FineTunedBlock3,
    FineTunedBlock4,
    FineTunedBlock5,
)
from .networks.network import Network
from .simple import NaiveBayes
from .svm import LinearSVM, RbfSVM
from .trees import ExtraTrees

# A new head is one row here. Messages list the heads in this order.
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
    ImageSize,
    ImageBorder,
    # Networks for certain layers.
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

HEADS: dict[str, type[Head]] = {kind.name: kind for kind in _KINDS}
"""Classes of heads by name."""

FOR_ANY_LAYER = tuple(name for name, kind in HEADS.items() if not kind.layers)
"""Names of the quick heads, which fit any layer; the others are networks for certain layers."""


def find_head(name: str) -> type[Head]:
    """Return the class of a head.

    Raises:
        ParameterError: the name is unknown; the text lists the heads.
    """
    if name not in HEADS:
        raise ParameterError(f"head {name!r} is unknown; choose one of {', '.join(HEADS)}")
    return HEADS[name]


def make_head(name: str, *, context: TrainingContext | None = None, **parameters: Any) -> Head:
    """Return a new, unfitted head.

    Args:
        name: name of the head, in `HEADS`.
        context: what networks need beside features; other heads ignore it.
        parameters: hyper-parameters that differ from the head's defaults.

    Raises:
        ParameterError: the head or a hyper-parameter is unknown; the text lists what there is.
    """
    kind = find_head(name)
    # Only networks are trained in a context.
    if context is not None and issubclass(kind, Network):
        return kind(context=context, **parameters)
    return kind(**parameters)
