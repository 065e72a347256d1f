"""Files that get their name only when they are complete, so that a crash leaves nothing half."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import ParameterError, StoreError
from ...features.layout import begins_as_store

Tell = Callable[[int, int], None]
"""Called with what is finished so far and what is to finish."""


def check_name(path: Path, overwrite: bool = False) -> None:
    """Refuse a name that is taken; a feature store is never overwritten.

    Raises:
        ParameterError: something is there.
    """
    if not os.path.lexists(path):
        return
    if not overwrite:
        raise ParameterError(f"{path}: exists already; give another output")
    if not path.is_file():
        raise ParameterError(f"{path}: is there and no file; give another output")
    if begins_as_store(path):
        raise ParameterError(
            f"{path}: is a feature store, which is not overwritten; give another output"
        )


@contextmanager
def new_file(path: Path, overwrite: bool = False) -> Iterator[Path]:
    """Give a name to write to, a name of its own beside it; what is there at the end, without an error, becomes `path`.

    Raises:
        ParameterError: something is at `path`, and is not to be overwritten.
        StoreError: the file cannot be written.
    """
    check_name(path, overwrite)
    unfinished = path.with_name(
        f".{path.name}-{secrets.token_hex(4)}.new"
    )  # two at once do not mix
    try:
        yield unfinished
        with unfinished.open("r+b") as file:
            os.fsync(file.fileno())
        check_name(path, overwrite)
        unfinished.replace(path)
    except (OSError, RuntimeError) as error:  # h5py tells of a full disk by either
        told = re.search(
            "error message = '([^']*)'", str(error)
        )  # HDF5 wraps the reason in its own state
        reason = (
            told[1]
            if told
            else getattr(error, "strerror", None) or " ".join(str(error).split())[:150]
        )
        raise StoreError(f"{path}: cannot be written ({reason})") from None
    finally:
        unfinished.unlink(missing_ok=True)
