"""Tests of DICOM: the files that pydicom ships, edited tag by tag."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from freezeframe import ImageError, MissingExtraError
from freezeframe.data.formats.image_file import read_image
from freezeframe.data.formats.images import decode_image, patient_group
from freezeframe.data.formats.limits import scale_to_bytes
from freezeframe.data.formats.table import HEAD_BYTES, image_kind

pydicom = pytest.importorskip("pydicom", minversion="3")

from pydicom.data import get_testdata_file  # noqa: E402
from pydicom.dataset import Dataset  # noqa: E402


def shipped(name: str) -> Path:
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"this pydicom ships no {name}")
    return Path(path)


def edited(change: Callable[[Any], object], name: str = "MR_small.dcm") -> bytes:
    """Return the content of a shipped file after a change of its tags."""
    header = pydicom.dcmread(shipped(name))
    change(header)
    header.save_as(file := BytesIO())
    return file.getvalue()


def assigned(name: str = "MR_small.dcm", **tags: Any) -> bytes:
    return edited(lambda header: [setattr(header, tag, value) for tag, value in tags.items()], name)


def grey(data: bytes) -> NDArray[np.uint8]:
    image = decode_image(data)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert image.flags.writeable
    assert (image == image[..., :1]).all()
    return image[..., 0]


def without_window(header: Any) -> None:
    del header.WindowCenter, header.WindowWidth


def refused(data: bytes, **options: int) -> str:
    with pytest.raises(ImageError) as caught:
        decode_image(data, **options)
    text = str(caught.value)
    assert text.isprintable()
    assert 0 < len(text) <= 200
    assert text.startswith("DICOM") or "pixels are more" in text
    return text


STORED = pydicom.dcmread(get_testdata_file("MR_small.dcm", download=False)).pixel_array.astype(
    float
)


# Grey


def test_the_window_is_applied() -> None:
    # Centre 600, width 1600; PS3.3 C.11.2.1.2.1.
    expected = np.clip((STORED - 599.5) / 1599 + 0.5, 0, 1) * 255
    assert np.abs(grey(shipped("MR_small.dcm").read_bytes()) - expected).max() <= 0.5


@pytest.mark.parametrize(
    "packing", ["RLE", "bigendian", "expb", "implicit", "jp2klossless", "padded"]
)
def test_the_packing_does_not_change_the_image(packing: str) -> None:
    image = read_image(shipped(f"MR_small_{packing}.dcm"))
    assert image.shape == (64, 64, 3)
    assert np.array_equal(image, read_image(shipped("MR_small.dcm")))


def test_without_a_window_the_range_is_filled() -> None:
    assert np.array_equal(grey(edited(without_window)), scale_to_bytes(STORED))


def test_monochrome1_is_inverted() -> None:
    plain, inverted = (
        grey(assigned(PhotometricInterpretation=f"MONOCHROME{number}")) for number in (2, 1)
    )
    assert np.array_equal(inverted, 255 - plain)


def test_the_first_of_several_windows_is_applied() -> None:
    several = assigned(WindowCenter=[600, 10], WindowWidth=[1600, 20])
    assert np.array_equal(grey(several), grey(shipped("MR_small.dcm").read_bytes()))


@pytest.mark.parametrize(("slope", "intercept"), [(1, -1024), (2.5, 7), (-1, 0)])
def test_the_window_applies_to_rescaled_values(slope: float, intercept: float) -> None:
    data = assigned(
        RescaleSlope=slope, RescaleIntercept=intercept, WindowCenter=300, WindowWidth=900
    )
    expected = np.clip((STORED * slope + intercept - 299.5) / 899 + 0.5, 0, 1) * 255
    assert np.abs(grey(data) - expected).max() <= 0.5


@pytest.mark.parametrize(
    ("function", "width", "expected"),
    [
        ("LINEAR", 1, STORED > 599.5),
        ("LINEAR_EXACT", 0.5, np.clip((STORED - 600) / 0.5 + 0.5, 0, 1)),
        ("LINEAR_EXACT", 400, np.clip((STORED - 600) / 400 + 0.5, 0, 1)),
        ("SIGMOID", 400, 1 / (1 + np.exp(-4 * (STORED - 600) / 400))),
        ("SIGMOID", 0.001, STORED > 600),
    ],
)
def test_all_window_functions_are_applied(
    function: str, width: float, expected: NDArray[Any]
) -> None:
    image = grey(assigned(VOILUTFunction=function, WindowCenter=600, WindowWidth=width))
    assert np.abs(image - expected * 255.0)[STORED != 600].max() <= 0.5


@pytest.mark.parametrize("depth", [8, 12])
@pytest.mark.parametrize("first", [0, 500])
def test_the_voi_lut_is_applied(depth: int, first: int) -> None:
    table = (np.arange(1000) * (2**depth - 1) // 999).astype("<u2")

    def change(header: Any) -> None:
        without_window(header)
        lut = Dataset()
        lut.LUTDescriptor = [len(table), first, depth]
        lut.add_new("LUTData", "OW", table.tobytes())
        header.VOILUTSequence = [lut]

    expected = table[np.clip(STORED - first, 0, 999).astype(int)] * 255.0 / (2**depth - 1)
    assert np.abs(grey(edited(change)) - expected).max() <= 0.5


def test_padding_is_black_and_does_not_count() -> None:
    lowest = int(STORED.min())

    def change(header: Any) -> None:
        without_window(header)
        header.add_new("PixelPaddingValue", "SS", lowest)

    image = grey(edited(change))
    assert np.array_equal(image, scale_to_bytes(np.where(lowest == STORED, np.nan, STORED)))
    assert (image[lowest == STORED] == 0).all()


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("window", [False, True])
@pytest.mark.parametrize("span", [0, 200])
@pytest.mark.parametrize("wrapped", [False, True])
def test_padding_is_black_in_every_grey_picture(
    kind: str, window: bool, span: int, wrapped: bool
) -> None:
    from pydicom.pixels import apply_modality_lut

    # The stored values are signed, from 127 to 2191. Padding is their lowest ones, up to a limit.
    lowest = int(STORED.min())
    padding = (lowest <= STORED) & (lowest + span >= STORED)

    def change(header: Any) -> None:
        if not window:
            without_window(header)
        header.PhotometricInterpretation = kind
        header.RescaleSlope = 2
        header.RescaleIntercept = -500
        # In any order, and as an unsigned number for signed pixels.
        first, last = (lowest + span, lowest) if span else (lowest, None)
        if wrapped:
            shifted = (header.pixel_array.astype(int) - 30000).astype("<i2")
            header.PixelData = shifted.tobytes()
            header.RescaleIntercept = 60000 - 500
            first = first - 30000 + 65536
            last = None if last is None else last - 30000 + 65536
        vr = "US" if wrapped else "SS"
        header.add_new("PixelPaddingValue", vr, first)
        if last is not None:
            header.add_new("PixelPaddingRangeLimit", vr, last)

    data = edited(change)
    header = pydicom.dcmread(BytesIO(data))
    levels = apply_modality_lut(header.pixel_array, header).astype(float)
    if window:
        # Centre 600, width 1600; PS3.3 C.11.2.1.2.1.
        picture = np.rint(np.clip((levels - 599.5) / 1599 + 0.5, 0, 1) * 255)
    else:
        low, high = levels[~padding].min(), levels[~padding].max()
        picture = np.rint((levels - low) / (high - low) * 255)
    picture = 255 - picture if kind == "MONOCHROME1" else picture
    assert np.array_equal(grey(data), np.where(padding, 0, picture))


def test_the_first_of_several_frames_is_decoded() -> None:
    for name in ("rtdose", "rtdose_rle", "rtdose_expb"):
        assert np.array_equal(
            read_image(shipped(f"{name}.dcm")), read_image(shipped(f"{name}_1frame.dcm"))
        )


# Colours


def test_rgb_is_not_changed() -> None:
    path = shipped("examples_rgb_color.dcm")
    assert np.array_equal(read_image(path), pydicom.dcmread(path).pixel_array)


@pytest.mark.parametrize("depth", ["16bit", "32bit", "2frame", "32bit_2frame"])
def test_deep_colours_are_reduced_to_8_bits(depth: str) -> None:
    difference = read_image(shipped(f"SC_rgb_rle_{depth}.dcm")).astype(int) - read_image(
        shipped("SC_rgb_rle.dcm")
    )
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize(
    "name", ["SC_rgb_dcmtk_+eb+cy+np", "SC_rgb_jpeg_dcmtk", "SC_ybr_full_422_uncompressed"]
)
def test_ybr_becomes_rgb(name: str) -> None:
    # The bands of the test picture differ in colour; JPEG and subsampling blur their borders.
    difference = read_image(shipped(f"{name}.dcm")).astype(int) - read_image(
        shipped("SC_rgb_rle.dcm")
    )
    assert np.median(np.abs(difference)) <= 2


def test_palettes_are_looked_up() -> None:
    path = shipped("examples_palette.dcm")
    header = pydicom.dcmread(path)
    red = np.frombuffer(header.RedPaletteColorLookupTableData, "<u2")[header.pixel_array]
    image = read_image(path)
    assert image.shape == (350, 800, 3)
    assert np.array_equal(image[..., 0], red >> 8)


@pytest.mark.parametrize(
    ("bits", "words", "top", "big"),
    [
        (16, True, 65536, False),
        (16, True, 256, False),
        (16, False, 256, False),
        (8, True, 256, False),
        (8, False, 256, False),
        (16, True, 65536, True),
    ],
)
def test_palettes_of_words_and_bytes_are_not_darkened(
    bits: int, words: bool, top: int, big: bool
) -> None:
    from pydicom.pixels import apply_color_lut

    palette = np.random.default_rng(0).integers(0, top, (3, 256)).astype(">u2" if big else "<u2")
    palette[:, 0] = top - 1

    def change(header: Any) -> None:
        header.PhotometricInterpretation = "PALETTE COLOR"
        for colour, values in zip(("Red", "Green", "Blue"), palette, strict=True):
            prefix = f"{colour}PaletteColorLookupTable"
            header.add_new(f"{prefix}Descriptor", "US", [256, 200, bits])
            stored = values if words else values.astype("u1")
            header.add_new(f"{prefix}Data", "OW", stored.tobytes())

    data = edited(change, "MR_small_bigendian.dcm" if big else "MR_small.dcm")
    # The palette begins with the stored value 200; lower and higher ones have its ends.
    indexes = np.clip(STORED - 200, 0, 255).astype(int)
    expected = np.moveaxis(palette[:, indexes].astype(int), 0, -1)
    # pydicom's index overflows in palettes of bytes, and it takes all words for little-endian ones.
    if words and not big:
        header = pydicom.dcmread(BytesIO(data))
        assert np.array_equal(apply_color_lut(header.pixel_array, header), expected)
    assert np.array_equal(decode_image(data), expected >> 8 if top > 256 else expected)


# Files without a preamble


@pytest.mark.parametrize("name", ["MR_small", "MR_small_implicit", "MR_small_bigendian"])
@pytest.mark.parametrize("meta", [False, True])
def test_files_without_a_preamble_are_read(name: str, meta: bool, tmp_path: Path) -> None:
    data = shipped(f"{name}.dcm").read_bytes()
    header = pydicom.dcmread(BytesIO(data))
    # Behind the preamble comes the meta information: 12 bytes, and as many as they say.
    start = 132 if meta else 144 + header.file_meta.FileMetaInformationGroupLength
    path = tmp_path / "IM000001"
    path.write_bytes(data[start:])
    assert image_kind(path.read_bytes()[:HEAD_BYTES]) == "DICOM"
    assert np.array_equal(read_image(path), decode_image(data))
    whole = tmp_path / "whole.dcm"
    whole.write_bytes(data)
    assert patient_group(path) == patient_group(whole) != ""


# Files that cannot be read


def test_a_dicom_file_with_the_head_of_a_tiff_is_dicom() -> None:
    data = shipped("MR_small.dcm").read_bytes()
    assert data.startswith(b"II*\0")
    assert image_kind(data) == "DICOM"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (
            "MR_truncated",
            "cannot be decoded: The number of bytes of pixel data is less than expected",
        ),
        ("image_dfl", "DICOM of deflated transfer syntax"),
        ("rtplan", "DICOM without pixels"),
        ("test-SR", "DICOM without pixels"),
        ("badVR", "DICOM that cannot be decoded"),
        (
            "no_meta",
            "not a JPEG, PNG, TIFF, BMP, GIF, WebP, AVIF, JPEG 2000, PNM",
        ),
    ],
)
def test_errors_begin_with_the_path(name: str, reason: str) -> None:
    path = shipped(f"{name}.dcm")
    with pytest.raises(ImageError) as caught:
        read_image(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert reason in str(caught.value)


def test_a_packing_without_a_plugin_is_named() -> None:
    from pydicom.pixels import get_decoder
    from pydicom.uid import JPEGLSLossless

    if get_decoder(JPEGLSLossless).is_available:
        pytest.skip("a plugin for JPEG-LS is installed")
    text = refused(shipped("MR_small_jpeg_ls_lossless.dcm").read_bytes())
    assert text.startswith(
        "DICOM packed as JPEG-LS Lossless Image Compression, which needs a plugin of pydicom; try: "
    )


def test_the_size_is_checked_before_decoding() -> None:
    data = shipped("MR_small.dcm").read_bytes()
    assert decode_image(data, max_pixels=64 * 64).shape == (64, 64, 3)
    assert "64 x 64 pixels are more than the limit of 4095" in refused(data, max_pixels=64 * 64 - 1)
    assert "65535 x 65535 pixels" in refused(
        assigned("MR_small_RLE.dcm", Rows=65535, Columns=65535)
    )


@pytest.mark.parametrize(
    "tags",
    [
        {"Rows": 0},
        {"Rows": 65},
        {"SamplesPerPixel": 3},
        {"BitsAllocated": 12},
        {"PhotometricInterpretation": "CMYK"},
        {"PhotometricInterpretation": "RGB"},
        {"PhotometricInterpretation": "PALETTE COLOR"},
        {"PixelData": b""},
        {"NumberOfFrames": 9},
    ],
)
def test_contradicting_tags_are_refused(tags: dict[str, Any]) -> None:
    refused(assigned(**tags))


@pytest.mark.parametrize("low_bits", [0, 15])
def test_values_that_are_not_in_the_low_bits_are_refused(low_bits: int) -> None:
    values = np.arange(64 * 64, dtype="<u2").reshape(64, 64)

    def change(header: Any) -> None:
        without_window(header)
        header.PixelRepresentation = 0
        header.BitsStored = 12
        header.HighBit = 11
        header.PixelData = values.tobytes()

    def shift(header: Any) -> None:
        change(header)
        header.HighBit = 15
        header.PixelData = (values << 4 | low_bits).tobytes()

    assert np.array_equal(grey(edited(change)), np.rint(values / 4095 * 255))
    assert (
        refused(edited(shift)) == "DICOM of HighBit 15 with BitsStored 12, which is not supported"
    )


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_hostile_files_raise_only_image_errors(data: st.DataObject) -> None:
    name = data.draw(
        st.sampled_from(
            ["MR_small", "MR_small_RLE", "MR_small_jp2klossless", "SC_rgb_small_odd_jpeg"]
        )
    )
    content = bytearray(shipped(f"{name}.dcm").read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(132, 1800) | st.integers(132, len(content) - 1))
        content[min(place, len(content) - 1)] = data.draw(
            st.sampled_from([0, 1, 127, 128, 255]) | st.integers(0, 255)
        )
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(132, len(content) - 1)) :]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            image = decode_image(bytes(content), max_pixels=20_000)
        except ImageError as error:
            text = str(error)
        else:
            text = "fine"
            assert image.dtype == np.uint8
            assert image.shape[2:] == (3,)
    assert text.isprintable()
    assert 0 < len(text) <= 200


def test_without_pydicom_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    data = shipped("MR_small.dcm").read_bytes()
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(
        MissingExtraError, match=r"reading DICOM files needs pydicom.*freezeframe\[dicom\]"
    ):
        decode_image(data)
