"""Joining stores that were made of parts of one list of images."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..data.output.files import check_output, new_file
from ..data.output.terminal import Progress
from ..errors import ParameterError, StoreError
from .copying import copy_rows
from .layout import DECIDING_FIELDS, IDENTITY_COLUMNS
from .new_store import create_store
from .store import FeatureStore
from .writer import StoreWriter, store_lock

_LONGEST = 1000
"""Letters of a joined field of provenance; HDF5 takes no attribute above 64 kB."""


def merge(
    out: str | os.PathLike[str],
    paths: Sequence[str | os.PathLike[str]],
    *,
    command: str = "",
    progress: Progress | None = None,
) -> FeatureStore:
    """Join stores into a new one: all rows of the first, then of the second, and so on.

    Rows keep their status: done and failed rows are copied, features bit for bit; pending rows stay
    pending. Fields of provenance that decide no number are kept where all stores agree, else
    joined.

    Args:
        out: the new store; it gets its name when all is in it.
        paths: the stores.
        command: kept in the new store's provenance.
        progress: told after every store.

    Raises:
        ParameterError: no stores, or something is at `out`.
        StoreError: two stores differ in a field that decides the numbers or in their layers, or
            hold the same path; features of one are damaged; `out` cannot be written.

    Examples:
        >>> merge("all.h5", ["shard-0.h5", "shard-1.h5"])  # doctest: +SKIP
        FeatureStore('all.h5': 506 done, 0 failed, 0 pending; block5_pool (7, 7, 512))
    """
    out = Path(out)
    if not paths:
        raise ParameterError("there must be at least one store to merge")
    check_output(out)
    stores = [FeatureStore(path) for path in paths]
    for store in stores[1:]:
        _check_same(stores[0], store)
    _check_paths(stores)
    rows = {
        name: [text for store in stores for text in _identity(store)[name]]
        for name in IDENTITY_COLUMNS
    }
    with store_lock(out), new_file(out) as unfinished:
        _create(unfinished, rows, stores, command)
        with StoreWriter(unfinished) as writer:
            begin = 0
            for number, store in enumerate(stores, 1):
                copy_rows(store, range(len(store)), writer, range(begin, begin + len(store)))
                begin += len(store)
                if progress is not None:
                    progress(number, len(stores))
    return FeatureStore(out)


def _create(
    path: Path, rows: Mapping[str, list[str]], stores: Sequence[FeatureStore], command: str
) -> None:
    try:
        layers = {
            name: (height, width, depth)
            for name, (height, width, depth) in stores[0].layers.items()
        }
        create_store(path, rows, layers, _provenance(stores, command))
    except (
        ValueError,
        TypeError,
        KeyError,
        OverflowError,
    ) as error:  # names and provenance that HDF5 cannot keep
        raise StoreError(
            f"{stores[0].path}: cannot be merged ({' '.join(str(error).split())[:150]})"
        ) from None


def _identity(store: FeatureStore) -> dict[str, list[str]]:
    columns = (store.paths, store.sha256s, store.labels, store.splits, store.groups)
    return {name: column.tolist() for name, column in zip(IDENTITY_COLUMNS, columns, strict=True)}


def _check_same(first: FeatureStore, other: FeatureStore) -> None:
    """Refuse stores whose features were made in different ways."""
    for name in DECIDING_FIELDS:
        old, new = first.provenance[name], other.provenance[name]
        if old != new:
            raise StoreError(
                f"{other.path}: made with {name} {new!r}, {first.path} with {old!r}; they cannot be merged"
            )
    if first.layers != other.layers:
        old, new = (
            ", ".join(f"{k} {shape}" for k, shape in sorted(each.layers.items()))
            for each in (first, other)
        )
        raise StoreError(
            f"{other.path}: has the layers {new}, {first.path} has {old}; they cannot be merged"
        )


def _check_paths(stores: Sequence[FeatureStore]) -> None:
    """Refuse a path that occurs twice: which of the two rows would count?"""
    seen: dict[str, tuple[FeatureStore, str]] = {}
    for store in stores:
        for path, digest in zip(store.paths.tolist(), store.sha256s.tolist(), strict=True):
            if path in seen:
                other, known = seen[path]
                what = "with the same contents" if known == digest else "with other contents"
                raise StoreError(
                    f"{store.path}: holds {path}, {what}, which {other.path} holds too"
                )
            seen[path] = store, digest


def _joined(values: Sequence[object]) -> str:
    """Values as one text, not too long.

    Examples:
        >>> _joined(["3.5.0", "3.6.0"])
        '3.5.0, 3.6.0'
    """
    joined = ", ".join(map(str, values))
    return (
        joined
        if len(joined) <= _LONGEST
        else f"{str(values[0])[:_LONGEST]} and {len(values) - 1} more"
    )


def _provenance(stores: Sequence[FeatureStore], command: str) -> dict[str, Any]:
    """The stores' provenance; versions that differ are joined, so that rows still pending fit none of them."""
    fields: dict[str, Any] = {}
    for name in dict.fromkeys(name for store in stores for name in store.provenance):
        values = list(
            dict.fromkeys(store.provenance[name] for store in stores if name in store.provenance)
        )
        fields[name] = (
            _joined(values) if len(values) > 1 and isinstance(values[0], str) else values[0]
        )
    return fields | {"command": command, "created": datetime.now(UTC).isoformat(timespec="seconds")}
