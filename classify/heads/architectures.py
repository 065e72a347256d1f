"""The table of architectures: one row for each network that `fit-cnn` trains on images."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import ParameterError
from ...extract.backbones.table import BACKBONES, MAX_PIXEL_SIZE, Backbone, find_backbone
from .networks.layers import tensors
from .networks.network import Network
from .table import make_head

ARTICLE_PARAMETERS = {**Network.defaults, "scale": 0}
"""Parameters of the article's dense heads: unscaled features, defaults of Adam and Keras.

The article names neither a learning rate nor a batch size.
"""


@dataclass(frozen=True)
class Architecture:
    """A network that can be trained on an image folder.

    Attributes:
        head: name of the head, in `table.HEADS`.
        layer: layer that the head is fitted on: "pixels", or the last layer that is frozen.
        size: side of the images, pixels; None: the input size of the frozen backbone.
        parameters: hyper-parameters that differ from the head's defaults.
    """

    head: str
    layer: str = "pixels"
    size: int | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def backbone(self) -> Backbone:
        """The backbone before the head: the frozen layers of VGG16, or resized pixels."""
        return BACKBONES["vgg16"] if self.size is None else find_backbone(f"pixels-{self.size}")


ARCHITECTURES: dict[str, Architecture] = {
    "simple": Architecture("cnn-simple", size=250),
    "dropout": Architecture("cnn-dropout", size=250),
    "augmented": Architecture("cnn-augmented", size=250),
    "vgg16-block5": Architecture("dense-128", "block5_pool", parameters=ARTICLE_PARAMETERS),
    "vgg16-block3": Architecture("dense-128-64-32", "block3_pool", parameters=ARTICLE_PARAMETERS),
    "vgg16": Architecture("finetune-block5", "block4_pool"),
}
"""Architectures by name: the article's five models, and VGG16 with its last block trained."""

VGG16_SIZE = 224
"""Side of the images that all of VGG16 is trained on, pixels."""


def find_architecture(
    name: str, *, trainable: str | None = None, weights: str | None = None, size: int | None = None
) -> Architecture:
    """Return an architecture.

    Args:
        name: name of the architecture, in `ARCHITECTURES`.
        trainable: trained part of "vgg16": "all", or its last blocks, "blocks=4,5" say; default
            "blocks=5".
        weights: weights that VGG16 starts with: "imagenet", "random" or the path of a file.
        size: side of the images, pixels, for architectures on pixels.

    Raises:
        ParameterError: the options do not fit together; the text says what is possible.

    Examples:
        >>> find_architecture("vgg16", trainable="blocks=4,5").layer
        'block3_pool'
    """
    if name not in ARCHITECTURES:
        raise ParameterError(f"arch must be one of {', '.join(ARCHITECTURES)}, got {name!r}")
    architecture = ARCHITECTURES[name]
    if trainable is not None and name != "vgg16":
        raise ParameterError(
            f"trainable is for the arch vgg16, but {name} is trained as in the article; "
            "leave it out"
        )
    if weights is not None and architecture.layer == "pixels":
        raise ParameterError(
            f"weights are for VGG16, but {name} starts with random ones; leave them out"
        )
    if trainable is not None:
        architecture = _vgg16(_first_block(trainable), weights or "imagenet")
    if size is None:
        return architecture
    # Frozen layers have one size, that of VGG16's input.
    if architecture.size is None:
        raise ParameterError(
            f"size is for networks on pixels, but {architecture.layer} needs images of 224 x 224; "
            "leave it out"
        )
    _check_size(architecture, size)
    return Architecture(architecture.head, architecture.layer, size, architecture.parameters)


def _check_size(architecture: Architecture, size: int) -> None:
    """Raise ParameterError if images of this size cannot be stored, or are too small."""
    if not 1 <= size <= MAX_PIXEL_SIZE:
        raise ParameterError(f"size must lie between 1 and {MAX_PIXEL_SIZE}, got {size}")
    head = make_head(architecture.head, **architecture.parameters)
    # Each pooling halves the sides: `tensors` finds out whether anything is left.
    layers = head.hidden_layers() if isinstance(head, Network) else ()
    try:
        tensors(layers, (size, size, 3), 1)
    except ValueError:
        raise ParameterError(
            f"size {size} is too small for the layers of {architecture.head}; give a larger one"
        ) from None


def _vgg16(first: int, weights: str) -> Architecture:
    """Return VGG16 whose blocks from `first` on are trained."""
    if first > 1:
        return Architecture(f"finetune-block{first}", f"block{first - 1}_pool")
    if weights not in ("imagenet", "random"):
        raise ParameterError(
            f"weights must be imagenet or random where all of VGG16 is trained, got {weights!r}"
        )
    return Architecture("finetune-all", size=VGG16_SIZE, parameters={"weights": weights})


def _first_block(trainable: str) -> int:
    """Return the number of the first of VGG16's blocks that is trained."""
    if trainable == "all":
        return 1
    # fullmatch, since a "$" would accept a line break at the end.
    blocks = re.fullmatch("blocks=([1-5](,[1-5])*)", trainable)
    numbers = sorted({int(number) for number in blocks[1].split(",")}) if blocks else []
    # The trained blocks must be the last ones: what is below them is frozen.
    if not numbers or numbers != list(range(numbers[0], 6)):
        raise ParameterError(
            f"trainable must be all, or the last blocks (blocks=4,5 for example), got {trainable!r}"
        )
    return numbers[0]
