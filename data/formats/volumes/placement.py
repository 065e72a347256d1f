"""The places of frames in the body, and the volume that they make together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .volume import Orientation

SAME_DIRECTION = 1e-3
"""Most difference of the numbers of directions that count as one."""

_SAME_PLACE_MM = 1e-3


@dataclass(frozen=True, slots=True)
class Placement:
    """The order of parallel frames, and the turn of the volume that they make.

    Attributes:
        order: numbers of the frames, from one end of the volume to the other.
        orientation: turn of an array of shape (frames, rows, columns) in this order.
    """

    order: tuple[int, ...]
    orientation: Orientation


def place_frames(
    directions: Sequence[Any], positions: Sequence[Any], *, distinct: bool = True
) -> Placement | None:
    """Order frames by their places.

    Args:
        directions: ImageOrientationPatient of each frame: six numbers, the direction along a row of
            pixels and that along a column, to the patient's left, back and head.
        positions: ImagePositionPatient of each frame: its first pixel, in millimetres.
        distinct: False lets several frames be at one place; these keep their order.

    Returns:
        The placement; None if frames are not parallel, if two are at one place but must not, or if
        numbers are missing.

    References:
        DICOM PS3.3, C.7.6.2, https://dicom.nema.org/medical/dicom/current
    """
    try:
        cosines = np.array(directions, np.float64).reshape(len(directions), 6)
        places = np.array(positions, np.float64).reshape(len(directions), 3)
    except (TypeError, ValueError):
        return None
    if not (np.isfinite(cosines).all() and np.isfinite(places).all()):
        return None
    if np.abs(cosines - cosines[0]).max() > SAME_DIRECTION:
        return None
    along_row, along_column = cosines[0, :3], cosines[0, 3:]
    normal = np.cross(along_row, along_column)
    if np.linalg.norm(normal) < 0.5:
        return None
    distances = places @ normal
    # Rounded, so that frames at one place keep their order.
    order = np.argsort(np.rint(distances / _SAME_PLACE_MM), kind="stable")
    if distinct and len(order) > 1 and np.diff(distances[order]).min() < _SAME_PLACE_MM:
        return None
    # DICOM counts to the left and to the back, `Orientation` to the right and to the front.
    axes = np.stack([normal, along_column, along_row], axis=1) * [[-1], [-1], [1]]
    return Placement(tuple(map(int, order)), Orientation.from_affine(axes))
