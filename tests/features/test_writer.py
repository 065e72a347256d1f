"""Creating and filling stores: the layout of the file, crashes, locks and full disks."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from freezeframe import FeatureStore, ParameterError, StoreError
from freezeframe.features.new_store import create_store
from freezeframe.features.store_lock import store_lock
from freezeframe.features.writer import StoreWriter

from ..conftest import PROVENANCE, MakeStore
from .stores import columns


def test_bad_stores_cannot_be_created(tmp_path: Path) -> None:
    shapes = {"l": (1, 1, 1)}
    for rows, layers, change, message in (
        (columns(0), shapes, {}, "at least 1"),
        (columns(2) | {"label": ["x"]}, shapes, {}, "one length"),
        (columns(2), {}, {}, "at least one layer"),
        (
            columns(2),
            shapes,
            {"dtype": "int8"},
            "dtype must be one of float32, float16, got 'int8'",
        ),
    ):
        with pytest.raises(ParameterError, match=message):
            create_store(tmp_path / "a.h5", rows, layers, PROVENANCE | change)
    assert list(tmp_path.iterdir()) == []


def test_the_file_is_laid_out_as_the_format_says(make_store: MakeStore) -> None:
    path = make_store("a.h5", ["x", "y"])
    data = path.read_bytes()
    assert re.match(rb"freezeframe-features 3 \d+ [0-9a-f]{64}\n\{", data)
    with h5py.File(path) as file:
        # Superblock version 0 has no flag that a dead writer could leave set.
        assert data[file.userblock_size + 8] == 0
        for name in ("rows/path", "rows/status", "layers/block5_pool", "checksums/block3_pool"):
            plist = file[name].id.get_create_plist()
            assert plist.get_layout() == h5py.h5d.CONTIGUOUS
            assert plist.get_alloc_time() == h5py.h5d.ALLOC_TIME_EARLY
            assert plist.get_fill_time() == h5py.h5d.FILL_TIME_NEVER


@pytest.mark.skipif(
    sys.platform == "win32", reason="file systems there do not make sparse files by themselves"
)
def test_a_new_store_takes_no_space(tmp_path: Path) -> None:
    with store_lock(tmp_path / "a.h5"):
        create_store(tmp_path / "a.h5", columns(1000), {"block3_pool": (28, 28, 256)}, PROVENANCE)
    status = (tmp_path / "a.h5").stat()
    assert status.st_size > 800e6
    assert status.st_blocks * 512 < 5e6


def test_only_bytes_inside_datasets_change(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with store_lock(path):
        create_store(path, columns(2), {"l": (1, 1, 2)}, PROVENANCE)
        before = path.read_bytes()
        with StoreWriter(path) as writer:
            writer.write([1], {"l": np.ones((1, 1, 1, 2))}, [(3, 4)])
    after = path.read_bytes()
    assert len(after) == len(before)
    changed = [i for i in range(len(after)) if after[i] != before[i]]
    with h5py.File(path) as file:
        inside: set[int] = set()
        for name in (
            *("layers/l", "checksums/l", "rows/width", "rows/height"),
            *("rows/status_checksum", "rows/status"),
        ):
            start = file[name].id.get_offset()
            inside |= set(range(start, start + file[name].id.get_storage_size()))
    assert set(changed) <= inside


def test_features_that_are_not_finite_fail_their_row_only(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with store_lock(path):
        create_store(path, columns(3), {"l": (1, 1, 2)}, PROVENANCE | {"dtype": "float16"})
        with StoreWriter(path) as writer:
            values = np.array([[1, 2], [3, 70000], [5, np.nan]], np.float32).reshape(3, 1, 1, 2)
            writer.write([0, 1, 2], {"l": values}, [(1, 1)] * 3)
    store = FeatureStore(path)
    assert store.status.tolist() == [1, 2, 2]
    assert store.reasons[1] == "its features are not finite as float16; use float32"


def test_a_reason_is_cut_at_a_whole_character(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with store_lock(path):
        create_store(path, columns(1), {"l": (1, 1, 1)}, PROVENANCE)
        with StoreWriter(path) as writer:
            writer.fail({0: "x" + "ä" * 150 + "\nsecond line"})
    assert FeatureStore(path).reasons[0] == "x" + "ä" * 99


def test_a_row_done_without_the_checksum_of_its_status_is_computed_again(
    make_store: MakeStore,
) -> None:
    path = make_store("a.h5", ["x", "y", "x"])
    # A power cut between two flushes can leave this.
    with h5py.File(path, "r+") as file:
        file["rows/status_checksum"][1] = b""
    assert StoreWriter(path).pending.tolist() == [1]


def test_a_lost_checksum_of_features_is_damage(make_store: MakeStore) -> None:
    path = make_store("a.h5", ["x", "y", "x"])
    with h5py.File(path, "r+") as file:
        file["checksums/block5_pool"][1] = b""
    assert StoreWriter(path).pending.tolist() == []
    assert FeatureStore(path).verify() == [(1, "status"), (1, "block5_pool")]
    with pytest.raises(StoreError, match=r"the status of y/1\.png is not what was written"):
        FeatureStore(path).features("block5_pool")


def test_a_second_writer_is_refused_and_a_dead_one_does_not_block(make_store: MakeStore) -> None:
    path = make_store("a.h5", ["x", "y"])
    code = (
        "import sys, time; from freezeframe.features.store_lock import store_lock\n"
        "with store_lock(sys.argv[1]): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(StoreError, match="another process is writing this store"), store_lock(path):
        pass
    # The lock is for writers only.
    FeatureStore(path).features("block5_pool")
    holder.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
    holder.wait()
    with store_lock(path):
        pass


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_writer_killed_at_random_moments_leaves_a_readable_store(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    code = """
import sys, numpy as np
from freezeframe.features.store_lock import store_lock
from freezeframe.features.writer import StoreWriter
with store_lock(sys.argv[1]), StoreWriter(sys.argv[1]) as writer:
    print("go", flush=True)
    for row in writer.pending:
        writer.write([int(row)], {"l": np.full((1, 16, 16, 8), row, np.float32)}, [(int(row), 1)])
"""
    n = 3000
    with store_lock(path):
        create_store(path, columns(n), {"l": (16, 16, 8)}, PROVENANCE)
    rng = np.random.default_rng(0)
    finished = 0
    for _ in range(8):
        process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(rng.uniform(0, 0.05))
        process.kill()
        process.wait()
        store = FeatureStore(path)
        assert store.verify() == []
        assert len(store.rows()) >= finished
        finished = len(store.rows())
        assert (store.features("l")[:, 0, 0, 0] == store.rows()).all()
    assert finished > 0


def test_features_are_on_the_disk_before_a_row_is_marked_as_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut cannot be simulated; the order of the writes can be checked."""
    path = tmp_path / "a.h5"
    events: list[str] = []
    with store_lock(path):
        create_store(path, columns(2), {"l": (1, 1, 2)}, PROVENANCE)
        with StoreWriter(path) as writer:
            layout = writer.layout
            extents = layout.rows | layout.layers | {"checksum": layout.checksums["l"]}
            places = {extent.offset: name for name, extent in extents.items()}
            put, sync = writer._put, os.fsync
            monkeypatch.setattr(
                writer,
                "_put",
                lambda at, *rest: (events.append(places[at.offset]), put(at, *rest))[1],
            )
            monkeypatch.setattr(
                os, "fsync", lambda handle: (events.append("flush"), sync(handle))[1]
            )
            writer.write([0, 1], {"l": np.ones((2, 1, 1, 2))}, [(3, 4)] * 2)
    facts = ["checksum", "height", "width"]
    marks = ["status", "status", "flush", "status_checksum", "status_checksum"]
    assert events == ["l", "l", *facts, *facts, *marks, "flush"]


def test_a_full_disk_is_reported_and_finished_rows_stay(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_store("a.h5", ["x", "y", "x"], pending=2)
    shapes = FeatureStore(path).layers

    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    with StoreWriter(path) as writer:
        monkeypatch.setattr(os, "pwrite", full)
        with pytest.raises(StoreError, match="No space left on device"):
            writer.write(
                [1], {name: np.ones((1, *shape)) for name, shape in shapes.items()}, [(1, 1)]
            )
    assert FeatureStore(path).status.tolist() == [1, 0, 0]
    assert FeatureStore(path).verify() == []
