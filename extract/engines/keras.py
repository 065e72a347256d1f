"""Running a backbone with Keras, on any of its backends."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
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
    """The Keras backend that will be used: `KERAS_BACKEND`, or else the first one installed, TensorFlow before others.

    Nothing is imported.

    Raises:
        ParameterError: `KERAS_BACKEND` names something else.
        MissingExtraError: Keras or a backend is not installed.
    """
    chosen = os.environ.get("KERAS_BACKEND") or next(
        (name for name in KERAS_BACKENDS if find_spec(name)), None
    )
    if chosen is not None and chosen not in KERAS_BACKENDS:
        raise ParameterError(
            f"KERAS_BACKEND must be one of {', '.join(KERAS_BACKENDS)}, got {chosen!r}"
        )
    if chosen is None or find_spec("keras") is None or find_spec(chosen) is None:
        library = f"Keras with {chosen}" if chosen else "Keras with a backend"
        raise MissingExtraError(library, "cpu", "running the backbone")
    return chosen


def import_keras() -> ModuleType:
    """Import Keras on the chosen backend.

    `KERAS_BACKEND` is left as it was: set, it would tell a later extraction that its user had asked
    for Keras.
    """
    asked = os.environ.get("KERAS_BACKEND")
    os.environ["KERAS_BACKEND"] = choose_keras_backend()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        with silenced(2):
            import keras
    finally:
        if asked is None:
            del os.environ["KERAS_BACKEND"]

    return keras  # type: ignore[no-any-return]


class KerasEngine:
    """A backbone cut off behind the deepest layer asked for, on any Keras backend.

    Every batch has one size: short ones are padded. So the features of an image do not depend on
    how many images there are (the low bits of a convolution depend on the batch size, not on the
    neighbours).

    Args:
        backbone: which network.
        weights: its convolution tensors by name.
        layers: whose features are wanted.
        batch_size: images in one forward pass.
        precision: in which it computes, one of `PRECISIONS`; features are float32 all the same.
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
        self.layers = backbone.check_layers(layers)
        self.batch_size = batch_size
        self._model = _build(backbone, weights, self.layers, batch_size, precision)

    def forward(self, images: Sequence[NDArray[np.uint8]]) -> dict[str, NDArray[np.float32]]:
        """Features of up to `batch_size` images.

        Args:
            images: uint8 RGB arrays of the backbone's input size, (height, width, 3) each.

        Returns:
            For each layer float32 of shape (n_images, height, width, channels).
        """
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
    keras = import_keras()
    height, width = backbone.input_size
    with _own_defaults(keras, precision):
        images = keras.Input((height, width, 3), batch_size=batch_size, dtype="uint8")
        # Preprocessing is part of the network: pixels go in, and nobody can forget it.
        pixels = keras.applications.vgg16.preprocess_input(keras.ops.cast(images, "float32"))
        prepared = keras.ops.cast(pixels, precision)
        network = keras.applications.VGG16(include_top=False, weights=None, input_tensor=prepared)
        outputs = {
            name: keras.ops.cast(network.get_layer(name).output, "float32") for name in layers
        }
        model = keras.Model(images, outputs)
    for layer in model.layers:
        if layer.weights:
            layer.set_weights([weights[f"{layer.name}/kernel"], weights[f"{layer.name}/bias"]])
    model.trainable = False
    # XLA was measured slower on CPUs than TensorFlow's own kernels, 6.1 against 7.1 images/s
    # (`scripts/benchmark.py`). JAX knows nothing else; what would compile PyTorch's graphs may not
    # be installed.
    backend = keras.backend.backend()
    model.compile(
        jit_compile=backend == "jax" or (backend == "tensorflow" and _tensorflow_sees_a_gpu())
    )
    return model


def make_deterministic() -> None:
    """Let training on a CPU come out the same, bit for bit, each time; on a GPU, where that is slow, as it is.

    TensorFlow's setting holds for the rest of the process, and forbids random numbers without a
    seed: it is for a process of our own. JAX needs none; of PyTorch it was not tried.
    """
    if import_keras().backend.backend() == "tensorflow" and not _tensorflow_sees_a_gpu():
        import tensorflow

        tensorflow.config.experimental.enable_op_determinism()


def _tensorflow_sees_a_gpu() -> bool:
    import tensorflow

    return bool(tensorflow.config.list_physical_devices("GPU"))


@contextlib.contextmanager
def _own_defaults(keras: ModuleType, precision: str) -> Iterator[None]:
    """Build with a precision and channels last, whatever the user's keras.json or program says; then put that back."""
    config = keras.config
    before = config.floatx(), config.image_data_format(), config.dtype_policy()
    config.set_floatx("float32")
    config.set_image_data_format("channels_last")
    config.set_dtype_policy(precision)
    try:
        yield
    finally:
        config.set_floatx(before[0])
        config.set_image_data_format(before[1])
        config.set_dtype_policy(before[2])
