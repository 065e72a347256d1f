"""The engine keras: a backbone on any backend of Keras."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import MissingExtraError, ParameterError
from ..backbones.table import Backbone
from .silence import silenced

if TYPE_CHECKING:
    from types import ModuleType

KERAS_BACKENDS = ("tensorflow", "jax", "torch")
PRECISIONS = ("float32", "bfloat16", "float16")


def choose_keras_backend() -> str:
    """Return the Keras backend to use: `KERAS_BACKEND`, or else the first that is installed.

    TensorFlow comes before the others. Nothing is imported.

    Raises:
        ParameterError: `KERAS_BACKEND` names something else.
        MissingExtraError: Keras or a backend is not installed.
    """
    backend = os.environ.get("KERAS_BACKEND")
    # An empty variable counts as not set, as in Keras.
    if not backend:
        backend = next((name for name in KERAS_BACKENDS if find_spec(name)), None)
    if backend is not None and backend not in KERAS_BACKENDS:
        raise ParameterError(
            f"KERAS_BACKEND must be one of {', '.join(KERAS_BACKENDS)}, got {backend!r}"
        )
    if backend is None or find_spec("keras") is None or find_spec(backend) is None:
        library = f"Keras with {backend}" if backend else "Keras with a backend"
        # The extras of JAX and PyTorch have the names of their backends.
        extra = backend if backend in ("jax", "torch") else "cpu"
        raise MissingExtraError(library, extra, "running the backbone")
    return backend


def import_keras() -> ModuleType:
    """Import Keras on the chosen backend.

    This is the only place that sets environment variables, and only for the first import: Keras
    reads its backend from nowhere else. `KERAS_BACKEND` is restored afterwards: a later extraction
    would read it as the user's wish to run Keras.
    """
    backend = choose_keras_backend()
    if "keras" not in sys.modules:
        with _import_environment(KERAS_BACKEND=backend), silenced(2):
            import_module("keras")
    import keras

    return keras  # type: ignore[no-any-return]


@contextlib.contextmanager
def _import_environment(**variables: str) -> Iterator[None]:
    """Set environment variables while the block runs; then restore them.

    TensorFlow's level of messages stays set, because TensorFlow reads it again after the import.
    """
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class KerasEngine:
    """A backbone that ends at its deepest requested layer, on any Keras backend.

    All batches have one size; short ones are padded. The reason: the low bits of a convolution
    depend on the batch size, but not on the other images. So the features of an image do not
    depend on the number of images.

    Args:
        backbone: the network.
        weights: its convolution tensors by name.
        layers: layers to return, sorted by `Backbone.sort_layers`.
        batch_size: images in one forward pass.
        precision: precision of the computation, one of `PRECISIONS`; the result is always float32.
    """

    name = "keras"

    def __init__(
        self,
        backbone: Backbone,
        weights: Mapping[str, NDArray[np.float32]],
        layers: Sequence[str],
        batch_size: int,
        precision: str = "float32",
    ) -> None:
        self.layers = tuple(layers)
        self.batch_size = batch_size
        self.input_size = backbone.input_size
        self._model = _build(backbone, weights, self.layers, batch_size, precision)

    def forward(self, images: Sequence[NDArray[np.uint8]]) -> dict[str, NDArray[np.float32]]:
        """Compute the features of up to `batch_size` images.

        Args:
            images: uint8 RGB arrays of the backbone's input size, (height, width, 3) each.

        Returns:
            For each layer float32 of shape (n_images, height, width, channels).
        """
        # Short batches are padded with black images.
        batch = np.zeros((self.batch_size, *images[0].shape), np.uint8)
        batch[: len(images)] = images
        outputs = self._model.predict_on_batch(batch)
        return {name: np.asarray(outputs[name])[: len(images)] for name in self.layers}


def _build(
    backbone: Backbone,
    weights: Mapping[str, NDArray[np.float32]],
    layers: Sequence[str],
    batch_size: int,
    precision: str,
) -> Any:
    """Build the Keras model from uint8 pixels to the layers' features."""
    keras = import_keras()
    applications = keras.applications
    height, width = backbone.input_size
    with _own_defaults(keras, precision):
        images = keras.Input((height, width, 3), batch_size=batch_size, dtype="uint8")
        # Preprocessing is part of the network, so no caller can forget it.
        pixels = applications.imagenet_utils.preprocess_input(
            keras.ops.cast(images, "float32"), mode=backbone.preprocessing
        )
        prepared = keras.ops.cast(pixels, precision)
        build_network = getattr(applications, backbone.title)
        network = build_network(include_top=False, weights=None, input_tensor=prepared)
        outputs = {
            name: keras.ops.cast(network.get_layer(name).output, "float32") for name in layers
        }
        model = keras.Model(images, outputs)
    for layer in model.layers:
        # Poolings and the input have no weights.
        if layer.weights:
            layer.set_weights([weights[f"{layer.name}/kernel"], weights[f"{layer.name}/bias"]])
    model.trainable = False
    model.compile(jit_compile=_compiles(keras.backend.backend()))
    return model


def _compiles(backend: str) -> bool:
    """Return True if XLA must compile the model.

    On CPUs XLA is slower than TensorFlow's own kernels: 6.1 against 7.1 images/s
    (`scripts/benchmarks/benchmark.py`). JAX has only XLA. PyTorch's compiler may not be installed.
    """
    return backend == "jax" or (backend == "tensorflow" and _tensorflow_sees_a_gpu())


def make_deterministic() -> None:
    """Make CPU training bit-for-bit reproducible; training on a GPU would become slow.

    TensorFlow's setting holds for the rest of the process, and forbids random numbers without a
    seed, so only a command may call this function. JAX needs no setting; PyTorch was not tried.
    """
    # JAX computes reproducibly on a CPU by itself.
    if import_keras().backend.backend() == "tensorflow" and not _tensorflow_sees_a_gpu():
        import tensorflow

        tensorflow.config.experimental.enable_op_determinism()


def _tensorflow_sees_a_gpu() -> bool:
    import tensorflow

    return bool(tensorflow.config.list_physical_devices("GPU"))


@contextlib.contextmanager
def _own_defaults(keras: ModuleType, precision: str) -> Iterator[None]:
    """Set a precision and channels last while the block runs; then restore the user's defaults."""
    config = keras.config
    floatx = config.floatx()
    data_format = config.image_data_format()
    policy = config.dtype_policy()
    # The user's keras.json, or the program that calls this package, may have set other defaults.
    config.set_floatx("float32")
    config.set_image_data_format("channels_last")
    config.set_dtype_policy(precision)
    try:
        yield
    finally:
        config.set_floatx(floatx)
        config.set_image_data_format(data_format)
        config.set_dtype_policy(policy)
