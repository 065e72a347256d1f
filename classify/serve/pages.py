"""The pages: Classify, Leaderboard, Data and About, and the files that they need."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, current_app, render_template
from werkzeug.exceptions import NotFound

from ...data.output.terminal import printable
from ...data.output.version import VERSION
from ...errors import ParameterError
from ...features.store import FeatureStore
from ..prediction.neighbours import png_address
from .assets import TYPES, examples, static_files
from .boards import SHOWN, Leaderboard
from .cards import last_name, model_record
from .curves import class_curves, confident_mistakes, confusion_matrix, svg_path

_REPORT = re.compile(rb'<meta name="generator" content="freezeframe (explore|audit)">')
_STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)

MOST_REPORT_BYTES = 2**28


@dataclass(frozen=True)
class Report:
    """A page that `explore` or `audit` wrote.

    Attributes:
        kind: "explore" or "audit".
        folder: name of its folder.
        content: the page, which holds its pictures.
    """

    kind: str
    folder: str
    content: bytes


@dataclass(frozen=True)
class PageSources:
    """Optional sources of the pages, read once.

    Attributes:
        leaderboard: the leaderboard; None without one.
        store: the store of the training pictures; None without one.
        reports: pages of `explore` and `audit`.
    """

    leaderboard: Leaderboard | None = None
    store: FeatureStore | None = None
    reports: tuple[Report, ...] = ()


def read_report(folder: Path) -> Report:
    """Read the page of a report.

    Raises:
        ParameterError: the folder holds no report of `explore` or `audit`.
    """
    page = folder / "index.html"
    if page.is_file() and page.stat().st_size <= MOST_REPORT_BYTES:
        content = page.read_bytes()
        mark = _REPORT.search(content[:4096])
        if mark:
            return Report(mark[1].decode(), folder.resolve().name, content)
    raise ParameterError(
        f"--report {folder}: has no page of explore or audit; give their --output folder"
    )


def pages_blueprint(sources: PageSources) -> Blueprint:
    """Return the routes of the pages."""
    pages = Blueprint("pages", __name__)
    static = static_files()
    drawn = examples()

    def static_file(name: str) -> Response:
        if name not in static:
            raise NotFound("there is no such file")
        ending = name[name.rindex(".") :]
        return Response(static[name], content_type=f"{TYPES[ending]}; charset=utf-8")

    def example(number: int) -> Response:
        if number not in drawn:
            raise NotFound("there is no such example")
        return Response(drawn[number], content_type="image/png")

    def leaderboard() -> str:
        board = sources.leaderboard
        boards = board.boards() if board else None
        return render("leaderboard.html", boards=boards, headings=SHOWN)

    def run(run_id: str, test_id: str) -> str:
        return _run_page(sources, run_id, test_id)

    def data() -> str:
        return render("data.html", store=_store_facts(sources.store), reports=sources.reports)

    def report(number: int) -> Response:
        if not 1 <= number <= len(sources.reports):
            raise NotFound("there is no such report")
        return _report_page(sources.reports[number - 1])

    pages.add_url_rule("/", view_func=classify, defaults={"n_examples": len(drawn)})
    pages.add_url_rule("/static/<name>", view_func=static_file)
    pages.add_url_rule("/examples/<int:number>.png", view_func=example)
    pages.add_url_rule("/leaderboard", view_func=leaderboard)
    pages.add_url_rule("/leaderboard/<run_id>/<test_id>", view_func=run)
    pages.add_url_rule("/data", view_func=data)
    pages.add_url_rule("/data/<int:number>", view_func=report)
    pages.add_url_rule("/about", view_func=about)
    return pages


def render(name: str, **values: Any) -> str:
    """Return a page; every text in it is escaped."""
    page: str = render_template(name, version=VERSION, **values)
    return page


def classify(n_examples: int) -> str:
    """Return the page to drop pictures on."""
    service = current_app.extensions["freezeframe"]
    return render(
        "classify.html",
        models=_cards(),
        limits=service.limits,
        examples=range(1, n_examples + 1),
    )


def about() -> str:
    """Return the page with the cards of the models."""
    return render("about.html", models=_cards())


def _cards() -> list[dict[str, Any]]:
    models = current_app.extensions["freezeframe"].models.values()
    return [model_record(model) for model in models]


def _run_page(sources: PageSources, run_id: str, test_id: str) -> str:
    """Return the page of one run on one test set."""
    board = sources.leaderboard
    entry = board.evaluation(run_id, test_id) if board else None
    if entry is None:
        raise NotFound("the leaderboard has no such run")
    row, evaluation = entry
    if evaluation is None:
        return render("run.html", row=row, headings=SHOWN, evaluation=None)
    mistakes = confident_mistakes(evaluation)
    return render(
        "run.html",
        row=row,
        headings=SHOWN,
        evaluation=evaluation,
        curves=class_curves(evaluation),
        matrix=confusion_matrix(evaluation),
        mistakes=[(mistake, _thumbnail(sources.store, mistake.sha256)) for mistake in mistakes],
        svg_path=svg_path,
    )


def _thumbnail(store: FeatureStore | None, sha256: str) -> str:
    """Return the address of a picture's thumbnail; "" if the store does not have it."""
    if store is None or not sha256 or not store.fingerprinted:
        return ""
    rows = store.rows()
    same = rows[store.sha256s[rows] == sha256][:1]
    return png_address(store.thumbnails(same)[0]) if len(same) else ""


def _store_facts(store: FeatureStore | None) -> dict[str, Any] | None:
    """Return the facts of a store that the page Data shows."""
    if store is None:
        return None
    rows = store.rows()
    splits = [str(split) for split in store.splits[rows]]
    return {
        "name": printable(store.data_set),
        "source": printable(last_name(store.source) or ""),
        "n_images": len(rows),
        "n_unread": len(store) - len(rows),
        "classes": dict(sorted(Counter(map(str, store.labels[rows])).items())),
        "splits": dict(Counter(filter(None, splits))),
        "layers": {name: " x ".join(map(str, shape)) for name, shape in store.layers.items()},
    }


def _report_page(report: Report) -> Response:
    """Return a page of `explore` or `audit`, which has its style within: only this very one."""
    styles = _STYLE.findall(report.content.decode(errors="replace"))
    hashes = [b64encode(hashlib.sha256(style.encode()).digest()).decode() for style in styles]
    allowed = " ".join(f"'sha256-{text}'" for text in hashes) or "'none'"
    policy = f"default-src 'none'; img-src data:; style-src {allowed}; frame-ancestors 'none'"
    response = Response(report.content, content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = policy
    return response
