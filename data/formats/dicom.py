"""DICOM files to RGB arrays, as a viewer shows them, through pydicom (`pip install 'freezeframe[dicom]'`).

`decode_image` calls this by the letters DICM at byte 128; files without that preamble of 128 bytes
are out of scope.

References:
    DICOM PS3.3: C.7.6.3 (pixels), C.11.1 (modality LUT), C.11.2 (VOI LUT),
    https://dicom.nema.org/medical/dicom/current
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import MutableSequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ImageError, MissingExtraError
from .limits import check_size, reading, scale_to_bytes

_MAGIC_END = 132
_HEADER_BYTES = 2**20
"""What precedes the pixels is shorter, but for private data."""
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")


def decode_dicom(data: bytes, *, max_pixels: int) -> NDArray[np.uint8]:
    """Decode the first frame of a DICOM file.

    Grey pixels go through the modality LUT (rescale slope and intercept) and the first VOI window,
    or the VOI LUT where there is no window; where there is neither they are scaled by
    `scale_to_bytes`, pixel padding left out. MONOCHROME1 is inverted. Colours (RGB, YBR, palette)
    are reduced to 8 bits. Overlays, colour profiles and the windows that enhanced multi-frame files
    keep for each frame are not applied.

    Args:
        data: content of the file.
        max_pixels: an image of more pixels (rows x columns) is refused before it is decoded.

    Returns:
        uint8 RGB array of shape (rows, columns, 3), C-contiguous and writeable.

    Raises:
        ImageError: the file is damaged, has no pixels or too many, or is packed in a way that
            cannot be unpacked here.
        MissingExtraError: pydicom is not installed.

    >>> from pydicom.data import get_testdata_file
    >>> with open(get_testdata_file("MR_small.dcm", download=False), "rb") as file:
    ...     decode_dicom(file.read(), max_pixels=10_000).shape
    (64, 64, 3)
    """
    try:
        from pydicom import dcmread
        from pydicom.pixels import pixel_array
    except ImportError as error:
        raise MissingExtraError("pydicom", "dicom", "reading DICOM files") from error
    with reading("DICOM"):
        # pydicom unpacks these files as a whole before anything in them can be checked.
        if _DEFLATED in data:
            raise ImageError("DICOM of deflated transfer syntax, which is not read")
        header = dcmread(BytesIO(data))
        _check_header(header, max_pixels)
        pixels = pixel_array(header, index=0)
        # The shape below also finds out what an embedded JPEG's own header says otherwise.
        rgb = np.broadcast_to(_to_rgb(pixels, header), (header.Rows, header.Columns, 3))
        return np.array(np.clip(rgb, 0, 255), dtype=np.uint8, order="C")


def patient_group(path: str | os.PathLike[str]) -> str:
    """A name for the patient of a DICOM file: the same for all files of one PatientID, which it does not show.

    It is a digest, so the identifier is in no list, store or report; who has a list of identifiers
    can still find out whose it is. Only the first `_HEADER_BYTES` of the file are looked at.

    Returns:
        "patient-" and 16 hexadecimal digits; "" if the file is none of DICOM, names no patient or
        cannot be read, or pydicom is not installed.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(_MAGIC_END)
            if data[_MAGIC_END - 4 :] != b"DICM":
                return ""
            data += file.read(_HEADER_BYTES)
    except (OSError, ValueError):
        return ""
    try:
        from pydicom import dcmread
    except ImportError:
        return ""
    try:
        with reading("DICOM"):
            if _DEFLATED in data:
                return ""
            header = dcmread(BytesIO(data), stop_before_pixels=True, specific_tags=["PatientID"])
            patient = str(header.get("PatientID", "") or "").strip()
    except ImageError:
        return ""
    return (
        f"patient-{hashlib.sha256(patient.encode(errors='replace')).hexdigest()[:16]}"
        if patient
        else ""
    )


def _check_header(header: Any, max_pixels: int) -> None:
    from pydicom.pixels import get_decoder

    if "Rows" not in header or not any(name in header for name in _PIXELS):
        raise ImageError("DICOM without pixels")
    check_size(header.Rows, header.Columns, max_pixels)
    packing = header.file_meta.TransferSyntaxUID
    if not get_decoder(packing).is_available:
        raise ImageError(
            f"DICOM packed as {packing.name}: pydicom needs a plugin, try: pip install 'pylibjpeg[all]'"
        )


def _to_rgb(pixels: NDArray[Any], header: Any) -> NDArray[Any]:
    """(rows, columns) or (rows, columns, 3) -> values of 0 to 255 that can be broadcast to (rows, columns, 3)."""
    from pydicom.pixels import apply_color_lut

    colours: NDArray[Any]
    kind = header.PhotometricInterpretation
    if kind in ("MONOCHROME1", "MONOCHROME2") and pixels.ndim == 2:
        grey = _grey(pixels, header)
        return (255 - grey if kind == "MONOCHROME1" else grey)[..., np.newaxis]
    if kind == "PALETTE COLOR" and pixels.ndim == 2:
        depth = header.RedPaletteColorLookupTableDescriptor[2]
        colours = apply_color_lut(pixels, header)[..., :3] >> max(depth - 8, 0)
        return colours
    if kind in _COLOURS and pixels.ndim == 3:
        colours = pixels >> max(header.BitsStored - 8, 0)
        return colours
    raise ImageError(f"DICOM of photometric interpretation {kind}, which is not read")


def _grey(pixels: NDArray[Any], header: Any) -> NDArray[np.uint8]:
    """Stored values of shape (rows, columns) -> uint8 of that shape."""
    from pydicom.pixels import apply_modality_lut

    levels = apply_modality_lut(pixels, header).astype(np.float64)
    center, width = _first(header.get("WindowCenter")), _first(header.get("WindowWidth"))
    if center is not None and width is not None and width > 0:
        unit = _windowed(
            levels, float(center), float(width), str(header.get("VOILUTFunction", "LINEAR"))
        )
    elif header.get("VOILUTSequence"):
        unit = _looked_up(levels, header.VOILUTSequence[0], header.original_encoding[1])
    else:
        padding = header.get("PixelPaddingValue")
        return scale_to_bytes(
            levels if padding is None else np.where(pixels == padding, np.nan, levels)
        )
    return np.rint(np.nan_to_num(unit) * 255).astype(np.uint8)


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, MutableSequence) else value


def _windowed(
    levels: NDArray[np.float64], center: float, width: float, function: str
) -> NDArray[np.float64]:
    """PS3.3 C.11.2.1.2 and C.11.2.1.3 with an output range of 0 to 1; not pydicom's, which is wrong for slopes below
    zero and refuses windows narrower than 1."""
    unit: NDArray[np.float64]
    if function == "SIGMOID":
        with np.errstate(over="ignore"):
            unit = 1 / (1 + np.exp(-4 * (levels - center) / width))
            return unit
    if function != "LINEAR_EXACT":
        center, width = center - 0.5, width - 1
    if width <= 0:
        return (levels > center).astype(np.float64)
    return np.clip((levels - center) / width + 0.5, 0, 1)


def _looked_up(levels: NDArray[np.float64], lut: Any, little_endian: bool) -> NDArray[np.float64]:
    """PS3.3 C.11.2.1.1 with an output range of 0 to 1; not pydicom's, whose index overflows in tables of 8 bits."""
    _, first, depth = lut.LUTDescriptor
    values = lut.LUTData
    if isinstance(values, bytes):
        values = np.frombuffer(values, "<u2" if little_endian else ">u2")
    table = np.asarray(values, np.float64) / (2**depth - 1)
    unit: NDArray[np.float64] = table[np.clip(levels - first, 0, len(table) - 1).astype(np.intp)]
    return np.clip(unit, 0, 1)
