"""Networks with convolutions of their own: the article's CNNs on images, and VGG16's last blocks on cached features."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ....errors import ParameterError
from ...matrix import Matrix
from ..arrays import Arrays, checked_array
from ..base import Parameters
from .augmentation import augmented
from .dense import root_mean_square
from .layers import Conv, Dense, Dropout, Layers, Pool, Shape, tensors
from .network import Network, import_keras

FORWARD = 32
"""Images in a forward pass: what convolutions keep of an image are megabytes."""


class Convolutional(Network):
    """A network on images or feature maps, which Keras is needed for to predict, too. See `Network`."""

    @classmethod
    def check_library(cls) -> None:
        import_keras(cls.name)

    def begin(self, X: Matrix) -> None:
        if self.context.shape is None or math.prod(self.context.shape) != X.shape[1]:
            raise ParameterError(
                f"{self.name} needs features of each position; pooling must be flat"
            )
        self._shape = self.context.shape
        self._check_size(1)
        self._model: Any = None

    def input_shape(self, n_features: int) -> Shape:
        return self._shape

    def forward_size(self, n_rows: int) -> int:
        return FORWARD

    def take_over(self, weights: list[NDArray[np.float32]]) -> None:
        self._weights, self._model = weights, None

    def scores(self, X: NDArray[Any]) -> NDArray[np.float64]:
        if X.shape[1] != math.prod(self._shape):
            raise ValueError(f"features of {X.shape[1]} numbers are not of shape {self._shape}")
        if self._model is None:
            keras = import_keras(self.name)
            self._model = self.built(keras, self._shape, len(self._weights[-1]), seed=0)
            self._model.set_weights(self._weights)
            self._model.compile(jit_compile=keras.backend.backend() == "jax")
        return self.scores_by(self._model, np.asarray(X, dtype=np.float32))

    @property
    def arrays(self) -> Arrays:
        names = tensors(self.table(), self._shape, len(self._weights[-1]))
        return dict(zip(names, self._weights, strict=True)) | {
            "shape": np.array(self._shape, np.int64)
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        sides = checked_array(arrays, "shape", 1, np.int64)
        if len(sides) != 3 or not (sides > 0).all() or not (sides < 2**16).all():
            raise ValueError(f"its shape is {sides.tolist()}")
        self._shape = (int(sides[0]), int(sides[1]), int(sides[2]))
        n_outputs = len(checked_array(arrays, "outputs/bias", 1, np.float32))
        wanted = tensors(self.table(), self._shape, n_outputs)
        self._weights = [
            checked_array(arrays, name, len(shape), np.float32) for name, shape in wanted.items()
        ]
        if n_outputs == 2 or [array.shape for array in self._weights] != list(wanted.values()):
            raise ValueError("its layers do not fit together")
        self._model = None

    def _check_size(self, n_outputs: int) -> None:
        try:
            tensors(self.table(), self._shape, n_outputs)
        except ValueError:
            raise ParameterError(
                f"{self.name}: {self._shape} is too small for its layers"
            ) from None


class SimpleCNN(Convolutional):
    """The article's model 1: three convolutions of 32, 64 and 128 filters, a dense layer of 128, on pixels / 255.

    Parameters are those of `Network`, and `augment` (1: images that are trained on are mirrored,
    turned, zoomed and shifted at random, see `augmentation.augmented`).
    """

    name = "cnn-simple"
    layers = ("pixels",)
    dropouts: ClassVar[tuple[float, ...]] = (0.0, 0.0, 0.0)
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {**Network.limits, "augment": (0, 1)}
    defaults: ClassVar[Parameters] = {**Network.defaults, "augment": 0}

    def table(self) -> Layers:
        layers: list[Any] = []
        for number, (filters, rate) in enumerate(zip((32, 64, 128), self.dropouts, strict=True), 1):
            layers += [Conv(f"conv{number}", filters), Pool(), Dropout(rate)]
        return [*layers, Dense(128)]

    def inputs(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        return features.reshape(len(features), *self._shape) / np.float32(255)

    def training_inputs(
        self, features: NDArray[np.float32], draws: Sequence[tuple[int, int, int]]
    ) -> NDArray[np.float32]:
        return self.inputs(
            augmented(features, self._shape, draws) if self.parameters["augment"] else features
        )


class DropoutCNN(SimpleCNN):
    """The article's model 2: `SimpleCNN` with dropout of 0.2, 0.3 and 0.3 behind its convolutions."""

    name = "cnn-dropout"
    dropouts = (0.2, 0.3, 0.3)


class AugmentedCNN(DropoutCNN):
    """The article's model 3: `DropoutCNN`, trained with augmented images."""

    name = "cnn-augmented"
    defaults: ClassVar[Parameters] = {**DropoutCNN.defaults, "augment": 1}


class EarlyBlocks(Convolutional):
    """Convolutions of its own on the features of VGG16's first blocks: for few images that are unlike ImageNet's.

    Features are divided by their root mean square over the training rows. Parameters are those of
    `Network`, and `dropout`, the share that is dropped behind each pooling.
    """

    name = "early-blocks"
    layers = ("block2_pool", "block3_pool")
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {**Network.limits, "dropout": (0, 0.99)}
    defaults: ClassVar[Parameters] = {
        **Network.defaults,
        "epochs": 15,
        "learning_rate": 3e-4,
        "dropout": 0.3,
    }

    def table(self) -> Layers:
        drop = Dropout(self.parameters["dropout"])
        return [Conv("conv1", 128), Pool(), drop, Conv("conv2", 128), Pool(), drop, Dense(128)]

    def begin(self, X: Matrix) -> None:
        super().begin(X)
        self._scale = np.array([root_mean_square(X)], np.float32)

    def inputs(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        return features.reshape(len(features), *self._shape) / self._scale

    @property
    def arrays(self) -> Arrays:
        return super().arrays | {"scale": self._scale}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        super().restore(arrays)
        self._scale = checked_array(arrays, "scale", 1, np.float32)
        if self._scale.shape != (1,) or self._scale[0] <= 0:
            raise ValueError("its scale is not one positive number")
