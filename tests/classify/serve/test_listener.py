"""The real server on a socket: what waitress refuses by itself, and clients that never end."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from .conftest import listening

if TYPE_CHECKING:
    from flask import Flask

pytest.importorskip("flask", reason="the extra serve is not installed")

from freezeframe.classify.serve.gate.limits import ServerLimits
from freezeframe.classify.serve.gate.listener import Listener

HEAD = b"Host: localhost\r\nContent-Type: image/png\r\n"
POST = b"POST /api/v1/classify HTTP/1.1\r\n" + HEAD


@pytest.fixture(scope="module")
def port(app: Flask) -> Iterator[int]:
    with listening(app, ServerLimits(transfer_seconds=1, connections=8)) as number:
        yield number


def exchange(port: int, *parts: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send bytes; return the status, the headers and the body of the answer."""
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        for part in parts:
            connection.sendall(part)
        with connection.makefile("rb") as file:
            status = int(file.readline().split()[1])
            lines = iter(file.readline, b"\r\n")
            headers = dict(line.decode().strip().lower().split(": ", 1) for line in lines)
            return status, headers, file.read(int(headers["content-length"]))


@pytest.mark.parametrize(
    ("request_", "status", "text"),
    [
        (POST + b"Content-Length: 99999999999\r\n\r\n", 413, "the body is larger than the limit"),
        (POST + b"X: " + bytes(2**15).replace(b"\0", b"x"), 431, "the headers are larger"),
        (b"<script>alert(1)</script>\r\n\r\n", 400, "no valid HTTP"),
        (POST + b"John Smith\r\n\r\n", 400, "no valid HTTP"),
        (POST + b"Content-Length: -1\r\n\r\n", 400, "no valid HTTP"),
        (POST + b"Transfer-Encoding: gzip\r\n\r\n", 501, "this transfer encoding is not known"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nno number\r\n", 400, "no valid HTTP"),
    ],
)
def test_what_never_reaches_the_application_gets_a_problem_too(
    port: int, request_: bytes, status: int, text: str
) -> None:
    answered, headers, body = exchange(port, request_)
    about: dict[str, Any] = json.loads(body)
    assert answered == about["status"] == status
    assert headers["content-type"] == "application/problem+json"
    assert headers["x-content-type-options"] == "nosniff"
    assert text in about["detail"]
    # Nothing of the request comes back.
    assert b"script" not in body
    assert b"Smith" not in body


@pytest.mark.parametrize("drip", [b"X-A: b\r\n", b""])
def test_a_request_that_never_ends_loses_its_connection(port: int, drip: bytes) -> None:
    """A byte now and then (slow loris) would keep a place for ever."""

    def send_on(connection: socket.socket) -> None:
        connection.sendall(POST + (drip or b"Transfer-Encoding: chunked\r\n\r\n"))
        while time.monotonic() - start < 15:
            connection.sendall(drip or b"1\r\nx\r\n")
            time.sleep(0.05)

    start = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        with pytest.raises(OSError, match=r"[Rr]eset|[Bb]roken pipe"):
            send_on(connection)
        assert 0.9 < time.monotonic() - start < 14


def test_connections_that_say_nothing_are_not_cut_in_a_second(port: int) -> None:
    """A browser opens connections ahead, and keeps one open between requests."""
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        time.sleep(2.5)
        connection.sendall(b"GET /api/v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(99).startswith(b"HTTP/1.1 200 OK")


def test_a_name_with_addresses_of_both_kinds_is_one_server(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`localhost` often has 127.0.0.1 and ::1; waitress would listen on two ports."""
    look_up = socket.getaddrinfo

    def both(host: str, port: int, family: int = 0, *more: int) -> list[Any]:
        names = {socket.AF_INET: ["127.0.0.1"], socket.AF_INET6: ["::1"]}
        found = names.get(socket.AddressFamily(family), ["::1", "127.0.0.1"])
        return [row for name in found for row in look_up(name, port, 0, *more)]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    server = Listener(app, "localhost", 0, ServerLimits())
    assert (server.effective_host, int(server.effective_port) > 0) == ("127.0.0.1", True)
    server.close()
