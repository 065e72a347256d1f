"""Compressed archives of feature stores: how they are written.

FORMAT.md, section "Archives", describes the file. Like the reader of a store, the reader of an
archive does not trust its HDF5 metadata (see `features/index.py`). HDF5 gets only single chunks
with a sound frame.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from ...data.output.terminal import Progress
from ...errors import StoreError
from ..hdf5_file import DeferredErrorFile
from ..layout import ROW_SHAPES, user_block_bytes
from ..store import FeatureStore
from .compression import check_row, compression
from .contents import archived_rows, pieces_outside_layers, read_parts
from .index import ARCHIVE_FORMAT, ARCHIVE_VERSION, ArchiveIndex, Piece, read_index


def write_archive(store: FeatureStore, path: Path, progress: Progress | None = None) -> None:
    """Write a store's archive to `path`, and read it back to check it.

    Args:
        store: the store.
        path: path of the archive.
        progress: called with the number of written rows and of all rows, counted in each layer.

    Raises:
        StoreError: features are damaged, or the store was written to meanwhile.
        MissingExtraError: hdf5plugin is not installed.
        OSError: the archive cannot be written.
    """
    # Raises before anything is written if hdf5plugin is not installed.
    compression()
    # The store may have been filled since the caller opened it.
    store = FeatureStore(store.path)
    file_bytes = store.path.stat().st_size
    # The index comes first in the file, so its space is set before its places are known. The
    # largest possible places make sure that it fits.
    index = ArchiveIndex(
        file_bytes=file_bytes,
        pieces=pieces_outside_layers(store.layout, file_bytes),
        store=2**63,
        chunks=dict.fromkeys(store.layers, 2**63),
        fingerprint=store.fingerprint,
        store_sha256="0" * 64,
    )
    room = user_block_bytes(len(index.encode()))
    try:
        index = _write_hdf5(store, path, index, room, progress)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        # An index can hold names and provenance fields that HDF5 cannot.
        reason = " ".join(str(error).split())[:150]
        raise StoreError(
            f"{store.path}: cannot be archived ({reason}); extract its features again"
        ) from None
    with path.open("r+b") as handle:
        # Null bytes fill the user block to its end.
        handle.write(index.encode().ljust(room, b"\0"))
    # No lock is held while the archive is written, so another process may have changed the store.
    _check_unchanged(store, index)
    with path.open("rb") as handle:
        for _ in archived_rows(handle, read_index(path), store):
            pass


def _check_unchanged(store: FeatureStore, index: ArchiveIndex) -> None:
    """Raise StoreError if a process wrote to a store after its archive was begun."""
    now = FeatureStore(store.path)
    same = (
        np.array_equal(getattr(now, name), getattr(store, name))
        for name in ("status", "pixels", "duplicates")
    )
    if now.fingerprint != index.fingerprint or not all(same):
        raise StoreError(
            f"{store.path}: another process changed it during archiving; "
            "archive it again when that process has ended"
        )


def _write_hdf5(
    store: FeatureStore, path: Path, index: ArchiveIndex, room: int, progress: Progress | None
) -> ArchiveIndex:
    """Write the archive without its index, and leave `room` bytes at its head for the index.

    Returns:
        The index with the places that HDF5 chose.
    """
    with DeferredErrorFile(path) as raw, h5py.File(raw, "w", userblock_size=room) as file:
        file.attrs["format"] = ARCHIVE_FORMAT
        file.attrs["format_version"] = ARCHIVE_VERSION
        file.create_group("provenance").attrs.update(store.provenance)
        _write_columns(file, store)
        digest = _write_pieces(file, raw, store, index.pieces)
        tables = _write_layers(file, raw, store, progress)
        for name, table in tables.items():
            file[f"chunks/{name}"] = table
        index = replace(
            index,
            store=file["store"].id.get_offset(),
            chunks={name: file[f"chunks/{name}"].id.get_offset() for name in tables},
            store_sha256=digest,
        )
        # HDF5 writes its last bytes when it closes the file, so `check` comes after that.
        file.close()
        raw.check()
        return index


def _write_columns(file: h5py.File, store: FeatureStore) -> None:
    """Write columns and checksums, for other programs that read HDF5; restoring ignores them."""
    for name, extent in store.layout.datasets.items():
        if name.startswith("layers/") or name in ROW_SHAPES:
            continue
        is_text = extent.dtype.kind == "S"
        kind = h5py.string_dtype("utf-8", extent.dtype.itemsize) if is_text else extent.dtype
        file.create_dataset(name, data=store.dataset(name).astype(kind))


def _write_pieces(
    file: h5py.File, raw: DeferredErrorFile, store: FeatureStore, pieces: list[Piece]
) -> str:
    """Write the bytes of the store outside its layers to `/store`; return their SHA-256."""
    dataset = file.create_dataset("store", (sum(length for _, length in pieces),), "u1")
    filled = 0
    digest = hashlib.sha256()
    with store.path.open("rb") as source:
        for offset, length in pieces:
            source.seek(offset)
            for data in read_parts(source, length):
                dataset[filled : filled + len(data)] = np.frombuffer(data, "u1")
                digest.update(data)
                filled += len(data)
                raw.check()
    return digest.hexdigest()


def _write_layers(
    file: h5py.File, raw: DeferredErrorFile, store: FeatureStore, progress: Progress | None
) -> dict[str, NDArray[np.uint64]]:
    """Write the done rows of all layers; return the places of the chunks, by layer."""
    # Pending and failed rows have no features, so their chunks are never allocated.
    tables = {}
    finished = 0
    rows = store.rows()
    for name, extent in store.layout.layers.items():
        check_row(extent)
        chunk = (1, *extent.shape[1:])
        layer = file.create_dataset(
            f"layers/{name}", extent.shape, extent.dtype, chunks=chunk, **compression()
        )
        for row in rows:
            layer[row] = store.stored_features(name, [row])[0]
            raw.check()
            finished += 1
            if progress is not None:
                progress(finished, len(rows) * len(store.layers))
        tables[name] = _chunk_table(layer, store)
    return tables


def _chunk_table(layer: h5py.Dataset, store: FeatureStore) -> NDArray[np.uint64]:
    """Return offset and length of each row's chunk in the archive, of shape (n, 2)."""
    # HDF5 places a chunk only when it writes it.
    layer.file.flush()
    table = np.zeros((len(store), 2), "<u8")
    for row in store.rows():
        info = layer.id.get_chunk_info_by_coord((int(row), 0, 0, 0))
        table[row] = info.byte_offset, info.size
    return table
