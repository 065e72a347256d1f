"""Limits on image sizes, a guard around decoders, and scaling of deep grey levels to bytes."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import FreezeframeError, ImageError
from ..output.terminal import printable

MAX_SIDE = 1_000_000
"""Limit of a side in pixels.

A long side costs memory for rows and for resizing, however short the other side is."""

_BLOCK_LEVELS = 2**20
_MAX_MESSAGE = 200

_thread = threading.local()


def scale_to_bytes(
    levels: NDArray[Any], limits: tuple[float, float] | None = None
) -> NDArray[np.uint8]:
    """Scale grey levels linearly: the smallest finite value becomes 0, the largest 255.

    NaN becomes 0; infinities are clamped to 0 and 255. A constant image is scaled between its value
    and zero, so it becomes 255 if the value is positive, otherwise 0.

    Args:
        levels: real array of any shape; it is not changed.
        limits: levels that become 0 and 255 instead; levels beyond them are clamped.

    Returns:
        uint8 array of the same shape.

    Examples:
        >>> scale_to_bytes(np.array([1000, 3000, 5000])).tolist()
        [0, 128, 255]
    """
    flat = levels.ravel()
    # In blocks: several float64 copies of a large 16-bit image would take much memory.
    blocks = [slice(start, start + _BLOCK_LEVELS) for start in range(0, flat.size, _BLOCK_LEVELS)]
    low, high = _finite_range(flat, blocks) if limits is None else (limits[0] / 2, limits[1] / 2)
    # A constant image is scaled between its value and zero.
    if low == high:
        low = min(low, 0.0)
        high = max(high, 0.0)
    scaled = np.empty(levels.size, np.uint8)
    for block in blocks:
        unit = _halves(flat[block])
        if low < high:
            unit -= low
            unit /= high - low
        np.nan_to_num(unit, copy=False, nan=0.0, posinf=1.0, neginf=0.0)
        scaled[block] = np.rint(np.clip(unit, 0, 1) * 255)
    return scaled.reshape(levels.shape)


def _finite_range(levels: NDArray[Any], blocks: list[slice]) -> tuple[float, float]:
    """Return half of the smallest and half of the largest finite level.

    If no level is finite, the result is (inf, -inf).
    """
    low = np.inf
    high = -np.inf
    for block in blocks:
        halves = _halves(levels[block])
        finite = np.isfinite(halves)
        low = min(low, float(np.min(halves, where=finite, initial=np.inf)))
        high = max(high, float(np.max(halves, where=finite, initial=-np.inf)))
    return low, high


def _halves(levels: NDArray[Any]) -> NDArray[np.float64]:
    """Halve the levels: the span of values near the limits of float64 would be infinite."""
    return levels.astype(np.float64) / 2


def check_size(height: int, width: int, max_pixels: int) -> None:
    """Raise ImageError if an image is too large.

    Args:
        height: rows of the image.
        width: columns of the image.
        max_pixels: limit of height x width. The limit of each side is `MAX_SIDE`.
    """
    if height * width > max_pixels:
        raise ImageError(f"{width} x {height} pixels are more than the limit of {max_pixels}")
    if max(height, width) > MAX_SIDE:
        raise ImageError(
            f"{width} x {height} pixels have a side longer than the limit of {MAX_SIDE}"
        )


@contextmanager
def decoder_guard(kind: str) -> Iterator[None]:
    """Turn every exception of a decoder into an ImageError; ignore warnings in this thread alone.

    The warning filter is process-wide, but it matches only in threads that decode. It is never
    removed: each change of the filters makes Python forget which warnings it has shown, and show
    them once more after every image.

    Args:
        kind: format of the file, for the message.

    Raises:
        ImageError: the decoder failed; the message is one line of at most 200 characters.
    """
    # Other code may have put its filters before this one, so its place is checked each time.
    if not warnings.filters or warnings.filters[0][2] is not _AnyWarning:
        warnings.simplefilter("ignore", _AnyWarning)
    _thread.decoding = True
    try:
        yield
    except FreezeframeError:
        raise
    # Hostile files make decoders raise nearly every class of exception.
    except Exception as error:
        detail = str(error) or type(error).__name__
        if isinstance(error, MemoryError):
            detail = "not enough memory"
        reason = printable(" ".join(f"{kind} that cannot be decoded: {detail}".split()))
        if len(reason) > _MAX_MESSAGE:
            reason = reason[: _MAX_MESSAGE - 1] + "…"
        raise ImageError(reason) from error
    finally:
        _thread.decoding = False


class _DecodingCheck(type):
    """Metaclass that checks, at each warning, whether the current thread decodes.

    `warnings.catch_warnings` is no alternative: it swaps the filters of all threads.
    """

    # Python calls issubclass(category, _AnyWarning) to decide whether the filter matches.

    def __subclasscheck__(cls, category: type) -> bool:
        return getattr(_thread, "decoding", False)


class _AnyWarning(Warning, metaclass=_DecodingCheck):
    """Base class of every warning category in threads that decode, and of none in other threads."""
