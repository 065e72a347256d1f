"""DICOM files decoded to RGB arrays with pydicom, as a viewer shows them.

`pip install 'freezeframe[dicom]'` installs pydicom. Files without the preamble of 128 bytes and the
letters DICM are read, too.

References:
    DICOM PS3.3: C.7.6.3 (pixels), C.11.1 (modality LUT), C.11.2 (VOI LUT),
    https://dicom.nema.org/medical/dicom/current
"""

from __future__ import annotations

from collections.abc import MutableSequence
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ImageError, MissingExtraError
from .limits import check_size, scale_to_bytes

# Files without a preamble begin with the file's meta information (group 2), or with one of the
# first elements of group 8: (0008,0000), 0001, 0005, 0008, 0012 to 0018. The type of an element is
# explicit, or its length of 4 bytes is short.
DICOM_MAGIC = (
    rb".{128}DICM|\x02\0[\0\x01\x02\x10]\0(UL|OB|UI)"
    rb"|\x08\0[\0\x01\x05\x08\x12-\x18]\0(UL|CS|UI|DA|TM|.\0\0\0)"
    rb"|\0\x08\0[\0\x01\x05\x08\x12-\x18](UL|CS|UI|DA|TM)"
)

# Transfer syntax UID of files that are deflated as a whole.
_DEFLATED = b"1.2.840.10008.1.2.1.99"
# Elements of pixels, and the prefix of the elements that describe their padding.
_PIXEL_TAGS = {
    "PixelData": "Pixel",
    "FloatPixelData": "FloatPixel",
    "DoubleFloatPixelData": "DoubleFloatPixel",
}
_COLOUR_SPACES = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")


class DicomReader:
    """Reader of DICOM files."""

    def decode(self, data: bytes, *, max_pixels: int) -> NDArray[np.uint8]:
        """Decode the first frame of a DICOM file.

        Grey pixels pass the modality LUT (rescale slope and intercept), then the first VOI window.
        A file without a window can have a VOI LUT instead. Without both, `scale_to_bytes` scales
        the pixels; it ignores pixel padding. MONOCHROME1 is inverted. Pixel padding is black.
        Colours (RGB, YBR, palette) are reduced to 8 bits. Overlays, colour profiles and the windows
        that enhanced multi-frame files keep for each frame are not applied.

        Args:
            data: content of the file.
            max_pixels: limit of rows x columns, checked before pixels are decoded.

        Returns:
            uint8 RGB array of shape (rows, columns, 3), C-contiguous and writeable.

        Raises:
            ImageError: the file has no pixels, too many pixels, needs a plugin that is not
                installed, or stores values elsewhere than in the low bits.
            MissingExtraError: pydicom is not installed.

        Examples:
            >>> from pydicom.data import get_testdata_file
            >>> with open(get_testdata_file("MR_small.dcm", download=False), "rb") as file:
            ...     DicomReader().decode(file.read(), max_pixels=10_000).shape
            (64, 64, 3)
        """
        if is_deflated(data):
            raise ImageError("DICOM of deflated transfer syntax, which is not supported")
        header = read_header(data)
        from pydicom.pixels import pixel_array

        check_pixels(header, max_pixels)
        pixels = pixel_array(header, index=0)
        # An embedded JPEG has its own header, and may claim another size: then this line raises.
        rgb = np.broadcast_to(to_rgb(pixels, header), (header.Rows, header.Columns, 3))
        return np.array(np.clip(rgb, 0, 255), dtype=np.uint8, order="C")

    def mode(self, data: bytes) -> str:
        """Return the photometric interpretation, such as "MONOCHROME2"; "" if the file names none.

        Raises:
            MissingExtraError: pydicom is not installed.
        """
        header = read_header(data, stop_before_pixels=True)
        return str(header.get("PhotometricInterpretation", ""))

    def frames(self, data: bytes) -> int:
        """Return the number of frames that a file names; 1 if it names none."""
        header = read_header(data, stop_before_pixels=True, specific_tags=["NumberOfFrames"])
        return max(1, int(header.get("NumberOfFrames") or 1))


def is_deflated(data: bytes) -> bool:
    """Return True for a file that pydicom would inflate as a whole, before anything is checked."""
    return _DEFLATED in data


def read_patient_id(data: bytes) -> str:
    """Return the PatientID in the first bytes of a DICOM file; "" if the file names none.

    Without pydicom, and for deflated files, the result is "", too.
    """
    if is_deflated(data):
        return ""
    try:
        header = read_header(data, stop_before_pixels=True, specific_tags=["PatientID"])
    except MissingExtraError:
        return ""
    return str(header.get("PatientID", "") or "").strip()


def read_header(data: bytes, **options: Any) -> Any:
    """Return pydicom's data set of a file, with the transfer syntax that the file may lack.

    Args:
        data: content of the file.
        options: options of `pydicom.dcmread`.

    Raises:
        MissingExtraError: pydicom is not installed.
    """
    try:
        from pydicom import dcmread, uid
    except ImportError as error:
        raise MissingExtraError("pydicom", "dicom", "reading DICOM files") from error
    header = dcmread(BytesIO(data), force=True, **options)
    if "TransferSyntaxUID" not in header.file_meta:
        plain = {
            (True, True): uid.ImplicitVRLittleEndian,
            (False, True): uid.ExplicitVRLittleEndian,
            (False, False): uid.ExplicitVRBigEndian,
        }
        header.file_meta.TransferSyntaxUID = plain[header.original_encoding]
    return header


def check_pixels(header: Any, max_pixels: int) -> None:
    """Raise ImageError if pixels are missing, too many, or packed in an unsupported way."""
    from pydicom.pixels import get_decoder

    if "Rows" not in header or not any(name in header for name in _PIXEL_TAGS):
        raise ImageError("DICOM without pixels")
    check_size(header.Rows, header.Columns, max_pixels)
    stored = header.get("BitsStored")
    high_bit = header.get("HighBit")
    # Older editions of PS3.5 (8.1.1) allowed values in higher bits; pydicom takes the low bits.
    if None not in (stored, high_bit) and high_bit != stored - 1:
        raise ImageError(
            f"DICOM of HighBit {high_bit} with BitsStored {stored}, which is not supported"
        )
    # Checked before decoding: pydicom's own error for a missing plugin is several lines long.
    packing = header.file_meta.TransferSyntaxUID
    if not get_decoder(packing).is_available:
        raise ImageError(
            f"DICOM packed as {packing.name}, which needs a plugin of pydicom; "
            "try: pip install 'pylibjpeg[all]'"
        )


def to_rgb(pixels: NDArray[Any], header: Any) -> NDArray[Any]:
    """Convert stored pixels to levels from 0 to 255.

    Args:
        pixels: array of shape (rows, columns) or (rows, columns, 3).
        header: pydicom's data set.

    Returns:
        Array that can be broadcast to (rows, columns, 3).
    """
    kind = header.PhotometricInterpretation
    if kind in ("MONOCHROME1", "MONOCHROME2") and pixels.ndim == 2:
        padding = padding_of(pixels, header)
        grey = _grey(pixels, padding, header)
        grey = 255 - grey if kind == "MONOCHROME1" else grey
        return np.where(padding, np.uint8(0), grey)[..., np.newaxis]
    if kind == "PALETTE COLOR" and pixels.ndim == 2:
        return _look_up_colours(pixels, header)
    if kind in _COLOUR_SPACES and pixels.ndim == 3:
        colours: NDArray[Any] = pixels >> max(header.BitsStored - 8, 0)
        return colours
    raise ImageError(f"DICOM of photometric interpretation {kind}, which is not supported")


def _grey(pixels: NDArray[Any], padding: NDArray[np.bool_], header: Any) -> NDArray[np.uint8]:
    """Convert stored grey values to bytes of the same shape, (rows, columns)."""
    from pydicom.pixels import apply_modality_lut

    levels = apply_modality_lut(pixels, header).astype(np.float64)
    center = _first(header.get("WindowCenter"))
    width = _first(header.get("WindowWidth"))
    if center is not None and width is not None and width > 0:
        function = str(header.get("VOILUTFunction", "LINEAR"))
        unit = _apply_window(levels, float(center), float(width), function)
    elif header.get("VOILUTSequence"):
        unit = _apply_lut(levels, header.VOILUTSequence[0], header.original_encoding[1])
    else:
        # Padding is often far outside the range of the picture, which would become dark.
        return scale_to_bytes(np.where(padding, np.nan, levels))
    return np.rint(np.nan_to_num(unit) * 255).astype(np.uint8)


def padding_of(pixels: NDArray[Any], header: Any) -> NDArray[np.bool_]:
    """Return True for pixels that only fill the rectangle (PS3.3 C.7.5.1.1.2).

    The stored values from PixelPaddingValue to PixelPaddingRangeLimit, in any order, are padding.
    """
    name = next(prefix for tag, prefix in _PIXEL_TAGS.items() if tag in header)
    first = header.get(f"{name}PaddingValue")
    if first is None:
        return np.zeros(pixels.shape, np.bool_)
    last = header.get(f"{name}PaddingRangeLimit")
    limits = np.array([first, first if last is None else last])
    # Some writers give the values of signed pixels as unsigned numbers, or the other way round.
    if pixels.dtype.itemsize == 2 and pixels.dtype.kind in "iu":
        limits = limits.astype(pixels.dtype)
    padding: NDArray[np.bool_] = (pixels >= limits.min()) & (pixels <= limits.max())
    return padding


def _look_up_colours(pixels: NDArray[Any], header: Any) -> NDArray[Any]:
    """Look pixels of shape (rows, columns) up in the palette; the result has values up to 255."""
    from pydicom.pixels import apply_color_lut

    entries, first, _ = header.RedPaletteColorLookupTableDescriptor
    # 0 means 2^16, which 16 bits have no place for.
    entries = entries or 2**16
    # The index of pydicom's function overflows in palettes of 8 bits, so it gets no other pixels.
    colours: NDArray[Any] = apply_color_lut(np.arange(first, first + entries), header)[:, :3]
    if colours.itemsize == 1 and entries > 256:
        raise ImageError(f"DICOM palette of {entries} colours of 8 bits, which is not supported")
    # pydicom takes these words for little-endian ones in all files.
    if not header.original_encoding[1] and colours.itemsize == 2:
        colours = colours.byteswap()
    # Many palettes that claim 16 bits hold values of 8 bits.
    if colours.max() > 255:
        colours = colours >> 8
    looked_up: NDArray[Any] = colours[np.clip(pixels.astype(np.int64) - first, 0, entries - 1)]
    return looked_up


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, MutableSequence) else value


def _apply_window(
    levels: NDArray[np.float64], center: float, width: float, function: str
) -> NDArray[np.float64]:
    """Apply a VOI window, with results from 0 to 1 (PS3.3 C.11.2.1.2 and C.11.2.1.3).

    pydicom's own function is wrong for slopes below zero, and refuses windows narrower than 1.
    """
    unit: NDArray[np.float64]
    if function == "SIGMOID":
        with np.errstate(over="ignore"):
            unit = 1 / (1 + np.exp(-4 * (levels - center) / width))
            return unit
    if function != "LINEAR_EXACT":
        center -= 0.5
        width -= 1
    # A window of one level is a threshold.
    if width <= 0:
        return (levels > center).astype(np.float64)
    return np.clip((levels - center) / width + 0.5, 0, 1)


def _apply_lut(levels: NDArray[np.float64], lut: Any, little_endian: bool) -> NDArray[np.float64]:
    """Look levels up in a VOI LUT, with results from 0 to 1 (PS3.3 C.11.2.1.1).

    The index of pydicom's own function overflows in tables of 8 bits.
    """
    _, first, depth = lut.LUTDescriptor
    values = lut.LUTData
    if isinstance(values, bytes):
        values = np.frombuffer(values, "<u2" if little_endian else ">u2")
    table = np.asarray(values, np.float64) / (2**depth - 1)
    unit: NDArray[np.float64] = table[np.clip(levels - first, 0, len(table) - 1).astype(np.intp)]
    return np.clip(unit, 0, 1)
