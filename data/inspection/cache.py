"""Cache of image facts in the user's cache folder, keyed by the SHA-256 of each file.

A cache that is damaged, locked, foreign or read-only costs time, but never raises an error. All
values read from it are checked: another program, or a user who shares the folder, may have written
them.
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
from ..formats.images import MAX_PIXELS
from ..formats.regular_file import MAX_FILE_BYTES
from ..formats.table import KINDS
from ..output.cache_folder import cache_place
from ..output.version import VERSION
from .facts import ImageFacts

CACHE_VERSION = 3
"""Increase it when other values are stored, or when the facts about an unchanged file change."""

MAX_CACHE_BYTES = 4 * 2**30
"""Size of a cache, about a million images, at which it is deleted and started again."""

BATCH = 500
"""Number of files in one query, and of facts in one write."""

PATIENCE = 5.0
"""Seconds to wait for another process that writes."""

_FACT_COLUMNS = (
    "sha256, made_by, kind, mode, height, width, brightness, contrast, n_bytes, frames, "
    "reason, pixels, thumbnail"
)
_SCHEMA = f"CREATE TABLE inspected ({_FACT_COLUMNS}, PRIMARY KEY (sha256, made_by))"
_HEXADECIMAL = re.compile("[0-9a-f]{64}")
_MAX_TEXT = 300


def cache_path() -> Path:
    """Return the path of this user's cache; it may not exist yet."""
    return cache_place(f"inspected-{CACHE_VERSION}.sqlite")


class InspectionCache:
    """Store of image facts in one SQLite file, which several processes may use at once.

    Examples:
        >>> cache = InspectionCache(Path("inspected.sqlite"))
        >>> cache.add("0" * 64, ImageFacts(kind="PNG", reason="PNG that is truncated"))
        >>> cache.close()
        >>> facts = InspectionCache(Path("inspected.sqlite")).load(["0" * 64])
        >>> facts["0" * 64].reason
        'PNG that is truncated'
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # Facts that other versions of the libraries computed are not used.
        self._made_by = _versions()
        self._pending: list[tuple[str, ImageFacts]] = []
        self._connection = _connect(path)

    def load(self, sha256s: Iterable[str]) -> dict[str, ImageFacts]:
        """Return the cached facts about files of these SHA-256 (hexadecimal)."""
        cached: dict[str, ImageFacts] = {}
        keys = [bytes.fromhex(sha256) for sha256 in sha256s if _HEXADECIMAL.fullmatch(sha256)]
        with self._error_recovery():
            # SQLite limits the number of values in a query.
            for start in range(0, len(keys), BATCH):
                for key, _, *values in self._rows(keys[start : start + BATCH]):
                    facts = _facts_of_values(values)
                    if facts:
                        cached[key.hex()] = facts
        return cached

    def add(self, sha256: str, facts: ImageFacts) -> None:
        """Add the facts about a file; they are written with the next batch, or by `close`."""
        if _HEXADECIMAL.fullmatch(sha256):
            self._pending.append((sha256, facts))
        if len(self._pending) >= BATCH:
            self._write()

    def close(self) -> None:
        """Write all pending facts, and close the file."""
        self._write()
        self._disconnect()

    def _rows(self, keys: Sequence[bytes]) -> Iterator[tuple[Any, ...]]:
        if self._connection:
            marks = _placeholders(len(keys))
            query = f"SELECT * FROM inspected WHERE made_by = ? AND sha256 IN ({marks})"
            yield from self._connection.execute(query, (self._made_by, *keys))

    def _write(self) -> None:
        rows = [
            (bytes.fromhex(sha256), self._made_by, *_values_of_facts(facts))
            for sha256, facts in self._pending
        ]
        self._pending.clear()
        if rows and self._connection:
            marks = _placeholders(_FACT_COLUMNS.count(",") + 1)
            # The connection as a context manager is one transaction.
            with self._error_recovery(), self._connection:
                self._connection.executemany(
                    f"INSERT OR REPLACE INTO inspected VALUES ({marks})", rows
                )

    def _disconnect(self) -> None:
        with suppress(sqlite3.Error):
            if self._connection:
                self._connection.close()
        self._connection = None

    @contextmanager
    def _error_recovery(self) -> Iterator[None]:
        """After an error, continue without the cache, or with a new one if it was damaged."""
        try:
            yield
        except sqlite3.Error as error:
            self._disconnect()
            if _is_damage(error):
                _delete(self.path)
                self._connection = _connect(self.path)


def _connect(path: Path) -> sqlite3.Connection | None:
    """Open the database, and replace one that is damaged or too large; None if that fails."""
    # The second attempt is for a file that the first one deletes.
    for _ in range(2):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() and path.stat().st_size > MAX_CACHE_BYTES:
                _delete(path)
            return _open(path)
        except (OSError, sqlite3.Error) as error:
            if not _is_damage(error):
                break
            _delete(path)
    return None


def _open(path: Path) -> sqlite3.Connection:
    """Open the database and check its schema; an empty one gets the schema."""
    connection = sqlite3.connect(path, timeout=PATIENCE)
    try:
        connection.text_factory = lambda text: text.decode("utf-8", "replace")
        # A foreign file may hold triggers and views that call functions.
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA synchronous = NORMAL")
        rows = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")
        schema = [sql for (sql,) in rows]
        if not schema:
            # Another process may create the table at the same moment.
            connection.execute(_SCHEMA.replace("TABLE", "TABLE IF NOT EXISTS", 1))
        elif schema != [_SCHEMA]:
            raise sqlite3.DatabaseError("another program made this database")
    except BaseException:
        connection.close()
        raise
    return connection


def _is_damage(error: Exception) -> bool:
    """Return True for a damaged or foreign file; False for one that is locked or read-only."""
    # A locked or read-only file raises a subclass, OperationalError.
    return type(error) is sqlite3.DatabaseError


def _delete(path: Path) -> None:
    """Delete a database and the files that SQLite keeps beside it."""
    for name in (f"{path}-journal", f"{path}-wal", f"{path}-shm", str(path)):
        with suppress(OSError):
            Path(name).unlink()


def _versions() -> str:
    """List the versions of all libraries that decide how a file is decoded."""
    from importlib.metadata import PackageNotFoundError, version

    versions = [f"freezeframe {VERSION}"]
    for package in ("Pillow", "pydicom", "nibabel", "h5py", "numpy"):
        with suppress(PackageNotFoundError):
            versions.append(f"{package} {version(package)}")
    return ", ".join(versions)


def _placeholders(n: int) -> str:
    return ", ".join("?" * n)


def _values_of_facts(facts: ImageFacts) -> tuple[Any, ...]:
    """Return the values of a row in the order of the columns, without the two of the key."""
    pixels = b""
    thumbnail = b""
    if facts.fingerprint:
        pixels = bytes.fromhex(facts.fingerprint.pixels)
        thumbnail = facts.fingerprint.thumbnail.tobytes()
    return (
        facts.kind,
        facts.mode,
        facts.height,
        facts.width,
        facts.brightness,
        facts.contrast,
        facts.n_bytes,
        facts.frames,
        facts.reason,
        pixels,
        thumbnail,
    )


def _facts_of_values(values: Sequence[Any]) -> ImageFacts | None:
    """Return the facts in a row; None if `_values_of_facts` cannot have returned its values."""
    kind, mode, height, width, brightness, contrast, n_bytes, frames, *texts = values
    reason, pixels, thumbnail = texts
    # SQLite stores values of any type in any column.
    if not (
        kind in KINDS
        and all(map(_is_short_text, (kind, mode, reason)))
        and all(map(_is_count, (height, width, n_bytes, frames)))
        and type(brightness) is type(contrast) is float
        and type(pixels) is type(thumbnail) is bytes
        and n_bytes <= MAX_FILE_BYTES
    ):
        return None
    if reason:
        # A file that cannot be read has no other facts.
        if mode or height or width or brightness or contrast or frames or pixels or thumbnail:
            return None
        return ImageFacts(kind=kind, n_bytes=n_bytes, reason=reason)
    if not (
        mode
        and 0 < height * width <= MAX_PIXELS
        and frames > 0
        and 0 <= brightness <= 255
        and 0 <= contrast <= 128
        and len(pixels) == 32
        and len(thumbnail) == THUMBNAIL**2
    ):
        return None
    grey = np.frombuffer(thumbnail, np.uint8).reshape(THUMBNAIL, THUMBNAIL)
    return ImageFacts(
        fingerprint=Fingerprint(pixels.hex(), grey),
        kind=kind,
        mode=mode,
        height=height,
        width=width,
        brightness=brightness,
        contrast=contrast,
        n_bytes=n_bytes,
        frames=frames,
    )


def _is_short_text(value: Any) -> bool:
    return type(value) is str and len(value) <= _MAX_TEXT and value.isprintable()


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0
