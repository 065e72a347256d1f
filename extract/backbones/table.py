"""What is known of a backbone before any deep-learning library is loaded: its layers, tensors and preprocessing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...errors import ParameterError


@dataclass(frozen=True)
class Backbone:
    """A frozen network, or none: `pixels-N` gives the resized images themselves.

    Attributes:
        name: as in `keras.applications`, in lower case; or `pixels-N`.
        preprocessing: name of the preprocessing that belongs to its weights.
        input_size: height and width of its input, pixels.
        layers: shape (height, width, channels) of each layer's features, from the first layer to
            the last.
        tensors: shapes of its weights by name, kernels as (height, width, in, out).
        digest: `weights_digest` of its ImageNet weights, or of no tensors.
    """

    name: str
    preprocessing: str
    input_size: tuple[int, int]
    layers: Mapping[str, tuple[int, int, int]]
    tensors: Mapping[str, tuple[int, ...]]
    digest: str

    def check_layers(self, layers: Sequence[str]) -> tuple[str, ...]:
        """The layers asked for, without repeats, from the first of the network to the last.

        Raises:
            ParameterError: one is unknown; the text lists those that are known.
        """
        for layer in layers:
            if layer not in self.layers:
                raise ParameterError(
                    f"{self.name} has no layer {layer!r}; it has {', '.join(self.layers)}"
                )
        return tuple(layer for layer in self.layers if layer in layers)


def _vgg16() -> Backbone:
    """Configuration D of Simonyan and Zisserman, arXiv:1409.1556, without its dense top."""
    layers: dict[str, tuple[int, int, int]] = {}
    tensors: dict[str, tuple[int, ...]] = {}
    size, below = 224, 3
    for block, (convolutions, channels) in enumerate(
        [(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)], 1
    ):
        for number in range(1, convolutions + 1):
            name = f"block{block}_conv{number}"
            layers[name] = (size, size, channels)
            tensors[f"{name}/kernel"] = (3, 3, below, channels)
            tensors[f"{name}/bias"] = (channels,)
            below = channels
        size //= 2
        layers[f"block{block}_pool"] = (size, size, channels)
    digest = "320e3b7cd884662671f3b9c981c0b7d66b4cab7bf5ce3f82a388982b9002120c"
    return Backbone("vgg16", "caffe", (224, 224), layers, tensors, digest)


BACKBONES = {"vgg16": _vgg16()}
"""Networks by name. "caffe" preprocessing: RGB to BGR, minus the ImageNet means (103.939, 116.779, 123.68)."""

MAX_PIXELS = 1024
"""The largest N of `pixels-N`: an image takes 6 MB in float16."""


def find_backbone(name: str) -> Backbone:
    """The backbone of that name: a network in `BACKBONES`, or `pixels-N`.

    Raises:
        ParameterError: it is unknown; the text lists those that are known.

    Examples:
        >>> find_backbone("pixels-32").layers
        {'pixels': (32, 32, 3)}
    """
    if isinstance(name, str):
        if name in BACKBONES:
            return BACKBONES[name]
        found = re.fullmatch("pixels-([1-9][0-9]{0,3})", name)
        if found and int(found[1]) <= MAX_PIXELS:
            return _pixels(int(found[1]))
    known = ", ".join([*BACKBONES, "pixels-N"])
    raise ParameterError(
        f"backbone must be one of {known}, got {repr(name)[:60]} (N is from 1 to {MAX_PIXELS})"
    )


def _pixels(size: int) -> Backbone:
    """The images themselves, resized: nothing is computed."""
    digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # of nothing
    return Backbone(f"pixels-{size}", "none", (size, size), {"pixels": (size, size, 3)}, {}, digest)
