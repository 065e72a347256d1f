"""The listener: waitress with the limits of the server, and problem documents for its refusals."""

from __future__ import annotations

import logging
import time
from typing import Any

from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask

from .limits import ServerLimits
from .problems import problem

DETAILS = {
    400: "the request is no valid HTTP; send it with another client",
    413: "the body is larger than the limit; send fewer or smaller images",
    431: "the headers are larger than the limit; send fewer or shorter ones",
    501: "this transfer encoding is not known; send the body chunked, or with its length",
}
"""Sentences about requests that waitress itself refuses, by status."""

log = logging.getLogger(__name__)


class Refusal(ErrorTask):  # type: ignore[misc]
    """The answer to a request that does not reach the application."""

    def execute(self) -> None:
        """Answer with a problem document; waitress would quote the request in plain text."""
        code = self.request.error.code
        answer = problem(code, DETAILS.get(code, "the server has a problem; try again"))
        answer.headers["Cache-Control"] = "no-store"
        answer.headers["X-Content-Type-Options"] = "nosniff"
        log.info("- - %s", code)
        self.status = answer.status
        self.response_headers.extend(answer.headers)
        self.set_close_on_finish()
        self.write(answer.get_data())


class Channel(HTTPChannel):  # type: ignore[misc]
    """A connection, which is closed when a request or its answer takes too long on the way."""

    error_task_class = Refusal
    _idle_until = 0.0

    def readable(self) -> bool:
        """Return True if the request has more to read; waitress asks at least once a second."""
        now = time.monotonic()
        if self.request is None and not self.total_outbufs_len:
            self._idle_until = now
        # A client that sends a byte now and then would keep its place for ever.
        elif now - self._idle_until > self.server.limits.transfer_seconds:
            self.will_close = True
        return bool(super().readable())


class Listener(TcpWSGIServer):  # type: ignore[misc]
    """A server that listens; `run` answers requests until the process is interrupted.

    Args:
        app: the application, as WSGI has it.
        host: name or address to listen on; a name is looked up as IPv4.
        port: port to listen on; 0 takes a free one.
        limits: limits of the server.

    Attributes:
        effective_port: the port that it listens on.

    Raises:
        OSError, ValueError: it cannot listen there.
    """

    channel_class = Channel

    def __init__(self, app: Any, host: str, port: int, limits: ServerLimits) -> None:
        self.limits = limits
        # One name can have addresses of both kinds, and waitress would make a server of each.
        options = {**limits.waitress_options(), "ipv6": ":" in host}
        super().__init__(app, host=host, port=port, **options)
