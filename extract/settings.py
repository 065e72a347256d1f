"""What is asked of an extraction, and what of it decides the numbers."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib import metadata
from typing import Any

from ..data.formats.images import RESIZE_METHODS
from ..data.version import VERSION
from ..errors import ParameterError
from ..features.layout import LAYER_DTYPES
from .backbones.table import find_backbone
from .backbones.weights import random_weights, weights_digest
from .engines.keras import PRECISIONS, choose_keras_backend
from .engines.mnn import MnnEngine, check_mnn, mnn_installed
from .engines.pixels import PixelEngine

ENGINES = ("auto", "keras", "mnn", "none")
CPU_BATCH_SIZE = 8
"""Of Keras on 2 cores, VGG16 to block5_pool: 13.1 images/s with 1, 15.0 with 4, 15.2 with 8, 15.1 with 16."""
MAX_GPU_BATCH_SIZE = 64
MEGABYTES_AN_IMAGE = 200
"""Of GPU memory, generously: VGG16's largest layers are 13 MB an image, and convolutions want room to work."""
MAX_BATCH_SIZE = 1024


@dataclass(frozen=True)
class Settings:
    """What is asked of an extraction.

    Attributes:
        layers: names of the layers whose features are kept.
        backbone: a name that `find_backbone` knows; `pixels-N` has no weights, and only the engine
            "none".
        weights: "imagenet", "random", or the path of a file.
        seed: of random weights.
        resize: how images are brought to the input size; one of `RESIZE_METHODS`.
        dtype: of the stored features, "float32" or "float16".
        engine: "keras"; "mnn"; "none"; "auto" takes none for `pixels-N`, mnn where it is installed
            and no NVIDIA GPU is seen, else keras.
        precision: in which keras computes: "float32", "bfloat16" or "float16".
        batch_size: images in one forward pass of keras; None: as in the store gone on with, or what
            suits the memory.

    Raises:
        ParameterError: a value is impossible; the text lists those that are possible.
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
        backbone = find_backbone(self.backbone)
        choices = {"resize": RESIZE_METHODS, "dtype": LAYER_DTYPES}
        for name, known in (choices | {"engine": ENGINES, "precision": PRECISIONS}).items():
            if getattr(self, name) not in known:
                raise ParameterError(
                    f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}"
                )
        size = self.batch_size
        if size is not None and (type(size) is not int or not 1 <= size <= MAX_BATCH_SIZE):
            raise ParameterError(f"batch_size must lie between 1 and {MAX_BATCH_SIZE}, got {size}")
        if not self.layers:
            raise ParameterError("at least one layer must be asked for")
        if type(self.seed) is not int or not 0 <= self.seed < 2**32:
            raise ParameterError(f"seed must lie between 0 and {2**32 - 1}, got {self.seed!r}")
        if self.engine == "mnn" and self.precision != "float32":
            raise ParameterError(
                f"precision {self.precision} is for the engine keras; mnn computes in float32"
            )
        if self.engine == "mnn" and size not in (None, MnnEngine.batch_size):
            raise ParameterError(
                f"batch_size {size} is for the engine keras; mnn computes one image at a time"
            )
        self._check_computing(computes=bool(backbone.tensors))
        backbone.check_layers(self.layers)

    def _check_computing(self, *, computes: bool) -> None:
        """A network wants an engine, and a backbone that computes nothing wants none."""
        if computes and self.engine == "none":
            raise ParameterError(f"engine none is for pixels-N; {self.backbone} has to be computed")
        if computes:
            return
        given = {"engine": self.engine, "precision": self.precision, "batch_size": self.batch_size}
        possible = {
            "engine": ("auto", "none"),
            "precision": ("float32",),
            "batch_size": (None, PixelEngine.batch_size),
        }
        for name, value in given.items():
            if value not in possible[name]:
                raise ParameterError(
                    f"{name} {value} is for networks; {self.backbone} computes nothing"
                )

    def resolved(self, made: Mapping[str, Any] | None = None) -> Settings:
        """With the engine and batch size that will be used here.

        Args:
            made: provenance of the store that is gone on with, if there is one; what is left open
                is taken from it.

        Raises:
            MissingExtraError: the engine is not installed.
        """
        if not find_backbone(self.backbone).tensors:
            return replace(
                self, engine="none", batch_size=PixelEngine.batch_size, weights="none", seed=0
            )
        made = made or {}
        engine = self.engine
        if engine == "auto" and made.get("engine") in ("keras", "mnn"):
            engine = made["engine"]
        elif engine == "auto":
            # Who asks for a backend, a batch size or a precision means Keras.
            keras = (
                os.environ.get("KERAS_BACKEND")
                or self.batch_size
                or self.precision != "float32"
                or _usable_gpu()
            )
            engine = "mnn" if mnn_installed() and not keras else "keras"
        if engine == "mnn":
            check_mnn()
            return replace(self, engine=engine, batch_size=MnnEngine.batch_size)
        choose_keras_backend()
        alike = made.get("engine") == engine
        size = (
            self.batch_size or (made.get("batch_size") if alike else None) or _fitting_batch_size()
        )
        return replace(self, engine=engine, batch_size=size)

    @property
    def backend(self) -> str:
        """What computes: a Keras backend, or "cpu" for mnn and none."""
        return "cpu" if self.engine in ("mnn", "none") else choose_keras_backend()


def gpu_megabytes() -> int:
    """Memory of the first NVIDIA GPU that this process may use, in MB; 0 if there is none. Loads no library."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1") or not shutil.which("nvidia-smi"):
        return 0
    query = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    with suppress(OSError, ValueError, IndexError, subprocess.SubprocessError):
        return int(
            subprocess.run(
                query, capture_output=True, text=True, timeout=10, check=True
            ).stdout.split()[0]
        )
    return 0


def _usable_gpu() -> int:
    """Memory of the GPU that Keras would use, in MB; 0 if there is none, or if TensorFlow is here in its CPU build."""
    installed = {name for name in ("tensorflow", "tensorflow-cpu") if _version(name)}
    for_cpus = choose_keras_backend() == "tensorflow" and installed == {"tensorflow-cpu"}
    return 0 if for_cpus else gpu_megabytes()


def _version(package: str) -> str:
    """A package's version; "" if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _fitting_batch_size() -> int:
    """On a GPU the largest power of two that its memory has room for, from 8 to 64."""
    fitting = _usable_gpu() // MEGABYTES_AN_IMAGE
    return max(CPU_BATCH_SIZE, min(MAX_GPU_BATCH_SIZE, 1 << max(0, fitting.bit_length() - 1)))


def deciding_fields(settings: Settings) -> dict[str, Any]:
    """Provenance that decides the numbers (see `freezeframe.features.layout.DECIDING_FIELDS`), of resolved settings."""
    backbone = find_backbone(settings.backbone)
    random = settings.weights == "random"
    return {
        "backbone": backbone.name,
        "weights_digest": _random_digest(settings.seed) if random else backbone.digest,
        "preprocessing": backbone.preprocessing,
        "resize": settings.resize,
        "input_height": backbone.input_size[0],
        "input_width": backbone.input_size[1],
        "dtype": settings.dtype,
        "engine": settings.engine,
        "backend": settings.backend,
        "precision": settings.precision,
        "batch_size": settings.batch_size,
    }


@cache
def _random_digest(seed: int) -> str:
    return weights_digest(random_weights(seed))


def versions(settings: Settings) -> dict[str, str]:
    """Versions of what computes the numbers."""
    found = {"version_freezeframe": VERSION}
    backend = settings.backend
    libraries = {"pillow": ["pillow"]}
    if settings.engine == "mnn":
        libraries |= {"mnn": ["MNN"]}
    elif settings.engine != "none":
        libraries |= {
            "keras": ["keras"],
            backend: [backend, f"{backend}-cpu"],
        }  # TensorFlow for CPUs has another name
    for library, packages in libraries.items():
        for package in packages:
            if version := _version(package):
                found[f"version_{library}"] = version
    return found
