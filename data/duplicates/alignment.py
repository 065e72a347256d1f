"""How alike two thumbnails are once they are laid over each other: turned, mirrored, shifted and scaled.

1. Under each of the eight symmetries the two are correlated at all small shifts, coarsely, at 16 x
16 pixels. 2. If they already agree, that is their score. If not, the second is shifted and scaled,
along each axis on its own,
   until it fits best (Lucas and Kanade 1981: Gauss-Newton steps; with a gain and an offset of its
   grey levels), and scored anew.

The score is the correlation of *local* structure: blurred away is what changes slowly, and what is
left is divided by its local size. So skulls and dark surroundings, which all heads share, weigh no
more than what is inside, and neither contrast nor brightness matters.

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

from .symmetries import NAMES, applied, each_applied

Floats = NDArray[np.floating[Any]]
"""float32; NumPy's types do not follow it through products."""

TRIED = 4
"""Symmetries that are followed up, the likeliest: heads look nearly the same under four."""
COARSE = 16
MEDIUM = 32
HOPELESS = 0.4
"""Two pictures whose best coarse correlation is below this are not laid over each other."""
FAR = 0.15
"""Nor further, if at 32 x 32 pixels their score is so far below what is enough."""


def resampling(scale: Floats, shift: Floats, side: int) -> tuple[Floats, Floats]:
    """Matrices that resample `side` pixels linearly: pixel i of the result is at scale * (i - centre) + centre + shift.

    Returns:
        The matrices, of shape (n, side, side), where what lies outside is the nearest pixel; and 1
        for each pixel that lies inside, else 0, of shape (n, side).
    """
    centre = (side - 1) / 2
    at = (scale[:, None] * (np.arange(side) - centre) + centre + shift[:, None]).astype(np.float32)
    inside: Floats = ((at >= -0.5) & (at <= side - 0.5)).astype(np.float32)
    weights: Floats = np.clip(at, 0, side - 1)[:, :, None] - np.arange(side, dtype=np.float32)
    np.abs(weights, out=weights)
    np.subtract(1, weights, out=weights)
    return np.maximum(weights, 0, out=weights), inside


@dataclass(frozen=True, eq=False)
class Likeness:
    """How alike pairs of thumbnails are.

    Attributes:
        score: correlation of their structure, -1 to 1, of shape (n_pairs,); -1 where they were not
            compared closely.
        symmetry: which symmetry of the second was compared, of shape (n_pairs,).
    """

    score: Floats
    symmetry: NDArray[np.intp]


def compare(thumbnails: NDArray[np.uint8], pairs: NDArray[np.intp], enough: float) -> Likeness:
    """How alike pairs of thumbnails are.

    Args:
        thumbnails: uint8 of shape (n, side, side).
        pairs: of their numbers, of shape (n_pairs, 2).
        enough: pairs that reach this score as they lie are not fitted to each other, and pairs that
            are far from it at `MEDIUM` resolution are given up.
    """
    used, places = np.unique(pairs, return_inverse=True)
    first, second = places.reshape(pairs.shape).T
    grey = thumbnails[used].astype(np.float32)
    peaks, shifts = _coarse(reduced(grey, COARSE), first, second)
    promising = np.flatnonzero(peaks.max(axis=1) >= HOPELESS)
    score, symmetry = np.full(len(pairs), -1, np.float32), peaks.argmax(axis=1)
    found = _followed_up(
        grey, first[promising], second[promising], peaks[promising], shifts[promising], enough
    )
    score[promising], symmetry[promising] = found.score, found.symmetry
    return Likeness(score, symmetry)


def _followed_up(
    grey: Floats,
    first: NDArray[np.intp],
    second: NDArray[np.intp],
    peaks: Floats,
    shifts: Floats,
    enough: float,
) -> Likeness:
    """The best of the likeliest symmetries of each pair."""
    detail = structure(grey)
    likeliest = np.argsort(-peaks, axis=1, kind="stable")[:, :TRIED]
    score, symmetry = np.full(len(first), -1, np.float32), likeliest[:, 0].copy()
    for place in range(TRIED):
        high = np.take_along_axis(peaks, likeliest[:, place, None], axis=1)[:, 0] >= HOPELESS
        rows = np.flatnonzero(high & (score < enough))
        chosen = likeliest[rows, place]
        found = correlation(detail[first[rows]], each_applied(detail[second[rows]], chosen))
        apart = np.flatnonzero(found < enough)
        pairs, laid = rows[apart], chosen[apart]
        fitted = _fitted(
            grey[first[pairs]], each_applied(grey[second[pairs]], laid), shifts[pairs, laid], enough
        )
        found[apart] = np.maximum(found[apart], fitted)
        better = found > score[rows]
        score[rows[better]], symmetry[rows[better]] = found[better], chosen[better]
    return Likeness(score, symmetry)


def reduced(images: Floats, side: int) -> Floats:
    """Means over equal squares."""
    step = images.shape[-1] // side
    means = np.repeat(np.eye(side, dtype=np.float32) / step, step, axis=1)
    found: Floats = means @ images @ means.T
    return found


def _coarse(
    images: Floats, first: NDArray[np.intp], second: NDArray[np.intp]
) -> tuple[Floats, Floats]:
    """Of each pair, for each symmetry of the second, the highest correlation over small shifts, and that shift.

    Returns:
        Of shape (n_pairs, 8); and of shape (n_pairs, 8, 2), down and across, in shares of a side.
    """
    from scipy.fft import irfft2, rfft2

    side, n = images.shape[-1], len(first)
    fade = np.sin(np.pi * (np.arange(side) + 0.5) / side) ** 2
    faded = _faded(
        images, np.outer(fade, fade).astype(np.float32)
    )  # the window is the same under all symmetries
    reach = np.r_[: side // 8 + 1, -(side // 8) : 0]
    waves = rfft2(faded)[first]
    peaks, shifts = np.empty((n, len(NAMES)), np.float32), np.empty((n, len(NAMES), 2), np.float32)
    for number in range(len(NAMES)):
        all_shifts = irfft2(waves * np.conj(rfft2(applied(faded, number)))[second], s=(side, side))
        near = all_shifts[:, reach[:, None], reach].reshape(n, -1)
        best = near.argmax(axis=1)
        peaks[:, number] = np.take_along_axis(near, best[:, None], axis=1)[:, 0]
        shifts[:, number] = (
            np.stack([reach[best // len(reach)], reach[best % len(reach)]], axis=1) / side
        )
    return peaks, shifts


def _faded(images: Floats, window: Floats) -> Floats:
    """Images that fade out towards their borders, of mean 0 and norm 1."""
    faded = (images - (images * window).sum(axis=(1, 2), keepdims=True) / window.sum()) * window
    norms = np.linalg.norm(faded.reshape(len(faded), -1), axis=1)
    result: Floats = faded / np.maximum(norms, 1e-6)[:, None, None]
    return result


def _fitted(a: Floats, b: Floats, shift: Floats, enough: float) -> Floats:
    """Scores of pairs as they fit best; -1 where that is far from good."""
    pose = np.stack([np.ones(len(a)), -shift[:, 0], np.ones(len(a)), -shift[:, 1]], axis=1)
    a_medium, b_medium = reduced(a, MEDIUM), reduced(b, MEDIUM)
    soft = blurring(MEDIUM, 1.0)
    pose = _fit(soft @ a_medium @ soft.T, soft @ b_medium @ soft.T, pose, steps=4)
    pose = _fit(a_medium, b_medium, pose, steps=2)
    rows = np.flatnonzero(_score_at(a_medium, b_medium, pose) >= enough - FAR)
    score = np.full(len(a), -1, np.float32)
    a, b = a[rows], b[rows]
    score[rows] = _score_at(a, b, _fit(a, b, pose[rows], steps=2))
    return score


def _score_at(a: Floats, b: Floats, pose: NDArray[np.float64]) -> Floats:
    laid, inside = _laid(b, pose)
    return correlation(structure(a), structure(laid), inside)


def _laid(b: Floats, pose: NDArray[np.float64]) -> tuple[Floats, Floats]:
    """`b` shifted and scaled, and which of its pixels are known; both of shape (n_pairs, side, side)."""
    side = b.shape[-1]
    down, known_down = resampling(pose[:, 0], pose[:, 1] * side, side)
    across, known_across = resampling(pose[:, 2], pose[:, 3] * side, side)
    return down @ b @ across.swapaxes(1, 2), known_down[:, :, None] * known_across[:, None, :]


def _fit(a: Floats, b: Floats, pose: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    """Gauss-Newton steps towards the pose in which `b` fits `a` best, up to a gain and an offset of grey levels.

    Args:
        pose: (scale down, shift down, scale across, shift across) of each pair, shifts in shares of
            a side.
    """
    side = a.shape[-1]
    place = ((np.arange(side) - (side - 1) / 2) / side).astype(np.float32)
    flat = a.reshape(len(a), side * side)
    for _ in range(steps):
        laid, inside = _laid(b, pose)
        planes = np.empty((len(a), 6, side, side), np.float32)
        down, across = planes[:, 1], planes[:, 3]
        slope = side / 2  # of differences over two pixels; positions are in shares of a side
        np.subtract(laid[:, 2:], laid[:, :-2], out=down[:, 1:-1])
        np.subtract(laid[:, :, 2:], laid[:, :, :-2], out=across[:, :, 1:-1])
        down[:, [0, -1]], across[:, :, [0, -1]] = 0, 0
        down *= inside * slope
        across *= inside * slope
        np.multiply(down, place[:, None], out=planes[:, 0])
        np.multiply(across, place, out=planes[:, 2])
        np.multiply(laid, inside, out=planes[:, 4])
        planes[:, 5] = inside
        rows = planes.reshape(len(a), 6, side * side)
        normal = (rows @ rows.swapaxes(1, 2)).astype(np.float64)
        right = (rows @ flat[:, :, None]).astype(np.float64)
        # Scaled to unit diagonal, and damped: a picture may not say how it lies along an axis.
        size = np.sqrt(np.maximum(np.diagonal(normal, axis1=1, axis2=2), 1e-9))
        normal /= size[:, :, None] * size[:, None, :]
        normal += np.diag([1e-3] * 4 + [1e-9] * 2)
        solved = np.linalg.solve(normal, right / size[:, :, None])[:, :, 0] / size
        moved = solved[:, :4] / np.maximum(solved[:, 4:5], 0.2)
        pose = pose + np.clip(moved, -0.06, 0.06)
        pose[:, 0::2] = np.clip(pose[:, 0::2], 0.8, 1.25)
        pose[:, 1::2] = np.clip(pose[:, 1::2], -0.15, 0.15)
    return pose


def structure(images: Floats) -> Floats:
    """What changes over few pixels, divided by its local size, of shape (n, side, side)."""
    side = images.shape[-1]
    fine, wide = blurring(side, side / 32), blurring(side, 3 * side / 64)
    detail = images - fine @ images @ fine.T
    local = wide @ (detail * detail) @ wide.T
    overall = np.sqrt((detail * detail).mean(axis=(1, 2), keepdims=True))
    detail /= np.sqrt(np.maximum(local, 0)) + 0.05 * overall + 1
    return detail


def correlation(a: Floats, b: Floats, weights: Floats | None = None) -> Floats:
    """Pearson's correlation of images, pair by pair, over the pixels of weight 1, of shape (n_pairs,)."""
    if weights is None:
        a, b = a - a.mean(axis=(1, 2), keepdims=True), b - b.mean(axis=(1, 2), keepdims=True)
    else:
        count = np.maximum(weights.sum(axis=(1, 2)), 1)
        a = (a - (np.einsum("nij,nij->n", a, weights) / count)[:, None, None]) * weights
        b = (b - (np.einsum("nij,nij->n", b, weights) / count)[:, None, None]) * weights
    size = np.sqrt(np.einsum("nij,nij->n", a, a) * np.einsum("nij,nij->n", b, b))
    found: Floats = np.einsum("nij,nij->n", a, b) / np.maximum(
        size, 1
    )  # of rounding errors only, it is far below 1
    return found


@cache
def blurring(side: int, sigma: float) -> Floats:
    """The matrix that blurs a line of `side` pixels with a Gaussian of `sigma` pixels; rows sum to 1."""
    at = np.arange(side)
    weights = np.exp(-((at[:, None] - at) ** 2) / (2 * sigma**2))
    blurs: Floats = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return blurs
