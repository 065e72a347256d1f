"""Protection of the terminal from the output of C++ libraries.

Only this file redirects the file descriptors of the process, and only while an engine starts.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def silenced(*descriptors: int) -> Iterator[None]:
    """Drop all output to file descriptors, also that of C++ code, while the block runs.

    TensorFlow prints notes before it reads any setting, and MNN has no setting. Errors still raise.
    The output of other threads is dropped, too. Where a program was started without one of these
    streams (`2>&-`), another file may have its number, and that descriptor is left alone.

    Args:
        descriptors: 1 is standard output, 2 standard error.
    """
    # Python sets a stream to None if its descriptor was closed when the program started.
    streams = {1: sys.__stdout__, 2: sys.__stderr__}
    copies = {number: os.dup(number) for number in descriptors if streams[number] is not None}
    try:
        with Path(os.devnull).open("w") as nowhere:
            for descriptor in copies:
                os.dup2(nowhere.fileno(), descriptor)
        yield
    finally:
        # The terminal must work again, also after an error.
        for descriptor, copy in copies.items():
            os.dup2(copy, descriptor)
            os.close(copy)
