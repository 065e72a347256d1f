"""Keeping a C++ library's chatter off the terminal, and the terminal's Ctrl-C off our child processes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

OWN_GROUP = 0 if os.name == "posix" else None
"""`process_group` of a child process that Ctrl-C is not for: its parent ends it in good order."""


@contextlib.contextmanager
def silenced(*descriptors: int) -> Iterator[None]:
    """Drop what is written to the file descriptors (1: standard output, 2: standard error), by C++ code too.

    TensorFlow prints start-up notes before it heeds any setting, MNN heeds none. Errors still
    raise.
    """
    saved = {descriptor: os.dup(descriptor) for descriptor in descriptors}
    try:
        with Path(os.devnull).open("w") as nowhere:
            for descriptor in descriptors:
                os.dup2(nowhere.fileno(), descriptor)
        yield
    finally:
        for descriptor, copy in saved.items():
            os.dup2(copy, descriptor)
            os.close(copy)
