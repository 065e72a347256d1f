"""Finished stores: copying, looking into, exporting, archiving, merging and comparing them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from freezeframe import FeatureStore, ParameterError, StoreError
from freezeframe.__main__ import cli
from freezeframe.features import copying
from freezeframe.features import export as exporting
from freezeframe.features.archive.compression import Decoder, compression
from freezeframe.features.archive.restoration import restore
from freezeframe.features.copying import copy_rows
from freezeframe.features.differences import difference
from freezeframe.features.export import export
from freezeframe.features.hdf5_file import DeferredErrorFile
from freezeframe.features.layout import IDENTITY_COLUMNS, Extent
from freezeframe.features.merge import merge
from freezeframe.features.new_store import create_store
from freezeframe.features.pooling import pool
from freezeframe.features.writer import StoreWriter, store_lock

from ..conftest import PROVENANCE, MakeStore

LABELS = ["x", "y", "x", "ü", "y", "x"]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["store", *map(str, arguments)], prog_name="freezeframe")


def empty_like(store: FeatureStore, path: Path, order: list[int], **provenance: Any) -> Path:
    """A store of some rows of another, in another order, all pending."""
    columns = zip(
        IDENTITY_COLUMNS,
        (store.paths, store.sha256s, store.labels, store.splits, store.groups),
        strict=True,
    )
    rows = {name: [str(column[row]) for row in order] for name, column in columns}
    with store_lock(path):
        create_store(path, rows, store.layers, PROVENANCE | provenance)
    return path


def damage(path: Path, row: int, layer: str = "block5_pool") -> None:
    with h5py.File(path, "r+") as file:
        file[f"layers/{layer}"][row] = 7


@pytest.mark.parametrize("block", [1, 500, 2**26])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_rows_are_copied_bit_for_bit(
    make_store: MakeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, dtype: str
) -> None:
    monkeypatch.setattr(copying, "_COPY_BLOCK_BYTES", block)
    source = FeatureStore(
        make_store("a.h5", LABELS, pending=1, failed=1, provenance={"dtype": dtype})
    )
    order = [5, 3, 0, 4, 2]
    path = empty_like(source, tmp_path / "b.h5", order, dtype=dtype)
    with store_lock(path), StoreWriter(path) as writer:
        copy_rows(source, order, writer, range(5))
    copy = FeatureStore(path)
    assert copy.status.tolist() == source.status[order].tolist() == [0, 1, 1, 2, 1]
    assert copy.reasons.tolist() == ["", "", "", "a broken file", ""]
    assert copy.heights.tolist() == source.heights[order].tolist()
    assert copy.widths.tolist() == source.widths[order].tolist()
    assert copy.verify() == []
    for name in source.layers:
        assert copy.checksums(name).tolist() == source.checksums(name)[order].tolist()
        assert copy.memmap(name)[[1, 2, 4]].tobytes() == source.memmap(name)[[3, 0, 2]].tobytes()


def test_damaged_rows_are_not_copied(make_store: MakeStore, tmp_path: Path) -> None:
    path = make_store("a.h5", LABELS)
    damage(path, 3)
    source = FeatureStore(path)
    target = empty_like(source, tmp_path / "b.h5", list(range(6)))
    with (
        StoreWriter(target) as writer,
        pytest.raises(StoreError, match=r"a\.h5: the features of ü/3\.png are damaged"),
    ):
        copy_rows(source, range(6), writer, range(6))
    with StoreWriter(target) as writer:
        copy_rows(source, [0], writer, [0])
    assert FeatureStore(target).status.tolist() == [1, 0, 0, 0, 0, 0]


def test_rows_are_only_copied_where_they_belong(make_store: MakeStore, tmp_path: Path) -> None:
    source = FeatureStore(make_store("a.h5", LABELS))
    target = empty_like(source, tmp_path / "b.h5", list(range(6)))
    half = empty_like(source, tmp_path / "half.h5", list(range(6)), dtype="float16")
    with store_lock(tmp_path / "c.h5"):
        rows = {name: ["0" * 64] for name in IDENTITY_COLUMNS}
        create_store(tmp_path / "c.h5", rows, {"block9": (1, 1, 1)}, PROVENANCE)
        create_store(tmp_path / "d.h5", rows, {"block5_pool": (2, 1, 5)}, PROVENANCE)
    with StoreWriter(target) as writer:
        for some, to, message in [
            ([0], [1], "x/0.png cannot be copied to the row of another image"),
            ([0, 1], [0], r"one length, got \(2,\) and \(1,\)"),
            ([0, 0], [0, 0], "one to each"),
            ([6], [0], "rows must lie between 0 and 5, got 6 to 6"),
            ([0], [-1], "to must lie between 0 and 5"),
        ]:
            with pytest.raises(ParameterError, match=message):
                copy_rows(source, some, writer, to)
        copy_rows(source, [], writer, [])
        copy_rows(source, [1], writer, [1])
    with (
        StoreWriter(target) as writer,
        pytest.raises(ParameterError, match="only be copied to pending rows"),
    ):
        copy_rows(source, [1], writer, [1])
    for path, message in (
        (half, "block3_pool is float32 of (4, 4, 3), in .*half.h5 it is float16 of (4, 4, 3)"),
        (tmp_path / "c.h5", "a.h5 has no layer 'block9'"),
        (
            tmp_path / "d.h5",
            "block5_pool is float32 of (2, 2, 5), in .*d.h5 it is float32 of (2, 1, 5)",
        ),
    ):
        with (
            StoreWriter(path) as writer,
            pytest.raises(ParameterError, match=re.sub(r"([()])", r"\\\1", message)),
        ):
            copy_rows(source, [0], writer, [0])


def test_a_layer_more_in_the_source_does_no_harm(make_store: MakeStore, tmp_path: Path) -> None:
    source = FeatureStore(make_store("a.h5", ["x"]))
    with store_lock(tmp_path / "b.h5"):
        rows = {name: [str(source.sha256s[0])] for name in IDENTITY_COLUMNS}
        create_store(tmp_path / "b.h5", rows, {"block5_pool": (2, 2, 5)}, PROVENANCE)
    with StoreWriter(tmp_path / "b.h5") as writer:
        copy_rows(source, [0], writer, [0])
    np.testing.assert_array_equal(
        FeatureStore(tmp_path / "b.h5").features("block5_pool"), source.features("block5_pool")
    )


def test_info(make_store: MakeStore) -> None:
    path = make_store("a.h5", LABELS, splits=["train"] * 4 + ["test", ""], pending=1, failed=2)
    told = json.loads(call("info", path, "--json").stdout)
    assert told["status"] == {"done": 3, "failed": 2, "pending": 1}
    assert told["classes"] == {"x": 3, "y": 2, "ü": 1}
    assert told["splits"] == {"": 1, "test": 1, "train": 4}
    assert told["layers"]["block5_pool"] == {
        "shape": [2, 2, 5],
        "dtype": "float32",
        "bytes": 6 * 80,
    }
    assert told["file_bytes"] == path.stat().st_size
    assert told["provenance"] == FeatureStore(path).provenance
    assert told["fingerprint"] == FeatureStore(path).fingerprint
    table = call("info", path).stdout
    for text in (
        r"rows +6 \(done 3, failed 2, pending 1\)",
        r"layer block3_pool +4 x 4 x 3, float32",
        r"splits +none 1",
    ):
        assert re.search(text, table), text
    assert told["fingerprint"] in table


def test_names_in_info_and_diff_do_nothing_to_a_terminal(make_store: MakeStore) -> None:
    odd = {"source": "[red]\x1b[31m"}
    a, b = make_store("a.h5", ["\x1b[2J", "[b]y"], provenance=odd), make_store("b.h5", ["x", "y"])
    for result in (call("info", a), call("diff", a, b)):
        assert "\x1b" not in result.output
        assert "\\x1b[2J" in result.stdout
    assert "[red]\\x1b[31m" in call("info", a).stdout


def test_verify(make_store: MakeStore) -> None:
    path = make_store("a.h5", LABELS, failed=1)
    result = call("verify", path)
    assert (result.exit_code, result.output) == (0, "5 rows of 2 layers are what was written\n")
    damage(path, 1)
    damage(path, 3, "block3_pool")
    with h5py.File(path, "r+") as file:
        file["checksums/block5_pool"][3] = b"\xff" * 64  # no text
    result = call("verify", path)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "damaged: ü/3.png: block3_pool",
        "damaged: y/1.png: block5_pool",
        "damaged: ü/3.png: block5_pool",
    ]
    assert result.stderr == (
        f"error: {path}: 2 of 5 rows are not what was written; extract them again with --overwrite\n"
    )


@pytest.mark.parametrize("pooling", [None, "flat", "avg", "max"])
def test_npz_holds_the_done_rows(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch, pooling: str | None
) -> None:
    monkeypatch.setattr("freezeframe.features.rows.BLOCK_BYTES", 500)
    path = make_store("a.h5", LABELS, splits=["train"] * 3 + [""] * 3, pending=1, failed=1)
    more = ["--pooling", pooling] if pooling else []
    result = call("export", path, "a.npz", "--layer", "block3_pool", *more)
    assert result.exit_code == 0, result.output
    store = FeatureStore(path)
    with np.load("a.npz", allow_pickle=False) as file:
        assert file.files == [
            "features",
            "paths",
            "sha256s",
            "labels",
            "splits",
            "groups",
            "pixels",
            "duplicates",
        ]
        assert file["features"].dtype == np.float32
        np.testing.assert_array_equal(
            file["features"], store.features("block3_pool", pooling=pooling)
        )
        for name in file.files[1:]:
            assert file[name].tolist() == getattr(store, name)[:4].tolist()
    first = Path("a.npz").read_bytes()
    assert (
        call("export", path, "a.npz", "--layer", "block3_pool", *more, "--overwrite").exit_code == 0
    )
    assert Path("a.npz").read_bytes() == first


@pytest.mark.parametrize("pooling", [None, "flat", "max"])
def test_parquet_has_one_line_an_image(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch, pooling: str | None
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("freezeframe.features.rows.BLOCK_BYTES", 100)
    monkeypatch.setattr(exporting, "_GROUP_BYTES", 300)
    path = make_store("a.h5", LABELS, groups=["g"] * 6, failed=1, provenance={"dtype": "float16"})
    more = ["--pooling", pooling] if pooling else []
    assert call("export", path, "a.parquet", *more).exit_code == 0
    store, table = FeatureStore(path), parquet.read_table("a.parquet").to_pydict()
    wanted = store.features("block5_pool", pooling=pooling or "avg")
    columns = [f"f{number}" for number in range(wanted.shape[1])]
    texts = ["path", "sha256", "label", "split", "group"]
    assert list(table) == [*texts, "width", "height", "pixels", "duplicates", *columns]
    np.testing.assert_array_equal(np.array([table[name] for name in columns], np.float32).T, wanted)
    for name in ("path", "sha256", "label", "split", "group", "width", "height"):
        assert table[name] == getattr(store, f"{name}s")[:5].tolist()
    assert table["pixels"] == store.pixels[:5].tolist()
    assert table["duplicates"] == store.duplicates[:5].tolist()
    assert 1 < parquet.ParquetFile("a.parquet").num_row_groups <= 5


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_an_archive_is_restored_byte_for_byte(
    make_store: MakeStore, tmp_path: Path, dtype: str
) -> None:
    path = make_store("a.h5", LABELS, pending=1, failed=1, provenance={"dtype": dtype})
    assert call("export", path, "b.h5").exit_code == 0
    result = call("restore", "b.h5", "c.h5")
    assert (result.exit_code, result.stdout) == (
        0,
        "c.h5: 4 of 6 images, block3_pool 4 x 4 x 3, block5_pool 2 x 2 x 5\n",
    )
    assert Path("c.h5").read_bytes() == path.read_bytes()
    assert FeatureStore("c.h5").fingerprint == FeatureStore(path).fingerprint
    assert call("diff", path, "c.h5").exit_code == 0
    with pytest.raises(
        StoreError, match=r"b.h5: an archive, not a working store; .* freezeframe store restore"
    ):
        FeatureStore("b.h5")
    assert not list(tmp_path.glob("*.new"))


def test_rows_of_many_blocks_and_odd_lengths_are_restored(tmp_path: Path) -> None:
    """Blocks are of 8192 numbers: rows of fewer, of some, and of some with a rest that is not compressed."""
    shapes = {
        "a": (1, 1, 1),
        "b": (1, 3, 5),
        "c": (64, 64, 2),
        "d": (91, 91, 3),
        "e": (28, 28, 256),
    }
    rng = np.random.default_rng(0)
    with store_lock(tmp_path / "a.h5"):
        create_store(
            tmp_path / "a.h5",
            {name: [f"{i}" for i in range(3)] for name in IDENTITY_COLUMNS},
            shapes,
            PROVENANCE,
        )
        with StoreWriter(tmp_path / "a.h5") as writer:
            features = {
                k: np.maximum(rng.normal(size=(3, *shape)), 0) for k, shape in shapes.items()
            }
            writer.write([0, 1, 2], features, [(1, 1)] * 3)
    export(FeatureStore("a.h5"), "b.h5")
    restore("b.h5", "c.h5")
    assert Path("c.h5").read_bytes() == Path("a.h5").read_bytes()
    assert Path("b.h5").stat().st_size < 0.8 * Path("a.h5").stat().st_size


def test_any_hdf5_library_with_the_filter_reads_an_archive(make_store: MakeStore) -> None:
    store = FeatureStore(make_store("a.h5", LABELS))
    export(store, "b.h5")
    with h5py.File("b.h5") as file:
        assert file.attrs["format"] == "freezeframe-archive"
        assert dict(file["provenance"].attrs) == store.provenance
        assert file["rows/label"].asstr()[...].tolist() == LABELS
        for name in store.layers:
            assert file[f"layers/{name}"].chunks == (1, *store.layers[name])
            np.testing.assert_array_equal(file[f"layers/{name}"][...], store.memmap(name))
            assert file[f"checksums/{name}"].asstr()[...].tolist() == store.checksums(name).tolist()


def test_damaged_features_are_not_exported(make_store: MakeStore, tmp_path: Path) -> None:
    path = make_store("a.h5", LABELS)
    damage(path, 3)
    for out in ("b.h5", "b.npz", "b.parquet"):
        result = call("export", path, out)
        assert result.exit_code == 1
        assert re.search("error: .*a.h5: .*block5_pool features of ü/3.png are", result.stderr), (
            result.stderr
        )
    assert sorted(file.name for file in tmp_path.iterdir() if "lock" not in file.name) == ["a.h5"]


def test_a_store_that_is_written_to_is_not_archived(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_store("a.h5", LABELS, pending=1)

    def meanwhile(finished: int, total: int) -> None:
        if finished == total:
            with StoreWriter(path) as writer:
                writer.fail(5, "broken")

    with pytest.raises(StoreError, match="was written to while it was archived"):
        export(FeatureStore(path), "b.h5", progress=meanwhile)
    assert not Path("b.h5").exists()


def forge_archive(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Change the index of an archive, with the right digest."""
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


HOSTILE: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no pieces": (lambda index: index.pop("pieces"), "index is not one of an archive"),
    "pieces of text": (
        lambda index: index.__setitem__("pieces", ["ab"]),
        "index is not one of an archive",
    ),
    "a negative place": (
        lambda index: index.__setitem__("store", -1),
        "index is not one of an archive",
    ),
    "a place beyond numbers": (
        lambda index: index.__setitem__("store", 2**70),
        "index is not one of an archive",
    ),
    "chunks in a list": (
        lambda index: index.__setitem__("chunks", [1]),
        "index is not one of an archive",
    ),
    "a place behind the end": (lambda index: index.__setitem__("store", 10**9), "truncated"),
    "a wrong place": (lambda index: index.__setitem__("store", 0), "damaged: .*an archive"),
    "a longer store": (
        lambda index: index.__setitem__("file_bytes", 10**7),
        "not of the store that was archived",
    ),
    "a store beyond any disk": (
        lambda index: index.__setitem__("file_bytes", 2**63 - 1),
        "written|not of the store",
    ),
    "a shorter store": (
        lambda index: index.__setitem__("file_bytes", 10),
        "pieces do not make a store",
    ),
    "other pieces": (
        lambda index: index["pieces"][-1].__setitem__(1, 1),
        "damaged: (it is not of|truncated)",
    ),
    "a piece beyond": (
        lambda index: index["pieces"].append([2**62, 0]),
        "pieces do not make a store",
    ),
    "no chunks": (lambda index: index["chunks"].clear(), "not of the store that was archived"),
    "chunks elsewhere": (
        lambda index: index["chunks"].__setitem__("block5_pool", 0),
        "features of x/0.png are not",
    ),
    "chunks behind the end": (
        lambda index: index["chunks"].__setitem__("block5_pool", 2**62),
        "of x/0.png are not",
    ),
    "another store": (
        lambda index: index.__setitem__("fingerprint", "0"),
        "not of the store that was archived",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_archives_are_refused_in_one_line(
    make_store: MakeStore, tmp_path: Path, case: str
) -> None:
    edit, message = HOSTILE[case]
    export(FeatureStore(make_store("a.h5", LABELS)), "b.h5")
    forge_archive(Path("b.h5"), edit)
    result = call("restore", "b.h5", "c.h5")
    assert result.exit_code == 1
    assert re.fullmatch(rf"error: [bc]\.h5: .*({message}).*\n", result.stderr), result.stderr
    assert not Path("c.h5").exists()
    assert not list(tmp_path.glob("*.new"))


def test_what_is_no_archive_is_refused(make_store: MakeStore) -> None:
    path = make_store("a.h5", LABELS)
    export(FeatureStore(path), "b.h5")
    whole = Path("b.h5").read_bytes()
    forge_archive(Path("b.h5"), lambda index: None)
    restore("b.h5", "ok.h5")  # so what follows is refused for what it changes
    for content, message in {
        b"": "not an archive of a feature store",
        path.read_bytes(): "not an archive of a feature store",
        whole.replace(
            b"freezeframe-archive 1", b"freezeframe-archive 2"
        ): "archive version 2 is unknown",
        whole[:30]: "its index is not what was written",
        whole[:600]: "truncated",
        whole[: len(whole) // 2]: "truncated|are not what was written",
        whole.replace(b"file_bytes", b"FILE_bytes"): "its index is not what was written",
    }.items():
        Path("b.h5").write_bytes(content)
        with pytest.raises(StoreError, match=rf"b\.h5: .*({message})"):
            restore("b.h5", "c.h5")
    with pytest.raises(StoreError, match="none: no such file"):
        restore("none", "c.h5")


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.floats(0, 1), byte=st.integers(0, 255), length=st.integers(1, 8))
def test_a_damaged_archive_never_makes_another_store(
    tmp_path: Path, make_store: MakeStore, position: float, byte: int, length: int
) -> None:
    if not Path("whole.h5").exists():
        export(FeatureStore(make_store("a.h5", ["x", "y"])), "whole.h5")
    data = bytearray(Path("whole.h5").read_bytes())
    start = int(position * (len(data) - length))
    data[start : start + length] = bytes([byte]) * length
    Path("damaged.h5").write_bytes(data)
    Path("back.h5").unlink(missing_ok=True)
    try:
        restore("damaged.h5", "back.h5")
    except StoreError:
        return
    assert FeatureStore("back.h5").fingerprint == FeatureStore("a.h5").fingerprint
    assert FeatureStore("back.h5").verify() == []


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edits=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=6),
    cut=st.integers(0, 9),
)
def test_no_chunk_crashes_the_decompressor(
    tmp_path: Path, edits: list[tuple[float, int]], cut: int
) -> None:
    """It believes the lengths in a chunk; with a wrong one it would read, or write, where it must not."""
    extent = Extent(0, (1, 50, 50, 11), np.dtype("<f4"))
    if not Path("chunk").exists():
        with h5py.File("chunk.h5", "w") as file:
            data = file.create_dataset(
                "x", extent.shape, "<f4", chunks=extent.shape, **compression()
            )
            data[...] = np.maximum(np.random.default_rng(0).normal(size=extent.shape), 0)
            Path("chunk").write_bytes(data.id.read_direct_chunk((0, 0, 0, 0))[1])
    chunk = bytearray(Path("chunk").read_bytes())
    assert len(Decoder(extent).decode(bytes(chunk))) == extent.row_bytes
    for position, byte in edits:
        # Most of what can go wrong is in the first bytes.
        chunk[int(position**4 * (len(chunk) - 1))] = byte
    decoded = Decoder(extent).decode(bytes(chunk[: len(chunk) - cut]))
    assert len(decoded) in (0, extent.row_bytes)


def shards(make_store: MakeStore, **second: Any) -> tuple[Path, Path]:
    """Two stores of other images: of two classes each."""
    a = make_store(
        "a.h5", ["x", "y", "x"], splits=["train", "test", ""], provenance={"created": "yesterday"}
    )
    labels = ["p", "q", "p", "q", "p"]
    return a, make_store("b.h5", labels, sha256s=[f"{i + 100:064x}" for i in range(5)], **second)


def test_merge(make_store: MakeStore) -> None:
    a, b = shards(
        make_store, pending=1, failed=1, provenance={"source": "/else", "version_keras": "9"}
    )
    result = call("merge", "all.h5", a, b)
    assert (result.exit_code, result.stdout) == (
        0,
        "all.h5: 6 of 8 images, block3_pool 4 x 4 x 3, block5_pool 2 x 2 x 5\n",
    )
    merged, parts = FeatureStore("all.h5"), [FeatureStore(a), FeatureStore(b)]
    for name in (
        "paths",
        "sha256s",
        "labels",
        "splits",
        "groups",
        "status",
        "reasons",
        "widths",
        "heights",
    ):
        assert getattr(merged, name).tolist() == [
            value for part in parts for value in getattr(part, name).tolist()
        ]
    for name in merged.layers:
        assert merged.checksums(name).tolist() == [
            text for part in parts for text in part.checksums(name)
        ]
        np.testing.assert_array_equal(
            merged.features(name), np.concatenate([part.features(name) for part in parts])
        )
    assert merged.verify() == []
    assert merged.provenance["source"] == "/somewhere/scans, /else"
    assert merged.provenance["weights_source"] == "a test"
    assert merged.provenance["version_keras"] == "9"
    assert merged.provenance["created"].startswith("20")
    again = call("merge", "all.h5", a, b)
    assert again.exit_code == 2
    assert "all.h5: exists already" in again.stderr


def test_many_sources_fit_into_one_field(make_store: MakeStore) -> None:
    a, b = shards(make_store, provenance={"source": "s" * 2000})
    assert merge("all.h5", [a, b]).provenance["source"] == "/somewhere/scans and 1 more"


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (
            {"provenance": {"resize": "lanczos"}},
            "b.h5: made with resize 'lanczos', .*a.h5 with 'bilinear'",
        ),
        (
            {"provenance": {"dtype": "float16"}},
            "b.h5: made with dtype 'float16', .*a.h5 with 'float32'",
        ),
    ],
)
def test_unlike_stores_are_not_merged(
    make_store: MakeStore, second: dict[str, Any], message: str
) -> None:
    a, b = shards(make_store, **second)
    with pytest.raises(StoreError, match=message):
        merge("all.h5", [a, b])
    assert not Path("all.h5").exists()


def test_stores_that_share_rows_or_differ_in_layers_are_not_merged(
    make_store: MakeStore, tmp_path: Path
) -> None:
    a = make_store("a.h5", ["x", "y"])
    changed = make_store("b.h5", ["x", "y"], sha256s=["e" * 64, "f" * 64])
    with store_lock("c.h5"):
        create_store(
            "c.h5",
            {name: ["z"] for name in IDENTITY_COLUMNS},
            {"block5_pool": (2, 2, 5)},
            PROVENANCE,
        )
    broken = make_store("d.h5", ["p", "q", "r"])
    damage(broken, 2)
    for paths, message in {
        (a, a): "a.h5: holds x/0.png, with the same contents, which .*a.h5 holds too",
        (a, changed): "b.h5: holds x/0.png, with other contents, which .*a.h5 holds too",
        (a, Path("c.h5")): "c.h5: has the layers block5_pool .*a.h5 has block3_pool",
        (a, broken): "d.h5: the features of r/2.png are damaged",
        (a, Path("e.h5")): "e.h5: no such file",
    }.items():
        with pytest.raises(StoreError, match=message):
            merge("all.h5", paths)
    assert not list(tmp_path.glob("all.h5*h5"))
    assert not list(tmp_path.glob("*.new"))
    with pytest.raises(ParameterError, match="at least one store"):
        merge("all.h5", [])


def test_diff_of_equal_stores(make_store: MakeStore, tmp_path: Path) -> None:
    a = make_store("a.h5", LABELS)
    store = FeatureStore(a)
    b = empty_like(store, tmp_path / "b.h5", [5, 4, 3, 2, 1, 0], command="another")
    with StoreWriter(b) as writer:
        copy_rows(store, range(6), writer, [5, 4, 3, 2, 1, 0])
    assert store.fingerprint != FeatureStore(b).fingerprint  # the order
    result = call("diff", a, b)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "1 provenance field differs without affecting the features",
        "  command: None in A, 'another' in B",
        "the stores hold the same",
    ]


def test_diff_names_what_differs(make_store: MakeStore) -> None:
    labels = ["x", "y", "x", "y", "x"]
    a = make_store("a.h5", labels, splits=["train"] * 5)
    digests = [f"{i:064x}" for i in range(4)] + ["f" * 64]
    b = make_store(
        "b.h5",
        [*labels, "z"],
        sha256s=[*digests, "e" * 64],
        groups=["g"] + [""] * 5,
        splits=["train"] * 6,
        failed=1,
    )
    found = difference(FeatureStore(a), FeatureStore(b)).differences
    assert found == {
        "rows only in B": ["z/5.png"],
        "rows whose file changed": ["x/4.png"],
        "rows with other groups": ["x/0.png: '' in A, 'g' in B"],
        "rows with other features": [
            f"{labels[i]}/{i}.png: {name}"
            for name in ("block3_pool", "block5_pool")
            for i in range(4)
        ],
    }
    other = make_store(
        "c.h5", labels, splits=["test", *["train"] * 4], pending=1, provenance={"resize": "nearest"}
    )
    found = difference(FeatureStore(other), FeatureStore(a)).differences
    assert found == {
        "provenance differs": ["resize: 'nearest' in A, 'bilinear' in B"],
        "rows with other splits": ["x/0.png: 'test' in A, 'train' in B"],
        "rows with other status": ["x/4.png: 'pending' in A, 'done' in B"],
    }


def test_diff_of_many_rows_is_short(make_store: MakeStore) -> None:
    a, b = make_store("a.h5", ["x"] * 50), make_store("b.h5", ["y"] * 30)
    result = call("diff", a, b)
    assert result.exit_code == 1
    assert result.stdout.splitlines()[0] == "rows only in A: 50"
    assert "  and 30 more" in result.stdout
    assert len(result.stdout.splitlines()) == 1 + 21 + 1 + 21 + 1
    assert result.stdout.splitlines()[-1] == "the stores differ"


def test_every_mistake_is_told_in_one_line(make_store: MakeStore, tmp_path: Path) -> None:
    good = make_store("good.h5", LABELS)
    empty = make_store("empty.h5", LABELS, pending=6)
    export(FeatureStore(good), "archive.h5")
    Path("there.npz").write_text("precious")
    Path("text.h5").write_text("no store")
    Path("folder.npz").mkdir()
    for arguments, code, message in [
        (["export"], 2, "Missing argument"),
        (["info", "none.h5"], 1, "none.h5: no such file"),
        (["info", "archive.h5"], 1, "archive.h5: an archive, not a working store"),
        (["verify", "text.h5"], 1, "text.h5: not a feature store"),
        (
            ["export", good, "a.csv"],
            2,
            "a.csv: give a format, npz, parquet, archive, or end it in .npz",
        ),
        (["export", good, "there.npz"], 2, "there.npz: exists already"),
        (
            ["export", good, "folder.npz", "--overwrite"],
            2,
            "folder.npz: exists and is not a regular file",
        ),
        (
            ["export", good, good, "--overwrite"],
            2,
            "good.h5: is a feature store, which is never overwritten",
        ),
        (
            ["export", good, "a.npz", "--layer", "block9"],
            2,
            "no layer 'block9'; it has block3_pool, block5_pool",
        ),
        (
            ["export", good, "a.h5", "--pooling", "avg"],
            2,
            "an archive keeps all layers unpooled",
        ),
        (
            ["export", good, "nowhere/a.npz"],
            1,
            "nowhere/a.npz: cannot be written .No such file or directory",
        ),
        (
            ["export", good, "nowhere/a.h5"],
            1,
            "nowhere/a.h5: cannot be written .No such file or directory",
        ),
        (["export", empty, "a.npz"], 1, "empty.h5: no row is done"),
        (["restore", good, "a.h5"], 1, "good.h5: not an archive of a feature store"),
        (["restore", "archive.h5", good], 2, "good.h5: exists already"),
        (["merge", "a.h5"], 2, "Missing argument 'STORE...'"),
        (["merge", "a.h5", good, "text.h5"], 1, "text.h5: not a feature store"),
        (["diff", good, "none.h5"], 1, "none.h5: no such file"),
    ]:
        result = call(*arguments)
        assert (arguments, result.exit_code) == (arguments, code)
        last = result.stderr.splitlines()[-1]
        assert last.startswith("error: "), arguments
        assert re.search(message, last), last
        assert "Traceback" not in result.output
    assert Path("there.npz").read_text() == "precious"
    assert not list(tmp_path.glob("*.new"))


def test_too_many_columns_for_parquet_are_refused(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "MOST_COLUMNS", 19)
    with pytest.raises(ParameterError, match="block5_pool flat has 20 features, too many"):
        export(FeatureStore(make_store("a.h5", LABELS)), "a.parquet", pooling="flat")


@pytest.mark.parametrize(("library", "out"), [("pyarrow", "b.parquet"), ("hdf5plugin", "b.h5")])
def test_a_missing_library_names_its_extra(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch, library: str, out: str
) -> None:
    path = make_store("a.h5", LABELS)
    monkeypatch.setitem(sys.modules, library, None)
    result = call("export", path, out)
    assert result.exit_code == 1
    assert (
        f"needs {library}, which is not installed: pip install 'freezeframe[export]'"
        in result.stderr
    )
    assert not Path(out).exists()


def test_a_store_whose_names_hdf5_cannot_keep_is_told(make_store: MakeStore) -> None:
    """A store is read without HDF5, so it may hold what HDF5 does not take."""
    from .test_store import forge

    path = make_store("a.h5", LABELS)
    forge(path, lambda index: index["provenance"].__setitem__("source", "a\0b"))
    for command in (["export", path, "b.h5"], ["merge", "b.h5", path]):
        result = call(*command)
        assert result.exit_code == 1
        assert re.match(r"error: .*a\.h5: cannot be (archived|merged) \(", result.stderr), (
            result.stderr
        )


@pytest.mark.skipif(os.name != "posix", reason="a limit on the size of files")
def test_a_full_disk_is_told(make_store: MakeStore, tmp_path: Path) -> None:
    """Through HDF5 alone it would end some of these processes with a segmentation fault."""
    path = make_store("a.h5", LABELS)
    code = (
        "import resource, signal, sys; from freezeframe.__main__ import cli\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))\n"
        "cli(sys.argv[1:])"
    )
    export(FeatureStore(path), "archive.h5")
    for arguments in (
        ["export", path, "b.npz"],
        ["export", path, "b.h5"],
        ["merge", "b.h5", path],
        ["restore", "archive.h5", "b.h5"],
    ):
        command = [sys.executable, "-c", code, "store", *map(str, arguments)]
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == 1, result.stderr
        assert re.fullmatch(
            r"error: \.?b\.\w+(-\w+\.new)?: .*(written|write).*\n", result.stderr
        ), result.stderr
    assert sorted(file.name for file in tmp_path.glob("b.*")) in ([], ["b.h5.lock"])


def test_a_patient_file_holds_what_was_written_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what the disk did not take, until it is asked whether all went well."""

    class Full:
        def __init__(self, file: Any) -> None:
            self.file = file

        def write(self, data: memoryview) -> int:
            if self.file.tell() >= 10:
                raise OSError(28, "No space left on device")
            return int(self.file.write(data[: 10 - self.file.tell()]))

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

    with DeferredErrorFile(tmp_path / "a") as file:
        monkeypatch.setattr(file, "_file", Full(file._file))
        file.check()
        for place, data in ((0, b"abcdef"), (4, b"ghijklmnop"), (20, b"z"), (2, b"xy")):
            file.seek(place)
            assert file.write(data) == len(data)
        file.seek(0)
        assert file.read() == b"abxyghijklmnop\0\0\0\0\0\0z"
        assert file.seek(0, os.SEEK_END) == file.tell() == 21
        with pytest.raises(OSError, match="No space left on device"):
            file.check()
    assert (tmp_path / "a").stat().st_size == 10


def test_what_a_crash_left_does_no_harm(make_store: MakeStore) -> None:
    path = make_store("a.h5", LABELS)
    for out in ("b.npz", "b.h5"):
        Path(f".{out}-0123abcd.new").write_bytes(b"half" * 9999)
        assert call("export", path, out).exit_code == 0
    assert len(list(Path().glob(".b*.new"))) == 2
    restore("b.h5", "c.h5")


def test_as_a_shell_runs_it(make_store: MakeStore) -> None:
    path = make_store("a.h5", LABELS)
    for arguments, code in (
        (["verify", path], 0),
        (["info", path], 0),
        (["export", path, "b.npz"], 0),
        (["export", path, "b.npz"], 2),
        (["diff", path, path], 0),
    ):
        command = [sys.executable, "-m", "freezeframe", "store", *map(str, arguments)]
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == code, result.stderr
        assert "Traceback" not in result.stderr
    with np.load("b.npz", allow_pickle=False) as file:
        np.testing.assert_array_equal(
            file["features"], pool(FeatureStore(path).memmap("block5_pool"), None)
        )


def test_help_loads_no_library() -> None:
    code = (
        "import sys\nfrom freezeframe.__main__ import cli\n"
        "for name in ([], *[[name] for name in ('info', 'verify', 'export', 'restore', 'merge', 'diff')]):\n"
        "    try: cli(['store', *name, '--help'])\n"
        "    except SystemExit as end: assert end.code == 0\n"
        "heavy = ('h5py', 'pandas', 'numpy', 'pyarrow', 'hdf5plugin', 'rich')\n"
        "print('loaded:', [name for name in heavy if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines()[-1] == "loaded: []"
