"""Access to the server: its token, its host names, and the sites that requests come from."""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
import socket
from dataclasses import dataclass
from hmac import compare_digest
from urllib.parse import urlsplit

from flask import Request, abort

from ....errors import ParameterError

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")

SAME_SITES = ("same-origin", "none")
"""Values of Sec-Fetch-Site for the server's own pages, and for what the user typed."""


@dataclass(frozen=True)
class Access:
    """The requests that a server answers.

    Attributes:
        hosts: names that the header Host may have, without a port. Behind a name of a stranger's
            domain, that stranger's page could read the answers (DNS rebinding).
        any_address: True to answer to every IP address, too: no stranger can rebind one.
        token: secret that each request must have; "" for a server that only this machine reaches.
    """

    hosts: tuple[str, ...] = LOOPBACK_NAMES
    any_address: bool = False
    token: str = ""

    def check(self, request: Request) -> None:
        """Refuse a request that another site sent, or that has no right to ask.

        Raises:
            HTTPException: 400, 401 or 403.
        """
        self._check_host(request.host)
        _check_site(request)
        if self.token and not self.has_token(request):
            abort(401, "the token is missing or wrong; open the address that the server printed")

    @property
    def cookie(self) -> str:
        """The name of the cookie with the token.

        Browsers keep one cookie of a name for all ports of a host, so each server needs its own.
        """
        return f"freezeframe-{hashlib.sha256(self.token.encode()).hexdigest()[:8]}"

    def has_token(self, request: Request) -> bool:
        """Return True for a request with the token, in a header, a cookie, or the address."""
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        texts = (bearer, request.cookies.get(self.cookie, ""), request.args.get("token", ""))
        # The comparison takes the same time for every wrong token.
        return any(compare_digest(text.encode(), self.token.encode()) for text in texts)

    def _check_host(self, host: str) -> None:
        name = host_name(host)
        if name in self.hosts or (self.any_address and _is_address(name)):
            return
        abort(403, "the header Host names another server; use the address that was printed")


def host_access(host: str, allow_remote: bool) -> Access:
    """Return the access to a server that listens on a host.

    Raises:
        ParameterError: the host is reached by other machines, which was not allowed.
    """
    if _is_loopback(host):
        return Access((*LOOPBACK_NAMES, host.lower()))
    if not allow_remote:
        raise ParameterError(
            f"--host {host}: other machines could reach it; add --allow-remote, which makes a "
            "token, or leave it out"
        )
    names = (host.lower(), socket.gethostname().lower(), socket.getfqdn().lower())
    return Access((*LOOPBACK_NAMES, *names), any_address=True, token=secrets.token_urlsafe(32))


def host_name(host: str) -> str:
    """Return the name in a header Host, in lower case, without port and brackets."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _check_site(request: Request) -> None:
    """Refuse what a page of another site asks for; a link to a page of this one is fine."""
    headers = request.headers
    site = headers.get("Sec-Fetch-Site", "none")
    is_link = request.method == "GET" and headers.get("Sec-Fetch-Mode") == "navigate"
    if site not in SAME_SITES and not is_link:
        abort(403, "another site sent this request; open the page of this server instead")
    # Browsers that do not send the first header send this one with every upload.
    origin = headers.get("Origin")
    if origin and origin.partition("://")[2] != request.host:
        abort(403, "another site sent this request; open the page of this server instead")
