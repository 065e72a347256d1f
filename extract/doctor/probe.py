"""A probe: a child process that looks for facts, so that no broken library ends the doctor.

`process` is the program of the child.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ...data.output.piped_process import PipedProcess, WorkerDiedError
from . import process

PROBE_SECONDS = 120
"""Seconds for one fact after which a probe is killed.

TensorFlow's import took 43 s on a machine of 2 cores with 6 other busy processes.
"""


@dataclass(frozen=True)
class Failure:
    """An error in place of a fact.

    Attributes:
        error: the kind of the error and its text, in one line.
        kind: name of the class of the error; empty if the child process died.
        library: name of the module in which the error was raised; empty if that is unknown.
        place: file in which it was raised; empty if that is unknown.
    """

    error: str
    kind: str = ""
    library: str = ""
    place: str = ""


@dataclass
class Findings:
    """The facts that a probe saw, and the failures in place of others, by name."""

    facts: dict[str, Any] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)


class Probe:
    """A child process that looks for facts; it works while its parent goes about other things.

    Args:
        name: one of `process.PROBES`.
        details: arguments of that function.
        seconds: time for one fact, after which the child is killed.
    """

    def __init__(self, name: str, *details: Any, seconds: float = PROBE_SECONDS) -> None:
        self._message = {"probe": name, "details": details}
        self._seconds = seconds
        self._findings = Findings()
        self._n_messages = 0
        # A process that hangs in the kernel cannot even be killed; nobody waits for this thread.
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def findings(self) -> Findings:
        """Wait for the end of the child, and return what it saw until then."""
        n_messages = -1
        # The child is killed if it is late. Where even that fails, it is left to itself.
        while self._thread.is_alive() and self._n_messages > n_messages:
            n_messages = self._n_messages
            self._thread.join(self._seconds + 10)
        return self._findings

    def _read(self) -> None:
        """Start the child and read its messages, until the last one or its death."""
        begun = "start"
        try:
            child = PipedProcess(process.__name__)
        except OSError as error:
            self._findings.failures[begun] = Failure(f"no process starts ({error})")
            return
        try:
            child.send(self._message)
            while "end" not in (message := self._next(child)):
                begun = message["fact"]
                self._take(message)
        except WorkerDiedError as error:
            last = " ".join(child.last_line().split())[-200:]
            reason = f"{error}: {last}" if last else str(error)
            self._findings.failures[begun] = Failure(f"its process died ({reason})")
        finally:
            child.kill()
            with suppress(WorkerDiedError):
                child.close()

    def _next(self, child: PipedProcess) -> dict[str, Any]:
        """Wait for the next message of the child."""
        with child.time_limit(self._seconds):
            message = child.read_message()
        self._n_messages += 1
        return message

    def _take(self, message: dict[str, Any]) -> None:
        """Note a fact, a failure, or only that the search for a fact began."""
        if "value" in message:
            self._findings.facts[message["fact"]] = message["value"]
        elif "failure" in message:
            self._findings.failures[message["fact"]] = Failure(**message["failure"])
