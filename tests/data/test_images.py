"""Tests of decoding: generated files of every format and mode, hostile files, real files."""

from __future__ import annotations

import os
import pickle
import struct
import sys
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from PIL import Image, ImageOps, PngImagePlugin

from freezeframe import FreezeframeError, ImageError, ParameterError
from freezeframe.data.formats import limits
from freezeframe.data.formats.image_file import read_image
from freezeframe.data.formats.images import RESIZE_METHODS, decode_image, resize_image
from freezeframe.data.formats.limits import scale_to_bytes
from freezeframe.data.formats.table import HEAD_BYTES, IMAGE_FORMATS, image_kind

DATASETS = Path(__file__).parents[3] / "shared" / "datasets"
KINDS = ("JPEG", "PNG", "TIFF", "BMP", "GIF", "WebP")
MAGICS = [
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"II*\0",
    b"MM\0*",
    b"II+\0",
    b"MM\0+",
    b"GIF87a",
    b"GIF89a",
    b"RIFF\0\0\0\0WEBPVP8 ",
    b"BM" + bytes(12) + b"(",
]
LOSSLESS = {
    "PNG": {},
    "TIFF": {},
    "TIFF lzw": {"compression": "tiff_lzw"},
    "TIFF deflate": {"compression": "tiff_adobe_deflate"},
    "BMP": {},
    "WebP lossless": {"lossless": True, "exact": True},
}
OPAQUE = [
    *[("RGB", kind) for kind in KINDS],
    *[("L", kind) for kind in KINDS],
    *[("1", kind) for kind in ("PNG", "TIFF", "BMP", "GIF")],
    *[("P", kind) for kind in ("PNG", "TIFF", "BMP", "GIF")],
    *[("CMYK", kind) for kind in ("JPEG", "TIFF")],
    ("YCbCr", "JPEG"),
    ("LAB", "TIFF"),
    ("RGBX", "TIFF"),
]
DEEP = [("I;16", "PNG"), ("I;16", "TIFF"), ("I;16B", "TIFF"), ("I", "TIFF"), ("F", "TIFF")]


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    image.save(file := BytesIO(), kind.split()[0], **options)
    return file.getvalue()


def picture(height: int = 11, width: int = 17) -> NDArray[np.uint8]:
    """Draw a colourful gradient without symmetry."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, (x * y) % 256], axis=2).astype(np.uint8)


def small_files() -> dict[str, bytes]:
    files = {kind: encoded(Image.fromarray(picture()), kind) for kind in KINDS}
    files |= {
        name: encoded(Image.fromarray(picture()), name, **LOSSLESS[name]) for name in LOSSLESS
    }
    files["TIFF jpeg"] = encoded(Image.fromarray(picture()), "TIFF", compression="jpeg")
    files["JPEG progressive"] = encoded(Image.fromarray(picture()), "JPEG", progressive=True)
    files["PNG palette"] = encoded(
        Image.fromarray(picture()).convert("P"), "PNG", transparency=b"\0\x80\xff"
    )
    files["PNG 16"] = encoded(
        Image.fromarray(np.arange(60, dtype=np.uint16).reshape(6, 10) * 900), "PNG"
    )
    return files


SMALL = small_files()


def is_rgb(image: NDArray[np.uint8]) -> bool:
    flags = image.flags
    return (
        image.dtype == np.uint8
        and image.ndim == 3
        and image.shape[2] == 3
        and flags.c_contiguous
        and flags.writeable
    )


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def with_chunk(png: bytes, name: bytes, body: bytes) -> bytes:
    """Insert a chunk behind the IHDR of a PNG."""
    return png[:33] + png_chunk(name, body) + png[33:]


def grey_tiff(
    height: int, width: int, pixels: bytes, tags: dict[int, int], *, counts: int = 1
) -> bytes:
    """Write a little-endian TIFF of one strip; `counts` is the number of values of its last tag."""
    values = {
        256: width,
        257: height,
        258: 8,
        259: 1,
        262: 1,
        273: 8,
        277: 1,
        278: height,
        279: len(pixels),
    } | tags
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(values.items())]
    entries[-1] = entries[-1][:4] + struct.pack("<I", counts) + entries[-1][8:]
    head = b"II*\0" + struct.pack("<I", 8 + len(pixels))
    return head + pixels + struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)


# Formats by content


@pytest.mark.parametrize("name", SMALL)
def test_the_first_bytes_decide_the_kind(name: str) -> None:
    assert image_kind(SMALL[name][:HEAD_BYTES]) == name.split()[0]


@pytest.mark.parametrize("magic", MAGICS)
def test_the_table_has_one_format_for_each_magic(magic: bytes) -> None:
    assert [row.matches(magic) for row in IMAGE_FORMATS].count(True) == 1


def test_names_and_endings_in_the_table_are_unique() -> None:
    names = [row.name for row in IMAGE_FORMATS]
    endings = [ending for row in IMAGE_FORMATS for ending in row.endings]
    assert len(set(names)) == len(names)
    assert len(set(endings)) == len(endings)
    assert all(ending == f".{ending.lower().strip('.')}" for ending in endings)


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"", None),
        (b"BM" + bytes(12) + b"(\0", "BMP"),
        (b"BM" + bytes(12) + b"(\0\1\0", None),
        (b"BMW is a car, not a bitmap", None),
        (b"RIFF\0\0\0\0WAVEfmt ", None),
        (b"P6 1 1 255 abc", "PNM"),
        (b"8BPS\0\1", None),
        (b"%!PS-Adobe-3.0 EPSF-3.0", None),
        (b"\0\0\1\0\1\0", None),
        (b"MM\0+\0\x08\0\0", "TIFF"),
        (bytes(128) + b"DICM", "DICOM"),
        (b"II*\0".ljust(128, b"\0") + b"DICM", "DICOM"),
        (bytes(127) + b"DICM", None),
    ],
)
def test_the_kind_of_odd_heads(head: bytes, kind: str | None) -> None:
    assert image_kind(head) == kind


def test_the_ending_of_a_name_does_not_matter(tmp_path: Path) -> None:
    for number, (name, data) in enumerate(SMALL.items()):
        for ending in (".jpg", ".png", ".txt", ""):
            path = tmp_path / f"{number}{ending}"
            path.write_bytes(data)
            assert np.array_equal(read_image(path), decode_image(data)), name


# Formats and modes


@pytest.mark.parametrize("name", LOSSLESS)
@settings(max_examples=25, deadline=None)
@given(
    pixels=arrays(
        np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=24).map(lambda shape: (*shape, 3))
    )
)
def test_lossless_formats_keep_the_pixels(name: str, pixels: NDArray[np.uint8]) -> None:
    image = decode_image(encoded(Image.fromarray(pixels), name, **LOSSLESS[name]))
    assert is_rgb(image)
    assert np.array_equal(image, pixels)


@pytest.mark.parametrize(("mode", "kind"), OPAQUE)
def test_opaque_modes_are_converted_like_pillow_does(mode: str, kind: str) -> None:
    source = Image.fromarray(picture())
    data = encoded(source.convert("RGB" if mode == "RGBX" else mode), kind)
    image = decode_image(data)
    assert is_rgb(image)
    assert np.array_equal(image, np.asarray(Image.open(BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize(("mode", "kind"), DEEP)
def test_deep_grey_is_scaled_not_clipped(mode: str, kind: str) -> None:
    levels = np.linspace(700, 9000, 16 * 16).reshape(16, 16)
    dtype = {"I;16": "<u2", "I;16B": ">u2", "I": "<i4", "F": "<f4"}[mode]
    source = Image.frombytes(mode, (16, 16), levels.astype(dtype).tobytes())
    image = decode_image(encoded(source, kind))
    assert is_rgb(image)
    assert np.array_equal(image[..., 0], scale_to_bytes(levels.astype(dtype)))
    assert (image[..., 0] == image[..., 1]).all()
    assert (image[..., 0] == image[..., 2]).all()
    assert len(np.unique(image)) > 250


def test_colours_of_a_cmyk_jpeg_are_not_inverted() -> None:
    for cmyk, rgb in (
        ((0, 0, 0, 0), (255, 255, 255)),
        ((0, 255, 255, 0), (255, 0, 0)),
        ((0, 0, 0, 255), (0, 0, 0)),
    ):
        data = encoded(Image.new("CMYK", (8, 8), cmyk), "JPEG", quality=95)
        assert np.abs(decode_image(data).astype(int) - rgb).max() <= 4


def test_white_is_zero_is_inverted_in_deep_tiffs() -> None:
    levels = (np.arange(256) * 200).astype("<u2").tobytes()
    black, white = (decode_image(grey_tiff(16, 16, levels, {258: 16, 262: tag})) for tag in (1, 0))
    assert black[0, 0, 0] == 0
    assert np.array_equal(white, 255 - black)


def test_nan_and_infinity_of_float_tiffs_become_bytes() -> None:
    levels = np.array([[np.nan, np.inf, -np.inf, 2.0, 3.0, 4.0]], np.float32)
    assert decode_image(encoded(Image.fromarray(levels), "TIFF"))[0, :, 0].tolist() == [
        0,
        255,
        0,
        0,
        128,
        255,
    ]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WebP"])
def test_transparent_images_get_a_black_background(kind: str) -> None:
    rgba = np.array([[[200, 100, 50, 255], [200, 100, 50, 128], [200, 100, 50, 0]]], np.uint8)
    options = {"lossless": True, "exact": True} if kind == "WebP" else {}
    image = decode_image(encoded(Image.fromarray(rgba), kind, **options))
    assert is_rgb(image)
    assert image[0].tolist() == [[200, 100, 50], [100, 50, 25], [0, 0, 0]]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_transparent_grey_images_get_a_black_background(kind: str) -> None:
    image = decode_image(
        encoded(Image.fromarray(np.array([[[200, 255], [200, 128], [200, 0]]], np.uint8)), kind)
    )
    assert image[0, :, 1].tolist() == [200, 100, 0]


def test_transparent_colours_become_black() -> None:
    palette = Image.frombytes("P", (3, 1), bytes([0, 1, 2]))
    palette.putpalette([250, 0, 0, 0, 250, 0, 0, 0, 250])
    assert decode_image(encoded(palette, "GIF", transparency=1))[0].tolist() == [
        [250, 0, 0],
        [0, 0, 0],
        [0, 0, 250],
    ]
    png = decode_image(encoded(palette, "PNG", transparency=b"\xff\x80\0"))
    assert png[0].tolist() == [[250, 0, 0], [0, 125, 0], [0, 0, 0]]
    rgb = Image.fromarray(np.array([[[9, 9, 9], [8, 8, 8]]], np.uint8))
    assert decode_image(encoded(rgb, "PNG", transparency=(9, 9, 9)))[0].tolist() == [
        [0, 0, 0],
        [8, 8, 8],
    ]
    deep = Image.fromarray(np.array([[65535, 100, 300]], np.uint16))
    assert decode_image(encoded(deep, "PNG", transparency=65535))[0, :, 0].tolist() == [0, 0, 255]


@pytest.mark.parametrize("kind", ["PNG", "GIF", "TIFF", "WebP"])
def test_the_first_of_several_frames_is_decoded(kind: str) -> None:
    frames = [
        Image.new("RGB", (9, 5), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))
    ]
    options = {"lossless": True} if kind == "WebP" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert Image.open(BytesIO(data)).n_frames == 3  # type: ignore[attr-defined]
    assert np.array_equal(decode_image(data), np.asarray(frames[0]))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WebP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    options = {"lossless": True} if kind == "WebP" else {}
    data = encoded(Image.fromarray(picture()), kind, exif=exif, **options)
    image = decode_image(data)
    assert is_rgb(image)
    assert image.shape == ((17, 11, 3) if orientation > 4 else (11, 17, 3))
    assert np.array_equal(image, np.asarray(ImageOps.exif_transpose(Image.open(BytesIO(data)))))


def test_orientation_6_is_a_quarter_turn_clockwise() -> None:
    exif = Image.Exif()
    exif[274] = 6
    data = encoded(Image.fromarray(picture()), "PNG", exif=exif)
    assert np.array_equal(decode_image(data), np.rot90(picture(), -1))


# Scaling


@given(arrays(np.float64, array_shapes(max_dims=2, max_side=20), elements=st.floats(width=64)))
def test_scaling_keeps_the_order_and_fills_the_range(levels: NDArray[np.float64]) -> None:
    before = levels.copy()
    scaled = scale_to_bytes(levels)
    assert scaled.dtype == np.uint8
    assert np.array_equal(levels, before, equal_nan=True)
    assert (scaled[np.isnan(levels)] == 0).all()
    numbers = ~np.isnan(levels)
    ascending = np.argsort(levels[numbers])
    assert (np.diff(scaled[numbers][ascending].astype(int)) >= 0).all()
    finite = np.isfinite(levels)
    if finite.any() and levels[finite].max() / 2 - levels[finite].min() / 2 > 1e-300:
        assert scaled[finite].min() == 0
        assert scaled[finite].max() == 255


@pytest.mark.parametrize(
    ("value", "byte"), [(0, 0), (37, 255), (-37, 0), (np.inf, 255), (-np.inf, 0), (np.nan, 0)]
)
def test_a_constant_image_is_scaled_between_its_value_and_zero(value: float, byte: int) -> None:
    assert (scale_to_bytes(np.full((2, 3), value)) == byte).all()


# Resizing


@given(
    pixels=arrays(
        np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=12).map(lambda shape: (*shape, 3))
    ),
    height=st.integers(1, 30),
    width=st.integers(1, 30),
    method=st.sampled_from(RESIZE_METHODS),
)
@settings(deadline=None)
def test_resizing_returns_the_requested_size(
    pixels: NDArray[np.uint8], height: int, width: int, method: str
) -> None:
    before = pixels.copy()
    resized = resize_image(pixels, height, width, method)
    assert is_rgb(resized)
    assert resized.shape == (height, width, 3)
    assert not np.shares_memory(resized, pixels)
    assert np.array_equal(pixels, before)
    # Bicubic and Lanczos overshoot.
    if method in ("nearest", "bilinear"):
        assert pixels.min() <= resized.min()
        assert resized.max() <= pixels.max()


def test_shrinking_averages_pixels() -> None:
    stripes = np.zeros((8, 8, 3), np.uint8)
    stripes[:, ::2] = 200
    assert set(np.unique(resize_image(stripes, 8, 1, "nearest"))) <= {0, 200}
    assert np.abs(resize_image(stripes, 8, 1, "bilinear").astype(int) - 100).max() <= 1


def test_resizing_a_view_equals_resizing_its_copy() -> None:
    view = picture()[::-1, ::2]
    assert np.array_equal(
        resize_image(view, 5, 6, "bicubic"), resize_image(view.copy(), 5, 6, "bicubic")
    )


@pytest.mark.parametrize(
    ("image", "size", "method", "message"),
    [
        (picture(), (4, 4), "cubic", "nearest, bilinear, bicubic, lanczos, got 'cubic'"),
        (picture(), (4, 4), "BILINEAR", "got 'BILINEAR'"),
        (picture(), (0, 4), "nearest", "at least 1, got 0 and 4"),
        (picture()[..., 0], (4, 4), "nearest", "shape (height, width, 3)"),
        (picture().astype(float), (4, 4), "nearest", "got float64"),
        (picture()[:0], (4, 4), "nearest", "of (0, 17, 3)"),
    ],
)
def test_resizing_refuses_invalid_arguments(
    image: Any, size: tuple[int, int], method: str, message: str
) -> None:
    with pytest.raises(ParameterError) as caught:
        resize_image(image, *size, method)
    assert message in str(caught.value)


# Files that cannot be read


def refused(decode: Callable[[], object]) -> str:
    with pytest.raises(ImageError) as caught:
        decode()
    text = str(caught.value)
    assert text.isprintable()
    assert text
    return text


def test_errors_begin_with_the_path(tmp_path: Path) -> None:
    contents = {
        "empty.png": (b"", "the file is empty"),
        "text.jpg": (
            b"hello, world\n" * 99,
            "not a JPEG, PNG, TIFF, BMP, GIF, WebP, AVIF, JPEG 2000, PNM, DICOM, NIfTI or "
            "MATLAB file",
        ),
        "cut.jpg": (SMALL["JPEG"][:-40], "JPEG that cannot be decoded: image file is truncated"),
        "cut.png": (SMALL["PNG"][:-1], "PNG that is truncated"),
        "flat.bmp": (
            SMALL["BMP"][:18] + bytes(8) + SMALL["BMP"][26:],
            "BMP that cannot be decoded:",
        ),
        "two\nlines.gif": (b"GIF89a", "GIF that cannot be decoded:"),
    }
    for name, (content, reason) in contents.items():
        path = tmp_path / name
        path.write_bytes(content)
        text = refused(lambda path=path: read_image(path))  # type: ignore[misc]
        assert text.startswith(f"{tmp_path}/{name}: {reason}".replace("\n", "\\n"))
        assert text.partition(": ")[2] == refused(lambda content=content: decode_image(content))  # type: ignore[misc]


def test_directories_pipes_and_devices_are_refused(tmp_path: Path) -> None:
    assert refused(lambda: read_image(tmp_path)) == f"{tmp_path}: is a directory"
    assert (
        refused(lambda: read_image(f"{tmp_path}/a")) == f"{tmp_path}/a: No such file or directory"
    )
    assert refused(lambda: read_image("a\0b")).startswith("a\\x00b: ")
    assert refused(lambda: read_image("a" * 9999)).endswith(": File name too long")
    if sys.platform != "win32":
        os.mkfifo(tmp_path / "pipe")
        assert (
            refused(lambda: read_image(tmp_path / "pipe")) == f"{tmp_path}/pipe: not a regular file"
        )
        assert refused(lambda: read_image("/dev/zero")) == "/dev/zero: not a regular file"


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may read everything")
def test_forbidden_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(SMALL["PNG"])
    (tmp_path / "a.png").chmod(0)
    assert refused(lambda: read_image(tmp_path / "a.png")) == f"{tmp_path}/a.png: Permission denied"


def test_only_the_head_of_a_foreign_file_is_read(tmp_path: Path) -> None:
    with (tmp_path / "film.jpg").open("wb") as file:
        file.truncate(1 << 40)
    assert "not a JPEG" in refused(lambda: read_image(tmp_path / "film.jpg"))


@pytest.mark.parametrize("name", SMALL)
def test_truncated_files_are_refused_or_whole(name: str) -> None:
    data = SMALL[name]
    whole = decode_image(data)
    n_refused = 0
    for length in range(1, len(data), 1 + len(data) // 150):
        try:
            assert np.array_equal(decode_image(data[:length]), whole), length
        except ImageError:
            n_refused += 1
    assert n_refused > 100


@given(data=st.data())
@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_hostile_files_raise_only_image_errors(data: st.DataObject) -> None:
    content = bytearray(SMALL[data.draw(st.sampled_from(sorted(SMALL)))])
    for _ in range(data.draw(st.integers(1, 6))):
        # Damage of the head is the most dangerous.
        place = data.draw(
            st.integers(0, min(len(content), 200) - 1) | st.integers(0, len(content) - 1)
        )
        content[place] = data.draw(st.sampled_from([0, 1, 127, 128, 255]) | st.integers(0, 255))
    if image_kind(bytes(content)) == "PNG" and data.draw(st.booleans()):
        content = bytearray(with_valid_checksums(bytes(content)))
    check_decodes_or_refuses(bytes(content))


@given(st.sampled_from(MAGICS), st.binary(max_size=300))
@settings(max_examples=150, deadline=None)
def test_random_bytes_raise_only_image_errors(magic: bytes, content: bytes) -> None:
    check_decodes_or_refuses(content)
    check_decodes_or_refuses(magic + content)


def check_decodes_or_refuses(content: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            assert is_rgb(decode_image(content, max_pixels=20_000))
            text = "fine"
        except ImageError as error:
            text = str(error)
    assert text.isprintable()
    assert 0 < len(text) <= 200


def with_valid_checksums(png: bytes) -> bytes:
    """Compute the checksums of all chunks of a PNG again."""
    start = 8
    while (end := start + 12 + int.from_bytes(png[start : start + 4], "big")) <= len(png):
        checksum = struct.pack(">I", zlib.crc32(png[start + 4 : end - 4]))
        png = png[: end - 4] + checksum + png[end:]
        start = end
    return png


READER_ERRORS: list[type[Exception]] = [
    struct.error,
    zlib.error,
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    MemoryError,
    OverflowError,
    KeyError,
    TypeError,
    IndexError,
    ZeroDivisionError,
    RecursionError,
    AttributeError,
    StopIteration,
    AssertionError,
]


@pytest.mark.parametrize("error", READER_ERRORS)
def test_every_exception_of_a_decoder_becomes_an_image_error(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error(*(["two\nlines \x1b[31m" + "x" * 999] if error is not MemoryError else []))

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load_end", fail)
    text = refused(lambda: decode_image(SMALL["PNG"]))
    assert len(text) <= 200
    assert text.startswith("PNG that cannot be decoded: ")


def test_an_interrupt_is_not_an_image_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load_end", interrupt)
    with pytest.raises(KeyboardInterrupt):
        decode_image(SMALL["PNG"])


# Bombs


def bombs() -> dict[str, bytes]:
    """Return small files that declare huge images."""
    jpeg = SMALL["JPEG"]
    bmp = SMALL["BMP"]
    gif = SMALL["GIF"]
    webp = SMALL["WebP lossless"]
    frame = jpeg.index(b"\xff\xc0") + 5
    packed = zlib.compress(bytes(99_999))
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", packed) + png_chunk(b"IEND", b"")
    return {
        "PNG": b"\x89PNG\r\n\x1a\n" + chunks,
        "JPEG": jpeg[:frame] + struct.pack(">HH", 60_000, 60_000) + jpeg[frame + 4 :],
        "BMP": bmp[:18] + struct.pack("<ii", 60_000, 60_000) + bmp[26:],
        "GIF": gif[:6] + struct.pack("<HH", 60_000, 60_000) + gif[10:],
        "TIFF": grey_tiff(60_000, 60_000, packed, {259: 8}),
        "TIFF tile": grey_tiff(
            8, 8, packed, {259: 8, 322: 60_000, 323: 60_000, 324: 8, 325: len(packed)}
        ),
        "TIFF tile of one side": grey_tiff(
            8, 8, packed, {259: 8, 322: 60_000_000, 324: 8, 325: len(packed)}
        ),
        "WebP": webp[:21] + struct.pack("<I", 11_999 | 11_999 << 14) + webp[25:],
    }


@pytest.mark.skipif(sys.platform == "win32", reason="measures memory by the module resource")
@pytest.mark.parametrize("name", bombs())
def test_bombs_are_refused_before_they_are_decoded(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resource

    bomb = bombs()[name]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Many programs remove Pillow's own limit.
    for limit in (Image.MAX_IMAGE_PIXELS, None):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            text = refused(lambda: decode_image(bomb))
    assert "pixels are more than the limit of 100000000" in text
    # In KiB.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


@pytest.mark.parametrize("name", SMALL)
def test_the_limit_is_the_largest_size_allowed(name: str) -> None:
    height, width, _ = decode_image(SMALL[name]).shape
    decode_image(SMALL[name], max_pixels=height * width)
    assert f"{width} x {height} pixels" in refused(
        lambda: decode_image(SMALL[name], max_pixels=height * width - 1)
    )


def test_the_limit_of_the_process_is_neither_used_nor_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)
    for name in ("PNG", "JPEG", "BMP", "GIF"):
        decode_image(SMALL[name])
    assert Image.MAX_IMAGE_PIXELS == 1


# Metadata and warnings


def test_texts_profiles_and_broken_frames_of_a_png_are_ignored() -> None:
    png = SMALL["PNG"]
    bomb = zlib.compress(bytes(99_000_000))
    for name, body in ((b"zTXt", b"a\0\0" + bomb), (b"iCCP", b"a\0\0" + bomb), (b"acTL", b"\0")):
        assert np.array_equal(decode_image(with_chunk(png, name, body)), picture())


def test_a_flipped_bit_in_the_pixels_of_a_png_is_detected() -> None:
    png = bytearray(SMALL["PNG"])
    png[png.index(b"IDAT") + 20] ^= 1
    assert (
        refused(lambda: decode_image(bytes(png)))
        == "PNG that is damaged: wrong checksum of its IDAT chunk"
    )


def warning_files() -> list[bytes]:
    """Return sound pictures that Pillow warns about: their tags point outside the file."""
    broken_exif = b"Exif\0\0II*\0\x08\0\0\0\x09\0" + struct.pack("<HHII", 0x9000, 2, 9999, 9999)
    return [
        grey_tiff(8, 8, bytes(range(64)), {50_000: 9}, counts=1 << 20),
        encoded(Image.fromarray(picture()), "JPEG", exif=broken_exif),
    ]


@pytest.mark.parametrize("number", range(2))
def test_broken_metadata_raises_no_error_and_no_warning(number: int) -> None:
    data = warning_files()[number]
    # Without a warning of Pillow, this test would prove nothing.
    with pytest.warns(UserWarning, match="larger than file|orrupt EXIF|Truncated File"):
        Image.open(BytesIO(data)).getexif()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert is_rgb(decode_image(data))


def test_threads_decode_equally_and_without_warnings() -> None:
    files = [*SMALL.values(), *warning_files()] * 12
    expected = [decode_image(data) for data in files]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with ThreadPoolExecutor(8) as threads:
            images = list(threads.map(decode_image, files))
    assert all(map(np.array_equal, images, expected))
    assert len(images) == len(expected)


def test_warnings_of_other_threads_still_appear(monkeypatch: pytest.MonkeyPatch) -> None:
    decode_image(SMALL["PNG"])
    with pytest.warns(UserWarning, match="after"):
        warnings.warn("after", stacklevel=1)

    def warn_elsewhere(*_: object) -> None:
        warnings.warn("here", stacklevel=1)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(warnings.warn, "elsewhere").result()

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load_end", warn_elsewhere)
    with pytest.warns(UserWarning, match="elsewhere") as records:
        decode_image(SMALL["PNG"])
    assert [str(record.message) for record in records] == ["elsewhere"]


def test_decoding_does_not_repeat_warnings_that_were_shown() -> None:
    with warnings.catch_warnings(record=True) as records:
        warnings.simplefilter("default")
        decode_image(SMALL["PNG"])
        for _ in range(3):
            warnings.warn("shown once", stacklevel=1)
            decode_image(SMALL["PNG"])
    assert [str(record.message) for record in records] == ["shown once"]


def test_the_warning_filter_can_be_pickled() -> None:
    decode_image(SMALL["PNG"])
    # joblib and scikit-learn send the filters to their workers.
    assert limits._AnyWarning in [
        entry[2] for entry in pickle.loads(pickle.dumps(warnings.filters))
    ]


def test_image_errors_are_freezeframe_errors() -> None:
    assert issubclass(ImageError, FreezeframeError)


# Real files


@pytest.mark.skipif(not DATASETS.is_dir(), reason="the data sets are not at ../shared/datasets")
def test_real_images_are_decoded_like_pillow_does() -> None:
    by_kind: dict[str | None, list[Path]] = {}
    for path in sorted(
        path
        for path in DATASETS.rglob("*.*")
        if path.is_file() and path.suffix not in (".md", ".csv")
    ):
        with path.open("rb") as file:
            by_kind.setdefault(image_kind(file.read(HEAD_BYTES)), []).append(path)
    assert set(by_kind) == {"JPEG", "PNG", "TIFF"}
    modes = set()
    for path in by_kind["JPEG"][::120] + by_kind["PNG"] + by_kind["TIFF"][::9]:
        image = read_image(path)
        with Image.open(path) as reference:
            modes.add(reference.mode)
            assert is_rgb(image)
            assert image.shape[:2] == reference.size[::-1]
            if not reference.has_transparency_data:
                assert np.array_equal(image, np.asarray(reference.convert("RGB"))), path
    assert modes >= {"RGB", "L", "RGBA", "P"}
