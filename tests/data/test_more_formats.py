"""Tests of PGM, PPM, PBM, AVIF and JPEG 2000."""

from __future__ import annotations

import io
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, features

from freezeframe import ImageError, read_image
from freezeframe.data.formats.images import count_frames, decode_image, image_mode
from freezeframe.data.formats.limits import scale_to_bytes
from freezeframe.data.formats.table import HEAD_BYTES, image_kind
from freezeframe.data.manifest import read_manifest

RNG = np.random.default_rng(0)
HEIGHT, WIDTH = 6, 10
GREY = RNG.integers(0, 256, (HEIGHT, WIDTH), np.uint8)
COLOURS = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
DEEP = RNG.integers(0, 4096, (HEIGHT, WIDTH), np.uint16)
BITS = RNG.integers(0, 2, (HEIGHT, WIDTH), np.uint8)

needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow lacks AVIF")
needs_jpeg2000 = pytest.mark.skipif(
    not features.check("jpg_2000"), reason="this Pillow lacks JPEG 2000"
)


def encoded(pixels: NDArray[Any], kind: str, **options: Any) -> bytes:
    Image.fromarray(pixels).save(file := io.BytesIO(), kind, **options)
    return file.getvalue()


def three(grey: NDArray[Any]) -> NDArray[Any]:
    return np.repeat(grey[..., np.newaxis], 3, axis=2)


def refused(data: bytes, **options: int) -> str:
    with pytest.raises(ImageError) as caught:
        decode_image(data, **options)
    return str(caught.value)


def text(values: NDArray[Any]) -> bytes:
    return b"\n# a comment\n".join(b" ".join(b"%d" % v for v in row.flat) for row in values)


def netpbm(kind: int, body: bytes, largest: int | None = None) -> bytes:
    """Return a file with comments in its header."""
    white = b"" if largest is None else b"# white\n%d\n" % largest
    return b"P%d # made by a scanner\n%d %d\n" % (kind, WIDTH, HEIGHT) + white + body


NETPBM = {
    "bits": (netpbm(4, np.packbits(BITS, axis=1).tobytes()), three(255 - 255 * BITS), "1"),
    "bits as text": (netpbm(1, text(BITS)), three(255 - 255 * BITS), "1"),
    "bits without spaces": (netpbm(1, text(BITS).replace(b" ", b"")), three(255 - 255 * BITS), "1"),
    "grey": (netpbm(5, GREY.tobytes(), 255), three(GREY), "L"),
    "grey as text": (netpbm(2, text(GREY), 255), three(GREY), "L"),
    "colours": (netpbm(6, COLOURS.tobytes(), 255), COLOURS, "RGB"),
    "colours as text": (netpbm(3, text(COLOURS), 255), COLOURS, "RGB"),
    "few levels": (netpbm(5, (GREY % 16).tobytes(), 15), three(GREY % 16 * 17), "L"),
    "12 bits": (netpbm(5, DEEP.astype(">u2").tobytes(), 4095), three(scale_to_bytes(DEEP)), "I;16"),
    "12 bits as text": (netpbm(2, text(DEEP), 4095), three(scale_to_bytes(DEEP)), "I;16"),
    "12 bits in 16": (
        netpbm(5, DEEP.astype(">u2").tobytes(), 65535),
        three(scale_to_bytes(DEEP)),
        "I;16",
    ),
    "16-bit colours": (
        netpbm(6, (COLOURS.astype(">u2") * 257).tobytes(), 65535),
        COLOURS,
        "RGB;16",
    ),
}


@pytest.mark.parametrize("name", NETPBM)
def test_every_kind_of_netpbm_is_read(name: str) -> None:
    data, expected, mode = NETPBM[name]
    assert image_kind(data[:HEAD_BYTES]) == "PNM"
    picture = decode_image(data)
    assert picture.dtype == np.uint8
    assert picture.flags.writeable
    assert picture.flags.c_contiguous
    assert np.array_equal(picture, expected)
    assert image_mode(data) == mode
    assert count_frames(data) == 1
    # Pillow scales deep grey to 16 bits first, so only its 8-bit pictures are an oracle.
    if ";16" not in mode:
        assert np.array_equal(picture, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("name", ["bits", "grey", "colours", "16-bit colours"])
def test_binary_images_that_follow_each_other_are_frames(name: str) -> None:
    data, expected, _ = NETPBM[name]
    assert count_frames(data + data + b"\n" + data) == 3
    assert np.array_equal(decode_image(data + data), expected)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"P5 10 6 255\n" + bytes(59), "truncated"),
        (b"P4 10 6\n" + bytes(11), "truncated"),
        (b"P2 2 2 255\n1 2 3", "truncated"),
        (b"P2 2 2 255\n1 2 3 256", "damaged"),
        (b"P2 2 2 255\n1 2 3 x", "damaged"),
        (b"P2 2 2 255\n1 2 3 -4", "damaged"),
        (b"P1 2 2\n0 1 1 2", "damaged"),
        (b"P5 10 6 0\n" + bytes(60), "largest value of 0"),
        (b"P5 10 6 65536\n" + bytes(60), "largest value of 65536"),
        (b"P5 0 6 255\n", "0 x 6 pixels"),
        (b"P5 10 6", "damaged header"),
        (b"P5 # no end", "damaged header"),
        (b"P2 60000 60000 255\n1", "pixels are more than the limit"),
        (b"P6 2000000 1 255\n", "longer than the limit"),
    ],
)
def test_wrong_netpbm_is_refused(data: bytes, reason: str) -> None:
    assert reason in refused(data)


@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5, 6])
def test_netpbm_claims_no_memory_that_its_file_does_not_fill(kind: int) -> None:
    white = b"" if kind in (1, 4) else b"255 "
    data = b"P%d 9999 9999 " % kind + white + b"1 " * 50
    tracemalloc.start()
    refused(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize(
    "head", [b"P6 steps to success", b"P5", b"P7\nWIDTH 3", b"P5ABC", b"P2 players", b"Pf\n3 3\n1"]
)
def test_texts_are_no_netpbm(head: bytes) -> None:
    assert image_kind(head) is None


@needs_jpeg2000
@pytest.mark.parametrize("kind", ["jp2", "j2k"])
def test_jpeg_2000_is_read(kind: str) -> None:
    container = {"no_jp2": kind == "j2k"}
    for pixels, expected in (
        (GREY, three(GREY)),
        (COLOURS, COLOURS),
        (DEEP, three(scale_to_bytes(DEEP))),
    ):
        data = encoded(pixels, "JPEG2000", **container)
        assert image_kind(data[:HEAD_BYTES]) == "JPEG 2000"
        assert np.array_equal(decode_image(data), expected)
        assert count_frames(data) == 1


@needs_jpeg2000
def test_sizes_of_jpeg_2000_are_checked_in_both_headers() -> None:
    data = encoded(GREY, "JPEG2000")
    assert "more than the limit of 59" in refused(data, max_pixels=59)
    place = data.index(b"\xff\x4f\xff\x51")
    for width, reason in ((60_000, "more than the limit"), (WIDTH + 1, "contradict each other")):
        size = struct.pack(">2I", width, 60_000 if width > WIDTH + 1 else HEIGHT)
        assert reason in refused(data[: place + 8] + size + data[place + 16 :])
    few_bits = data[: place + 42] + b"\3" + data[place + 43 :]
    assert refused(few_bits) == "JPEG 2000 of 4-bit samples, which is not supported"
    assert refused(data[:-20])


@needs_avif
def test_avif_is_read_as_pillow_reads_it() -> None:
    y, x = np.mgrid[:32, :48]
    smooth = np.stack([x * 5, y * 7, (x + y) * 3], axis=2).astype(np.uint8)
    data = encoded(smooth, "AVIF", quality=100, subsampling="4:4:4")
    assert image_kind(data[:HEAD_BYTES]) == "AVIF"
    picture = decode_image(data)
    assert np.abs(picture.astype(int) - smooth).max() <= 3
    assert "more than the limit of 1535" in refused(data, max_pixels=1535)
    assert refused(data[:-20])
    # A general major brand, as some encoders write.
    assert image_kind(data[:8] + b"mif1" + data[12:HEAD_BYTES]) == "AVIF"
    assert image_kind(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic") is None


@needs_avif
def test_an_avif_larger_than_the_limit_is_refused_before_it_is_decoded() -> None:
    data = encoded(np.zeros((32, 48, 3), np.uint8), "AVIF")
    # The size is in the box ispe, behind four bytes of flags.
    place = data.index(b"ispe") + 8
    bomb = data[:place] + (12_000).to_bytes(4, "big") * 2 + data[place + 8 :]
    assert refused(bomb) == "12000 x 12000 pixels are more than the limit of 100000000"


@needs_avif
def test_frames_of_avif_are_counted_and_orientation_is_applied() -> None:
    frames = [Image.new("L", (48, 32), level) for level in (50, 120, 200)]
    frames[0].save(file := io.BytesIO(), "AVIF", save_all=True, append_images=frames[1:])
    assert count_frames(file.getvalue()) == 3
    assert np.abs(decode_image(file.getvalue()).astype(int) - 50).max() <= 3
    exif = Image.Exif()
    exif[274] = 6
    turned = encoded(np.zeros((32, 48, 3), np.uint8), "AVIF", exif=exif)
    assert decode_image(turned).shape == (48, 32, 3)


def test_folders_of_these_files_are_listed_and_read(tmp_path: Path) -> None:
    for number, label in enumerate(("mass", "normal")):
        (tmp_path / label).mkdir()
        for ending, name in ((".pgm", "grey"), (".PPM", "colours"), ("", "12 bits")):
            path = tmp_path / label / f"{number}{name}{ending}"
            path.write_bytes(NETPBM[name][0])
    manifest = read_manifest(tmp_path)
    assert len(manifest.images) == 6
    assert manifest.skipped == ()
    for image in manifest.images:
        assert read_image(tmp_path / image.path).shape == (HEIGHT, WIDTH, 3)
