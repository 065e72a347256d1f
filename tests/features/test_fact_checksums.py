"""Checksums of what a row holds beside its features: every flipped bit and lost block is seen."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from freezeframe import FeatureStore, StoreError
from freezeframe.__main__ import cli
from freezeframe.data.fingerprints import fingerprint
from freezeframe.data.manifest import read_manifest
from freezeframe.data.output.terminal import counted
from freezeframe.extract.extraction import extract_features
from freezeframe.extract.report import picture_lines
from freezeframe.extract.settings import Settings
from freezeframe.features import writer as writer_module
from freezeframe.features.checksums.facts import FACTS
from freezeframe.features.copies.merge import merge
from freezeframe.features.layout import DONE, FAILED, PENDING, Extent
from freezeframe.features.writer import StoreWriter

from ..conftest import MakeStore
from .stores import GOLDEN, as_version, call

LABELS = ["x", "y"] * 4


@pytest.fixture
def store(make_store: MakeStore) -> Path:
    """Make a store of six different pictures, a near-copy, and a failed row."""
    prints = []
    for seed in (0, 1, 2, 3, 4, 5, 5, 6):
        noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        prints.append(fingerprint(np.kron(noise, np.ones((8, 8, 1), np.uint8))))
    return make_store("a.h5", LABELS, fingerprints=prints, failed=1, splits=["train", "test"] * 4)


def flip(path: Path, column: str, row: int) -> None:
    """Change one bit of a row's bytes in a column."""
    extent = FeatureStore(path).layout.rows[column]
    place = extent.row_offset(row)
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("column", "row", "fact"),
    [
        ("pixels", 2, "fingerprint"),
        ("thumbnail", 2, "fingerprint"),
        ("duplicates", 2, "duplicates"),
        ("width", 2, "status"),
        ("height", 2, "status"),
        # Status 3 does not exist.
        ("status", 7, "status"),
        ("reason", 7, "status"),
        ("status_checksum", 2, "status"),
        ("fingerprint_checksum", 2, "fingerprint"),
        ("duplicates_checksum", 2, "duplicates"),
        # Done falls back to pending.
        ("status", 2, "status"),
    ],
)
def test_a_flipped_bit_is_named_and_nothing_is_fitted(
    store: Path, column: str, row: int, fact: str
) -> None:
    name = FeatureStore(store).paths[row]
    flip(store, column, row)
    verified = call("verify", store)
    assert verified.exit_code == 1
    assert verified.stdout.splitlines()[0] == f"damaged: {name}: {fact}"
    commands = [["fit-classifier", store], ["store", "diff", store, store]]
    # An audit compares the thumbnails itself, and needs no groups.
    if fact != "duplicates":
        commands.append(["audit", store])
    for command in commands:
        result = CliRunner().invoke(cli, [*map(str, command)])
        assert result.exit_code == 1
        assert f"damaged: the {fact} of {name} is not what was written" in result.output


@pytest.mark.parametrize(
    ("row", "status"), [(2, FAILED), (2, PENDING), (2, 128), (7, PENDING), (7, DONE)]
)
def test_a_status_that_another_one_was_is_damage(store: Path, row: int, status: int) -> None:
    with h5py.File(store, "r+") as file:
        file["rows/status"][row] = status
    opened = FeatureStore(store)
    name = re.escape(str(opened.paths[row]))
    # A row that was failed has no checksums of layers either.
    assert opened.verify()[0] == (row, "status")
    assert {damaged for damaged, _ in opened.verify()} == {row}
    with pytest.raises(StoreError, match=rf"the status of {name} is not what was written"):
        opened.rows()
    with pytest.raises(StoreError, match=rf"the status of {name} is not what was written"):
        merge(store.with_name("all.h5"), [store])
    assert f"1 row ({opened.paths[row]}); their status" in call("info", store).stdout


def test_an_older_store_with_an_unknown_status_is_refused(store: Path) -> None:
    flip(as_version(store, 2), "status", 7)
    with pytest.raises(StoreError, match="damaged: row 7 has the unknown status 3; extract"):
        FeatureStore(store)


Write = tuple[int, bytes]


@pytest.mark.parametrize("lost", ["later", "one", "others"])
def test_a_crash_at_any_write_leaves_no_damage(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    """After a power cut, any of the writes since the last flush may be on the disk or not."""
    path = make_store("a.h5", ["x", "y", "x"], pending=3)
    epochs: list[list[Write]] = [[]]

    def write(file: io.FileIO, offset: int, data: bytes | memoryview) -> None:
        epochs[-1].append((offset, bytes(data)))

    with monkeypatch.context() as patch, StoreWriter(path) as writer:
        patch.setattr(writer_module, "write_at", write)
        patch.setattr(writer, "flush", lambda: epochs.append([]))
        picture = np.zeros((64, 64), np.uint8)
        writer.put_fingerprint(0, "e" * 64, picture)
        features = {name: np.ones((2, *shape)) for name, shape in FeatureStore(path).layers.items()}
        writer.write([0, 1], features, [(10, 20)] * 2)
        writer.fail({2: "a broken file"})
        writer.put_late_fingerprints({1: ("f" * 64, picture)})
        # Groups may be written twice: the second time, old numbers are on the disk.
        writer.put_duplicates(np.array([1, 1, 0]))
        writer.put_duplicates(np.array([1, 2, 0]))
        patch.undo()
    data = bytearray(path.read_bytes())
    statuses = set()
    for epoch in epochs:
        for number in range(len(epoch)):
            kept = {
                "later": epoch[:number],
                "one": epoch[:number] + epoch[number + 1 :],
                "others": epoch[number : number + 1],
            }[lost]
            path.write_bytes(written(data, kept))
            store = FeatureStore(path)
            assert store.verify() == []
            statuses.add(tuple(store.status.tolist()))
        data = written(data, epoch)
    path.write_bytes(data)
    assert FeatureStore(path).status.tolist() == [DONE, DONE, FAILED]
    assert FeatureStore(path).fingerprinted
    if lost == "later":
        # Some crashes came before, some after the rows were finished.
        assert {(0, 0, 0), (1, 1, 0)} <= statuses


def written(data: bytearray, writes: list[Write]) -> bytearray:
    """Return a copy of a file's bytes after some writes."""
    result = bytearray(data)
    for offset, part in writes:
        result[offset : offset + len(part)] = part
    return result


def test_a_row_that_is_finished_while_a_reader_opens_the_store_is_no_damage(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_store("a.h5", ["x", "y"], pending=2)
    features = {name: np.ones((1, *shape)) for name, shape in FeatureStore(path).layers.items()}
    opened = FeatureStore(path)
    read = Extent.read
    rows = iter((0, 1))

    def read_and_finish(extent: Extent, file: io.FileIO, block: slice | None = None) -> Any:
        values = read(extent, file, block)
        # Another process finishes a row between the reads of two columns.
        if extent.row_bytes in (1, 64) and (row := next(rows, None)) is not None:
            with StoreWriter(path) as writer:
                writer.write([row], features, [(10, 20)])
        return values

    monkeypatch.setattr(Extent, "read", read_and_finish)
    assert opened.damaged_rows("status").tolist() == []
    assert opened.complete is False


@pytest.mark.parametrize("status", [PENDING, FAILED])
def test_extraction_says_which_rows_are_damaged_and_computes_them_again(
    folder: Path, status: int
) -> None:
    command = ["extract-features", str(folder), "--backbone", "pixels-8", "--layer", "pixels"]
    assert CliRunner().invoke(cli, command).exit_code == 0
    sound = FeatureStore("features.h5")
    with h5py.File("features.h5", "r+") as file:
        file["rows/status"][3] = status
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 0, result.output
    assert (
        f"features.h5: damaged: the status of {sound.paths[3]} is not what was written; "
        "1 row will be computed again"
    ) in result.stderr
    assert "1 computed in" in result.stderr
    mended = FeatureStore("features.h5")
    assert mended.verify() == []
    assert mended.complete
    assert mended.fingerprint == sound.fingerprint
    assert "damaged" not in CliRunner().invoke(cli, command).output


@pytest.mark.parametrize(
    ("column", "fact", "mending"),
    [
        ("thumbnail", "fingerprint", "the images of 1 row will be read again"),
        ("pixels", "fingerprint", "the images of 1 row will be read again"),
        ("fingerprint_checksum", "fingerprint", "the images of 1 row will be read again"),
        ("duplicates", "duplicates", "all images will be compared again"),
        ("duplicates_checksum", "duplicates", "all images will be compared again"),
    ],
)
def test_extraction_mends_a_fact_without_computing_a_row(
    folder: Path, column: str, fact: str, mending: str
) -> None:
    command = ["extract-features", str(folder), "--backbone", "pixels-8", "--layer", "pixels"]
    assert CliRunner().invoke(cli, command).exit_code == 0
    sound = Path("features.h5").read_bytes()
    name = FeatureStore("features.h5").paths[3]
    extent = FeatureStore("features.h5").layout.rows[column]
    data = bytearray(sound)
    data[extent.row_offset(3) : extent.row_offset(4)] = bytes(extent.row_bytes)
    Path("features.h5").write_bytes(data)
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 0, result.output
    assert f"damaged: the {fact} of {name} is not what was written; {mending}" in result.stderr
    assert "computed in" not in result.stderr
    assert Path("features.h5").read_bytes() == sound
    assert "; nothing to do" in CliRunner().invoke(cli, command).stderr


def test_a_damaged_fingerprint_of_a_file_that_is_gone(folder: Path) -> None:
    manifest = read_manifest(folder)
    settings = Settings(backbone="pixels-8", layers=("pixels",))
    extract_features(manifest, "features.h5", settings)
    flip(Path("features.h5"), "thumbnail", 3)
    gone = folder / manifest.images[3].path
    gone.rename(folder / "elsewhere")
    done = extract_features(manifest, "features.h5", settings)
    (line,) = picture_lines(done)
    assert line.startswith(f"1 image could not be read again, first {manifest.images[3].path}: ")
    assert line.endswith("; put the files back, then run the same command again")
    assert done.store.verify() == []
    assert (done.store.pixels[3], done.store.duplicates[3]) == ("", 0)
    (folder / "elsewhere").rename(gone)
    assert extract_features(manifest, "features.h5", settings).store.fingerprinted


def test_a_damaged_fingerprint_does_not_hinder_a_changed_list(folder: Path) -> None:
    settings = Settings(backbone="pixels-8", layers=("pixels",))
    extract_features(read_manifest(folder), "features.h5", settings)
    flip(Path("features.h5"), "thumbnail", 3)
    next(folder.glob("*/00.png")).unlink()
    done = extract_features(read_manifest(folder), "features.h5", settings)
    assert (done.computed, done.reused, done.store.verify()) == (1, 22, [])


@pytest.mark.parametrize("column", ["thumbnail", "pixels", "duplicates"])
def test_a_lost_block_is_never_a_clean_score(store: Path, column: str) -> None:
    layout = FeatureStore(store).layout
    extent = layout.rows[column]
    data = bytearray(store.read_bytes())
    start = extent.row_offset(1)
    data[start : start + min(4096, extent.row_bytes)] = bytes(min(4096, extent.row_bytes))
    store.write_bytes(data)
    assert CliRunner().invoke(cli, ["fit-classifier", str(store)]).exit_code == 1


def test_without_checksums_of_the_status_rows_are_pending(store: Path) -> None:
    with h5py.File(store, "r+") as file:
        file["rows/status_checksum"][...] = b""
    opened = FeatureStore(store)
    assert opened.verify() == []
    assert opened.n_done == 0


@pytest.mark.parametrize(
    ("fact", "merged"), [("fingerprint", False), ("duplicates", False), ("fingerprint", True)]
)
def test_a_lost_block_of_checksums_is_named_and_nothing_is_fitted(
    store: Path, fact: str, merged: bool
) -> None:
    if merged:
        store = merge(store.with_name("all.h5"), [store]).path
    with h5py.File(store, "r+") as file:
        file[f"rows/{FACTS[fact]}"][2:5] = b""
    assert FeatureStore(store).verify() == [(row, fact) for row in (2, 3, 4)]
    for command in (["fit-classifier", store], ["store", "diff", store, store]):
        result = CliRunner().invoke(cli, [*map(str, command)])
        assert result.exit_code == 1
        assert f"damaged: the {fact} of x/2.png and 2 more is not what was" in result.output


def test_a_lost_fingerprint_is_missed_by_its_group(store: Path) -> None:
    """Its checksum is lost, too: only the number of the group says that there was one."""
    with h5py.File(store, "r+") as file:
        file["rows/pixels"][2] = b""
        file["rows/fingerprint_checksum"][2] = b""
    assert FeatureStore(store).verify() == [(2, "fingerprint")]


def test_older_stores_are_read_and_say_that_they_cannot_be_checked(store: Path) -> None:
    flip(as_version(store, 2), "duplicates", 2)
    verified = call("verify", store)
    assert verified.exit_code == 0
    assert "format version 2 has checksums of features only" in verified.stdout
    assert FeatureStore(store).rows().tolist() == list(range(7))


def test_damaged_rows_are_not_merged(store: Path) -> None:
    flip(store, "thumbnail", 2)
    with pytest.raises(StoreError, match=r"what it holds of x/2\.png is damaged"):
        merge(store.with_name("all.h5"), [store])


def shorten(path: Path, n_bytes: int) -> None:
    os.truncate(path, n_bytes)


@pytest.mark.parametrize(
    "read",
    [
        lambda store: store.features("block5_pool"),
        lambda store: list(store.select("block5_pool", None, "flat").panels()),
        lambda store: store.thumbnails([0]),
        lambda store: store.verify(),
        lambda store: store.fingerprint,
    ],
)
def test_a_store_that_becomes_shorter_is_an_error_in_one_line(
    store: Path, read: Callable[[FeatureStore], object]
) -> None:
    opened = FeatureStore(store)
    first = min(extent.offset for extent in opened.layout.datasets.values())
    shorten(store, first)
    with pytest.raises(StoreError, match=r"a\.h5: became shorter while it was read"):
        read(opened)


def test_the_golden_store_of_version_3() -> None:
    store = FeatureStore(GOLDEN / "store-v3.h5")
    assert store.format_version == 3
    assert store.verify() == []
    assert store.groups.tolist() == ["g1", "g1", "", "group-1", ""]
    assert store.group_scopes.tolist() == ["common", "common", "", "own", ""]
    assert store.patients.tolist() == ["", "patient-0123456789abcdef", "", "", ""]
    assert store.status.tolist() == [DONE, DONE, FAILED, DONE, 0]
    assert store.duplicates.tolist() == [1, 2, 0, 1, 0]
    assert store.features("block5_pool").sum() == np.arange(30).sum()
    assert store.fingerprint == "1cddb5c0d3898bb0c06d28042cfa63436c7f9f1f93b56b7a0b220f9501fe9ffb"
    assert counted(store.n_done, "row") == "3 rows"


def test_a_writer_binds_facts_to_the_image(store: Path) -> None:
    with h5py.File(store, "r+") as file:
        for name in ("pixels", "thumbnail", "fingerprint_checksum"):
            rows = file[f"rows/{name}"]
            rows[0], rows[1] = rows[1], rows[0]
    with StoreWriter(store) as writer:
        assert writer.pending.tolist() == []
    assert FeatureStore(store).damaged_rows("fingerprint").tolist() == [0, 1]
