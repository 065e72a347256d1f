"""The command `freezeframe serve`."""

from __future__ import annotations

import logging
import signal
import sys
import webbrowser
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...data.output.options import Integer
from ...data.output.terminal import printable
from ...errors import FreezeframeError, MissingExtraError, ParameterError

if TYPE_CHECKING:
    from ..serve.pages import PageSources


@click.command()
@click.argument(
    "models", metavar="MODEL...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    help="Feature store that a model was fitted on, for its nearest training pictures.",
)
@click.option(
    "--runs",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Folder of the runs, beside leaderboard.csv. [default: the folder that holds MODEL's run, "
    "if leaderboard.csv is beside it]",
)
@click.option(
    "--report",
    "reports",
    multiple=True,
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Folder that explore or audit wrote, to be shown, too. Repeat it for more.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; any but this machine's own loopback needs --allow-remote.",
)
@click.option(
    "--port",
    default=8000,
    show_default=True,
    type=Integer(0, 65535),
    help="Port to listen on; 0 takes a free one.",
)
@click.option(
    "--allow-remote",
    is_flag=True,
    help="Let other machines use the server, with a token that is made and printed.",
)
@click.option("--open", "open_page", is_flag=True, help="Open the page in a browser.")
@click.option(
    "--weights",
    default="imagenet",
    metavar="imagenet|PATH",
    show_default=True,
    type=click.Path(),
    help="Weights of the backbones.",
)
@click.option(
    "--engine",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "keras", "mnn", "none"]),
    help="Engine: auto takes the one that computed the features of the training images.",
)
def serve(
    models: tuple[Path, ...],
    store: Path | None,
    runs: Path | None,
    reports: tuple[Path, ...],
    host: str,
    port: int,
    allow_remote: bool,
    open_page: bool,
    weights: str,
    engine: str,
) -> None:
    """Open a web page, and a JSON API, that classify images with fitted heads.

    MODEL is runs/RUN/model.safetensors, or the folder runs/RUN. Images stay in the memory of this
    machine. Ctrl-C ends the server.
    """
    for library in ("flask", "waitress"):
        if find_spec(library) is None:
            raise MissingExtraError(library, "serve", "the web server")
    from ..prediction.predictor import Predictor
    from ..serve.application import ServerConfig, close_app, create_app
    from ..serve.gate.tokens import host_access

    # A forbidden host is an error before the engines are loaded, which takes seconds.
    access = host_access(host, allow_remote)
    predictors = [Predictor(model, weights=weights, engine=engine) for model in models]
    _log_to_standard_error()
    sources = _sources(models[0], store, runs, reports)
    app = create_app(ServerConfig(predictors, access, sources=sources))
    try:
        server = _listening(app, host, port)
        address = _address(host, server.effective_port, access.token)
        click.echo(printable(f"{address}  (Ctrl-C ends the server)"))
        sys.stdout.flush()
        if open_page:
            webbrowser.open(address)
        # A service manager ends programs by SIGTERM; the processes of the server end with it.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        server.run()
    finally:
        close_app(app)


def _sources(
    model: Path, store: Path | None, runs: Path | None, reports: tuple[Path, ...]
) -> PageSources:
    """Open what the pages show beside the models; a mistake is an error now, not on a page."""
    from ...features.store import FeatureStore
    from ..prediction.model_place import find_model
    from ..serve.boards import Leaderboard
    from ..serve.pages import PageSources, read_report

    # A run's folder is in the folder of the runs.
    folder = runs or find_model(model).resolve().parent.parent
    table = folder.parent / "leaderboard.csv"
    if runs is not None and not table.is_file():
        raise ParameterError(f"--runs {runs}: no leaderboard.csv beside it; give the runs' folder")
    return PageSources(
        Leaderboard(table, folder) if table.is_file() else None,
        None if store is None else FeatureStore(store),
        tuple(read_report(report) for report in reports),
    )


def _listening(app: Any, host: str, port: int) -> Any:
    """Return a server that listens; raise FreezeframeError if it cannot."""
    from ..serve.gate.listener import Listener

    try:
        return Listener(app, host, port, app.extensions["freezeframe"].limits)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise FreezeframeError(
            f"--host {host} --port {port}: cannot listen there ({reason}); choose another port"
        ) from None


def _address(host: str, port: int, token: str) -> str:
    """Return the address of the page, with the token if there is one."""
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/" + (f"?token={token}" if token else "")


def _log_to_standard_error() -> None:
    """Print one line for each request, without its address and without names of files."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    log = logging.getLogger("freezeframe.classify.serve")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    # Waitress warns about each request that waits, which is what its threads are for.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
