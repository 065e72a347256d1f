"""The leaderboard: a CSV file that many processes may append to, and that no crash can tear."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import filelock

from .. import FreezeframeError
from .cells import csv_line, csv_lines, defused, restored
from .metrics import METRICS

SCHEMA = 2
COLUMNS = (
    "schema",
    "run_id",
    "time",
    "head",
    "layer",
    "pooling",
    "hyperparameters",
    "calibration",
    "threshold",
    "data_set",
    "test_set",
    "test_id",
    "split",
    "classes",
    "positive",
    "n_train",
    "n_test",
    "n_test_groups",
    "n_test_in_train",
    *METRICS,
    "n_searched",
    "reduce_seconds",
    "fit_seconds",
    "predict_ms_per_image",
    "model_bytes",
    "store_fingerprint",
    "test_fingerprint",
    "weights",
    "weights_digest",
    "seed",
    "version",
)
"""Of schema 2. One row stands for one run on one test set: (run_id, test_id) tells it from all others."""

COLUMNS_1 = (
    *("schema", "run_id", "time", "head", "layer", "pooling", "hyperparameters", "data_set", "test_set", "split"),
    *("classes", "positive", "n_train", "n_test", "n_test_in_train", "accuracy", "accuracy_low", "accuracy_high"),
    *("balanced_accuracy", "sensitivity", "specificity", "macro_f1", "mcc", "roc_auc", "fit_seconds"),
    *("predict_ms_per_image", "store_fingerprint", "test_fingerprint", "weights", "weights_digest", "seed", "version"),
)
"""Of schema 1, which is read for ever."""

INTEGERS = ("n_train", "n_test", "n_test_groups", "n_test_in_train", "n_searched", "model_bytes", "seed")
NUMBERS = frozenset(
    (*INTEGERS, *METRICS, "macro_f1", "threshold", "reduce_seconds", "fit_seconds", "predict_ms_per_image")
)
"""Columns of numbers, any of which may be empty; all others but "schema" hold text."""

INTEGER = re.compile(r"\d{0,18}", re.ASCII)
LOCK_SECONDS = 60


def append_rows(path: str | os.PathLike[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Append rows, all or none, under a lock; the file is replaced as a whole, so no reader ever sees half a row.

    A file of schema 1 is first kept as `<name>.schema-1`, then replaced by one of this schema with all its rows.

    Args:
        path: the CSV file, made with its header if missing.
        rows: by column of `COLUMNS`; one that is missing is left empty, "schema" need not be given.

    Raises:
        FreezeframeError: the file is not a leaderboard, is locked for a minute, or cannot be written.
    """
    path = Path(path).resolve()  # a link stays a link
    lines = "".join(_line(row) for row in rows)
    try:
        with filelock.FileLock(f"{path}.lock", timeout=LOCK_SECONDS):
            schema = _schema(path)
            if schema == SCHEMA:
                _replace(path, lines.encode(), append=True)
            elif schema is None:
                _replace(path, (csv_line(COLUMNS) + lines).encode())
            else:
                _upgrade(path, lines)
    except filelock.Timeout:
        raise FreezeframeError(f"{path}: another process has held {path.name}.lock for {LOCK_SECONDS} s") from None
    except OSError as error:
        raise FreezeframeError(f"{path}: cannot be written ({error.strerror or error})") from None


def read_rows(path: str | os.PathLike[str]) -> list[dict[str, str]]:
    """All rows as text by column of `COLUMNS`, in the order in which they were appended.

    Rows of schema 1 are brought up to this schema; the file stays as it is.

    Raises:
        FreezeframeError: the file is missing, not a leaderboard, of a newer schema, or damaged.
    """
    path = Path(path)
    try:
        schema = _schema(path)
        if schema is None:
            path.stat()
            return []
        lines = csv_lines(path.read_bytes())[1:]
        rows = [_row(path, number, cells, schema) for number, cells in enumerate(lines, start=2) if cells]
        return rows if schema == SCHEMA else [_upgraded(path, row) for row in rows]
    except FileNotFoundError:
        raise FreezeframeError(f"{path}: no leaderboard here; fit-classifier makes it") from None
    except (OSError, ValueError, csv.Error) as error:
        raise FreezeframeError(f"{path}: cannot be read as a leaderboard ({error})") from None


def check_leaderboard(path: str | os.PathLike[str]) -> None:
    """Raise FreezeframeError if rows could not be appended because the file there is something else."""
    with suppress(FileNotFoundError):
        _schema(Path(path))


def _schema(path: Path) -> int | None:
    """Which schema the file is of; None where there is no file, or an empty one. Only its ends are read."""
    if path.is_dir():
        raise FreezeframeError(f"{path}: a folder, not a leaderboard; it cannot be written to")
    if not path.exists():
        return None
    with path.open("rb") as file:
        first, second = file.readline(10_000), file.readline(10_000)
        if not first:
            return None
        file.seek(-1, os.SEEK_END)
        whole = file.read(1) == b"\n"
    header = tuple(first.decode("utf-8-sig", "replace").strip().split(","))
    if header not in (COLUMNS, COLUMNS_1):
        number = second.split(b",")[0]
        if header[:2] == COLUMNS[:2] and number.isdigit() and int(number[:9]) > SCHEMA:
            raise FreezeframeError(
                f"{path}: a leaderboard of schema {int(number[:9])}, this version of freezeframe knows 1 and {SCHEMA}; "
                "update it, or give another file"
            )
        raise FreezeframeError(
            f"{path}: not a leaderboard of schema 1 or {SCHEMA}, nothing was written; give another file"
        )
    if not whole:
        raise FreezeframeError(
            f"{path}: its last line has no end, so it was cut off or edited; mend it, or give another file"
        )
    return SCHEMA if header == COLUMNS else 1


def _line(row: Mapping[str, Any]) -> str:
    unknown = sorted(row.keys() - set(COLUMNS))
    if unknown:
        raise ValueError(f"a leaderboard has no column {', '.join(unknown)}")
    return csv_line(str(SCHEMA) if name == "schema" else _cell(name, row.get(name, "")) for name in COLUMNS)


def _cell(name: str, value: Any) -> str:
    """Floats with six decimals, undefined ones empty; text so that no spreadsheet computes it."""
    if value is None or value != value:
        return ""
    if isinstance(value, float):
        return repr(float(value)) if name == "threshold" else f"{value:.6f}"
    return str(value) if name in NUMBERS else defused(str(value))


def _row(path: Path, number: int, cells: list[str], schema: int) -> dict[str, str]:
    """One line by column, its numbers checked."""
    columns = COLUMNS if schema == SCHEMA else COLUMNS_1
    if len(cells) != len(columns):
        raise FreezeframeError(
            f"{path}: not a leaderboard: line {number} has too {'many' if len(cells) > len(columns) else 'few'} columns"
        )
    row = dict(zip(columns, cells, strict=True))
    wrong = _wrong_number(row) if row["schema"] == str(schema) else "schema"
    if wrong:
        raise FreezeframeError(f"{path}: not a leaderboard: {wrong} is {row[wrong][:20]!r} in line {number}")
    if schema == SCHEMA:  # schema 1 knew of no apostrophes
        row |= {name: restored(cell) for name, cell in row.items() if cell[:1] == "'"}
    return row


def _wrong_number(row: Mapping[str, str]) -> str | None:
    """The first column of numbers that holds something else."""
    for name, cell in row.items():
        if name in NUMBERS and cell:
            try:
                float(cell)
            except ValueError:
                return name
    return next((name for name in INTEGERS if not INTEGER.fullmatch(row.get(name, ""))), None)


def _upgraded(path: Path, row: Mapping[str, str]) -> dict[str, str]:
    """A row of schema 1 in the columns of this one; what schema 1 did not know is empty.

    Its mean F1 over the classes is what `f1` means with more than two classes; with two, `f1` is the positive one's.
    """
    try:
        classes = json.loads(row["classes"] or "[]")
    except (ValueError, RecursionError):
        raise FreezeframeError(f"{path}: not a leaderboard: classes is {row['classes'][:20]!r}") from None
    f1 = row["macro_f1"] if isinstance(classes, list) and len(classes) > 2 else ""
    return {name: row.get(name, "") for name in COLUMNS} | {"schema": str(SCHEMA), "f1": f1}


def _upgrade(path: Path, more: str) -> None:
    """Keep a file of schema 1 under another name, and put one of this schema with all its rows in its place."""
    old = "".join(_line(row) for row in read_rows(path))
    kept = _keep(path, f"{path.name}.schema-1")
    try:
        _replace(path, (csv_line(COLUMNS) + old + more).encode())
    except BaseException:
        if kept is not None:
            kept.unlink(missing_ok=True)
        raise


def _keep(path: Path, name: str) -> Path | None:
    """Copy the file to a name that is free; None if it was copied before, by an upgrade that was killed."""
    data = path.read_bytes()
    for number in range(1, 1000):
        kept = path.with_name(name if number == 1 else f"{name}-{number}")
        with suppress(FileExistsError):
            _write(kept, data, "xb")
            shutil.copymode(path, kept)
            return kept
        if kept.is_file() and kept.read_bytes() == data:
            return None
    raise FreezeframeError(f"{path}: a thousand files called {name} are here; move them away")


def _replace(path: Path, data: bytes, append: bool = False) -> None:
    """Put `data` in the place of a file, or of its end, whole or not at all."""
    unfinished = path.with_name(f".{path.name}.new")  # under the lock nobody else writes to this name
    unfinished.unlink(missing_ok=True)  # of a process that was killed
    try:
        if append:
            shutil.copyfile(path, unfinished)  # by the system where it can: the rows do not pass through this process
        _write(unfinished, data, "ab")
        if path.exists():
            shutil.copymode(path, unfinished)
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def _write(path: Path, data: bytes, mode: str) -> None:
    """Write to a file and flush it to the disk; a file that cannot hold all is deleted."""
    with path.open(mode) as file:
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            raise
