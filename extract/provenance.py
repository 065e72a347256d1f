"""Provenance: the fields that decide the numbers, and the versions of the libraries."""

from __future__ import annotations

from functools import cache
from typing import Any

from ..data.output.version import VERSION
from .backbones.table import find_backbone
from .backbones.weights import random_weights, weights_digest
from .engines.packages import package_version
from .settings import Settings


def deciding_fields(settings: Settings) -> dict[str, Any]:
    """Return the provenance fields that decide the numbers; see `DECIDING_FIELDS`.

    Args:
        settings: resolved settings.
    """
    backbone = settings.network
    digest = backbone.digest
    if settings.weights == "random":
        digest = _random_digest(backbone.name, settings.seed)
    return {
        "backbone": backbone.name,
        "weights_digest": digest,
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


# Drawing VGG16's weights takes longer than all other checks of a finished store.
@cache
def _random_digest(backbone: str, seed: int) -> str:
    """Return the digest of random weights."""
    network = find_backbone(backbone)
    return weights_digest(random_weights(seed, network))


def versions(settings: Settings) -> dict[str, str]:
    """Return the versions of the libraries that compute the numbers, by provenance field.

    Args:
        settings: resolved settings.
    """
    fields = {"version_freezeframe": VERSION}
    # Pillow decodes and resizes, so its version can change the pixels.
    libraries = {"pillow": ["pillow"]}
    if settings.engine == "mnn":
        libraries["mnn"] = ["MNN"]
    elif settings.engine != "none":
        backend = settings.backend
        libraries["keras"] = ["keras"]
        # TensorFlow's CPU build is a package of another name.
        libraries[backend] = [backend, f"{backend}-cpu"]
    for library, packages in libraries.items():
        for package in packages:
            if version := package_version(package):
                fields[f"version_{library}"] = version
    return fields
