"""A file for the HDF5 library to write to, which never tells it of an error."""

from __future__ import annotations

import io
import os
from pathlib import Path


class DeferredErrorFile(io.RawIOBase):
    """A new file that takes every write, and remembers the first that failed; `check` tells of it.

    On a full disk the HDF5 library ends the process with a segmentation fault (seen with 1.14.6,
    when it closes a file whose metadata it could not write). So it is not told: what did not fit is
    kept in memory, for it to read back, until the writer asks. Who writes asks often, so that
    little is kept.

    Args:
        path: the file; what is there is replaced.

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
        self._kept: list[tuple[int, bytes]] = []
        self._place = self._size = 0

    def check(self) -> None:
        """Raise what went wrong, if anything did.

        Raises:
            OSError: a write failed.
        """
        if self._error is not None:
            raise self._error

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._place = (
            offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        )
        return self._place

    def tell(self) -> int:
        return self._place

    def write(self, data: bytes | bytearray | memoryview) -> int:  # type: ignore[override]
        view = memoryview(data).cast("B")
        length, begin = len(view), self._place
        try:
            self.check()
            self._file.seek(begin)
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            self._error = error
            self._kept.append((begin + length - len(view), bytes(view)))
        self._place = begin + length
        self._size = max(self._size, self._place)
        return length

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        view = memoryview(buffer).cast("B")
        length = max(0, min(len(view), self._size - self._place))
        self._file.seek(self._place)
        found = self._file.read(length) or b""
        view[:length] = found.ljust(length, b"\0")
        for offset, data in self._kept:
            begin, end = max(offset, self._place), min(offset + len(data), self._place + length)
            if begin < end:
                view[begin - self._place : end - self._place] = data[begin - offset : end - offset]
        self._place += length
        return length

    def truncate(self, size: int | None = None) -> int:
        self._size = self._place if size is None else size
        try:
            self.check()
            self._file.truncate(self._size)
        except OSError as error:
            self._error = error
        return self._size

    def close(self) -> None:
        """Close the file, without a word of errors; see `check`."""
        if not self.closed:
            self._file.close()
        super().close()
