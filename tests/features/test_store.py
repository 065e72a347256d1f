"""The feature store: round trips, crashes, locks, hostile files, and the golden files of all format versions."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from freezeframe import FeatureStore, ParameterError, StoreError
from freezeframe.features import layout, new_store
from freezeframe.features.index import read_layout
from freezeframe.features.layout import IDENTITY_COLUMNS, identity_digest
from freezeframe.features.new_store import create_store
from freezeframe.features.pooling import pool
from freezeframe.features.writer import StoreWriter, store_lock

from ..conftest import PROVENANCE, MakeStore

GOLDEN = Path(__file__).parents[1] / "golden"
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=12)


def columns(n: int) -> dict[str, list[str]]:
    return {name: [f"{name} {i}" for i in range(n)] for name in IDENTITY_COLUMNS}


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(TEXT, TEXT, TEXT, TEXT, TEXT), min_size=1, max_size=6),
    dtype=st.sampled_from(["float32", "float16"]),
    data=st.data(),
)
def test_what_is_written_is_read(
    tmp_path: Path, rows: list[tuple[str, ...]], dtype: str, data: st.DataObject
) -> None:
    path, n = tmp_path / "a.h5", len(rows)
    # HDF5 pads fixed-length text with null bytes, so text that ends in one would lose it; names
    # hold none.
    text = dict(zip(IDENTITY_COLUMNS, map(list, zip(*rows, strict=True)), strict=True))
    shapes = {"one": (2, 3, 1), "two": (1, 1, 4)}
    features = {
        name: data.draw(hnp.arrays(dtype, (n, *shape), elements=st.floats(-1000, 1000, width=16)))
        for name, shape in shapes.items()
    }
    with store_lock(path):
        create_store(path, text, shapes, PROVENANCE | {"dtype": dtype})
        with StoreWriter(path) as writer:
            assert writer.pending.tolist() == list(range(n))
            writer.write(range(n), features, [(i, i + 1) for i in range(n)])
    store = FeatureStore(path)
    for name, values in zip(
        IDENTITY_COLUMNS,
        (store.paths, store.sha256s, store.labels, store.splits, store.groups),
        strict=True,
    ):
        assert values.tolist() == text[name]
    for name in shapes:
        np.testing.assert_array_equal(store.memmap(name), features[name])
        assert store.features(name).dtype == np.float32
        assert store.checksums(name).tolist() == [
            hashlib.sha256(row.tobytes()).hexdigest() for row in features[name]
        ]
    assert store.heights.tolist() == list(range(n))
    assert store.complete
    assert store.verify() == []
    assert store.provenance == PROVENANCE | {"dtype": dtype}


def test_views(make_store: MakeStore) -> None:
    store = FeatureStore(
        make_store(
            "a.h5", ["x", "y", "x", "y", "y"], splits=["train", "test", "", "test", ""], failed=1
        )
    )
    assert len(store) == 5
    assert store.rows().tolist() == [0, 1, 2, 3]
    assert store.rows(split="test").tolist() == [1, 3]
    assert store.rows(split="test", label="x").tolist() == []
    raw = store.memmap("block3_pool")
    assert raw.shape == (5, 4, 4, 3)
    with pytest.raises(ValueError, match="read-only"):
        raw[0] = 0
    np.testing.assert_array_equal(store.features("block3_pool", [2, 0]), raw[[2, 0]])
    np.testing.assert_array_equal(
        store.features("block3_pool", pooling="flat"), raw[:4].reshape(4, 48)
    )
    np.testing.assert_allclose(
        store.features("block3_pool", pooling="avg"), raw[:4].mean(axis=(1, 2)), rtol=1e-6
    )
    np.testing.assert_array_equal(
        store.features("block3_pool", pooling="max"), raw[:4].max(axis=(1, 2))
    )
    assert store.features("block3_pool", [], "flat").shape == (0, 48)
    frame = store.frame()
    assert frame.status.tolist() == ["done"] * 4 + ["failed"]
    assert frame.reason[4] == "a broken file"
    assert frame.columns.tolist() == [
        "path",
        "sha256",
        "label",
        "split",
        "group",
        "width",
        "height",
        "status",
        "reason",
        "pixels",
        "duplicates",
    ]
    assert "4 done, 1 failed, 0 pending" in repr(store)


def test_rows_can_be_chosen_by_a_boolean(make_store: MakeStore) -> None:
    store = FeatureStore(make_store("a.h5", ["x", "y"] * 5))
    chosen = store.features("block5_pool", store.labels == "y")
    np.testing.assert_array_equal(chosen, store.memmap("block5_pool")[1::2])
    for wrong in (np.ones(3, dtype=bool), np.array([0.5])):
        with pytest.raises(ParameterError, match="boolean"):
            store.features("block5_pool", wrong)


def test_unknown_splits_and_labels_are_told(make_store: MakeStore) -> None:
    store = FeatureStore(make_store("a.h5", ["x", "y"] * 5))
    assert store.rows(split="train").tolist() == []
    with pytest.raises(
        ParameterError, match="split must be one of 'train', 'validation', 'test', '', got 'tset'"
    ):
        store.rows(split="tset")
    with pytest.raises(ParameterError, match="no image is labelled 'z'; labels are x, y"):
        store.rows(label="z")
    for wrong in ([99], 5, [[0, 1]], [-11]):
        with pytest.raises(ParameterError, match="rows must"):
            store.features("block5_pool", wrong)  # type: ignore[arg-type]


def test_an_open_store_never_mixes_with_the_one_that_replaced_it(
    make_store: MakeStore, tmp_path: Path
) -> None:
    store = FeatureStore(make_store("a.h5", ["x", "y"] * 5))
    make_store("b.h5", ["y", "x"] * 5).replace(tmp_path / "a.h5")
    for use in (store.features, store.memmap):
        with pytest.raises(StoreError, match="replaced by another store since it was opened"):
            use("block5_pool")


def test_features_that_are_not_finite_are_not_handed_out(make_store: MakeStore) -> None:
    path = make_store("a.h5", ["x", "y"])
    with h5py.File(path, "r+") as file:  # a hostile store: its checksum fits
        row = file["layers/block5_pool"][1]
        row[0, 0, 0] = np.nan
        file["layers/block5_pool"][1] = row
        file["checksums/block5_pool"][1] = hashlib.sha256(row.tobytes()).hexdigest().encode()
    assert FeatureStore(path).verify() == []
    with pytest.raises(StoreError, match=r"features of y/1\.png are damaged"):
        FeatureStore(path).features("block5_pool")


def test_provenance_that_is_no_text_or_number_is_left_out(make_store: MakeStore) -> None:
    path = make_store("a.h5", ["x", "y"])
    forge(
        path,
        lambda index: index["provenance"].update(odd=["x"], empty=None, weights_source="\ud800"),
    )
    assert FeatureStore(path).provenance == PROVENANCE | {"weights_source": "\ud800"}


def test_wrong_questions_are_told(make_store: MakeStore) -> None:
    store = FeatureStore(make_store("a.h5", ["x", "y", "y"], pending=1))
    with pytest.raises(
        ParameterError, match=r"has no layer 'block9_pool'; it has block3_pool, block5_pool"
    ):
        store.features("block9_pool")
    with pytest.raises(ParameterError, match="pooling must be one of flat, avg, max, got 'mean'"):
        store.features("block3_pool", pooling="mean")
    with pytest.raises(StoreError, match="not done"):
        store.features("block3_pool", [2])
    assert not store.complete


def test_blocks_are_the_whole(make_store: MakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("freezeframe.features.rows.BLOCK_BYTES", 400)
    store = FeatureStore(make_store("a.h5", ["x", "y"] * 5))
    blocks = list(store.blocks("block3_pool", store.rows(), "flat"))
    assert len(blocks) == 5
    assert np.concatenate([rows for rows, _ in blocks]).tolist() == list(range(10))
    np.testing.assert_array_equal(
        np.concatenate([X for _, X in blocks]), pool(store.memmap("block3_pool"), "flat")
    )


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
            writer.fail(0, "x" + "ä" * 150 + "\nsecond line")
    assert FeatureStore(path).reasons[0] == "x" + "ä" * 99


def test_a_row_done_without_a_checksum_is_computed_again(make_store: MakeStore) -> None:
    path = make_store("a.h5", ["x", "y", "x"])
    with h5py.File(path, "r+") as file:  # as a power cut between two flushes may leave it
        file["checksums/block5_pool"][1] = b""
    assert StoreWriter(path).pending.tolist() == [1]


def test_a_changed_byte_is_found(make_store: MakeStore) -> None:
    path = make_store("a.h5", ["x", "y", "x"])
    before = FeatureStore(path)
    with h5py.File(path, "r+") as file:
        file["layers/block5_pool"][1, 0, 0, 0] += 1
    assert FeatureStore(path).verify() == [(1, "block5_pool")]
    assert (
        FeatureStore(path).fingerprint == before.fingerprint
    )  # of the checksums: verify tells the rest


def test_fingerprint_is_of_the_content(make_store: MakeStore) -> None:
    prints = {
        FeatureStore(make_store(f"{i}.h5", labels, **extra)).fingerprint
        for i, (labels, extra) in enumerate(
            [
                (["x", "y"], {}),
                (["x", "z"], {}),
                (["x", "y"], {"splits": ["train", "test"]}),
                (["x", "y"], {"provenance": {"weights_digest": "1" * 64}}),
                (["x", "y"], {"failed": 1}),
            ]
        )
    }
    assert len(prints) == 5
    same = [
        make_store(f"same{i}.h5", ["x", "y"], provenance={"created": str(i), "command": str(i)})
        for i in range(2)
    ]
    assert FeatureStore(same[0]).fingerprint == FeatureStore(same[1]).fingerprint


def test_the_file_is_laid_out_as_the_format_says(make_store: MakeStore) -> None:
    path = make_store("a.h5", ["x", "y"])
    data = path.read_bytes()
    assert re.match(rb"freezeframe-features 2 \d+ [0-9a-f]{64}\n\{", data)
    with h5py.File(path) as file:
        assert (
            data[file.userblock_size + 8] == 0
        )  # superblock version 0: no flag that a dead writer could leave set
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
        for name in ("layers/l", "checksums/l", "rows/width", "rows/height", "rows/status"):
            start = file[name].id.get_offset()
            inside |= set(range(start, start + file[name].id.get_storage_size()))
    assert set(changed) <= inside


def test_bad_stores_cannot_be_made(tmp_path: Path) -> None:
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


def test_a_second_writer_is_refused_and_a_dead_one_is_not_in_the_way(make_store: MakeStore) -> None:
    path = make_store("a.h5", ["x", "y"])
    code = (
        "import sys, time; from freezeframe.features.writer import store_lock\n"
        "with store_lock(sys.argv[1]): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(StoreError, match="another process is writing this store"), store_lock(path):
        pass
    FeatureStore(path).features("block5_pool")  # the lock is for writers only
    holder.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
    holder.wait()
    with store_lock(path):
        pass


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_killed_at_random_moments_a_writer_leaves_a_readable_store(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    code = """
import sys, numpy as np
from freezeframe.features.writer import StoreWriter, store_lock
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


def test_features_are_on_the_disk_before_a_row_is_said_to_be_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut cannot be made here; that the order is right can be seen."""
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
    row = ["checksum", "height", "width", "status"]
    assert events == ["l", "l", "flush", *row, *row, "flush"]


def test_a_full_disk_is_told_and_finished_rows_stay(
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


Index = dict[str, Any]
Edit = Callable[[Index], None]


def forge(path: Path, edit: Edit) -> None:
    """Change the index of a store as somebody would who wants to be believed: its digest is right."""
    data = path.read_bytes()
    line, _, rest = data.partition(b"\n")
    name, version, length, _ = line.split()
    index = json.loads(rest[: int(length)])
    with h5py.File(path) as file:
        room = file.userblock_size
    edit(index)
    text = json.dumps(index).encode()
    head = b"%s %s %d %s\n" % (name, version, len(text), hashlib.sha256(text).hexdigest().encode())
    path.write_bytes((head + text).ljust(room, b"\0") + data[room:])


def _place(name: str, part: int, value: object) -> Edit:
    """Change the dtype (0), shape (1) or offset (2) of a dataset."""
    return lambda index: index["datasets"][name].__setitem__(part, value)


def _drop(name: str) -> Edit:
    return lambda index: index["datasets"].pop(name)


def _provenance(name: str, value: object) -> Edit:
    return lambda index: index["provenance"].__setitem__(name, value)


def _all_shapes(first: object) -> Edit:
    return lambda index: [place[1].__setitem__(0, first) for place in index["datasets"].values()]


HOSTILE: dict[str, tuple[Edit, str]] = {
    "no datasets": (lambda index: index.pop("datasets"), "not one of a feature store"),
    "a list of datasets": (
        lambda index: index.__setitem__("datasets", [1]),
        "not one of a feature store",
    ),
    "no provenance": (lambda index: index.pop("provenance"), "not one of a feature store"),
    "no status": (_drop("rows/status"), "lacks columns"),
    "no layers": (
        lambda index: [
            _drop(name)(index) for name in list(index["datasets"]) if "5_" in name or "3_" in name
        ],
        "lacks",
    ),
    "no checksum": (_drop("checksums/block5_pool"), "lacks"),
    "an unknown column": (
        lambda index: index["datasets"].__setitem__("rows/x", ["|u1", [2], 9000]),
        "KeyError 'x'",
    ),
    "an unknown group": (
        lambda index: index["datasets"].__setitem__("x/x", ["|u1", [2], 9000]),
        "not one of",
    ),
    "no rows at all": (_all_shapes(0), "has shape"),
    "fewer than no rows": (_all_shapes(-1), "has shape"),
    "half a row": (_all_shapes(0.5), "has shape"),
    "true rows": (_all_shapes(True), "has shape"),
    "more rows than there are": (_all_shapes(3), "overlap|truncated"),
    "rows beyond any disk": (_all_shapes(10**30), "overlap|truncated"),
    "a layer without width": (
        _place("layers/block5_pool", 1, [2, 0, 2, 5]),
        r"has shape \[2, 0, 2, 5\]",
    ),
    "two dimensions": (_place("layers/block5_pool", 1, [2, 20]), r"has shape \(2, 20\)"),
    "no dimensions": (_place("rows/width", 1, []), r"has shape \[\]"),
    "too few rows": (_place("rows/width", 1, [1]), r"has shape \(1,\) in a store of 2 rows"),
    "in the index": (_place("rows/width", 2, 16), "overlap"),
    "before the file": (_place("rows/width", 2, -4), "at byte -4"),
    "in another dataset": (
        lambda index: _place("rows/width", 2, index["datasets"]["rows/height"][2] + 1)(index),
        "overlap",
    ),
    "behind the end": (
        _place("layers/block5_pool", 2, 10**9),
        "truncated: it should have 1000000160 bytes",
    ),
    "integers for features": (_place("layers/block5_pool", 0, "<i4"), "has type <i4"),
    "objects": (_place("rows/path", 0, "|O"), r"has type \|O"),
    "no type": (_place("rows/path", 0, 7), "not one of a feature store"),
    "a type of a hundred million bytes": (_place("rows/path", 0, "|S100000000"), "has type"),
    "layers of two types": (_place("layers/block5_pool", 0, "<f2"), "several dtypes"),
    "a flat thumbnail": (
        _place("rows/thumbnail", 1, [2, 4096]),
        r"rows/thumbnail has shape \(2, 4096\) in a store of 2",
    ),
    "a smaller thumbnail": (
        _place("rows/thumbnail", 1, [2, 64, 32]),
        r"has shape \(2, 64, 32\) in a store of 2 rows",
    ),
    "too many thumbnails": (
        _place("rows/thumbnail", 1, [3, 64, 64]),
        r"has shape \(3, 64, 64\) in a store of 2 rows",
    ),
    "a thumbnail of numbers": (_place("rows/thumbnail", 0, "<f4"), "rows/thumbnail has type <f4"),
    "thumbnails over the layers": (
        lambda index: _place("rows/thumbnail", 2, index["datasets"]["layers/block5_pool"][2] - 8)(
            index
        ),
        "overlap",
    ),
    "thumbnails behind the end": (
        _place("rows/thumbnail", 2, 10**9),
        "truncated: it should have 1000008192 bytes",
    ),
    "no thumbnails": (_drop("rows/thumbnail"), "lacks columns"),
    "signed groups": (_place("rows/duplicates", 0, "<i4"), "rows/duplicates has type <i4"),
    "a group of many": (
        _place("rows/duplicates", 1, [2, 2]),
        r"rows/duplicates has shape \(2, 2\) in a store of 2",
    ),
    "groups of too few": (
        _place("rows/duplicates", 1, [1]),
        r"rows/duplicates has shape \(1,\) in a store of 2 rows",
    ),
    "short digests": (_place("rows/pixels", 0, "|S32"), r"rows/pixels has type \|S32"),
    "a short reason": (_place("rows/reason", 0, "|S50"), r"rows/reason has type \|S50"),
    "numbers for text in the provenance": (
        _provenance("backbone", 5),
        "provenance has 5 for backbone",
    ),
    "a list in the provenance": (
        _provenance("backbone", ["vgg16"]),
        "provenance has None for backbone",
    ),
    "text for a number in the provenance": (
        _provenance("batch_size", "8"),
        "provenance has '8' for batch_size",
    ),
    "another list of images": (
        lambda index: index.__setitem__("identity_sha256", "0" * 64),
        "paths, labels, splits",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_indexes_are_refused_in_one_line(make_store: MakeStore, case: str) -> None:
    edit, message = HOSTILE[case]
    path = make_store("a.h5", ["x", "y"])
    forge(path, edit)
    with pytest.raises(StoreError, match=message) as caught:
        FeatureStore(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_an_index_that_is_forged_to_say_the_same_is_taken(make_store: MakeStore) -> None:
    """So what the cases above are refused for is what they change."""
    path = make_store("a.h5", ["x", "y"])
    forge(path, lambda index: None)
    assert FeatureStore(path).verify() == []


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("rows/status", 9, "status 9 is unknown"),
        ("rows/label", b"z", "paths, labels, splits or groups were changed"),
        ("rows/split", b"t", "paths, labels, splits or groups were changed"),
        ("layers/block5_pool", np.ones((2, 2, 5)), "features of x/0.png are damaged"),
        ("checksums/block5_pool", b"0" * 64, "features of x/0.png are damaged"),
    ],
)
def test_changed_contents_are_noticed(
    make_store: MakeStore, name: str, value: Any, message: str
) -> None:
    path = make_store("a.h5", ["x", "y"])
    with h5py.File(path, "r+") as file:
        file[name][0] = value
    with pytest.raises(StoreError, match=message):
        FeatureStore(path).features("block5_pool")


def test_text_that_is_not_utf8_is_refused(make_store: MakeStore) -> None:
    path = make_store("a.h5", ["x", "y"])
    with h5py.File(path, "r+") as file:
        file["rows/label"][...] = b"\xff"
        columns = {name: file[f"rows/{name}"][...] for name in IDENTITY_COLUMNS}
    forge(path, lambda index: index.__setitem__("identity_sha256", identity_digest(columns)))
    with pytest.raises(StoreError, match="label is not UTF-8"):
        FeatureStore(path)


def test_any_hdf5_library_reads_what_we_read(make_store: MakeStore) -> None:
    path = make_store("a.h5", ["x", "ü"], splits=["train", "test"], groups=["a", "b"])
    store = FeatureStore(path)
    with h5py.File(path, "r") as file:
        assert dict(file.attrs) == {"format": "freezeframe-features", "format_version": 2}
        assert dict(file["provenance"].attrs) == store.provenance
        text = {
            "path": store.paths,
            "sha256": store.sha256s,
            "label": store.labels,
            "split": store.splits,
        }
        for name, values in (text | {"group": store.groups, "reason": store.reasons}).items():
            assert file[f"rows/{name}"].asstr()[...].tolist() == values.tolist()
        for name, numbers in {
            "status": store.status,
            "width": store.widths,
            "height": store.heights,
        }.items():
            np.testing.assert_array_equal(file[f"rows/{name}"][...], numbers)
        for name in store.layers:
            np.testing.assert_array_equal(file[f"layers/{name}"][...], store.memmap(name))
            assert file[f"layers/{name}"].id.get_offset() % 64 == 0
            assert file[f"checksums/{name}"].asstr()[...].tolist() == store.checksums(name).tolist()


def test_a_store_that_another_program_adds_to_is_still_read(make_store: MakeStore) -> None:
    path = make_store("a.h5", ["x", "y"])
    with h5py.File(path, "r+") as file:
        file["notes"] = np.arange(1000)
        file.attrs["looked at"] = "yes"
    assert FeatureStore(path).verify() == []


def test_a_store_that_another_program_wrote_anew_is_refused(
    make_store: MakeStore, tmp_path: Path
) -> None:
    path = make_store("a.h5", ["x", "y"])
    room = h5py.File(path).userblock_size
    with h5py.File(path) as old, h5py.File(tmp_path / "b.h5", "w", userblock_size=room) as new:
        for name in reversed(list(old)):
            old.copy(name, new)
    (tmp_path / "b.h5").write_bytes(
        path.read_bytes()[:room] + (tmp_path / "b.h5").read_bytes()[room:]
    )
    with pytest.raises(StoreError, match=r"truncated|were changed"):
        FeatureStore(tmp_path / "b.h5")


def test_what_is_no_store_is_refused_in_one_line(tmp_path: Path, make_store: MakeStore) -> None:
    path = tmp_path / "b.h5"
    with pytest.raises(StoreError, match="no such file; make it with extract-features"):
        FeatureStore(path)
    whole = make_store("a.h5", ["x", "y"]).read_bytes()
    for content, message in {
        b"": "not a feature store",
        b"hello": "not a feature store",
        b"\x89HDF\r\n\x1a\n" + whole: "an HDF5 file, but not a feature store",
        whole[: len(whole) // 2]: "truncated",
        whole[: read_layout(tmp_path / "a.h5").layers["block5_pool"].end - 1]: "truncated",
        whole[:30]: "its first line is not what was written",
        whole[:600]: "its index is not what was written",
        whole.replace(
            b"freezeframe-features 2", b"freezeframe-features 3"
        ): "version 3 is unknown .*, which reads 1 and 2",
        whole.replace(
            b"freezeframe-features 2", b"freezeframe-features 1"
        ): "not one of a feature store .*'pixels'",
        whole.replace(
            b'"backbone": "vgg16"', b'"backbone": "vgg19"'
        ): "its index is not what was written",
    }.items():
        path.write_bytes(content)
        with pytest.raises(StoreError, match=rf"b\.h5: .*{message}"):
            FeatureStore(path)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.floats(0, 1), byte=st.integers(0, 255), length=st.integers(1, 8))
def test_a_damaged_file_never_raises_anything_else(
    tmp_path: Path, make_store: MakeStore, position: float, byte: int, length: int
) -> None:
    path = tmp_path / "whole.h5"
    if not path.exists():
        make_store("whole.h5", ["x", "y"])
    data = bytearray(path.read_bytes())
    start = int(position * (len(data) - length))
    data[start : start + length] = bytes([byte]) * length
    damaged = tmp_path / "damaged.h5"
    damaged.write_bytes(data)
    try:
        store = FeatureStore(damaged)
        store.verify()
        _ = store.fingerprint
    except StoreError:
        pass


def test_golden_store_of_version_1() -> None:
    store = FeatureStore(GOLDEN / "store-v1.h5")
    assert store.paths.tolist() == ["lesion/ä 1.png", "lesion/2.png", "none/1.png", "none/2.jpg"]
    assert store.labels.tolist() == ["lesion", "lesion", "none", "none"]
    assert store.splits.tolist() == ["train", "test", "train", ""]
    assert store.groups.tolist() == ["p1", "p1", "", ""]
    assert store.status.tolist() == [1, 1, 2, 0]
    assert store.reasons[2] == "the file is empty"
    assert store.layers == {"block3_pool": (3, 2, 4), "block5_pool": (1, 2, 5)}
    assert store.provenance["weights_source"] == "random, seed 0"
    assert store.provenance["batch_size"] == 8
    np.testing.assert_array_equal(
        store.features("block3_pool", [1], "flat")[0], 24 + np.arange(24, dtype=np.float32)
    )
    assert store.features("block5_pool").sum() == np.arange(20).sum()
    assert (store.widths[0], store.heights[0]) == (181, 217)
    assert store.verify() == []
    assert store.fingerprint == "7d9aac07eb050a4de7425219376f02c230ab60456cefc7384b4965be353204e8"


def test_the_columns_of_each_version_are_literals() -> None:
    """A column that is added to today's table must not reach the tables of old versions."""
    tree = ast.parse(Path(layout.__file__).read_text(encoding="utf-8"))
    (table,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "COLUMNS_BY_VERSION"
    )
    assert table is not None
    assert ast.literal_eval(table) == layout.COLUMNS_BY_VERSION


def test_a_new_version_with_more_columns_and_fields_reads_the_golden_stores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fingerprints = {
        name: FeatureStore(GOLDEN / name).fingerprint for name in ("store-v1.h5", "store-v2.h5")
    }
    row_columns = layout.ROW_COLUMNS | {"score": "<f4"}
    monkeypatch.setitem(layout.COLUMNS_BY_VERSION, 3, row_columns)
    monkeypatch.setitem(
        layout.DECIDING_FIELDS_BY_VERSION, 3, layout.DECIDING_FIELDS | {"crop": str}
    )
    monkeypatch.setattr(new_store, "ROW_COLUMNS", row_columns)
    monkeypatch.setattr(new_store, "STORE_FORMAT_VERSION", 3)
    path = tmp_path / "a.h5"
    create_store(path, columns(2), {"l": (1, 1, 2)}, PROVENANCE | {"crop": "none"})
    assert FeatureStore(path).format_version == 3
    assert FeatureStore(path).layout.rows["score"].dtype == np.float32
    create_store(path, columns(2), {"l": (1, 1, 2)}, PROVENANCE)
    with pytest.raises(StoreError, match="provenance has None for crop"):
        FeatureStore(path)
    for name, fingerprint in fingerprints.items():
        store = FeatureStore(GOLDEN / name)
        assert store.verify() == []
        assert store.fingerprint == fingerprint


@pytest.mark.parametrize("rows", [[3], [0, 3], None])
def test_the_image_whose_features_are_no_numbers_is_named(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch, rows: list[int] | None
) -> None:
    path = make_store("a.h5", ["a"] * 6)
    with h5py.File(path, "r+") as file:
        file["layers/block5_pool"][3, 0, 0, 0] = np.nan
        digest = hashlib.sha256(file["layers/block5_pool"][3].tobytes()).hexdigest()
        file["checksums/block5_pool"][3] = digest.encode()
    monkeypatch.setattr("freezeframe.features.rows.BLOCK_BYTES", 160)  # two rows at a time
    with pytest.raises(StoreError, match=r"the block5_pool features of a/3\.png are damaged"):
        FeatureStore(path).features("block5_pool", rows)
    with pytest.raises(StoreError, match=r"the block5_pool features of a/3\.png are damaged"):
        list(FeatureStore(path).select("block5_pool", rows, "flat").panels())
