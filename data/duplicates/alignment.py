"""Scores of pairs of thumbnails, with the second aligned to the first.

1. Correlate the two thumbnails under each of the eight symmetries, at all small shifts. This step
   is coarse: it takes 16 x 16 pixels.
2. If they already agree, that is their score. If not, shift and scale the second along each axis
   until it fits best, and score it again. The fit takes Gauss-Newton steps (Lucas and Kanade 1981)
   and allows a gain and an offset of the grey levels.

The score is the correlation of *local* structure. A blurred copy is subtracted, which removes slow
changes; the rest is divided by its local size. So skulls and dark surroundings, which all heads
share, weigh no more than the inside of a head. Contrast and brightness do not matter.

References:
    Lucas and Kanade (1981): An iterative image registration technique. IJCAI, 674-679.
    Jarrett et al. (2009): What is the best multi-stage architecture for object recognition? ICCV
    (local contrast).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .symmetries import SYMMETRY_NAMES, apply_symmetries, apply_symmetry

FloatArray = NDArray[np.floating[Any]]
"""An array of float32; NumPy's types do not follow float32 through products."""

SYMMETRIES_TRIED = 4
"""Number of the likeliest symmetries that are compared closely.

Heads look nearly the same under four of them."""

COARSE_SIDE = 16
MEDIUM_SIDE = 32

LEAST_COARSE_SCORE = 0.4
"""Least coarse correlation of a pair that is compared closely."""

GIVE_UP_MARGIN = 0.15
"""The fit of a pair stops if its score at 32 x 32 pixels is below `enough` by more than this."""


@dataclass(frozen=True, eq=False)
class Likeness:
    """Scores of pairs of thumbnails.

    Attributes:
        score: correlation of the structure of each pair, -1 to 1, of shape (n_pairs,); -1 for
            pairs that were not compared closely.
        symmetry: place in `SYMMETRY_NAMES` of the symmetry with that score, of shape (n_pairs,).
    """

    score: FloatArray
    symmetry: NDArray[np.intp]


def compare(thumbnails: NDArray[np.uint8], pairs: NDArray[np.intp], enough: float) -> Likeness:
    """Score pairs of thumbnails.

    Args:
        thumbnails: uint8 of shape (n, side, side).
        pairs: numbers of thumbnails, of shape (n_pairs, 2).
        enough: a pair that reaches this score without a fit is not fitted. A pair whose score is
            far below it at medium resolution is not fitted further.
    """
    # A thumbnail in many pairs is prepared only once.
    used, places = np.unique(pairs, return_inverse=True)
    first, second = places.reshape(pairs.shape).T
    grey = thumbnails[used].astype(np.float32)
    peaks, shifts = _coarse_peaks(shrink(grey, COARSE_SIDE), first, second)
    promising = np.flatnonzero(peaks.max(axis=1) >= LEAST_COARSE_SCORE)
    score = np.full(len(pairs), -1, np.float32)
    symmetry = peaks.argmax(axis=1)
    close = _compare_closely(
        grey, first[promising], second[promising], peaks[promising], shifts[promising], enough
    )
    score[promising] = close.score
    symmetry[promising] = close.symmetry
    return Likeness(score, symmetry)


def _coarse_peaks(
    images: FloatArray, first: NDArray[np.intp], second: NDArray[np.intp]
) -> tuple[FloatArray, FloatArray]:
    """Find the highest correlation over small shifts, for each pair and symmetry of its second.

    Returns:
        The correlations, of shape (n_pairs, 8); and their shifts, down and across, in shares of a
        side, of shape (n_pairs, 8, 2).
    """
    from scipy.fft import irfft2, rfft2

    side = images.shape[-1]
    n = len(first)
    # All eight symmetries map the window to itself, so applying it once is enough.
    fade = np.sin(np.pi * (np.arange(side) + 0.5) / side) ** 2
    faded = _fade(images, np.outer(fade, fade).astype(np.float32))
    # Shifts of up to an eighth of the side; negative ones wrap around to the end.
    reach = np.r_[: side // 8 + 1, -(side // 8) : 0]
    waves = rfft2(faded)[first]
    peaks = np.empty((n, len(SYMMETRY_NAMES)), np.float32)
    shifts = np.empty((n, len(SYMMETRY_NAMES), 2), np.float32)
    for number in range(len(SYMMETRY_NAMES)):
        # A product of spectra holds the correlations at all shifts at once.
        turned = rfft2(apply_symmetry(faded, number))
        all_shifts = irfft2(waves * np.conj(turned)[second], s=(side, side))
        near = all_shifts[:, reach[:, None], reach].reshape(n, -1)
        best = near.argmax(axis=1)
        peaks[:, number] = np.take_along_axis(near, best[:, None], axis=1)[:, 0]
        down, across = np.divmod(best, len(reach))
        shifts[:, number] = np.stack([reach[down], reach[across]], axis=1) / side
    return peaks, shifts


def _compare_closely(
    grey: FloatArray,
    first: NDArray[np.intp],
    second: NDArray[np.intp],
    peaks: FloatArray,
    shifts: FloatArray,
    enough: float,
) -> Likeness:
    """Score pairs under their likeliest symmetries and return the best score of each.

    Args:
        grey: thumbnails, of shape (n, side, side).
        first: numbers of the first thumbnails, of shape (n_pairs,).
        second: numbers of the second thumbnails, of shape (n_pairs,).
        peaks: see `_coarse_peaks`.
        shifts: see `_coarse_peaks`.
        enough: see `compare`.
    """
    # Structure turns with the picture, so it is computed once, before the symmetries.
    detail = structure(grey)
    likeliest = np.argsort(-peaks, axis=1, kind="stable")[:, :SYMMETRIES_TRIED]
    score = np.full(len(first), -1, np.float32)
    symmetry = likeliest[:, 0].copy()
    for place in range(SYMMETRIES_TRIED):
        high = np.take_along_axis(peaks, likeliest[:, place, None], axis=1)[:, 0]
        rows = np.flatnonzero((high >= LEAST_COARSE_SCORE) & (score < enough))
        numbers = likeliest[rows, place]
        scores = correlation(detail[first[rows]], apply_symmetries(detail[second[rows]], numbers))
        # Only pairs that do not agree without a fit are worth its time.
        unlike = np.flatnonzero(scores < enough)
        pairs = rows[unlike]
        turned = apply_symmetries(grey[second[pairs]], numbers[unlike])
        fitted = _fit_scores(grey[first[pairs]], turned, shifts[pairs, numbers[unlike]], enough)
        scores[unlike] = np.maximum(scores[unlike], fitted)
        better = scores > score[rows]
        score[rows[better]] = scores[better]
        symmetry[rows[better]] = numbers[better]
    return Likeness(score, symmetry)


def _fit_scores(
    first: FloatArray, second: FloatArray, shifts: FloatArray, enough: float
) -> FloatArray:
    """Fit the second picture of each pair to the first; return the scores, -1 if far too low.

    Args:
        first: of shape (n_pairs, side, side).
        second: turned by its symmetry, of shape (n_pairs, side, side).
        shifts: shifts at which the fit starts, of shape (n_pairs, 2).
        enough: see `compare`.
    """
    ones = np.ones(len(first))
    pose = np.stack([ones, -shifts[:, 0], ones, -shifts[:, 1]], axis=1)
    # From coarse to fine: with a blurred picture the steps find a pose that is farther away.
    first_medium = shrink(first, MEDIUM_SIDE)
    second_medium = shrink(second, MEDIUM_SIDE)
    soft = blur_matrix(MEDIUM_SIDE, 1.0)
    pose = _fit(soft @ first_medium @ soft.T, soft @ second_medium @ soft.T, pose, steps=4)
    pose = _fit(first_medium, second_medium, pose, steps=2)
    near = _score_at(first_medium, second_medium, pose) >= enough - GIVE_UP_MARGIN
    rows = np.flatnonzero(near)
    score = np.full(len(first), -1, np.float32)
    first = first[rows]
    second = second[rows]
    score[rows] = _score_at(first, second, _fit(first, second, pose[rows], steps=2))
    return score


def _score_at(first: FloatArray, second: FloatArray, pose: NDArray[np.float64]) -> FloatArray:
    """Score pairs whose second picture is moved to its pose."""
    moved, inside = _move(second, pose)
    return correlation(structure(first), structure(moved), inside)


def _move(images: FloatArray, pose: NDArray[np.float64]) -> tuple[FloatArray, FloatArray]:
    """Shift and scale images.

    Args:
        images: of shape (n, side, side).
        pose: see `_fit`.

    Returns:
        The images, and weights that are 1 for pixels within the original picture, else 0; both of
        shape (n, side, side).
    """
    side = images.shape[-1]
    down, inside_down = resampling_matrices(pose[:, 0], pose[:, 1] * side, side)
    across, inside_across = resampling_matrices(pose[:, 2], pose[:, 3] * side, side)
    moved = down @ images @ across.swapaxes(1, 2)
    return moved, inside_down[:, :, None] * inside_across[:, None, :]


def _fit(
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
        moved, inside = _move(second, pose)
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


def shrink(images: FloatArray, side: int) -> FloatArray:
    """Shrink square images by means over equal squares, to shape (n, side, side)."""
    step = images.shape[-1] // side
    means = np.repeat(np.eye(side, dtype=np.float32) / step, step, axis=1)
    small: FloatArray = means @ images @ means.T
    return small


def _fade(images: FloatArray, window: FloatArray) -> FloatArray:
    """Fade images out towards their borders, with mean 0 and norm 1."""
    faded = (images - (images * window).sum(axis=(1, 2), keepdims=True) / window.sum()) * window
    norms = np.linalg.norm(faded.reshape(len(faded), -1), axis=1)
    result: FloatArray = faded / np.maximum(norms, 1e-6)[:, None, None]
    return result


def structure(images: FloatArray) -> FloatArray:
    """Return the changes over few pixels, divided by their local size, of shape (n, side, side)."""
    side = images.shape[-1]
    fine = blur_matrix(side, side / 32)
    wide = blur_matrix(side, 3 * side / 64)
    detail = images - fine @ images @ fine.T
    local = wide @ (detail * detail) @ wide.T
    overall = np.sqrt((detail * detail).mean(axis=(1, 2), keepdims=True))
    # The two last terms keep noise in flat areas small.
    detail /= np.sqrt(np.maximum(local, 0)) + 0.05 * overall + 1
    return detail


def correlation(
    first: FloatArray, second: FloatArray, weights: FloatArray | None = None
) -> FloatArray:
    """Return Pearson's correlation of each pair of images, of shape (n_pairs,).

    Args:
        first: of shape (n_pairs, side, side).
        second: of shape (n_pairs, side, side).
        weights: 1 for pixels that count, else 0, of the same shape; by default all count.
    """
    if weights is None:
        first = first - first.mean(axis=(1, 2), keepdims=True)
        second = second - second.mean(axis=(1, 2), keepdims=True)
    else:
        count = np.maximum(weights.sum(axis=(1, 2)), 1)
        first_mean = np.einsum("nij,nij->n", first, weights) / count
        second_mean = np.einsum("nij,nij->n", second, weights) / count
        first = (first - first_mean[:, None, None]) * weights
        second = (second - second_mean[:, None, None]) * weights
    size = np.sqrt(np.einsum("nij,nij->n", first, first) * np.einsum("nij,nij->n", second, second))
    # A product of norms below 1 consists of rounding errors only.
    result: FloatArray = np.einsum("nij,nij->n", first, second) / np.maximum(size, 1)
    return result


@cache
def blur_matrix(side: int, sigma: float) -> FloatArray:
    """Return the matrix that blurs a line of pixels with a Gaussian; its rows sum to 1.

    Args:
        side: number of pixels.
        sigma: of the Gaussian, in pixels.
    """
    at = np.arange(side)
    weights = np.exp(-((at[:, None] - at) ** 2) / (2 * sigma**2))
    blurs: FloatArray = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return blurs
