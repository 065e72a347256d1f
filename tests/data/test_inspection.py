"""Tests of image facts and of their cache."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from freezeframe import ImageError
from freezeframe.data.fingerprints import Fingerprint, fingerprint
from freezeframe.data.formats import image_file
from freezeframe.data.formats.image_file import read_image
from freezeframe.data.formats.images import image_mode
from freezeframe.data.inspection.cache import (
    BATCH,
    InspectionCache,
    _facts_of_values,
    _values_of_facts,
    cache_path,
)
from freezeframe.data.inspection.facts import ImageFacts
from freezeframe.data.inspection.inspect import inspect_files, inspect_images
from freezeframe.data.manifest import read_manifest


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def files_of(folder: Path) -> list[tuple[Path, str]]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(path, hashlib.sha256(path.read_bytes()).hexdigest()) for path in paths]


def rows_of(results: list[ImageFacts]) -> list[tuple[Any, ...]]:
    """Return comparable values: the facts themselves hold arrays."""
    return [_values_of_facts(facts) for facts in results]


def count_decoding(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Collect the sizes of all files that are decoded from now on."""
    decoded: list[int] = []
    decode = image_file.decode_image

    def count_and_decode(data: bytes, **options: Any) -> Any:
        decoded.append(len(data))
        return decode(data, **options)

    monkeypatch.setattr(image_file, "decode_image", count_and_decode)
    return decoded


@pytest.mark.parametrize(
    ("mode", "ending", "kind"),
    [
        *[(mode, "png", "PNG") for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")],
        *[(mode, "jpg", "JPEG") for mode in ("L", "RGB", "CMYK")],
        *[(mode, "tif", "TIFF") for mode in ("1", "L", "RGB", "RGBA", "I;16", "F")],
        *[("RGB", "bmp", "BMP"), ("RGB", "webp", "WebP"), ("P", "gif", "GIF")],
    ],
)
def test_facts_have_kind_mode_and_size(tmp_path: Path, mode: str, ending: str, kind: str) -> None:
    path = tmp_path / f"scan.{ending}"
    Image.new("RGB", (30, 20), (200, 100, 0)).convert("L" if mode == "I;16" else mode).convert(
        mode
    ).save(path)
    (facts,) = inspect_files([(path, "")])
    assert (facts.kind, facts.mode, facts.reason) == (kind, mode, "")
    assert (facts.height, facts.width) == (20, 30)
    assert facts.n_bytes == path.stat().st_size
    assert image_mode(path.read_bytes()) == mode


def test_a_file_that_is_not_an_image_has_no_mode() -> None:
    for data in (b"", b"text", b"\x89PNG\r\n\x1a\nbroken"):
        with pytest.raises(ImageError):
            image_mode(data)


def test_the_mode_of_dicom_is_its_photometric_interpretation() -> None:
    pydicom_data = pytest.importorskip("pydicom.data")
    path = pydicom_data.get_testdata_file("MR_small.dcm", download=False)
    (facts,) = inspect_files([(path, "")])
    assert (facts.kind, facts.mode, facts.height, facts.width) == ("DICOM", "MONOCHROME2", 64, 64)


def test_brightness_and_contrast_are_mean_and_deviation_of_grey_levels(tmp_path: Path) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (31, 47), dtype=np.uint8)
    Image.fromarray(levels).save(tmp_path / "scan.png")
    (facts,) = inspect_files([(tmp_path / "scan.png", "")])
    assert facts.brightness == pytest.approx(levels.mean())
    assert facts.contrast == pytest.approx(levels.std())
    assert facts.fingerprint is not None
    assert facts.fingerprint.pixels == fingerprint(read_image(tmp_path / "scan.png")).pixels


def test_a_turned_photograph_has_its_size_after_turning(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.new("L", (30, 20)).save(tmp_path / "turned.jpg", exif=exif)
    (facts,) = inspect_files([(tmp_path / "turned.jpg", "")])
    assert (facts.height, facts.width) == (30, 20)


def test_unreadable_files_have_a_reason_and_stop_nothing(tmp_path: Path) -> None:
    buffer = BytesIO()
    Image.new("L", (50, 50)).save(buffer, "PNG")
    (tmp_path / "cut.png").write_bytes(buffer.getvalue()[:60])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "good.png").write_bytes(buffer.getvalue())
    (tmp_path / "text.png").write_text("no image")
    names = ["cut.png", "empty.png", "good.png", "missing.png", "text.png", "."]
    results = inspect_files([(tmp_path / name, "") for name in names])
    reasons = [facts.reason for facts in results]
    assert reasons[:4] == [
        "PNG that is truncated",
        "the file is empty",
        "",
        "No such file or directory",
    ]
    assert reasons[4].startswith("not a JPEG, PNG")
    assert reasons[5] == "is a directory"
    assert [facts.kind for facts in results] == ["PNG", "", "PNG", "", "", ""]
    has_none = [facts.fingerprint is None for facts in results]
    assert has_none == [True, True, False, True, True, True]


def test_each_content_is_decoded_once_from_an_existing_copy(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = read_manifest(folder)
    decoded = count_decoding(monkeypatch)
    # 11.png is its copy.
    (folder / "tumour" / "10.png").unlink()
    progress: list[tuple[int, int]] = []
    results = inspect_images(manifest, progress=lambda *counts: progress.append(counts))
    assert len(decoded) == 23
    assert [facts.reason for facts in results] == [""] * 24
    assert progress[-1] == (24, 24)
    assert progress == sorted(progress)
    paths = [image.path for image in manifest.images]
    assert results[paths.index("tumour/10.png")] is results[paths.index("tumour/11.png")]
    assert [facts.height for facts in results[:12]] == list(range(20, 32))


def test_a_second_inspection_decodes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "tumour" / "cut.png").write_bytes((folder / "tumour" / "03.png").read_bytes()[:99])
    files = files_of(folder)
    first = inspect_files(files)
    decoded = count_decoding(monkeypatch)
    assert rows_of(inspect_files(files)) == rows_of(first)
    assert decoded == []
    assert [facts.reason for facts in first if facts.reason] == ["PNG that is truncated"]
    assert rows_of(inspect_files(files, cache=False)) == rows_of(first)
    assert len(decoded) == 24


def test_no_cache_writes_nothing(folder: Path, tmp_path: Path) -> None:
    inspect_files(files_of(folder), cache=False)
    assert not (tmp_path / "cache").exists()


def test_temporary_failures_are_not_cached(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, sha256 = files_of(folder)[0]
    content = path.read_bytes()
    path.unlink()
    assert inspect_files([(path, sha256)])[0].reason == "No such file or directory"
    path.write_bytes(content)

    def no_memory(data: bytes, **_: Any) -> Any:
        raise ImageError("not enough memory") from MemoryError()

    with monkeypatch.context() as patch:
        patch.setattr(image_file, "decode_image", no_memory)
        assert inspect_files([(path, sha256)])[0].reason == "not enough memory"
    assert inspect_files([(path, sha256)])[0].reason == ""


def test_a_file_that_changed_after_listing_is_not_cached(folder: Path) -> None:
    (path, sha256), (second, _) = files_of(folder)[:2]
    content = path.read_bytes()
    path.write_bytes(second.read_bytes())
    assert inspect_files([(path, sha256)])[0].height == 21
    path.write_bytes(content)
    assert inspect_files([(path, sha256)])[0].height == 20


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[200:] = bytes(len(data) - 200)
    path.write_bytes(data)


def replace_by_text(path: Path) -> None:
    path.write_text("no database, and longer than a header of SQLite is. " * 20)


def replace_by_foreign_database(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE inspected (a, b)")
    connection.close()


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("spoil", [damage, replace_by_text, replace_by_foreign_database, empty])
def test_a_useless_cache_is_replaced(
    folder: Path, monkeypatch: pytest.MonkeyPatch, spoil: Any
) -> None:
    files = files_of(folder)
    first = inspect_files(files)
    spoil(cache_path())
    assert rows_of(inspect_files(files)) == rows_of(first)
    decoded = count_decoding(monkeypatch)
    assert rows_of(inspect_files(files)) == rows_of(first)
    assert decoded == []


def test_impossible_values_are_computed_again(folder: Path) -> None:
    files = files_of(folder)
    first = inspect_files(files)
    for change in (
        "height = 10000000",
        "height = -3",
        "width = 'wide'",
        "brightness = 256.0",
        "contrast = NULL",
        "thumbnail = x'00'",
        "pixels = x'00'",
        "reason = 'because'",
        "mode = char(27) || 'x'",
        "kind = CAST(x'ff' AS TEXT)",
    ):
        with sqlite3.connect(cache_path()) as connection:
            connection.execute(f"UPDATE inspected SET {change}")
        connection.close()
        assert rows_of(inspect_files(files)) == rows_of(first), change


@pytest.mark.filterwarnings("ignore::freezeframe.errors.CacheWarning")
@pytest.mark.parametrize("obstacle", ["a file", "a folder", "read-only", "locked"])
def test_an_unwritable_cache_costs_only_time(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, obstacle: str
) -> None:
    monkeypatch.setattr("freezeframe.data.inspection.cache.PATIENCE", 0.1)
    files = files_of(folder)
    first = inspect_files(files, cache=False)
    place = cache_path()
    if obstacle == "a file":
        place.parent.rmdir()
        place.parent.write_text("")
    elif obstacle == "a folder":
        place.mkdir()
    elif obstacle == "read-only":
        place.parent.chmod(0o500)
    else:
        inspect_files(files[:3])
        locking = sqlite3.connect(place, isolation_level=None)
        locking.execute("BEGIN EXCLUSIVE")
    try:
        assert rows_of(inspect_files(files)) == rows_of(first)
    finally:
        if obstacle == "read-only":
            place.parent.chmod(0o700)
        if obstacle == "locked":
            locking.close()


def test_a_read_only_cache_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() == 0:
        pytest.skip("for root every file can be written")
    files = files_of(folder)
    first = inspect_files(files[:12])
    cache_path().chmod(0o400)
    cache_path().parent.chmod(0o500)
    decoded = count_decoding(monkeypatch)
    try:
        assert rows_of(inspect_files(files)[:12]) == rows_of(first)
    finally:
        cache_path().parent.chmod(0o700)
    assert len(decoded) == 11


def test_several_processes_share_the_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import sys; from freezeframe.data.manifest import read_manifest\n"
        "from freezeframe.data.inspection.inspect import inspect_images\n"
        "print(sum(facts.height for facts in inspect_images(read_manifest(sys.argv[1]))))"
    )
    command = [sys.executable, "-c", code, str(folder)]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(3)
    ]
    outcomes = [process.communicate(timeout=120) for process in running]
    assert len({out for out, _ in outcomes}) == 1
    assert [err for _, err in outcomes] == [b""] * 3
    decoded = count_decoding(monkeypatch)
    inspect_files(files_of(folder))
    assert decoded == []


def test_new_versions_of_the_libraries_decode_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = files_of(folder)
    inspect_files(files)
    monkeypatch.setattr("freezeframe.data.inspection.cache._versions", lambda: "Pillow 99")
    decoded = count_decoding(monkeypatch)
    inspect_files(files)
    inspect_files(files)
    assert len(decoded) == 23


def test_a_cache_that_is_too_large_is_replaced(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = files_of(folder)
    first = inspect_files(files)
    monkeypatch.setattr("freezeframe.data.inspection.cache.MAX_CACHE_BYTES", 1000)
    assert rows_of(inspect_files(files[:1])) == rows_of(first[:1])
    monkeypatch.undo()


def test_several_batches_are_written_and_read(tmp_path: Path) -> None:
    keys = [f"{number:064x}" for number in range(2 * BATCH + 7)]
    cache = InspectionCache(tmp_path / "cache.sqlite")
    for number, key in enumerate(keys):
        cache.add(key, ImageFacts(kind="PNG", n_bytes=number, reason="PNG that is truncated"))
    cache.add("no SHA-256", ImageFacts(kind="PNG", reason="PNG that is truncated"))
    cache.close()
    cache = InspectionCache(tmp_path / "cache.sqlite")
    cached = cache.load(["", "no SHA-256", *keys])
    cache.close()
    assert [cached[key].n_bytes for key in keys] == list(range(len(keys)))
    assert len(cached) == len(keys)


readable = st.builds(
    ImageFacts,
    fingerprint=st.builds(
        Fingerprint,
        pixels=st.binary(min_size=32, max_size=32).map(bytes.hex),
        thumbnail=st.integers(0, 255).map(lambda level: np.full((64, 64), level, np.uint8)),
    ),
    kind=st.sampled_from(["PNG", "DICOM"]),
    mode=st.sampled_from(["L", "I;16"]),
    height=st.integers(1, 1000),
    width=st.integers(1, 1000),
    brightness=st.floats(0, 255),
    contrast=st.floats(0, 127.5),
    n_bytes=st.integers(0, 2**30),
    frames=st.integers(1, 1000),
)


@given(readable)
def test_facts_survive_a_round_trip(facts: ImageFacts) -> None:
    values = _values_of_facts(facts)
    restored = _facts_of_values(values)
    assert restored is not None
    assert _values_of_facts(restored) == values


anything = st.none() | st.text() | st.binary() | st.integers() | st.floats()


@given(readable, st.integers(0, 10), anything)
def test_damaged_rows_are_refused_or_possible(facts: ImageFacts, place: int, value: Any) -> None:
    values = list(_values_of_facts(facts))
    values[place] = value
    restored = _facts_of_values(values)
    assert restored is None or (
        restored.reason == ""
        and 0 <= restored.brightness <= 255
        and restored.height * restored.width > 0
    )


def test_real_images_are_inspected(datasets: Path) -> None:
    results = inspect_images(read_manifest(datasets / "navoneel"))
    assert [facts.reason for facts in results] == [""] * 253
    assert {facts.kind for facts in results} == {"JPEG", "PNG"}
    assert {facts.mode for facts in results} == {"L", "P", "RGB", "RGBA"}
    prints = [facts.fingerprint for facts in results if facts.fingerprint]
    assert len({image_print.pixels for image_print in prints}) == 228
