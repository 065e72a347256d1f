"""Tests of mutated image files, through the whole command and one by one."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from freezeframe import ImageError
from freezeframe.data.formats import limits, samples
from freezeframe.data.formats.image_file import read_image
from freezeframe.data.formats.images import MAX_PIXELS, decode_image
from freezeframe.data.formats.limits import MAX_SIDE
from freezeframe.data.formats.regular_file import MAX_FILE_BYTES

from ..conftest import script

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the check needs a POSIX shell")


mutation = script("mutation_check")
PROGRESSIVE = mutation.encoded(
    Image.new("RGB", (60, 40), (200, 100, 50)), "JPEG", progressive=True
).data


def good(kind: str) -> list[Any]:
    """Return good files of a kind; they are drawn once, by the first test that needs them."""
    files: list[Any] = mutation.drawn(0)[kind]
    return files


def refused(data: bytes) -> str:
    with pytest.raises(ImageError) as caught:
        decode_image(data)
    return str(caught.value)


# All kinds at once


def test_mutated_files_are_done_or_failed_with_a_reason(tmp_path: Path) -> None:
    results = mutation.check(tmp_path, 60, seed=1, large=False)
    assert results.wrong == [], results.run.output
    assert len(results.outcomes) == 60


@pytest.mark.slow
def test_a_thousand_mutated_files(tmp_path: Path) -> None:
    results = mutation.check(tmp_path, 1000, seed=0, large=True)
    assert results.wrong == [], results.run.output
    assert len(results.outcomes) == 1000


def test_the_check_finds_every_problem() -> None:
    outcome = mutation.Outcome
    run = mutation.Run
    makers = {"plain": ("done", None), "empty": ("not done", None), "truncated": ("", None)}
    wrong = {
        "a": outcome("plain", "failed", "no reason at all"),
        "b": outcome("empty", "done"),
        "c": outcome("truncated", "lost"),
        "d": outcome("truncated", "failed"),
        "e": outcome("truncated", "failed", "two\nlines"),
    }
    lines = mutation.wrong_in_outcomes(wrong, makers)
    assert {line[0] for line in lines} == set(wrong)
    right = {
        "a": outcome("plain", "done"),
        "b": outcome("empty", "skipped", "no image"),
        "c": outcome("truncated", "failed", "so"),
    }
    assert mutation.wrong_in_outcomes(right, makers) == []
    base = run(0, "all well\n", 1.0, 1000)
    assert mutation.wrong_in_run(base, base, large=False) == []
    assert mutation.wrong_in_run(run(0, "Traceback\n", 1.0, 1000), base, large=False) == [
        "a traceback was printed"
    ]
    assert (
        "not printable" in mutation.wrong_in_run(run(0, "\x1b[2J", 1.0, 1000), base, large=False)[0]
    )
    assert "2000 MB are more" in mutation.wrong_in_run(run(0, "", 1.0, 2000), base, large=False)[0]


# Bugs that mutations showed


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="reads the peak of memory from /proc"
)
@pytest.mark.parametrize(
    ("name", "bytes_a_pixel"),
    [("grey 16", 10), ("colour", 9), ("alpha", 9), ("float", 14)],
    ids=lambda value: value,
)
def test_large_images_take_few_bytes_a_pixel(name: str, bytes_a_pixel: int, tmp_path: Path) -> None:
    side = 3000
    data = {
        "grey 16": lambda: mutation.png(side, side, 16, 0),
        "colour": lambda: mutation.png(side, side, 8, 2),
        "alpha": lambda: mutation.png(side, side, 8, 6),
        "float": lambda: mutation.tiff(
            side, side, 32, mutation.packed([(4 * side, side)]), {339: 3}
        ),
    }[name]()
    (tmp_path / "large").write_bytes(data)
    (tmp_path / "small").write_bytes(good("plain")[1].data)
    code = (
        "import sys; from freezeframe import read_image;"
        "peak = lambda: int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]);"
        "read_image(sys.argv[1]); before = peak(); read_image(sys.argv[2]);"
        "print(1024 * (peak() - before))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "small"), str(tmp_path / "large")]
    taken = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert side * side * 3 < taken < side * side * bytes_a_pixel


@pytest.mark.parametrize(
    "kind", ["plain", "16-bit or float", "CMYK", "several frames", "1 x 20000"]
)
def test_pixels_do_not_depend_on_the_blocks(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    transparent = mutation.encoded(Image.new("P", (50, 40), 3), "PNG", transparency=3)
    files = [*good(kind), transparent]
    whole = [decode_image(file.data) for file in files]
    monkeypatch.setattr(samples, "BLOCK_PIXELS", 999)
    monkeypatch.setattr(limits, "_BLOCK_LEVELS", 777)
    assert all(
        np.array_equal(decode_image(file.data), scan)
        for file, scan in zip(files, whole, strict=True)
    )


def test_scans_are_counted_before_they_are_decoded() -> None:
    assert decode_image(PROGRESSIVE).shape == (40, 60, 3)
    with pytest.raises(
        ImageError,
        match=f"^JPEG of {mutation.SIDE} x {mutation.SIDE} pixels in 10.. scans, which is",
    ):
        decode_image(mutation.many_scans(random.Random(0)).data)


def test_scans_of_single_colours_are_counted_too() -> None:
    data = mutation.encoded(Image.new("RGB", (60, 40)), "JPEG").data
    scan = data.index(b"\xff\xda")
    frame = data.index(b"\xff\xc0") + 5
    grey_scan = b"\xff\xda\0\x08\x01\x01\0\0\x3f\0" + data[scan + 14 : -2]
    large = data[:frame] + (9000).to_bytes(2, "big") * 2 + data[frame + 4 : scan]
    assert "9000 x 9000 pixels in 500 scans" in refused(large + grey_scan * 500 + b"\xff\xd9")


def test_appended_bytes_are_no_scan() -> None:
    data = good("plain")[0].data
    assert np.array_equal(decode_image(data + b"\xff\xda" * 1_000_000), decode_image(data))


def test_no_side_may_be_endless() -> None:
    for width, height in ((1, MAX_SIDE + 1), (MAX_SIDE + 1, 1)):
        text = refused(mutation.png(width, height, 8, 0))
        assert text == f"{width} x {height} pixels have a side longer than the limit of {MAX_SIDE}"
        assert width * height < MAX_PIXELS


def test_a_file_too_long_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "endless.png"
    path.write_bytes(good("plain")[1].data)
    assert read_image(path).ndim == 3
    os.truncate(path, 100 * MAX_FILE_BYTES)
    with pytest.raises(
        ImageError, match=re.escape(f"endless.png: {100 * MAX_FILE_BYTES} bytes are more than the")
    ):
        read_image(path)


def test_a_drawn_png_equals_what_pillow_reads() -> None:
    for file in good("16-bit or float") + good("plain"):
        if file.ending == ".png":
            with Image.open(BytesIO(file.data)) as image:
                assert decode_image(file.data).shape[:2] == image.size[::-1]
