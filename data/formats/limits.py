"""What every reader of image files needs: the limit on sizes, deep grey levels to bytes, and one error for all."""

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
"""In pixels. Memory for an image's rows, and for resizing a side, is taken however short the other side is."""

_BLOCK_LEVELS = 2**20

_thread = threading.local()


def scale_to_bytes(levels: NDArray[Any]) -> NDArray[np.uint8]:
    """Scale grey levels linearly so that their smallest finite value becomes 0 and their largest 255.

    NaN becomes 0; infinities are clamped to 0 and 255. A constant image is scaled between its value
    and zero, so it becomes 255 if the value is positive, otherwise 0.

    Args:
        levels: any real array; it is not changed.

    Returns:
        uint8 array of the same shape.

    >>> scale_to_bytes(np.array([1000, 3000, 5000])).tolist()
    [0, 128, 255]
    """
    flat, scaled = levels.ravel(), np.empty(levels.size, np.uint8)
    # In blocks: as float64, a large image of 16 bits would take four times its memory, several
    # times over.
    blocks = [slice(start, start + _BLOCK_LEVELS) for start in range(0, flat.size, _BLOCK_LEVELS)]
    low, high = np.inf, -np.inf
    for block in blocks:
        halves = _halves(flat[block])
        finite = np.isfinite(halves)
        low = min(low, float(np.min(halves, where=finite, initial=np.inf)))
        high = max(high, float(np.max(halves, where=finite, initial=-np.inf)))
    if low == high:
        low, high = min(low, 0.0), max(high, 0.0)
    for block in blocks:
        unit = _halves(flat[block])
        if low < high:
            unit -= low
            unit /= high - low
        np.nan_to_num(unit, copy=False, nan=0.0, posinf=1.0, neginf=0.0)
        scaled[block] = np.rint(unit * 255)
    return scaled.reshape(levels.shape)


def _halves(levels: NDArray[Any]) -> NDArray[np.float64]:
    """Half of each level, or the span of values near float64's limits would be infinite."""
    return levels.astype(np.float64) / 2


def check_size(height: int, width: int, max_pixels: int) -> None:
    """Raise ImageError if an image of that size has more than `max_pixels` pixels, or a side longer than `MAX_SIDE`."""
    if height * width > max_pixels:
        raise ImageError(f"{width} x {height} pixels are more than the limit of {max_pixels}")
    if max(height, width) > MAX_SIDE:
        raise ImageError(
            f"{width} x {height} pixels have a side longer than the limit of {MAX_SIDE}"
        )


@contextmanager
def reading(kind: str) -> Iterator[None]:
    """While decoding a file of that kind: raise only ImageErrors, and ignore warnings in this thread alone."""
    # Others may put filters before ours, for example in tests; only then is it set anew.
    if not warnings.filters or warnings.filters[0][2] is not _AnyWarning:
        warnings.simplefilter("ignore", _AnyWarning)
    _thread.decoding = True
    try:
        yield
    except FreezeframeError:
        raise
    except Exception as error:  # hostile files get readers to raise nearly everything there is
        detail = (
            "not enough memory"
            if isinstance(error, MemoryError)
            else str(error) or type(error).__name__
        )
        reason = printable(" ".join(f"{kind} that cannot be decoded: {detail}".split()))
        raise ImageError(reason if len(reason) <= 200 else reason[:199] + "…") from error
    finally:
        _thread.decoding = False


class _WhileDecoding(type):
    """`warnings.catch_warnings` swaps the filters of all threads; asking the thread at each warning does not."""

    def __subclasscheck__(cls, category: type) -> bool:
        return getattr(_thread, "decoding", False)


class _AnyWarning(Warning, metaclass=_WhileDecoding):
    """Stands for every category of warning in a thread that is decoding, and for none elsewhere."""
