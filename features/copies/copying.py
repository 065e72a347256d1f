"""Copies of finished rows from one store to another, bit for bit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ParameterError, StoreError
from ..layout import DONE, FAILED, ROW_SHAPES, row_checksum
from ..store import FeatureStore
from ..writer import StoreWriter

_COPY_BLOCK_BYTES = 64 * 2**20

_RowPair = tuple[int, int]
"""The number of a row in the source, and its number in the target."""


def copy_rows(
    source: FeatureStore,
    rows: Sequence[int],
    writer: StoreWriter,
    to: Sequence[int],
    *,
    skip_damaged: bool = False,
) -> int:
    """Copy rows of a store into pending rows of another store, about 64 MB at a time.

    A done row gives its features, its size and its fingerprint, if the source has one. The features
    are copied bit for bit and checked against their checksums. A failed row gives its reason.
    Pending rows stay pending. The source may have more layers. Numbers of near-duplicate groups are
    not copied: they depend on the other rows.

    Args:
        source: the store to copy from.
        rows: row numbers in the source, of length b.
        writer: writer of the store to copy into; the caller holds the lock of this store.
        to: row numbers in the store to copy into, of length b. Row `to[i]` must be of the same
            image, by SHA-256, as row `rows[i]`.
        skip_damaged: True to leave a row pending if its features do not match their checksum,
            instead of raising an error.

    Returns:
        Number of copied rows.

    Raises:
        ParameterError: a layer is missing in the source or differs in shape or dtype. Or a row does
            not exist, is a target twice, is of another image than its target, or its target is not
            pending.
        StoreError: features do not match their checksum (the message names the image), or the file
            cannot be written. Rows that are already copied stay.
    """
    _check_layers(source, writer)
    _check_rows(source, rows, writer, to)
    pairs = _sound_facts(source, zip(rows, to, strict=True), skip_damaged=skip_damaged)
    copied = 0
    # All checks but that of the features come first, so that a wrong call writes nothing.
    for block in _blocks_of_done_rows(source, pairs, writer):
        copied += _copy_block(source, block, writer, skip_damaged=skip_damaged)
    reasons = {
        target: str(source.reasons[row]) for row, target in pairs if source.status[row] == FAILED
    }
    writer.fail(reasons)
    return copied + len(reasons)


def copied_bytes(store: FeatureStore) -> int:
    """Return the bytes that the finished rows of a store take in a new one."""
    return len(store.rows()) * stored_row_bytes(store)


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


def _blocks_of_done_rows(
    source: FeatureStore, pairs: Sequence[_RowPair], writer: StoreWriter
) -> list[list[_RowPair]]:
    """Group the pairs whose source row is done into blocks of about `_COPY_BLOCK_BYTES`."""
    done = [pair for pair in pairs if source.status[pair[0]] == DONE]
    n_bytes = sum(extent.row_bytes for extent in writer.layout.layers.values())
    step = max(1, _COPY_BLOCK_BYTES // n_bytes)
    return [done[start : start + step] for start in range(0, len(done), step)]


def _copy_block(
    source: FeatureStore, block: Sequence[_RowPair], writer: StoreWriter, *, skip_damaged: bool
) -> int:
    """Copy some done rows; return the number of copied rows."""
    numbers = [row for row, _ in block]
    layers = {name: source.stored_features(name, numbers) for name in writer.layout.layers}
    checksums = {name: source.checksums(name, numbers) for name in layers}
    sound = []
    for i, (row, _) in enumerate(block):
        expected = {name: str(checksums[name][i]) for name in layers}
        if _is_sound({name: data[i] for name, data in layers.items()}, expected):
            sound.append(i)
        elif not skip_damaged:
            raise StoreError(
                f"{source.path}: the features of {source.paths[row]} are damaged; "
                "extract them again with --overwrite"
            )
    pairs = [block[i] for i in sound]
    # Fingerprints come first: `write` flushes them with the features, then marks rows as done.
    _copy_fingerprints(source, pairs, writer)
    writer.write(
        [target for _, target in pairs],
        {name: data[sound] for name, data in layers.items()},
        [(int(source.heights[row]), int(source.widths[row])) for row, _ in pairs],
    )
    return len(pairs)


def _sound_facts(
    source: FeatureStore, pairs: Iterable[_RowPair], *, skip_damaged: bool
) -> list[_RowPair]:
    """Return the pairs whose source row matches the checksums of its facts.

    Raises:
        StoreError: a row does not match, and `skip_damaged` is False.
    """
    damaged: set[int] = set()
    for fact in ("status", "fingerprint"):
        damaged.update(source.damaged_rows(fact).tolist())
    sound = []
    for row, target in pairs:
        if int(row) not in damaged:
            sound.append((int(row), int(target)))
        elif not skip_damaged:
            raise StoreError(
                f"{source.path}: what it holds of {source.paths[row]} is damaged; "
                "run extract-features on it, which reads the image again"
            )
    return sound


def _copy_fingerprints(
    source: FeatureStore, pairs: Sequence[_RowPair], writer: StoreWriter
) -> None:
    """Copy the fingerprints that the source has, and clear those of the other rows."""
    digests = source.pixels_of([row for row, _ in pairs])
    fingerprinted = [
        (row, target, pixels)
        for (row, target), pixels in zip(pairs, digests, strict=True)
        if pixels
    ]
    thumbnails = source.thumbnails([row for row, _, _ in fingerprinted])
    for (_, target, pixels), thumbnail in zip(fingerprinted, thumbnails, strict=True):
        writer.put_fingerprint(target, pixels, thumbnail)
    for (_, target), pixels in zip(pairs, digests, strict=True):
        # A writer that was killed may have left the fingerprint of another image there.
        if not pixels:
            writer.forget_fingerprint(target)


def _check_layers(source: FeatureStore, writer: StoreWriter) -> None:
    """Raise ParameterError unless the source has every layer, in the same shape and dtype."""
    for name, extent in writer.layout.layers.items():
        data = source.layer_extent(name)
        if data.shape[1:] != extent.shape[1:] or data.dtype != extent.dtype:
            raise ParameterError(
                f"{source.path}: {name} is {data.dtype.name} of {data.shape[1:]}, "
                f"in {writer.path} it is {extent.dtype.name} of {extent.shape[1:]}; "
                "copy between stores of the same layers and dtype"
            )


def _check_rows(
    source: FeatureStore, rows: Sequence[int], writer: StoreWriter, to: Sequence[int]
) -> None:
    """Raise ParameterError unless each row exists and goes to a pending row of the same image."""
    digests = writer.column("sha256")
    # The dtype is set because an empty list has dtype float in NumPy.
    numbers = np.asarray(rows, dtype=np.intp)
    targets = np.asarray(to, dtype=np.intp)
    if numbers.shape != targets.shape or numbers.ndim != 1:
        raise ParameterError(
            f"rows and to must have one length, got {numbers.shape} and {targets.shape}; "
            "give a target for each row"
        )
    for name, values, n in (("rows", numbers, len(source)), ("to", targets, len(digests))):
        if values.size and not 0 <= values.min() <= values.max() < n:
            raise ParameterError(
                f"{name} must lie between 0 and {n - 1}, got {values.min()} to {values.max()}; "
                "give numbers of rows of the store"
            )
    if len(np.unique(targets)) != len(targets) or not np.isin(targets, writer.pending).all():
        raise ParameterError(
            f"{writer.path}: rows can only be copied to pending rows, one to each; "
            "take the targets from writer.pending"
        )
    # A damaged digest may not be ASCII; it then matches no image.
    expected = np.char.decode(digests[targets], "ascii", "replace")
    differing = np.flatnonzero(source.sha256s[numbers] != expected)
    if differing.size:
        raise ParameterError(
            f"{writer.path}: {source.paths[numbers[differing[0]]]} cannot be copied "
            "to the row of another image; pair the rows by SHA-256"
        )


def _is_sound(features: Mapping[str, NDArray[Any]], checksums: Mapping[str, str]) -> bool:
    """Return True if a row's features match their checksums and are finite, in every layer."""
    return all(
        row_checksum(array) == checksums[name] and bool(np.isfinite(array).all())
        for name, array in features.items()
    )
