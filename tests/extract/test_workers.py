"""Tests of the engine mnn: its numbers, and worker processes that die or are stopped."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st
from PIL import Image

from freezeframe import (
    FeatureStore,
    FreezeframeError,
    MissingExtraError,
    ParameterError,
    StoreError,
)
from freezeframe.__main__ import cli
from freezeframe.classify.fit.fitting import fit_classifier
from freezeframe.classify.prediction.predictor import Predictor
from freezeframe.classify.task.task import make_task
from freezeframe.data.demo.images import make_demo_images
from freezeframe.data.formats.image_file import read_image
from freezeframe.data.formats.images import resize_image
from freezeframe.data.manifest import read_manifest
from freezeframe.data.output.piped_process import WorkerDiedError
from freezeframe.errors import WorkerWarning
from freezeframe.extract import extraction, settings
from freezeframe.extract.backbones.table import BACKBONES
from freezeframe.extract.backbones.weights import load_weights, random_weights
from freezeframe.extract.engines import devices
from freezeframe.extract.engines import mnn as mnn_engine
from freezeframe.extract.engines.keras import KerasEngine
from freezeframe.extract.engines.mnn import MnnEngine, mnn_model
from freezeframe.extract.extraction import extract_features
from freezeframe.extract.filling import ExtractionProgress, write_behind
from freezeframe.extract.pipeline import Batch, ImageSource, SeenPixels
from freezeframe.extract.plan import preflight, target
from freezeframe.extract.settings import Settings
from freezeframe.extract.workers import pool as workers
from freezeframe.extract.workers import worker
from freezeframe.extract.workers.pool import Outcome, WorkerPool
from freezeframe.extract.workers.worker import (
    Job,
    Worker,
    WorkerStartError,
)
from freezeframe.features.new_store import create_store
from freezeframe.features.writer import StoreWriter

from ..conftest import PROVENANCE, MakeStore, fast_environment
from ..features.stores import columns

VGG16 = BACKBONES["vgg16"]
SMALL = Settings(layers=("block1_pool",), weights="random", dtype="float16", engine="mnn")
"""Settings of one block of a random network on the engine mnn."""


def test_the_two_engines_agree_with_real_weights(tmp_path: Path) -> None:
    images = [
        resize_image(read_image(path), 224, 224, "bilinear")
        for path in sorted(make_demo_images(tmp_path / "demo", per_class=10).glob("*/*.???"))[::7]
    ]
    images += [np.random.default_rng(0).integers(0, 256, (224, 224, 3)).astype(np.uint8)]
    layers = ("block3_pool", "block5_pool")
    weights = load_weights()[0]
    ours = MnnEngine(VGG16, mnn_model(VGG16, weights, layers), layers).forward(images)
    keras = KerasEngine(VGG16, weights, layers, len(images)).forward(images)
    for name in layers:
        assert ours[name].shape == keras[name].shape
        assert ours[name].dtype == np.float32
        for mnn_row, keras_row in zip(ours[name], keras[name], strict=True):
            assert 0 < np.linalg.norm(mnn_row - keras_row) < 5e-4 * np.linalg.norm(keras_row)


@pytest.mark.parametrize("layer", ["block1_conv1", "block1_pool", "block2_conv2"])
def test_the_two_engines_agree_on_any_layer(layer: str) -> None:
    weights = random_weights(3)
    image = np.random.default_rng(1).integers(0, 256, (224, 224, 3)).astype(np.uint8)
    ours = MnnEngine(VGG16, mnn_model(VGG16, weights, (layer,)), (layer,)).forward([image])[layer]
    keras = KerasEngine(VGG16, weights, (layer,), 1).forward([image])[layer]
    assert np.linalg.norm(ours - keras) < 5e-4 * np.linalg.norm(keras)


def test_features_depend_on_no_other_image(folder: Path, tmp_path: Path) -> None:
    """Nor do they depend on the number of workers or the order."""
    layers = replace(SMALL, layers=("block2_pool",))
    for path in folder.glob("*/0[2-9].png"):
        path.unlink()
    two = extract_features(read_manifest(folder), tmp_path / "two.h5", layers, workers=2).store
    single = extract_features(read_manifest(folder), tmp_path / "one.h5", layers, workers=1).store
    assert single.fingerprint == two.fingerprint
    for path in sorted((folder / "healthy").iterdir())[1:]:
        path.unlink()
    few = extract_features(read_manifest(folder), tmp_path / "few.h5", layers, workers=2).store
    rows = [two.paths.tolist().index(path) for path in few.paths]
    assert few.checksums("block2_pool").tolist() == two.checksums("block2_pool")[rows].tolist()


def test_provenance_records_the_engine(folder: Path, tmp_path: Path) -> None:
    done = extract_features(read_manifest(folder), tmp_path / "a.h5", SMALL)
    provenance = done.store.provenance
    assert (
        provenance["engine"],
        provenance["backend"],
        provenance["precision"],
        provenance["batch_size"],
    ) == (
        "mnn",
        "cpu",
        "float32",
        1,
    )
    assert provenance["version_mnn"][0].isdigit()
    assert "version_keras" not in provenance
    assert (done.progress.computed, done.progress.same, done.progress.broken) == (23, 1, 0)
    assert done.progress.seconds.shares()["forward"] > 0
    assert done.store.verify() == []


def test_a_head_on_its_features_predicts_images(folder: Path, tmp_path: Path) -> None:
    chosen = replace(SMALL, layers=("block2_pool",), dtype="float32")
    store = extract_features(read_manifest(folder), tmp_path / "a.h5", chosen).store
    run = fit_classifier(
        make_task(store, pooling="avg"), "logreg", leaderboard=tmp_path / "leaderboard.csv"
    )
    lines = list(csv.DictReader((run.folder / "predictions.csv").open()))
    with Predictor(run.folder) as predictor:
        predicted = predictor.predict([folder / line["path"] for line in lines])
    for line, prediction in zip(lines, predicted, strict=True):
        assert prediction.label == line["predicted"]
        assert prediction.probabilities["tumour"] == pytest.approx(
            float(line["p_tumour"]), abs=1e-6
        )


def test_auto_takes_the_engine_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setattr(devices, "gpu_megabytes", lambda: 8_000)
    # TensorFlow's CPU build, with which tests run, cannot use a GPU.
    assert (Settings().resolved().engine, Settings().resolved().batch_size) == ("mnn", 1)
    assert Settings(batch_size=4).resolved().engine == "keras"
    assert Settings(precision="bfloat16").resolved().engine == "keras"
    assert Settings(engine="keras").resolved().batch_size == 8
    assert Settings().resolved({"engine": "keras", "batch_size": 4}).batch_size == 4
    assert Settings().resolved({"engine": "mnn", "batch_size": 1}).engine == "mnn"
    for megabytes, size in ((1_000, 8), (8_000, 32), (80_000, 64)):
        monkeypatch.setattr(settings, "usable_gpu_megabytes", lambda value=megabytes: value)
        assert (Settings().resolved().engine, Settings().resolved().batch_size) == ("keras", size)
    monkeypatch.setattr(settings, "mnn_installed", lambda: False)
    monkeypatch.setattr(settings, "usable_gpu_megabytes", lambda: 0)
    assert Settings().resolved().engine == "keras"
    with pytest.raises(
        ParameterError, match="precision float16 is for the engine keras; mnn computes in float32"
    ):
        Settings(engine="mnn", precision="float16")
    with pytest.raises(
        ParameterError,
        match="batch_size 4 is for the engine keras; mnn computes one image at a time",
    ):
        Settings(engine="mnn", batch_size=4)
    with pytest.raises(
        ParameterError, match="engine must be one of auto, keras, mnn, none, got 'onnx'"
    ):
        Settings(engine="onnx")


def test_a_torn_model_in_the_cache_is_converted_again() -> None:
    model = mnn_model(VGG16, random_weights(0), ("block1_conv1",))
    whole = model.read_bytes()
    provenance = model.stat().st_mtime_ns
    assert mnn_model(VGG16, random_weights(0), ("block1_conv1",)).stat().st_mtime_ns == provenance
    model.write_bytes(whole[:1000])
    assert len(mnn_model(VGG16, random_weights(0), ("block1_conv1",)).read_bytes()) == len(whole)
    assert [path.suffix for path in model.parent.glob(".*")] == []


def test_a_cached_model_with_other_weights_is_converted_again() -> None:
    """A model of other weights would give other features under the digest of these."""
    image = np.random.default_rng(1).integers(0, 256, (224, 224, 3)).astype(np.uint8)
    layers = ("block1_conv1",)
    model = mnn_model(VGG16, random_weights(0), layers)
    right = MnnEngine(VGG16, model, layers).forward([image])
    other = mnn_model(VGG16, random_weights(1), layers)
    # A swapped model comes with the checksum of its own.
    for name in (".mnn", ".sha256"):
        model.with_suffix(name).write_bytes(other.with_suffix(name).read_bytes())
    again = MnnEngine(VGG16, mnn_model(VGG16, random_weights(0), layers), layers).forward([image])
    np.testing.assert_array_equal(again["block1_conv1"], right["block1_conv1"])


def test_a_failed_conversion_is_reported_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mnn_engine, "_CONVERT", "raise SystemExit('no room')")
    with pytest.raises(
        FreezeframeError, match=r"MNN's converter failed \(no room\); take --engine keras"
    ):
        mnn_model(VGG16, random_weights(77), ("block1_conv1",))


def worker_processes() -> list[int]:
    """Return the process ids of the workers of this process."""
    processes = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            command = (place / "cmdline").read_bytes()
            parent = (place / "stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        if worker.WORKER_MODULE.encode() in command and int(parent) == os.getpid():
            processes.append(int(place.name))
    return processes


def test_the_worker_module_can_be_run() -> None:
    """A move of the file changes the name, and this test notices a name that does not run."""
    spec = importlib.util.find_spec(worker.WORKER_MODULE)
    assert spec is not None
    assert spec.origin == str(Path(worker.__file__).with_name("process.py"))
    answer = subprocess.run(
        [sys.executable, "-P", "-m", worker.WORKER_MODULE],
        input=b'{"store": "none.h5", "backbone": "vgg16", "model": "m", "layers": []}\n',
        capture_output=True,
    )
    assert answer.returncode == 0
    assert json.loads(answer.stdout)["kind"] == "StoreError"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the processes in /proc")
def test_a_worker_that_dies_is_replaced(folder: Path, tmp_path: Path) -> None:
    whole = extract_features(read_manifest(folder), tmp_path / "whole.h5", SMALL).store
    killed: list[int] = []

    def kill(progress: ExtractionProgress) -> None:
        for process in worker_processes()[: 2 - len(killed)]:
            os.kill(process, signal.SIGKILL)
            killed.append(process)

    for number in range(16):
        Image.new("RGB", (9, 9), (number, 0, 0)).save(folder / "healthy" / f"more {number}.png")
    done = extract_features(read_manifest(folder), tmp_path / "a.h5", SMALL, progress=kill)
    assert len(killed) == 2
    assert (done.failed, done.progress.finished) == ([], 40)
    assert done.store.verify() == []
    assert set(whole.checksums("block1_pool")) < set(done.store.checksums("block1_pool"))
    assert worker_processes() == []


class FakeWorker:
    """A worker that computes nothing, and dies of a row as often as `deadly` lists."""

    deadly: ClassVar[dict[int, int]] = {}
    started = 0

    def __init__(self) -> None:
        type(self).started += 1
        self.answers: list[dict[str, Any]] = []

    def start(self, job: Job) -> None:
        self.job = job

    def send(self, message: Any) -> None:
        if isinstance(message, dict):
            self.row = message["row"]
            self.answers.append(
                # Two rows have the same pixels.
                {"pixels": f"{self.row // 2:02x}", "size": [1, 2], "frames": 1}
            )
        elif message == "compute":
            self.answers.append(
                {"checksums": {"l": "c"}, "size": [1, 2], "frames": 1, "seconds": [0, 0, 0]}
            )

    def receive(self) -> dict[str, Any]:
        if self.deadly.get(self.row, 0):
            self.deadly[self.row] -= 1
            raise WorkerDiedError("signal 9")
        return self.answers.pop(0)

    def kill(self) -> None:
        pass

    def close(self) -> None:
        pass


def collected(pool: WorkerPool) -> Batch:
    whole = Batch()
    for batch in pool.run():
        for name in ("rows", "same", "failed", "unread"):
            getattr(whole, name).extend(getattr(batch, name))
    return whole


def test_a_row_is_retried_once_and_then_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "Worker", FakeWorker)
    monkeypatch.setattr(FakeWorker, "deadly", {2: 1, 6: 2})
    monkeypatch.setattr(FakeWorker, "started", 0)
    job = Job(Path("a.h5"), "vgg16", Path("m"), ("l",), "bilinear")
    whole = collected(WorkerPool(job, (ImageSource(row, Path("x")) for row in range(10)), 1))
    assert whole.failed == [(6, "the process computing it died, twice (signal 9)")]
    # Row 7 has the pixels of row 6, and is computed since 6 was not.
    assert whole.rows == [0, 2, 4, 7, 8]
    assert [(row, first) for row, first, _ in whole.same] == [(1, 0), (3, 2), (5, 4), (9, 8)]
    assert FakeWorker.started == 4


def test_a_stopped_pool_hands_out_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "Worker", FakeWorker)
    job = Job(Path("a.h5"), "vgg16", Path("m"), ("l",), "bilinear")
    taken: list[int] = []

    def sources() -> Iterator[ImageSource]:
        for row in range(100):
            taken.append(row)
            yield ImageSource(row, Path("x"))

    whole = collected(WorkerPool(job, sources(), 2, stop=lambda: len(taken) >= 20))
    assert len(whole) == len(taken) == 20


def test_rows_wait_for_the_one_with_the_same_pixels() -> None:
    size = {"size": [3, 4], "frames": 1}
    gather = workers.OutcomeGatherer(SeenPixels())
    batch = Batch()
    gather.add(batch, Outcome(5, size, b"p", first=1))
    gather.add(batch, Outcome(6, size, b"p", first=5))
    gather.add(batch, Outcome(7, size, b"q", first=2))
    assert len(batch) == 0
    gather.add(batch, Outcome(1, {"checksums": {"l": "c"}, "seconds": [1, 2, 3], **size}, b"p"))
    assert (batch.rows, batch.same) == ([1], [(5, 1, (3, 4)), (6, 1, (3, 4))])
    gather.add(batch, Outcome(2, {"failed": "broken"}, b"q"))
    gather.add(batch, Outcome(8, size, b"q", first=2))
    assert batch.failed == [(2, "broken"), (7, "broken"), (8, "broken")]
    with pytest.raises(MissingExtraError, match="pydicom"):
        gather.add(batch, Outcome(8, {"error": "needs pydicom", "kind": "MissingExtraError"}))
    with pytest.raises(StoreError, match="full"):
        gather.add(batch, Outcome(8, {"error": "disk full", "kind": "StoreError"}))


class WritingWorker(FakeWorker):
    """A worker that writes features which differ with the pixels; it may die at any message."""

    pixels: ClassVar[list[int]] = []

    def send(self, message: Any) -> None:
        if isinstance(message, dict):
            self.row = message["row"]
            self.answers.append(
                {"pixels": f"{self.pixels[self.row]:02x}", "size": [1, 2], "frames": 1}
            )
        elif message == "compute":
            # Pixels 0 make features that overflow.
            value = self.pixels[self.row] or np.inf
            with StoreWriter(self.job.store) as writer:
                checksums = writer.put(self.row, {"l": np.full((1, 1, 2), value, np.float32)})
            self.answers.append(
                {"checksums": checksums, "size": [1, 2], "frames": 1, "seconds": [0, 0, 0]}
            )


@settings_of_hypothesis(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    pixels=st.lists(st.integers(0, 3), min_size=1, max_size=12),
    deadly=st.dictionaries(st.integers(0, 11), st.integers(1, 4)),
    count=st.integers(1, 3),
)
def test_no_row_is_lost_or_mixed_up_whatever_dies(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pixels: list[int],
    deadly: dict[int, int],
    count: int,
) -> None:
    path = tmp_path / "a.h5"
    n = len(pixels)
    rows = columns(n)
    create_store(path, rows, {"l": (1, 1, 2)}, PROVENANCE)
    job = Job(path, "vgg16", Path("m"), ("l",), "bilinear")
    progress = ExtractionProgress(n)
    with monkeypatch.context() as patch:
        patch.setattr(workers, "Worker", WritingWorker)
        patch.setattr(WritingWorker, "pixels", pixels)
        patch.setattr(FakeWorker, "deadly", dict(deadly))
        pool = WorkerPool(job, (ImageSource(row, Path("x")) for row in range(n)), count)
        with StoreWriter(path) as writer:
            write_behind(writer, pool.run(), progress, None)
    store = FeatureStore(path)
    assert store.complete
    assert store.verify() == []
    for row in store.rows():
        assert (store.features("l", [row]) == pixels[row]).all()
    for row in np.flatnonzero(store.status == 2):
        died = deadly.get(int(row), 0) >= 2
        twin = any(deadly.get(r, 0) >= 2 for r in range(n) if pixels[r] == pixels[row])
        assert pixels[row] == 0 or died or twin, store.reasons[row]
    assert progress.finished == n


def test_copies_of_a_row_that_failed_fail_with_it(tmp_path: Path) -> None:
    """The engine keras reports it: features overflow, and another image has the same pixels."""
    path = tmp_path / "a.h5"
    create_store(path, columns(3), {"l": (1, 1, 2)}, PROVENANCE)
    features = {"l": np.array([[[[np.inf, 1]]], [[[2, 3]]]], np.float32)}
    batch = Batch(rows=[0, 2], sizes=[(1, 2)] * 2, features=features, same=[(1, 0, (1, 2))])
    with StoreWriter(path) as writer:
        write_behind(writer, (item for item in [batch]), ExtractionProgress(3), None)
    store = FeatureStore(path)
    assert store.status.tolist() == [2, 2, 1]
    assert store.reasons.tolist() == ["its features are not finite as float32"] * 2 + [""]


def test_a_disk_that_is_full_leaves_no_torn_model(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (65536, resource.RLIM_INFINITY))\n"
    with monkeypatch.context() as patch:
        patch.setattr(mnn_engine, "_CONVERT", limit + mnn_engine._CONVERT)
        with pytest.raises(FreezeframeError, match="MNN's converter failed"):
            mnn_model(VGG16, random_weights(5), ("block1_pool",))
    model = mnn_model(VGG16, random_weights(5), ("block1_pool",))
    assert MnnEngine(VGG16, model, ("block1_pool",)).layers == ("block1_pool",)


@pytest.mark.skipif(os.name != "posix", reason="stops a process by a signal")
def test_a_worker_that_hangs_is_killed_and_replaced(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Worker.receive, "__defaults__", (2.0,))
    stopped: list[int] = []

    def stop(progress: ExtractionProgress) -> None:
        for process in worker_processes()[: 1 - len(stopped)]:
            os.kill(process, signal.SIGSTOP)
            stopped.append(process)

    for number in range(16):
        Image.new("RGB", (9, 9), (number, 0, 0)).save(folder / "healthy" / f"more {number}.png")
    done = extract_features(read_manifest(folder), tmp_path / "a.h5", SMALL, progress=stop)
    assert len(stopped) == 1
    assert done.failed == []
    assert done.store.complete


def test_a_failed_start_is_reported_in_one_line(tmp_path: Path, make_store: MakeStore) -> None:
    with pytest.raises(
        FreezeframeError,
        match=r"the engine mnn does not start \(exit code 1: .*Invalid model file.*\); "
        "take --engine",
    ):
        Worker().start(
            Job(
                make_store("a.h5", ["x", "y"]),
                "vgg16",
                tmp_path / "none.mnn",
                ("block1_pool",),
                "bilinear",
            )
        )
    with pytest.raises(StoreError, match=r"none\.h5: no such file"):
        Worker().start(
            Job(tmp_path / "none.h5", "vgg16", tmp_path / "none.mnn", ("block1_pool",), "bilinear")
        )


class StubbornWorker(FakeWorker):
    """A worker that dies at its start, `failing` times in each of the first `threads` threads."""

    failing = 0
    threads = 0
    deaths: ClassVar[dict[str, int]] = {}

    def start(self, job: Job) -> None:
        super().start(job)
        # The number of a thread is used again after its end, the name is not.
        thread = threading.current_thread().name
        if thread in self.deaths or len(self.deaths) < self.threads:
            self.deaths[thread] = self.deaths.get(thread, 0) + 1
            if self.deaths[thread] <= self.failing:
                raise WorkerStartError("mnn does not start (signal 9); take --engine keras")


def run_stubborn(
    patch: pytest.MonkeyPatch, n_workers: int, *, threads: int, failing: int
) -> tuple[Batch, list[str]]:
    """Run a pool over 50 rows; return the outcomes and the warnings."""
    patch.setattr(workers, "Worker", StubbornWorker)
    patch.setattr(StubbornWorker, "failing", failing)
    patch.setattr(StubbornWorker, "threads", threads)
    patch.setattr(StubbornWorker, "deaths", {})
    job = Job(Path("a.h5"), "vgg16", Path("m"), ("l",), "bilinear")
    pool = WorkerPool(job, (ImageSource(row, Path("x")) for row in range(50)), n_workers)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        whole = collected(pool)
    return whole, [str(item.message) for item in caught if item.category is WorkerWarning]


def test_a_worker_that_dies_at_its_start_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, texts = run_stubborn(monkeypatch, 2, threads=2, failing=1)
    assert (len(whole), texts) == (50, [])


def test_fewer_workers_do_the_work_if_some_do_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, texts = run_stubborn(monkeypatch, 3, threads=1, failing=9)
    assert (len(whole), whole.failed) == (50, [])
    assert texts == [
        "1 of 3 workers did not start, the others did their work; give --workers 2 "
        "(mnn does not start (signal 9); take --engine keras)"
    ]


def test_without_any_worker_the_run_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FreezeframeError, match=r"start \(signal 9\); take --engine keras"):
        run_stubborn(monkeypatch, 2, threads=2, failing=9)


def test_a_slow_start_is_reported_with_its_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "START_SECONDS", 0.01)
    job = Job(tmp_path / "a.h5", "vgg16", tmp_path / "m.mnn", ("block1_pool",), "bilinear")
    with pytest.raises(
        FreezeframeError,
        match=r"does not start \(it took more than 0\.01 s.*\); take --engine keras",
    ):
        Worker().start(job)


def test_an_error_of_the_reader_leaves_no_worker(folder: Path, tmp_path: Path) -> None:
    def fail(progress: ExtractionProgress) -> None:
        raise StoreError("enough")

    with pytest.raises(StoreError, match="enough") as caught:
        extract_features(read_manifest(folder), tmp_path / "a.h5", SMALL, progress=fail)
    # The error, and with it every frame, is still referenced.
    assert worker_processes() == []
    assert caught.tb is not None


def wait_for_rows(path: Path, count: int) -> None:
    """Wait until a store that is being filled has so many finished rows."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            if (FeatureStore(path).status == 1).sum() >= count:
                return
        except StoreError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"{path} has no {count} rows after two minutes")


@pytest.mark.parametrize(
    ("engine", "number"),
    [
        ("mnn", signal.SIGINT),
        pytest.param("mnn", signal.SIGTERM, marks=pytest.mark.slow),
        # A process with TensorFlow takes twice as long.
        pytest.param("keras", signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param("keras", signal.SIGINT, marks=pytest.mark.slow),
    ],
)
def test_a_signal_ends_the_run_in_good_order(
    tmp_path: Path, folder: Path, engine: str, number: signal.Signals
) -> None:
    for count in range(50):
        Image.new("RGB", (9, 9), (count, 0, 7)).save(folder / "healthy" / f"more {count}.png")
    command = [
        sys.executable,
        "-m",
        "freezeframe",
        "extract-features",
        str(folder),
        "--output",
        str(tmp_path / "a.h5"),
    ]
    command += [
        "--layer",
        "block1_pool",
        "--weights",
        "random",
        "--dtype",
        "float16",
        "--engine",
        engine,
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=fast_environment())
    wait_for_rows(tmp_path / "a.h5", 10)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr.endswith(
        "finished images are kept; run the same command again to continue\nerror: stopped\n"
    )
    assert "Traceback" not in stderr
    store = FeatureStore(tmp_path / "a.h5")
    finished = int((store.status == 1).sum())
    assert 10 <= finished < 74
    assert store.verify() == []
    again = CliRunner().invoke(cli, [*command[3:], "--max-failed", "0"])
    assert f"{74 - finished} computed" in again.stderr


@pytest.mark.skipif(os.name != "posix", reason="limits the size of files by setrlimit")
@pytest.mark.parametrize("engine", ["mnn", "keras"])
def test_a_disk_that_fills_up_is_reported_in_one_line(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    """Nothing can be written behind 10 MB; rows take 3.2 MB.

    The checks beforehand are skipped: another program may take the space meanwhile.
    """
    import resource

    for module in (preflight, target):
        monkeypatch.setattr(module, "check_free", lambda path, n_bytes, advice: None)
    fill = extraction.fill

    def fill_until_full(*arguments: Any, **options: Any) -> Any:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        # Workers that start now inherit the limit.
        resource.setrlimit(resource.RLIMIT_FSIZE, (10 * 2**20, before[1]))
        try:
            return fill(*arguments, **options)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    monkeypatch.setattr(extraction, "fill", fill_until_full)
    settings = Settings(layers=("block1_pool",), weights="random", engine=engine)
    with pytest.raises(StoreError) as caught:
        extract_features(read_manifest(folder), tmp_path / "a.h5", settings)
    assert re.fullmatch(r".*File too large.*finished rows are safe, make room.*", str(caught.value))
    store = FeatureStore(tmp_path / "a.h5")
    assert 0 <= (store.status == 1).sum() < 24
    assert store.verify() == []


SMALL_DISK = """
import json, os, resource, sys
from freezeframe import StoreError
from freezeframe.features.new_store import create_store

path, provenance, *kilobytes = sys.argv[1:]
names = ("path", "sha256", "label", "split", "group", "patient")
rows = {name: [name + str(i) for i in range(40)] for name in names} | {"group_scope": ["own"] * 40}
for limit in kilobytes:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024 * int(limit), resource.RLIM_INFINITY))
    try:
        create_store(path, rows, {"l": (7, 7, 512)}, json.loads(provenance))
    except StoreError as error:
        print(limit, os.listdir(os.path.dirname(path)), error)
"""


@pytest.mark.skipif(os.name != "posix", reason="limits the size of files by setrlimit")
def test_a_disk_too_small_for_a_new_store_leaves_nothing(tmp_path: Path) -> None:
    """The new store takes 4,232 kilobytes."""
    place = tmp_path / "tiny"
    place.mkdir()
    kilobytes = ["0", "4", "8", "12", "16", "20", "24", "28", "1000", "4000"]
    process = subprocess.run(
        [sys.executable, "-c", SMALL_DISK, place / "a.h5", json.dumps(PROVENANCE), *kilobytes],
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    lines = process.stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [[limit, "[]"] for limit in kilobytes]
    assert all("File too large" in line for line in lines), lines
