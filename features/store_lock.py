"""The lock on a store, which only one writer can hold."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ..data.output.locks import file_lock
from ..errors import StoreError


@contextmanager
def store_lock(path: str | os.PathLike[str]) -> Iterator[None]:
    """Hold the lock on a store that only one writer can have; the store need not exist yet.

    The operating system releases the lock when its holder dies, so a dead writer never blocks.

    Raises:
        StoreError: another process holds the lock, or the folder cannot be written.
    """
    with ExitStack() as stack:
        try:
            # The other writer is reported at once: waiting for it may take hours.
            stack.enter_context(file_lock(Path(f"{os.fspath(path)}.lock")))
        except TimeoutError as holder:
            raise StoreError(
                f"{path}: {holder} is writing this store; wait for it or give another output"
            ) from None
        except OSError as error:
            raise StoreError(
                f"{path}: cannot write here ({error.strerror or error}); "
                "check the folder, or give another output"
            ) from None
        yield
