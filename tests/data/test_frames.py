"""Tests of images with several frames: they are counted, and every command says so."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, features

from freezeframe.__main__ import cli
from freezeframe.data.formats.images import count_frames, decode_image


def encoded(kind: str, n: int, **options: Any) -> bytes:
    """Return a file of n different frames."""
    rng = np.random.default_rng(n)
    frames = [Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8)) for _ in range(n)]
    several = {"save_all": True, "append_images": frames[1:]} if n > 1 else {}
    frames[0].save(file := io.BytesIO(), kind, **several, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["AVIF", "GIF", "MPO", "PNG", "TIFF", "WebP"])
@pytest.mark.parametrize("n", [1, 3])
def test_frames_are_counted(kind: str, n: int) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    data = encoded(kind, n)
    assert count_frames(data) == n
    with Image.open(io.BytesIO(data)) as image:
        assert getattr(image, "n_frames", 1) == n


@pytest.mark.parametrize("kind", ["BMP", "JPEG"])
def test_other_formats_have_one_frame(kind: str) -> None:
    assert count_frames(encoded(kind, 1)) == 1


def test_only_whole_pictures_of_a_multi_picture_jpeg_count() -> None:
    film = encoded("MPO", 3)
    second = film.index(b"\xff\xd8\xff", 3)
    # An editor keeps the index and drops the pictures behind the first one.
    assert count_frames(film[:second]) == 1
    # Attribute of the second picture: none; then a preview ("Large Thumbnail").
    entry = film.index(struct.pack("<L", second - film.index(b"MPF\0") - 4)) - 8
    preview = film[:entry] + struct.pack("<L", 0x010001) + film[entry + 4 :]
    assert count_frames(preview) == 2
    for damaged in (film, preview):
        assert np.array_equal(decode_image(damaged), decode_image(film[:second]))
    no_index = film.replace(b"MPF\0", b"MPE\0")
    assert count_frames(no_index) == 1


def test_codestreams_of_jpeg_2000_are_counted() -> None:
    if not features.check("jpg_2000"):
        pytest.skip("this Pillow has no JPEG 2000")
    first, second = (encoded("JPEG2000", 1), encoded("JPEG2000", 1, quality_layers=[40]))
    # The last box of a JP2 file is its codestream.
    both = first + second[second.index(b"jp2c") - 4 :]
    assert [count_frames(data) for data in (first, both)] == [1, 2]
    assert np.array_equal(decode_image(both), decode_image(first))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_pages_of_tiff_are_counted_as_tifffile_does(order: str, big: bool) -> None:
    tifffile = pytest.importorskip("tifffile")
    stack = np.arange(3 * 8 * 8, dtype=np.uint16).reshape(3, 8, 8)
    tifffile.imwrite(
        file := io.BytesIO(), stack, byteorder=order, bigtiff=big, photometric="minisblack"
    )
    assert len(tifffile.TiffFile(io.BytesIO(file.getvalue())).pages) == 3
    assert count_frames(file.getvalue()) == 3
    # ImageJ writes large stacks as one page; smaller copies of a page are no pages.
    tifffile.imwrite(file := io.BytesIO(), stack, imagej=True, truncate=True)
    assert count_frames(file.getvalue()) == 3
    with tifffile.TiffWriter(file := io.BytesIO(), byteorder=order, bigtiff=big) as writer:
        writer.write(stack[0], photometric="minisblack")
        writer.write(stack[0, ::2, ::2], subfiletype=1, photometric="minisblack")
    assert count_frames(file.getvalue()) == 1


def test_a_page_that_points_to_itself_ends_the_count() -> None:
    data = bytearray(encoded("TIFF", 1))
    start = int.from_bytes(data[4:8], "little")
    n_tags = int.from_bytes(data[start : start + 2], "little")
    end = start + 2 + 12 * n_tags
    data[end : end + 4] = start.to_bytes(4, "little")
    assert count_frames(bytes(data)) == 1
    assert decode_image(bytes(data)).shape == (9, 12, 3)


@pytest.mark.parametrize(("name", "n"), [("rtdose", 15), ("SC_rgb_rle_2frame", 2), ("MR_small", 1)])
def test_frames_of_dicom_are_counted(name: str, n: int) -> None:
    pytest.importorskip("pydicom")
    from pydicom.data import get_testdata_file

    path = get_testdata_file(f"{name}.dcm", download=False)
    if path is None:
        pytest.skip(f"this pydicom ships no {name}")
    assert count_frames(Path(path).read_bytes()) == n


def test_damaged_later_frames_do_not_cost_the_first() -> None:
    whole = encoded("GIF", 3)
    cut = whole[: -len(whole) // 3]
    assert np.array_equal(decode_image(cut), decode_image(whole))
    assert count_frames(cut) >= 1


@pytest.fixture
def films(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes of 12 files with 3 frames each, and one image."""
    monkeypatch.chdir(tmp_path)
    for label in ("lesion", "plain"):
        (tmp_path / "films" / label).mkdir(parents=True)
        for number in range(12):
            rng = np.random.default_rng([number, label == "plain"])
            frames = [Image.fromarray(rng.integers(0, 256, (16, 16), np.uint8)) for _ in range(3)]
            path = tmp_path / "films" / label / f"{number}.gif"
            frames[0].save(path, save_all=True, append_images=frames[1:])
    Image.new("L", (16, 16), 90).save(tmp_path / "films" / "lesion" / "single.png")
    return tmp_path / "films"


LINE = "first of 3 frames taken: 24 images"


def test_commands_that_look_at_images_say_so(films: Path) -> None:
    # The first command reads the images, the others take the facts from the cache.
    for command in ("split", "audit", "explore"):
        result = CliRunner().invoke(cli, [command, str(films)])
        assert result.exit_code == 0, result.output
        assert LINE in result.output, command
    rows = Path("report/explore.csv").read_text().splitlines()
    assert rows[0].split(",")[7] == "frames"
    assert sorted(row.split(",")[7] for row in rows[1:]) == ["1", *["3"] * 24]


def test_extraction_and_prediction_say_so(films: Path) -> None:
    from freezeframe.classify.fit.fitting import fit_classifier
    from freezeframe.classify.task.task import make_task
    from freezeframe.features.store import FeatureStore

    options = ["--backbone", "pixels-8", "--layer", "pixels"]
    result = CliRunner().invoke(cli, ["extract-features", str(films), *options])
    assert result.exit_code == 0, result.output
    assert LINE in result.output
    run = fit_classifier(make_task(FeatureStore("features.h5"), pooling="avg"), "majority")
    files = [str(path) for path in sorted(films.glob("*/*"))]
    predicted = CliRunner().invoke(cli, ["predict", str(run.folder / "model.safetensors"), *files])
    assert predicted.exit_code == 0, predicted.output
    assert LINE in predicted.stderr


def test_workers_say_so_too() -> None:
    from freezeframe.extract.pipeline import Batch, SeenPixels
    from freezeframe.extract.workers.pool import Outcome, OutcomeGatherer

    gatherer = OutcomeGatherer(SeenPixels())
    batch = Batch()
    computed = {"checksums": {"l": "c"}, "size": [3, 4], "frames": 3, "seconds": [0, 0, 0]}
    gatherer.add(batch, Outcome(0, computed, b"0"))
    gatherer.add(batch, Outcome(1, {"pixels": "00", "size": [3, 4], "frames": 5}, b"0", first=0))
    assert batch.frames == {3: 1, 5: 1}
