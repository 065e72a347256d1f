"""Small dense networks on features: trained with Keras on any of its backends, kept and predicted as plain arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...matrix import Matrix, blocks_of, two_columns
from ..arrays import Arrays, checked_array
from ..base import Parameters
from .layers import Dense, Dropout, Layers, Shape
from .network import Network


class _Dense(Network):
    """Dense layers with ReLU and He's start (arXiv:1502.01852). See `Network`.

    Further parameters are `dropout` (arXiv:1207.0580; the share dropped behind the first layer) and
    `scale` (1: features are divided by their root mean square over the training rows; 0: they are
    taken as they are).

    Attributes:
        units: of the hidden layers.
    """

    units: ClassVar[tuple[int, ...]] = ()
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        **Network.limits,
        "dropout": (0, 0.99),
        "scale": (0, 1),
    }
    cure = " or scale=1"

    def table(self) -> Layers:
        first, *others = (Dense(width) for width in self.units)
        return [first, Dropout(self.parameters["dropout"]), *others]

    def input_shape(self, n_features: int) -> Shape:
        return (n_features,)

    def inputs(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        return features / self._scale

    def begin(self, X: Matrix) -> None:
        self._scale = np.array([root_mean_square(X) if self.parameters["scale"] else 1], np.float32)

    def take_over(self, weights: list[NDArray[np.float32]]) -> None:
        self._layers = weights

    def scores(self, X: NDArray[Any]) -> NDArray[np.float64]:
        outputs = np.asarray(X, dtype=np.float32) / self._scale
        for number, (kernel, bias) in enumerate(
            zip(self._layers[::2], self._layers[1::2], strict=True)
        ):
            outputs = (np.maximum(outputs, 0) if number else outputs) @ kernel + bias
        return two_columns(outputs)

    @property
    def arrays(self) -> Arrays:
        names = [
            f"{kind}_{number}"
            for number in range(len(self.units) + 1)
            for kind in ("kernel", "bias")
        ]
        return dict(zip(names, self._layers, strict=True)) | {"scale": self._scale}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._layers = []
        for number in range(len(self.units) + 1):
            self._layers.append(checked_array(arrays, f"kernel_{number}", 2, np.float32))
            self._layers.append(checked_array(arrays, f"bias_{number}", 1, np.float32))
        self._scale = checked_array(arrays, "scale", 1, np.float32)
        kernels, biases = self._layers[::2], self._layers[1::2]
        widths = [kernel.shape[1] for kernel in kernels]
        if (
            widths[:-1] != list(self.units)
            or widths[-1] == 2
            or [len(bias) for bias in biases] != widths
        ):
            raise ValueError(f"its layers have {widths} units")
        if (
            [len(kernel) for kernel in kernels[1:]] != widths[:-1]
            or self._scale.shape != (1,)
            or self._scale[0] <= 0
        ):
            raise ValueError("its layers do not fit together")


class Dense128(_Dense):
    """One hidden layer of 128 units."""

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


class Dense128x64x32(_Dense):
    """Hidden layers of 128, 64 and 32 units, with dropout behind the first; all of it starts as He has it."""

    name = "dense-128-64-32"
    units = (128, 64, 32)
    outputs_start = "HeUniform"
    defaults: ClassVar[Parameters] = {**Dense128.defaults, "dropout": 0.3}
    spaces: ClassVar = {"wide": {"learning_rate": [3e-5, 1e-4, 3e-4], "dropout": [0.0, 0.3, 0.5]}}


def root_mean_square(X: Matrix) -> float:
    """Of all features of all rows; 1 if there is nothing but zeros."""
    squares = np.zeros(
        len(X)
    )  # by row, so that the sum does not depend on how rows fall into blocks
    for rows, block in blocks_of(X):
        squares[rows] = np.einsum("ij,ij->i", block, block, dtype=np.float64)
    return float(np.sqrt(squares.mean() / X.shape[1])) or 1.0
