"""A file for the HDF5 library to write to, which hides write errors from the library."""

from __future__ import annotations

import io
import os
from pathlib import Path


class DeferredErrorFile(io.RawIOBase):
    """A new file that accepts every write and keeps the first error until `check` is called.

    On a full disk the HDF5 library ends the process with a segmentation fault. We saw this with
    1.14.6, when it closed a file whose metadata it could not write. This file therefore reports
    success for every write. Bytes that did not fit on the disk are held in memory, so that HDF5 can
    read them back. Callers call `check` often, so that little is held.

    Args:
        path: path of the file; an existing file is replaced.

    Examples:
        >>> import h5py
        >>> with DeferredErrorFile(Path("new.h5")) as raw, h5py.File(raw, "w") as file:
        ...     file["x"] = 1
        ...     raw.check()
        >>> h5py.File("new.h5")["x"][()]
        np.int64(1)
    """

    def __init__(self, path: Path) -> None:
        self._file = io.FileIO(path, "w+")
        self._error: OSError | None = None
        # Offset and bytes of each part that is not on the disk.
        self._unwritten: list[tuple[int, bytes]] = []
        self._position = 0
        self._size = 0

    def check(self) -> None:
        """Raise the first error, if there was one.

        Raises:
            OSError: a write failed.
        """
        if self._error is not None:
            raise self._error

    def seekable(self) -> bool:
        """Return True."""
        return True

    def readable(self) -> bool:
        """Return True."""
        return True

    def writable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position, as for any file."""
        starts = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}
        self._position = starts[whence] + offset
        return self._position

    def write(self, data: bytes | bytearray | memoryview) -> int:  # type: ignore[override]
        """Write all bytes: to the disk, or to memory if the disk failed now or before."""
        view = memoryview(data).cast("B")
        begin = self._position
        end = begin + len(view)
        try:
            # After one error nothing more goes to the disk, so that reads stay consistent.
            self.check()
            self._file.seek(begin)
            while view:
                # A write may be partial, for example just before the disk is full.
                written = self._file.write(view)
                view = view[written:]
        except OSError as error:
            self._error = error
            self._unwritten.append((end - len(view), bytes(view)))
        self._position = end
        self._size = max(self._size, end)
        return end - begin

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Read from the disk, then lay the bytes in memory over it, oldest first."""
        view = memoryview(buffer).cast("B")
        start = self._position
        length = max(0, min(len(view), self._size - start))
        self._file.seek(start)
        on_disk = self._file.read(length) or b""
        # Beyond its end on the disk the file reads as zeros, like a sparse file.
        view[:length] = on_disk.ljust(length, b"\0")
        for offset, data in self._unwritten:
            begin = max(offset, start)
            end = min(offset + len(data), start + length)
            if begin < end:
                view[begin - start : end - start] = data[begin - offset : end - offset]
        self._position = start + length
        return length

    def truncate(self, size: int | None = None) -> int:
        """Set the size of the file."""
        self._size = self._position if size is None else size
        try:
            self.check()
            self._file.truncate(self._size)
        except OSError as error:
            self._error = error
        return self._size

    def close(self) -> None:
        """Close the file without reporting errors; see `check`."""
        if not self.closed:
            self._file.close()
        super().close()
