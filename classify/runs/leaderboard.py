"""The leaderboard: a CSV file that many processes may append to, and that no crash can tear."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import filelock

from ...data.output.csv import csv_line, csv_lines, defuse, restore_text
from ...data.output.files import whole_file
from ...errors import FreezeframeError
from .schema import COLUMNS, COLUMNS_BY_SCHEMA, NUMBERS, SCHEMA, upgraded, wrong_number

LOCK_SECONDS = 60


def append_rows(path: str | os.PathLike[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Append rows, all or none, under a lock; the file is replaced as a whole, so no reader ever sees half a row.

    A file of an older schema is first kept, as `<name>.schema-3` say, then replaced by one of this
    schema with all its rows.

    Args:
        path: the CSV file, made with its header if missing.
        rows: by column of `COLUMNS`; one that is missing is left empty, "schema" need not be given.

    Raises:
        FreezeframeError: the file is not a leaderboard, is locked for a minute, or cannot be
            written.
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
                _upgrade(path, schema, lines)
    except filelock.Timeout:
        raise FreezeframeError(
            f"{path}: another process has held {path.name}.lock for {LOCK_SECONDS} s"
        ) from None
    except OSError as error:
        raise FreezeframeError(f"{path}: cannot be written ({error.strerror or error})") from None


def read_rows(path: str | os.PathLike[str]) -> list[dict[str, str]]:
    """All rows as text by column of `COLUMNS`, in the order in which they were appended.

    Rows of older schemas are brought up to this one; the file stays as it is.

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
        rows = [
            _row(path, number, cells, schema)
            for number, cells in enumerate(lines, start=2)
            if cells
        ]
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
    schemas = {columns: schema for schema, columns in COLUMNS_BY_SCHEMA.items()}
    if header not in schemas:
        number = second.split(b",")[0]
        if header[:2] == COLUMNS[:2] and number.isdigit() and int(number[:9]) > SCHEMA:
            raise FreezeframeError(
                f"{path}: a leaderboard of schema {int(number[:9])}, this version of freezeframe knows 1 to {SCHEMA}; "
                "update it, or give another file"
            )
        raise FreezeframeError(
            f"{path}: not a leaderboard of schema 1 to {SCHEMA}, nothing was written; give another file"
        )
    if not whole:
        raise FreezeframeError(
            f"{path}: its last line has no end, so it was cut off or edited; mend it, or give another file"
        )
    return schemas[header]


def _line(row: Mapping[str, Any]) -> str:
    unknown = sorted(row.keys() - set(COLUMNS))
    if unknown:
        raise ValueError(f"a leaderboard has no column {', '.join(unknown)}")
    return csv_line(
        str(SCHEMA) if name == "schema" else _cell(name, row.get(name, "")) for name in COLUMNS
    )


def _cell(name: str, value: Any) -> str:
    """Floats with six decimals, undefined ones empty; text so that no spreadsheet computes it."""
    if value is None or value != value:
        return ""
    if isinstance(value, float):
        return repr(float(value)) if name == "threshold" else f"{value:.6f}"
    return str(value) if name in NUMBERS else defuse(str(value))


def _row(path: Path, number: int, cells: list[str], schema: int) -> dict[str, str]:
    """One line by column, its numbers checked."""
    columns = COLUMNS_BY_SCHEMA[schema]
    if len(cells) != len(columns):
        raise FreezeframeError(
            f"{path}: not a leaderboard: line {number} has too {'many' if len(cells) > len(columns) else 'few'} columns"
        )
    row = dict(zip(columns, cells, strict=True))
    wrong = wrong_number(row) if row["schema"] == str(schema) else "schema"
    if wrong:
        raise FreezeframeError(
            f"{path}: not a leaderboard: {wrong} is {row[wrong][:20]!r} in line {number}"
        )
    if schema > 1:  # schema 1 knew of no apostrophes
        row |= {name: restore_text(cell) for name, cell in row.items() if cell[:1] == "'"}
    return row


def _upgraded(path: Path, row: Mapping[str, str]) -> dict[str, str]:
    try:
        return upgraded(row)
    except ValueError as error:
        raise FreezeframeError(
            f"{path}: not a leaderboard: classes is {str(error)[:20]!r}"
        ) from None


def _upgrade(path: Path, schema: int, more: str) -> None:
    """Keep a file of an older schema under another name, and put one of this schema with all its rows in its place."""
    old = "".join(_line(row) for row in read_rows(path))
    kept = _keep(path, f"{path.name}.schema-{schema}")
    try:
        _replace(path, (csv_line(COLUMNS) + old + more).encode())
    except BaseException:
        if kept is not None:
            kept.unlink(missing_ok=True)
        raise


def _keep(path: Path, name: str) -> Path | None:
    """Copy the file to a name that is free; None if an upgrade that was killed has copied it before."""
    data = path.read_bytes()
    # What a killed process leaves must not look like a leaderboard.
    unfinished = path.with_name(f".{name}.new")
    unfinished.unlink(missing_ok=True)
    try:
        _write(unfinished, data)
        shutil.copymode(path, unfinished)
        for number in range(1, 1000):
            kept = path.with_name(name if number == 1 else f"{name}-{number}")
            if _named(unfinished, kept):
                return kept
            if kept.is_file() and kept.read_bytes() == data:
                return None
    finally:
        unfinished.unlink(missing_ok=True)
    raise FreezeframeError(f"{path}: a thousand files called {name} are here; move them away")


def _named(unfinished: Path, kept: Path) -> bool:
    """Give a finished file its name; False if that is another's, which is never overwritten."""
    try:
        kept.hardlink_to(unfinished)
    except FileExistsError:
        return False
    except OSError:  # a disk without links; only those who hold the lock write to such names
        if kept.exists() or kept.is_symlink():
            return False
        unfinished.rename(kept)
    return True


def _replace(path: Path, data: bytes, append: bool = False) -> None:
    """Replace a file, or add to its end, whole or not at all."""
    # Under the lock nobody else writes to this name.
    temporary = path.with_name(f".{path.name}.new")
    with whole_file(path, temporary=temporary):
        if append:
            # The system copies where it can: the rows do not pass through this process.
            shutil.copyfile(path, temporary)
        with temporary.open("ab") as file:
            file.write(data)


def _write(path: Path, data: bytes) -> None:
    """Write a new file and flush it to the disk."""
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
