"""Summary of one store, and differences between two."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .layout import DECIDING_FIELDS, DONE, STATUS_NAMES
from .store import FeatureStore

_LATE_FACTS = ("scopes of groups", "sizes", "pixels", "near-duplicates")
"""Facts that a store may not know yet; only those that both stores know are compared."""

_BLOCK_UNIT_BYTES = 512
"""The unit in which the system counts the blocks of a file."""


def summary(store: FeatureStore) -> dict[str, Any]:
    """Summarise what a store holds, in types that JSON has.

    Examples:
        >>> summary(FeatureStore("features.h5"))["status"]  # doctest: +SKIP
        {'done': 253, 'failed': 0, 'pending': 0}
    """
    file_status = store.path.stat()
    # Layers of pending rows are holes in the file. Windows does not count blocks.
    blocks = getattr(file_status, "st_blocks", file_status.st_size / _BLOCK_UNIT_BYTES)
    return {
        "path": str(store.path),
        "format_version": store.format_version,
        "rows": len(store),
        "status": {name: int((store.status == code).sum()) for code, name in STATUS_NAMES.items()},
        # Damage hides rows, so it is shown beside their counts. A status takes no time to check.
        "pending": store.paths[store.pending].tolist(),
        "damaged": store.paths[store.damaged_rows("status")].tolist(),
        "pictures": store.pictures,
        "classes": _counts(store.labels),
        "splits": _counts(store.splits),
        "layers": {
            name: {
                "shape": list(extent.shape[1:]),
                "dtype": extent.dtype.name,
                "bytes": extent.shape[0] * extent.row_bytes,
            }
            for name, extent in store.layout.layers.items()
        },
        "file_bytes": file_status.st_size,
        "disk_bytes": blocks * _BLOCK_UNIT_BYTES,
        "provenance": store.provenance,
        "fingerprint": store.fingerprint,
    }


@dataclass(frozen=True)
class StoreDifference:
    """The differences between two stores A and B.

    Attributes:
        differences: one line per difference, by kind; only kinds that occur.
        harmless: provenance that differs but does not decide the numbers: time, folder, command
            and versions.
    """

    differences: dict[str, list[str]]
    harmless: list[str]

    @property
    def equal(self) -> bool:
        """True if both have the same images, features and deciding provenance, in any order."""
        return not self.differences


def difference(a: FeatureStore, b: FeatureStore) -> StoreDifference:
    """Compare two stores. A row is identified by its path and the SHA-256 of its file.

    Examples:
        >>> difference(FeatureStore("a.h5"), FeatureStore("b.h5")).equal  # doctest: +SKIP
        True
    """
    # Two stores with the same damage must not be called equal.
    for store in (a, b):
        store.check()
    rows_a = _rows_by_key(a)
    rows_b = _rows_by_key(b)
    pairs = [(row, rows_b[key]) for key, row in rows_a.items() if key in rows_b]
    # A path in both stores with other bytes is a changed file, not a new one.
    paths_a = {path for path, _ in rows_a}
    paths_b = {path for path, _ in rows_b}
    only_a = [key[0] for key in rows_a if key not in rows_b]
    only_b = [key[0] for key in rows_b if key not in rows_a]
    # A dict keeps the order of the fields, unlike a set.
    fields = dict.fromkeys([*a.provenance, *b.provenance])
    differences = {
        "provenance differs": _field_lines(a, b, [n for n in fields if n in DECIDING_FIELDS]),
        "layers differ": _layer_lines(a, b),
        "rows only in A": [path for path in only_a if path not in paths_b],
        "rows only in B": [path for path in only_b if path not in paths_a],
        "rows whose file changed": [path for path in only_a if path in paths_b],
        **_column_lines(a, b, pairs),
        "rows with other features": _feature_lines(a, b, pairs),
    }
    return StoreDifference(
        {kind: lines for kind, lines in differences.items() if lines},
        _field_lines(a, b, [name for name in fields if name not in DECIDING_FIELDS]),
    )


def _counts(values: NDArray[np.str_]) -> dict[str, int]:
    """Count how often each text occurs.

    Examples:
        >>> _counts(np.array(["well", "sick", "well"]))
        {'sick': 1, 'well': 2}
    """
    return dict(sorted(Counter(values.tolist()).items()))


def _rows_by_key(store: FeatureStore) -> dict[tuple[str, str], int]:
    """Return the row number of each (path, SHA-256 of the file)."""
    keys = zip(store.paths.tolist(), store.sha256s.tolist(), strict=True)
    return {key: row for row, key in enumerate(keys)}


def _field_lines(a: FeatureStore, b: FeatureStore, names: Iterable[str]) -> list[str]:
    values = ((name, a.provenance.get(name), b.provenance.get(name)) for name in names)
    return [f"{name}: {of_a!r} in A, {of_b!r} in B" for name, of_a, of_b in values if of_a != of_b]


def _layer_lines(a: FeatureStore, b: FeatureStore) -> list[str]:
    lines = []
    for name in dict.fromkeys([*a.layers, *b.layers]):
        of_a = _shape_text(a, name)
        of_b = _shape_text(b, name)
        if of_a != of_b:
            lines.append(f"{name}: {of_a} in A, {of_b} in B")
    return lines


def _shape_text(store: FeatureStore, layer: str) -> str:
    # Text, so that a missing layer compares like any other difference.
    return " x ".join(map(str, store.layers[layer])) if layer in store.layers else "none"


def _column_lines(
    a: FeatureStore, b: FeatureStore, pairs: Sequence[tuple[int, int]]
) -> dict[str, list[str]]:
    """Compare labels, splits, groups and status of the rows that both stores have."""
    # Lists are compared much faster than arrays, element by element.
    columns: dict[str, tuple[list[Any], list[Any]]] = {
        "labels": (a.labels.tolist(), b.labels.tolist()),
        "splits": (a.splits.tolist(), b.splits.tolist()),
        "groups": (a.groups.tolist(), b.groups.tolist()),
        "scopes of groups": (a.group_scopes.tolist(), b.group_scopes.tolist()),
        "patients": (a.patients.tolist(), b.patients.tolist()),
        "sizes": (_sizes(a), _sizes(b)),
        "pixels": (a.pixels.tolist(), b.pixels.tolist()),
        "near-duplicates": (_first_duplicates(a), _first_duplicates(b)),
        "status": (
            [STATUS_NAMES[code] for code in a.status.tolist()],
            [STATUS_NAMES[code] for code in b.status.tolist()],
        ),
    }
    return {
        f"rows with other {name}": [
            f"{a.paths[row_a]}: {of_a[row_a]!r} in A, {of_b[row_b]!r} in B"
            for row_a, row_b in pairs
            if of_a[row_a] != of_b[row_b]
            and not (name in _LATE_FACTS and "" in (of_a[row_a], of_b[row_b]))
        ]
        for name, (of_a, of_b) in columns.items()
    }


def _sizes(store: FeatureStore) -> list[str]:
    """Return height and width of each done row as text; "" for other rows."""
    sizes = zip(store.heights.tolist(), store.widths.tolist(), strict=True)
    return [
        f"{height} x {width}" if status == DONE else ""
        for status, (height, width) in zip(store.status.tolist(), sizes, strict=True)
    ]


def _first_duplicates(store: FeatureStore) -> list[str]:
    """Return the first path of each row's near-duplicate group; "" where the group is unknown."""
    # Numbers of groups have no meaning, and rows of two stores may be in another order.
    firsts: dict[int, str] = {}
    for number, path in zip(store.duplicates.tolist(), store.paths.tolist(), strict=True):
        firsts[number] = min(path, firsts.get(number, path))
    return [firsts[number] if number else "" for number in store.duplicates.tolist()]


def _feature_lines(a: FeatureStore, b: FeatureStore, pairs: Sequence[tuple[int, int]]) -> list[str]:
    """Compare the checksums of rows that are done in both stores, in layers that both have."""
    done = [(row_a, row_b) for row_a, row_b in pairs if a.status[row_a] == b.status[row_b] == DONE]
    lines = []
    for layer in a.layers:
        if layer in b.layers:
            # Equal checksums mean equal features; nothing else needs to be read.
            of_a = a.checksums(layer)
            of_b = b.checksums(layer)
            lines += [
                f"{a.paths[row_a]}: {layer}" for row_a, row_b in done if of_a[row_a] != of_b[row_b]
            ]
    return lines
