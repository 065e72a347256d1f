"""The application: it loads everything once, and joins pages, API and safety."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from flask import Flask, Response, g, redirect, request
from jinja2 import DictLoader

from ..prediction.neighbours import TrainingPictures, training_pictures
from ..prediction.predictor import Predictor
from ..scores.grades import PICTURES_RISK
from .api import api_blueprint
from .assets import templates
from .gate.limits import ServerLimits
from .gate.problems import handle_errors
from .gate.tokens import Access
from .gate.uploads import MemoryRequest
from .pages import PageSources, pages_blueprint
from .service import Service

log = logging.getLogger(__name__)

HEADERS = {
    # Nothing from elsewhere, and no script or style within a page.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # A patient's picture must not stay in the cache of a browser.
    "Cache-Control": "no-store",
}
"""Headers of every answer."""


@dataclass(frozen=True)
class ServerConfig:
    """The settings of an application.

    Attributes:
        predictors: the models, the default one first; `create_app` loads their engines.
        access: the requests that are answered.
        limits: limits of sizes, counts and times.
        sources: what the pages show beside the models.
    """

    predictors: Sequence[Predictor]
    access: Access = field(default_factory=Access)
    limits: ServerLimits = field(default_factory=ServerLimits)
    sources: PageSources = field(default_factory=PageSources)


class ServerApp(Flask):  # type: ignore[misc]
    """A Flask application that keeps uploads in memory."""

    request_class = MemoryRequest


def create_app(config: ServerConfig) -> Flask:
    """Return the application; all models and engines are loaded when it returns.

    Run it with a WSGI server; `close_app` ends its processes.

    Raises:
        ParameterError: two models are of one run, or none was fitted on the store.
        WeightsError: the weights of a backbone are missing or wrong.
    """
    app = ServerApp(__name__, static_folder=None, template_folder=None)
    limits = config.limits
    app.config["MAX_CONTENT_LENGTH"] = limits.body_bytes
    app.config["MAX_FORM_PARTS"] = limits.form_parts
    # An address with two slashes is a wrong address, not another spelling.
    app.url_map.merge_slashes = False
    pictures = _training_pictures(config)
    app.extensions["freezeframe"] = Service(config.predictors, limits, pictures)
    # By names alone: a template is never a path.
    app.jinja_loader = DictLoader(templates())
    # One sentence for every place that shows a score.
    app.jinja_env.globals["pictures_risk"] = PICTURES_RISK
    app.register_blueprint(api_blueprint())
    app.register_blueprint(pages_blueprint(config.sources))
    handle_errors(app)
    _guard(app, config.access)
    return app


def _training_pictures(config: ServerConfig) -> dict[str, TrainingPictures]:
    """Return the training pictures of the models, if a store was passed."""
    sources = config.sources
    if sources.store is None:
        return {}
    board = sources.leaderboard
    held_out = board.held_out if board else lambda _: frozenset()
    heads = [predictor.model for predictor in config.predictors]
    return training_pictures(sources.store, heads, held_out)


def close_app(app: Flask) -> None:
    """End the processes of an application and free its engines."""
    app.extensions["freezeframe"].close()


def _guard(app: Flask, access: Access) -> None:
    """Check each request before its view, and complete and log each answer."""

    def before() -> Response | None:
        g.start = time.perf_counter()
        access.check(request)
        if access.token and "token" in request.args and request.method == "GET":
            return _with_cookie(access)
        return None

    def after(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        _log(response)
        return response

    app.before_request(before)
    app.after_request(after)


def _with_cookie(access: Access) -> Response:
    """Move the token from the address, which others may see, into a cookie."""
    # Two slashes would begin the name of another host.
    response: Response = redirect("/" + request.path.lstrip("/"), 303)
    response.set_cookie(access.cookie, access.token, httponly=True, samesite="Strict")
    return response


def _log(response: Response) -> None:
    """Log a request by its route and digests: its address and its form may name a patient."""
    route = request.url_rule.rule if request.url_rule else "-"
    milliseconds = 1000 * (time.perf_counter() - g.get("start", time.perf_counter()))
    log.info(
        "%s %s %s %.0f ms %s",
        request.method,
        route,
        response.status_code,
        milliseconds,
        " ".join(g.get("digests", ())),
    )
