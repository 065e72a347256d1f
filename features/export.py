"""Writing the features of a store for other programs: NumPy's npz, Parquet, or a compressed archive."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..data.output.files import new_file
from ..data.output.terminal import Progress
from ..errors import MissingExtraError, ParameterError, StoreError
from .index import begins_as_store
from .pooling import pool
from .store import FeatureStore

EXPORT_FORMATS = {"npz": ".npz", "parquet": ".parquet", "archive": ".h5"}
"""Formats, and the ending of a file's name that asks for each."""

MOST_COLUMNS = 32768
"""Of a Parquet table; it keeps a description of each column in each block, and readers slow down before this."""
_GROUP_BYTES = 64 * 2**20


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
    """Write a store's features to another kind of file, which gets its name when it is complete.

    npz and Parquet get the done rows of one layer; an archive gets everything.

    Args:
        store: a store.
        out: the file.
        kind: a key of `EXPORT_FORMATS`; by default what the ending of `out` says.
        layer: by default the deepest layer of the store.
        pooling: "flat", "avg" or "max"; by default none for npz, "avg" for Parquet.
        overwrite: replace what is at `out`, unless it is a feature store.
        progress: told how many rows are written.

    Raises:
        ParameterError: an unknown kind, layer or pooling, or `out` is there.
        StoreError: no row is done, features are damaged, or `out` cannot be written.
        MissingExtraError: pyarrow or hdf5plugin is not installed.

    Examples:
        >>> export(FeatureStore("features.h5"), "features.npz", pooling="avg")  # doctest: +SKIP
    """
    out = Path(out)
    kind = _kind(out, kind)
    if kind == "archive" and (layer or pooling):
        raise ParameterError(
            "an archive keeps all layers as they are; layer and pooling are for npz and Parquet"
        )
    layer = layer or list(store.layers)[-1]
    pool(
        store.memmap(layer)[:0], pooling
    )  # an unknown layer or pooling is told before anything is written
    if kind != "archive" and not len(store.rows()):
        raise StoreError(
            f"{store.path}: no row is done, so there is nothing to export; run extract-features"
        )
    with new_file(out, overwrite=overwrite, protected=begins_as_store) as unfinished:
        if kind == "npz":
            _write_npz(store, unfinished, layer, pooling, progress)
        elif kind == "parquet":
            _write_parquet(store, unfinished, layer, pooling or "avg", progress)
        else:
            from .archive.archive import write_archive

            write_archive(store, unfinished, progress)


def _kind(out: Path, kind: str | None) -> str:
    """The format asked for, by name or by the ending of the file.

    Examples:
        >>> _kind(Path("features.NPZ"), None), _kind(Path("features.NPZ"), "archive")
        ('npz', 'archive')
    """
    kind = kind or next(
        (name for name, ending in EXPORT_FORMATS.items() if out.suffix.lower() == ending), None
    )
    if kind not in EXPORT_FORMATS:
        raise ParameterError(
            f"{out}: give a format, {', '.join(EXPORT_FORMATS)}, or end it in {', '.join(EXPORT_FORMATS.values())}"
        )
    return kind


def _texts(store: FeatureStore, rows: NDArray[np.intp]) -> dict[str, NDArray[np.str_]]:
    """Text columns of some rows, by the name that each has in a Parquet table; in npz it ends in an s."""
    columns = {"path": store.paths, "sha256": store.sha256s, "label": store.labels}
    columns |= {"split": store.splits, "group": store.groups}
    return {name: column[rows] for name, column in columns.items()}


def _recognised(store: FeatureStore, rows: NDArray[np.intp]) -> dict[str, NDArray[Any]]:
    """What tells which rows show the same picture, by the name that it has in both."""
    return {"pixels": store.pixels[rows], "duplicates": store.duplicates[rows]}


def _write_npz(
    store: FeatureStore, path: Path, layer: str, pooling: str | None, progress: Progress | None
) -> None:
    """Write `features` block by block, so that memory holds one block only, then the columns of the rows."""
    rows = store.rows()
    shape = (len(rows), *pool(store.memmap(layer)[:0], pooling).shape[1:])
    with zipfile.ZipFile(path, "w") as archive:
        with _member(archive, "features") as file:
            np.lib.format.write_array_header_1_0(
                file, {"descr": "<f4", "fortran_order": False, "shape": shape}
            )
            finished = 0
            for numbers, block in store.blocks(layer, rows, pooling):
                file.write(np.ascontiguousarray(block, "<f4").data)
                finished += len(numbers)
                if progress is not None:
                    progress(finished, len(rows))
        texts = {f"{name}s": column for name, column in _texts(store, rows).items()}
        for name, column in (texts | _recognised(store, rows)).items():
            with _member(archive, name) as file:
                np.lib.format.write_array(file, column, allow_pickle=False)


def _member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    # A ZipInfo made by hand has no time of day in it: what is exported twice is the same file.
    return archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True)


def _write_parquet(
    store: FeatureStore, path: Path, layer: str, pooling: str, progress: Progress | None
) -> None:
    """Write one line an image; blocks of rows are gathered into row groups of about 64 MB."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise MissingExtraError("pyarrow", "export", "a Parquet file") from None
    rows = store.rows()
    width = pool(store.memmap(layer)[:0], pooling).shape[1]
    if width > MOST_COLUMNS:
        raise ParameterError(
            f"{layer} {pooling} has {width} features, too many for columns of a Parquet table "
            f"(at most {MOST_COLUMNS}); pool it with avg or max, or export npz"
        )
    texts = [(name, pyarrow.string()) for name in _texts(store, rows[:0])]
    sizes = [(name, pyarrow.uint32()) for name in ("width", "height")]
    recognised = [("pixels", pyarrow.string()), ("duplicates", pyarrow.uint32())]
    pooled = [(f"f{number}", pyarrow.float32()) for number in range(width)]
    schema = pyarrow.schema([*texts, *sizes, *recognised, *pooled])
    with parquet.ParquetWriter(path, schema) as writer:
        gathered: list[Any] = []
        finished = 0
        for numbers, block in store.blocks(layer, rows, pooling):
            gathered.append(_batch(store, numbers, block, schema, pyarrow.record_batch))
            finished += len(numbers)
            if sum(batch.nbytes for batch in gathered) >= _GROUP_BYTES or finished == len(rows):
                writer.write_table(pyarrow.Table.from_batches(gathered).combine_chunks())
                gathered = []
            if progress is not None:
                progress(finished, len(rows))


def _batch(
    store: FeatureStore,
    rows: NDArray[np.intp],
    block: NDArray[np.float32],
    schema: Any,
    record_batch: Callable[..., Any],
) -> Any:
    """Some rows with their pooled features, of shape (n_rows, n_features), as Arrow columns."""
    texts = [column.tolist() for column in _texts(store, rows).values()]
    features = np.ascontiguousarray(
        block.T
    )  # (n_features, n_rows): a column is one piece of memory
    columns = [*texts, store.widths[rows], store.heights[rows]]
    columns += [column.tolist() for column in _recognised(store, rows).values()]
    return record_batch([*columns, *features], schema=schema)
