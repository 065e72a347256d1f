"""Facts about images that controls are fitted on in place of features: their size, their frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.formats.image_file import open_image
from ...data.formats.table import IMAGE_FORMATS, KINDS
from ...errors import FreezeframeError
from ..task.part import Part

MODE_COLUMNS = (
    *("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I", "I;16", "F"),
    *("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422", "other"),
)
"""Modes with a column of their own."""

FRAME = 4
"""Width of the frame in pixels of a thumbnail: a sixteenth of the image on each side."""

_KIND_OF_ENDING = {ending: row.name for row in IMAGE_FORMATS for ending in row.endings}


def size_facts(part: Part) -> NDArray[np.float32]:
    """Return height, width, their ratio and product, format and mode of each image.

    A store keeps no format and no mode. They are read from the files again if these are still at
    their place and have the same SHA-256. Otherwise the format is that of the name's ending, and
    the mode is unknown.

    Args:
        part: the images.

    Returns:
        Of shape (n_rows, n_columns), in the same columns for any part. Sizes are in pixels; formats
        and modes have a column each, of zeros and ones.
    """
    store = part.store
    heights, widths = (
        sizes[part.rows].astype(np.float32) for sizes in (store.heights, store.widths)
    )
    # Stores of version 1 may hold a height of 0.
    ratios = widths / np.maximum(heights, 1)
    sizes = np.stack([heights, widths, ratios, heights * widths / 1e6], axis=1)
    kinds, modes = np.array(_kinds_and_modes(part)).reshape(-1, 2).T
    # (n_rows, 1) == (n_names,) -> (n_rows, n_names)
    marks = [kinds[:, None] == np.array(KINDS), modes[:, None] == np.array(MODE_COLUMNS)]
    return np.concatenate([sizes, *marks], axis=1).astype(np.float32)


def border_pixels(part: Part) -> NDArray[np.float32]:
    """Return the grey levels of each image's frame, from 0 to 1.

    The frame is that of the thumbnails that a store keeps: the outer sixteenth on each side.

    Args:
        part: the images.

    Returns:
        Of shape (n_rows, n_pixels).

    Raises:
        StoreError: the store has no thumbnail of an image.
    """
    thumbnails = part.store.thumbnails(part.rows)
    frame = np.ones(thumbnails.shape[1:], bool)
    frame[FRAME:-FRAME, FRAME:-FRAME] = False
    return np.asarray(thumbnails[:, frame] / np.float32(255), np.float32)


IMAGE_FACTS: Mapping[str, Callable[[Part], NDArray[np.float32]]] = {
    "size": size_facts,
    "border": border_pixels,
}
"""Functions of a part by what heads name in `Head.judges`."""


def facts_note(judges: str, X: NDArray[Any], part: Part) -> str:
    """Say how many images have an unknown format and mode; "" if all are known.

    Args:
        judges: a key of `IMAGE_FACTS`.
        X: the facts, of shape (n_rows, n_columns).
        part: the images.
    """
    n_unread = int((~X[:, -len(MODE_COLUMNS) :].any(axis=1)).sum()) if judges == "size" else 0
    if not n_unread:
        return ""
    return (
        f"image-size: {n_unread} of {len(X)} images of {part.store.data_set} are not at their "
        "place, or have changed: their format is that of the name, their mode is unknown"
    )


def _kinds_and_modes(part: Part) -> list[tuple[str, str]]:
    """Return format and mode of each image; a mode is "" where the file is not there."""
    store = part.store
    source = Path(store.source)
    root = source if source.is_dir() else source.parent
    paths = [root / path for path in store.paths[part.rows].tolist()]
    with ThreadPoolExecutor() as threads:
        return list(threads.map(_kind_and_mode, paths, part.sha256s.tolist()))


def _kind_and_mode(path: Path, sha256: str) -> tuple[str, str]:
    """Return format and mode of a file; those of its name if it is not there or has changed."""
    by_name = (_KIND_OF_ENDING.get(path.suffix.lower(), ""), "")
    try:
        opened = open_image(path)
        # Another file may be there by now.
        if not opened.kind or opened.sha256 != sha256:
            return by_name
        mode = opened.mode()
        return opened.kind, mode if mode in MODE_COLUMNS else MODE_COLUMNS[-1]
    except (FreezeframeError, OSError, ValueError):
        return by_name
