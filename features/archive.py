"""Compressed archives of stores, and working stores made of them again, equal byte for byte.

An archive is an HDF5 file: columns (but thumbnails), checksums and provenance as in a store; layers
in compressed chunks of one row (bitshuffle and zstd, lossless); `/store`, the bytes of the store
outside its layers; and `/chunks/<layer>`, where in the archive each row's chunk lies, (offset,
length), (0, 0) for rows that are not done. It begins with a line and JSON:

    freezeframe-archive 1 <bytes of the JSON> <SHA-256 of the JSON, hexadecimal> {"file_bytes": ...,
    "pieces": [[offset, length], ...], "store": ..., "chunks": {...}, "fingerprint": "...",
     "store_sha256": "..."}

the length of the store's file, the pieces of it that are in `/store`, the bytes of the archive at
which `/store` and `/chunks/<layer>` begin, the store's fingerprint, and the SHA-256 of `/store`
(older archives lack it). So an archive, like a store, is read without trusting its HDF5 metadata
(see `layout`): only a chunk whose frame was checked is given to the decompressor, in a file made
here.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..data.output.files import check_output, new_file
from ..data.output.terminal import Progress
from ..errors import StoreError
from .compression import Decoder, check_row, compression
from .hdf5_file import DeferredErrorFile
from .layout import ROW_SHAPES, Layout, read_layout
from .store import FeatureStore
from .writer import store_lock

ARCHIVE = "freezeframe-archive"
ARCHIVE_VERSION = 1
_HEAD_BYTES = 512
_COPY_BYTES = 2**20

Piece = tuple[int, int]
"""Offset and length, in bytes."""


@dataclass(frozen=True)
class ArchiveIndex:
    """What stands at the head of an archive; see above."""

    file_bytes: int
    pieces: list[Piece]
    store: int
    chunks: dict[str, int]
    fingerprint: str
    store_sha256: str = ""

    def encode(self) -> bytes:
        """The first line and the JSON.

        Examples:
            >>> ArchiveIndex(2048, [(0, 2048)], 512, {}, "").encode()[:25]
            b'freezeframe-archive 1 110'
        """
        text = json.dumps(asdict(self)).encode()
        return (
            f"{ARCHIVE} {ARCHIVE_VERSION} {len(text)} {hashlib.sha256(text).hexdigest()}\n".encode()
            + text
            + b"\n"
        )


def write_archive(store: FeatureStore, path: Path, progress: Progress | None = None) -> None:
    """Write a store's archive to `path`, and read it back.

    Raises:
        StoreError: features are damaged, or the store was written to meanwhile.
        MissingExtraError: hdf5plugin is not installed.
        OSError: the archive cannot be written.
    """
    layout, _ = (
        read_layout(store.path),
        compression(),
    )  # what is not installed is told before anything is written
    store = FeatureStore(store.path)  # as it is now
    file_bytes = store.path.stat().st_size
    pieces = _outside_layers(layout, file_bytes)
    index = ArchiveIndex(
        file_bytes, pieces, 2**63, dict.fromkeys(layout.layers, 2**63), store.fingerprint, "0" * 64
    )
    room = max(_HEAD_BYTES, 1 << (len(index.encode()) - 1).bit_length())
    try:
        index = _write_hdf5(store, layout, path, index, room, progress)
    except (
        ValueError,
        TypeError,
        KeyError,
        OverflowError,
    ) as error:  # names and provenance that HDF5 cannot keep
        raise StoreError(
            f"{store.path}: cannot be archived ({' '.join(str(error).split())[:150]})"
        ) from None
    with path.open("r+b") as handle:
        handle.write(index.encode().ljust(room, b"\0"))
    now = FeatureStore(store.path)
    same = (
        np.array_equal(getattr(now, name), getattr(store, name))
        for name in ("status", "pixels", "duplicates")
    )
    if now.fingerprint != index.fingerprint or not all(same):
        raise StoreError(
            f"{store.path}: was written to while it was archived; archive it when that is finished"
        )
    with path.open("rb") as handle:
        for _ in _rows(handle, read_index(path), store, layout):
            pass


def restore(
    archive: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    progress: Progress | None = None,
) -> FeatureStore:
    """Make a working store of an archive, equal to the archived one in every byte that means anything.

    Each row is checked against its checksum on the way; the store gets its name when all is in it.

    Raises:
        ParameterError: something is at `out`.
        StoreError: the file is missing, no archive, of an unknown version, or damaged; `out` cannot
            be written.
        MissingExtraError: hdf5plugin is not installed.

    Examples:
        >>> restore("archive.h5", "features.h5")  # doctest: +SKIP
        FeatureStore('features.h5': 253 done, 0 failed, 0 pending; block5_pool (7, 7, 512))
    """
    archive, out = Path(archive), Path(out)
    check_output(out)
    index = read_index(archive)
    compression()  # what is not installed is told before anything is written
    with store_lock(out), new_file(out) as unfinished:
        with archive.open("rb") as source, unfinished.open("wb") as target:
            digest = _restore_pieces(source, target, index)
        store, layout = _checked_store(unfinished, index, archive, digest)
        total = len(store.rows()) * len(layout.layers)
        with archive.open("rb") as source, unfinished.open("r+b") as target:
            for number, (place, features) in enumerate(
                _rows(source, index, store, layout, archive), 1
            ):
                target.seek(place)
                target.write(features)
                if progress is not None:
                    progress(number, total)
        if store.verify():
            raise StoreError(
                f"{out}: what was read back is not what was written; is the disk sound?"
            )
    return FeatureStore(out)


def read_index(path: Path) -> ArchiveIndex:
    """Read and check the head of an archive.

    Raises:
        StoreError: the file is missing, no archive, of an unknown version, or damaged.
    """
    if not path.is_file():
        raise StoreError(f"{path}: no such file")
    with path.open("rb") as file:
        line, _, begun = file.read(_HEAD_BYTES).partition(b"\n")
        version = re.match(rb"freezeframe-archive (\d{1,9}) ", line)
        if not version:
            raise StoreError(f"{path}: not an archive of a feature store")
        if int(version[1]) != ARCHIVE_VERSION:
            raise StoreError(
                f"{path}: archive version {int(version[1])} is unknown; this reads {ARCHIVE_VERSION}"
            )
        rest = re.fullmatch(rb"(\d{1,7}) ([0-9a-f]{64})", line[version.end() :])
        length = int(rest[1]) if rest else 0
        text = (begun + file.read(max(0, length - len(begun))))[:length]
    if not rest or hashlib.sha256(text).hexdigest() != rest[2].decode():
        raise StoreError(f"{path}: damaged: its index is not what was written")
    try:
        return _parsed(json.loads(text))
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        RecursionError,
    ):  # made to deceive: its digest is right
        raise StoreError(f"{path}: damaged: its index is not one of an archive") from None


def _parsed(index: Any) -> ArchiveIndex:
    pieces = [(offset, length) for offset, length in index["pieces"]]
    chunks = dict(index["chunks"].items())
    numbers = [
        index["file_bytes"],
        index["store"],
        *chunks.values(),
        *(number for piece in pieces for number in piece),
    ]
    if not all(type(number) is int and 0 <= number < 2**63 for number in numbers):
        raise ValueError("a place is no number")
    digests = str(index["fingerprint"]), str(index.get("store_sha256", ""))
    return ArchiveIndex(index["file_bytes"], pieces, index["store"], chunks, *digests)


def _outside_layers(layout: Layout, file_bytes: int) -> list[Piece]:
    """The parts of a store's file that lie outside its layers."""
    pieces, begin = [], 0
    for extent in sorted(layout.layers.values(), key=lambda extent: extent.offset):
        pieces.append((begin, extent.offset - begin))
        begin = extent.end
    return [(begin, length) for begin, length in [*pieces, (begin, file_bytes - begin)] if length]


def _write_hdf5(
    store: FeatureStore,
    layout: Layout,
    path: Path,
    index: ArchiveIndex,
    room: int,
    progress: Progress | None,
) -> ArchiveIndex:
    """Write all of the archive but its head; the index that says where things came to lie."""
    with DeferredErrorFile(path) as raw, h5py.File(raw, "w", userblock_size=room) as file:
        digest = _write_columns(file, raw, store, layout, index.pieces)
        tables = {}
        finished = 0
        for name, extent in layout.layers.items():
            check_row(extent)
            chunk = (1, *extent.shape[1:])
            layer = file.create_dataset(
                f"layers/{name}", extent.shape, extent.dtype, chunks=chunk, **compression()
            )
            data = store.memmap(name)
            for row in store.rows():
                layer[row] = data[row]
                raw.check()
                finished += 1
                if progress is not None:
                    progress(finished, len(store.rows()) * len(layout.layers))
            tables[name] = _chunk_table(layer, store)
        for name, table in tables.items():
            file[f"chunks/{name}"] = table
        offsets = {name: file[f"chunks/{name}"].id.get_offset() for name in tables}
        index = replace(
            index, store=file["store"].id.get_offset(), chunks=offsets, store_sha256=digest
        )
        file.close()  # the last bytes are written now
        raw.check()
        return index


def _write_columns(
    file: h5py.File,
    raw: DeferredErrorFile,
    store: FeatureStore,
    layout: Layout,
    pieces: list[Piece],
) -> str:
    """Everything but the layers: as bytes to make the store of again and, but thumbnails, for any HDF5 library to read.

    Returns:
        SHA-256 of those bytes.
    """
    file.attrs["format"] = ARCHIVE
    file.attrs["format_version"] = ARCHIVE_VERSION
    file.create_group("provenance").attrs.update(store.provenance)
    for name, extent in layout.datasets.items():
        if not name.startswith("layers/") and name not in ROW_SHAPES:
            kind = (
                h5py.string_dtype("utf-8", extent.dtype.itemsize)
                if extent.dtype.kind == "S"
                else extent.dtype
            )
            file.create_dataset(name, data=np.array(extent.map(store.path)).astype(kind))
    dataset = file.create_dataset("store", (sum(length for _, length in pieces),), "u1")
    filled, digest = 0, hashlib.sha256()
    with store.path.open("rb") as source:
        for offset, length in pieces:
            source.seek(offset)
            for data in _read(source, length):
                dataset[filled : filled + len(data)] = np.frombuffer(data, "u1")
                digest.update(data)
                filled += len(data)
                raw.check()
    return digest.hexdigest()


def _chunk_table(layer: h5py.Dataset, store: FeatureStore) -> NDArray[np.uint64]:
    """Where the chunks of a layer lie in the archive, (offset, length), of shape (n, 2)."""
    layer.file.flush()
    table = np.zeros((len(store), 2), "<u8")
    for row in store.rows():
        info = layer.id.get_chunk_info_by_coord((int(row), 0, 0, 0))
        table[row] = info.byte_offset, info.size
    return table


def _restore_pieces(source: IO[bytes], target: IO[bytes], index: ArchiveIndex) -> str:
    """Write the store's file without its layers; where they will be the file has holes. The SHA-256 of what it got."""
    archive_bytes = os.fstat(source.fileno()).st_size
    if index.store + sum(length for _, length in index.pieces) > archive_bytes:
        raise StoreError(f"{source.name}: truncated: it should be longer")
    target.truncate(index.file_bytes)
    source.seek(index.store)
    digest = hashlib.sha256()
    for offset, length in index.pieces:
        if offset + length > index.file_bytes:
            raise StoreError(f"{source.name}: damaged: its pieces do not make a store")
        target.seek(offset)
        for data in _read(source, length):
            digest.update(data)
            target.write(data)
    return digest.hexdigest()


def _checked_store(
    path: Path, index: ArchiveIndex, archive: Path, digest: str
) -> tuple[FeatureStore, Layout]:
    """The store that the pieces make, its layers still empty, if it is one and the one that was archived."""
    try:
        layout = read_layout(path)
        # Every column lies in a piece, so none is larger than the archive, whatever its index
        # claims.
        whole = (
            _outside_layers(layout, index.file_bytes) == index.pieces
            and layout.layers.keys() == index.chunks.keys()
        )
        store = FeatureStore(path) if whole else None
    except StoreError as error:
        raise StoreError(f"{archive}: damaged: {str(error).removeprefix(f'{path}: ')}") from None
    if (
        store is None
        or store.fingerprint != index.fingerprint
        or digest != (index.store_sha256 or digest)
    ):
        raise StoreError(f"{archive}: damaged: it is not of the store that was archived")
    return store, layout


def _rows(
    source: IO[bytes],
    index: ArchiveIndex,
    store: FeatureStore,
    layout: Layout,
    archive: Path | None = None,
) -> Iterator[tuple[int, bytes]]:
    """The features of every done row: where they belong in the store's file, and their bytes, which are checked."""
    archive_bytes = os.fstat(source.fileno()).st_size
    for name, extent in layout.layers.items():
        decoder, checksums = Decoder(extent), store.checksums(name)
        source.seek(min(index.chunks[name], archive_bytes))
        table = np.frombuffer(
            source.read(len(store) * 16).ljust(len(store) * 16, b"\0"), "<u8"
        ).reshape(-1, 2)
        for row in store.rows():
            offset, length = map(int, table[row])
            data = b""
            if offset + length <= archive_bytes and length <= 2 * extent.row_bytes + _HEAD_BYTES:
                source.seek(offset)
                data = decoder.decode(source.read(length))
            if hashlib.sha256(data).hexdigest() != checksums[row]:
                where = archive or store.path
                raise StoreError(
                    f"{where}: damaged: the {name} features of {store.paths[row]} are not what was written"
                )
            yield extent.row_offset(int(row)), data


def _read(file: IO[bytes], length: int) -> Iterator[bytes]:
    """The next `length` bytes of a file, in parts."""
    while length:
        data = file.read(min(length, _COPY_BYTES))
        if not data:
            raise StoreError(f"{file.name}: truncated while it was read")
        length -= len(data)
        yield data
