"""A command of this package as a child process: it shows its progress, and its words are kept."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

SECONDS_TO_END = 5.0
"""Seconds that a child has to end by itself after Ctrl-C, which reaches it, too."""

_CONTROL = re.compile(rb"(?:\r|\x1b\[[0-9;?]*[A-Za-z])+")


@dataclass(frozen=True)
class Screen:
    """The place where a study shows what it does.

    Attributes:
        say: shows one line.
        show: shows what a step writes on standard error, progress bars included.
        terminal: True if `show` writes to a terminal.
        seen: lines of steps that were shown; no line is shown twice.
    """

    say: Callable[[str], None]
    show: Callable[[bytes], None]
    terminal: bool = False
    seen: set[bytes] = field(default_factory=set)


class TerminatedError(KeyboardInterrupt):
    """A request of the system to end, which reaches this process only."""


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM, and the end of the terminal, stop a block as Ctrl-C does."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TerminatedError

    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {name: signal.signal(getattr(signal, name), stop) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


def run_child(
    arguments: Sequence[str],
    folder: Path,
    log: Path,
    screen: Screen,
    *,
    printed: Path | None = None,
    show_results: bool = False,
    lock: int | None = None,
) -> int:
    """Run a command of this package in a folder and return its exit code; -9 if it was killed.

    A child that has the lock keeps it if this process is killed, so that no other process takes
    the study while the child still writes.

    Args:
        arguments: the command and its arguments.
        folder: its working folder.
        log: file that keeps what it prints.
        screen: shows what it prints on standard error.
        printed: file that takes its standard output; None for the log.
        show_results: True to show its standard output, too, and keep it in the log.
        lock: descriptor of the lock; None where the system has no locks.

    Raises:
        KeyboardInterrupt: the user stopped the command; the child has ended.
    """
    reader, writer = _open_channel(screen.terminal)
    command = [sys.executable, "-P", "-m", "freezeframe", *arguments]
    # Both writers of the log append, so that neither overwrites the other.
    log.write_bytes(b"")
    with log.open("ab", 0) as words, printed.open("wb") if printed else log.open("ab") as out:
        child = subprocess.Popen(
            command,
            cwd=folder,
            stdout=writer if show_results else out,
            stderr=writer,
            pass_fds=() if lock is None else (lock,),
        )
        os.close(writer)
        shown = _Relay(screen, words.write)
        relay = threading.Thread(target=shown.run, args=(reader,), daemon=True)
        relay.start()
        try:
            code = child.wait()
        except BaseException as error:
            _end(child, SECONDS_TO_END if type(error) is KeyboardInterrupt else 0)
            raise
        finally:
            # A grandchild that outlives the child may keep the channel open.
            relay.join(timeout=2)
    # The child got the Ctrl-C before this process did.
    if code in (130, -signal.SIGINT):
        raise KeyboardInterrupt
    return code


def _open_channel(terminal: bool) -> tuple[int, int]:
    """Open the two ends of what a child writes to; programs draw bars on a terminal only."""
    if terminal and os.name == "posix":
        import pty

        return pty.openpty()
    return os.pipe()


class _Relay:
    """Shows what a child writes as it comes, bars included, and keeps its lines without bars.

    Args:
        screen: shows the bytes, and each line once.
        keep: called with each line to keep.
    """

    def __init__(self, screen: Screen, keep: Callable[[bytes], object]) -> None:
        self._show = screen.show
        self._keep = keep
        self._seen = screen.seen
        self._rest = b""
        # Bytes of the rest that are shown already.
        self._shown = 0

    def run(self, reader: int) -> None:
        """Read from a descriptor until it ends."""
        while block := _read(reader):
            *lines, rest = (self._rest + block).split(b"\n")
            for line in lines:
                self._end_line(line.removesuffix(b"\r"))
            self._rest = rest
            # A bar is drawn over and over on one line.
            if b"\r" in rest:
                self._show(rest[self._shown :])
                self._shown = len(rest)
        self._end_line(self._rest)
        os.close(reader)

    def _end_line(self, line: bytes) -> None:
        """Show the new part of a line, and keep what is left of it when it is drawn."""
        new, self._shown = line[self._shown :], 0
        text = _CONTROL.split(line)[-1]
        if text and text not in self._seen:
            self._show(new + b"\n")
        else:
            # The control characters before it wipe a bar.
            self._show(b"".join(_CONTROL.findall(new)))
        self._seen.add(text)
        if text:
            self._keep(text + b"\n")


def _read(reader: int) -> bytes:
    """Read what is there; nothing at the end."""
    try:
        return os.read(reader, 65536)
    except OSError:
        # A terminal ends with an error.
        return b""


def _end(child: subprocess.Popen[bytes], seconds: float) -> None:
    """End a child that was stopped; kill it if it takes too long, or if the user insists.

    Args:
        child: the child.
        seconds: seconds that it may take to end by itself.
    """
    try:
        with suppress(subprocess.TimeoutExpired):
            child.wait(seconds)
        if child.poll() is None:
            child.terminate()
            child.wait(SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        pass
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
