"""The leaderboard: a CSV file that many processes may append to and that no crash can damage."""

from __future__ import annotations

import csv
import math
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ...data.formats.regular_file import check_bytes, open_regular, read_regular
from ...data.output.csv import csv_line, csv_lines, restore_text
from ...data.output.files import flush_file, flush_folder, temporary_file, whole_file
from ...data.output.locks import file_lock
from ...errors import FreezeframeError, ImageError
from .schema import COLUMNS, SCHEMA, SCHEMAS, upgrade_row, wrong_number

LOCK_SECONDS = 60


def append_rows(path: str | os.PathLike[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Append rows, all or none, under a lock.

    The file is replaced as a whole, so that no reader ever sees half a row. A file of an older
    schema is first copied, to `<name>.schema-3` say, then replaced by one of today's schema with
    all its rows.

    Args:
        path: the CSV file, made with its header if missing.
        rows: cells by column of `COLUMNS`. A missing column is left empty; "schema" is filled in.

    Raises:
        FreezeframeError: the file is not a leaderboard, is locked for a minute, or cannot be
            written.
    """
    # The file behind a link is replaced, not the link.
    path = Path(path).resolve()
    lines = "".join(_line(row) for row in rows)
    with _locked(path):
        columns = _columns(path)
        if columns == COLUMNS:
            _replace(path, lines.encode(), append=True)
        elif columns is None:
            _replace(path, (csv_line(COLUMNS) + lines).encode())
        else:
            _upgrade(path, SCHEMAS[columns], lines)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of a leaderboard; raise FreezeframeError for all that goes wrong meanwhile."""
    try:
        with file_lock(Path(f"{path}.lock"), seconds=LOCK_SECONDS):
            yield
    except TimeoutError as holder:
        raise FreezeframeError(
            f"{path}: {holder} has held {path.name}.lock for {LOCK_SECONDS} s; try again"
        ) from None
    except OSError as error:
        raise FreezeframeError(f"{path}: cannot be written ({error.strerror or error})") from None


def remove_runs(path: str | os.PathLike[str], run_ids: Collection[str]) -> None:
    """Remove all rows of some runs, under a lock; for runs that are about to be repeated.

    A missing file has nothing to remove.

    Raises:
        FreezeframeError: the file is not a leaderboard, is locked for a minute, or cannot be
            written.
    """
    path = Path(path).resolve()
    if not path.exists():
        return
    with _locked(path):
        lines = [_line(row) for row in read_rows(path) if row["run_id"] not in run_ids]
        _replace(path, (csv_line(COLUMNS) + "".join(lines)).encode())


def read_rows(path: str | os.PathLike[str]) -> list[dict[str, str]]:
    """Read all rows as text by column of `COLUMNS`, in the order in which they were appended.

    Rows of older schemas are converted to today's columns; the file is not changed.

    Raises:
        FreezeframeError: the file is missing, not a leaderboard, of a newer schema, or damaged.
    """
    path = Path(path)
    try:
        columns = _columns(path)
        if columns is None:
            path.stat()
            return []
        lines = csv_lines(read_regular(path))[1:]
        rows = [
            _row(path, number, cells, columns)
            for number, cells in enumerate(lines, start=2)
            if cells
        ]
        return rows if columns == COLUMNS else [_upgraded_row(path, row) for row in rows]
    except FileNotFoundError:
        raise FreezeframeError(f"{path}: no leaderboard here; fit-classifier makes it") from None
    except (OSError, ValueError, csv.Error) as error:
        raise FreezeframeError(f"{path}: cannot be read as a leaderboard ({error})") from None


def check_leaderboard(path: str | os.PathLike[str]) -> None:
    """Raise FreezeframeError if the file exists and rows cannot be appended to it."""
    with suppress(FileNotFoundError):
        _columns(Path(path))


def _columns(path: Path) -> tuple[str, ...] | None:
    """Read a file's header, one of `SCHEMAS`; None if the file is missing or empty.

    Only the ends of the file are read.
    """
    if path.is_dir():
        raise FreezeframeError(f"{path}: a folder, not a leaderboard; give the path of a CSV file")
    if not path.exists():
        return None
    try:
        ends = _ends(path)
    except ImageError as error:
        raise FreezeframeError(f"{path}: {error}; give the path of a leaderboard") from None
    if ends is None:
        return None
    first, second, whole = ends
    header = tuple(first.decode("utf-8-sig", "replace").strip().split(","))
    if header not in SCHEMAS:
        # A newer version may have written it: the first row has the number of its schema.
        number = second.split(b",")[0]
        if header[:2] == COLUMNS[:2] and number.isdigit() and int(number[:9]) > SCHEMA:
            raise FreezeframeError(
                f"{path}: has schema {int(number[:9])}, but this version of freezeframe reads 1 to "
                f"{SCHEMA}; update freezeframe, or give another file"
            )
        raise FreezeframeError(
            f"{path}: not a leaderboard of schema 1 to {SCHEMA}, nothing was written; "
            "give another file"
        )
    if not whole:
        raise FreezeframeError(
            f"{path}: its last line has no end, so the file was cut off or edited; "
            "repair it, or give another file"
        )
    return header


def _ends(path: Path) -> tuple[bytes, bytes, bool] | None:
    """Read the first two lines of a file, and True if its last line has an end; None if empty.

    Raises:
        ImageError: it is no regular file, or too large.
    """
    with open_regular(path) as (file, n_bytes):
        check_bytes(n_bytes)
        if not n_bytes:
            return None
        first = file.readline(10_000)
        second = file.readline(10_000)
        # A file that was cut off, or edited, may not end with a line end.
        file.seek(-1, os.SEEK_END)
        return first, second, file.read(1) == b"\n"


def _line(row: Mapping[str, Any]) -> str:
    """Write a row as a line of today's schema; raise ValueError if it has another column."""
    unknown = sorted(row.keys() - set(COLUMNS))
    if unknown:
        raise ValueError(f"a leaderboard has no column {', '.join(unknown)}")
    return csv_line(
        str(SCHEMA) if name == "schema" else _cell(name, row.get(name, "")) for name in COLUMNS
    )


def _cell(name: str, value: Any) -> str:
    """Write a cell: floats with six decimals, undefined ones empty."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float):
        return repr(float(value)) if name == "threshold" else f"{value:.6f}"
    return str(value)


def _row(path: Path, number: int, cells: list[str], columns: tuple[str, ...]) -> dict[str, str]:
    """Return one line by column; raise FreezeframeError if a number is wrong."""
    schema = SCHEMAS[columns]
    if len(cells) != len(columns):
        amount = "many" if len(cells) > len(columns) else "few"
        raise FreezeframeError(
            f"{path}: not a leaderboard: line {number} has too {amount} columns; repair it"
        )
    row = dict(zip(columns, cells, strict=True))
    wrong = wrong_number(row) if row["schema"] == str(schema) else "schema"
    if wrong:
        raise FreezeframeError(
            f"{path}: not a leaderboard: {wrong} is {row[wrong][:20]!r} in line {number}; repair it"
        )
    # Schema 1 wrote no apostrophes before formulas, so its own stay.
    if schema > 1:
        row |= {name: restore_text(cell) for name, cell in row.items() if cell[:1] == "'"}
    return row


def _upgraded_row(path: Path, row: Mapping[str, str]) -> dict[str, str]:
    """Return a row in today's columns; raise FreezeframeError if that is impossible."""
    try:
        return upgrade_row(row)
    except ValueError as error:
        raise FreezeframeError(
            f"{path}: not a leaderboard: classes is {str(error)[:20]!r}; repair it"
        ) from None


def _upgrade(path: Path, schema: int, new_lines: str) -> None:
    """Copy a file of an older schema, then replace it by one of today's with all its rows."""
    old_lines = "".join(_line(row) for row in read_rows(path))
    data = read_regular(path)
    backup = _back_up(path, data, f"{path.name}.schema-{schema}")
    try:
        _replace(path, (csv_line(COLUMNS) + old_lines + new_lines).encode())
    except BaseException:
        # An interruption may come after the renaming: then the copy is the only old file.
        if backup is not None and path.read_bytes() == data:
            backup.unlink(missing_ok=True)
        raise


def _back_up(path: Path, data: bytes, name: str) -> Path | None:
    """Copy the file to a free name; None if a killed upgrade has copied it before."""
    for number in range(1, 1000):
        backup = path.with_name(name if number == 1 else f"{name}-{number}")
        # What a killed process leaves must not look like a leaderboard.
        with temporary_file(backup) as unfinished:
            unfinished.write_bytes(data)
            shutil.copymode(path, unfinished)
            flush_file(unfinished)
            if _rename(unfinished, backup):
                # The copy must have its name before the old file loses its own.
                flush_folder(path.parent)
                return backup
        if backup.is_file() and _has_content(backup, data):
            return None
    raise FreezeframeError(f"{path}: a thousand files are called {name}; move them away")


def _has_content(path: Path, data: bytes) -> bool:
    # A file of another size may be too large to read.
    return path.stat().st_size == len(data) and path.read_bytes() == data


def _rename(unfinished: Path, target: Path) -> bool:
    """Rename a finished file; return False, and overwrite nothing, if the name is taken."""
    try:
        target.hardlink_to(unfinished)
    except FileExistsError:
        return False
    except OSError:
        # A disk without links. Only the holder of the lock writes to such names.
        if target.exists() or target.is_symlink():
            return False
        unfinished.rename(target)
    return True


def _replace(path: Path, data: bytes, append: bool = False) -> None:
    """Replace a file, or add to its end, whole or not at all."""
    with whole_file(path) as temporary:
        if append:
            # The operating system copies: the rows do not pass through this process.
            shutil.copyfile(path, temporary)
        with temporary.open("ab") as file:
            file.write(data)
