"""The pose of a picture: the shift and scale along each axis at which it fits another one.

References:
    Lucas and Kanade (1981): An iterative image registration technique. IJCAI, 674-679.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .structure import FloatArray


def fit(
    first: FloatArray, second: FloatArray, pose: NDArray[np.float64], steps: int
) -> NDArray[np.float64]:
    """Take Gauss-Newton steps towards the pose in which the second picture fits the first best.

    The steps fit a gain and an offset of the grey levels, too, but do not return them.

    Args:
        first: of shape (n_pairs, side, side).
        second: of shape (n_pairs, side, side).
        pose: scale down, shift down, scale across and shift across of each pair, shifts in shares
            of a side; of shape (n_pairs, 4).
        steps: number of steps.
    """
    side = first.shape[-1]
    flat = first.reshape(len(first), side * side)
    for _ in range(steps):
        moved, inside = move(second, pose)
        rows = _derivatives(moved, inside).reshape(len(first), 6, side * side)
        normal = (rows @ rows.swapaxes(1, 2)).astype(np.float64)
        right = (rows @ flat[:, :, None]).astype(np.float64)
        # The equations are scaled to a unit diagonal and damped, because a picture may not
        # determine its place along an axis.
        size = np.sqrt(np.maximum(np.diagonal(normal, axis1=1, axis2=2), 1e-9))
        normal /= size[:, :, None] * size[:, None, :]
        normal += np.diag([1e-3] * 4 + [1e-9] * 2)
        solved = np.linalg.solve(normal, right / size[:, :, None])[:, :, 0] / size
        # The unknowns are multiplied by the gain.
        change = solved[:, :4] / np.maximum(solved[:, 4:5], 0.2)
        pose = pose + np.clip(change, -0.06, 0.06)
        pose[:, 0::2] = np.clip(pose[:, 0::2], 0.8, 1.25)
        pose[:, 1::2] = np.clip(pose[:, 1::2], -0.15, 0.15)
    return pose


def _derivatives(moved: FloatArray, inside: FloatArray) -> FloatArray:
    """Return how the pixels of moved pictures change with each unknown of the fit.

    The unknowns are scale down, shift down, scale across, shift across, gain and offset.

    Args:
        moved: of shape (n_pairs, side, side).
        inside: weights of its pixels, of the same shape.

    Returns:
        Of shape (n_pairs, 6, side, side).
    """
    side = moved.shape[-1]
    place = ((np.arange(side) - (side - 1) / 2) / side).astype(np.float32)
    planes = np.empty((len(moved), 6, side, side), np.float32)
    down = planes[:, 1]
    across = planes[:, 3]
    # A difference spans two pixels, and positions are in shares of a side.
    slope = side / 2
    np.subtract(moved[:, 2:], moved[:, :-2], out=down[:, 1:-1])
    np.subtract(moved[:, :, 2:], moved[:, :, :-2], out=across[:, :, 1:-1])
    down[:, [0, -1]] = 0
    across[:, :, [0, -1]] = 0
    down *= inside * slope
    across *= inside * slope
    np.multiply(down, place[:, None], out=planes[:, 0])
    np.multiply(across, place, out=planes[:, 2])
    np.multiply(moved, inside, out=planes[:, 4])
    planes[:, 5] = inside
    return planes


def move(images: FloatArray, pose: NDArray[np.float64]) -> tuple[FloatArray, FloatArray]:
    """Shift and scale images.

    Args:
        images: of shape (n, side, side).
        pose: see `fit`.

    Returns:
        The images, and weights that are 1 for pixels within the original picture, else 0; both of
        shape (n, side, side).
    """
    side = images.shape[-1]
    down, inside_down = resampling_matrices(pose[:, 0], pose[:, 1] * side, side)
    across, inside_across = resampling_matrices(pose[:, 2], pose[:, 3] * side, side)
    moved = down @ images @ across.swapaxes(1, 2)
    return moved, inside_down[:, :, None] * inside_across[:, None, :]


def resampling_matrices(
    scale: FloatArray, shift: FloatArray, side: int
) -> tuple[FloatArray, FloatArray]:
    """Return matrices that resample lines of `side` pixels linearly.

    Pixel i of the result is at scale * (i - centre) + centre + shift of the line.

    Args:
        scale: of shape (n,).
        shift: in pixels, of shape (n,).
        side: number of pixels.

    Returns:
        The matrices, of shape (n, side, side), which repeat the nearest pixel beyond the ends; and
        1 for each pixel within the line, else 0, of shape (n, side).
    """
    centre = (side - 1) / 2
    at = (scale[:, None] * (np.arange(side) - centre) + centre + shift[:, None]).astype(np.float32)
    inside: FloatArray = ((at >= -0.5) & (at <= side - 0.5)).astype(np.float32)
    # The weight of a pixel falls linearly with its distance, down to 0 at one pixel.
    weights: FloatArray = np.clip(at, 0, side - 1)[:, :, None] - np.arange(side, dtype=np.float32)
    np.abs(weights, out=weights)
    np.subtract(1, weights, out=weights)
    return np.maximum(weights, 0, out=weights), inside
