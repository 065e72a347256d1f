"""Fingerprints of images, near-duplicate groups, and stores of version 1 upgraded to version 2."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageOps

from freezeframe import FeatureStore, FreezeframeError, FrozenFeatures, StoreError
from freezeframe.__main__ import cli
from freezeframe.data import fingerprints
from freezeframe.data.duplicates import pairs as duplicates
from freezeframe.data.fingerprints import fingerprint
from freezeframe.data.formats.image_file import read_image
from freezeframe.data.manifest import Image as Listed
from freezeframe.data.manifest import Manifest, read_manifest
from freezeframe.data.output.slice_choice import SliceChoice
from freezeframe.extract import extraction, report
from freezeframe.extract import near_duplicates as recognising
from freezeframe.extract.extraction import extract_features
from freezeframe.extract.filling import ExtractionProgress, write_behind
from freezeframe.extract.pipeline import Batch, ImageSource
from freezeframe.extract.plan import preflight as checks
from freezeframe.extract.plan import target
from freezeframe.extract.settings import Settings
from freezeframe.extract.workers.process import compute_row
from freezeframe.features import layout
from freezeframe.features.archive.restoration import restore
from freezeframe.features.copies.copying import copy_rows
from freezeframe.features.copies.merge import merge
from freezeframe.features.exports.export import export
from freezeframe.features.index import read_layout
from freezeframe.features.layout import STORE_FORMAT_VERSION
from freezeframe.features.new_store import create_store
from freezeframe.features.writer import StoreWriter

from ..conftest import PROVENANCE, MakeStore
from .stores import as_version, columns

GOLDEN = Path(__file__).parents[1] / "golden"
KERAS = Settings(
    layers=("block1_pool",), weights="random", batch_size=4, dtype="float16", engine="keras"
)
MNN = Settings(layers=("block1_pool",), weights="random", dtype="float16", engine="mnn")
PIXELS = Settings(layers=("pixels",), backbone="pixels-16")
"""Settings of tests in which it does not matter how features are computed."""

OPTIONS = ["--backbone", "pixels-16", "--layer", "pixels"]


@pytest.fixture
def scans(folder: Path) -> Path:
    """Add to the noise images: a picture in three variants, a broken file, a copy as BMP."""
    y, x = np.mgrid[:90, :120]
    spots = 120 + 60 * np.sin(x / 9) * np.cos(y / 7) + (x > 70) * 50
    picture = Image.fromarray(spots.clip(0, 255).astype(np.uint8))
    picture.save(folder / "tumour" / "picture.png")
    picture.save(folder / "tumour" / "again.jpg", quality=70)
    ImageOps.mirror(picture).save(folder / "healthy" / "mirrored.png")
    Image.open(folder / "tumour" / "04.png").save(folder / "healthy" / "as.bmp")
    (folder / "healthy" / "broken.png").write_bytes(b"")
    return folder


def no_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every computation of features fail, as if the libraries had changed too."""
    monkeypatch.setattr(extraction, "load_weights", None)
    monkeypatch.setattr(target, "load_weights", None)
    monkeypatch.setattr(extraction, "fill", None)
    monkeypatch.setattr(checks, "versions", lambda settings: {"version_pillow": "99"})


def no_comparing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "duplicate_groups", None)


def groups(store: FeatureStore) -> list[int]:
    """Compute the numbers of groups that a store should have."""
    rows, numbers = store.rows(), np.zeros(len(store), int)
    numbers_of_groups = duplicates.duplicate_groups(
        store.sha256s[rows].tolist(), store.pixels[rows].tolist(), store.thumbnails(rows)
    )
    numbers[rows] = numbers_of_groups + 1
    return numbers.tolist()


def test_a_thumbnail_is_as_large_as_the_images_room_makes_it() -> None:
    assert layout.THUMBNAIL_SIDE == fingerprints.THUMBNAIL


@pytest.mark.parametrize("settings", [KERAS, MNN], ids=["keras", "mnn"])
def test_fingerprints_and_groups_are_those_of_the_files(
    scans: Path, tmp_path: Path, settings: Settings
) -> None:
    store = extract_features(read_manifest(scans), tmp_path / "a.h5", settings).store
    assert store.format_version == STORE_FORMAT_VERSION
    assert store.fingerprinted
    broken = store.paths.tolist().index("healthy/broken.png")
    for row, path in enumerate(store.paths):
        if row == broken:
            assert (store.pixels[row], store.duplicates[row]) == ("", 0)
            continue
        expected = fingerprint(read_image(scans / path))
        assert store.pixels[row] == expected.pixels
        np.testing.assert_array_equal(store.thumbnails([row])[0], expected.thumbnail)
    assert store.duplicates.tolist() == groups(store)
    number = dict(zip(store.paths.tolist(), store.duplicates.tolist(), strict=True))
    assert (
        number["healthy/mirrored.png"] == number["tumour/picture.png"] == number["tumour/again.jpg"]
    )
    assert number["healthy/as.bmp"] == number["tumour/04.png"]
    assert number["tumour/10.png"] == number["tumour/11.png"] != number["tumour/04.png"]
    assert store.pictures == max(number.values()) < 28
    frame = store.frame()
    assert frame.pixels.tolist() == store.pixels.tolist()
    assert frame.duplicates.tolist() == store.duplicates.tolist()


def test_a_worker_writes_the_fingerprint_before_it_answers(
    scans: Path, tmp_path: Path, make_store: MakeStore
) -> None:
    """This holds also for a row that is not computed because its pixels were seen before."""
    path, image = make_store("a.h5", ["x", "y"], pending=1), scans / "tumour" / "picture.png"
    with StoreWriter(path) as writer:
        engine = SimpleNamespace(input_size=(224, 224))
        answers = compute_row(ImageSource(1, image), engine, writer, "bilinear", iter(()))  # type: ignore[arg-type]
        next(answers)
        with h5py.File(path) as file:
            assert file["rows/pixels"][1].decode() == fingerprint(read_image(image)).pixels
            np.testing.assert_array_equal(
                file["rows/thumbnail"][1], fingerprint(read_image(image)).thumbnail
            )
    # In a row that is not done they may be half written.
    assert FeatureStore(path).pixels.tolist() == ["", ""]


def test_fingerprints_are_on_the_disk_before_a_row_is_marked_as_done(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, events = tmp_path / "a.h5", list[str]()
    create_store(path, columns(2), {"l": (1, 1, 2)}, PROVENANCE)
    expected = fingerprint(read_image(scans / "tumour" / "picture.png"))
    features = {"l": np.ones((1, 1, 1, 2), np.float32)}
    batch = Batch(
        rows=[0],
        sizes=[(1, 2)],
        features=features,
        same=[(1, 0, (1, 2))],
        fingerprints={0: expected, 1: expected},
    )
    with StoreWriter(path) as writer:
        places = {extent.offset: name for name, extent in writer.layout.datasets.items()}
        put, sync = writer._put, os.fsync
        monkeypatch.setattr(
            writer,
            "_put",
            lambda at, row, data: (events.append(f"{places[at.offset]} {row}"), put(at, row, data))[
                1
            ],
        )
        monkeypatch.setattr(os, "fsync", lambda handle: (events.append("flush"), sync(handle))[1])
        write_behind(writer, (item for item in [batch]), ExtractionProgress(2), None)
    for row in (0, 1):
        done = events.index(f"rows/status_checksum {row}")
        assert "flush" in events[events.index(f"rows/pixels {row}") : done]
        assert "flush" in events[events.index(f"rows/thumbnail {row}") : done]
    assert FeatureStore(path).pixels.tolist() == [expected.pixels] * 2


def test_late_fingerprints_and_groups_are_written_so_that_a_torn_write_is_seen(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, events = make_store("a.h5", ["x", "y"]), list[str]()
    with StoreWriter(path) as writer:
        places = {extent.offset: name for name, extent in writer.layout.datasets.items()}
        put, sync = writer._write_at, os.fsync
        monkeypatch.setattr(
            writer,
            "_write_at",
            lambda at, data: (events.append(f"{places[at]} {any(data)}"), put(at, data))[1],
        )
        monkeypatch.setattr(os, "fsync", lambda handle: (events.append("flush"), sync(handle))[1])
        writer.put_late_fingerprints({0: ("f" * 64, np.ones((64, 64), np.uint8))})
        writer.put_duplicates(np.array([1, 0]))
        with pytest.raises(FreezeframeError, match="must have shape"):
            writer.put_duplicates(np.array([1]))
    checksums = "rows/duplicates_checksum"
    assert events[:-1] == [
        *("rows/fingerprint_checksum True", "flush", "rows/thumbnail True", "rows/pixels True"),
        *("flush", "rows/fingerprint_checksum True"),
        *(f"{checksums} True", "flush", "rows/duplicates True", "flush"),
        *(f"{checksums} True", "flush"),
    ]
    assert FeatureStore(path).pixels.tolist() == ["f" * 64, ""]
    assert not FeatureStore(path).fingerprinted


_HANGS = """
import sys, time
from freezeframe.data.duplicates import pairs as duplicates
from freezeframe.data.manifest import read_manifest
from freezeframe.extract.extraction import extract_features
from freezeframe.extract.settings import Settings
def hang(*_, **__): print("compares", flush=True); time.sleep(100)
duplicates.duplicate_groups = hang
settings = Settings(layers=("pixels",), backbone="pixels-16")
extract_features(read_manifest(sys.argv[1]), sys.argv[2], settings)
"""


def test_killed_between_the_last_row_and_the_groups(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _HANGS, scans, tmp_path / "a.h5"], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"compares\n"
    process.kill()
    process.wait()
    store = FeatureStore(tmp_path / "a.h5")
    assert (store.complete, store.fingerprinted, store.pictures) == (True, False, None)
    no_backbone(monkeypatch)
    done = extract_features(read_manifest(scans), tmp_path / "a.h5", PIXELS)
    assert (done.computed, done.reused, done.unrecognised) == (0, 0, [])
    assert done.store.fingerprinted
    assert done.store.duplicates.tolist() == groups(done.store)
    assert done.store.fingerprint == store.fingerprint


def test_groups_are_looked_for_again_only_when_something_changed(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.h5"
    before = extract_features(read_manifest(scans), path, PIXELS).store.duplicates.tolist()
    with monkeypatch.context() as patch:
        no_backbone(patch)
        no_comparing(patch)
        whole = path.read_bytes()
        assert extract_features(read_manifest(scans), path, PIXELS).store.fingerprinted
        assert path.read_bytes() == whole
    # A damaged number is computed again.
    with h5py.File(path, "r+") as file:
        file["rows/duplicates"][5] = 0
    assert extract_features(read_manifest(scans), path, PIXELS).store.duplicates.tolist() == before
    (scans / "healthy" / "mirrored.png").rename(scans / "healthy" / "00 first.png")
    steps: list[str] = []
    done = extract_features(
        read_manifest(scans), path, PIXELS, afterwards=lambda step, *_: steps.append(step)
    )
    # The broken file is read again.
    assert (done.computed, done.reused) == (1, 28)
    assert done.store.duplicates.tolist() == groups(done.store) != before
    assert set(steps) == {"comparing images"}


def test_a_finished_store_of_version_1_is_brought_to_todays_version_without_computing(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.h5"
    new = extract_features(read_manifest(scans), path, PIXELS).store
    expected = {name: getattr(new, name).tolist() for name in ("pixels", "duplicates", "widths")}
    old = FeatureStore(as_version(path, 1))
    assert (old.format_version, old.fingerprint) == (1, new.fingerprint)
    assert (set(old.pixels), set(old.duplicates), old.fingerprinted, old.pictures) == (
        {""},
        {0},
        False,
        None,
    )
    with pytest.raises(
        StoreError, match=r"has no thumbnail of healthy/00\.png; run extract-features again"
    ):
        old.thumbnails([0])
    with pytest.raises(StoreError, match="format version 1 can only be read"):
        StoreWriter(path)
    no_backbone(monkeypatch)
    (tmp_path / ".a.h5.next").write_bytes(b"what a run that was killed left")
    done = extract_features(read_manifest(scans), path, PIXELS)
    assert (done.computed, done.reused) == (0, 29)
    assert done.store.format_version == STORE_FORMAT_VERSION
    assert done.store.provenance == old.provenance | {"group_source": ""}
    assert done.store.fingerprint == old.fingerprint
    assert done.store.verify() == []
    assert done.failed == [("healthy/broken.png", "the file is empty")]
    for name, values in expected.items():
        assert getattr(done.store, name).tolist() == values, name
    for name in ("heights", "status", "reasons"):
        assert getattr(done.store, name).tolist() == getattr(new, name).tolist(), name
    np.testing.assert_array_equal(
        done.store.thumbnails(done.store.rows()), groups_thumbnails(scans, done.store)
    )
    assert [file.name for file in tmp_path.glob(".a.h5*")] == []


def test_a_finished_store_of_version_1_stays_one_where_there_is_no_room(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.h5"
    extract_features(read_manifest(scans), path, PIXELS)
    as_version(path, 1)
    whole = path.read_bytes()
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("usage", (), {"free": 10**5}))
    done = extract_features(read_manifest(scans), path, PIXELS)
    assert (done.computed, done.reused, done.store.format_version) == (0, 0, 1)
    assert done.outdated > 0
    assert done.failed == [("healthy/broken.png", "the file is empty")]
    assert path.read_bytes() == whole
    (line,) = report.picture_lines(done)
    assert "only byte-identical copies are recognised; rewriting it needs" in line


def groups_thumbnails(scans: Path, store: FeatureStore) -> np.ndarray:
    return np.stack(
        [fingerprint(read_image(scans / store.paths[row])).thumbnail for row in store.rows()]
    )


def test_a_store_of_version_1_with_damaged_rows_is_not_mixed_with_other_libraries(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.h5"
    new = extract_features(read_manifest(scans), path, PIXELS).store
    fingerprint_before = new.fingerprint
    duplicates_before = new.duplicates.tolist()
    as_version(path, 1)
    with h5py.File(path, "r+") as file:
        file["layers/pixels"][3, 5, 5] = 1
    old = path.read_bytes()
    with monkeypatch.context() as patch:
        no_backbone(patch)
        with pytest.raises(
            StoreError, match=r"a\.h5: made with version_pillow '.*', asked for '99'"
        ):
            extract_features(read_manifest(scans), path, PIXELS)
    assert path.read_bytes() == old
    done = extract_features(read_manifest(scans), path, PIXELS)
    assert (done.computed, done.reused) == (1, 28)
    assert done.store.fingerprint == fingerprint_before
    assert done.store.duplicates.tolist() == duplicates_before


def _stop(progress: ExtractionProgress) -> None:
    raise KeyboardInterrupt


@pytest.mark.usefixtures("small_vgg16")
def test_a_store_of_version_1_that_was_not_finished_is_finished_in_todays_version(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.h5"
    with pytest.raises(KeyboardInterrupt):
        extract_features(read_manifest(scans), path, KERAS, progress=_stop)
    finished = len(FeatureStore(as_version(path, 1)).rows())
    with monkeypatch.context() as patch:
        no_backbone(patch)
        with pytest.raises(StoreError, match="made with version_pillow"):
            extract_features(read_manifest(scans), path, KERAS)
    # Rows that are computed before a second stop are not computed again.
    with pytest.raises(KeyboardInterrupt):
        extract_features(read_manifest(scans), path, KERAS, progress=_stop)
    assert FeatureStore(path).format_version == 1
    begun = len(FeatureStore(tmp_path / ".a.h5.next").rows())
    assert 0 < finished <= begun
    done = extract_features(read_manifest(scans), path, KERAS)
    assert done.computed <= 29 - begun
    whole = extract_features(read_manifest(scans), tmp_path / "whole.h5", KERAS).store
    assert done.store.format_version == STORE_FORMAT_VERSION
    assert done.store.fingerprint == whole.fingerprint
    assert done.store.duplicates.tolist() == whole.duplicates.tolist()


def test_other_images_take_their_rows_from_a_store_of_version_1(
    scans: Path, tmp_path: Path
) -> None:
    path = tmp_path / "a.h5"
    extract_features(read_manifest(scans), path, PIXELS)
    as_version(path, 1)
    (scans / "tumour" / "00.png").unlink()
    done = extract_features(read_manifest(scans), path, PIXELS)
    assert (done.computed, done.reused) == (1, 27)
    assert done.store.format_version == STORE_FORMAT_VERSION
    assert done.store.fingerprinted
    as_version(path, 1)
    reused = extract_features(read_manifest(scans), tmp_path / "b.h5", PIXELS, reuse=[path])
    assert reused.reused == 27
    assert reused.store.pixels.tolist() == done.store.pixels.tolist()


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_kill_at_any_instant_leaves_the_old_store_or_the_new(scans: Path, tmp_path: Path) -> None:
    path, chance = tmp_path / "a.h5", random.Random(0)
    extract_features(read_manifest(scans), path, PIXELS)
    old = as_version(path, 1).read_bytes()
    fingerprint_before = FeatureStore(path).fingerprint
    code = _HANGS.replace("duplicates.duplicate_groups = hang", 'print("go", flush=True)')
    seen = set()
    for _ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", code, scans, path], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(chance.uniform(0, 0.6))
        process.kill()
        process.wait()
        store = FeatureStore(path)
        assert store.complete
        assert store.fingerprint == fingerprint_before
        assert store.format_version == STORE_FORMAT_VERSION or path.read_bytes() == old
        seen.add(store.format_version)
    assert extract_features(read_manifest(scans), path, PIXELS).store.fingerprinted
    assert [file.name for file in tmp_path.glob(".a.h5*")] == []


def lose(patch: pytest.MonkeyPatch, name: str) -> None:
    """Make a file unreadable when it is read for the second time."""
    read = recognising.decode_source

    def fail(source: ImageSource) -> Any:
        if source.path.name == name:
            raise FileNotFoundError(2, "No such file or directory")
        return read(source)

    patch.setattr(recognising, "decode_source", fail)


def test_a_file_that_cannot_be_read_again_is_reported_and_read_by_the_next_run(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, manifest = tmp_path / "a.h5", read_manifest(scans)
    command = ["extract-features", str(scans), "--output", str(path), *OPTIONS]
    first = CliRunner().invoke(cli, command, prog_name="freezeframe")
    line = (
        "28 images are 24 different pictures: "
        "copies, also saved again, cropped, mirrored or turned, count once"
    )
    assert f"{line} (freezeframe audit shows them)\n" in first.stderr
    as_version(path, 1)
    with monkeypatch.context() as patch:
        lose(patch, "picture.png")
        again = CliRunner().invoke(cli, command, prog_name="freezeframe")
        # The next run has nothing new to compare.
        no_comparing(patch)
        assert len(extract_features(manifest, path, PIXELS).unrecognised) == 1
    assert again.exit_code == 0
    assert (
        "1 image could not be read again, first tumour/picture.png: "
        "cannot be read (No such file or directory); copies of them are not recognised; "
        "put the files back, then run the same command again\n"
    ) in again.stderr
    assert "different pictures" not in again.stderr
    store = FeatureStore(path)
    row = store.paths.tolist().index("tumour/picture.png")
    assert (store.complete, store.fingerprinted, store.pictures) == (True, False, None)
    assert (store.pixels[row], store.duplicates[row]) == ("", 0)
    assert (store.duplicates[np.setdiff1d(store.rows(), [row])] > 0).all()
    with pytest.raises(StoreError, match=r"has no thumbnail of tumour/picture\.png"):
        store.thumbnails(store.rows())
    done = extract_features(manifest, path, PIXELS)
    assert (done.unrecognised, done.store.fingerprinted, done.store.pictures) == ([], True, 24)


def test_a_file_that_changed_gets_no_fingerprint(scans: Path, tmp_path: Path) -> None:
    path, manifest = tmp_path / "a.h5", read_manifest(scans)
    extract_features(manifest, path, PIXELS)
    as_version(path, 1)
    Image.new("RGB", (9, 9)).save(scans / "tumour" / "03.png")
    done = extract_features(manifest, path, PIXELS)
    assert done.unrecognised == [("tumour/03.png", "changed since it was listed")]


def fingerprinted(make_store: MakeStore, name: str, labels: list[str], **options: Any) -> Path:
    """Make a store with made-up fingerprints of all its done rows."""
    path, rng = make_store(name, labels, **options), np.random.default_rng(len(labels))
    rows = FeatureStore(path).rows()
    with StoreWriter(path) as writer:
        thumbnails = rng.integers(0, 256, (len(labels), 64, 64)).astype(np.uint8)
        writer.put_late_fingerprints({int(row): (f"{row:064x}", thumbnails[row]) for row in rows})
        writer.put_duplicates(
            np.where(np.isin(np.arange(len(labels)), rows), 1 + np.arange(len(labels)) // 2, 0)
        )
    return path


def test_fingerprints_are_copied_and_merged_but_groups_are_not(
    make_store: MakeStore, tmp_path: Path
) -> None:
    a = FeatureStore(fingerprinted(make_store, "a.h5", ["x", "y", "x", "y"], failed=1))
    assert (a.fingerprinted, a.pictures, a.duplicates.tolist()) == (True, 2, [1, 1, 2, 0])
    b = FeatureStore(make_store("b.h5", ["p", "q"]))
    merged = merge(tmp_path / "all.h5", [a.path, b.path])
    assert merged.pixels.tolist() == [*a.pixels.tolist(), "", ""]
    np.testing.assert_array_equal(merged.thumbnails([0, 2]), a.thumbnails([0, 2]))
    np.testing.assert_array_equal(merged.thumbnails(merged.pixels != ""), a.thumbnails(a.rows()))
    assert merged.thumbnails([]).shape == (0, 64, 64)
    # The groups of one store do not cover the images of the other.
    assert merged.duplicates.tolist() == [0] * 6
    assert not merged.fingerprinted
    for rows in ([3], [0, 4], [5]):
        with pytest.raises(StoreError, match=r"not done|has no thumbnail of [pq]/"):
            merged.thumbnails(rows)


def test_copying_clears_a_fingerprint_that_was_begun(make_store: MakeStore) -> None:
    source = FeatureStore(make_store("a.h5", ["x", "y"]))
    path = make_store("b.h5", ["x", "y"], pending=2)
    with StoreWriter(path) as writer:
        writer.put_fingerprint(0, "f" * 64, np.zeros((64, 64), np.uint8))
    with StoreWriter(path) as writer:
        copy_rows(source, [0, 1], writer, [0, 1])
    assert FeatureStore(path).pixels.tolist() == ["", ""]


def test_info_shows_the_number_of_pictures(make_store: MakeStore) -> None:
    for path, number, text in (
        (
            fingerprinted(make_store, "a.h5", ["x", "y", "x"]),
            2,
            "2 different ones, near-duplicates counted once",
        ),
        (make_store("b.h5", ["x", "y"]), None, "unknown; extract-features"),
        (GOLDEN / "store-v1.h5", None, "unknown; extract-features"),
    ):
        result = CliRunner().invoke(cli, ["store", "info", str(path), "--json"])
        assert json.loads(result.stdout)["pictures"] == number
        assert json.loads(result.stdout)["format_version"] == (
            1 if path.parent == GOLDEN else STORE_FORMAT_VERSION
        )
        assert text in CliRunner().invoke(cli, ["store", "info", str(path)]).stdout


@pytest.mark.parametrize("version", [1, 2, 3])
def test_archives_are_restored_byte_for_byte(
    make_store: MakeStore, tmp_path: Path, version: int
) -> None:
    path = fingerprinted(make_store, "a.h5", ["x", "y", "x", "y"], failed=1, pending=1)
    if version < STORE_FORMAT_VERSION:
        as_version(path, version)
    export(FeatureStore(path), tmp_path / "archive.h5")
    restored = restore(tmp_path / "archive.h5", tmp_path / "b.h5")
    assert restored.path.read_bytes() == path.read_bytes()
    assert restored.format_version == version
    with h5py.File(tmp_path / "archive.h5") as file:
        assert "thumbnail" not in file["rows"]
        assert ("pixels" in file["rows"]) == (version >= 2)


def test_a_damaged_thumbnail_in_an_archive_is_noticed(
    make_store: MakeStore, tmp_path: Path
) -> None:
    path = fingerprinted(make_store, "a.h5", ["x", "y"])
    export(FeatureStore(path), tmp_path / "archive.h5")
    data, thumbnail = (
        (tmp_path / "archive.h5").read_bytes(),
        FeatureStore(path).thumbnails([1]).tobytes(),
    )
    assert data.count(thumbnail) == 1
    at = data.index(thumbnail) + 99
    (tmp_path / "archive.h5").write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    with pytest.raises(StoreError, match="its contents are not of the archived store"):
        restore(tmp_path / "archive.h5", tmp_path / "b.h5")


def test_a_store_that_gets_fingerprints_meanwhile_is_not_archived(
    make_store: MakeStore, tmp_path: Path
) -> None:
    path = make_store("a.h5", ["x", "y"])

    def meanwhile(finished: int, total: int) -> None:
        if finished == total:
            with StoreWriter(path) as writer:
                writer.put_late_fingerprints({1: ("f" * 64, np.zeros((64, 64), np.uint8))})

    with pytest.raises(
        StoreError, match="another process changed it during archiving; archive it again"
    ):
        export(FeatureStore(path), tmp_path / "b.h5", progress=meanwhile)


@pytest.mark.skipif(
    sys.platform == "win32", reason="file systems there do not make sparse files by themselves"
)
def test_thumbnails_take_no_space_before_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    create_store(
        path,
        columns(1000),
        {"l": (7, 7, 512)},
        PROVENANCE,
    )
    assert read_layout(path).rows["thumbnail"].row_bytes == 4096
    assert path.stat().st_blocks * 512 < 1e6


def test_the_cache_of_frozen_features_compares_no_images(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_comparing(monkeypatch)
    files = [scans / "tumour" / name for name in ("picture.png", "again.jpg", "00.png")]
    frozen = FrozenFeatures(
        layer="block1_pool", weights="random", engine="mnn", store=tmp_path / "cache.h5"
    )
    first = frozen.transform(files)
    store = FeatureStore(tmp_path / "cache.h5")
    assert "" not in store.pixels
    assert set(store.duplicates) == {0}
    more = frozen.transform(
        [*files, *(scans / "tumour" / f"0{number}.png" for number in range(1, 6))]
    )
    np.testing.assert_array_equal(more[:3], first)
    assert "" not in FeatureStore(tmp_path / "cache.h5").pixels


@pytest.mark.parametrize(
    ("option", "value"),
    [("group_column", "patient"), ("group_regex", r"patient-(\d+)")],
    ids=["column", "regex"],
)
def test_options_that_name_the_patient_are_passed_on(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, value: str
) -> None:
    arguments: dict[str, Any] = {}

    def read(source: Path, **options: Any) -> None:
        arguments.update(options)
        raise FreezeframeError("enough")

    monkeypatch.setattr("freezeframe.data.manifest.read_manifest", read)
    command = ["extract-features", str(scans), f"--{option.replace('_', '-')}", value]
    assert CliRunner().invoke(cli, command).exit_code == 1
    assert arguments.pop("read_patients") is True
    assert arguments.pop("choice") == SliceChoice()
    assert {name: setting for name, setting in arguments.items() if setting is not None} == {
        option: value
    }


def test_golden_store_of_version_2() -> None:
    store = FeatureStore(GOLDEN / "store-v2.h5")
    assert store.format_version == 2
    assert store.paths.tolist()[3:] == ["none/2.jpg", "lesion/turned.png", "none/3.png"]
    assert store.status.tolist() == [1, 1, 2, 0, 1, 1]
    assert store.reasons[2] == "the file is empty"
    assert (store.widths[4], store.heights[4]) == (181, 217)
    assert store.pixels.tolist() == [
        hashlib.sha256(str(row).encode()).hexdigest() if row in (0, 1, 4) else ""
        for row in range(6)
    ]
    assert store.duplicates.tolist() == [1, 2, 0, 0, 1, 0]
    # Some files could not be read again.
    assert not store.fingerprinted
    y, x = np.mgrid[:64, :64]
    picture = ((3 * y + x) % 256).astype(np.uint8)
    np.testing.assert_array_equal(store.thumbnails([0, 4]), [picture, picture[::-1]])
    assert store.features("block5_pool").sum() == np.arange(40).sum()
    assert store.verify() == []
    assert store.fingerprint == "6f9af5268ffe5a1bd372a5f2b4f13414b8ccc0e26f5209c8e5ae3a4781ab9a1a"


def test_the_golden_store_of_version_1_is_brought_to_todays_version(tmp_path: Path) -> None:
    old, path = FeatureStore(GOLDEN / "store-v1.h5"), tmp_path / "a.h5"
    columns = old.identity()
    assert not any(columns.pop("group_scope"))
    images = tuple(Listed(*texts) for texts in zip(*columns.values(), strict=True))
    manifest = Manifest(tmp_path, tmp_path, images)
    assert target.upgrade_store(old, path, manifest) == 3
    new = FeatureStore(path)
    assert (new.format_version, new.layers) == (STORE_FORMAT_VERSION, old.layers)
    assert new.provenance == old.provenance | {"group_source": ""}
    assert new.fingerprint == old.fingerprint
    assert new.status.tolist() == [1, 1, 2, 0]
    assert new.verify() == []
    np.testing.assert_array_equal(new.features("block3_pool"), old.features("block3_pool"))
