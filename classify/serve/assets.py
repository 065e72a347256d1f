"""Files that the pages need: templates, scripts and styles of this package, and three examples."""

from __future__ import annotations

import io
from collections.abc import Mapping
from importlib import resources

import numpy as np

from ...data.demo.drawing import draw_slice

TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
"""Types of the static files by their endings."""

_DRAWINGS = {1: (7, True), 2: (8, False), 3: (9, True)}
"""Seed of each example, and whether it has a lesion."""


def templates() -> dict[str, str]:
    """Return the text of each template by its name."""
    return {name: content.decode() for name, content in _files("templates").items()}


def static_files() -> Mapping[str, bytes]:
    """Return the content of each static file by its name."""
    return _files("static")


def examples() -> dict[int, bytes]:
    """Draw three head slices as the demo set has them, as PNG files by their number."""
    from PIL import Image

    pictures = {}
    for number, (seed, lesion) in _DRAWINGS.items():
        # The demo set itself has the seed 0: a model of it was not trained on these.
        pixels = draw_slice(np.random.default_rng([1, seed, int(lesion)]), lesion=lesion)
        Image.fromarray(pixels).save(file := io.BytesIO(), "PNG")
        pictures[number] = file.getvalue()
    return pictures


def _files(folder: str) -> dict[str, bytes]:
    # By importlib.resources: an installed package may be in an archive.
    place = resources.files(__package__) / folder
    return {file.name: file.read_bytes() for file in place.iterdir() if file.is_file()}
