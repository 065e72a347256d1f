"""The writer of rows of a feature store; a crash at any instant leaves the store readable.

FORMAT.md, section "How rows are filled", gives the order of the steps and the reasons.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ParameterError, StoreError
from .checksums.facts import FACTS, UNFINISHED, fact_checksum
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
    write_at,
)


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
            raise StoreError(
                f"{path}: cannot be written ({error.strerror}); check the file's permissions"
            ) from None
        try:
            status = self.layout.read_status(self._file)
        except StoreError as error:
            self._file.close()
            raise StoreError(f"{path}: {error}") from None
        self.pending: NDArray[np.intp] = np.flatnonzero(status == PENDING)

    def write(
        self,
        rows: Sequence[int],
        features: Mapping[str, NDArray[Any]],
        sizes: Sequence[tuple[int, int]],
    ) -> None:
        """Write finished rows: all but the checksum of the status, flush, then this checksum.

        Args:
            rows: row numbers, of length b.
            features: for every layer of the store an array of shape (at least b, height, width,
                channels); the first b entries are written, the rest is padding.
            sizes: (height, width) of each decoded image in pixels, at least b of them.

        Raises:
            StoreError: the file cannot be written, for example on a full disk; rows that were
                finished before stay finished.
        """
        results = {}
        for i, row in enumerate(rows):
            checksums = self.put(row, {name: features[name][i] for name in features})
            results[row] = (checksums, sizes[i])
        self.finish(results)

    def put(self, row: int, features: Mapping[str, NDArray[Any]]) -> dict[str, str]:
        """Write the features of one row: the first step of `write`.

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

        `finish` flushes it to the disk.

        Args:
            row: number of the row.
            pixels: SHA-256 of the decoded image, hexadecimal.
            thumbnail: the image small and grey, uint8 of shape (THUMBNAIL_SIDE, THUMBNAIL_SIDE).
        """
        self._put_pictures(row, pixels, thumbnail)
        self._put_checksum(row, "fingerprint", pixels.encode(), _bytes_of(thumbnail))

    def put_late_fingerprints(
        self, fingerprints: Mapping[int, tuple[str, NDArray[np.uint8]]]
    ) -> None:
        """Write fingerprints of done rows: marks, flush, fingerprints, flush, then checksums.

        Args:
            fingerprints: (pixels, thumbnail) by row number, as for `put_fingerprint`.
        """
        for row in fingerprints:
            mark = UNFINISHED.ljust(DIGEST_BYTES, b"\0")
            self._put(self.layout.rows[FACTS["fingerprint"]], row, mark)
        # A marked fingerprint is unknown, so a crash leaves neither a false one nor damage.
        self.flush()
        for row, (pixels, thumbnail) in fingerprints.items():
            self._put_pictures(row, pixels, thumbnail)
        self.flush()
        for row, (pixels, thumbnail) in fingerprints.items():
            self._put_checksum(row, "fingerprint", pixels.encode(), _bytes_of(thumbnail))

    def forget_fingerprint(self, row: int) -> None:
        """Clear a fingerprint that is damaged, or that a killed writer left in a pending row."""
        for name in ("pixels", FACTS["fingerprint"]):
            self._put(self.layout.rows[name], row, bytes(DIGEST_BYTES))

    def put_duplicates(self, numbers: NDArray[np.integer[Any]]) -> None:
        """Write the numbers of the near-duplicate groups of all rows.

        Args:
            numbers: numbers from 1 on, 0 where the group is unknown, of shape (n,).
        """
        extent = self.layout.rows["duplicates"]
        if numbers.shape != extent.shape:
            raise ParameterError(
                f"{self.path}: numbers of groups must have shape {extent.shape}, "
                f"got {numbers.shape}; give one for each row"
            )
        sha256s = self.column("sha256")
        column = numbers.astype(extent.dtype)
        checksums = np.zeros(extent.shape, f"S{DIGEST_BYTES}")
        for row in np.flatnonzero(column):
            checksums[row] = fact_checksum(_bytes_of(sha256s[row : row + 1]), column[row].tobytes())
        place = self.layout.rows[FACTS["duplicates"]].offset
        # After a crash, readers must not take a mix of old and new numbers for the groups.
        marks = np.full_like(checksums, UNFINISHED)
        for offset, values in ((place, marks), (extent.offset, column), (place, checksums)):
            self._write_at(offset, _bytes_of(values))
            self.flush()

    def finish(self, results: Mapping[int, tuple[Mapping[str, str], tuple[int, int]]]) -> None:
        """Mark rows as done after `put`; mark those without checksums of features as failed.

        A row counts as done once the checksum of its status is there. Everything else is flushed
        before, so a done row has everything on the disk.

        Args:
            results: by row number, the result of `put` or `copy`, and (height, width) of the
                decoded image in pixels.
        """
        failed = {}
        done = {}
        for row, (checksums, size) in results.items():
            if checksums:
                done[row] = self._put_facts(row, checksums, size)
            else:
                dtype = self.layout.provenance["dtype"]
                advice = "" if dtype == "float32" else "; use float32"
                failed[row] = f"its features are not finite as {dtype}{advice}"
        self._mark(done)
        self.fail(failed)

    def forget(self, rows: Iterable[int]) -> None:
        """Make rows pending again, because their status does not match its checksum.

        Args:
            rows: row numbers; they count as pending when the store is opened again.
        """
        numbers = list(rows)
        # Without the checksum a row is pending, whatever its status says.
        for row in numbers:
            self._put(self.layout.rows[FACTS["status"]], row, bytes(DIGEST_BYTES))
        self.flush()
        for row in numbers:
            self._put(self.layout.rows["status"], row, bytes([PENDING]))
        self.flush()

    def _mark(self, facts: Mapping[int, tuple[bytes, ...]]) -> None:
        """Write the status of rows, flush, then write the checksum that makes it count.

        In the other order, a crash would look like a status that fell back to pending.

        Args:
            facts: by row number, its bytes in the columns that the checksum covers, status first.
        """
        for row, values in facts.items():
            self._put(self.layout.rows["status"], row, values[0])
        self.flush()
        for row, values in facts.items():
            self._put_checksum(row, "status", *values)

    def _put_facts(
        self, row: int, checksums: Mapping[str, str], size: tuple[int, int]
    ) -> tuple[bytes, ...]:
        """Write the checksums of a row's features, and its size; return its facts for `_mark`."""
        height, width = size
        height_bytes = np.array(height, "<u4").tobytes()
        width_bytes = np.array(width, "<u4").tobytes()
        for name, checksum in checksums.items():
            self._put(self.layout.checksums[name], row, checksum.encode())
        self._put(self.layout.rows["height"], row, height_bytes)
        self._put(self.layout.rows["width"], row, width_bytes)
        return bytes([DONE]), width_bytes, height_bytes

    def copy(self, row: int, to: int) -> dict[str, str]:
        """Copy the features of a done row into another row.

        Returns:
            Checksums by layer, for `finish`; empty if the row is not done.
        """
        marked = self._get(self.layout.rows[FACTS["status"]], row) != bytes(DIGEST_BYTES)
        if self._get(self.layout.rows["status"], row) != bytes([DONE]) or not marked:
            return {}
        for extent in self.layout.layers.values():
            self._put(extent, to, self._get(extent, row))
        return {
            name: self._get(extent, row).decode() for name, extent in self.layout.checksums.items()
        }

    def fail(self, reasons: Mapping[int, str]) -> None:
        """Mark rows as failed.

        Args:
            reasons: the reason of each row, by row number; cut to REASON_BYTES bytes.
        """
        if not reasons:
            return
        facts = {}
        for row, reason in reasons.items():
            # Cutting bytes may split a character; "ignore" drops the broken half.
            text = " ".join(reason.split()).encode()[:REASON_BYTES].decode(errors="ignore")
            data = text.encode().ljust(REASON_BYTES, b"\0")
            self._put(self.layout.rows["reason"], row, data)
            facts[row] = (bytes([FAILED]), data)
        self._mark(facts)

    def column(self, name: str) -> NDArray[Any]:
        """Read a column of `/rows`, as stored."""
        return self.layout.rows[name].read(self._file)

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

    def __exit__(self, *_: object) -> None:
        self.close()

    def _stored_features(self, layer: str, features: NDArray[Any]) -> NDArray[Any]:
        """Convert one row's features to the store's dtype; values too large for it become inf."""
        extent = self.layout.layers[layer]
        if features.shape != extent.shape[1:]:
            raise ParameterError(
                f"{layer}: the features of a row have shape {features.shape}, "
                f"the store holds {extent.shape[1:]}; give features of this layer"
            )
        # `put` reports an overflow as a failed row, so NumPy's warning is not needed.
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(features, dtype=extent.dtype)

    def _put_pictures(self, row: int, pixels: str, thumbnail: NDArray[np.uint8]) -> None:
        self._put(self.layout.rows["thumbnail"], row, _bytes_of(thumbnail))
        self._put(self.layout.rows["pixels"], row, pixels.encode())

    def _put_checksum(self, row: int, fact: str, *values: bytes | memoryview) -> None:
        """Write the checksum of a fact of a row; see `fact_checksum`."""
        sha256 = self._get(self.layout.rows["sha256"], row)
        self._put(self.layout.rows[FACTS[fact]], row, fact_checksum(sha256, *values))

    def _get(self, extent: Extent, row: int) -> bytes:
        """Read one row's bytes."""
        try:
            return extent.read(self._file, slice(row, row + 1)).tobytes()
        except StoreError as error:
            raise StoreError(f"{self.path}: {error}") from None
        except OSError as error:
            raise StoreError(
                f"{self.path}: cannot be read ({error.strerror}); check the file and its disk"
            ) from None

    def _put(self, extent: Extent, row: int, data: bytes | memoryview) -> None:
        """Write one row's bytes, all of them."""
        if not 0 <= row < extent.shape[0] or len(data) != extent.row_bytes:
            raise ParameterError(
                f"{self.path}: row {row} of {len(data)} bytes does not fit into {extent}; "
                "give a row of this store"
            )
        self._write_at(extent.row_offset(row), data)

    def _write_at(self, offset: int, data: bytes | memoryview) -> None:
        try:
            write_at(self._file, offset, data)
        except OSError as error:
            raise self._write_error(error) from None

    def _write_error(self, error: OSError) -> StoreError:
        return StoreError(
            f"{self.path}: cannot write ({error.strerror}); finished rows are safe, make room or "
            "check the disk, then run the same command again"
        )


def _bytes_of(values: NDArray[Any]) -> memoryview:
    """Return the bytes of an array, in C order."""
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
