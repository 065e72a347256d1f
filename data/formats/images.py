"""Image files of every format decoded to RGB arrays; the content of a file decides its format.

Files are not trusted: sizes are checked before pixels are decoded. Every problem is an
`ImageError`; no exception and no warning of a decoder leaves this module.
"""

from __future__ import annotations

import os
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from ...errors import ImageError, ParameterError
from ..groups import patient_digest
from .limits import decoder_guard
from .regular_file import check_bytes, open_regular
from .table import HEAD_BYTES, KINDS, ImageFormat, find_format, image_kind

MAX_PIXELS = 100_000_000
"""Default limit of an image's pixels (height x width)."""

RESIZE_METHODS = ("nearest", "bilinear", "bicubic", "lanczos")

_PATIENT_BYTES = 2**20
"""Number of bytes after the head in which a patient's identifier is searched.

Without private data, the part of a file before the pixels is shorter."""


def error_reason(error: BaseException) -> str:
    """Return the reason why an image cannot be read, from the exception that was raised."""
    system_reason = error.strerror if isinstance(error, OSError) else None
    return system_reason or str(error) or "not enough memory"


def read_image_bytes(path: str | os.PathLike[str]) -> bytes:
    """Read the content of an image file; only the first `HEAD_BYTES` bytes of any other file.

    Raises:
        ImageError: the path is a directory, pipe or device, or an image file of more than
            `MAX_FILE_BYTES`.
        OSError: the file cannot be read.
    """
    with open_regular(path) as (file, n_bytes):
        head = file.read(min(HEAD_BYTES, n_bytes))
        # A file of another kind may be huge, and its head already shows that it is no image.
        if not image_kind(head):
            return head
        check_bytes(n_bytes)
        return head + file.read(n_bytes - len(head))


def decode_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode the bytes of one image file of any format in the table into RGB.

    - The first of several frames or pages is decoded; for an animated PNG, its default image.
    - EXIF orientation is applied. Colour profiles are not: CMYK, LAB and YCbCr are converted by
      Pillow's formulas.
    - Transparent images get a black background, which is the background of MRI scans. Dropping
      the alpha channel, as `Image.convert("RGB")` does, would uncover colours that no viewer of
      the image ever shows.
    - Grey levels of more than 8 bits, signed ones and floats are scaled by `scale_to_bytes`, not
      clipped to white. Transparent pixels do not count for the scale.
    - Colours of 16 bits become bytes by the highest 8 of the bits that the largest colour of the
      image takes: many files of 16 bits hold values of 10, 12 or 14 bits, or of 8.
    - TIFF colours that are signed, floats, or of more than 16 bits are refused.

    Args:
        data: content of the file.
        max_pixels: limit of height x width, checked before pixels are decoded.

    Returns:
        uint8 RGB array of shape (height, width, 3), C-contiguous and writeable.

    Raises:
        ImageError: the file is empty, of unknown format, truncated, damaged, or too large; the
            reason is one line.
        MissingExtraError: it is a DICOM file and pydicom is not installed.

    Examples:
        >>> from io import BytesIO
        >>> from PIL import Image
        >>> Image.new("L", (4, 3), 200).save(file := BytesIO(), "PNG")
        >>> decode_image(file.getvalue()).shape
        (3, 4, 3)
    """
    if not data:
        raise ImageError("the file is empty")
    row = _require_format(data)
    with decoder_guard(row.name):
        return row.reader.decode(data, max_pixels=max_pixels)


def image_mode(data: bytes) -> str:
    """Return the mode of an image file, which says how its pixels are stored.

    The pixels are not decoded.

    Args:
        data: content of the file.

    Returns:
        Pillow's mode ("1", "L", "P", "RGB", "RGBA", "I;16", ...), or the photometric interpretation
        of a DICOM file.

    Raises:
        ImageError: the file's header cannot be read.
        MissingExtraError: it is a DICOM file and pydicom is not installed.
    """
    row = _require_format(data)
    with decoder_guard(row.name):
        return row.reader.mode(data)


def count_frames(data: bytes) -> int:
    """Count the frames or pages of an image file, of which `decode_image` takes the first.

    The pixels are not decoded.

    Args:
        data: content of a file that `decode_image` can read.

    Returns:
        The number, at least 1; 1 if later frames are so damaged that they cannot be counted.
    """
    row = _require_format(data)
    try:
        with decoder_guard(row.name):
            return row.reader.frames(data)
    # The picture itself was decoded, so it is not refused.
    except ImageError:
        return 1


def patient_group(path: str | os.PathLike[str]) -> str:
    """Return a group name for the patient of an image file, the same for all files of one patient.

    The name is a digest, so no list, store or report shows the identifier; see `patient_digest`.

    Returns:
        The digest; "" if the file names no patient, cannot be read, or
        needs a library that is not installed.
    """
    try:
        with open_regular(path) as (file, n_bytes):
            head = file.read(min(HEAD_BYTES, n_bytes))
            row = find_format(head)
            if row is None or row.read_patient_id is None:
                return ""
            # A file with a label is small, and read as a whole.
            most = n_bytes if row.read_label else _PATIENT_BYTES
            data = head + file.read(min(most, n_bytes))
    except (ImageError, OSError, ValueError):
        return ""
    # A damaged header is no reason to refuse a list: extraction reports the file.
    try:
        with decoder_guard(row.name):
            patient_id = row.read_patient_id(data)
    except ImageError:
        return ""
    return patient_digest(patient_id) if patient_id else ""


def label_in_file(path: str | os.PathLike[str]) -> str:
    """Return the class that an image file names; "" for none, and for a damaged file."""
    with suppress(ImageError, OSError, ValueError):
        with open_regular(path) as (file, n_bytes):
            row = find_format(file.read(min(HEAD_BYTES, n_bytes)))
        if row is not None and row.read_label is not None:
            with decoder_guard(row.name):
                return row.read_label(read_image_bytes(path))
    return ""


def resize_image(
    image: NDArray[np.uint8], height: int, width: int, method: str
) -> NDArray[np.uint8]:
    """Resize an image with Pillow.

    All methods but "nearest" average over the covered pixels when shrinking (antialiasing). The
    methods of the same names in TensorFlow, PyTorch and OpenCV do not do so by default.

    Args:
        image: uint8 RGB array of shape (old height, old width, 3).
        height: height of the result, in pixels.
        width: width of the result, in pixels.
        method: one of `RESIZE_METHODS`.

    Returns:
        uint8 RGB array of shape (height, width, 3); a new one even if the size is the same.

    Raises:
        ParameterError: `method` is unknown, or the image or a size is invalid.

    Examples:
        >>> resize_image(np.zeros((4, 4, 3), np.uint8), 2, 3, "bilinear").shape
        (2, 3, 3)
    """
    from PIL import Image

    if method not in RESIZE_METHODS:
        raise ParameterError(
            f"resize method must be one of {', '.join(RESIZE_METHODS)}, got {method!r}"
        )
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ParameterError(
            f"image must be uint8 of shape (height, width, 3), got {image.dtype} of {image.shape}"
        )
    if height < 1 or width < 1:
        raise ParameterError(f"height and width must be at least 1, got {height} and {width}")
    # Pillow takes the width first.
    resized = Image.fromarray(image).resize((width, height), Image.Resampling[method.upper()])
    return np.array(resized)


def _require_format(data: bytes) -> ImageFormat:
    """Return the format of a file's content; raise ImageError if none matches."""
    row = find_format(data[:HEAD_BYTES])
    if row is None:
        raise ImageError(f"not a {', '.join(KINDS[:-1])} or {KINDS[-1]} file")
    return row
