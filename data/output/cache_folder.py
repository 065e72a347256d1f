"""The user's folders of caches and of data, into which only this user can write."""

from __future__ import annotations

import atexit
import os
import shutil
import stat
import tempfile
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

from ...errors import CacheWarning

_FOREIGN_WRITERS = stat.S_IWGRP | stat.S_IWOTH


def cache_place(name: str) -> Path:
    """Return the path of a cache by its name; the folder of all caches is created.

    The folder is `freezeframe` in the user's cache folder, on Linux `$XDG_CACHE_HOME` or
    `~/.cache`. A user without a home, as in containers, gets a temporary folder, and so does one
    whose folder other users could write into: a cache is trusted. If the folder cannot be written,
    only the caches in it are used, and new ones go to a temporary folder. A `CacheWarning` names
    that folder. If no folder at all can be written, writing the cache fails.

    Args:
        name: path of the cache in the folder, such as "demo-1".
    """
    from platformdirs import user_cache_dir

    return _own_place(user_cache_dir, name, "XDG_CACHE_HOME")


def data_place(name: str) -> Path:
    """Return the path of a file that cannot be made again; its folder is created.

    The folder is `freezeframe` in the user's folder of data, on Linux `$XDG_DATA_HOME` or
    `~/.local/share`, which nobody empties to save space. Without it, see `cache_place`.

    Args:
        name: name of the file in the folder.
    """
    from platformdirs import user_data_dir

    return _own_place(user_data_dir, name, "XDG_DATA_HOME")


def _own_place(folder_of: Callable[[str], str], name: str, variable: str) -> Path:
    """Return a path in the user's folder, or else in a temporary one, with a warning."""
    try:
        folder = Path(folder_of("freezeframe"))
    except RuntimeError:
        folder = Path("~")
    # Older versions of platformdirs return a relative path if there is no home.
    if not folder.is_absolute():
        return _fallback("this user has no home folder", variable) / name
    place = folder / name
    if problem := _distrust(folder):
        return _fallback(f"{folder}: cannot be used ({problem})", variable) / name
    # An image of a container may hold caches in a folder that is read-only when it runs.
    if not (_is_writable(folder) or place.exists()):
        return _fallback(f"{folder}: cannot be written", variable) / name
    return place


def _distrust(folder: Path) -> str:
    """Return why caches in a folder must not be used, or no text; create it if it is missing."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except OSError as error:
        return error.strerror or str(error)
    if os.name != "posix":
        return ""
    # Who may write here could plant a network that computes other features. Root may anyway.
    if status.st_uid not in (os.geteuid(), 0):
        return "it belongs to another user"
    if status.st_mode & _FOREIGN_WRITERS:
        return f"other users can write into it; chmod -R go-w {folder}"
    return ""


def _is_writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK)


def _fallback(problem: str, variable: str) -> Path:
    """Return a temporary folder instead, and warn."""
    try:
        folder = _temporary_folder()
    except OSError:
        warnings.warn(
            f"{problem}, and no temporary folder can be written; set {variable}",
            CacheWarning,
            stacklevel=4,
        )
        # Nothing can be written below this file, so no other user can plant anything there.
        return Path(os.devnull) / "freezeframe"
    warnings.warn(
        f"{problem}; {folder} is used instead, set {variable} to choose another folder",
        CacheWarning,
        stacklevel=4,
    )
    return folder


def _temporary_folder() -> Path:
    """Return the user's own folder in the temporary folder.

    Raises:
        OSError: there is no temporary folder that can be written.
    """
    # Not the user's name: a user of a container may have none.
    user = str(os.getuid()) if os.name == "posix" else "cache"
    folder = Path(tempfile.gettempdir(), f"freezeframe-{user}")
    # Everyone can write into the temporary folder, and so could have put a link there.
    if not folder.is_symlink() and not _distrust(folder) and _is_writable(folder):
        return folder
    return _private_folder()


@cache
def _private_folder() -> Path:
    """Return a new temporary folder, which is removed when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="freezeframe-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
