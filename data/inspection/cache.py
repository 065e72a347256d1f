"""What images were found to be like, kept in the user's cache folder under the SHA-256 of each file.

A cache that is damaged, locked, foreign or cannot be written costs time, and is never the reason
for an error. What is read from it is checked: another program, or a user who shares the folder, may
have written it.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..fingerprints import THUMBNAIL, Fingerprint
from ..formats.images import KINDS, MAX_FILE_BYTES, MAX_PIXELS
from ..output.files import cache_folder
from ..version import VERSION
from .inspect import Inspected

CACHE_VERSION = 1
"""Raise it whenever something else is kept, or a file would be found to be like something else."""

MAX_BYTES = 4 * 2**30
"""A cache that has grown to this size, about a million images, is begun anew."""

BATCH = 500
PATIENCE = 5.0
"""Seconds to wait for another process that writes."""

_COLUMNS = "sha256, made_by, kind, mode, height, width, brightness, contrast, n_bytes, reason, pixels, thumbnail"
_SCHEMA = f"CREATE TABLE inspected ({_COLUMNS}, PRIMARY KEY (sha256, made_by))"
_HEXADECIMAL = re.compile("[0-9a-f]{64}")


def cache_path() -> Path:
    """Where the cache of this user lies."""
    return cache_folder() / f"inspected-{CACHE_VERSION}.sqlite"


class InspectionCache:
    """What is known of files; one SQLite file, which several processes may use at once.

    >>> cache = InspectionCache(Path("inspected.sqlite"))
    >>> cache.keep("0" * 64, Inspected(kind="PNG", reason="PNG that is truncated"))
    >>> cache.close()
    >>> [found.reason for found in InspectionCache(Path("inspected.sqlite")).load(["0" * 64]).values()]
    ['PNG that is truncated']
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._made_by = _versions()
        self._waiting: list[tuple[str, Inspected]] = []
        self._connection = _connected(path)

    def load(self, sha256s: Iterable[str]) -> dict[str, Inspected]:
        """What is known of files of these SHA-256 (hexadecimal)."""
        known: dict[str, Inspected] = {}
        keys = [bytes.fromhex(sha256) for sha256 in sha256s if _HEXADECIMAL.fullmatch(sha256)]
        with self._at_best():
            for start in range(0, len(keys), BATCH):
                for key, _, *values in self._rows(keys[start : start + BATCH]):
                    if inspected := _checked(values):
                        known[key.hex()] = inspected
        return known

    def keep(self, sha256: str, inspected: Inspected) -> None:
        """Keep what a file is like; it is written with the next batch, at the latest by `close`."""
        if _HEXADECIMAL.fullmatch(sha256):
            self._waiting.append((sha256, inspected))
        if len(self._waiting) >= BATCH:
            self._write()

    def close(self) -> None:
        """Write what is waiting, and let go of the file."""
        self._write()
        if self._connection:
            with suppress(sqlite3.Error):
                self._connection.close()
        self._connection = None

    def _rows(self, keys: Sequence[bytes]) -> Iterator[tuple[Any, ...]]:
        if self._connection:
            query = f"SELECT * FROM inspected WHERE made_by = ? AND sha256 IN ({_marks(len(keys))})"
            yield from self._connection.execute(query, (self._made_by, *keys))

    def _write(self) -> None:
        rows = [
            (bytes.fromhex(sha256), self._made_by, *_values(inspected))
            for sha256, inspected in self._waiting
        ]
        self._waiting.clear()
        if rows and self._connection:
            marks = _marks(_COLUMNS.count(",") + 1)
            with self._at_best(), self._connection:  # one transaction
                self._connection.executemany(
                    f"INSERT OR REPLACE INTO inspected VALUES ({marks})", rows
                )

    @contextmanager
    def _at_best(self) -> Iterator[None]:
        """Go on without the cache after an error, or with a new one if it was damaged."""
        try:
            yield
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):
                if self._connection:
                    self._connection.close()
            self._connection = None
            if _is_damage(error):
                _remove(self.path)
                self._connection = _connected(self.path)


def _connected(path: Path) -> sqlite3.Connection | None:
    """The database there, begun anew if it is of no use; None if there can be none."""
    for _ in range(2):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() and path.stat().st_size > MAX_BYTES:
                _remove(path)
            return _opened(path)
        except (OSError, sqlite3.Error) as error:
            if not _is_damage(error):
                break
            _remove(path)
    return None


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=PATIENCE)
    try:
        connection.text_factory = lambda text: text.decode("utf-8", "replace")
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA synchronous = NORMAL")
        schema = [
            sql
            for (sql,) in connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")
        ]
        if not schema:
            connection.execute(
                _SCHEMA.replace("TABLE", "TABLE IF NOT EXISTS", 1)
            )  # another process may be as far
        elif schema != [_SCHEMA]:
            raise sqlite3.DatabaseError("not made by us")
    except BaseException:
        connection.close()
        raise
    return connection


def _is_damage(error: Exception) -> bool:
    """Whether the file is of no use; not, if it is merely locked or cannot be written."""
    return type(error) is sqlite3.DatabaseError


def _remove(path: Path) -> None:
    for name in (f"{path}-journal", f"{path}-wal", f"{path}-shm", str(path)):
        with suppress(OSError):
            Path(name).unlink()


def _versions() -> str:
    """What decides how a file is decoded."""
    from importlib.metadata import PackageNotFoundError, version

    told = [f"freezeframe {VERSION}"]
    for package in ("Pillow", "pydicom", "numpy"):
        with suppress(PackageNotFoundError):
            told.append(f"{package} {version(package)}")
    return ", ".join(told)


def _marks(n: int) -> str:
    return ", ".join("?" * n)


def _values(inspected: Inspected) -> tuple[Any, ...]:
    """Everything that is kept of an image, in the order of the columns."""
    told, shown = inspected, inspected.fingerprint
    pixels, thumbnail = (
        (bytes.fromhex(shown.pixels), shown.thumbnail.tobytes()) if shown else (b"", b"")
    )
    size = (told.height, told.width, told.brightness, told.contrast, told.n_bytes)
    return (told.kind, told.mode, *size, told.reason, pixels, thumbnail)


def _checked(values: Sequence[Any]) -> Inspected | None:
    """What `_values` made a row of; None if it cannot have been that."""
    kind, mode, height, width, brightness, contrast, n_bytes, reason, pixels, thumbnail = values
    texts, integers, floats = (kind, mode, reason), (height, width, n_bytes), (brightness, contrast)
    if not (
        kind in KINDS
        and all(type(text) is str and len(text) <= 300 and text.isprintable() for text in texts)
        and all(type(integer) is int and integer >= 0 for integer in integers)
        and all(type(real) is float for real in floats)
        and type(pixels) is type(thumbnail) is bytes
        and n_bytes <= MAX_FILE_BYTES
    ):
        return None
    if reason:
        unread = not (mode or height or width or brightness or contrast or pixels or thumbnail)
        return Inspected(kind=kind, n_bytes=n_bytes, reason=reason) if unread else None
    if not (
        mode
        and 0 < height * width <= MAX_PIXELS
        and 0 <= brightness <= 255
        and 0 <= contrast <= 128
        and (len(pixels), len(thumbnail)) == (32, THUMBNAIL**2)
    ):
        return None
    picture = np.frombuffer(thumbnail, np.uint8).reshape(THUMBNAIL, THUMBNAIL)
    return Inspected(
        Fingerprint(pixels.hex(), picture), kind, mode, height, width, brightness, contrast, n_bytes
    )
