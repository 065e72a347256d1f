"""Atomic writes: a file is written whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from ...errors import ParameterError, StoreError
from .locks import lock_open_file


@contextmanager
def temporary_file(path: Path) -> Iterator[Path]:
    """Yield the path of a new, empty file beside `path`; delete that file if it is left at the end.

    Every file that is written aside is made here. Its name is random and its own, so a link that
    somebody put there is not followed. A lock on it shows that its writer lives: files of dead
    writers of the same `path` are removed first. Where the file system has no locks, they stay.

    Args:
        path: the name that the file gets later; the folder must exist.

    Raises:
        OSError: the file cannot be created.
    """
    file = _create(path)
    temporary = Path(file.name)
    try:
        remove_leftovers(path.parent, path.name)
        yield temporary
    finally:
        # After the renaming the random name is free, so nothing of value is deleted here. An error
        # here would hide the outcome.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        with suppress(OSError):
            file.close()


def _create(path: Path) -> FileIO:
    """Create a temporary file and lock it; the file is closed where it cannot be locked."""
    while True:
        temporary = path.with_name(f".{path.name}-{secrets.token_hex(8)}.new")
        # "x" fails if the name is taken, also by a link. The mode follows the user's mask.
        file = FileIO(str(temporary), "x+")
        # Before it has its lock, another process may take the file for a leftover.
        with suppress(BlockingIOError):
            if not lock_open_file(file):
                file.close()
            if temporary.exists():
                return file
        file.close()


def remove_leftovers(folder: Path, name: str | None = None) -> None:
    """Remove temporary files whose writer is dead, for one name or for all of a folder.

    Errors are ignored: a leftover takes room, and does no other harm.
    """
    if os.name != "posix":
        return
    pattern = re.compile(rf"\.{'.+' if name is None else re.escape(name)}-[0-9a-f]{{16}}\.new")
    with suppress(OSError), os.scandir(folder) as entries:
        leftovers = [Path(entry) for entry in entries if pattern.fullmatch(entry.name)]
        for leftover in leftovers:
            with suppress(OSError):
                _remove_unlocked(leftover)


def _remove_unlocked(leftover: Path) -> None:
    """Remove a temporary file if no process holds a lock on it."""

    def opener(name: str, flags: int) -> int:
        # No link is followed, and a pipe does not block.
        return os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK)

    with FileIO(str(leftover), "r+", opener=opener) as file:
        # While this lock is held, a writer that has just created the file takes another name.
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode) and lock_open_file(file):
            leftover.unlink()


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path; on success rename it to `path`, on error delete it.

    A crash at any instant leaves either the old file or the new one. The new file takes the
    permissions of the file that it replaces. Once the file has its name, no error is raised.

    Args:
        path: the file's final name; the folder must exist.

    Raises:
        OSError: the file cannot be written; the error names `path`.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "a.txt")
        ...     with whole_file(path) as temporary:
        ...         _ = temporary.write_text("all of it")
        ...     path.read_text()
        'all of it'
    """
    temporary = None
    try:
        with temporary_file(path) as temporary:
            yield temporary
            # Without this, a power cut after the renaming could leave an empty file.
            flush_file(temporary)
            if path.exists():
                shutil.copymode(path, temporary)
            temporary.replace(path)
            # The file is complete and has its name: no error may look like a failed write.
            with suppress(OSError):
                flush_folder(path.parent)
    except OSError as error:
        # The system names no file when a disk is full; nobody knows the temporary name.
        if error.strerror and error.filename in (None, str(temporary)):
            error.filename = str(path)
        raise


def flush_file(path: Path) -> None:
    """Bring a file's bytes to the disk.

    Raises:
        OSError: the disk failed.
    """
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Bring a folder's names to the disk, so that files in it outlive a power cut.

    Raises:
        OSError: the disk failed.
    """
    # Windows flushes names by itself, and opens no folders.
    if os.name != "posix":
        return
    try:
        number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:
        # A folder may be writable and not readable.
        return
    try:
        os.fsync(number)
    except OSError as error:
        # Some network drives cannot flush a folder.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(number)


def flush_tree(folder: Path) -> None:
    """Bring a new folder to the disk: its files, their names, and its own name.

    Raises:
        OSError: the disk failed.
    """
    for file in folder.iterdir():
        flush_file(file)
    # The folder above may be as new as this one.
    for place in (folder, folder.parent, folder.parent.parent):
        flush_folder(place)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file, whole or not at all; text is written as UTF-8.

    Raises:
        OSError: the file cannot be written.
    """
    with whole_file(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


Protected = Callable[[Path], bool]
"""Returns True for a file that must not be overwritten, even if the user allows it."""


def check_output(
    path: Path, *, overwrite: bool = False, protected: Protected = lambda path: False
) -> None:
    """Raise if an output path must not be written.

    Args:
        path: the output path.
        overwrite: allow an existing regular file.
        protected: returns True for a file that must not be overwritten.

    Raises:
        ParameterError: the path exists, and must not be overwritten or is not a regular file.
    """
    # A link to a missing file counts as existing: replacing it would destroy the link.
    if not os.path.lexists(path):
        return
    if not overwrite:
        raise ParameterError(f"{path}: exists already; choose another output path")
    if not path.is_file():
        raise ParameterError(
            f"{path}: exists and is not a regular file; choose another output path"
        )
    if protected(path):
        raise ParameterError(
            f"{path}: is a feature store, which is never overwritten; choose another output path"
        )


@contextmanager
def new_file(
    path: Path, *, overwrite: bool = False, protected: Protected = lambda path: False
) -> Iterator[Path]:
    """Check an output path, then yield a temporary path that becomes it; see `whole_file`.

    Raises:
        ParameterError: see `check_output`.
        StoreError: the file cannot be written.
    """
    check_output(path, overwrite=overwrite, protected=protected)
    try:
        with whole_file(path) as temporary:
            yield temporary
            # Another process may have written a file of this name meanwhile.
            check_output(path, overwrite=overwrite, protected=protected)
    except (OSError, RuntimeError) as error:
        # h5py reports a full disk as one or the other.
        raise StoreError(f"{path}: cannot be written ({_reason(error)})") from None


def _reason(error: OSError | RuntimeError) -> str:
    """Return the system's message of an error, without the report that HDF5 puts around it."""
    wrapped = re.search("error message = '([^']*)'", str(error))
    if wrapped:
        return wrapped[1]
    return getattr(error, "strerror", None) or " ".join(str(error).split())[:150]
