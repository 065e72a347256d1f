"""Restoration of a working store from an archive."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import IO

from ...data.output.capacity import check_free
from ...data.output.files import check_output, new_file
from ...data.output.terminal import Progress
from ...errors import StoreError
from ..index import read_layout
from ..store import FeatureStore
from ..store_lock import store_lock
from .compression import compression
from .contents import archived_rows, pieces_outside_layers, read_parts
from .index import COPY_ADVICE, ArchiveIndex, read_index


def restore(
    archive: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    progress: Progress | None = None,
) -> FeatureStore:
    """Restore a working store from an archive, with equal features, columns and provenance.

    Each row is checked against its checksum. The store gets its name when it is complete.

    Args:
        archive: path of the archive.
        out: path of the new store.
        progress: called with the number of restored rows and of all rows, counted in each layer.

    Raises:
        ParameterError: `out` exists.
        StoreError: the archive is missing, not an archive, of an unknown version, or damaged; `out`
            cannot be written, or has no room on its disk.
        MissingExtraError: hdf5plugin is not installed.

    Examples:
        >>> restore("archive.h5", "features.h5")  # doctest: +SKIP
        FeatureStore('features.h5': 253 done, 0 failed, 0 pending; block5_pool (7, 7, 512))
    """
    archive = Path(archive)
    out = Path(out)
    check_output(out)
    index = read_index(archive)
    # Raises before anything is written if hdf5plugin is not installed.
    compression()
    with store_lock(out), new_file(out) as unfinished:
        with archive.open("rb") as source, unfinished.open("wb") as target:
            digest = _restore_pieces(source, target, index)
        store = _open_restored(unfinished, index, archive, digest)
        _check_room(out, store)
        total = len(store.rows()) * len(store.layers)
        with archive.open("rb") as source, unfinished.open("r+b") as target:
            rows = archived_rows(source, index, store, archive)
            for finished, (place, features) in enumerate(rows, 1):
                target.seek(place)
                target.write(features)
                if progress is not None:
                    progress(finished, total)
        # Read the features back from the disk before the store gets its name.
        if store.verify():
            raise StoreError(
                f"{out}: the disk returned other features than were written; "
                "check the disk for errors"
            )
    return FeatureStore(out)


def _check_room(out: Path, store: FeatureStore) -> None:
    """Raise StoreError if the disk has no room for the features of a store.

    Only they can be large: all else is not compressed, so it is no larger than the archive. Rows
    that are not done take no room.
    """
    row_bytes = sum(extent.row_bytes for extent in store.layout.layers.values())
    n_bytes = len(store.rows()) * row_bytes
    check_free(out, n_bytes)


def _restore_pieces(source: IO[bytes], target: IO[bytes], index: ArchiveIndex) -> str:
    """Write the store's file with holes for its layers; return the SHA-256 of the written bytes."""
    archive_bytes = os.fstat(source.fileno()).st_size
    if index.store + sum(length for _, length in index.pieces) > archive_bytes:
        raise StoreError(f"{source.name}: truncated; copy the archive again")
    # This sets the length; bytes that are not written stay a hole.
    target.truncate(index.file_bytes)
    source.seek(index.store)
    digest = hashlib.sha256()
    for offset, length in index.pieces:
        if offset + length > index.file_bytes:
            raise StoreError(
                f"{source.name}: damaged: its pieces do not make a store; {COPY_ADVICE}"
            )
        target.seek(offset)
        for data in read_parts(source, length):
            digest.update(data)
            target.write(data)
    return digest.hexdigest()


def _open_restored(path: Path, index: ArchiveIndex, archive: Path, digest: str) -> FeatureStore:
    """Open a restored store whose layers are still empty; check that it is the archived one.

    Args:
        path: path of the restored file.
        index: index of the archive.
        archive: path of the archive, for messages.
        digest: SHA-256 of the restored pieces.
    """
    store = None
    try:
        layout = read_layout(path)
        # A forged index may claim huge columns. If all columns are inside pieces, none is larger
        # than the archive, and reading them is safe.
        if (
            pieces_outside_layers(layout, index.file_bytes) == index.pieces
            and layout.layers.keys() == index.chunks.keys()
        ):
            store = FeatureStore(path)
    except StoreError as error:
        problem = str(error).removeprefix(f"{path}: ").partition(";")[0]
        raise StoreError(f"{archive}: damaged: {problem}; {COPY_ADVICE}") from None
    # Older archives have no SHA-256 of their pieces.
    if (
        store is None
        or store.fingerprint != index.fingerprint
        or digest != (index.store_sha256 or digest)
    ):
        raise StoreError(
            f"{archive}: damaged: its contents are not of the archived store; {COPY_ADVICE}"
        )
    return store
