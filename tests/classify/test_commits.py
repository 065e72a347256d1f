"""Ctrl-C at every system call that commits a file: the old state or the new one, and no rest."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from freezeframe import FeatureStore
from freezeframe.classify.fit.fitting import HeadFitter
from freezeframe.classify.runs.leaderboard import append_rows, read_rows
from freezeframe.classify.runs.schema import COLUMNS
from freezeframe.classify.task.task import make_task
from freezeframe.data.demo import images
from freezeframe.data.manifest import read_manifest
from freezeframe.data.output.files import write_whole
from freezeframe.extract.backbones import weights
from freezeframe.extract.backbones.table import BACKBONES
from freezeframe.extract.engines import mnn
from freezeframe.extract.extraction import extract_features
from freezeframe.extract.settings import Settings
from freezeframe.features.archive.restoration import restore
from freezeframe.features.copies.merge import merge
from freezeframe.features.exports.export import export

from ..conftest import MakeStore

GOLDEN = Path(__file__).parents[1] / "golden" / "leaderboard-v3.csv"
PIXELS = Settings(backbone="pixels-8", layers=("pixels",))
COMMITTING = ("replace", "rename", "link", "fsync")
"""System calls of which a commit consists."""

Act = Callable[[], object]
Check = Callable[[], bool]
"""Checks that the state is whole; returns True if it is the new one."""


@contextmanager
def interrupted(patch: pytest.MonkeyPatch, number: int, after: bool) -> Iterator[list[str]]:
    """Raise KeyboardInterrupt before or after the call of this number; list all calls."""
    calls: list[str] = []

    def wrapper(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> None:
            calls.append(name)
            due = len(calls) == number
            if due and not after:
                raise KeyboardInterrupt
            # The test is about the order of the calls; it need not wait for the disk.
            if name != "fsync":
                real(*arguments, **options)
            if due:
                raise KeyboardInterrupt

        return call

    with patch.context() as context:
        for name in COMMITTING:
            context.setattr(os, name, wrapper(name, getattr(os, name)))
        yield calls


def row(run_id: str) -> dict[str, Any]:
    return dict.fromkeys(COLUMNS[1:], "") | {"run_id": run_id}


def append_to(folder: Path, schema: int) -> tuple[Act, Check]:
    """Append a row to a leaderboard; one of an older schema is kept as a copy."""
    path = folder / "l.csv"
    old = GOLDEN.read_bytes()
    if schema == 3:
        path.write_bytes(old)
    else:
        append_rows(path, [row("first")])
    before = path.read_bytes()

    def check() -> bool:
        changed = path.read_bytes() != before
        if changed:
            assert read_rows(path)[-1]["run_id"] == "new"
        if changed and schema == 3:
            assert (folder / "l.csv.schema-3").read_bytes() == old
        return changed

    return lambda: append_rows(path, [row("new")]), check


def fit(folder: Path, make_store: MakeStore) -> tuple[Act, Check]:
    """Fit a head: a run folder, then its row."""
    task = make_task(FeatureStore(made(folder, make_store, "task.h5", ["healthy", "tumour"] * 10)))
    fitter = HeadFitter(task, leaderboard=folder / "l.csv")

    def check() -> bool:
        rows = read_rows(folder / "l.csv") if (folder / "l.csv").exists() else []
        runs = {path.name for path in (folder / "runs").glob("*")}
        assert {row["run_id"] for row in rows} == runs
        for run in runs:
            assert (folder / "runs" / run / "model.safetensors").stat().st_size
            assert (folder / "runs" / run / "predictions.csv").stat().st_size
        return bool(rows)

    return lambda: fitter.fit("majority"), check


def made(folder: Path, make_store: MakeStore, name: str, *arguments: Any, **options: Any) -> Path:
    """Make a store beside the folder, once for all trials."""
    path = folder.parent / name
    return path if path.exists() else make_store(name, *arguments, **options)


def a_store(path: Path) -> Check:
    def check() -> bool:
        return path.exists() and FeatureStore(path).complete

    return check


def extraction(folder: Path, grown: bool) -> tuple[Act, Check]:
    """Extract the features of a folder, or of one that grew since."""
    for number in range(2):
        (folder / f"images/{number}").mkdir(parents=True)
        Image.new("L", (8, 8), 40 * number).save(folder / f"images/{number}/{number}.png")
    path = folder / "a.h5"

    def act() -> None:
        # Near-duplicates are not what this is about.
        manifest = read_manifest(folder / "images")
        extract_features(manifest, path, PIXELS, groups=False)

    if grown:
        act()
        Image.new("L", (8, 8), 222).save(folder / "images/0/9.png")

    def check() -> bool:
        store = FeatureStore(path) if grown or path.exists() else None
        # The old store stays whole until the new one is.
        assert not grown or (store is not None and store.complete)
        return store is not None and store.complete and len(store) == 2 + grown

    return act, check


def merging(folder: Path, make_store: MakeStore) -> tuple[Act, Check]:
    one = made(folder, make_store, "one.h5", ["x", "y"])
    other = made(folder, make_store, "other.h5", ["p", "q"], sha256s=["a" * 64, "b" * 64])
    return lambda: merge(folder / "m.h5", [one, other]), a_store(folder / "m.h5")


def exporting(folder: Path, make_store: MakeStore, name: str) -> tuple[Act, Check]:
    store = FeatureStore(made(folder, make_store, "a.h5", ["x", "y"]))
    path = folder / name
    return lambda: export(
        store, path, overwrite=True
    ), lambda: path.exists() and bool(path.stat().st_size)


def restoring(folder: Path, make_store: MakeStore) -> tuple[Act, Check]:
    store = FeatureStore(made(folder, make_store, "a.h5", ["x", "y"]))
    if not (folder.parent / "archive.h5").exists():
        export(store, folder.parent / "archive.h5")
    path = folder / "b.h5"
    return lambda: restore(folder.parent / "archive.h5", path), a_store(path)


def reporting(folder: Path) -> tuple[Act, Check]:
    """Replace a file of a report, of a split, or of a cache."""
    path = folder / "index.html"
    path.write_text("old")

    def check() -> bool:
        assert path.read_text() in ("old", "new")
        return path.read_text() == "new"

    return lambda: write_whole(path, "new"), check


def conversion(folder: Path, patch: pytest.MonkeyPatch) -> tuple[Act, Check]:
    """Convert a model into the cache, by a converter that copies it."""
    patch.setattr(mnn, "_run_converter", shutil.copyfile)
    model = folder / "vgg16-0.mnn"

    def check() -> bool:
        # A model without its digest is not used.
        return mnn._is_intact(model, [])

    return lambda: mnn._convert(b"model", model), check


def download(folder: Path, patch: pytest.MonkeyPatch) -> tuple[Act, Check]:
    """Download weights, over a connection that is not one."""

    class Response(io.BytesIO):
        length = 0

    patch.setattr(weights, "urlopen", lambda url, timeout: Response(b"weights"))
    backbone = BACKBONES["vgg16"]
    assert backbone.published is not None
    path = folder / "models" / backbone.published.keras_file

    def check() -> bool:
        assert not path.exists() or path.read_bytes() == b"weights"
        return path.exists()

    def act() -> None:
        patch.setenv("KERAS_HOME", str(folder))
        weights._keras_download(backbone)

    return act, check


def demo(folder: Path, patch: pytest.MonkeyPatch) -> tuple[Act, Check]:
    """Write the folder of the demo images, but draw none."""
    patch.setattr(images, "_draw_all", lambda folder, *_: (folder / "a.png").touch())
    return lambda: images.make_demo_images(folder / "demo"), (folder / "demo/a.png").exists


WRITERS: dict[str, Callable[[Path, MakeStore, pytest.MonkeyPatch], tuple[Act, Check]]] = {
    "leaderboard, append": lambda folder, make_store, patch: append_to(folder, 4),
    "leaderboard, upgrade": lambda folder, make_store, patch: append_to(folder, 3),
    "run": lambda folder, make_store, patch: fit(folder, make_store),
    "store, new": lambda folder, make_store, patch: extraction(folder, False),
    "store, replaced": lambda folder, make_store, patch: extraction(folder, True),
    "merge": lambda folder, make_store, patch: merging(folder, make_store),
    "export, npz": lambda folder, make_store, patch: exporting(folder, make_store, "a.npz"),
    "export, archive": lambda folder, make_store, patch: exporting(folder, make_store, "a.h5"),
    "restore": lambda folder, make_store, patch: restoring(folder, make_store),
    "report": lambda folder, make_store, patch: reporting(folder),
    "model conversion": lambda folder, make_store, patch: conversion(folder, patch),
    "weights": lambda folder, make_store, patch: download(folder, patch),
    "demo images": lambda folder, make_store, patch: demo(folder, patch),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_ctrl_c_at_any_call_of_a_commit_undoes_nothing(
    writer: str, tmp_path: Path, make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for after in (False, True):
        number = 0
        committed: list[bool] = []
        unfinished: list[tuple[Act, Check]] = []
        stopped = True
        while stopped:
            number += 1
            folder = tmp_path / f"{after} {number}"
            folder.mkdir()
            act, check = WRITERS[writer](folder, make_store, monkeypatch)
            stopped = False
            with interrupted(monkeypatch, number, after) as calls:
                try:
                    act()
                except KeyboardInterrupt:
                    stopped = True
            committed.append(check())
            # Only stores that the same command continues may stay beside the outcome.
            aside = {path.name for path in folder.rglob(".*")}
            assert aside <= {".a.h5.next", ".checkpoints"}, (number, after, calls)
            assert not list(folder.rglob("*.lock")), (number, after, calls)
            if not committed[-1]:
                unfinished = [(act, check)]
        # The same command finishes what the last interruption stopped.
        for act, check in unfinished:
            act()
            assert check()
        # From one call on, and from no other, the new state is there.
        assert committed == sorted(committed)
        assert committed[-1]
        assert number > 1


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="names of open files")
def test_a_run_is_on_the_disk_before_a_row_names_it(
    make_store: MakeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task(FeatureStore(make_store("a.h5", ["healthy", "tumour"] * 10)))
    flushed: list[Path] = []
    replace = os.replace

    def flush(number: int) -> None:
        flushed.append(Path(f"/proc/self/fd/{number}").readlink())

    def rename(old: str, new: str) -> None:
        if Path(new).name == "l.csv":
            flushed.append(Path("row"))
        replace(old, new)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(os, "replace", rename)
    run = HeadFitter(task, leaderboard=tmp_path / "new" / "l.csv", runs=tmp_path / "new/runs")
    (tmp_path / "new").mkdir()
    folder = run.fit("majority").folder
    before = flushed[: flushed.index(Path("row"))]
    # Each file, then the folders that hold their names.
    for path in (*folder.iterdir(), folder, folder.parent, tmp_path / "new"):
        assert path in before
    # The name of the leaderboard, too.
    assert tmp_path / "new" in flushed[flushed.index(Path("row")) :]
