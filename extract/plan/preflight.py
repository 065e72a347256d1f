"""Checks before anything is computed: a store has the requested settings, the disk has room."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.filesize import decimal

from ...errors import StoreError
from ...features.layout import DONE, PENDING, ROW_SHAPES
from ...features.store import FeatureStore
from ..provenance import deciding_fields, versions
from ..settings import Settings

FREE_BYTES = 64 * 2**20
"""Bytes that stay free on the disk when a store is made."""

OUTPUT_ADVICE = "give another --output, or --overwrite to start again"


def check_alike(
    store: FeatureStore, settings: Settings, *, with_versions: bool, advice: str = OUTPUT_ADVICE
) -> None:
    """Raise `StoreError` if a store was made with other settings.

    Args:
        store: any store.
        settings: resolved settings.
        with_versions: compare the versions of the libraries, too: rows will be computed or copied.
        advice: last part of the message, which says what the user can do.

    Raises:
        StoreError: the message names the field that differs.
    """
    fields = deciding_fields(settings)
    # Other versions may change the last bits; they matter only where rows are added.
    if with_versions:
        fields |= versions(settings)
    for name, requested in fields.items():
        existing = store.provenance.get(name)
        if existing != requested:
            raise StoreError(
                f"{store.path}: made with {name} {existing!r}, asked for {requested!r}; {advice}"
            )
    for layer in settings.layers:
        if layer not in store.layers:
            layers = ", ".join(store.layers)
            raise StoreError(
                f"{store.path}: made with layers {layers}, asked for {layer}; {advice}"
            )


def check_room(store: FeatureStore) -> None:
    """Raise `StoreError` if the disk has no room for a store's pending rows.

    The file is sparse: layers and thumbnails of pending rows take no space yet.
    """
    n_pending = int((store.status == PENDING).sum())
    check_free(store.path, n_pending * stored_row_bytes(store))


def stored_row_bytes(store: FeatureStore) -> int:
    """Return the bytes on the disk of one row of a store; see `row_bytes`."""
    # All layers of a store have one type.
    itemsize = store.layer_extent(next(iter(store.layers))).dtype.itemsize
    return row_bytes(store.layers.values(), itemsize)


def row_bytes(shapes: Iterable[Sequence[int]], itemsize: int) -> int:
    """Return the bytes on the disk of one row: its layers and its thumbnail.

    Args:
        shapes: shape (height, width, channels) of each layer.
        itemsize: bytes of one number.
    """
    # Text columns are small, and are written when the store is created.
    layers = sum(math.prod(shape) for shape in shapes) * itemsize
    return layers + sum(math.prod(shape) for shape in ROW_SHAPES.values())


def has_room(path: Path, n_bytes: int) -> bool:
    """Return True if the disk of a path has room for a number of bytes."""
    return n_bytes + FREE_BYTES <= shutil.disk_usage(path.parent).free


def check_free(path: Path, n_bytes: int) -> None:
    """Raise `StoreError` if the disk of a path has no room for a number of bytes."""
    if not has_room(path, n_bytes):
        free = shutil.disk_usage(path.parent).free
        raise StoreError(
            f"{path}: its features need {decimal(n_bytes)}, {decimal(free)} are free here; "
            "make room, give another --output, fewer layers or --dtype float16"
        )


def copied_bytes(store: FeatureStore) -> int:
    """Return the bytes that the finished rows of a store take in a new one."""
    return len(store.rows()) * stored_row_bytes(store)


def rows_by_content(store: FeatureStore) -> dict[str, int]:
    """Return the finished rows of a store by the SHA-256 of their files."""
    return {
        str(store.sha256s[row]): int(row)
        for row in (store.status == DONE).nonzero()[0]
        if store.sha256s[row]
    }
