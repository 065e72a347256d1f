"""Stops by signal: after the first Ctrl-C or SIGTERM a run finishes its current batch.

The second signal ends the run at once; more of them do not disturb its end.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType


class Stop:
    """A request to stop; a call returns True after the first signal.

    Attributes:
        requested: True after the first signal.
    """

    def __init__(self) -> None:
        self.requested = False

    def __call__(self) -> bool:
        return self.requested


StopContext = Callable[[], AbstractContextManager[Stop]]
"""Function that returns the context for computing: `stop_on_signals` or `leave_signals`."""


@contextmanager
def leave_signals() -> Iterator[Stop]:
    """Yield a `Stop` that is never requested, and change no signal handler.

    Handlers belong to the whole process, so a library function must not change them.
    """
    yield Stop()


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Turn the first SIGINT or SIGTERM into a request; the second raises `KeyboardInterrupt`.

    The earlier handlers are restored at the end. Python allows handlers only in the main thread; in
    other threads this function changes nothing.
    """
    stop = Stop()
    interrupted = False
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    # A handler only records the request: an exception could interrupt a write.
    def note(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        if not stop.requested:
            stop.requested = True
        # The user pressed Ctrl-C a second time and does not want to wait. A third error would
        # interrupt the code that ends the workers.
        elif not interrupted:
            interrupted = True
            raise KeyboardInterrupt

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
