"""Extraction: from a manifest to a finished feature store, begun or gone on with."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from .. import ParameterError, StoreError, __version__, printable
from ..data.images import RESIZE_METHODS
from ..data.manifest import Manifest
from ..features.layout import FAILED, IDENTITY, LAYER_DTYPES
from ..features.store import FeatureStore
from ..features.writer import StoreWriter, create_store, store_lock
from .backbone import BACKBONES
from .keras_engine import KerasEngine, choose_keras_backend
from .pipeline import Source, run
from .weights import load_weights, random_weights, weights_digest

BATCH_SIZE = 8
"""Measured on 2 cores, VGG16 to block5_pool: 13.1 images/s with 1, 15.0 with 4, 15.2 with 8, 15.1 with 16."""
MAX_BATCH_SIZE = 1024

Progress = Callable[[int, int], None]
"""Called with the rows finished so far in this run and the rows to finish."""


@dataclass(frozen=True)
class Settings:
    """What is asked of an extraction.

    Attributes:
        layers: names of the layers whose features are kept.
        backbone: a name in `BACKBONES`.
        weights: "imagenet", "random", or the path of a file.
        seed: of random weights.
        resize: how images are brought to the input size; one of `RESIZE_METHODS`.
        dtype: of the stored features, "float32" or "float16".
        batch_size: images in one forward pass.

    Raises:
        ParameterError: a value is impossible; the text lists those that are possible.
    """

    layers: tuple[str, ...] = ("block5_pool",)
    backbone: str = "vgg16"
    weights: str = "imagenet"
    seed: int = 0
    resize: str = "bilinear"
    dtype: str = "float32"
    batch_size: int = BATCH_SIZE

    def __post_init__(self) -> None:
        for name, known in (("backbone", BACKBONES), ("resize", RESIZE_METHODS), ("dtype", LAYER_DTYPES)):
            if getattr(self, name) not in known:
                raise ParameterError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")
        if type(self.batch_size) is not int or not 1 <= self.batch_size <= MAX_BATCH_SIZE:
            raise ParameterError(f"batch_size must lie between 1 and {MAX_BATCH_SIZE}, got {self.batch_size}")
        if not self.layers:
            raise ParameterError("at least one layer must be asked for")
        if type(self.seed) is not int or not 0 <= self.seed < 2**32:
            raise ParameterError(f"seed must lie between 0 and {2**32 - 1}, got {self.seed!r}")
        BACKBONES[self.backbone].check_layers(self.layers)


@dataclass(frozen=True)
class Extraction:
    """What an extraction did.

    Attributes:
        store: the finished store.
        computed: rows computed in this run; the others were finished before.
        failed: (path, reason) of every image that could not be read.
        seconds: from the first image to the last, loading the backbone not included.
    """

    store: FeatureStore
    computed: int
    failed: list[tuple[str, str]]
    seconds: float


def extract_features(
    manifest: Manifest,
    output: str | os.PathLike[str],
    settings: Settings | None = None,
    *,
    overwrite: bool = False,
    command: str = "",
    progress: Progress | None = None,
) -> Extraction:
    """Compute the features of all images that are not finished in the store `output`, which is made if missing.

    Rows finished by an earlier run, stopped in whatever way, are never computed again. A finished store is recognised
    without loading the backbone.

    Args:
        manifest: the images.
        output: the store.
        settings: what to compute; by default block5_pool of VGG16 with ImageNet weights.
        overwrite: start anew, replacing what is there.
        command: kept in the store's provenance.
        progress: told after every batch.

    Raises:
        StoreError: the store holds other images or has another provenance (the text names the field), is in use,
            cannot be written, or is not complete because files could not be read this time.
        WeightsError: the weights are missing or not the pinned ones.
        MissingExtraError: Keras is not installed.

    Examples:
        >>> from freezeframe.data.manifest import read_manifest
        >>> extract_features(read_manifest("brain-mri"), "features.h5").store  # doctest: +SKIP
        FeatureStore('features.h5': 253 done, 0 failed, 0 pending; block5_pool (7, 7, 512))
    """
    output, settings = Path(output), settings or Settings()
    backbone = BACKBONES[settings.backbone]
    versions = _versions()
    with store_lock(output):
        weights = None
        if overwrite and output.exists():
            FeatureStore(output)  # raises if it is not a store: what is not ours is not overwritten
        if overwrite or not output.exists():
            weights, source = load_weights(settings.weights, settings.seed)
            story = {
                "weights_source": source,
                "weights_seed": settings.seed,
                "source": printable(str(manifest.source.resolve())),
                "command": command,
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
            }
            rows = {name: [getattr(image, name) for image in manifest.images] for name in IDENTITY}
            layers = {name: backbone.layers[name] for name in backbone.check_layers(settings.layers)}
            create_store(output, rows, layers, deciding_fields(settings) | versions | story)
        store = FeatureStore(output)
        _check_same(store, manifest, settings, versions)
        computed, seconds = 0, 0.0
        if not store.complete:
            if weights is None:
                weights, _ = load_weights(settings.weights, settings.seed)
            engine = KerasEngine(backbone, weights, tuple(store.layers), settings.batch_size)
            start = time.perf_counter()
            computed = _fill(output, engine, manifest, settings, progress)
            seconds = time.perf_counter() - start
            store = FeatureStore(output)
    failed = [(str(store.paths[row]), str(store.reasons[row])) for row in (store.status == FAILED).nonzero()[0]]
    return Extraction(store, computed, failed, seconds)


def deciding_fields(settings: Settings) -> dict[str, Any]:
    """The provenance fields that decide the numbers (see `freezeframe.features.layout.DECIDING`)."""
    backbone = BACKBONES[settings.backbone]
    random = settings.weights == "random"
    return {
        "backbone": backbone.name,
        "weights_digest": weights_digest(random_weights(settings.seed)) if random else backbone.digest,
        "preprocessing": backbone.preprocessing,
        "resize": settings.resize,
        "input_height": backbone.input_size[0],
        "input_width": backbone.input_size[1],
        "dtype": settings.dtype,
        "engine": KerasEngine.name,
        "backend": choose_keras_backend(),
        "batch_size": settings.batch_size,
    }


def _versions() -> dict[str, str]:
    """Versions of what computes the numbers."""
    backend = choose_keras_backend()
    versions = {"version_freezeframe": __version__}
    for library, packages in {
        "keras": ["keras"],
        backend: [backend, f"{backend}-cpu"],  # TensorFlow's CPU build is a package of another name
        "pillow": ["pillow"],
    }.items():
        for package in packages:
            with suppress(metadata.PackageNotFoundError):
                versions[f"version_{library}"] = metadata.version(package)
    return versions


def _check_same(store: FeatureStore, manifest: Manifest, settings: Settings, versions: Mapping[str, str]) -> None:
    """Refuse a store that does not hold, or would not hold once filled, what is asked for."""
    wanted = deciding_fields(settings)
    if not store.complete:
        wanted |= versions
    for name, value in wanted.items():
        if store.provenance.get(name) != value:
            raise StoreError(
                f"{store.path}: made with {name} {store.provenance.get(name)!r}, asked for {value!r}; "
                "give another --output, or --overwrite to start anew"
            )
    for layer in settings.layers:
        if layer not in store.layers:
            raise StoreError(
                f"{store.path}: made with layers {', '.join(store.layers)}, asked for {layer}; "
                "give another --output, or --overwrite to start anew"
            )
    have = list(zip(store.paths, store.sha256s, store.labels, store.splits, store.groups, strict=True))
    want = [(image.path, image.sha256, image.label, image.split, image.group) for image in manifest.images]
    if have != want:
        old, new = {row[0]: row for row in have}, {row[0]: row for row in want}
        changed = sum(old[path] != new[path] for path in old.keys() & new.keys())
        raise StoreError(
            f"{store.path}: made from other images ({len(new.keys() - old.keys())} added since, "
            f"{len(old.keys() - new.keys())} removed, {changed} changed or relabelled); "
            "give another --output, or --overwrite to start anew"
        )


def _fill(output: Path, engine: KerasEngine, manifest: Manifest, settings: Settings, progress: Progress | None) -> int:
    """Compute the pending rows; how many there were."""
    finished = 0
    unread: list[tuple[int, str]] = []
    with StoreWriter(output) as writer:
        total = len(writer.pending)
        for row in writer.pending:
            if not manifest.images[row].sha256:
                writer.fail(int(row), "could not be read when it was listed")
                finished += 1
        images = ((int(row), manifest.images[row]) for row in writer.pending if manifest.images[row].sha256)
        sources = (Source(row, manifest.root / image.path, image.sha256) for row, image in images)
        for batch in run(engine, sources, BACKBONES[settings.backbone].input_size, settings.resize):
            if batch.rows:
                writer.write(batch.rows, batch.features, batch.sizes)
            for row, reason in batch.failed:
                writer.fail(row, reason)
            unread += batch.unread
            finished += len(batch.rows) + len(batch.failed) + len(batch.unread)
            if progress is not None:
                progress(finished, total)
    if unread:
        path, reason = manifest.images[unread[0][0]].path, unread[0][1]
        raise StoreError(
            f"{output}: {len(unread)} images could not be read this time, first {path}: {reason}; "
            "all others are finished, the same command tries these again"
        )
    return total
