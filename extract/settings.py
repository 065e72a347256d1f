"""Settings of an extraction: backbone, layers, weights, engine and types, with their checks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..data.formats.images import RESIZE_METHODS
from ..errors import ParameterError
from ..features.layout import LAYER_DTYPES
from .backbones.table import Backbone, find_backbone
from .engines.devices import fitting_batch_size, usable_gpu_megabytes
from .engines.keras import PRECISIONS, choose_keras_backend
from .engines.mnn import MnnEngine, check_mnn, mnn_installed
from .engines.pixels import PixelEngine

ENGINES = ("auto", "keras", "mnn", "none")
MAX_BATCH_SIZE = 1024

_CHOICES = {
    "resize": RESIZE_METHODS,
    "dtype": LAYER_DTYPES,
    "engine": ENGINES,
    "precision": PRECISIONS,
}
"""Possible values of the settings that have a fixed list of values."""


@dataclass(frozen=True)
class Settings:
    """The settings of an extraction.

    Attributes:
        layers: names of the layers whose features are kept.
        backbone: a name that `find_backbone` accepts; `pixels-N` has no weights, and only the
            engine "none".
        weights: "imagenet", "random", or the path of a file.
        seed: seed of random weights.
        resize: resizing of images to the input size; one of `RESIZE_METHODS`.
        dtype: type that features are stored in, "float32" or "float16".
        engine: "keras", "mnn", "none" or "auto". "auto" takes "none" for `pixels-N`; "mnn" where it
            is installed and no NVIDIA GPU is seen; else "keras".
        precision: precision that Keras computes in: "float32", "bfloat16" or "float16".
        batch_size: images in one forward pass of Keras; None takes the batch size of the store that
            is continued, or else one that fits the memory.

    Raises:
        ParameterError: a value is impossible; the message lists the possible ones.
    """

    layers: tuple[str, ...] = ("block5_pool",)
    backbone: str = "vgg16"
    weights: str = "imagenet"
    seed: int = 0
    resize: str = "bilinear"
    dtype: str = "float32"
    engine: str = "auto"
    precision: str = "float32"
    batch_size: int | None = None

    def __post_init__(self) -> None:
        # An unknown backbone fails first, since other values depend on it.
        network = self.network
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise ParameterError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
        self._check_numbers()
        self._check_engine()
        self._check_computing(computes=bool(network.tensors))
        network.sort_layers(self.layers)

    def _check_numbers(self) -> None:
        """Check the number of layers, the batch size and the seed."""
        size = self.batch_size
        # `isinstance` would accept True, which is an int in Python.
        if size is not None and (type(size) is not int or not 1 <= size <= MAX_BATCH_SIZE):
            raise ParameterError(f"batch_size must lie between 1 and {MAX_BATCH_SIZE}, got {size}")
        if not self.layers:
            raise ParameterError("at least one layer is needed; pass --layer")
        if type(self.seed) is not int or not 0 <= self.seed < 2**32:
            raise ParameterError(f"seed must lie between 0 and {2**32 - 1}, got {self.seed!r}")

    def _check_engine(self) -> None:
        """Check that the engine mnn gets no setting of Keras."""
        if self.engine != "mnn":
            return
        if self.precision != "float32":
            raise ParameterError(
                f"precision {self.precision} is for the engine keras; mnn computes in float32"
            )
        if self.batch_size not in (None, MnnEngine.batch_size):
            raise ParameterError(
                f"batch_size {self.batch_size} is for the engine keras; "
                "mnn computes one image at a time"
            )

    def _check_computing(self, *, computes: bool) -> None:
        """Check that a network has an engine, and that `pixels-N` has none."""
        if computes and self.engine == "none":
            raise ParameterError(
                f"engine none is for pixels-N; {self.backbone} needs the engine keras or mnn"
            )
        if computes:
            return
        possible: dict[str, tuple[Any, ...]] = {
            "engine": ("auto", "none"),
            "precision": ("float32",),
            "batch_size": (None, PixelEngine.batch_size),
        }
        for name, choices in possible.items():
            value = getattr(self, name)
            if value not in choices:
                raise ParameterError(
                    f"{name} {value} is for networks; {self.backbone} computes nothing"
                )

    @property
    def network(self) -> Backbone:
        """The backbone's row in the table."""
        return find_backbone(self.backbone)

    @property
    def sorted_layers(self) -> tuple[str, ...]:
        """The layers, from the network's first to its last."""
        return self.network.sort_layers(self.layers)

    @property
    def backend(self) -> str:
        """Name of the Keras backend; "cpu" for the engines mnn and none."""
        return "cpu" if self.engine in ("mnn", "none") else choose_keras_backend()

    def resolved(self, provenance: Mapping[str, Any] | None = None) -> Settings:
        """Return the settings with the engine and batch size for this machine.

        Args:
            provenance: provenance of the store that is continued; None for a new store. It gives
                the engine for "auto" and the batch size for None.

        Raises:
            MissingExtraError: the engine is not installed.
        """
        # `pixels-N` has no weights. Fixed values give equal stores an equal provenance.
        if not self.network.tensors:
            return replace(
                self, engine="none", batch_size=PixelEngine.batch_size, weights="none", seed=0
            )
        provenance = provenance or {}
        engine = self.engine
        if engine == "auto":
            engine, _ = self.choose_engine(provenance.get("engine"))
        if engine == "mnn":
            check_mnn()
            return replace(self, engine=engine, batch_size=MnnEngine.batch_size)
        choose_keras_backend()
        size = self.batch_size
        # A store that is continued keeps its batch size, which decides the low bits.
        if not size and provenance.get("engine") == engine:
            size = provenance.get("batch_size")
        size = size or fitting_batch_size(usable_gpu_megabytes())
        return replace(self, engine=engine, batch_size=size)

    def choose_engine(self, existing: str | None = None) -> tuple[str, str]:
        """Choose the engine of "auto": that of the existing store, or else the fastest here.

        Args:
            existing: engine of the store that is continued.

        Returns:
            The engine, and the reason for it as a clause.
        """
        if existing in ("keras", "mnn"):
            return existing, "the store was made with it"
        # Only Keras has a backend, a batch size and a precision, so setting one asks for Keras.
        reasons = {
            "KERAS_BACKEND is set": os.environ.get("KERAS_BACKEND"),
            "a batch size is set": self.batch_size,
            f"the precision is {self.precision}": self.precision != "float32",
        }
        for reason, holds in reasons.items():
            if holds:
                return "keras", reason
        if usable_gpu_megabytes():
            return "keras", "an NVIDIA GPU is seen"
        if not mnn_installed():
            return "keras", "MNN or ONNX is not installed"
        return "mnn", "it is installed, and Keras has no NVIDIA GPU to use"
