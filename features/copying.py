"""Copying finished rows of one store into another, bit for bit."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ParameterError, StoreError
from .layout import DONE, FAILED
from .store import FeatureStore
from .writer import StoreWriter

_COPY_BLOCK_BYTES = 64 * 2**20


def copy_rows(
    source: FeatureStore,
    rows: Sequence[int],
    writer: StoreWriter,
    to: Sequence[int],
    *,
    skip_damaged: bool = False,
) -> int:
    """Copy rows of a store into pending rows of a store being written, in blocks of about 64 MB.

    Of a done row its features, bit for bit and checked against their checksums on the way, its size
    and, where the source has it, its fingerprint are copied, of a failed row its reason; rows
    pending in the source stay pending. The source may have more layers. Numbers of near-duplicate
    groups are not copied: they depend on the other rows.

    Args:
        source: where the rows come from.
        rows: their numbers in the source, of length b.
        writer: of the store where they go, under its lock.
        to: the numbers of the rows that they become, of length b; row `to[i]` must be of the same
            image, by SHA-256, as row `rows[i]`.
        skip_damaged: leave rows pending whose features do not match their checksum, instead of
            raising.

    Returns:
        How many rows were copied.

    Raises:
        ParameterError: a layer is missing in the source, or has another shape or dtype there; rows
            that do not exist, go to one row, are not of one image, or are not pending where they
            go.
        StoreError: features do not match their checksum (the text names the image), or the file
            cannot be written; rows copied before stay.
    """
    _check_layers(source, writer)
    _check_rows(source, rows, writer, to)
    pairs = [(int(row), int(place)) for row, place in zip(rows, to, strict=True)]
    done = [pair for pair in pairs if source.status[pair[0]] == DONE]
    layers = {name: source.memmap(name) for name in writer.layout.layers}
    checksums = {name: source.checksums(name) for name in layers}
    step = max(1, _COPY_BLOCK_BYTES // sum(data[:1].nbytes for data in layers.values()))
    copied = 0
    for start in range(0, len(done), step):
        block = done[start : start + step]
        sound = [pair for pair in block if _is_sound(pair[0], layers, checksums)]
        if len(sound) < len(block) and not skip_damaged:
            (row, _), *_ = (pair for pair in block if pair not in sound)
            raise StoreError(
                f"{source.path}: the features of {source.paths[row]} are damaged; extract them again with --overwrite"
            )
        numbers = [row for row, _ in sound]
        sizes = [(int(source.heights[row]), int(source.widths[row])) for row in numbers]
        _copy_fingerprints(source, sound, writer)
        writer.write(
            [place for _, place in sound],
            {name: data[numbers] for name, data in layers.items()},
            sizes,
        )
        copied += len(sound)
    for row, place in pairs:
        if source.status[row] == FAILED:
            writer.fail(place, str(source.reasons[row]))
            copied += 1
    return copied


def _copy_fingerprints(
    source: FeatureStore, pairs: Sequence[tuple[int, int]], writer: StoreWriter
) -> None:
    """Put what the images are recognised by; who writes the features next flushes both before the rows are done."""
    known = [(row, place) for row, place in pairs if source.pixels[row]]
    for (row, place), thumbnail in zip(
        known, source.thumbnails([row for row, _ in known]), strict=True
    ):
        writer.put_fingerprint(place, str(source.pixels[row]), thumbnail)
    for place in {place for _, place in pairs} - {place for _, place in known}:
        writer.forget_fingerprint(place)


def _check_layers(source: FeatureStore, writer: StoreWriter) -> None:
    """Every layer to be written is in the source, with the same shape and dtype."""
    for name, extent in writer.layout.layers.items():
        data = source.memmap(name)
        if data.shape[1:] != extent.shape[1:] or data.dtype != extent.dtype:
            raise ParameterError(
                f"{source.path}: {name} is {data.dtype.name} of {data.shape[1:]}, "
                f"in {writer.path} it is {extent.dtype.name} of {extent.shape[1:]}"
            )


def _check_rows(
    source: FeatureStore, rows: Sequence[int], writer: StoreWriter, to: Sequence[int]
) -> None:
    """Rows exist, go to pending rows, no two to one, and never to the row of another image."""
    digests = writer.layout.rows["sha256"].map(writer.path)
    chosen, places = np.asarray(rows, dtype=np.intp), np.asarray(to, dtype=np.intp)
    if chosen.shape != places.shape or chosen.ndim != 1:
        raise ParameterError(
            f"rows and to must have one length, got {chosen.shape} and {places.shape}"
        )
    for name, numbers, n in (("rows", chosen, len(source)), ("to", places, len(digests))):
        if numbers.size and not 0 <= numbers.min() <= numbers.max() < n:
            raise ParameterError(
                f"{name} must lie between 0 and {n - 1}, got {numbers.min()} to {numbers.max()}"
            )
    if len(np.unique(places)) != len(places) or not np.isin(places, writer.pending).all():
        raise ParameterError(f"{writer.path}: rows can only be copied to pending rows, one to each")
    other = np.flatnonzero(
        source.sha256s[chosen] != np.char.decode(digests[places], "ascii", "replace")
    )
    if other.size:
        raise ParameterError(
            f"{writer.path}: {source.paths[chosen[other[0]]]} was to be copied to another image's row"
        )


def _is_sound(
    row: int, layers: Mapping[str, NDArray[Any]], checksums: Mapping[str, NDArray[np.str_]]
) -> bool:
    """Whether a row's features are what was written, in every layer."""
    features = ((name, np.ascontiguousarray(data[row])) for name, data in layers.items())
    return all(
        hashlib.sha256(array.data).hexdigest() == checksums[name][row]
        and bool(np.isfinite(array).all())
        for name, array in features
    )
