"""The gradient of a convolutional network's outputs by its inputs, on any backend of Keras.

Keras has no gradient of its own that works on every backend. A network here is a list of few
kinds of layers (`layers.py`), so that the chain rule is written out, in `keras.ops` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .layers import Conv, Dense, Dropout, Layers, Pool

Backward = Callable[[Any], Any]
"""Turns the gradient by a layer's result into the gradient by its input."""


def input_gradient(
    ops: Any,
    layers: Layers,
    weights: Sequence[NDArray[np.float32]],
    inputs: NDArray[np.float32],
    direction: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Return the gradient of a sum of a network's scores by its inputs, in float32.

    Args:
        ops: the module `keras.ops`.
        layers: all layers but the outputs.
        weights: kernel and bias of one layer after the other, the outputs' last.
        inputs: of shape (n, height, width, channels).
        direction: weight of each class's score in the sum, of shape (n_classes,). Two classes
            share one output, which is the score of class 1.

    Returns:
        An array of the shape of the inputs.
    """
    values = ops.convert_to_tensor(inputs)
    remaining = iter(weights)
    steps: list[Backward] = []
    for layer in layers:
        values, backward = _forward(ops, layer, values, remaining)
        steps.append(backward)
    kernel, bias = remaining
    slopes = np.tile(direction[-len(bias) :], (len(inputs), 1)).astype(np.float32)
    # The outputs have no ReLU, and flatten what is not flat yet.
    slopes = ops.reshape(ops.matmul(slopes, ops.transpose(kernel)), values.shape)
    for backward in reversed(steps):
        slopes = backward(slopes)
    return np.asarray(ops.convert_to_numpy(slopes))


def _forward(
    ops: Any, layer: Any, values: Any, weights: Iterator[NDArray[np.float32]]
) -> tuple[Any, Backward]:
    """Apply a layer; return its result, and the function that goes back through it."""
    match layer:
        case Conv():
            kernel, bias = next(weights), next(weights)
            options = {"padding": "same", "data_format": "channels_last"}
            result = ops.relu(ops.conv(values, kernel, **options) + bias)
            # (3, 3, in, out) -> (3, 3, out, in): a convolution with the turned kernel goes back.
            turned = np.ascontiguousarray(kernel[::-1, ::-1].swapaxes(2, 3))
            return result, lambda slopes: ops.conv(
                slopes * _is_open(ops, result), turned, **options
            )
        case Pool():
            return _pool(ops, values)
        case Dense():
            kernel, bias = next(weights), next(weights)
            shape = values.shape
            result = ops.relu(ops.matmul(ops.reshape(values, (shape[0], -1)), kernel) + bias)
            return result, lambda slopes: ops.reshape(
                ops.matmul(slopes * _is_open(ops, result), ops.transpose(kernel)), shape
            )
        case Dropout():
            # It drops nothing after the training.
            return values, lambda slopes: slopes
    raise TypeError(f"no gradient of {layer}")


def _is_open(ops: Any, result: Any) -> Any:
    """Return 1 where a ReLU passes its input on, else 0."""
    return ops.cast(result > 0, "float32")


def _pool(ops: Any, values: Any) -> tuple[Any, Backward]:
    """Take the maximum over 2 x 2 positions; the gradient goes to the first of equal maxima."""
    n, height, width, channels = values.shape
    rows, columns = height // 2, width // 2
    # (n, height, width, channels) -> (n, rows, columns, channels, 4); odd borders are left out
    windows = ops.reshape(values[:, : 2 * rows, : 2 * columns], (n, rows, 2, columns, 2, channels))
    windows = ops.reshape(
        ops.transpose(windows, (0, 1, 3, 5, 2, 4)), (n, rows, columns, channels, 4)
    )
    first = ops.one_hot(ops.argmax(windows, axis=-1), 4)

    def backward(slopes: Any) -> Any:
        # (n, rows, columns, channels, 4) -> (n, 2 rows, 2 columns, channels)
        spread = ops.reshape(slopes[..., None] * first, (n, rows, columns, channels, 2, 2))
        spread = ops.reshape(
            ops.transpose(spread, (0, 1, 4, 2, 5, 3)), (n, 2 * rows, 2 * columns, channels)
        )
        border = [[0, 0], [0, height - 2 * rows], [0, width - 2 * columns], [0, 0]]
        return ops.pad(spread, border)

    return ops.max(windows, axis=-1), backward
