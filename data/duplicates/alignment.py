"""Scores of pairs of thumbnails, with the second aligned to the first.

1. Correlate the two thumbnails under each of the eight symmetries, at all small shifts. This step
   is coarse: it takes 16 x 16 pixels.
2. Fit the coarse thumbnails under the likeliest symmetries. Nearly all look-alikes fit so badly
   that the comparison ends here.
3. If the whole thumbnails already agree, that is their score. If not, shift and scale the second
   along each axis until it fits best, and score it again. The fit takes Gauss-Newton steps (Lucas
   and Kanade 1981) and allows a gain and an offset of the grey levels.

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

import numpy as np
from numpy.typing import NDArray

from .pose import fit, move
from .structure import FloatArray, blur_matrix, correlation, shrink, structure
from .symmetries import SYMMETRY_NAMES, apply_symmetries, apply_symmetry

SYMMETRIES_TRIED = 4
"""Number of the likeliest symmetries that are compared closely.

Heads look nearly the same under four of them."""

COARSE_SIDE = 16
MEDIUM_SIDE = 32

LEAST_COARSE_SCORE = 0.4
"""Least coarse correlation of a pair that is fitted."""

CLEAR_MARGIN = 0.1
"""A pair is compared closely, without a coarse fit, unless its peak is this far below `enough`."""

COARSE_MARGIN = 0.45
"""A pair is not compared closely if its coarse fit agrees less than `enough` by more than this.

`scripts/checks/duplicate_check.py` finds the same pairs with and without this limit.
"""

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
    used, first, second = _prepare(pairs)
    coarse = shrink(thumbnails[used].astype(np.float32), COARSE_SIDE)
    peaks, shifts = _coarse_peaks(coarse, first, second)
    likeliest = np.argsort(-peaks, axis=1, kind="stable")[:, :SYMMETRIES_TRIED]
    score = np.full(len(pairs), -1, np.float32)
    symmetry = likeliest[:, 0].copy()
    for numbers in likeliest.T:
        high = np.take_along_axis(peaks, numbers[:, None], axis=1)[:, 0]
        rows = np.flatnonzero((high >= LEAST_COARSE_SCORE) & (score < enough))
        # High peaks need no coarse fit.
        doubtful = rows[high[rows] < enough - CLEAR_MARGIN]
        turned = apply_symmetries(coarse[second[doubtful]], numbers[doubtful])
        start = _start(shifts[doubtful, numbers[doubtful]])
        agreement = _coarse_agreement(coarse[first[doubtful]], turned, start)
        rows = np.setdiff1d(rows, doubtful[agreement < enough - COARSE_MARGIN])
        starts = _start(shifts[rows, numbers[rows]])
        scores = _close_scores(thumbnails, pairs[rows], numbers[rows], starts, enough)
        better = scores > score[rows]
        score[rows[better]] = scores[better]
        symmetry[rows[better]] = numbers[rows[better]]
    return Likeness(score, symmetry)


def _prepare(
    pairs: NDArray[np.intp],
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Return the distinct thumbnails of pairs, and the places of each pair's two among them."""
    # A thumbnail in many pairs is prepared only once.
    used, places = np.unique(pairs, return_inverse=True)
    first, second = places.reshape(pairs.shape).T
    return used, first, second


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


def _coarse_agreement(
    first: FloatArray, second: FloatArray, pose: NDArray[np.float64]
) -> FloatArray:
    """Fit coarse pictures and return the better agreement, of a blurred fit and of a sharp one.

    Smooth look-alikes agree in grey levels, but not in structure. A copy that fits badly may agree
    in one of the two, so the mean of the two correlations counts.
    """
    detail = structure(first)
    soft = blur_matrix(COARSE_SIDE, 0.7)
    blurred = fit(soft @ first @ soft.T, soft @ second @ soft.T, pose, steps=3)
    agreements = []
    # The sharp fit may lose a copy that the blurred fit holds.
    for place in (blurred, fit(first, second, blurred, steps=2)):
        moved, inside = move(second, place)
        grey = correlation(first, moved, inside)
        agreements.append((grey + correlation(detail, structure(moved), inside)) / 2)
    return np.maximum(*agreements)


def _start(shifts: FloatArray) -> NDArray[np.float64]:
    """Return the poses at which fits start; see `_coarse_peaks` for the shifts."""
    ones = np.ones(len(shifts))
    return np.stack([ones, -shifts[:, 0], ones, -shifts[:, 1]], axis=1)


def _close_scores(
    thumbnails: NDArray[np.uint8],
    pairs: NDArray[np.intp],
    numbers: NDArray[np.intp],
    pose: NDArray[np.float64],
    enough: float,
) -> FloatArray:
    """Score pairs, each under one symmetry of its second thumbnail.

    Args:
        thumbnails: see `compare`.
        pairs: see `compare`.
        numbers: symmetries, of shape (n_pairs,).
        pose: poses at which the fits start, of shape (n_pairs, 4).
        enough: see `compare`.
    """
    used, first, second = _prepare(pairs)
    grey = thumbnails[used].astype(np.float32)
    # Structure turns with the picture, so it is computed once, before the symmetries.
    detail = structure(grey)
    scores = correlation(detail[first], apply_symmetries(detail[second], numbers))
    # Only pairs that do not agree without a fit are worth its time.
    unlike = np.flatnonzero(scores < enough)
    turned = apply_symmetries(grey[second[unlike]], numbers[unlike])
    fitted = _fit_scores(grey[first[unlike]], turned, pose[unlike], enough)
    scores[unlike] = np.maximum(scores[unlike], fitted)
    return scores


def _fit_scores(
    first: FloatArray, second: FloatArray, pose: NDArray[np.float64], enough: float
) -> FloatArray:
    """Fit the second picture of each pair to the first; return the scores, -1 if far too low.

    Args:
        first: of shape (n_pairs, side, side).
        second: turned by its symmetry, of shape (n_pairs, side, side).
        pose: poses at which the fits start, of shape (n_pairs, 4).
        enough: see `compare`.
    """
    # From coarse to fine: with a blurred picture the steps find a pose that is farther away.
    first_medium = shrink(first, MEDIUM_SIDE)
    second_medium = shrink(second, MEDIUM_SIDE)
    soft = blur_matrix(MEDIUM_SIDE, 1.0)
    pose = fit(soft @ first_medium @ soft.T, soft @ second_medium @ soft.T, pose, steps=4)
    pose = fit(first_medium, second_medium, pose, steps=2)
    near = _score_at(first_medium, second_medium, pose) >= enough - GIVE_UP_MARGIN
    rows = np.flatnonzero(near)
    score = np.full(len(first), -1, np.float32)
    first = first[rows]
    second = second[rows]
    score[rows] = _score_at(first, second, fit(first, second, pose[rows], steps=2))
    return score


def _score_at(first: FloatArray, second: FloatArray, pose: NDArray[np.float64]) -> FloatArray:
    """Score pairs whose second picture is moved to its pose."""
    moved, inside = move(second, pose)
    return correlation(structure(first), structure(moved), inside)


def _fade(images: FloatArray, window: FloatArray) -> FloatArray:
    """Fade images out towards their borders, with mean 0 and norm 1."""
    faded = (images - (images * window).sum(axis=(1, 2), keepdims=True) / window.sum()) * window
    norms = np.linalg.norm(faded.reshape(len(faded), -1), axis=1)
    result: FloatArray = faded / np.maximum(norms, 1e-6)[:, None, None]
    return result
