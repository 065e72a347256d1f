"""Errors of the server: problem documents of RFC 9457 for the API, small pages for browsers."""

from __future__ import annotations

import logging
from http import HTTPStatus

from flask import Flask, Response, render_template, request
from werkzeug.exceptions import HTTPException, InternalServerError

from ....data.output.json import json_text
from ....errors import FreezeframeError
from .limits import BusyError

PROBLEM_TYPE = "application/problem+json"
API = "/api/v1"

log = logging.getLogger(__name__)


def problem(status: int, detail: str, **more: object) -> Response:
    """Return a problem document.

    Args:
        status: status of HTTP.
        detail: one sentence: what is wrong, and what to do.
        more: further members.
    """
    title = HTTPStatus(status).phrase
    about = {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}
    return Response(json_text(about), status, content_type=PROBLEM_TYPE)


def handle_errors(app: Flask) -> None:
    """Let an application answer every error with a problem document or a small page."""
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(BusyError, _busy)
    app.register_error_handler(Exception, _unexpected)


def _answer(status: int, detail: str) -> Response:
    """Answer for the API, or for a person at a browser."""
    if request.path.startswith("/api/"):
        return problem(status, detail)
    title = HTTPStatus(status).phrase
    return Response(render_template("error.html", title=title, detail=detail), status)


def _http_error(error: HTTPException) -> Response:
    response = _answer(error.code or 500, error.description or "")
    # Allow says which methods a path takes.
    for name, value in error.get_headers(request.environ):
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value
    if error.code == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _busy(error: BusyError) -> Response:
    response = _answer(503, str(error))
    response.headers["Retry-After"] = str(error.seconds)
    return response


def _unexpected(error: Exception) -> Response:
    """Answer without a word about the server's inside; the log has it."""
    log.error("internal error", exc_info=error)
    if isinstance(error, FreezeframeError):
        return _answer(500, "the server has a problem, which its log names")
    return _answer(500, str(InternalServerError.description))
