"""Looking into stores: what one holds, whether it is what was written, and how two differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .layout import DECIDING_FIELDS, DONE, STATUS_NAMES
from .store import FeatureStore


def summary(store: FeatureStore) -> dict[str, Any]:
    """What a store holds, in types that JSON has.

    Examples:
        >>> summary(FeatureStore("features.h5"))["status"]  # doctest: +SKIP
        {'done': 253, 'failed': 0, 'pending': 0}
    """
    layers = store.layout.layers
    status = store.path.stat()
    return {
        "path": str(store.path),
        "format_version": store.format_version,
        "rows": len(store),
        "status": {name: int((store.status == code).sum()) for code, name in STATUS_NAMES.items()},
        "pictures": store.pictures,
        "classes": _counts(store.labels),
        "splits": _counts(store.splits),
        "layers": {
            name: {
                "shape": list(extent.shape[1:]),
                "dtype": extent.dtype.name,
                "bytes": extent.shape[0] * extent.row_bytes,
            }
            for name, extent in layers.items()
        },
        "file_bytes": status.st_size,
        # Layers of pending rows are holes in the file; Windows does not tell of them.
        "disk_bytes": getattr(status, "st_blocks", status.st_size / 512) * 512,
        "provenance": store.provenance,
        "fingerprint": store.fingerprint,
    }


@dataclass(frozen=True)
class StoreDifference:
    """How two stores A and B differ.

    Attributes:
        found: for each kind of difference, in words, one line each; only kinds that occur.
        told: provenance that differs but decides no number: when, where, by which command, with
            which versions.
    """

    found: dict[str, list[str]]
    told: list[str]

    @property
    def equal(self) -> bool:
        """Whether both are of the same images, made with the same, and have the same features; order is no matter."""
        return not self.found


def difference(a: FeatureStore, b: FeatureStore) -> StoreDifference:
    """Compare two stores. A row is its path together with the SHA-256 of its file.

    Examples:
        >>> difference(FeatureStore("a.h5"), FeatureStore("b.h5")).equal  # doctest: +SKIP
        True
    """
    rows_a, rows_b = _keys(a), _keys(b)
    both = [(row, rows_b[key]) for key, row in rows_a.items() if key in rows_b]
    paths_a, paths_b = ({path for path, _ in rows} for rows in (rows_a, rows_b))
    only_a = [path for path, digest in rows_a if (path, digest) not in rows_b]
    only_b = [path for path, digest in rows_b if (path, digest) not in rows_a]
    fields = dict.fromkeys([*a.provenance, *b.provenance])
    found = {
        "provenance differs": _fields(a, b, [name for name in fields if name in DECIDING_FIELDS]),
        "layers differ": [
            f"{name}: {_shape(a, name)} in A, {_shape(b, name)} in B"
            for name in dict.fromkeys([*a.layers, *b.layers])
            if _shape(a, name) != _shape(b, name)
        ],
        "rows only in A": [path for path in only_a if path not in paths_b],
        "rows only in B": [path for path in only_b if path not in paths_a],
        "rows whose file changed": [path for path in only_a if path in paths_b],
        **_columns(a, b, both),
        "rows with other features": _features(a, b, both),
    }
    told = _fields(a, b, [name for name in fields if name not in DECIDING_FIELDS])
    return StoreDifference({kind: lines for kind, lines in found.items() if lines}, told)


def _counts(values: NDArray[np.str_]) -> dict[str, int]:
    """How often each text occurs.

    Examples:
        >>> _counts(np.array(["well", "sick", "well"]))
        {'sick': 1, 'well': 2}
    """
    return dict(sorted(Counter(values.tolist()).items()))


def _keys(store: FeatureStore) -> dict[tuple[str, str], int]:
    return {
        key: row
        for row, key in enumerate(zip(store.paths.tolist(), store.sha256s.tolist(), strict=True))
    }


def _shape(store: FeatureStore, layer: str) -> str:
    return " x ".join(map(str, store.layers[layer])) if layer in store.layers else "none"


def _fields(a: FeatureStore, b: FeatureStore, names: Iterable[str]) -> list[str]:
    pairs = ((name, a.provenance.get(name), b.provenance.get(name)) for name in names)
    return [f"{name}: {old!r} in A, {new!r} in B" for name, old, new in pairs if old != new]


def _columns(a: FeatureStore, b: FeatureStore, both: list[tuple[int, int]]) -> dict[str, list[str]]:
    """Rows of both stores that are labelled, split, grouped, or finished otherwise."""
    columns: dict[str, tuple[list[Any], list[Any]]] = {
        "labels": (a.labels.tolist(), b.labels.tolist()),
        "splits": (a.splits.tolist(), b.splits.tolist()),
        "groups": (a.groups.tolist(), b.groups.tolist()),
        "status": (
            [STATUS_NAMES[code] for code in a.status.tolist()],
            [STATUS_NAMES[code] for code in b.status.tolist()],
        ),
    }
    return {
        f"rows with other {name}": [
            f"{a.paths[row]}: {of_a[row]!r} in A, {of_b[other]!r} in B"
            for row, other in both
            if of_a[row] != of_b[other]
        ]
        for name, (of_a, of_b) in columns.items()
    }


def _features(a: FeatureStore, b: FeatureStore, both: list[tuple[int, int]]) -> list[str]:
    """Rows that are done in both stores, in a layer of both, with checksums that differ."""
    done = [(row, other) for row, other in both if a.status[row] == b.status[other] == DONE]
    lines = []
    for layer in a.layers:
        if layer in b.layers:
            of_a, of_b = a.checksums(layer), b.checksums(layer)
            lines += [f"{a.paths[row]}: {layer}" for row, other in done if of_a[row] != of_b[other]]
    return lines
