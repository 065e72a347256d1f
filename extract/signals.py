"""A stop in good order: the first Ctrl-C or SIGTERM finishes the work in hand.

The second one ends at once.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType


class Stop:
    """A request to stop; calling it returns True if there is one.

    Attributes:
        requested: True after the first signal.
    """

    def __init__(self) -> None:
        self.requested = False

    def __call__(self) -> bool:
        return self.requested


StopContext = Callable[[], AbstractContextManager[Stop]]
"""Makes the context in which rows are computed, `stop_on_signals` or `leave_signals`."""


@contextmanager
def leave_signals() -> Iterator[Stop]:
    """Yield a request that never comes: a library function leaves the process's signals alone."""
    yield Stop()


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Turn the first SIGINT or SIGTERM into a request; the second raises `KeyboardInterrupt`.

    Handlers belong to the whole process; those of before are restored at the end. Python allows no
    handlers in a thread other than the main one: there signals do what they did before.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def note(number: int, frame: FrameType | None) -> None:
        # The user pressed Ctrl-C a second time and does not want to wait.
        if stop.requested:
            raise KeyboardInterrupt
        stop.requested = True

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
