"""What images are found to be like, and the cache that keeps it."""

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
from freezeframe.data.formats.images import image_mode, read_image
from freezeframe.data.inspection import inspect as inspection
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


def told(found: list[ImageFacts]) -> list[tuple[Any, ...]]:
    return [_values_of_facts(one) for one in found]


def count_decoding(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of what is decoded from now on."""
    decoded: list[int] = []
    decode = inspection.decode_image

    def counted(data: bytes) -> Any:
        decoded.append(len(data))
        return decode(data)

    monkeypatch.setattr(inspection, "decode_image", counted)
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
def test_kind_mode_and_size_are_those_of_the_file(
    tmp_path: Path, mode: str, ending: str, kind: str
) -> None:
    path = tmp_path / f"scan.{ending}"
    Image.new("RGB", (30, 20), (200, 100, 0)).convert("L" if mode == "I;16" else mode).convert(
        mode
    ).save(path)
    (found,) = inspect_files([(path, "")])
    assert (found.kind, found.mode, found.height, found.width, found.reason) == (
        kind,
        mode,
        20,
        30,
        "",
    )
    assert found.n_bytes == path.stat().st_size
    assert image_mode(path.read_bytes()) == mode


def test_the_mode_of_what_is_no_image() -> None:
    for data in (b"", b"text", b"\x89PNG\r\n\x1a\nbroken"):
        with pytest.raises(ImageError):
            image_mode(data)


def test_dicom_tells_its_photometric_interpretation() -> None:
    pydicom_data = pytest.importorskip("pydicom.data")
    path = pydicom_data.get_testdata_file("MR_small.dcm", download=False)
    (found,) = inspect_files([(path, "")])
    assert (found.kind, found.mode, found.height, found.width) == ("DICOM", "MONOCHROME2", 64, 64)


def test_brightness_and_contrast_are_those_of_the_grey_levels(tmp_path: Path) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (31, 47), dtype=np.uint8)
    Image.fromarray(levels).save(tmp_path / "scan.png")
    (found,) = inspect_files([(tmp_path / "scan.png", "")])
    assert found.brightness == pytest.approx(levels.mean())
    assert found.contrast == pytest.approx(levels.std())
    assert found.fingerprint is not None
    assert found.fingerprint.pixels == fingerprint(read_image(tmp_path / "scan.png")).pixels


def test_a_turned_photograph_has_the_size_it_is_seen_in(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.new("L", (30, 20)).save(tmp_path / "turned.jpg", exif=exif)
    (found,) = inspect_files([(tmp_path / "turned.jpg", "")])
    assert (found.height, found.width) == (30, 20)


def test_unreadable_files_tell_why_and_stop_nothing(tmp_path: Path) -> None:
    buffer = BytesIO()
    Image.new("L", (50, 50)).save(buffer, "PNG")
    (tmp_path / "cut.png").write_bytes(buffer.getvalue()[:60])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "good.png").write_bytes(buffer.getvalue())
    (tmp_path / "text.png").write_text("no image")
    names = ["cut.png", "empty.png", "good.png", "missing.png", "text.png", "."]
    found = inspect_files([(tmp_path / name, "") for name in names])
    reasons = [one.reason for one in found]
    assert reasons[:4] == [
        "PNG that is truncated",
        "the file is empty",
        "",
        "No such file or directory",
    ]
    assert reasons[4].startswith("not a JPEG, PNG")
    assert reasons[5] == "is a directory"
    assert [one.kind for one in found] == ["PNG", "", "PNG", "", "", ""]
    assert [one.fingerprint is None for one in found] == [True, True, False, True, True, True]


def test_each_content_is_decoded_once_and_from_a_copy_that_is_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = read_manifest(folder)
    decoded = count_decoding(monkeypatch)
    (folder / "tumour" / "10.png").unlink()  # 11.png is its copy
    progress: list[tuple[int, int]] = []
    found = inspect_images(manifest, progress=lambda *told: progress.append(told))
    assert len(decoded) == 23
    assert [one.reason for one in found] == [""] * 24
    assert progress[-1] == (24, 24)
    assert progress == sorted(progress)
    paths = [image.path for image in manifest.images]
    assert found[paths.index("tumour/10.png")] is found[paths.index("tumour/11.png")]
    assert [one.height for one in found[:12]] == list(range(20, 32))


def test_the_second_time_nothing_is_decoded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "tumour" / "cut.png").write_bytes((folder / "tumour" / "03.png").read_bytes()[:99])
    files = files_of(folder)
    first = inspect_files(files)
    decoded = count_decoding(monkeypatch)
    assert told(inspect_files(files)) == told(first)
    assert decoded == []
    assert [one.reason for one in first if one.reason] == ["PNG that is truncated"]
    assert told(inspect_files(files, cache=False)) == told(first)
    assert len(decoded) == 24


def test_no_cache_writes_nothing(folder: Path, tmp_path: Path) -> None:
    inspect_files(files_of(folder), cache=False)
    assert not (tmp_path / "cache").exists()


def test_what_may_be_otherwise_the_next_time_is_not_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, sha256 = files_of(folder)[0]
    content = path.read_bytes()
    path.unlink()
    assert inspect_files([(path, sha256)])[0].reason == "No such file or directory"
    path.write_bytes(content)

    def no_memory(data: bytes) -> Any:
        raise ImageError("not enough memory") from MemoryError()

    with monkeypatch.context() as patch:
        patch.setattr(inspection, "decode_image", no_memory)
        assert inspect_files([(path, sha256)])[0].reason == "not enough memory"
    assert inspect_files([(path, sha256)])[0].reason == ""


def test_a_file_that_changed_since_it_was_listed_does_not_poison_the_cache(folder: Path) -> None:
    (path, sha256), (other, _) = files_of(folder)[:2]
    content = path.read_bytes()
    path.write_bytes(other.read_bytes())
    assert inspect_files([(path, sha256)])[0].height == 21
    path.write_bytes(content)
    assert inspect_files([(path, sha256)])[0].height == 20


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[200:] = bytes(len(data) - 200)
    path.write_bytes(data)


def replace_by_text(path: Path) -> None:
    path.write_text("no database, and longer than a header of SQLite is. " * 20)


def replace_by_another_database(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE inspected (a, b)")
    connection.close()


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("spoil", [damage, replace_by_text, replace_by_another_database, empty])
def test_a_cache_that_is_of_no_use_is_begun_anew(
    folder: Path, monkeypatch: pytest.MonkeyPatch, spoil: Any
) -> None:
    files = files_of(folder)
    first = inspect_files(files)
    spoil(cache_path())
    assert told(inspect_files(files)) == told(first)
    decoded = count_decoding(monkeypatch)
    assert told(inspect_files(files)) == told(first)
    assert decoded == []


def test_values_that_cannot_be_are_looked_up_anew(folder: Path) -> None:
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
        assert told(inspect_files(files)) == told(first), change


@pytest.mark.parametrize("how", ["a file", "a folder", "read-only", "locked"])
def test_a_cache_that_cannot_be_written_costs_only_time(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr("freezeframe.data.inspection.cache.PATIENCE", 0.1)
    files = files_of(folder)
    first = inspect_files(files, cache=False)
    place = cache_path()
    place.parent.parent.mkdir()
    if how == "a file":
        place.parent.write_text("")
    elif how == "a folder":
        place.mkdir(parents=True)
    elif how == "read-only":
        place.parent.mkdir()
        place.parent.chmod(0o500)
    else:
        inspect_files(files[:3])
        other = sqlite3.connect(place, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
    try:
        assert told(inspect_files(files)) == told(first)
    finally:
        if how == "read-only":
            place.parent.chmod(0o700)
        if how == "locked":
            other.close()


def test_a_cache_that_can_only_be_read_is_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() == 0:
        pytest.skip("for root every file can be written")
    files = files_of(folder)
    first = inspect_files(files[:12])
    cache_path().chmod(0o400)
    cache_path().parent.chmod(0o500)
    decoded = count_decoding(monkeypatch)
    try:
        assert told(inspect_files(files)[:12]) == told(first)
    finally:
        cache_path().parent.chmod(0o700)
    assert len(decoded) == 11


def test_several_processes_share_the_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import sys; from freezeframe.data.manifest import read_manifest\n"
        "from freezeframe.data.inspection.inspect import inspect_images\n"
        "print(sum(found.height for found in inspect_images(read_manifest(sys.argv[1]))))"
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


def test_other_versions_of_the_libraries_decode_anew(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = files_of(folder)
    inspect_files(files)
    monkeypatch.setattr("freezeframe.data.inspection.cache._versions", lambda: "Pillow 99")
    decoded = count_decoding(monkeypatch)
    inspect_files(files)
    inspect_files(files)
    assert len(decoded) == 23


def test_a_cache_that_has_grown_too_large_is_begun_anew(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = files_of(folder)
    first = inspect_files(files)
    monkeypatch.setattr("freezeframe.data.inspection.cache.MAX_CACHE_BYTES", 1000)
    assert told(inspect_files(files[:1])) == told(first[:1])
    monkeypatch.undo()


def test_more_than_one_batch(tmp_path: Path) -> None:
    keys = [f"{number:064x}" for number in range(2 * BATCH + 7)]
    cache = InspectionCache(tmp_path / "cache.sqlite")
    for number, key in enumerate(keys):
        cache.add(key, ImageFacts(kind="PNG", n_bytes=number, reason="PNG that is truncated"))
    cache.add("no SHA-256", ImageFacts(kind="PNG", reason="PNG that is truncated"))
    cache.close()
    cache = InspectionCache(tmp_path / "cache.sqlite")
    known = cache.load(["", "no SHA-256", *keys])
    cache.close()
    assert [known[key].n_bytes for key in keys] == list(range(len(keys)))
    assert len(known) == len(keys)


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
)


@given(readable)
def test_what_is_kept_is_read_back(inspected: ImageFacts) -> None:
    again = _facts_of_values(_values_of_facts(inspected))
    assert again is not None
    assert _values_of_facts(again) == _values_of_facts(inspected)


anything = st.none() | st.text() | st.binary() | st.integers() | st.floats()


@given(readable, st.integers(0, 9), anything)
def test_whatever_stands_in_a_row_is_refused_or_possible(
    inspected: ImageFacts, place: int, value: Any
) -> None:
    values = list(_values_of_facts(inspected))
    values[place] = value
    again = _facts_of_values(values)
    assert again is None or (
        again.reason == "" and 0 <= again.brightness <= 255 and again.height * again.width > 0
    )


def test_the_real_images(datasets: Path) -> None:
    found = inspect_images(read_manifest(datasets / "navoneel"))
    assert [one.reason for one in found] == [""] * 253
    assert {one.kind for one in found} == {"JPEG", "PNG"}
    assert {one.mode for one in found} == {"L", "P", "RGB", "RGBA"}
    assert len({one.fingerprint.pixels for one in found if one.fingerprint}) == 228
