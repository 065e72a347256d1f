"""Compressed archives, and stores restored from them."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from freezeframe import FeatureStore, StoreError
from freezeframe.data.output.capacity import FREE_BYTES
from freezeframe.features.archive.compression import Decoder, compression
from freezeframe.features.archive.restoration import restore
from freezeframe.features.exports.export import export
from freezeframe.features.layout import Extent
from freezeframe.features.new_store import create_store
from freezeframe.features.store_lock import store_lock
from freezeframe.features.writer import StoreWriter

from ..conftest import PROVENANCE, MakeStore
from .stores import LABELS, Edit, call, columns, forge


def test_an_archive_that_does_not_fit_on_the_disk_is_not_restored(
    make_store: MakeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An archive of equal rows is thousands of times smaller than its store."""
    assert call("export", make_store("a.h5", LABELS, pending=2), "b.h5").exit_code == 0
    # Four rows of 4 x 4 x 3 and 2 x 2 x 5 values of 4 bytes.
    n_bytes = 4 * (48 + 20) * 4
    free = {"free": n_bytes + FREE_BYTES - 1}
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(**free))
    result = call("restore", "b.h5", "c.h5")
    assert result.exit_code == 1
    assert result.stderr == (
        "error: c.h5: its features need 1.1 kB, 67.1 MB are free here; "
        "make room, or choose another output path\n"
    )
    assert {path.name for path in tmp_path.iterdir()} >= {"a.h5", "b.h5"}
    assert not list(tmp_path.glob("*c.h5*.new"))
    free["free"] += 1
    assert call("restore", "b.h5", "c.h5").exit_code == 0


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_an_archive_is_restored_byte_for_byte(
    make_store: MakeStore, tmp_path: Path, dtype: str
) -> None:
    path = make_store("a.h5", LABELS, pending=1, failed=1, provenance={"dtype": dtype})
    assert call("export", path, "b.h5").exit_code == 0
    result = call("restore", "b.h5", "c.h5")
    assert (result.exit_code, result.stdout) == (
        0,
        "c.h5: 4 of 6 images, block3_pool 4 x 4 x 3, block5_pool 2 x 2 x 5\n"
        "1 of 6 rows not computed yet (x/5.png); run extract-features again\n",
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
    """Rows of less than a block (8192 values), of several blocks, and with an uncompressed rest."""
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
            columns(3),
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


def test_a_store_that_is_written_to_is_not_archived(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_store("a.h5", LABELS, pending=1)

    def meanwhile(finished: int, total: int) -> None:
        if finished == total:
            with StoreWriter(path) as writer:
                writer.fail({5: "broken"})

    with pytest.raises(
        StoreError, match="another process changed it during archiving; archive it again"
    ):
        export(FeatureStore(path), "b.h5", progress=meanwhile)
    assert not Path("b.h5").exists()


HOSTILE: dict[str, tuple[Edit, str]] = {
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
        "its contents are not of the archived store",
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
        "damaged: (its contents are not of|truncated)",
    ),
    "a piece beyond": (
        lambda index: index["pieces"].append([2**62, 0]),
        "pieces do not make a store",
    ),
    "no chunks": (
        lambda index: index["chunks"].clear(),
        "its contents are not of the archived store",
    ),
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
        "its contents are not of the archived store",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_archives_are_refused_in_one_line(
    make_store: MakeStore, tmp_path: Path, case: str
) -> None:
    edit, message = HOSTILE[case]
    export(FeatureStore(make_store("a.h5", LABELS)), "b.h5")
    forge(Path("b.h5"), edit)
    result = call("restore", "b.h5", "c.h5")
    assert result.exit_code == 1
    assert re.fullmatch(rf"error: [bc]\.h5: .*({message}).*\n", result.stderr), result.stderr
    assert not Path("c.h5").exists()
    assert not list(tmp_path.glob("*.new"))


def test_files_that_are_not_archives_are_refused(make_store: MakeStore) -> None:
    path = make_store("a.h5", LABELS)
    export(FeatureStore(path), "b.h5")
    whole = Path("b.h5").read_bytes()
    forge(Path("b.h5"), lambda index: None)
    # A forged index without changes is accepted, so the changes below are what is refused.
    restore("b.h5", "ok.h5")
    for content, message in {
        b"": "not an archive of a feature store",
        path.read_bytes(): "not an archive of a feature store",
        whole.replace(
            b"freezeframe-archive 1", b"freezeframe-archive 2"
        ): "archive version 2 is unknown",
        whole[:30]: "its index is not what was written",
        whole[:600]: "truncated",
        whole[: len(whole) // 2]: "truncated; copy the archive again|are not what was written",
        whole.replace(b"file_bytes", b"FILE_bytes"): "its index is not what was written",
    }.items():
        Path("b.h5").write_bytes(content)
        with pytest.raises(StoreError, match=rf"b\.h5: .*({message})"):
            restore("b.h5", "c.h5")
    with pytest.raises(StoreError, match="none: no such file"):
        restore("none", "c.h5")


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.floats(0, 1), byte=st.integers(0, 255), length=st.integers(1, 8))
def test_a_damaged_archive_never_restores_another_store(
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
    """The decompressor trusts the lengths in a chunk; a wrong one makes it leave the chunk."""
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
