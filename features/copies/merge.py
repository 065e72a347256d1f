"""The merge of stores that hold parts of one list of images."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ...data.groups import OWN
from ...data.output.capacity import check_free
from ...data.output.files import check_output, new_file
from ...data.output.terminal import Progress
from ...errors import ParameterError, StoreError
from ..layout import DECIDING_FIELDS, IDENTITY_COLUMNS
from ..new_store import write_pending
from ..store import FeatureStore
from ..store_lock import store_lock
from ..writer import StoreWriter
from .copying import copied_bytes, copy_rows

_MAX_FIELD_LETTERS = 1000
"""Most letters of a joined field of provenance; HDF5 accepts no attribute above 64 kB."""


def merge(
    out: str | os.PathLike[str],
    paths: Sequence[str | os.PathLike[str]],
    *,
    command: str = "",
    progress: Progress | None = None,
) -> FeatureStore:
    """Merge stores into a new one: all rows of the first, then of the second, and so on.

    Done and failed rows are copied, features bit for bit; pending rows stay pending. If all stores
    agree in a field of provenance, the new store has its value. Fields that differ are joined; they
    are never fields that decide the numbers.

    Args:
        out: path of the new store; it gets its name when it is complete.
        paths: paths of the stores.
        command: command line, for the new store's provenance.
        progress: called with the number of merged stores and of all stores.

    Raises:
        ParameterError: no stores, or `out` exists.
        StoreError: two stores differ in a field that decides the numbers or in their layers. Or
            they hold the same path, features are damaged, or `out` cannot be written or has no
            room on its disk.

    Examples:
        >>> merge("all.h5", ["shard-0.h5", "shard-1.h5"])  # doctest: +SKIP
        FeatureStore('all.h5': 506 done, 0 failed, 0 pending; block5_pool (7, 7, 512))
    """
    out = Path(out)
    if not paths:
        raise ParameterError("merge: no stores; give at least one")
    # Reading all stores may take minutes, so the output is checked before.
    check_output(out)
    stores = [FeatureStore(path) for path in paths]
    for store in stores[1:]:
        _check_same(stores[0], store)
    _check_paths(stores)
    # Rows are copied into a temporary file, so `out` is never half a store.
    with store_lock(out), new_file(out) as unfinished:
        check_free(out, sum(map(copied_bytes, stores)))
        _create(unfinished, stores, command)
        with StoreWriter(unfinished) as writer:
            begin = 0
            for finished, store in enumerate(stores, 1):
                end = begin + len(store)
                copy_rows(store, range(len(store)), writer, range(begin, end))
                begin = end
                if progress is not None:
                    progress(finished, len(stores))
    return FeatureStore(out)


def _create(path: Path, stores: Sequence[FeatureStore], command: str) -> None:
    """Create the new store, with all rows pending."""
    rows: dict[str, list[str]] = {name: [] for name in IDENTITY_COLUMNS}
    renamed = _own_groups_of_several_lists(stores)
    for store in stores:
        columns = store.identity()
        source = _lists_of(store)
        columns["group"] = [
            f"{group} ({source})" if scope == OWN and group in renamed else group
            for group, scope in zip(columns["group"], columns["group_scope"], strict=True)
        ]
        for name, texts in columns.items():
            rows[name] += texts
    layers = {
        name: (height, width, channels)
        for name, (height, width, channels) in stores[0].layers.items()
    }
    try:
        write_pending(path, rows, layers, _merged_provenance(stores, command))
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        # An index can hold names and provenance fields that HDF5 cannot.
        reason = " ".join(str(error).split())[:150]
        raise StoreError(
            f"{stores[0].path}: cannot be merged ({reason}); extract its features again"
        ) from None


def _own_groups_of_several_lists(stores: Sequence[FeatureStore]) -> set[str]:
    """Return the groups whose name occurs in several lists, but counts in its own list only.

    Shards of one list share its groups. Two lists may both have a "group-1": one name for both
    would make one group of images that have nothing in common.
    """
    lists: dict[str, set[str]] = defaultdict(set)
    for store in stores:
        source = _lists_of(store)
        for group in set(store.groups[store.group_scopes == OWN].tolist()):
            lists[group].add(source)
    return {group for group, sources in lists.items() if len(sources) > 1}


def _lists_of(store: FeatureStore) -> str:
    """Return the name of the list of a store; that of its lists if the store was merged."""
    return str(store.provenance.get("source") or store.provenance.get("merged_sources", ""))


def _check_same(first: FeatureStore, second: FeatureStore) -> None:
    """Raise StoreError if the features of two stores were made in different ways."""
    for name in DECIDING_FIELDS:
        expected = first.provenance.get(name)
        value = second.provenance.get(name)
        if value != expected:
            raise StoreError(
                f"{second.path}: made with {name} {value!r}, {first.path} with {expected!r}, so "
                "they cannot be merged; extract one of them again with the settings of the other"
            )
    # A row needs features in every layer of the new store.
    if first.layers != second.layers:
        raise StoreError(
            f"{second.path}: has the layers {_layer_list(second)}, "
            f"{first.path} has {_layer_list(first)}, so they cannot be merged; "
            "extract both with the same --layer options"
        )


def _layer_list(store: FeatureStore) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in sorted(store.layers.items()))


def _check_paths(stores: Sequence[FeatureStore]) -> None:
    """Raise StoreError if a path occurs twice; a store has one row for each path."""
    seen: dict[str, tuple[FeatureStore, str]] = {}
    for store in stores:
        for path, digest in zip(store.paths.tolist(), store.sha256s.tolist(), strict=True):
            if path in seen:
                earlier, earlier_digest = seen[path]
                contents = "the same contents" if digest == earlier_digest else "other contents"
                raise StoreError(
                    f"{store.path}: holds {path}, with {contents}, which {earlier.path} holds too; "
                    "merge stores of different images"
                )
            seen[path] = store, digest


def _merged_provenance(stores: Sequence[FeatureStore], command: str) -> dict[str, Any]:
    """Merge the stores' provenance.

    Versions that differ are joined to one text. No installed version equals it, so no pending row
    is computed with a version that some of the rows do not have.
    """
    values: dict[str, list[Any]] = {}
    for store in stores:
        for name, value in store.provenance.items():
            values.setdefault(name, [])
            if value not in values[name]:
                values[name].append(value)
    fields = {name: _joined(field_values) for name, field_values in values.items()}
    # A joined path names no folder, and its last part would name the store after its last shard.
    if len(values.get("source", [])) > 1:
        fields["merged_sources"] = fields.pop("source")
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return fields | {"command": command, "created": created}


def _joined(values: Sequence[Any]) -> Any:
    """Join the values of a field into one text of limited length; of numbers, take the first.

    Examples:
        >>> _joined(["3.5.0", "3.6.0"])
        '3.5.0, 3.6.0'
        >>> _joined(["a column", ""])
        'a column'
        >>> _joined([1, 2])
        1
    """
    # A store without such a value has nothing to add, not even a comma.
    values = [value for value in values if value != ""] or values
    first = values[0]
    if len(values) == 1 or not isinstance(first, str):
        return first
    joined = ", ".join(map(str, values))
    if len(joined) <= _MAX_FIELD_LETTERS:
        return joined
    return f"{first[:_MAX_FIELD_LETTERS]} and {len(values) - 1} more"
