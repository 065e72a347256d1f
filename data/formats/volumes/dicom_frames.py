"""Multi-frame DICOM files, the enhanced ones among them, as volumes.

References:
    DICOM PS3.3, C.7.6.6 (multi-frame) and C.7.6.16 (functional groups),
    https://dicom.nema.org/medical/dicom/current
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....errors import ImageError
from ..dicom import check_pixels, is_deflated, padding_of, read_header, to_rgb
from .placement import Placement, place_frames
from .volume import Scale, VolumeHeader, check_slices, check_volume

_GREY = ("MONOCHROME1", "MONOCHROME2")


class DicomFrames:
    """Reader of multi-frame DICOM files.

    Frames with a place in the body each make a volume, which is turned. Frames without places, or
    with several at one place, such as a film of a beating heart, keep their order.
    """

    def header(self, data: bytes) -> VolumeHeader | None:
        """Read the shape of the volume; see `VolumeReader`. None for files of one frame."""
        if is_deflated(data):
            return None
        header = read_header(data, stop_before_pixels=True)
        n = int(header.get("NumberOfFrames") or 1)
        if n < 2:
            return None
        shape = (n, int(header.get("Rows") or 0), int(header.get("Columns") or 0))
        check_volume(shape, pixel_bytes(header))
        placement = _placement(header, n)
        if placement is None:
            return VolumeHeader(shape, has_axes=False)
        return VolumeHeader(placement.orientation.shape(shape))

    def mode(self, data: bytes) -> str:
        """Return the photometric interpretation, such as "MONOCHROME2"."""
        header = read_header(data, stop_before_pixels=True)
        return str(header.get("PhotometricInterpretation", ""))

    def read(self, data: bytes, *, max_pixels: int, scale: Scale) -> NDArray[np.uint8]:
        """Decode, scale and turn a volume; see `VolumeReader`.

        Grey levels pass the slope and intercept of the file or the frame. Windows are not applied:
        they may differ from frame to frame.
        """
        volume = self.header(data)
        header = read_header(data)
        assert volume is not None
        check_slices(volume.shape, max_pixels)
        check_pixels(header, max_pixels)
        n = int(header.NumberOfFrames)
        placement = _placement(header, n)
        order = placement.order if placement else tuple(range(n))
        groups = header.get("PerFrameFunctionalGroupsSequence") or [None] * n
        if len(groups) != n:
            raise ImageError(f"DICOM of {n} frames with functional groups of {len(groups)}")
        frames = (
            frame_levels(header, index, *rescale_of(header, groups[index])) for index in order
        )
        stack = scale_frames(frames, n, scale)
        return placement.orientation.turn(stack) if placement else stack


def frame_levels(header: Any, index: int, slope: float, intercept: float) -> NDArray[Any]:
    """Decode one frame.

    Args:
        header: pydicom's data set of a file.
        index: number of the frame.
        slope: factor of its stored values.
        intercept: summand of its levels.

    Returns:
        Grey levels of shape (rows, columns), as stored if slope and intercept change nothing and
        the frame has no padding, else float32 with NaN for padding; or uint8 RGB of shape (rows,
        columns, 3).
    """
    from pydicom.pixels import pixel_array

    pixels: NDArray[Any] = pixel_array(header, index=index)
    if header.PhotometricInterpretation not in _GREY or pixels.ndim != 2:
        rgb = np.broadcast_to(to_rgb(pixels, header), (header.Rows, header.Columns, 3))
        return np.asarray(np.clip(rgb, 0, 255), np.uint8)
    inverted = header.PhotometricInterpretation == "MONOCHROME1"
    padding = padding_of(pixels, header)
    plain = (slope, intercept) == (1, 0) and not padding.any()
    if plain and pixels.dtype == np.uint8:
        return np.asarray(255 - pixels if inverted else pixels)
    if plain and not inverted:
        return np.asarray(pixels)
    levels: NDArray[Any] = pixels.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    levels[padding] = np.nan
    return -levels if inverted else levels


def scale_frames(frames: Iterable[NDArray[Any]], n: int, scale: Scale) -> NDArray[np.uint8]:
    """Scale frames together.

    Args:
        frames: results of `frame_levels`, all of one shape.
        n: their number.
        scale: see `Scale`; colours are not scaled.

    Returns:
        Array of shape (n, rows, columns) or (n, rows, columns, 3).

    Raises:
        ImageError: frames are of different shapes.
    """
    stack: NDArray[Any] | None = None
    for place, levels in enumerate(frames):
        if stack is None:
            stack = np.empty((n, *levels.shape), levels.dtype)
        if levels.shape != stack.shape[1:]:
            raise ImageError("DICOM whose frames are of different kinds")
        # A frame with padding or a slope of its own makes all levels floats.
        if levels.dtype != stack.dtype and stack.dtype != np.float32:
            stack = stack.astype(np.float32)
        stack[place] = levels
    assert stack is not None
    return stack if stack.ndim == 4 else scale(stack, 0.0)


def rescale_of(header: Any, group: Any) -> tuple[float, float]:
    """Return slope and intercept of a frame: its own, those of all frames, or those of the file.

    Args:
        header: pydicom's data set of a file.
        group: functional groups of the frame; None if it has none.
    """
    shared = (header.get("SharedFunctionalGroupsSequence") or [None])[0]
    for source in (group, shared):
        values = _item(source, "PixelValueTransformationSequence")
        if values is not None:
            return float(values.RescaleSlope), float(values.RescaleIntercept)
    return float(header.get("RescaleSlope") or 1), float(header.get("RescaleIntercept") or 0)


def _placement(header: Any, n: int) -> Placement | None:
    """Return the places of the frames of an enhanced file; None if it does not state them all."""
    groups = header.get("PerFrameFunctionalGroupsSequence") or []
    shared = (header.get("SharedFunctionalGroupsSequence") or [None])[0]
    if len(groups) != n:
        return None
    directions = []
    positions = []
    for group in groups:
        plane = _item(group, "PlaneOrientationSequence") or _item(
            shared, "PlaneOrientationSequence"
        )
        place = _item(group, "PlanePositionSequence")
        if plane is None or place is None:
            return None
        directions.append(plane.get("ImageOrientationPatient"))
        positions.append(place.get("ImagePositionPatient"))
    return place_frames(directions, positions)


def _item(group: Any, name: str) -> Any:
    """Return the single item of a sequence in a functional group; None if it has none."""
    return (group.get(name) or [None])[0] if group is not None else None


def pixel_bytes(header: Any) -> int:
    """Return the bytes of a decoded pixel, at least 1."""
    samples = int(header.get("SamplesPerPixel") or 1)
    return max(1, samples * int(header.get("BitsAllocated") or 8) // 8)
