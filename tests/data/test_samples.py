"""Tests of samples of every depth and order: TIFF against tifffile, PNG against arithmetic."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from freezeframe import ImageError
from freezeframe.data.formats.images import decode_image, image_mode
from freezeframe.data.formats.limits import scale_to_bytes

HEIGHT, WIDTH = 7, 9
RNG = np.random.default_rng(0)
# PhotometricInterpretation and ExtraSamples.
GREY = (1, ())
WHITE_IS_ZERO = (0, ())
GREY_ALPHA = (1, (2,))
GREY_MULTIPLIED = (1, (1,))
GREY_ANYTHING = (1, (0,))
RGB = (2, ())
RGB_ALPHA = (2, (2,))
RGB_ANYTHING = (2, (0,))
CMYK = (5, ())


def lzw(data: bytes) -> bytes:
    """Pack bytes as LZW codes of 9 bits, with the code that clears the table in time."""
    bits = ""
    for start in range(0, len(data), 200):
        codes = [256, *data[start : start + 200]]
        bits += "".join(f"{code:09b}" for code in codes)
    bits += f"{257:09b}"
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


PACKINGS = {1: bytes, 5: lzw, 8: zlib.compress}


def tiff(
    samples: NDArray[Any],
    kind: tuple[int, tuple[int, ...]] = GREY,
    *,
    packing: int = 1,
    planar: bool = False,
    order: str = "<",
    more: dict[int, int] | None = None,
) -> bytes:
    """Write samples of shape (height, width, n), in strips of 5 rows."""
    height, width, n = samples.shape
    number = {"u": 1, "i": 2, "f": 3, "c": 6}[samples.dtype.kind]
    stored = samples.astype(samples.dtype.newbyteorder(order))
    planes = list(np.moveaxis(stored, 2, 0)) if planar else [stored]
    parts = [plane[top : top + 5].tobytes() for plane in planes for top in range(0, height, 5)]
    strips = [PACKINGS[packing](part) for part in parts]
    starts = np.cumsum([8, *map(len, strips)]).tolist()
    tags: dict[int, Any] = {256: width, 257: height, 258: [8 * samples.itemsize] * n, 259: packing}
    tags |= {262: kind[0], 273: starts[:-1], 277: n, 278: 5, 279: list(map(len, strips))}
    tags |= {284: 1 + planar, 339: [number] * n, **({338: list(kind[1])} if kind[1] else {})}
    tags |= more or {}
    directory = struct.pack(order + "H", len(tags))
    behind = starts[-1] + 2 + 12 * len(tags) + 4
    values = b""
    for tag, numbers in sorted(tags.items()):
        numbers = numbers if isinstance(numbers, list) else [numbers]
        field = struct.pack(f"{order}{len(numbers)}I", *numbers)
        if len(field) > 4:
            values += field
            field = struct.pack(order + "I", behind + len(values) - len(field))
        directory += struct.pack(order + "HHI", tag, 4, len(numbers)) + field
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", starts[-1])
    return head + b"".join(strips) + directory + bytes(4) + values


def levels(dtype: str, n: int, top: int = 0) -> NDArray[Any]:
    """Draw samples over the whole range of a type, or below `top`."""
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return (RNG.normal(size=(HEIGHT, WIDTH, n)) * 100).astype(kind)
    limits = np.iinfo(kind)
    samples = RNG.integers(limits.min, top or limits.max, (HEIGHT, WIDTH, n), kind)
    samples[0, 0] = top - 1 if top else limits.max
    return samples


def three(grey: NDArray[Any]) -> NDArray[Any]:
    return np.repeat(grey[..., np.newaxis], 3, axis=2)


def on_black(colours: NDArray[Any], alpha: NDArray[Any]) -> NDArray[Any]:
    """Multiply bytes as fractions of 255, rounded."""
    return (colours.astype(int) * alpha + 127) // 255


def high_bytes(samples: NDArray[Any]) -> NDArray[Any]:
    """Return the first 8 of the bits that the largest colour takes."""
    depth = max(8, int(samples[..., :3].max()).bit_length())
    return samples >> (depth - 8)


def expected_rgb(kind: tuple[int, tuple[int, ...]], samples: NDArray[Any]) -> NDArray[Any]:
    """Return the picture that samples make, by the rules in `decode_image`."""
    grey = samples[..., 0]
    if kind == GREY_ALPHA:
        alpha = samples[..., 1]
        visible = scale_to_bytes(np.where(alpha > 0, grey, np.nan))
        return three(on_black(visible, alpha >> (int(samples.max()).bit_length() - 8)))
    if kind == WHITE_IS_ZERO:
        return three(scale_to_bytes(-grey.astype(float)))
    if kind[0] == 1:
        return three(scale_to_bytes(grey))
    if kind == CMYK:
        inks = 255 - (samples >> (8 * samples.itemsize - 8)).astype(int)
        return on_black(inks[..., :3], inks[..., 3:])
    picture = high_bytes(samples)
    return on_black(picture[..., :3], picture[..., 3:]) if kind == RGB_ALPHA else picture[..., :3]


SUPPORTED = [
    *[
        (GREY, dtype, 1, 0)
        for dtype in ("i1", "u2", "i2", "f2", "u4", "i4", "f4", "u8", "i8", "f8")
    ],
    *[(WHITE_IS_ZERO, dtype, 1, 0) for dtype in ("u2", "i2", "f4", "f8")],
    *[(GREY, "u2", 1, 4096), (GREY_ALPHA, "u2", 2, 0), (GREY_ALPHA, "u2", 2, 4096)],
    *[(GREY_MULTIPLIED, "u2", 2, 0), (GREY_ANYTHING, "u2", 2, 0), (GREY_ANYTHING, "f4", 2, 0)],
    *[(kind, "u2", n, top) for kind, n in ((RGB, 3), (RGB_ANYTHING, 4)) for top in (0, 4096, 200)],
    *[(RGB_ALPHA, "u2", 4, 0), (CMYK, "u2", 4, 0), (RGB, "u1", 3, 0), (RGB_ALPHA, "u1", 4, 0)],
]


@pytest.mark.parametrize(("kind", "dtype", "n", "top"), SUPPORTED)
def test_samples_of_tiff_equal_tifffile(
    kind: tuple[int, tuple[int, ...]], dtype: str, n: int, top: int
) -> None:
    tifffile = pytest.importorskip("tifffile")
    samples = levels(dtype, n, top)
    for planar in (False, True) if n > 1 else (False,):
        for order in "<>":
            for packing in PACKINGS:
                data = tiff(samples, kind, packing=packing, planar=planar, order=order)
                oracle = samples
                # tifffile unpacks LZW only with another library.
                if packing != 5:
                    read = tifffile.imread(BytesIO(data))
                    oracle = np.moveaxis(read, 0, -1) if planar else read.reshape(samples.shape)
                picture = decode_image(data)
                wrong = picture.astype(int) - expected_rgb(kind, oracle)
                assert not wrong.any(), (planar, order, packing)
                assert picture.flags.c_contiguous
                assert picture.flags.writeable


@pytest.mark.parametrize(
    ("kind", "dtype", "n", "text"),
    [
        (RGB, "f4", 3, "RGB pixels of 3 32-bit float samples"),
        (RGB, "f2", 3, "RGB pixels of 3 16-bit float samples"),
        (RGB, "i2", 3, "RGB pixels of 3 16-bit signed integer samples"),
        (RGB, "u4", 3, "RGB pixels of 3 32-bit unsigned integer samples"),
        (GREY, "u1", 2, "grey pixels of 2 8-bit unsigned integer samples"),
        (GREY, "u2", 2, "grey pixels of 2 16-bit unsigned integer samples"),
        (GREY_ALPHA, "f4", 2, "grey pixels of 2 32-bit float samples"),
        (GREY, "c8", 1, "grey pixels of 1 64-bit complex sample"),
        ((9, ()), "u2", 3, "photometric interpretation 9 pixels of 3 16-bit unsigned integer"),
    ],
)
def test_samples_that_are_refused_are_named(
    kind: tuple[int, tuple[int, ...]], dtype: str, n: int, text: str
) -> None:
    data = tiff(np.ones((HEIGHT, WIDTH, n), dtype), kind)
    with pytest.raises(ImageError) as caught:
        decode_image(data)
    assert str(caught.value).startswith(f"TIFF of {text}")
    assert str(caught.value).endswith(", which is not supported")


def test_modes_of_samples_that_pillow_lacks_are_types() -> None:
    assert image_mode(tiff(levels("f8", 1))) == "float64"
    assert image_mode(tiff(levels("u2", 1))) == "I;16"


def test_orientation_applies_to_raw_samples() -> None:
    samples = levels("f8", 1)
    turned = np.rot90(scale_to_bytes(samples[..., 0]), -1)
    assert np.array_equal(decode_image(tiff(samples, more={274: 6})), three(turned))
    colours = levels("u2", 3)
    turned_planes = decode_image(tiff(colours, RGB, planar=True, more={274: 6}))
    assert np.array_equal(turned_planes, np.rot90(decode_image(tiff(colours, RGB)), -1))


def test_the_size_of_raw_samples_is_checked_before_they_are_read() -> None:
    for more in ({256: 60_000, 257: 60_000}, {322: 60_000, 323: 60_000}):
        with pytest.raises(ImageError, match="pixels are more than the limit"):
            decode_image(tiff(levels("f8", 1), more=more))


# PNG


def png(samples: NDArray[Any], colour: int, depth: int, transparent: bytes = b"") -> bytes:
    """Write rows of packed bytes as a PNG of some colour type and depth."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, depth, colour, 0, 0, 0))]
    if transparent:
        chunks.append((b"tRNS", transparent))
    rows = b"".join(b"\0" + row.tobytes() for row in samples)
    chunks += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    packed = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("unused_bits", [0, 0xFF00])
def test_the_transparent_level_of_a_grey_png_is_black(depth: int, unused_bits: int) -> None:
    largest = 2**depth - 1
    grey = RNG.integers(0, largest, (HEIGHT, WIDTH), np.uint8, endpoint=True)
    bits = np.unpackbits(grey[..., np.newaxis], axis=2)[..., 8 - depth :].reshape(HEIGHT, -1)
    unused = unused_bits & ~largest if depth < 8 else 0
    data = png(np.packbits(bits, axis=1), 0, depth, struct.pack(">H", largest | unused))
    expected = np.where(grey == largest, 0, grey.astype(int) * 255 // largest)
    assert np.array_equal(decode_image(data), three(expected))


@pytest.mark.parametrize("top", [0, 4096, 200])
def test_all_16_bits_of_png_colours_count(top: int) -> None:
    colours = levels("u2", 3, top)
    plain = png(colours.astype(">u2"), 2, 16)
    assert np.array_equal(decode_image(plain), high_bytes(colours))
    # Two colours that share their high bytes.
    colours[1, 1] = (7, 8, 9)
    colours[1, 2] = (7, 8, 10)
    one_colour = png(colours.astype(">u2"), 2, 16, struct.pack(">3H", 7, 8, 9))
    expected = high_bytes(colours)
    expected[1, 1] = 0
    assert np.array_equal(decode_image(one_colour), expected)
    rgba = levels("u2", 4, top)
    rgba[..., 3] = top - 1 if top else 65535
    assert np.array_equal(
        decode_image(png(rgba.astype(">u2"), 6, 16)), expected_rgb(RGB_ALPHA, rgba)
    )


@pytest.mark.parametrize("top", [0, 4096])
def test_grey_of_16_bits_with_alpha_is_scaled_as_grey_without(top: int) -> None:
    grey = levels("u2", 1, top)
    opaque = np.concatenate([grey, np.full_like(grey, 65535)], axis=2)
    with_alpha = decode_image(png(opaque.astype(">u2"), 4, 16))
    assert np.array_equal(with_alpha, decode_image(png(grey.astype(">u2"), 0, 16)))
    assert with_alpha.max() == 255


@pytest.mark.parametrize(("depth", "alpha_depth"), [(10, 10), (12, 12), (12, 16), (15, 15)])
def test_opaque_grey_of_fewer_bits_is_as_bright_as_grey_without_alpha(
    depth: int, alpha_depth: int
) -> None:
    grey = levels("u2", 1, 2**depth)
    opaque = np.concatenate([grey, np.full_like(grey, 2**alpha_depth - 1)], axis=2)
    largest = int(grey.max())
    unit = (grey[..., 0] - float(grey.min())) / (largest - int(grey.min()))
    expected = three(np.rint(unit * 255))
    files = [png(opaque.astype(">u2"), 4, 16)]
    files += [
        tiff(opaque, kind, planar=planar)
        for kind in (GREY_ALPHA, GREY_MULTIPLIED)
        for planar in (False, True)
    ]
    for data in files:
        assert np.array_equal(decode_image(data), expected)
    # Half of the opacity is half of the light.
    opaque[0, 0, 1] = 2 ** (alpha_depth - 1)
    for data in (png(opaque.astype(">u2"), 4, 16), tiff(opaque, GREY_ALPHA)):
        assert decode_image(data)[0, 0].tolist() == [128] * 3
