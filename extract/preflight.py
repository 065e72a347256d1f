"""What is checked before anything is computed: that a store is what is asked for, and that there is room."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..data.manifest import Manifest
from ..errors import StoreError
from ..features.layout import IDENTITY_COLUMNS, PENDING, ROW_SHAPES
from ..features.store import FeatureStore
from .settings import Settings, deciding_fields, versions

FREE_BYTES = 64 * 2**20
"""Of a disk, to be left free when a store is made."""

_COMPARED = 65536  # rows at a time, or a million rows would take 760 MB

_ADVICE = "give another --output, or --overwrite to start anew"


def check_alike(
    store: FeatureStore, settings: Settings, *, with_versions: bool, advice: str = _ADVICE
) -> None:
    """Refuse a store that does not hold, or would not hold once filled, what is asked for.

    Args:
        store: any store.
        settings: resolved.
        with_versions: compare the versions of the libraries, too: rows are to be computed or
            copied.
        advice: what the user can do about it.

    Raises:
        StoreError: the text names the field that differs.
    """
    wanted = deciding_fields(settings) | (versions(settings) if with_versions else {})
    for name, value in wanted.items():
        if store.provenance.get(name) != value:
            made = store.provenance.get(name)
            raise StoreError(
                f"{store.path}: made with {name} {made!r}, asked for {value!r}; {advice}"
            )
    for layer in settings.layers:
        if layer not in store.layers:
            layers = ", ".join(store.layers)
            raise StoreError(
                f"{store.path}: made with layers {layers}, asked for {layer}; {advice}"
            )


def other_images(store: FeatureStore, manifest: Manifest) -> bool:
    """Whether the rows of a store are not the images of a manifest, in its order."""
    have = (store.paths, store.sha256s, store.labels, store.splits, store.groups)
    if len(store) != len(manifest.images):
        return True
    return any(
        column[start : start + _COMPARED].tolist()
        != [getattr(image, name) for image in manifest.images[start : start + _COMPARED]]
        for column, name in zip(have, IDENTITY_COLUMNS, strict=True)
        for start in range(0, len(store), _COMPARED)
    )


def check_same_collection(old: FeatureStore, manifest: Manifest) -> None:
    """Refuse to replace a store by one of another folder: most of what it holds must be asked for again."""
    wanted = {image.sha256 for image in manifest.images}
    kept = sum(sha256 in wanted for sha256 in old.sha256s.tolist())
    if 2 * kept < len(old):
        raise StoreError(
            f"{old.path}: of its {len(old)} images only {kept} are among those given; {_ADVICE}"
        )


def check_room(store: FeatureStore) -> None:
    """Refuse to begin what the disk cannot hold; layers and thumbnails of pending rows take no space yet."""
    itemsize = store.memmap(next(iter(store.layers))).itemsize
    check_free(
        store.path,
        int((store.status == PENDING).sum()) * row_bytes(store.layers.values(), itemsize),
    )


def row_bytes(shapes: Iterable[Sequence[int]], itemsize: int) -> int:
    """Bytes on the disk that a row takes when it is filled: its layers, and what is written when they are."""
    return sum(map(math.prod, shapes)) * itemsize + sum(map(math.prod, ROW_SHAPES.values()))


def has_room(path: Path, needed: int) -> bool:
    """Whether so many bytes can be written there."""
    return needed + FREE_BYTES <= shutil.disk_usage(path.parent).free


def check_free(path: Path, needed: int) -> None:
    """Refuse to write so many bytes where there is no room for them."""
    if not has_room(path, needed):
        free = shutil.disk_usage(path.parent).free
        raise StoreError(
            f"{path}: its features need {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free here; "
            "make room, give another --output, fewer layers or --dtype float16"
        )
