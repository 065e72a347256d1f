"""The command `serve`: mistakes are one line, before anything is served."""

from __future__ import annotations

import socket
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from freezeframe.__main__ import cli
from freezeframe.classify.commands import serve as command

from .conftest import Place

installed = pytest.mark.skipif(
    find_spec("flask") is None, reason="the extra serve is not installed"
)


def serve(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["serve", *map(str, arguments)])


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    result = serve("model.safetensors")
    assert result.exit_code == 1
    assert result.stderr == (
        "error: the web server needs flask, which is not installed: "
        "pip install 'freezeframe[serve]'\n"
    )


@installed
def test_another_host_than_this_machine_needs_permission() -> None:
    result = serve("model.safetensors", "--host", "0.0.0.0")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: --host 0.0.0.0: other machines could reach it; add ")


@installed
def test_a_port_in_use_is_named(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = serve(place.runs[0], "--port", port)
    assert result.exit_code == 1
    assert result.stderr == (
        f"error: --host 127.0.0.1 --port {port}: cannot listen there (Address already in use); "
        "choose another port\n"
    )


@installed
@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--runs", "."], "--runs .: no leaderboard.csv beside it; give the runs' folder"),
        (["--report", "."], "--report .: has no page of explore or audit; give their --output"),
        (["--store", "none.h5"], "none.h5: "),
        (["--port", "65536"], "65536 is not in the range"),
    ],
)
def test_a_wrong_source_is_named(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[Any], text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = serve(place.runs[0], *options)
    assert result.exit_code in (1, 2)
    assert text in result.stderr
    assert len(result.stderr.splitlines()) == 1
