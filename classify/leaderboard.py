"""The leaderboard: a CSV file that many processes may append to, and that no crash can tear."""

from __future__ import annotations

import csv
import io
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import filelock

from .. import FreezeframeError
from .metrics import METRICS

SCHEMA = 1
COLUMNS = (
    "schema",
    "run_id",
    "time",
    "head",
    "layer",
    "pooling",
    "hyperparameters",
    "data_set",
    "test_set",
    "split",
    "classes",
    "positive",
    "n_train",
    "n_test",
    "n_test_in_train",
    *METRICS,
    "fit_seconds",
    "predict_ms_per_image",
    "store_fingerprint",
    "test_fingerprint",
    "weights",
    "weights_digest",
    "seed",
    "version",
)
LOCK_SECONDS = 60


def append_rows(path: str | os.PathLike[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Append rows, all or none, under a lock; the file is replaced as a whole, so no reader ever sees half a row.

    Args:
        path: the CSV file, made with its header if missing.
        rows: each with every column of `COLUMNS` but "schema".

    Raises:
        FreezeframeError: the file is not a leaderboard of this schema, is locked for a minute, or cannot be written.
    """
    path = Path(path).resolve()  # a link stays a link
    try:
        with filelock.FileLock(f"{path}.lock", timeout=LOCK_SECONDS):
            old = path.read_bytes() if path.exists() else b""
            _check_header(path, old)
            text = io.StringIO()
            writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
            if not old:
                writer.writeheader()
            for row in rows:
                writer.writerow({"schema": SCHEMA, **{name: _cell(value) for name, value in row.items()}})
            _replace(path, old + text.getvalue().encode())
    except filelock.Timeout:
        raise FreezeframeError(f"{path}: another process has held {path.name}.lock for {LOCK_SECONDS} s") from None
    except OSError as error:
        raise FreezeframeError(f"{path}: cannot be written ({error.strerror or error})") from None


def read_rows(path: str | os.PathLike[str]) -> list[dict[str, str]]:
    """All rows as text, in the order in which they were appended.

    Raises:
        FreezeframeError: the file is missing, not a leaderboard of this schema, or damaged.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
        _check_header(path, data)
        csv.field_size_limit(2**31 - 1)  # a thousand classes have long names
        rows = list(csv.DictReader(io.StringIO(data.decode())))
        for row in rows:
            if len(row) != len(COLUMNS) or None in row.values():
                raise FreezeframeError(f"{path}: not a leaderboard: a line has too many or too few columns")
            for name in (*METRICS, "fit_seconds"):
                float(row[name] or 0)
        return rows
    except FileNotFoundError:
        raise FreezeframeError(f"{path}: no leaderboard here; fit-classifier makes it") from None
    except (OSError, ValueError, csv.Error) as error:
        raise FreezeframeError(f"{path}: cannot be read as a leaderboard ({error})") from None


def check_leaderboard(path: str | os.PathLike[str]) -> None:
    """Raise FreezeframeError if rows could not be appended because the file there is something else."""
    with suppress(FileNotFoundError):
        try:
            _check_header(Path(path), Path(path).read_bytes())
        except IsADirectoryError:
            raise FreezeframeError(f"{path}: a folder, not a leaderboard") from None


def _check_header(path: Path, data: bytes) -> None:
    header = data.split(b"\n", 1)[0].decode("utf-8", "replace").strip()
    if data and (header != ",".join(COLUMNS) or not data.endswith(b"\n")):
        raise FreezeframeError(f"{path}: not a leaderboard of schema {SCHEMA}, nothing was written; give another file")


def _cell(value: Any) -> Any:
    """Floats with six decimals, undefined ones empty."""
    if isinstance(value, float):
        return "" if value != value else f"{value:.6f}"
    return value


def _replace(path: Path, data: bytes) -> None:
    """Put `data` in the place of a file, whole or not at all."""
    unfinished = path.with_name(f".{path.name}.new")  # under the lock nobody else writes to this name
    try:
        with unfinished.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, unfinished)
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
