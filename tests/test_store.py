"""The feature store: round trips, crashes, locks, hostile files, and the golden file of format version 1."""

from __future__ import annotations

import hashlib
import os
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
from freezeframe.features.layout import IDENTITY
from freezeframe.features.store import pool
from freezeframe.features.writer import StoreWriter, create_store, store_lock

from .conftest import PROVENANCE, MakeStore

GOLDEN = Path(__file__).parent / "golden" / "store-v1.h5"
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=12)


def columns(n: int) -> dict[str, list[str]]:
    return {name: [f"{name} {i}" for i in range(n)] for name in IDENTITY}


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(TEXT, TEXT, TEXT, TEXT, TEXT), min_size=1, max_size=6),
    dtype=st.sampled_from(["float32", "float16"]),
    data=st.data(),
)
def test_what_is_written_is_read(tmp_path: Path, rows: list[tuple[str, ...]], dtype: str, data: st.DataObject) -> None:
    path, n = tmp_path / "a.h5", len(rows)
    # HDF5 pads fixed-length text with null bytes, so text that ends in one would lose it; names hold none.
    text = dict(zip(IDENTITY, map(list, zip(*rows, strict=True)), strict=True))
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
        IDENTITY, (store.paths, store.sha256s, store.labels, store.splits, store.groups), strict=True
    ):
        assert values.tolist() == text[name]
    for name in shapes:
        np.testing.assert_array_equal(store.memmap(name), features[name])
        assert store.features(name).dtype == np.float32
        assert store.checksums(name).tolist() == [hashlib.sha256(row.tobytes()).hexdigest() for row in features[name]]
    assert store.heights.tolist() == list(range(n))
    assert store.complete
    assert store.verify() == []
    assert store.provenance == PROVENANCE | {"dtype": dtype}


def test_views(make_store: MakeStore) -> None:
    store = FeatureStore(
        make_store("a.h5", ["x", "y", "x", "y", "y"], splits=["train", "test", "", "test", ""], failed=1)
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
    np.testing.assert_array_equal(store.features("block3_pool", pooling="flat"), raw[:4].reshape(4, 48))
    np.testing.assert_allclose(store.features("block3_pool", pooling="avg"), raw[:4].mean(axis=(1, 2)), rtol=1e-6)
    np.testing.assert_array_equal(store.features("block3_pool", pooling="max"), raw[:4].max(axis=(1, 2)))
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
    with pytest.raises(ParameterError, match="split must be one of 'train', 'validation', 'test', '', got 'tset'"):
        store.rows(split="tset")
    with pytest.raises(ParameterError, match="no image is labelled 'z'; labels are x, y"):
        store.rows(label="z")
    for wrong in ([99], 5, [[0, 1]], [-11]):
        with pytest.raises(ParameterError, match="rows must"):
            store.features("block5_pool", wrong)  # type: ignore[arg-type]


def test_an_open_store_never_mixes_with_the_one_that_replaced_it(make_store: MakeStore, tmp_path: Path) -> None:
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
    with h5py.File(path, "r+") as file:
        file["provenance"].attrs["odd"] = np.array([b"x"])
        file["provenance"].attrs["empty"] = h5py.Empty("f")
        file["provenance"].attrs["weights_source"] = np.bytes_(b"\xff")
    provenance = FeatureStore(path).provenance
    assert provenance == PROVENANCE | {"weights_source": "\ufffd"}


def test_wrong_questions_are_told(make_store: MakeStore) -> None:
    store = FeatureStore(make_store("a.h5", ["x", "y", "y"], pending=1))
    with pytest.raises(ParameterError, match=r"has no layer 'block9_pool'; it has block3_pool, block5_pool"):
        store.features("block9_pool")
    with pytest.raises(ParameterError, match="pooling must be one of flat, avg, max, got 'mean'"):
        store.features("block3_pool", pooling="mean")
    with pytest.raises(StoreError, match="not done"):
        store.features("block3_pool", [2])
    assert not store.complete


def test_blocks_are_the_whole(make_store: MakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("freezeframe.features.store._BLOCK_BYTES", 400)
    store = FeatureStore(make_store("a.h5", ["x", "y"] * 5))
    blocks = list(store.blocks("block3_pool", store.rows(), "flat"))
    assert len(blocks) == 5
    assert np.concatenate([rows for rows, _ in blocks]).tolist() == list(range(10))
    np.testing.assert_array_equal(np.concatenate([X for _, X in blocks]), pool(store.memmap("block3_pool"), "flat"))


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
    assert FeatureStore(path).fingerprint == before.fingerprint  # of the checksums: verify tells the rest


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
    same = [make_store(f"same{i}.h5", ["x", "y"], provenance={"created": str(i), "command": str(i)}) for i in range(2)]
    assert FeatureStore(same[0]).fingerprint == FeatureStore(same[1]).fingerprint


def test_the_file_is_laid_out_as_the_format_says(make_store: MakeStore) -> None:
    path = make_store("a.h5", ["x", "y"])
    assert path.read_bytes()[8] == 0  # superblock version 0: no flag that a dead writer could leave set
    with h5py.File(path) as file:
        for name in ("rows/path", "rows/status", "layers/block5_pool", "checksums/block3_pool"):
            plist = file[name].id.get_create_plist()
            assert plist.get_layout() == h5py.h5d.CONTIGUOUS
            assert plist.get_alloc_time() == h5py.h5d.ALLOC_TIME_EARLY
            assert plist.get_fill_time() == h5py.h5d.FILL_TIME_NEVER


@pytest.mark.skipif(sys.platform == "win32", reason="file systems there do not make sparse files by themselves")
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
        (columns(2), shapes, {"dtype": "int8"}, "dtype must be one of float32, float16, got 'int8'"),
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
    holder = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(StoreError, match="another process is writing this store"), store_lock(path):
        pass
    FeatureStore(path).features("block5_pool")  # reading goes on
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
            layout = writer._layout
            extents = layout.rows | layout.layers | {"checksum": layout.checksums["l"]}
            places = {extent.offset: name for name, extent in extents.items()}
            put, sync = writer._put, os.fsync
            monkeypatch.setattr(writer, "_put", lambda at, *rest: (events.append(places[at.offset]), put(at, *rest))[1])
            monkeypatch.setattr(os, "fsync", lambda handle: (events.append("flush"), sync(handle))[1])
            writer.write([0, 1], {"l": np.ones((2, 1, 1, 2))}, [(3, 4)] * 2)
    row = ["checksum", "height", "width", "status"]
    assert events == ["l", "l", "flush", *row, *row, "flush"]


def test_a_full_disk_is_told_and_finished_rows_stay(make_store: MakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_store("a.h5", ["x", "y", "x"], pending=2)
    shapes = FeatureStore(path).layers

    class Full:
        def __init__(self, file: Any) -> None:
            self.file = file

        def write(self, data: memoryview) -> int:
            raise OSError(28, "No space left on device")

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

    with StoreWriter(path) as writer:
        monkeypatch.setattr(writer, "_file", Full(writer._file))
        with pytest.raises(StoreError, match="No space left on device"):
            writer.write([1], {name: np.ones((1, *shape)) for name, shape in shapes.items()}, [(1, 1)])
    assert FeatureStore(path).status.tolist() == [1, 0, 0]
    assert FeatureStore(path).verify() == []


Edit = Callable[[h5py.File], None]


def _swap(name: str, **how: Any) -> Edit:
    def edit(file: h5py.File) -> None:
        old = file[name]
        shape, dtype = old.shape, old.dtype
        del file[name]
        file.create_dataset(name, **({"shape": shape, "dtype": dtype} | how))

    return edit


def _external(file: h5py.File) -> None:
    del file["layers/block5_pool"]
    file.create_dataset("layers/block5_pool", (2, 2, 2, 5), "<f4", external=[("/etc/passwd", 0, 160)])


def _virtual(file: h5py.File) -> None:
    del file["layers/block5_pool"]
    layout = h5py.VirtualLayout((2, 2, 2, 5), "<f4")
    layout[:] = h5py.VirtualSource("/tmp/other.h5", "x", (2, 2, 2, 5))
    file.create_virtual_dataset("layers/block5_pool", layout)


def _soft(file: h5py.File) -> None:
    file.move("layers/block5_pool", "elsewhere")
    file["layers/block5_pool"] = h5py.SoftLink("/elsewhere")


def _set(name: str, value: object) -> Edit:
    return lambda file: file.attrs.__setitem__(name, value)


def _status(file: h5py.File) -> None:
    file["rows/status"][0] = 9


def _provenance(name: str, value: object) -> Edit:
    return lambda file: file["provenance"].attrs.__setitem__(name, value)


def _empty(file: h5py.File) -> None:
    for group in ("rows", "layers", "checksums"):
        for name, old in list(file[group].items()):
            shape, dtype = (0, *old.shape[1:]), old.dtype
            del file[group][name]
            file[group].create_dataset(name, shape, dtype)


def _bytes(file: h5py.File) -> None:
    file["rows/label"][...] = b"\xff"


HOSTILE: dict[str, tuple[Edit, str]] = {
    "another format": (_set("format", "anndata"), "not a feature store"),
    "a later version": (_set("format_version", 2), "format version 2 is unknown"),
    "no version": (lambda file: file.attrs.__delitem__("format_version"), "format version None is unknown"),
    "no rows": (lambda file: file.__delitem__("rows"), "no group rows"),
    "no status": (lambda file: file.__delitem__("rows/status"), "no dataset rows/status"),
    "no layers": (lambda file: (file.__delitem__("layers"), file.create_group("layers"))[0], "at least one layer"),
    "no rows at all": (_empty, "it has no rows"),
    "a layer without width": (_swap("layers/block5_pool", shape=(2, 0, 2, 5)), r"has shape \(2, 0, 2, 5\)"),
    "numbers for text in the provenance": (_provenance("backbone", 5), "provenance has 5 for backbone"),
    "bytes in the provenance": (_provenance("backbone", np.array([b"a", b"b"])), "damaged: its provenance has"),
    "an empty value in the provenance": (_provenance("backbone", h5py.Empty("f")), "damaged: its provenance has"),
    "a complex number in the provenance": (_provenance("batch_size", 1j), "damaged: its provenance has"),
    "no checksum": (lambda file: file.__delitem__("checksums/block5_pool"), "no dataset checksums/block5_pool"),
    "no provenance": (lambda file: file.__delitem__("provenance"), "cannot be read"),
    "an empty provenance": (
        lambda file: file["provenance"].attrs.__delitem__("weights_digest"),
        "provenance has None for weights_digest",
    ),
    "a group for a dataset": (
        lambda file: (file.__delitem__("layers/block5_pool"), file.create_group("layers/block5_pool"))[0],
        "is no dataset",
    ),
    "chunks": (_swap("layers/block5_pool", chunks=(1, 1, 1, 5)), "not stored contiguously"),
    "a filter": (_swap("layers/block5_pool", compression="gzip"), "not stored contiguously"),
    "another file's bytes": (_external, "not stored contiguously in the file itself"),
    "a virtual dataset": (_virtual, "not stored contiguously"),
    "a soft link": (_soft, "no dataset layers/block5_pool"),
    "integers for features": (_swap("layers/block5_pool", dtype="<i4"), "has type int32"),
    "objects for text": (_swap("rows/path", dtype=h5py.string_dtype()), "has type object"),
    "a short reason": (_swap("rows/reason", dtype="S50", data=np.zeros(2, "S50")), "rows/reason has type"),
    "two dimensions": (_swap("layers/block5_pool", shape=(2, 5), data=np.zeros((2, 5), "<f4")), r"has shape \(2, 5\)"),
    "too few rows": (
        _swap("rows/path", shape=(1,), dtype="S7", data=np.zeros(1, "S7")),
        r"has shape \(1,\) in a store of 2 rows",
    ),
    "never written": (_swap("layers/block5_pool", shape=(2, 10**6, 10**4, 10)), "truncated"),
    "an unknown status": (_status, "status 9 is unknown"),
    "text that is not UTF-8": (_bytes, "label is not UTF-8"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_refused_in_one_line(make_store: MakeStore, case: str) -> None:
    edit, message = HOSTILE[case]
    path = make_store("a.h5", ["x", "y"])
    with h5py.File(path, "r+") as file:
        edit(file)
    with pytest.raises(StoreError, match=message) as caught:
        FeatureStore(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_what_is_no_store_is_refused_in_one_line(tmp_path: Path, make_store: MakeStore) -> None:
    path = tmp_path / "b.h5"
    with pytest.raises(StoreError, match="no such file; make it with extract-features"):
        FeatureStore(path)
    whole = make_store("a.h5", ["x", "y"]).read_bytes()
    for content in (b"", b"\x89HDF\r\n\x1a\n", b"hello", whole[: len(whole) // 2], whole[:-1], whole[:600]):
        path.write_bytes(content)
        with pytest.raises(StoreError, match=r"b\.h5"):
            FeatureStore(path)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.floats(0, 1), byte=st.integers(0, 255), length=st.integers(1, 8))
def test_a_damaged_header_never_raises_anything_else(
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
    store = FeatureStore(GOLDEN)
    assert store.paths.tolist() == ["lesion/ä 1.png", "lesion/2.png", "none/1.png", "none/2.jpg"]
    assert store.labels.tolist() == ["lesion", "lesion", "none", "none"]
    assert store.splits.tolist() == ["train", "test", "train", ""]
    assert store.groups.tolist() == ["p1", "p1", "", ""]
    assert store.status.tolist() == [1, 1, 2, 0]
    assert store.reasons[2] == "the file is empty"
    assert store.layers == {"block3_pool": (3, 2, 4), "block5_pool": (1, 2, 5)}
    assert store.provenance["weights_source"] == "random, seed 0"
    assert store.provenance["batch_size"] == 8
    np.testing.assert_array_equal(store.features("block3_pool", [1], "flat")[0], 24 + np.arange(24, dtype=np.float32))
    assert store.features("block5_pool").sum() == np.arange(20).sum()
    assert (store.widths[0], store.heights[0]) == (181, 217)
    assert store.verify() == []
    assert store.fingerprint == "efa663eecab3b69758ef29094872dec1d63568bee37cfb58ff9c4bc733a9ec05"
