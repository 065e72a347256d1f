"""Atomic writes: a file is written whole or not at all. Also the folder of all caches."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import ParameterError, StoreError


def cache_folder() -> Path:
    """Return the user's cache folder of this package; it may not exist yet."""
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("freezeframe"))


@contextmanager
def whole_file(path: Path, *, temporary: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path; on success rename it to `path`, on error delete it.

    A crash at any instant leaves either the old file or the new one. The new file takes the
    permissions of the file that it replaces.

    Args:
        path: the file's final name; the folder must exist.
        temporary: the temporary path, for a caller that holds a lock on `path`. By default its
            name is random, so that two processes can write the same file at once.

    Raises:
        OSError: the file cannot be written.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "a.txt")
        ...     with whole_file(path) as temporary:
        ...         _ = temporary.write_text("all of it")
        ...     path.read_text()
        'all of it'
    """
    if temporary is None:
        temporary = path.with_name(f".{path.name}-{secrets.token_hex(4)}.new")
    # A killed process may have left a file of this name.
    temporary.unlink(missing_ok=True)
    try:
        yield temporary
        # Without this, a power cut after the renaming could leave an empty file.
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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
