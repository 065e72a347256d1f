"""Access to the server: hosts, sites, tokens, and the headers of every answer."""

from __future__ import annotations

import re
from http.cookiejar import CookieJar
from typing import TYPE_CHECKING
from urllib.request import HTTPCookieProcessor, build_opener

import pytest

from freezeframe import ParameterError

from .conftest import Place, listening, make_app

if TYPE_CHECKING:
    from flask.testing import FlaskClient

pytest.importorskip("flask", reason="the extra serve is not installed")

from freezeframe.classify.serve.application import close_app
from freezeframe.classify.serve.gate.tokens import Access, host_access

HEALTH = "/api/v1/health"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8000", 200),
        ("127.0.0.1:9", 200),
        ("[::1]:8000", 200),
        ("localhost.", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example:8000", 403),
        ("192.168.1.7:8000", 403),
        ("[::1", 403),
        ("127.0.0.1:8000@evil.example", 403),
        ("localhost#evil.example", 403),
        ("localhost, evil.example", 403),
        ("2130706433", 403),
        ("", 403),
    ],
)
def test_only_this_machine_is_a_host(client: FlaskClient, host: str, status: int) -> None:
    """A stranger's page whose name leads here could read the answers (DNS rebinding)."""
    assert client.get(HEALTH, headers={"Host": host}).status_code == status


@pytest.mark.parametrize(
    ("headers", "method", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, "post", 400),
        ({"Sec-Fetch-Site": "none"}, "get", 200),
        ({"Sec-Fetch-Site": "cross-site"}, "get", 403),
        ({"Sec-Fetch-Site": "same-site"}, "get", 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, "get", 200),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, "post", 403),
        ({"Origin": "http://localhost"}, "post", 400),
        ({"Origin": "https://evil.example"}, "post", 403),
        ({"Origin": "null"}, "post", 403),
        ({"Origin": "http://["}, "post", 403),
        ({"Origin": "http://localhost@evil.example"}, "post", 403),
        ({"Origin": "http://evil.example/localhost"}, "post", 403),
    ],
)
def test_other_sites_are_refused(
    client: FlaskClient, headers: dict[str, str], method: str, status: int
) -> None:
    if method == "post":
        answer = client.post("/api/v1/classify", headers=headers, content_type="image/png")
    else:
        answer = client.get(HEALTH, headers=headers)
    assert answer.status_code == status


def test_every_answer_has_the_headers(client: FlaskClient) -> None:
    for path in ("/", "/about", "/nothing", "/static/style.css", HEALTH, "/api/v1/nothing"):
        headers = client.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"


def test_beyond_this_machine_only_with_permission_and_a_token(place: Place) -> None:
    with pytest.raises(ParameterError, match=r"--host 0\.0\.0\.0: other machines could reach it"):
        host_access("0.0.0.0", allow_remote=False)
    assert host_access("127.0.0.1", allow_remote=True).token == ""
    access = host_access("0.0.0.0", allow_remote=True)
    assert len(access.token) > 40
    assert access.token != host_access("0.0.0.0", allow_remote=True).token
    app = make_app(place, access=access)
    try:
        client = app.test_client()
        assert client.get(HEALTH).status_code == 401
        assert client.get(HEALTH).headers["WWW-Authenticate"] == "Bearer"
        assert client.get("/").status_code == 401
        assert client.get("/static/style.css").status_code == 401
        wrong = {"Authorization": "Bearer " + access.token[:-1]}
        assert client.get(HEALTH, headers=wrong).status_code == 401
        assert client.get(HEALTH, headers={"Authorization": "Bearer \xe9"}).status_code == 401
        right = {"Authorization": "Bearer " + access.token}
        assert client.get(HEALTH, headers=right).status_code == 200
        assert client.get(HEALTH, headers={**right, "Host": "10.0.0.7:8000"}).status_code == 200
        assert client.get(HEALTH, headers={**right, "Host": "evil.example"}).status_code == 403
        first = client.get(f"/?token={access.token}")
        assert (first.status_code, first.headers["Location"]) == (303, "/")
        away = client.get(
            f"/?token={access.token}", environ_overrides={"PATH_INFO": "//evil.example/"}
        )
        assert away.headers["Location"] == "/evil.example/"
        assert re.search("HttpOnly.*SameSite=Strict", first.headers["Set-Cookie"])
        # The client keeps the cookie from here on.
        assert client.get("/").status_code == 200
    finally:
        close_app(app)


def test_the_token_is_checked_before_anything_is_read(place: Place) -> None:
    app = make_app(place, access=Access(token="secret"))
    try:
        client = app.test_client()
        for path in ("/api/v1/classify", "/api/v1/picture", "/api/v1/neighbours"):
            answer = client.post(path, data=b"x", content_type="image/png")
            assert answer.status_code == 401
    finally:
        close_app(app)


def test_two_servers_on_one_host_keep_their_own_cookies(place: Place) -> None:
    """Browsers send the cookies of a host to all of its ports."""
    tokens = ("a" * 43, "b" * 43)
    apps = [make_app(place, access=Access(token=token)) for token in tokens]
    # Like a browser, it keeps cookies by host, not by port.
    opener = build_opener(HTTPCookieProcessor(CookieJar()))
    try:
        with listening(apps[0]) as first, listening(apps[1]) as second:
            for port, token in zip((first, second), tokens, strict=True):
                opener.open(f"http://127.0.0.1:{port}/?token={token}", timeout=30).close()
            for port in (first, second, first):
                with opener.open(f"http://127.0.0.1:{port}{HEALTH}", timeout=30) as answer:
                    assert answer.status == 200
    finally:
        for app in apps:
            close_app(app)
