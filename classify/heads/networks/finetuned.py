"""Fine-tuned heads: VGG16's last blocks, trained on cached features from the backbone's weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ....extract.backbones.table import BACKBONES, CAFFE_MEANS
from ....extract.backbones.weights import load_weights, weights_digest
from ...matrix import Matrix
from ..base import Parameters
from .convolutional import Convolutional
from .layers import Conv, Dense, Layer, Layers, Pool
from .network import Network

_VGG16_LAYERS = BACKBONES["vgg16"].layers

BGR_MEANS = np.array(CAFFE_MEANS[::-1], np.float32)
"""ImageNet's mean blue, green and red, which VGG16's preprocessing subtracts."""


class FineTuned(Convolutional):
    """VGG16's last blocks and a dense layer, trained from the backbone's weights. See `Network`.

    The blocks below are frozen, so that their features are computed once.

    Attributes:
        first: number of the first block that is trained.
    """

    first: ClassVar[int]
    defaults: ClassVar[Parameters] = {**Network.defaults, "learning_rate": 1e-5}

    def hidden_layers(self) -> Layers:
        layers: list[Layer] = []
        for name, (_, _, channels) in _VGG16_LAYERS.items():
            # Names are "block4_conv1" and "block4_pool", say.
            block = int(name.removeprefix("block")[0])
            if block >= self.first:
                layers.append(Pool() if name.endswith("pool") else Conv(name, channels))
        return [*layers, Dense(128)]

    def prepare(self, X: Matrix) -> None:
        super().prepare(X)
        self._first_weights = self.first_weights()
        # Other weights are another training: its checkpoints must not be mixed up.
        self.start_digest = weights_digest(self._first_weights)

    def first_weights(self) -> Mapping[str, NDArray[Any]]:
        """Return the weights that convolutions start with, by the names of VGG16's tensors."""
        return self.context.weights()

    def inputs(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.images(features)

    def set_first_weights(self, model: Any) -> None:
        for layer in model.layers:
            kernel = self._first_weights.get(f"{layer.name}/kernel")
            if kernel is not None:
                layer.set_weights([kernel, self._first_weights[f"{layer.name}/bias"]])
        # The model has them now: they take as much memory as the network.
        self._first_weights = {}


class FineTunedAll(FineTuned):
    """All of VGG16 and a dense layer, trained on images.

    Further hyper-parameters:
        augment: 1 if training images are changed at random, see `SimpleCNN`.
        weights: "imagenet" to start from ImageNet's weights, "random" from random ones.
    """

    name = "finetune-all"
    layers = ("pixels",)
    first = 1
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {**Network.limits, "augment": (0, 1)}
    choices: ClassVar = {**Network.choices, "weights": ("imagenet", "random")}
    defaults: ClassVar[Parameters] = {**FineTuned.defaults, "augment": 0, "weights": "imagenet"}

    def first_weights(self) -> Mapping[str, NDArray[Any]]:
        return load_weights()[0] if self.parameters["weights"] == "imagenet" else {}

    def inputs(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        # RGB -> BGR, as VGG16's weights expect.
        return self.images(features)[..., ::-1] - BGR_MEANS

    def feature_gradient(self, slopes: NDArray[np.float32]) -> NDArray[np.float32]:
        # BGR -> RGB, as the features are.
        return slopes[..., ::-1]

    def training_inputs(
        self, features: NDArray[np.float32], draws: Sequence[tuple[int, int, int]]
    ) -> NDArray[np.float32]:
        return self.augmented_inputs(features, draws)


class FineTunedBlock2(FineTuned):
    """Blocks 2 to 5 of VGG16, fine-tuned."""

    name = "finetune-block2"
    layers = ("block1_pool",)
    first = 2


class FineTunedBlock3(FineTuned):
    """Blocks 3 to 5 of VGG16, fine-tuned."""

    name = "finetune-block3"
    layers = ("block2_pool",)
    first = 3


class FineTunedBlock4(FineTuned):
    """Blocks 4 and 5 of VGG16, fine-tuned."""

    name = "finetune-block4"
    layers = ("block3_pool",)
    first = 4


class FineTunedBlock5(FineTuned):
    """Block 5 of VGG16, fine-tuned."""

    name = "finetune-block5"
    layers = ("block4_pool",)
    first = 5
