"""Locks that keep two processes from writing one file; the system releases those of the dead."""

from __future__ import annotations

import errno
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import LockWarning
from .terminal import printable

if TYPE_CHECKING:
    from filelock import BaseFileLock

NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}
"""Errors of `flock` on a file system without locks."""


@contextmanager
def file_lock(path: Path, *, seconds: float = 0) -> Iterator[None]:
    """Hold the exclusive lock on a lock file; the file is removed before the lock is released.

    On a file system without locks, `<path>.holder` takes the place of the lock. One process can
    create it, whatever the file system. It holds the number and the machine of its process, so a
    holder of this machine that died does not block. A holder on another machine may still be
    alive, so it blocks until the user deletes its file.

    Args:
        path: path of the lock file, `<file>.lock`.
        seconds: seconds to wait for another process; below 0 without end.

    Raises:
        TimeoutError: another process holds the lock; the text names that process.
        OSError: the lock file cannot be written.
    """
    from filelock import Timeout

    # A relative path would change its meaning with the working folder.
    path = path.absolute()
    try:
        lock = _acquire(path, seconds)
    except Timeout:
        raise TimeoutError(_holder(path)) from None
    try:
        number = _file_number(path)
        yield
    finally:
        # It is removed while it is held: a waiting process that has it open sees that its name is
        # gone. If a user removed it, the name may belong to the lock of another process.
        with suppress(OSError):
            if number == _file_number(path):
                path.unlink(missing_ok=True)
        lock.release()


def _acquire(path: Path, seconds: float) -> BaseFileLock:
    """Acquire the lock of the system, or its replacement where the file system has no locks."""
    from filelock import FileLock, SoftFileLock

    # Without `fallback_to_soft`, since an empty file of an earlier process would block for ever.
    lock: BaseFileLock = FileLock(path, fallback_to_soft=False)
    try:
        lock.acquire(timeout=seconds)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        warnings.warn(
            f"{path.parent}: this file system has no locks; files .lock.holder replace them",
            LockWarning,
            stacklevel=4,
        )
        lock = SoftFileLock(f"{path}.holder")
        lock.acquire(timeout=seconds)
    return lock


def _file_number(path: Path) -> tuple[int, int] | None:
    """Return the numbers of the file that has a name; None if no file has it."""
    with suppress(OSError):
        status = path.stat()
        return status.st_dev, status.st_ino
    return None


def _holder(path: Path) -> str:
    """Name the process that holds a lock; only a file system without locks tells more."""
    with suppress(OSError, ValueError):
        number, machine, *_ = Path(f"{path}.holder").read_text(errors="replace").split()
        holder = printable(f"process {number} on {machine}")
        return f"{holder} (delete {path.name}.holder if it has ended)"
    return "another process"


def lock_open_file(file: FileIO) -> bool:
    """Lock an open file until it is closed; return False where that is not possible.

    Args:
        file: the file, open for reading and writing.

    Raises:
        BlockingIOError: another process holds a lock on the file.
    """
    try:
        import fcntl
    except ImportError:
        # Windows would not let a locked file be written through another handle.
        return False
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return False
    try:
        # Locks of a network drive may be like those of Windows; then this read fails.
        with FileIO(file.name) as other_handle:
            other_handle.read(1)
    except OSError:
        fcntl.flock(file.fileno(), fcntl.LOCK_UN)
        return False
    return True
