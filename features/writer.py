"""Making a feature store and filling its rows, so that a crash at any instant leaves it readable. See FORMAT.md."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import filelock
import h5py
import numpy as np
from numpy.typing import NDArray

from ..data.output.files import whole_file
from ..errors import ParameterError, StoreError
from .hdf5_file import DeferredErrorFile
from .layout import (
    DIGEST_BYTES,
    DONE,
    FAILED,
    IDENTITY_COLUMNS,
    LAYER_DTYPES,
    PENDING,
    REASON_BYTES,
    ROW_COLUMNS,
    ROW_SHAPES,
    STORE_FORMAT,
    STORE_FORMAT_VERSION,
    Extent,
    Layout,
    encode_index,
    identity_digest,
    read_layout,
)

LayerShape = tuple[int, int, int]


@contextmanager
def store_lock(path: str | os.PathLike[str]) -> Iterator[None]:
    """Hold the one writer's lock on a store, made or yet to be made.

    The operating system drops the lock when its holder dies, so a dead writer never blocks.

    Raises:
        StoreError: another process holds the lock, or the folder cannot be written.
    """
    lock = filelock.FileLock(f"{os.fspath(path)}.lock", timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise StoreError(
            f"{path}: another process is writing this store; wait for it or give another output"
        ) from None
    except OSError as error:
        raise StoreError(f"{path}: cannot write here ({error.strerror or error})") from None
    try:
        yield
    finally:
        lock.release()


def create_store(
    path: str | os.PathLike[str],
    rows: Mapping[str, Sequence[str]],
    layers: Mapping[str, LayerShape],
    provenance: Mapping[str, Any],
) -> None:
    """Make a store at full size with every row pending; it gets its name only when complete. Call under `store_lock`.

    Args:
        path: where the store will be; what is there is replaced.
        rows: the columns of `IDENTITY_COLUMNS`, each a sequence of n_images strings.
        layers: for each layer its (height, width, channels).
        provenance: its fields; `dtype` is "float32" or "float16".

    Raises:
        StoreError: the file cannot be written.
        ParameterError: no rows, no layers, columns of unequal length, or an unknown dtype.
    """
    _check_new(rows, layers, provenance)
    path = Path(path)
    # Under the lock nobody else writes to this name.
    temporary = path.with_name(f".{path.name}.new")
    try:
        with whole_file(path, temporary=temporary):
            _write_new(temporary, _new_columns(rows, layers), layers, provenance)
    except OSError as error:
        raise StoreError(f"{path}: cannot write the store ({error.strerror or error})") from None


def _check_new(
    rows: Mapping[str, Sequence[str]],
    layers: Mapping[str, LayerShape],
    provenance: Mapping[str, Any],
) -> None:
    lengths = {len(rows[name]) for name in IDENTITY_COLUMNS}
    if len(lengths) != 1 or lengths == {0}:
        raise ParameterError("the columns of a store must have one length, at least 1")
    if not layers:
        raise ParameterError("a store needs at least one layer")
    if provenance["dtype"] not in LAYER_DTYPES:
        raise ParameterError(
            f"dtype must be one of {', '.join(LAYER_DTYPES)}, got {provenance['dtype']!r}"
        )


def _new_columns(
    rows: Mapping[str, Sequence[str]], layers: Mapping[str, LayerShape]
) -> dict[str, NDArray[Any]]:
    """All datasets but layers and thumbnails, as they are when every row is pending, by full name."""
    n = len(rows["path"])
    columns: dict[str, NDArray[Any]] = {}
    for name, dtype in ROW_COLUMNS.items():
        if name in IDENTITY_COLUMNS:
            try:
                values = np.array(rows[name], dtype="S")  # plain ASCII
            except UnicodeEncodeError:
                values = np.array([text.encode() for text in rows[name]], dtype="S")
            columns[f"rows/{name}"] = values.astype(
                f"S{max(1, values.dtype.itemsize)}" if dtype == "S" else dtype
            )
        elif f"rows/{name}" not in ROW_SHAPES:
            columns[f"rows/{name}"] = np.zeros(n, dtype)
    return columns | {f"checksums/{name}": np.zeros(n, f"S{DIGEST_BYTES}") for name in layers}


def _write_new(
    path: Path,
    columns: Mapping[str, NDArray[Any]],
    layers: Mapping[str, LayerShape],
    provenance: Mapping[str, Any],
) -> None:
    """Write the HDF5 file, and before it, in the space that HDF5 leaves to others, the index."""
    n = len(columns["rows/path"])
    shapes = {name: (column.shape, column.dtype) for name, column in columns.items()}
    shapes |= {
        name: ((n, *shape), np.dtype(ROW_COLUMNS[name.removeprefix("rows/")]))
        for name, shape in ROW_SHAPES.items()
    }
    dtype = np.dtype(LAYER_DTYPES[provenance["dtype"]])
    shapes |= {f"layers/{name}": ((n, *shape), dtype) for name, shape in layers.items()}
    identity = identity_digest({name: columns[f"rows/{name}"] for name in IDENTITY_COLUMNS})

    def index(offsets: Mapping[str, int]) -> bytes:
        datasets = {name: Extent(offsets[name], *shape) for name, shape in shapes.items()}
        return encode_index(Layout(datasets, dict(provenance), identity))

    # HDF5 leaves a power of two to others at the head of a file; where the datasets will lie is not
    # known yet.
    room = max(512, 1 << (len(index(dict.fromkeys(shapes, 2**63))) - 1).bit_length())
    how = {"userblock_size": room, "alignment_threshold": 64, "alignment_interval": 64}
    with (
        DeferredErrorFile(path) as raw,
        h5py.File(raw, "w", libver=("earliest", "v108"), **how) as file,
    ):
        file.attrs["format"] = STORE_FORMAT
        file.attrs["format_version"] = STORE_FORMAT_VERSION
        file.create_group("provenance").attrs.update(provenance)
        offsets = {
            name: _dataset(file, name, *shape).id.get_offset() for name, shape in shapes.items()
        }
        for name, column in columns.items():
            file[name][...] = column.astype(
                file[name].dtype
            )  # h5py notes in the dtype that text is UTF-8
        file.close()  # the last bytes are written now
        raw.check()
    with path.open("r+b") as handle:
        handle.write(index(offsets))
        handle.flush()
        os.fsync(handle.fileno())


def _dataset(
    file: h5py.File, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> h5py.Dataset:
    """A contiguous dataset that has its place in the file at once, and holds nothing yet."""
    kind = h5py.string_dtype("utf-8", dtype.itemsize) if dtype.kind == "S" else dtype
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5py.h5d.CONTIGUOUS)
    plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plist.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    return file.create_dataset(name, shape, kind, dcpl=plist)


def write_at(file: io.FileIO, offset: int, data: bytes | memoryview) -> None:
    """Write all of `data` at an offset; where the system can, several threads may do so at once."""
    view = memoryview(data)
    while view:
        if hasattr(os, "pwrite"):
            written = os.pwrite(file.fileno(), view, offset)
        else:
            file.seek(offset)
            written = file.write(view)
        offset, view = offset + written, view[written:]


class StoreWriter:
    """Fills the pending rows of a store through plain file I/O at the datasets' offsets. Call under `store_lock`.

    Several threads may `put` different rows at once where the system has `pwrite`, which Windows
    has not.

    Args:
        path: an existing store.

    Attributes:
        pending: row numbers still to be computed, ascending, of shape (n_pending,).
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._layout = read_layout(path)
        if self._layout.version != STORE_FORMAT_VERSION:
            raise StoreError(
                f"{path}: of format version {self._layout.version}, which is only read; "
                "extract-features makes a store of today's version of it"
            )
        try:
            self._file = io.FileIO(path, "r+")
        except OSError as error:
            raise StoreError(f"{path}: cannot be written ({error.strerror})") from None
        self.pending: NDArray[np.intp] = np.flatnonzero(self._layout.read_status(path) == PENDING)

    def write(
        self,
        rows: Sequence[int],
        features: Mapping[str, NDArray[Any]],
        sizes: Sequence[tuple[int, int]],
    ) -> None:
        """Write finished rows: features, flush, then sizes and checksums, then status.

        Args:
            rows: row numbers, of length b.
            features: for every layer of the store an array of shape (at least b, height, width,
                channels); the first b entries are written, what follows is padding.
            sizes: (height, width) of each image as decoded, in pixels; at least b.

        Raises:
            StoreError: the file cannot be written (a full disk, say); rows finished before stay
                finished.
        """
        checksums = [
            self.put(row, {name: features[name][i] for name in features})
            for i, row in enumerate(rows)
        ]
        self.flush()
        for row, found, size in zip(rows, checksums, sizes, strict=False):
            self.finish(row, found, size)

    def put(self, row: int, features: Mapping[str, NDArray[Any]]) -> dict[str, str]:
        """Write the features of one row, by layer (height, width, channels); the first of the three steps of `write`.

        Returns:
            Their checksums by layer, for `finish`; empty, and nothing is written, if they are not
            finite in the store's dtype.
        """
        layers = {name: self._encoded(name, features[name]) for name in self._layout.layers}
        if not all(np.isfinite(array).all() for array in layers.values()):
            return {}
        for name, array in layers.items():
            self._put(self._layout.layers[name], row, array.data.cast("B"))
        return {name: hashlib.sha256(array.data).hexdigest() for name, array in layers.items()}

    def put_fingerprint(self, row: int, pixels: str, thumbnail: NDArray[np.uint8]) -> None:
        """Write what an image is recognised by. Of a pending row any time before the flush that `finish` waits for.

        Args:
            row: its number.
            pixels: SHA-256 of the decoded image, hexadecimal.
            thumbnail: the image small and grey, uint8 of shape (THUMBNAIL_SIDE, THUMBNAIL_SIDE).
        """
        self._put_thumbnail(row, thumbnail)
        self._put(self._layout.rows["pixels"], row, pixels.encode())

    def put_late_fingerprints(
        self, fingerprints: Mapping[int, tuple[str, NDArray[np.uint8]]]
    ) -> None:
        """Write fingerprints, (pixels, thumbnail) by row, of rows that are done: thumbnails, flush, then pixels."""
        for row, (_, thumbnail) in fingerprints.items():
            self._put_thumbnail(row, thumbnail)
        self.flush()
        for row, (pixels, _) in fingerprints.items():
            self._put(self._layout.rows["pixels"], row, pixels.encode())

    def forget_fingerprint(self, row: int) -> None:
        """Say of a pending row that it has no fingerprint, whatever a writer that was killed left there."""
        self._put(self._layout.rows["pixels"], row, bytes(DIGEST_BYTES))

    def put_duplicates(self, numbers: NDArray[np.integer[Any]]) -> None:
        """Write the numbers of the near-duplicate groups of all rows, of shape (n,): from 1 on, 0 where not known.

        Zeros are flushed first, so that numbers of which a crash wrote some are never taken for
        whole.
        """
        extent = self._layout.rows["duplicates"]
        if numbers.shape != extent.shape:
            raise ParameterError(
                f"numbers of groups must have shape {extent.shape}, got {numbers.shape}"
            )
        for column in (np.zeros(extent.shape, extent.dtype), numbers.astype(extent.dtype)):
            self._write_at(extent.offset, column.data.cast("B"))
            self.flush()

    def finish(self, row: int, checksums: Mapping[str, str], size: tuple[int, int]) -> None:
        """Mark a row as done whose features were `put` and, since then, flushed; as failed without checksums."""
        if not checksums:
            dtype = self._layout.provenance["dtype"]
            self.fail(
                row,
                f"its features are not finite as {dtype}" + "; use float32" * (dtype != "float32"),
            )
            return
        for name, checksum in checksums.items():
            self._put(self._layout.checksums[name], row, checksum.encode())
        self._put(self._layout.rows["height"], row, np.array(size[0], "<u4").tobytes())
        self._put(self._layout.rows["width"], row, np.array(size[1], "<u4").tobytes())
        self._put(self._layout.rows["status"], row, bytes([DONE]))

    def copy(self, row: int, to: int) -> dict[str, str]:
        """Put the features of a row that is done into another row; like `put`, with no checksums if it is not done."""
        if self._get(self._layout.rows["status"], row) != bytes([DONE]):
            return {}
        for extent in self._layout.layers.values():
            self._put(extent, to, self._get(extent, row))
        return {
            name: self._get(extent, row).decode() for name, extent in self._layout.checksums.items()
        }

    def fail(self, row: int, reason: str) -> None:
        """Mark a row as failed, with the reason (cut to 200 bytes)."""
        # Cutting bytes may split a character; "ignore" drops the half.
        text = " ".join(reason.split()).encode()[:REASON_BYTES].decode(errors="ignore").encode()
        self._put(self._layout.rows["reason"], row, text.ljust(REASON_BYTES, b"\0"))
        self._put(self._layout.rows["status"], row, bytes([FAILED]))

    def close(self) -> None:
        """Flush and close the file."""
        if not self._file.closed:
            self.flush()
            self._file.close()

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _encoded(self, name: str, array: NDArray[Any]) -> NDArray[Any]:
        """One row's features in the store's dtype; what is too large for it becomes infinite."""
        extent = self._layout.layers[name]
        if array.shape != extent.shape[1:]:
            raise ParameterError(
                f"{name}: a row's features have shape {array.shape}, the store wants {extent.shape[1:]}"
            )
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(array, dtype=extent.dtype)

    def _put_thumbnail(self, row: int, thumbnail: NDArray[np.uint8]) -> None:
        data = np.ascontiguousarray(thumbnail, np.uint8).data.cast("B")
        self._put(self._layout.rows["thumbnail"], row, data)

    def _get(self, extent: Extent, row: int) -> bytes:
        """One row's bytes."""
        try:
            self._file.seek(extent.row_offset(row))
            return self._file.read(extent.row_bytes)
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be read ({error.strerror})") from None

    def _put(self, extent: Extent, row: int, data: bytes | memoryview) -> None:
        """Write one row's bytes, all of them."""
        if not 0 <= row < extent.shape[0] or len(data) != extent.row_bytes:
            raise ParameterError(f"row {row} of {len(data)} bytes does not fit into {extent}")
        self._write_at(extent.row_offset(row), data)

    def _write_at(self, offset: int, data: bytes | memoryview) -> None:
        try:
            write_at(self._file, offset, data)
        except OSError as error:
            raise StoreError(
                f"{self.path}: cannot write ({error.strerror}); finished rows are safe"
            ) from None

    def flush(self) -> None:
        """Bring what was written to the disk."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise StoreError(
                f"{self.path}: cannot write ({error.strerror}); finished rows are safe"
            ) from None
