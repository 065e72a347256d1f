"""A model of drawn head slices, served without a network: its features are the pixels."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from freezeframe.__main__ import cli
from freezeframe.classify.prediction.predictor import Predictor
from freezeframe.data.demo.images import make_demo_images
from freezeframe.data.manifest import read_manifest
from freezeframe.extract.extraction import extract_features
from freezeframe.extract.settings import Settings
from freezeframe.features.store import FeatureStore

if TYPE_CHECKING:
    from flask import Flask
    from flask.testing import FlaskClient

    from freezeframe.classify.serve.gate.limits import ServerLimits
    from freezeframe.classify.serve.service import Service


@dataclass(frozen=True)
class Place:
    """A folder with images, their store, a leaderboard and two runs.

    Attributes:
        folder: the folder.
        store: the store.
        runs: folders of two runs: logreg with a threshold, and naive-bayes.
        images: the images that they were fitted on, lesions first.
    """

    folder: Path
    store: Path
    runs: list[Path]
    images: list[Path]


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("served")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.chdir(folder)
        make_demo_images(folder / "scans", per_class=20)
        settings = Settings(layers=("pixels",), backbone="pixels-32")
        extract_features(read_manifest(folder / "scans"), folder / "features.h5", settings)
        # So small an error rate is never promised: most tests are about answers.
        options = ["--sensitivity", "0.9", "--error-rate", "0.001"]
        for head in (["logreg", *options], ["naive-bayes"]):
            command = ["fit-classifier", "features.h5", "--cv", "3", "--model", *head]
            done = CliRunner().invoke(cli, command)
            assert done.exit_code == 0, done.output
    images = sorted((folder / "scans").glob("*/*"))
    return Place(folder, folder / "features.h5", sorted((folder / "runs").iterdir()), images)


def make_app(place: Place, **settings: Any) -> Flask:
    """Return an application with both models; `settings` go to its configuration."""
    from freezeframe.classify.serve.application import ServerConfig, create_app
    from freezeframe.classify.serve.boards import Leaderboard
    from freezeframe.classify.serve.gate.limits import ServerLimits
    from freezeframe.classify.serve.pages import PageSources

    # One process that decodes: most tests of an application need none.
    limits = ServerLimits(decoders=1)
    board = Leaderboard(place.folder / "leaderboard.csv", place.folder / "runs")
    sources = PageSources(board, FeatureStore(place.store))
    predictors = [Predictor(run) for run in place.runs]
    return create_app(
        ServerConfig(predictors, **{"sources": sources, "limits": limits, **settings})
    )


@contextmanager
def listening(app: Flask, limits: ServerLimits | None = None) -> Iterator[int]:
    """Run the real server with an application in a thread; yield its port."""
    from freezeframe.classify.serve.gate.listener import Listener

    server = Listener(app, "127.0.0.1", 0, limits or app.extensions["freezeframe"].limits)

    def serve() -> None:
        # Its loop notices by an error that the socket was closed.
        with suppress(OSError):
            server.run()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield int(server.effective_port)
    server.close()
    thread.join(5)


@pytest.fixture(scope="session")
def app(place: Place) -> Iterator[Flask]:
    from freezeframe.classify.serve.application import close_app

    application = make_app(place)
    yield application
    close_app(application)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def service(app: Flask) -> Service:
    running: Service = app.extensions["freezeframe"]
    return running
