"""A Python process that exchanges messages through its standard streams: JSON, one a line.

Plain processes, not `multiprocessing`: nothing is unpickled, a program that calls this package
needs no `if __name__ == "__main__"`, and a process that is killed at any instant blocks no queue.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, NoReturn

OWN_GROUP = 0 if os.name == "posix" else None
"""Value of `process_group` for a child process that must not get the terminal's Ctrl-C.

The parent gets it, finishes the work and ends the child.
"""


class WorkerDiedError(Exception):
    """A worker process ended in the middle of its work."""


class PipedProcess:
    """A process that runs a module, and the messages to and from it.

    Args:
        module: name of the module, which reads standard input and writes standard output.
    """

    def __init__(self, module: str) -> None:
        # The last line that a process prints explains why it did not start.
        self._printed = _open_log()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._printed,
            process_group=OWN_GROUP,
        )
        # Seconds after which it was killed.
        self._late: float | None = None

    def send(self, message: Any, content: bytes = b"") -> None:
        """Send a message, and the bytes that follow it.

        Raises:
            WorkerDiedError: the process has ended.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.write(content)
            self._process.stdin.flush()
        except OSError:
            self.raise_died()

    def read_message(self) -> dict[str, Any]:
        """Wait for a message, for ever unless a `time_limit` ends the process.

        Raises:
            WorkerDiedError: the process has ended.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        # A process that dies in the middle of an answer leaves half a line.
        if not line.endswith(b"\n"):
            self.raise_died()
        message: dict[str, Any] = json.loads(line)
        return message

    def read_content(self, n_bytes: int) -> bytes:
        """Wait for the bytes that follow a message.

        Raises:
            WorkerDiedError: the process has ended.
        """
        assert self._process.stdout is not None
        content = self._process.stdout.read(n_bytes)
        if len(content) < n_bytes:
            self.raise_died()
        return content

    @contextmanager
    def time_limit(self, seconds: float) -> Iterator[None]:
        """Kill the process if the block takes longer; its reads and writes then raise."""
        # A pipe has no timeout: another thread ends the process, which ends the read.
        alarm = threading.Timer(seconds, self._kill_late, [seconds])
        alarm.daemon = True
        alarm.start()
        try:
            yield
        finally:
            alarm.cancel()

    def raise_died(self) -> NoReturn:
        """Raise WorkerDiedError with the reason why the process ended."""
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            # The process closed its pipes but still runs.
            self.kill()
            code = self._process.wait()
        if self._late is not None:
            raise WorkerDiedError(f"it took more than {self._late:g} s")
        raise WorkerDiedError(f"signal {-code}" if code < 0 else f"exit code {code}")

    def last_line(self) -> str:
        """Return the last line that the process printed; "" if it printed none."""
        self._printed.seek(0)
        return self._printed.read().decode(errors="replace").strip().rpartition("\n")[2]

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()

    def _kill_late(self, seconds: float) -> None:
        self._late = seconds
        self.kill()

    def close(self) -> None:
        """Close the input of the process, which ends it, and wait for its end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        for pipe in (self._process.stdin, self._process.stdout):
            try:
                pipe.close()
            except OSError:
                # Closing writes the last message, which a dead process cannot take.
                continue
        self._process.wait()
        self._printed.close()


def _open_log() -> IO[bytes]:
    """Return a new file without a name for the output of a process."""
    try:
        return tempfile.TemporaryFile()
    except OSError:
        # No temporary folder can be written; a process that does not start says less then.
        return open(os.devnull, "w+b")  # noqa: PTH123 - closed with the process
