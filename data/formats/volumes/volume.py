"""Volumes as stacks of pictures: limits, orientation, scaling to bytes, and slices.

A stack has one picture for each axial slice, from the feet up. Each picture is as radiologists look
at it: the patient's right side is on the left, the front is on top. Coronal and sagittal slices
have the head on top; the sagittal ones have the front on the left.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ....errors import ImageError
from ...output.slice_choice import AXES
from ..limits import check_size, scale_to_bytes

MAX_VOXELS = 2**28
"""Limit of the voxels of a volume: 1,024 slices of 512 x 512."""

MAX_SLICES = 2**14
"""Limit of the slices of a volume along an axis."""

MAX_VOLUME_BYTES = 2**30
"""Limit of the bytes of a volume's voxels as stored, without compression."""

PERCENTILES = (0.5, 99.5)
"""Percentiles of a volume's levels that become 0 and 255."""

BLANK_LEVEL = 25
"""Level, a tenth of 255, up to which a pixel counts as background."""

CONTENT_SHARE = 0.01
"""Least share of pixels above `BLANK_LEVEL` in a slice that is not blank."""

LEAST_DETERMINANT = 1e-3
"""Least volume of the box that the three directions of a volume span; 1 for right angles."""

Scale = Callable[[NDArray[Any], float], NDArray[np.uint8]]
"""Conversion of a volume's levels to bytes; the second argument is the level of background."""


@dataclass(frozen=True, slots=True)
class VolumeHeader:
    """The facts that a file's header states about its volume.

    Attributes:
        shape: number of axial slices, rows and columns of each.
        has_axes: True if the place of each slice in the body is known. The pages of other files
            keep their order, and can be cut across no other axis.
        n_volumes: number of volumes in the file, of times or sequences; the first one is read.
    """

    shape: tuple[int, int, int]
    has_axes: bool = True
    n_volumes: int = 1

    def count(self, axis: str) -> int:
        """Return the number of slices along an axis.

        Raises:
            ImageError: the file has no such axis, or too many slices.
        """
        if axis != "axial" and not self.has_axes:
            raise ImageError(f"pages without places in the body have no {axis} slices")
        n = self.shape[AXES.index(axis)]
        if n > MAX_SLICES:
            raise ImageError(f"a volume of {n} slices, more than the limit of {MAX_SLICES}")
        return n


class VolumeReader(Protocol):
    """Reader of the volumes of one format.

    It may raise any exception and warn: its callers guard it.
    """

    def header(self, data: bytes) -> VolumeHeader | None:
        """Read the header of a file's content; None if it holds a single picture.

        Raises:
            ImageError: the volume is too large, or of a kind that is not supported.
        """

    def read(self, data: bytes, *, max_pixels: int, scale: Scale) -> NDArray[np.uint8]:
        """Decode the volume in a file's content, after a check of its size.

        Returns:
            Array of shape (slices, rows, columns), or (slices, rows, columns, 3) for colours.
        """

    def mode(self, data: bytes) -> str:
        """Return how voxels are stored, without decoding them."""


def check_slices(shape: tuple[int, int, int], max_pixels: int) -> None:
    """Raise ImageError if a slice of a volume, along any axis, is too large for an image."""
    second, first = sorted(shape)[1:]
    check_size(first, second, max_pixels)


def check_volume(shape: tuple[int, int, int], voxel_bytes: int) -> None:
    """Raise ImageError if a volume is empty or too large; call it before anything is allocated.

    Args:
        shape: its sides in voxels, in any order.
        voxel_bytes: bytes of a voxel as stored.
    """
    sides = " x ".join(map(str, shape))
    if min(shape) < 1:
        raise ImageError(f"a volume of {sides} voxels is empty")
    voxels = 1
    for side in shape:
        voxels *= side
    if voxels > MAX_VOXELS or voxels * voxel_bytes > MAX_VOLUME_BYTES:
        raise ImageError(
            f"{sides} voxels of {voxel_bytes} bytes are more than the limit of {MAX_VOXELS} voxels "
            f"or {MAX_VOLUME_BYTES} bytes"
        )


def scale_volume(levels: NDArray[Any], background: float = 0.0) -> NDArray[np.uint8]:
    """Scale the levels of a whole volume to bytes.

    Bytes do not change. The 0.5th percentile of all other types becomes 0, the 99.5th becomes 255.
    Only finite voxels that are not background count: much of a head scan is background, and more in
    one volume than in another. NaN becomes 0.

    Args:
        levels: real array of any shape; it is not changed.
        background: level of voxels outside the body.

    Returns:
        uint8 array of the same shape.

    References:
        MedSAM's preprocessing of MR volumes: J. Ma et al., Segment anything in medical images,
        Nature Communications 15, 654 (2024), and its script pre_CT_MR.py.

    Examples:
        >>> scale_volume(np.array([0, 0, 100, 200, 300], np.int16)).tolist()
        [0, 0, 0, 128, 255]
    """
    if levels.dtype == np.uint8:
        return levels
    inside = levels[np.isfinite(levels) & (levels != background)]
    if not inside.size:
        return np.zeros(levels.shape, np.uint8)
    low, high = np.percentile(inside, PERCENTILES, overwrite_input=True)
    return scale_to_bytes(levels, (float(low), float(high)))


def mark_inside(levels: NDArray[Any], background: float = 0.0) -> NDArray[np.uint8]:
    """Return 255 for each voxel of a mask that is not background, and 0 for all others."""
    return np.where(levels != background, np.uint8(255), np.uint8(0))


@dataclass(frozen=True, slots=True)
class Orientation:
    """The turn of a stored volume that makes its slices as the module says.

    Axes are permuted and mirrored; nothing is interpolated, so an oblique volume stays oblique.

    Attributes:
        axes: stored axes that become slices, rows and columns.
        mirrored: True for each of these that runs the other way.
    """

    axes: tuple[int, int, int]
    mirrored: tuple[bool, bool, bool]

    @classmethod
    def from_affine(cls, affine: NDArray[np.float64]) -> Orientation:
        """Find the turn of a volume.

        Args:
            affine: matrix of shape (3, 3) or (4, 4) from the stored indices to millimetres to the
                patient's right, front and head (RAS+), as NIfTI has it.

        Raises:
            ImageError: the matrix is not finite, or has no direction for an axis.
        """
        directions = np.asarray(affine, np.float64)[:3, :3]
        lengths = np.linalg.norm(directions, axis=0)
        if not (np.isfinite(lengths).all() and (lengths > 0).all()):
            raise ImageError("a volume without three directions in the body")
        cosines = directions / lengths
        if abs(np.linalg.det(cosines)) < LEAST_DETERMINANT:
            raise ImageError("a volume with two axes in one direction of the body")
        # Each axis of the body gets the stored axis that is nearest to it.
        right, front, head = max(
            permutations(range(3)),
            key=lambda axes: sum(abs(cosines[world, axis]) for world, axis in enumerate(axes)),
        )
        # Rows go from the front to the back, columns from the right to the left.
        down, back, left = cosines[2, head] < 0, cosines[1, front] > 0, cosines[0, right] > 0
        return cls((head, front, right), (bool(down), bool(back), bool(left)))

    def shape(self, stored: tuple[int, ...]) -> tuple[int, int, int]:
        """Return the numbers of slices, rows and columns of a stored shape."""
        slices, rows, columns = (stored[axis] for axis in self.axes)
        return slices, rows, columns

    def turn(self, levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Turn a volume.

        Args:
            levels: array of shape (i, j, k) or (i, j, k, 3), as stored.

        Returns:
            Array of shape (slices, rows, columns) or (slices, rows, columns, 3), C-contiguous.
        """
        turned = levels.transpose(*self.axes, *range(3, levels.ndim))
        places = tuple(place for place, mirrored in enumerate(self.mirrored) if mirrored)
        return np.ascontiguousarray(np.flip(turned, places))


def take_slice(stack: NDArray[np.uint8], axis: str, index: int) -> NDArray[np.uint8]:
    """Return one slice of a stack of pictures as RGB.

    Args:
        stack: array of shape (slices, rows, columns) or (slices, rows, columns, 3).
        axis: one of `AXES`.
        index: number of the slice along it.

    Returns:
        uint8 RGB array of shape (height, width, 3), C-contiguous and writeable.

    Raises:
        ImageError: there is no such slice.

    Examples:
        >>> take_slice(np.zeros((20, 40, 30), np.uint8), "coronal", 7).shape
        (20, 30, 3)
    """
    n = stack.shape[AXES.index(axis)]
    if index >= n:
        raise ImageError(f"has no {axis} slice {index}; its {n} slices are counted from 0")
    if axis == "axial":
        picture = stack[index]
    elif axis == "coronal":
        picture = stack[::-1, n - 1 - index]
    else:
        picture = stack[::-1, :, n - 1 - index]
    if picture.ndim == 2:
        return np.repeat(picture[..., np.newaxis], 3, axis=2)
    return np.array(picture, order="C")


def content_slices(stack: NDArray[np.uint8], axis: str) -> NDArray[np.intp]:
    """Return the numbers of the slices that are not blank.

    Args:
        stack: array of shape (slices, rows, columns) or (slices, rows, columns, 3).
        axis: one of `AXES`.
    """
    place = AXES.index(axis)
    within = tuple(axis for axis in range(stack.ndim) if axis != place)
    shares = (stack > BLANK_LEVEL).mean(axis=within)
    # Rows and columns count from the front and the right, slices from the back and the left.
    shares = shares if axis == "axial" else shares[::-1]
    return np.flatnonzero(shares >= CONTENT_SHARE)
