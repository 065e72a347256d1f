"""The writer of rows of a feature store; a crash at any instant leaves the store readable.

FORMAT.md, section "How rows are filled", gives the order of the steps and the reasons.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.output.locks import file_lock
from ..errors import ParameterError, StoreError
from .index import read_layout
from .layout import (
    DIGEST_BYTES,
    DONE,
    FAILED,
    PENDING,
    REASON_BYTES,
    STORE_FORMAT_VERSION,
    Extent,
    row_checksum,
)


@contextmanager
def store_lock(path: str | os.PathLike[str]) -> Iterator[None]:
    """Hold the lock on a store that only one writer can have; the store need not exist yet.

    The operating system releases the lock when its holder dies, so a dead writer never blocks.

    Raises:
        StoreError: another process holds the lock, or the folder cannot be written.
    """
    with ExitStack() as stack:
        try:
            # The other writer is reported at once: waiting for it may take hours.
            stack.enter_context(file_lock(Path(f"{os.fspath(path)}.lock")))
        except TimeoutError as holder:
            raise StoreError(
                f"{path}: {holder} is writing this store; wait for it or give another output"
            ) from None
        except OSError as error:
            raise StoreError(f"{path}: cannot write here ({error.strerror or error})") from None
        yield


def write_at(file: io.FileIO, offset: int, data: bytes | memoryview) -> None:
    """Write all of `data` at an offset; with `os.pwrite`, several threads may do so at once."""
    view = memoryview(data)
    while view:
        # pwrite has no position in the file that threads would share.
        if hasattr(os, "pwrite"):
            written = os.pwrite(file.fileno(), view, offset)
        else:
            file.seek(offset)
            written = file.write(view)
        offset += written
        view = view[written:]


class StoreWriter:
    """A writer that fills the pending rows of a store; use it under `store_lock`.

    It writes through plain file I/O at the datasets' offsets, never through HDF5. Several threads
    may `put` different rows at once where the system has `os.pwrite`; Windows lacks it.

    Args:
        path: path of an existing store.

    Attributes:
        pending: row numbers that were pending when the store was opened, ascending, of shape
            (n_pending,).

    Raises:
        StoreError: the store cannot be read or written, or is of an older format version.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.layout = read_layout(path)
        if self.layout.version != STORE_FORMAT_VERSION:
            raise StoreError(
                f"{path}: format version {self.layout.version} can only be read; "
                "run extract-features, which rewrites it in today's version"
            )
        try:
            self._file = io.FileIO(path, "r+")
        except OSError as error:
            raise StoreError(f"{path}: cannot be written ({error.strerror})") from None
        self.pending: NDArray[np.intp] = np.flatnonzero(self.layout.read_status(path) == PENDING)

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
                channels); the first b entries are written, the rest is padding.
            sizes: (height, width) of each decoded image in pixels, at least b of them.

        Raises:
            StoreError: the file cannot be written, for example on a full disk; rows that were
                finished before stay finished.
        """
        checksums = [
            self.put(row, {name: features[name][i] for name in features})
            for i, row in enumerate(rows)
        ]
        # Features must be on the disk before any row says that it is done.
        self.flush()
        for row, row_checksums, size in zip(rows, checksums, sizes, strict=False):
            self.finish(row, row_checksums, size)

    def put(self, row: int, features: Mapping[str, NDArray[Any]]) -> dict[str, str]:
        """Write the features of one row: the first of the three steps of `write`.

        Args:
            row: number of the row.
            features: arrays of shape (height, width, channels) by layer.

        Returns:
            Checksums by layer, for `finish`. Empty if the features are not finite in the store's
            dtype; nothing is written then.
        """
        layers = {name: self._stored_features(name, features[name]) for name in self.layout.layers}
        # No score may depend on inf or NaN; float16 overflows above 65504.
        if not all(np.isfinite(array).all() for array in layers.values()):
            return {}
        for name, array in layers.items():
            self._put(self.layout.layers[name], row, array.data.cast("B"))
        return {name: row_checksum(array) for name, array in layers.items()}

    def put_fingerprint(self, row: int, pixels: str, thumbnail: NDArray[np.uint8]) -> None:
        """Write the fingerprint of the image of a pending row.

        Call it before the flush that `finish` waits for.

        Args:
            row: number of the row.
            pixels: SHA-256 of the decoded image, hexadecimal.
            thumbnail: the image small and grey, uint8 of shape (THUMBNAIL_SIDE, THUMBNAIL_SIDE).
        """
        self._put_thumbnail(row, thumbnail)
        self._put(self.layout.rows["pixels"], row, pixels.encode())

    def put_late_fingerprints(
        self, fingerprints: Mapping[int, tuple[str, NDArray[np.uint8]]]
    ) -> None:
        """Write fingerprints of rows that are done: thumbnails, flush, then pixels.

        Args:
            fingerprints: (pixels, thumbnail) by row number, as for `put_fingerprint`.
        """
        for row, (_, thumbnail) in fingerprints.items():
            self._put_thumbnail(row, thumbnail)
        # Readers expect a thumbnail in every row with pixels, so pixels come second.
        self.flush()
        for row, (pixels, _) in fingerprints.items():
            self._put(self.layout.rows["pixels"], row, pixels.encode())

    def forget_fingerprint(self, row: int) -> None:
        """Clear the fingerprint of a pending row; a killed writer may have left one there."""
        self._put(self.layout.rows["pixels"], row, bytes(DIGEST_BYTES))

    def put_duplicates(self, numbers: NDArray[np.integer[Any]]) -> None:
        """Write the numbers of the near-duplicate groups of all rows.

        Args:
            numbers: numbers from 1 on, 0 where the group is unknown, of shape (n,).
        """
        extent = self.layout.rows["duplicates"]
        if numbers.shape != extent.shape:
            raise ParameterError(
                f"numbers of groups must have shape {extent.shape}, got {numbers.shape}"
            )
        # Zeros are flushed first: after a crash, readers must not mix old and new numbers.
        for column in (np.zeros(extent.shape, extent.dtype), numbers.astype(extent.dtype)):
            self._write_at(extent.offset, column.data.cast("B"))
            self.flush()

    def finish(self, row: int, checksums: Mapping[str, str], size: tuple[int, int]) -> None:
        """Mark a row as done after `put` and `flush`; mark it as failed if it has no checksums.

        Args:
            row: number of the row.
            checksums: the result of `put` or `copy`.
            size: (height, width) of the decoded image in pixels.
        """
        if not checksums:
            dtype = self.layout.provenance["dtype"]
            advice = "" if dtype == "float32" else "; use float32"
            self.fail(row, f"its features are not finite as {dtype}{advice}")
            return
        height, width = size
        # The status comes last: from then on readers use the row.
        for name, checksum in checksums.items():
            self._put(self.layout.checksums[name], row, checksum.encode())
        self._put(self.layout.rows["height"], row, np.array(height, "<u4").tobytes())
        self._put(self.layout.rows["width"], row, np.array(width, "<u4").tobytes())
        self._put(self.layout.rows["status"], row, bytes([DONE]))

    def copy(self, row: int, to: int) -> dict[str, str]:
        """Copy the features of a done row into another row.

        Returns:
            Checksums by layer, for `finish`; empty if the row is not done.
        """
        if self._get(self.layout.rows["status"], row) != bytes([DONE]):
            return {}
        for extent in self.layout.layers.values():
            self._put(extent, to, self._get(extent, row))
        return {
            name: self._get(extent, row).decode() for name, extent in self.layout.checksums.items()
        }

    def fail(self, row: int, reason: str) -> None:
        """Mark a row as failed, with the reason, cut to REASON_BYTES bytes."""
        # Cutting bytes may split a character; "ignore" drops the broken half.
        text = " ".join(reason.split()).encode()[:REASON_BYTES].decode(errors="ignore").encode()
        self._put(self.layout.rows["reason"], row, text.ljust(REASON_BYTES, b"\0"))
        self._put(self.layout.rows["status"], row, bytes([FAILED]))

    def flush(self) -> None:
        """Bring all written bytes to the disk."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._write_error(error) from None

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

    def _stored_features(self, layer: str, features: NDArray[Any]) -> NDArray[Any]:
        """Convert one row's features to the store's dtype; values too large for it become inf."""
        extent = self.layout.layers[layer]
        if features.shape != extent.shape[1:]:
            raise ParameterError(
                f"{layer}: the features of a row have shape {features.shape}, "
                f"the store holds {extent.shape[1:]}"
            )
        # `put` reports an overflow as a failed row, so NumPy's warning is not needed.
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(features, dtype=extent.dtype)

    def _put_thumbnail(self, row: int, thumbnail: NDArray[np.uint8]) -> None:
        data = np.ascontiguousarray(thumbnail, np.uint8).data.cast("B")
        self._put(self.layout.rows["thumbnail"], row, data)

    def _get(self, extent: Extent, row: int) -> bytes:
        """Read one row's bytes."""
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
            raise self._write_error(error) from None

    def _write_error(self, error: OSError) -> StoreError:
        return StoreError(f"{self.path}: cannot write ({error.strerror}); finished rows are safe")
