"""Convolutional networks: the article's CNNs on images, and a CNN on features of early blocks."""

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
from .gradient import input_gradient
from .layers import Conv, Dense, Dropout, Layers, Pool, Shape, tensors
from .network import Network, import_keras

IMAGES_AT_ONCE = 32
"""Images in a forward pass: convolutions hold megabytes for each image."""


class Convolutional(Network):
    """A network on images or feature maps, which needs Keras to predict, too. See `Network`."""

    @classmethod
    def check_library(cls) -> None:
        import_keras(cls.name)

    def prepare(self, X: Matrix) -> None:
        shape = self.context.shape
        if shape is None or math.prod(shape) != X.shape[1]:
            raise ParameterError(
                f"{self.name}: needs features of each position; choose the pooling flat"
            )
        # This check comes before Keras builds a model that it cannot train.
        try:
            tensors(self.hidden_layers(), shape, 1)
        except ValueError:
            raise ParameterError(
                f"{self.name}: {shape} is too small for its layers; use larger images"
            ) from None
        self._shape = shape
        self._model: Any = None

    def input_shape(self, n_features: int) -> Shape:
        return self._shape

    def rows_at_once(self, n_rows: int) -> int:
        # Predictions are computed one by one: a padded pass would take up to 17 times as long.
        return 1 if n_rows == 1 else IMAGES_AT_ONCE

    def images(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return features of shape (n, height * width * channels) by position."""
        # (n, height * width * channels) -> (n, height, width, channels)
        return features.reshape(len(features), *self._shape)

    def augmented_inputs(
        self, features: NDArray[np.float32], draws: Sequence[tuple[int, int, int]]
    ) -> NDArray[np.float32]:
        """Return the inputs of training images, changed at random if `augment` is 1."""
        if self.parameters["augment"]:
            features = augmented(features, self._shape, draws)
        return self.inputs(features)

    def set_weights(self, weights: list[NDArray[np.float32]]) -> None:
        self._weights = weights
        self._model = None

    def scores(self, X: NDArray[Any]) -> NDArray[np.float64]:
        if X.shape[1] != math.prod(self._shape):
            raise ValueError(f"features of {X.shape[1]} numbers are not of shape {self._shape}")
        # The model is built at the first prediction: loading a file does not need it.
        if self._model is None:
            keras = import_keras(self.name)
            self._model = self.new_model(keras, self._shape, len(self._weights[-1]), seed=0)
            self._model.set_weights(self._weights)
            # JAX compiles in any case; elsewhere XLA would take longer than the predictions.
            self._model.compile(jit_compile=keras.backend.backend() == "jax")
        return self.model_scores(self._model, np.asarray(X, dtype=np.float32))

    def gradient(
        self, X: NDArray[Any], direction: NDArray[np.float64]
    ) -> NDArray[np.floating[Any]]:
        keras = import_keras(self.name)
        slopes = []
        for start in range(0, len(X), IMAGES_AT_ONCE):
            rows = np.asarray(X[start : start + IMAGES_AT_ONCE], dtype=np.float32)
            inputs = self.inputs(rows)
            slopes.append(
                input_gradient(keras.ops, self.hidden_layers(), self._weights, inputs, direction)
            )
        # (n_rows, height, width, channels) -> (n_rows, n_features)
        return self.feature_gradient(np.concatenate(slopes)).reshape(X.shape)

    def feature_gradient(self, slopes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the gradient by the features from that by the `inputs`, of the same shape."""
        return slopes

    @property
    def arrays(self) -> Arrays:
        names = tensors(self.hidden_layers(), self._shape, len(self._weights[-1]))
        weights = dict(zip(names, self._weights, strict=True))
        return weights | {"shape": np.array(self._shape, np.int64)}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        sides = checked_array(arrays, "shape", 1, np.int64)
        # Sides from a hostile file must not overflow, nor ask for all the memory.
        if len(sides) != 3 or not (sides > 0).all() or not (sides < 2**16).all():
            raise ValueError(f"its shape is {sides.tolist()}")
        self._shape = (int(sides[0]), int(sides[1]), int(sides[2]))
        n_outputs = len(checked_array(arrays, "outputs/bias", 1, np.float32))
        shapes = tensors(self.hidden_layers(), self._shape, n_outputs)
        self._weights = [
            checked_array(arrays, name, len(shape), np.float32) for name, shape in shapes.items()
        ]
        # Two classes share one output: a file with two outputs is damaged.
        if n_outputs == 2 or [array.shape for array in self._weights] != list(shapes.values()):
            raise ValueError("its layers do not fit together")
        self._model = None


class SimpleCNN(Convolutional):
    """The article's model 1, on pixels / 255.

    Three convolutions of 32, 64 and 128 filters, then a dense layer of 128 units. See `Network`.

    Further hyper-parameters:
        augment: 1 if training images are mirrored, turned, zoomed and shifted at random, see
            `augmentation.augmented`.

    Attributes:
        dropouts: share that is dropped after each convolution.
    """

    name = "cnn-simple"
    layers = ("pixels",)
    dropouts: ClassVar[tuple[float, ...]] = (0.0, 0.0, 0.0)
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {**Network.limits, "augment": (0, 1)}
    defaults: ClassVar[Parameters] = {**Network.defaults, "augment": 0}

    def hidden_layers(self) -> Layers:
        layers: list[Any] = []
        for number, (filters, rate) in enumerate(zip((32, 64, 128), self.dropouts, strict=True), 1):
            layers += [Conv(f"conv{number}", filters), Pool(), Dropout(rate)]
        return [*layers, Dense(128)]

    def inputs(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.images(features) / np.float32(255)

    def feature_gradient(self, slopes: NDArray[np.float32]) -> NDArray[np.float32]:
        return slopes / np.float32(255)

    def training_inputs(
        self, features: NDArray[np.float32], draws: Sequence[tuple[int, int, int]]
    ) -> NDArray[np.float32]:
        return self.augmented_inputs(features, draws)


class DropoutCNN(SimpleCNN):
    """The article's model 2: `SimpleCNN` with dropout of 0.2, 0.3 and 0.3 after convolutions."""

    name = "cnn-dropout"
    dropouts = (0.2, 0.3, 0.3)


class AugmentedCNN(DropoutCNN):
    """The article's model 3: `DropoutCNN`, trained with augmented images."""

    name = "cnn-augmented"
    defaults: ClassVar[Parameters] = {**DropoutCNN.defaults, "augment": 1}


class EarlyBlocks(Convolutional):
    """New convolutions on the features of VGG16's first blocks, for few images unlike ImageNet's.

    Features are divided by their root mean square over the training rows. See `Network`.

    Further hyper-parameters:
        dropout: share that is dropped after each pooling.
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

    def hidden_layers(self) -> Layers:
        drop = Dropout(self.parameters["dropout"])
        return [Conv("conv1", 128), Pool(), drop, Conv("conv2", 128), Pool(), drop, Dense(128)]

    def prepare(self, X: Matrix) -> None:
        super().prepare(X)
        self._scale = np.array([root_mean_square(X)], np.float32)

    def inputs(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.images(features) / self._scale

    def feature_gradient(self, slopes: NDArray[np.float32]) -> NDArray[np.float32]:
        return slopes / self._scale

    @property
    def arrays(self) -> Arrays:
        return super().arrays | {"scale": self._scale}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        super().restore(arrays)
        self._scale = checked_array(arrays, "scale", 1, np.float32)
        if self._scale.shape != (1,) or self._scale[0] <= 0:
            raise ValueError("its scale must be one positive number")
