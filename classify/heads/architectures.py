"""End-to-end networks by name: which head each is, on what it is fitted, and how the article trained it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import ParameterError
from ...extract.backbones.table import BACKBONES, MAX_PIXEL_SIZE, Backbone, find_backbone
from .networks.layers import tensors
from .networks.network import Network
from .table import HEADS

AS_ARTICLE = {**Network.defaults, "scale": 0}
"""Features as they are; Adam's own learning rate and Keras's own batch size, since the article names no others."""


@dataclass(frozen=True)
class Architecture:
    """A network that can be trained on an image folder.

    Attributes:
        head: name in `HEADS`.
        layer: what it is fitted on: "pixels", or the last layer below what is trained.
        size: of the images, pixels a side; None: what the frozen backbone takes.
        parameters: of the head, where they differ from its defaults.
    """

    head: str
    layer: str = "pixels"
    size: int | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def backbone(self) -> Backbone:
        """What comes before the head: nothing but the resizing, or the frozen layers of VGG16."""
        return BACKBONES["vgg16"] if self.size is None else find_backbone(f"pixels-{self.size}")


ARCHITECTURES: dict[str, Architecture] = {
    "simple": Architecture("cnn-simple", size=250),
    "dropout": Architecture("cnn-dropout", size=250),
    "augmented": Architecture("cnn-augmented", size=250),
    "vgg16-block5": Architecture("dense-128", "block5_pool", parameters=AS_ARTICLE),
    "vgg16-block3": Architecture("dense-128-64-32", "block3_pool", parameters=AS_ARTICLE),
    "vgg16": Architecture("finetune-block5", "block4_pool"),
}
"""The article's five models, and VGG16 itself, of which the last block is trained, or more."""

VGG16_SIZE = 224


def find_architecture(
    name: str, *, trainable: str | None = None, weights: str | None = None, size: int | None = None
) -> Architecture:
    """An architecture by name.

    Args:
        name: in `ARCHITECTURES`.
        trainable: of "vgg16": "all", or "blocks=4,5", the last ones; by default "blocks=5".
        weights: of what VGG16 starts with: "imagenet", "random" or the path of a file.
        size: of the images, for those that are fitted on pixels.

    Raises:
        ParameterError: that is not possible; the text says what is.

    Examples:
        >>> find_architecture("vgg16", trainable="blocks=4,5").layer
        'block3_pool'
    """
    if name not in ARCHITECTURES:
        raise ParameterError(f"arch must be one of {', '.join(ARCHITECTURES)}, got {name!r}")
    found = ARCHITECTURES[name]
    if trainable is not None and name != "vgg16":
        raise ParameterError(
            f"trainable is for the arch vgg16; {name} is trained as the article has it"
        )
    if weights is not None and found.layer == "pixels":
        raise ParameterError(f"weights are for VGG16; {name} has none to start with")
    if trainable is not None:
        found = _trained(_first_block(trainable), weights or "imagenet")
    if size is not None:
        if found.size is None:
            raise ParameterError(
                f"size is for networks on pixels; below {found.layer} images are 224 x 224"
            )
        found = Architecture(found.head, found.layer, size, found.parameters)
        _check_size(found, size)
    return found


def _check_size(architecture: Architecture, size: int) -> None:
    head = HEADS[architecture.head](**architecture.parameters)
    if not 1 <= size <= MAX_PIXEL_SIZE:
        raise ParameterError(f"size must lie between 1 and {MAX_PIXEL_SIZE}, got {size}")
    try:
        tensors(head.table() if isinstance(head, Network) else (), (size, size, 3), 1)
    except ValueError:
        raise ParameterError(
            f"size {size} is too small for the layers of {architecture.head}"
        ) from None


def _trained(first: int, weights: str) -> Architecture:
    """VGG16, trained from one of its blocks on."""
    if first > 1:
        return Architecture(f"finetune-block{first}", f"block{first - 1}_pool")
    if weights not in ("imagenet", "random"):
        raise ParameterError(
            f"weights must be imagenet or random where all of VGG16 is trained, got {weights!r}"
        )
    return Architecture("finetune-all", size=VGG16_SIZE, parameters={"weights": weights})


def _first_block(trainable: str) -> int:
    """The first of VGG16's blocks that is trained."""
    if trainable == "all":
        return 1
    blocks = re.fullmatch("blocks=([1-5](,[1-5])*)", trainable)
    numbers = sorted({int(number) for number in blocks[1].split(",")}) if blocks else []
    if not numbers or numbers != list(range(numbers[0], 6)):
        raise ParameterError(
            f"trainable must be all, or the last blocks, blocks=4,5 say, got {trainable!r}"
        )
    return numbers[0]
