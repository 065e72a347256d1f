"""Limits of the server: sizes, counts and times beyond which a request is refused."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from ....errors import FreezeframeError
from ....extract.engines.devices import cpu_cores


@dataclass(frozen=True)
class ServerLimits:
    """Limits of one server.

    Attributes:
        body_bytes: size of a request's body, and so of an image.
        images: images of one request.
        pixels: height x width of an image.
        decode_seconds: seconds for decoding one image, after which its process is ended.
        decoder_bytes: address space of a process that decodes.
        decoders: processes that decode; by default one for each core, at least two.
        waiting: images that are decoded, or wait for it or for the engine. Requests beyond get 503.
        maps: maps of evidence that are computed, or wait for it. Requests beyond get 503.
        answer_seconds: seconds after which a request that still waits gets 503.
        transfer_seconds: seconds for receiving one request, and for sending its answer.
        connections: open connections; further ones wait in the system's own queue.
    """

    body_bytes: int = 32 * 2**20
    images: int = 16
    pixels: int = 50_000_000
    decode_seconds: float = 20
    decoder_bytes: int = 2 * 2**30
    decoders: int = field(default_factory=lambda: max(2, cpu_cores()))
    waiting: int = 32
    maps: int = 8
    answer_seconds: float = 60
    transfer_seconds: float = 120
    connections: int = 64

    @property
    def form_parts(self) -> int:
        """Parts of a form: images, and a few that are ignored."""
        return self.images + 4

    def waitress_options(self) -> dict[str, Any]:
        """Return the options of waitress that hold these limits.

        Its own defaults are a body of 1 GB, and a temporary file for each body of more than half a
        megabyte.
        """
        # A body a little too large reaches the application, which explains it in JSON.
        most = self.body_bytes + 2**20
        return {
            "max_request_body_size": most,
            "max_request_header_size": 2**15,
            "inbuf_overflow": 2 * most,
            "outbuf_overflow": 2 * most,
            "connection_limit": self.connections,
            "channel_timeout": 60,
            # A thread for each request that waits, and some that answer 503 at once.
            "threads": self.waiting + 8,
            "ident": None,
            "expose_tracebacks": False,
            "clear_untrusted_proxy_headers": True,
        }


class BusyError(FreezeframeError):
    """A server that has too much to do.

    Attributes:
        seconds: after this time it is worth another try.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__("the server is busy; try again later")
        self.seconds = max(1, math.ceil(seconds))
