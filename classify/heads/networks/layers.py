"""Layers of networks: one list of layers defines both the tensors and the Keras model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Shape = tuple[int, ...]
"""Shape of one image's features: (height, width, channels), or (n_features,)."""


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
    """A layer that drops a share of its inputs during training (arXiv:1207.0580); 0: no layer."""

    rate: float


@dataclass(frozen=True)
class Dense:
    """A dense layer with ReLU; the first one flattens its inputs."""

    units: int


Layer = Conv | Pool | Dropout | Dense
Layers = Sequence[Layer]


def tensors(layers: Layers, shape: Shape, n_outputs: int) -> dict[str, Shape]:
    """Return names and shapes of a network's kernels and biases, in order, the outputs' last.

    Args:
        layers: all layers but the outputs, which are a dense layer without activation.
        shape: shape of one image's features.
        n_outputs: 1 for two classes, else one for each class.

    Raises:
        ValueError: the features are too small for the pooling layers.

    Examples:
        >>> shapes = tensors([Conv("conv1", 8), Pool()], (6, 6, 3), 1)
        >>> list(shapes)
        ['conv1/kernel', 'conv1/bias', 'outputs/kernel', 'outputs/bias']
        >>> shapes["conv1/kernel"], shapes["outputs/kernel"]
        ((3, 3, 3, 8), (72, 1))
    """
    shapes: dict[str, Shape] = {}
    n_hidden = sum(isinstance(layer, Dense) for layer in layers)
    dense_names = [*(f"dense{number}" for number in range(1, 1 + n_hidden)), "outputs"]
    for layer in (*layers, Dense(n_outputs)):
        match layer:
            case Conv(name, filters):
                shapes[f"{name}/kernel"] = (3, 3, shape[2], filters)
                shapes[f"{name}/bias"] = (filters,)
                shape = (shape[0], shape[1], filters)
            case Pool():
                shape = (shape[0] // 2, shape[1] // 2, shape[2])
            case Dense(units):
                name = dense_names.pop(0)
                shapes[f"{name}/kernel"] = (math.prod(shape), units)
                shapes[f"{name}/bias"] = (units,)
                shape = (units,)
        # Pooling has left no positions, or the file claims none.
        if 0 in shape:
            raise ValueError("its inputs are too small for so many layers")
    return shapes


def build(
    keras: Any,
    layers: Layers,
    shape: Shape,
    n_outputs: int,
    outputs: str,
    seeds: Iterator[int],
    precision: str,
) -> Any:
    """Return an untrained Keras model, with He's uniform start (arXiv:1502.01852) and zero biases.

    The model ignores the settings of the program and of the user. It draws from its own seeds and
    leaves the program's random numbers unchanged.

    Args:
        keras: the module Keras.
        layers: all layers but the outputs; the model's weights have the order of `tensors`.
        shape: shape of one image's features.
        n_outputs: 1 for two classes, else one for each class.
        outputs: start of the outputs' kernel, one of Keras's initializers.
        seeds: seeds, one for each kernel and each dropout.
        precision: type of the computation; weights and outputs are always float32.
    """
    # Layers compute in the requested precision, with float32 weights.
    policy = "float32" if precision == "float32" else f"mixed_{precision}"
    model_layers = [keras.Input(shape, dtype="float32")]
    is_flat = len(shape) == 1
    for layer in layers:
        if isinstance(layer, Dense) and not is_flat:
            model_layers.append(_flatten(keras, policy))
            is_flat = True
        # A dropout of 0 would take a seed, and change those of all layers after it.
        if layer != Dropout(0.0):
            model_layers.append(_keras_layer(keras, layer, seeds, policy))
    # The outputs take the last seed, after all hidden layers.
    start = getattr(keras.initializers, outputs)(seed=next(seeds))
    if not is_flat:
        model_layers.append(_flatten(keras, "float32"))
    model_layers.append(keras.layers.Dense(n_outputs, kernel_initializer=start, dtype="float32"))
    return keras.Sequential(model_layers)


def _keras_layer(keras: Any, layer: Layer, seeds: Iterator[int], policy: str) -> Any:
    """Return the Keras layer of a description; kernels and dropouts take the next seed."""
    match layer:
        case Conv(name, filters):
            return keras.layers.Conv2D(
                filters,
                3,
                name=name,
                padding="same",
                activation="relu",
                kernel_initializer=keras.initializers.HeUniform(seed=next(seeds)),
                data_format="channels_last",
                dtype=policy,
            )
        case Pool():
            return keras.layers.MaxPooling2D(data_format="channels_last", dtype=policy)
        case Dropout(rate):
            return keras.layers.Dropout(rate, seed=next(seeds), dtype=policy)
        case Dense(units):
            start = keras.initializers.HeUniform(seed=next(seeds))
            return keras.layers.Dense(units, "relu", kernel_initializer=start, dtype=policy)


def _flatten(keras: Any, policy: str) -> Any:
    return keras.layers.Flatten(data_format="channels_last", dtype=policy)
