"""The engine mnn, the fast one on a CPU: one image at a time, on one thread.

MNN (https://github.com/alibaba/MNN) has fast Winograd convolutions, and a model format of its own.
The backbone is written as ONNX from the table of its layers, converted by MNN's converter, and
kept in the user's cache folder.

MNN's low bits depend on the batch size and on the place in the batch, so the engine passes one
image at a time. `workers` runs one process for each core. MNN's Python binding (3.6.1) releases the
interpreter lock during a forward pass, so that other threads work meanwhile.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.output.cache_folder import cache_place
from ...data.output.files import remove_leftovers, temporary_file, whole_file, write_whole
from ...data.output.piped_process import OWN_GROUP
from ...errors import FreezeframeError, MissingExtraError
from ..backbones.table import CAFFE_MEANS, Backbone
from ..backbones.weights import weights_digest
from .silence import silenced

GRAPH_VERSION = 1
"""Version of the graph that `onnx_model` writes. Increase it when the graph changes.

Models of another version in the cache are not used.
"""

# MNN's own command, MNN.tools.mnnconvert, is not used: on import it installs a logging library with
# pip, and then it reports each conversion to its maker. The compiled converter that it calls does
# neither.
_CONVERT = """
import sys, MNN, _tools
_tools.mnnconvert(sys.argv)
MNN.Interpreter(sys.argv[sys.argv.index("--MNNModel") + 1])
"""


def mnn_installed() -> bool:
    """Return True if the engine can run here; nothing is imported."""
    return all(find_spec(module) is not None for module in ("MNN", "_tools", "onnx"))


def check_mnn() -> None:
    """Raise `MissingExtraError` if MNN or ONNX is not installed."""
    if not mnn_installed():
        raise MissingExtraError("MNN and ONNX", "cpu", "the engine mnn")


def mnn_model(
    backbone: Backbone, weights: Mapping[str, NDArray[np.float32]], layers: Sequence[str]
) -> Path:
    """Return the file of the backbone in MNN's format; convert it on first use.

    The model ends at the deepest of the layers. Its file is found in the cache by the digest of the
    weights, the layers and the versions. A file that holds other weights is converted again.

    Args:
        backbone: the network.
        weights: its convolution tensors by name.
        layers: layers that the model puts out, sorted by `Backbone.sort_layers`.

    Raises:
        MissingExtraError: MNN or ONNX is not installed.
        FreezeframeError: the cache cannot be written, or the converter failed.
    """
    check_mnn()
    parts = [
        backbone.name,
        weights_digest(weights),
        layers,
        metadata.version("MNN"),
        metadata.version("onnx"),
        GRAPH_VERSION,
    ]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:20]
    model = cache_place(f"mnn/{backbone.name}-{key}.mnn")
    # A killed conversion leaves up to 115 MB, perhaps of a model that is never converted again.
    remove_leftovers(model.parent)
    tensors = onnx_tensors(backbone, weights, layers)
    if not _is_intact(model, tensors.values()):
        try:
            model.parent.mkdir(parents=True, exist_ok=True)
            _convert(onnx_model(backbone, tensors, layers), model)
        except OSError as error:
            raise FreezeframeError(
                f"{model}: cannot be written ({error.strerror or error})"
            ) from None
    return model


def _is_intact(model: Path, tensors: Iterable[NDArray[np.float32]]) -> bool:
    """Return True if a cached model matches its checksum, and holds exactly these weights."""
    try:
        recorded = model.with_suffix(".sha256").read_text()
        content = model.read_bytes()
    except (OSError, UnicodeDecodeError):
        return False
    # MNN crashes on a truncated file.
    if recorded != hashlib.sha256(content).hexdigest():
        return False
    # A swapped model has a right checksum, too. MNN's converter keeps each tensor byte by byte.
    place = 0
    # The converter writes the last layer first, so each search begins where the one before ended.
    for tensor in reversed(list(tensors)):
        place = _find(content, tensor, place)
        if place < 0:
            return False
    return True


def _find(content: bytes, tensor: NDArray[np.float32], begin: int) -> int:
    """Return the end of a tensor's bytes in a file, searched first from `begin`; -1 if missing."""
    values = tensor.data.cast("B")
    # Searching the first bytes is faster than searching all of them.
    head = bytes(values[:256])
    for start in (begin, 0):
        place = content.find(head, start)
        while place >= 0:
            end = place + len(values)
            if content[place:end] == values:
                return end
            place = content.find(head, place + 1)
    return -1


def _convert(onnx_bytes: bytes, model: Path) -> None:
    """Convert an ONNX model to MNN's format; each file appears whole or not at all."""
    with temporary_file(model.with_suffix(".onnx")) as onnx_file, whole_file(model) as mnn_file:
        onnx_file.write_bytes(onnx_bytes)
        _run_converter(onnx_file, mnn_file)
        content = mnn_file.read_bytes()
    write_whole(model.with_suffix(".sha256"), hashlib.sha256(content).hexdigest())


def _run_converter(onnx_file: Path, mnn_file: Path) -> None:
    """Run MNN's converter in a process of its own, since it prints and may crash."""
    options = {"-f": "ONNX", "--modelFile": onnx_file, "--MNNModel": mnn_file}
    command = [sys.executable, "-P", "-c", _CONVERT]
    for name, value in options.items():
        command += [name, str(value)]
    command += ["--bizCode", "freezeframe"]
    process = subprocess.run(command, capture_output=True, text=True, process_group=OWN_GROUP)
    # On a full disk the converter writes half a model and reports success; the interpreter, which
    # the same process starts, refuses it.
    if process.returncode or not mnn_file.stat().st_size:
        output = " ".join((process.stdout + process.stderr).split())[-200:]
        raise FreezeframeError(f"MNN's converter failed ({output}); take --engine keras")


def onnx_tensors(
    backbone: Backbone, weights: Mapping[str, NDArray[np.float32]], layers: Sequence[str]
) -> dict[str, NDArray[np.float32]]:
    """Return the weights that the ONNX model holds, by name.

    Args:
        backbone: the network.
        weights: its convolution tensors by name.
        layers: layers that the model puts out, sorted.

    Returns:
        Kernels of shape (out, in, height, width), the first one of RGB; biases of shape (out,).
    """
    tensors = {}
    names = list(backbone.layers)
    for name in names[: names.index(layers[-1]) + 1]:
        if name.endswith("_pool"):
            continue
        kernel = weights[f"{name}/kernel"]
        # The means are in RGB order; the network itself was trained on BGR.
        if name == names[0]:
            kernel = kernel[:, :, ::-1]
        # Keras's kernel is (height, width, in, out), ONNX's (out, in, height, width).
        tensors[f"{name}/kernel"] = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
        tensors[f"{name}/bias"] = np.ascontiguousarray(weights[f"{name}/bias"])
    return tensors


def onnx_model(
    backbone: Backbone, tensors: Mapping[str, NDArray[np.float32]], layers: Sequence[str]
) -> bytes:
    """Return the backbone as ONNX, up to the deepest of the layers.

    Preprocessing is part of it: the means are subtracted, and the input is RGB.

    Args:
        backbone: a network whose preprocessing is "caffe", a chain of convolutions and poolings.
        tensors: its weights, from `onnx_tensors` for the same layers.
        layers: layers that the model puts out, sorted.

    Returns:
        A model whose input is "pixels": RGB, (1, 3, height, width), float32 from 0 to 255.
    """
    from onnx import TensorProto, helper, numpy_helper

    means = np.array(CAFFE_MEANS, np.float32).reshape(1, 3, 1, 1)
    initializers = [numpy_helper.from_array(means, "means")]
    initializers += [numpy_helper.from_array(array, name) for name, array in tensors.items()]
    nodes = [helper.make_node("Sub", ["pixels", "means"], ["centred"])]
    below = "centred"
    names = list(backbone.layers)
    for name in names[: names.index(layers[-1]) + 1]:
        make_nodes = _pooling_nodes if name.endswith("_pool") else _convolution_nodes
        nodes += make_nodes(below, name)
        below = name
    size = backbone.input_size
    inputs = [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, 3, *size])]
    outputs = []
    for name in layers:
        height, width, channels = backbone.layers[name]
        shape = [1, channels, height, width]
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    graph = helper.make_graph(nodes, backbone.name, inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())


def _pooling_nodes(below: str, name: str) -> list[Any]:
    """Return the ONNX node of a 2 x 2 maximum pooling."""
    from onnx import helper

    return [helper.make_node("MaxPool", [below], [name], kernel_shape=[2, 2], strides=[2, 2])]


def _convolution_nodes(below: str, name: str) -> list[Any]:
    """Return the ONNX nodes of a 3 x 3 convolution and its ReLU."""
    from onnx import helper

    inputs = [below, f"{name}/kernel", f"{name}/bias"]
    linear = f"{name}/linear"
    return [
        helper.make_node("Conv", inputs, [linear], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", [linear], [name]),
    ]


class MnnEngine:
    """A backbone in MNN's format, on one thread, one image at a time.

    Args:
        backbone: the network.
        model: its file, from `mnn_model` for the same layers.
        layers: layers to return, sorted by `Backbone.sort_layers`.
    """

    name = "mnn"
    batch_size = 1

    def __init__(self, backbone: Backbone, model: Path, layers: Sequence[str]) -> None:
        check_mnn()
        self.layers = tuple(layers)
        self.input_size = backbone.input_size
        self._shapes = {name: backbone.layers[name] for name in self.layers}
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
        """Compute the features of images, one after the other.

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
            for name in self.layers:
                self._copy_output(name, features[name][number])
        return features

    def _copy_output(self, layer: str, features: NDArray[np.float32]) -> None:
        """Copy a layer's features of the last image into an array (height, width, channels)."""
        height, width, channels = self._shapes[layer]
        channels_first = np.empty((channels, height, width), np.float32)
        # MNN may share the memory of both, so both stay referenced until the values are copied.
        tensor = self._tensor(channels_first)
        self._outputs[layer].copyToHostTensor(tensor)
        values = tensor.getNumpyData().reshape(channels, height, width)
        features[...] = values.transpose(1, 2, 0)

    def _tensor(self, array: NDArray[Any]) -> Any:
        """Convert an array (channels, height, width) to MNN's (1, channels, height, width)."""
        values = np.ascontiguousarray(array[np.newaxis], dtype=np.float32)
        kind = self._mnn.Tensor_DimensionType_Caffe
        return self._mnn.Tensor(values.shape, self._mnn.Halide_Type_Float, values, kind)
