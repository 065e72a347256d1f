"""Running a backbone with MNN, the fast way on a CPU: Winograd convolutions, one image at a time, on one thread.

MNN (https://github.com/alibaba/MNN) runs models of its own format. The truncated backbone is
written as ONNX from the table of its layers, turned by MNN's converter, and kept in the user's
cache folder. One image at a time, on one thread, since MNN's low bits depend on the batch size and
on the place in the batch; `workers` runs one process a core, since its Python binding keeps the
interpreter lock during a forward pass.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.output.files import cache_folder, write_whole
from ...errors import FreezeframeError, MissingExtraError
from ..backbones.table import Backbone
from ..backbones.weights import weights_digest
from .silence import OWN_GROUP, silenced

GRAPH_VERSION = 1
"""To be raised when `_onnx_model` writes another graph: models in the cache are then made anew."""

CAFFE_MEANS = (123.68, 116.779, 103.939)
"""ImageNet means of red, green and blue, subtracted by the preprocessing that is called "caffe"."""

# MNN's command for this, MNN.tools.mnnconvert, is not used: when imported it installs a logging
# library with pip, and then it reports each conversion to its maker. The compiled converter beneath
# it does neither.
_CONVERT = """
import sys, MNN, _tools
_tools.mnnconvert(sys.argv)
MNN.Interpreter(sys.argv[sys.argv.index("--MNNModel") + 1])
"""


def mnn_installed() -> bool:
    """Whether the engine can run here; nothing is imported."""
    return (
        find_spec("MNN") is not None
        and find_spec("_tools") is not None
        and find_spec("onnx") is not None
    )


def check_mnn() -> None:
    """Raise `MissingExtraError` if MNN or ONNX is not installed."""
    if not mnn_installed():
        raise MissingExtraError("MNN and ONNX", "cpu", "the engine mnn")


def mnn_model(
    backbone: Backbone, weights: Mapping[str, NDArray[np.float32]], layers: Sequence[str]
) -> Path:
    """The backbone in MNN's format, cut off behind the deepest of the layers; made on first use, then from the cache.

    The digest of the weights, the layers and the versions tell one model in the cache from another.

    Args:
        backbone: which network.
        weights: its convolution tensors by name.
        layers: whose features it puts out.

    Raises:
        MissingExtraError: MNN or ONNX is not installed.
        FreezeframeError: the cache cannot be written, or the converter failed.
    """
    check_mnn()
    layers = backbone.check_layers(layers)
    parts = [
        backbone.name,
        weights_digest(weights),
        layers,
        metadata.version("MNN"),
        metadata.version("onnx"),
        GRAPH_VERSION,
    ]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:20]
    model = cache_folder() / "mnn" / f"{backbone.name}-{key}.mnn"
    if not _is_whole(model):
        try:
            model.parent.mkdir(parents=True, exist_ok=True)
            _convert(_onnx_model(backbone, weights, layers), model)
        except OSError as error:
            raise FreezeframeError(
                f"{model}: cannot be written ({error.strerror or error})"
            ) from None
    return model


def _is_whole(model: Path) -> bool:
    """Whether a cached model is what was written: MNN would crash on a torn one."""
    try:
        return (
            model.with_suffix(".sha256").read_text()
            == hashlib.sha256(model.read_bytes()).hexdigest()
        )
    except (OSError, UnicodeDecodeError):
        return False


def _convert(onnx_model: bytes, model: Path) -> None:
    """Write MNN's form of an ONNX model; each file appears whole or not at all, whoever else does the same."""
    # Files of this name are of this call alone: whoever else does the same has others.
    unfinished = model.with_name(f".{model.stem}-{secrets.token_hex(4)}")
    onnx_file = unfinished.with_suffix(".onnx")
    mnn_file = unfinished.with_suffix(".mnn")
    try:
        onnx_file.write_bytes(onnx_model)
        options = [
            "-f",
            "ONNX",
            "--modelFile",
            onnx_file,
            "--MNNModel",
            mnn_file,
            "--bizCode",
            "freezeframe",
        ]
        command = [sys.executable, "-P", "-c", _CONVERT, *map(str, options)]
        done = subprocess.run(command, capture_output=True, text=True, process_group=OWN_GROUP)
        # On a full disk the converter writes half a model and says that all is well; the
        # interpreter refuses it.
        if done.returncode or not mnn_file.is_file():
            told = " ".join((done.stdout + done.stderr).split())[-200:]
            raise FreezeframeError(f"MNN's converter failed ({told}); take --engine keras")
        content = mnn_file.read_bytes()
        write_whole(model, content)
        write_whole(model.with_suffix(".sha256"), hashlib.sha256(content).hexdigest())
    finally:
        onnx_file.unlink(missing_ok=True)
        mnn_file.unlink(missing_ok=True)


def _onnx_model(
    backbone: Backbone, weights: Mapping[str, NDArray[np.float32]], layers: Sequence[str]
) -> bytes:
    """The truncated backbone as ONNX, from RGB pixels (1, 3, height, width), float32 from 0 to 255.

    Preprocessing is part of it: the means are subtracted, and the first kernel is turned from BGR
    to RGB.
    """
    from onnx import TensorProto, helper, numpy_helper

    means = np.array(CAFFE_MEANS, np.float32).reshape(1, 3, 1, 1)
    tensors = [numpy_helper.from_array(means, "means")]
    nodes = [helper.make_node("Sub", ["pixels", "means"], ["centred"])]
    below = "centred"
    for name in list(backbone.layers)[: list(backbone.layers).index(layers[-1]) + 1]:
        if name.endswith("_pool"):
            nodes.append(
                helper.make_node("MaxPool", [below], [name], kernel_shape=[2, 2], strides=[2, 2])
            )
        else:
            kernel = weights[f"{name}/kernel"][:, :, :: -1 if below == "centred" else 1]
            tensors.append(
                numpy_helper.from_array(
                    np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)), f"{name}/kernel"
                )
            )
            tensors.append(
                numpy_helper.from_array(
                    np.ascontiguousarray(weights[f"{name}/bias"]), f"{name}/bias"
                )
            )
            inputs = [below, f"{name}/kernel", f"{name}/bias"]
            nodes.append(
                helper.make_node(
                    "Conv", inputs, [f"{name}/linear"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]
                )
            )
            nodes.append(helper.make_node("Relu", [f"{name}/linear"], [name]))
        below = name
    pixels = helper.make_tensor_value_info(
        "pixels", TensorProto.FLOAT, [1, 3, *backbone.input_size]
    )
    outputs = []
    for name in layers:
        height, width, channels = backbone.layers[name]
        outputs.append(
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, height, width])
        )
    graph = helper.make_graph(nodes, backbone.name, [pixels], outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())


class MnnEngine:
    """A backbone in MNN's format, on one thread, one image at a time.

    Args:
        backbone: which network.
        model: from `mnn_model`, for the same layers.
        layers: whose features are wanted.
    """

    name = "mnn"
    batch_size = 1

    def __init__(self, backbone: Backbone, model: Path, layers: Sequence[str]) -> None:
        check_mnn()
        self.layers = backbone.check_layers(layers)
        self._shapes = {name: backbone.layers[name] for name in self.layers}
        self._input_size = backbone.input_size
        with silenced(1, 2):
            import MNN

            self._mnn = MNN
            self._network = MNN.Interpreter(str(model))
            options = {"numThread": 1, "precision": "high", "saveTensors": self.layers}
            self._session = self._network.createSession(options)
        self._input = self._network.getSessionInput(self._session)
        self._outputs = {
            name: self._network.getSessionOutput(self._session, name) for name in self.layers
        }

    def forward(self, images: Sequence[NDArray[np.uint8]]) -> dict[str, NDArray[np.float32]]:
        """Features of images, one after the other.

        Args:
            images: uint8 RGB arrays of the backbone's input size, (height, width, 3) each.

        Returns:
            For each layer float32 of shape (n_images, height, width, channels).
        """
        features = {
            name: np.empty((len(images), *shape), np.float32)
            for name, shape in self._shapes.items()
        }
        for number, image in enumerate(images):
            self._input.copyFrom(self._tensor(image.transpose(2, 0, 1)))
            self._network.runSession(self._session)
            for name, (height, width, channels) in self._shapes.items():
                channels_first = np.empty((channels, height, width), np.float32)
                told = self._tensor(channels_first)
                self._outputs[name].copyToHostTensor(told)
                features[name][number] = (
                    told.getNumpyData().reshape(channels, height, width).transpose(1, 2, 0)
                )
        return features

    def _tensor(self, array: NDArray[Any]) -> Any:
        """An array of shape (channels, height, width) as MNN's tensor of shape (1, channels, height, width)."""
        values = np.ascontiguousarray(array[np.newaxis], dtype=np.float32)
        kind = self._mnn.Tensor_DimensionType_Caffe
        return self._mnn.Tensor(values.shape, self._mnn.Halide_Type_Float, values, kind)
