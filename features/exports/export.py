"""Export of a store's features for other programs: NumPy's npz, Parquet, or an archive."""

from __future__ import annotations

import math
import os
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ...data.output.capacity import check_free
from ...data.output.files import new_file
from ...data.output.terminal import Progress
from ...errors import MissingExtraError, ParameterError, StoreError
from ..index import begins_as_store
from ..store import FeatureStore

EXPORT_FORMATS = {"npz": ".npz", "parquet": ".parquet", "archive": ".h5"}
"""Formats, and the ending of a file's name that selects the format."""

MOST_COLUMNS = 32768
"""Most features of a Parquet table, in which each feature is a column.

Parquet describes each column in each row group, and readers become slow even below this limit.
"""

_LEAST_SHARE = {"npz": 1, "parquet": 1 / 4, "archive": 1 / 8}
"""Share of the bytes of the features that a file takes at least, by format.

Parquet and archives are compressed: sparse features shrink most. A file that may fit is tried."""

_FLOAT32_BYTES = 4

_GROUP_BYTES = 64 * 2**20
"""About the size of a row group in Parquet."""


def export(
    store: FeatureStore,
    out: str | os.PathLike[str],
    kind: str | None = None,
    *,
    layer: str | None = None,
    pooling: str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> None:
    """Export a store's features to another kind of file.

    npz and Parquet hold the done rows of one layer; an archive holds everything. Rows that are not
    computed yet are named: npz has their paths in the array `pending`, and Parquet their number and
    first paths in the metadata `freezeframe_pending`, empty if there are none. The file gets its
    name when it is complete.

    Args:
        store: the store.
        out: path of the new file.
        kind: a key of `EXPORT_FORMATS`; by default the ending of `out` selects it.
        layer: name of the layer; by default the store's deepest.
        pooling: "flat", "avg" or "max"; by default none for npz, "avg" for Parquet.
        overwrite: replace an existing file, unless it is a feature store.
        progress: called with the number of written rows and of all rows.

    Raises:
        ParameterError: the kind, layer or pooling is unknown, or `out` exists.
        StoreError: no row is done, features are damaged, or `out` cannot be written or has no
            room on its disk.
        MissingExtraError: pyarrow or hdf5plugin is not installed.

    Examples:
        >>> export(FeatureStore("features.h5"), "features.npz", pooling="avg")  # doctest: +SKIP
    """
    out = Path(out)
    kind = _select_kind(out, kind)
    if kind == "archive" and (layer or pooling):
        raise ParameterError(
            "an archive keeps all layers unpooled; layer and pooling are for npz and Parquet"
        )
    # Layers are in the order of the network, so the last is the deepest.
    layer = layer or list(store.layers)[-1]
    # Raises before anything is written if the layer or the pooling is unknown.
    store.select(layer, [], pooling)
    if kind != "archive" and not len(store.rows()):
        raise StoreError(
            f"{store.path}: no row is done, so there is nothing to export; run extract-features"
        )
    with new_file(out, overwrite=overwrite, protected=begins_as_store) as unfinished:
        check_free(out, _least_bytes(store, kind, layer, pooling))
        if kind == "npz":
            _write_npz(store, unfinished, layer, pooling, progress)
        elif kind == "parquet":
            _write_parquet(store, unfinished, layer, pooling or "avg", progress)
        else:
            # Loads h5py, which the other formats do not need.
            from ..archive.archive import write_archive

            write_archive(store, unfinished, progress)


def is_archive(out: Path, kind: str | None = None) -> bool:
    """Return True if `export` writes an archive, which holds pending rows, too."""
    return _select_kind(out, kind) == "archive"


def _select_kind(out: Path, kind: str | None) -> str:
    """Return the requested format, or the one that the ending of the file selects.

    Examples:
        >>> _select_kind(Path("features.NPZ"), None), _select_kind(Path("features.NPZ"), "archive")
        ('npz', 'archive')
    """
    kinds = {ending: name for name, ending in EXPORT_FORMATS.items()}
    kind = kind or kinds.get(out.suffix.lower())
    if kind not in EXPORT_FORMATS:
        raise ParameterError(
            f"{out}: the format is unknown; give --format {', '.join(EXPORT_FORMATS)}, "
            f"or a name that ends in {', '.join(EXPORT_FORMATS.values())}"
        )
    return kind


def _least_bytes(store: FeatureStore, kind: str, layer: str, pooling: str | None) -> int:
    """Return the bytes that the features take at least in a file of a kind."""
    rows = store.rows()
    if kind == "archive":
        row_bytes = sum(extent.row_bytes for extent in store.layout.layers.values())
        n_bytes = len(rows) * row_bytes
    else:
        pooling = pooling or ("avg" if kind == "parquet" else None)
        n_bytes = math.prod(store.select(layer, rows, pooling).shape) * _FLOAT32_BYTES
    return int(n_bytes * _LEAST_SHARE[kind])


def _text_columns(store: FeatureStore, rows: NDArray[np.intp]) -> dict[str, NDArray[np.str_]]:
    """Return text columns of some rows by their names in Parquet; npz adds an "s" to each."""
    columns = {
        "path": store.paths,
        "sha256": store.sha256s,
        "label": store.labels,
        "split": store.splits,
        "group": store.groups,
        "group_scope": store.group_scopes,
        "patient": store.patients,
    }
    return {name: column[rows] for name, column in columns.items()}


def _fingerprint_columns(store: FeatureStore, rows: NDArray[np.intp]) -> dict[str, NDArray[Any]]:
    """Return the columns that identify pictures, by their names in both formats."""
    return {"pixels": store.pixels[rows], "duplicates": store.duplicates[rows]}


def _write_npz(
    store: FeatureStore, path: Path, layer: str, pooling: str | None, progress: Progress | None
) -> None:
    """Write the features block by block, so that memory holds one block, then the columns."""
    rows = store.rows()
    shape = store.select(layer, rows, pooling).shape
    with zipfile.ZipFile(path, "w") as archive:
        with _open_member(archive, "features") as file:
            # The header needs only the shape, so the blocks can follow one by one.
            np.lib.format.write_array_header_1_0(
                file, {"descr": "<f4", "fortran_order": False, "shape": shape}
            )
            finished = 0
            for numbers, block in store.blocks(layer, rows, pooling):
                file.write(np.ascontiguousarray(block, "<f4").data)
                finished += len(numbers)
                if progress is not None:
                    progress(finished, len(rows))
        columns = {f"{name}s": column for name, column in _text_columns(store, rows).items()}
        columns |= _fingerprint_columns(store, rows)
        # Without the paths of the rows that are missing, a part would look like the whole.
        columns["pending"] = store.paths[store.pending]
        for name, column in columns.items():
            with _open_member(archive, name) as file:
                np.lib.format.write_array(file, column, allow_pickle=False)


def _open_member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    # This ZipInfo holds no time of day, so two exports of one store have the same bytes.
    return archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True)


def _write_parquet(
    store: FeatureStore, path: Path, layer: str, pooling: str, progress: Progress | None
) -> None:
    """Write one line per image, in row groups of about `_GROUP_BYTES`."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise MissingExtraError("pyarrow", "export", "a Parquet file") from None
    rows = store.rows()
    width = store.select(layer, [], pooling).shape[1]
    if width > MOST_COLUMNS:
        raise ParameterError(
            f"{layer} {pooling} has {width} features, too many for columns of a Parquet table "
            f"(at most {MOST_COLUMNS}); pool it with avg or max, or export npz"
        )
    schema = _parquet_schema(store, width)
    with parquet.ParquetWriter(path, schema) as writer:
        group: list[Any] = []
        finished = 0
        for numbers, block in store.blocks(layer, rows, pooling):
            columns = _parquet_columns(store, numbers, block)
            group.append(pyarrow.record_batch(columns, schema=schema))
            finished += len(numbers)
            # Pooled blocks are small, and readers are slow on many small groups.
            if sum(batch.nbytes for batch in group) >= _GROUP_BYTES or finished == len(rows):
                writer.write_table(pyarrow.Table.from_batches(group).combine_chunks())
                group = []
            if progress is not None:
                progress(finished, len(rows))


def _parquet_schema(store: FeatureStore, n_features: int) -> Any:
    import pyarrow

    no_rows = store.rows()[:0]
    return pyarrow.schema(
        [
            *((name, pyarrow.string()) for name in _text_columns(store, no_rows)),
            ("width", pyarrow.uint32()),
            ("height", pyarrow.uint32()),
            ("pixels", pyarrow.string()),
            ("duplicates", pyarrow.uint32()),
            *((f"f{number}", pyarrow.float32()) for number in range(n_features)),
        ],
        metadata={"freezeframe_pending": store.pending_text},
    )


def _parquet_columns(
    store: FeatureStore, rows: NDArray[np.intp], block: NDArray[np.float32]
) -> list[Any]:
    """Return the columns of some rows in the order of the schema.

    Args:
        store: the store.
        rows: row numbers, of shape (n_rows,).
        block: their pooled features, of shape (n_rows, n_features).
    """
    # Transposed to (n_features, n_rows), each column is one piece of memory.
    features = np.ascontiguousarray(block.T)
    return [
        *(column.tolist() for column in _text_columns(store, rows).values()),
        store.widths[rows],
        store.heights[rows],
        *(column.tolist() for column in _fingerprint_columns(store, rows).values()),
        *features,
    ]
