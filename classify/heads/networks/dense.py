"""Small dense networks on features: Keras trains them, NumPy predicts from plain arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...matrix import Matrix, blocks_of, two_columns
from ..arrays import Arrays, checked_array
from ..base import Parameters
from .layers import Dense, Dropout, Layers, Shape
from .network import Network, way_shares


class DenseNetwork(Network):
    """Dense layers with ReLU and He's start (arXiv:1502.01852). See `Network`.

    Further hyper-parameters:
        dropout: share that is dropped after the first layer (arXiv:1207.0580).
        scale: 1 if features are divided by their root mean square over the training rows; 0 if
            they are used unchanged.

    Attributes:
        units: units of the hidden layers.
    """

    units: ClassVar[tuple[int, ...]] = ()
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        **Network.limits,
        "dropout": (0, 0.99),
        "scale": (0, 1),
    }
    remedy = "a lower learning_rate or scale=1"

    def hidden_layers(self) -> Layers:
        first, *later = (Dense(width) for width in self.units)
        return [first, Dropout(self.parameters["dropout"]), *later]

    def input_shape(self, n_features: int) -> Shape:
        return (n_features,)

    def inputs(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        return features / self._scale

    def prepare(self, X: Matrix) -> None:
        # An array of one number, since model files hold arrays only.
        self._scale = np.array([root_mean_square(X) if self.parameters["scale"] else 1], np.float32)

    def set_weights(self, weights: list[NDArray[np.float32]]) -> None:
        self._weights = weights

    def scores(self, X: NDArray[Any]) -> NDArray[np.float64]:
        outputs = np.asarray(X, dtype=np.float32) / self._scale
        layers = zip(self._weights[::2], self._weights[1::2], strict=True)
        for number, (kernel, bias) in enumerate(layers):
            # ReLU before all layers but the first.
            activations = np.maximum(outputs, 0) if number else outputs
            outputs = activations @ kernel + bias
        return two_columns(outputs)

    def gradient(
        self, X: NDArray[Any], direction: NDArray[np.float64]
    ) -> NDArray[np.floating[Any]]:
        slopes = self._first_slopes(self._first_outputs(X), direction)
        return slopes @ self._weights[0].T / self._scale

    def mean_gradient(
        self, ends: NDArray[np.float32], n_steps: int, direction: NDArray[np.float64]
    ) -> NDArray[np.floating[Any]]:
        # The first layer holds nearly all weights and is linear before its ReLU: both ends pass
        # it, and not every point between them.
        start, end = self._first_outputs(ends)
        slopes = self._first_slopes(start + way_shares(n_steps) * (end - start), direction)
        return np.asarray(self._weights[0] @ slopes.mean(axis=0) / self._scale)

    def _first_outputs(self, X: NDArray[Any]) -> NDArray[np.float32]:
        """Return the outputs of the first layer before its ReLU, of shape (n_rows, units)."""
        kernel, bias = self._weights[:2]
        return np.asarray(np.asarray(X, dtype=np.float32) / self._scale @ kernel + bias)

    def _first_slopes(
        self, first: NDArray[np.float32], direction: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """Return the gradient of a sum of scores by the `_first_outputs`, of the same shape."""
        kernels = self._weights[2::2]
        # (n_rows, units) of each hidden layer before its ReLU
        outputs = [first]
        for kernel, bias in zip(kernels[:-1], self._weights[3::2], strict=False):
            outputs.append(np.maximum(outputs[-1], 0) @ kernel + bias)
        # Two classes share one output, which is the score of class 1.
        slopes = np.tile(direction[-len(self._weights[-1]) :], (len(first), 1)).astype(np.float32)
        for kernel, output in zip(reversed(kernels), reversed(outputs), strict=True):
            # A unit whose ReLU is closed passes nothing on.
            slopes = slopes @ kernel.T * (output > 0)
        return slopes

    @property
    def arrays(self) -> Arrays:
        arrays: Arrays = {}
        layers = zip(self._weights[::2], self._weights[1::2], strict=True)
        for number, (kernel, bias) in enumerate(layers):
            arrays[f"kernel_{number}"] = kernel
            arrays[f"bias_{number}"] = bias
        return arrays | {"scale": self._scale}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        numbers = range(len(self.units) + 1)
        kernels = [checked_array(arrays, f"kernel_{n}", 2, np.float32) for n in numbers]
        biases = [checked_array(arrays, f"bias_{n}", 1, np.float32) for n in numbers]
        self._scale = checked_array(arrays, "scale", 1, np.float32)
        widths = [kernel.shape[1] for kernel in kernels]
        # Two classes share one output: a file with two outputs is damaged.
        hidden_fit = widths[:-1] == list(self.units) and widths[-1] != 2
        if not hidden_fit or [len(bias) for bias in biases] != widths:
            raise ValueError(f"its layers have {widths} units")
        inputs_fit = [len(kernel) for kernel in kernels[1:]] == widths[:-1]
        if not inputs_fit or self._scale.shape != (1,) or self._scale[0] <= 0:
            raise ValueError("its layers do not fit together")
        self._weights = []
        for kernel, bias in zip(kernels, biases, strict=True):
            self._weights += [kernel, bias]


class Dense128(DenseNetwork):
    """A dense network with one hidden layer of 128 units."""

    name = "dense-128"
    units = (128,)
    defaults: ClassVar[Parameters] = {
        **Network.defaults,
        "epochs": 15,
        "batch_size": 128,
        "learning_rate": 1e-4,
        "dropout": 0.0,
        "patience": 4,
        "scale": 1,
    }
    spaces: ClassVar = {"wide": {"learning_rate": [1e-5, 3e-5, 1e-4, 3e-4]}}


class Dense128x64x32(DenseNetwork):
    """A dense network with hidden layers of 128, 64 and 32 units, dropout after the first.

    All layers start as He proposes, the outputs too.
    """

    name = "dense-128-64-32"
    units = (128, 64, 32)
    outputs_start = "HeUniform"
    defaults: ClassVar[Parameters] = {**Dense128.defaults, "dropout": 0.3}
    spaces: ClassVar = {"wide": {"learning_rate": [3e-5, 1e-4, 3e-4], "dropout": [0.0, 0.3, 0.5]}}


def root_mean_square(X: Matrix) -> float:
    """Return the root mean square of all features of all rows; 1 if all features are 0."""
    # Summed by row, so that the result does not depend on how rows fall into blocks.
    squares = np.zeros(len(X))
    for rows, block in blocks_of(X):
        squares[rows] = np.einsum("ij,ij->i", block, block, dtype=np.float64)
    return float(np.sqrt(squares.mean() / X.shape[1])) or 1.0
