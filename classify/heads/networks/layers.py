"""What networks are made of: one table of layers gives the tensors they must have and the Keras model that has them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Shape = tuple[int, ...]
"""Of one image's features: (height, width, channels), or (n_features,)."""


@dataclass(frozen=True)
class Conv:
    """A 3 x 3 convolution with ReLU that keeps height and width."""

    name: str
    filters: int


@dataclass(frozen=True)
class Pool:
    """The maximum over 2 x 2 positions."""


@dataclass(frozen=True)
class Dropout:
    """Drops a share of its inputs while it is trained (arXiv:1207.0580); a share of 0 is no layer at all."""

    rate: float


@dataclass(frozen=True)
class Dense:
    """A dense layer with ReLU; the first one flattens what comes in."""

    units: int


Layer = Conv | Pool | Dropout | Dense
Layers = Sequence[Layer]


def tensors(layers: Layers, shape: Shape, n_outputs: int) -> dict[str, Shape]:
    """Names and shapes of a network's kernels and biases, in order, the outputs' last.

    Args:
        layers: all but the outputs, which are a dense layer without activation.
        shape: of one image's features.
        n_outputs: 1 for two classes, else one a class.

    Raises:
        ValueError: the features are too small to be pooled so often.

    Examples:
        >>> tensors([Conv("conv1", 8), Pool()], (6, 6, 3), 1)
        {'conv1/kernel': (3, 3, 3, 8), 'conv1/bias': (8,), 'outputs/kernel': (72, 1), 'outputs/bias': (1,)}
    """
    found: dict[str, Shape] = {}
    n_hidden = sum(isinstance(layer, Dense) for layer in layers)
    names = [*(f"dense{number}" for number in range(1, 1 + n_hidden)), "outputs"]
    for layer in (*layers, Dense(n_outputs)):
        match layer:
            case Conv(name, filters):
                found |= {f"{name}/kernel": (3, 3, shape[2], filters), f"{name}/bias": (filters,)}
                shape = (shape[0], shape[1], filters)
            case Pool():
                shape = (shape[0] // 2, shape[1] // 2, shape[2])
            case Dense(units):
                name = names.pop(0)
                found |= {f"{name}/kernel": (math.prod(shape), units), f"{name}/bias": (units,)}
                shape = (units,)
        if 0 in shape:
            raise ValueError("its inputs are too small for so many layers")
    return found


def build(
    keras: Any,
    layers: Layers,
    shape: Shape,
    n_outputs: int,
    outputs: str,
    seeds: Iterator[int],
    precision: str,
) -> Any:
    """An untrained Keras model of a table of layers, with He's uniform start (arXiv:1502.01852) and zero biases.

    Nothing is left to the settings of a program or a user; its seeds are its own, and random
    numbers of others stay.

    Args:
        layers, shape, n_outputs: as for `tensors`, whose order its weights have.
        outputs: how the outputs' kernel starts, one of Keras's initializers.
        seeds: one is taken for each kernel and each dropout.
        precision: in which it computes; its weights and outputs are float32 in any case.
    """
    made, flat = [keras.Input(shape, dtype="float32")], len(shape) == 1
    policy = "float32" if precision == "float32" else f"mixed_{precision}"
    last = {"data_format": "channels_last"}
    for layer in layers:
        match layer:
            case Conv(name, filters):
                start = keras.initializers.HeUniform(seed=next(seeds))
                how = {
                    "padding": "same",
                    "activation": "relu",
                    "kernel_initializer": start,
                    "dtype": policy,
                    **last,
                }
                made.append(keras.layers.Conv2D(filters, 3, name=name, **how))
            case Pool():
                made.append(keras.layers.MaxPooling2D(dtype=policy, **last))
            case Dropout(rate) if rate:
                made.append(keras.layers.Dropout(rate, seed=next(seeds), dtype=policy))
            case Dense(units):
                start = keras.initializers.HeUniform(seed=next(seeds))
                made += [] if flat else [keras.layers.Flatten(dtype=policy, **last)]
                made.append(
                    keras.layers.Dense(units, "relu", kernel_initializer=start, dtype=policy)
                )
                flat = True
    start = getattr(keras.initializers, outputs)(seed=next(seeds))
    made += [] if flat else [keras.layers.Flatten(dtype="float32", **last)]
    return keras.Sequential(
        [*made, keras.layers.Dense(n_outputs, kernel_initializer=start, dtype="float32")]
    )
