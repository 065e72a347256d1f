"""Fine-tuned heads: VGG16's last blocks, trained on cached features from the backbone's weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ....extract.backbones.table import BACKBONES, CAFFE_MEANS
from ....extract.backbones.weights import load_weights, weights_digest
from ...matrix import Matrix
from ..base import Parameters
from .convolutional import Convolutional, SimpleCNN
from .layers import Conv, Dense, Layers, Pool
from .network import Network

VGG16_LAYERS = BACKBONES["vgg16"].layers
BGR_MEANS = np.array(CAFFE_MEANS[::-1], np.float32)
"""ImageNet's mean blue, green and red, which VGG16's preprocessing subtracts."""


class FineTuned(Convolutional):
    """VGG16's last blocks and a dense head, trained from the backbone's own weights on cached features.

    What lies below the first trained block is frozen, so its features are computed once. See
    `Network`.
    """

    first: ClassVar[int]
    defaults: ClassVar[Parameters] = {**Network.defaults, "learning_rate": 1e-5}

    def table(self) -> Layers:
        trained = {
            name: shape
            for name, shape in VGG16_LAYERS.items()
            if int(name[len("block")]) >= self.first
        }
        blocks = [
            Pool() if name.endswith("pool") else Conv(name, shape[2])
            for name, shape in trained.items()
        ]
        return [*blocks, Dense(128)]

    def begin(self, X: Matrix) -> None:
        super().begin(X)
        self._initial = self.initial()
        self.start_digest = weights_digest(self._initial)

    def initial(self) -> Mapping[str, NDArray[Any]]:
        """Weights that convolutions start with, by the names of the backbone's tensors."""
        return self.context.weights()

    def inputs(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        return features.reshape(len(features), *self._shape)

    def start(self, model: Any) -> None:
        for layer in model.layers:
            if f"{layer.name}/kernel" in self._initial:
                layer.set_weights(
                    [self._initial[f"{layer.name}/kernel"], self._initial[f"{layer.name}/bias"]]
                )
        self._initial = {}


class FineTunedAll(FineTuned):
    """All of VGG16 and a dense head, trained on images.

    Parameters are those of `Network`, `augment`, and `weights`: "imagenet" starts from ImageNet's,
    "random" from scratch.
    """

    name = "finetune-all"
    layers = ("pixels",)
    first = 1
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {**Network.limits, "augment": (0, 1)}
    choices: ClassVar = {**Network.choices, "weights": ("imagenet", "random")}
    defaults: ClassVar[Parameters] = {**FineTuned.defaults, "augment": 0, "weights": "imagenet"}

    def initial(self) -> Mapping[str, NDArray[Any]]:
        return load_weights()[0] if self.parameters["weights"] == "imagenet" else {}

    def inputs(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        return features.reshape(len(features), *self._shape)[..., ::-1] - BGR_MEANS

    training_inputs = SimpleCNN.training_inputs


class FineTunedBlock2(FineTuned):
    """Blocks 2 to 5."""

    name = "finetune-block2"
    layers = ("block1_pool",)
    first = 2


class FineTunedBlock3(FineTuned):
    """Blocks 3 to 5."""

    name = "finetune-block3"
    layers = ("block2_pool",)
    first = 3


class FineTunedBlock4(FineTuned):
    """Blocks 4 and 5."""

    name = "finetune-block4"
    layers = ("block3_pool",)
    first = 4


class FineTunedBlock5(FineTuned):
    """Block 5 alone."""

    name = "finetune-block5"
    layers = ("block4_pool",)
    first = 5
