"""Image files to RGB arrays: the format is told by a file's content, and what cannot be read is one `ImageError`.

Files are not trusted: sizes are checked before pixels are unpacked, and no decoder's exception or
warning gets out.
"""

from __future__ import annotations

import os
import stat
import zlib
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ImageError, MissingExtraError, ParameterError
from ..output.terminal import printable
from .limits import check_size, reading, scale_to_bytes

if TYPE_CHECKING:
    from PIL import Image

HEAD_BYTES = 132  # of a file's content, so many are needed by `image_kind`
MAX_PIXELS = 100_000_000
MAX_FILE_BYTES = 2**30
"""Files are read as a whole; an image of `MAX_PIXELS` in 16 bits and three colours, unpacked, takes 600 MB."""
RESIZE_METHODS = ("nearest", "bilinear", "bicubic", "lanczos")

_BLOCK_PIXELS = 2**20
_SCANS_OF_LARGEST = (
    50  # a JPEG of the most pixels allowed may have so many; smaller ones may have more
)
_ORIENTATION, _PHOTOMETRIC, _TILE_WIDTH, _TILE_HEIGHT = (
    274,
    262,
    322,
    323,
)  # tags of TIFF; EXIF shares the first
_MAGIC = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
}
_BMP_HEADER_SIZES = (12, 16, 40, 52, 56, 64, 108, 124)
# Names in Pillow's classes, which are called directly: Image.open would ask a limit on sizes that
# the process shares.
_READERS = {
    "JPEG": "Jpeg",
    "PNG": "Png",
    "TIFF": "Tiff",
    "BMP": "Bmp",
    "GIF": "Gif",
    "WebP": "WebP",
}
KINDS = (*_READERS, "DICOM")
_PNG_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT", b"IEND")


def image_kind(head: bytes) -> str | None:
    """Name the format of a file by its first `HEAD_BYTES` bytes; None if it is none that can be decoded.

    >>> image_kind(b"GIF89a...")
    'GIF'
    """
    # Asked first: many DICOM files open with the head of a TIFF file, and few of them hold a TIFF
    # image.
    if head[128:132] == b"DICM":
        return "DICOM"
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return kind
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WebP"
    # Two letters alone would make an image of any text that begins with them.
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADER_SIZES:
        return "BMP"
    return None


def read_image(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Read one image file, whatever the ending of its name; see `decode_image` for what is made of it.

    Returns:
        uint8 RGB array of shape (height, width, 3).

    Raises:
        ImageError: the file cannot be read or is no image; its one line begins with the path.
        MissingExtraError: it is a DICOM file and pydicom is not installed.

    >>> read_image("scan.png")
    Traceback (most recent call last):
    freezeframe.errors.ImageError: scan.png: No such file or directory
    """
    try:
        return decode_image(read_image_bytes(path), max_pixels=max_pixels)
    except (ImageError, OSError, ValueError, MemoryError) as error:
        reason = (
            (error.strerror if isinstance(error, OSError) else None)
            or str(error)
            or "not enough memory"
        )
        raise ImageError(f"{printable(os.fspath(path))}: {reason}") from error


def read_image_bytes(path: str | os.PathLike[str]) -> bytes:
    """Content of an image file; of a file that is no image only its first `HEAD_BYTES` bytes.

    Raises:
        ImageError: a directory, pipe or device: the one would be waited for, the other read for
            ever; or an image file of more than `MAX_FILE_BYTES`.
        OSError: the file cannot be read.
    """
    status = Path(path).stat()
    if not stat.S_ISREG(status.st_mode):
        raise ImageError("is a directory" if stat.S_ISDIR(status.st_mode) else "not a regular file")
    with Path(path).open("rb") as file:
        head = file.read(HEAD_BYTES)
        if not image_kind(head):
            return head
        if status.st_size > MAX_FILE_BYTES:
            raise ImageError(f"{status.st_size} bytes are more than the limit of {MAX_FILE_BYTES}")
        return head + file.read()


def decode_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode the bytes of one JPEG, PNG, TIFF, BMP, GIF, WebP or DICOM file into RGB.

    - Of several frames or pages the first is taken, of an animated PNG its default image.
    - EXIF orientation is applied. Colour profiles are not: CMYK, LAB and YCbCr are converted by
      Pillow's formulas.
    - Transparency is laid over black, the background of MRI scans. Merely dropping the alpha
      channel, as `Image.convert("RGB")` does, would uncover colours that no viewer of the image
      ever shows.
    - Grey levels of more than 8 bits are scaled by `scale_to_bytes`, not clipped to white.

    Args:
        data: content of the file.
        max_pixels: an image of more pixels (height x width) is refused before it is decoded.

    Returns:
        uint8 RGB array of shape (height, width, 3), C-contiguous and writeable.

    Raises:
        ImageError: with the reason on one line: empty, unknown, truncated, damaged, too large.
        MissingExtraError: it is a DICOM file and pydicom is not installed.

    >>> from io import BytesIO
    >>> from PIL import Image
    >>> Image.new("L", (4, 3), 200).save(file := BytesIO(), "PNG")
    >>> decode_image(file.getvalue()).shape
    (3, 4, 3)
    """
    if not data:
        raise ImageError("the file is empty")
    kind = image_kind(data[:HEAD_BYTES])
    if kind is None:
        raise ImageError(f"not a {', '.join(_READERS)} or DICOM file")
    if kind == "DICOM":
        from .dicom import decode_dicom

        return decode_dicom(data, max_pixels=max_pixels)
    with reading(kind), _opened(data, kind) as image:
        _check_header(image, max_pixels)
        if kind == "JPEG":
            _check_scans(image, data, max_pixels)
        image.load()
        # Pillow itself turns TIFFs.
        orientation = 1 if kind == "TIFF" else _orientation(image)
        rgb: NDArray[np.uint8] = np.require(
            _turned(_to_rgb(image), orientation), np.uint8, ["C", "O", "W"]
        )
        return rgb


def image_mode(data: bytes) -> str:
    """How a file that `decode_image` reads keeps its pixels; they are not unpacked.

    Returns:
        Pillow's mode ("1", "L", "P", "RGB", "RGBA", "I;16", ...), or the photometric interpretation
        of a DICOM file.

    Raises:
        ImageError: the file's header cannot be read.
        MissingExtraError: it is a DICOM file and pydicom is not installed.
    """
    kind = image_kind(data[:HEAD_BYTES])
    if kind is None:
        raise ImageError(f"not a {', '.join(_READERS)} or DICOM file")
    if kind == "DICOM":
        return _photometric_interpretation(data)
    with reading(kind), _opened(data, kind) as image:
        return str(image.mode)


def resize_image(
    image: NDArray[np.uint8], height: int, width: int, method: str
) -> NDArray[np.uint8]:
    """Resize with Pillow. All methods but "nearest" average over the covered pixels when shrinking (antialiasing),
    which the equally named methods of TensorFlow, PyTorch and OpenCV do not do by default.

    Args:
        image: uint8 RGB array of shape (old height, old width, 3).
        height: of the result, in pixels.
        width: of the result, in pixels.
        method: one of `RESIZE_METHODS`.

    Returns:
        uint8 RGB array of shape (height, width, 3); a new one even if the size is the same.

    Raises:
        ParameterError: `method` is unknown, or the image or a size is not as above.

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
    resized = Image.fromarray(image).resize((width, height), Image.Resampling[method.upper()])
    return np.array(resized)


def _photometric_interpretation(data: bytes) -> str:
    try:
        from pydicom import dcmread
    except ImportError as error:
        raise MissingExtraError("pydicom", "dicom", "reading DICOM files") from error
    with reading("DICOM"):
        header = dcmread(BytesIO(data), stop_before_pixels=True)
        return str(header.get("PhotometricInterpretation", ""))


def _opened(data: bytes, kind: str) -> Any:
    """Pillow's image of a file, of which only the header is read as yet."""
    name = _READERS[kind]
    reader = getattr(import_module(f"PIL.{name}ImagePlugin"), f"{name}ImageFile")
    return reader(BytesIO(_bare_png(data) if kind == "PNG" else data))


def _bare_png(data: bytes) -> bytes:
    """Leave only the chunks that make the picture, and check them: texts, profiles and frames can be huge or broken,
    and Pillow does not check the sums of pixels."""
    at, name, kept = 8, b"", [data[:8]]
    while name != b"IEND":
        name, end = data[at + 4 : at + 8], at + 12 + int.from_bytes(data[at : at + 4], "big")
        if end > len(data):
            raise ImageError("PNG that is truncated")
        if name in _PNG_CHUNKS:
            if zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
                raise ImageError(
                    f"PNG that is damaged: wrong checksum of its {name.decode()} chunk"
                )
            kept.append(data[at:end])
        at = end
    return b"".join(kept)


def _check_header(image: Image.Image, max_pixels: int) -> None:
    check_size(image.height, image.width, max_pixels)
    tags = getattr(image, "tag_v2", {})
    if _TILE_HEIGHT in tags or _TILE_WIDTH in tags:
        # A tile may be larger than the image and is unpacked as a whole; a side that is missing is
        # the image's.
        check_size(
            tags.get(_TILE_HEIGHT, max(image.size)),
            tags.get(_TILE_WIDTH, max(image.size)),
            max_pixels,
        )


def _check_scans(image: Any, data: bytes, max_pixels: int) -> None:
    """Some kilobytes of JPEG can hold thousands of scans, each of which goes over all pixels: hours of work."""
    pixels_at = (
        image.fp.tell()
    )  # behind the header of the first scan: what precedes it may hold thumbnails
    header_bytes = pixels_at - data.rfind(b"\xff\xda", 0, pixels_at)
    # A first scan of all colours is the only one, and phones append films, in which any bytes may
    # stand.
    if "progressive" in image.info or header_bytes < 8 + 2 * image.layers:
        scans = 1 + data.count(b"\xff\xda", pixels_at)
        if scans * image.height * image.width > _SCANS_OF_LARGEST * max_pixels:
            raise ImageError(
                f"JPEG of {image.width} x {image.height} pixels in {scans} scans, which is too many"
            )


def _orientation(image: Image.Image) -> Any:
    try:
        return image.getexif().get(_ORIENTATION)
    except Exception:  # broken EXIF data is common and no reason to refuse a sound picture
        return None


def _turned(rgb: NDArray[np.uint8], orientation: Any) -> NDArray[np.uint8]:
    if orientation in (5, 6, 7, 8):
        rgb = rgb.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        rgb = rgb[:, ::-1]
    return rgb[::-1] if orientation in (3, 4, 7, 8) else rgb


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        levels = np.asarray(image)
        if isinstance(transparent := image.info.get("transparency"), int):
            levels = np.where(levels == transparent, np.nan, levels)
        if getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0:
            levels = -levels.astype(
                np.float64
            )  # Pillow turns "white is zero" round for 8 bits, but not for more
        return np.repeat(scale_to_bytes(levels)[..., np.newaxis], 3, axis=2)
    rgb = np.empty((image.height, image.width, 3), np.uint8)
    rows = max(1, _BLOCK_PIXELS // image.width)
    # In blocks: Pillow takes 4 bytes a pixel at each step, and a large image has several.
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        rgb[top:bottom] = _block_to_rgb(image.crop((0, top, image.width, bottom)))
    return rgb


def _block_to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        # RGBa is RGB already multiplied by alpha, which is the same as laid over black.
        return np.asarray(image.convert("RGBA").convert("RGBa"))[..., :3]
    return np.asarray(image.convert("RGB"))
