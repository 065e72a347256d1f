"""Contact sheets: some images of one class side by side, with their names."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import FreezeframeError
from ..formats.image_file import read_image
from ..output.terminal import printable

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

SHEET_IMAGES = 48
SHEET_COLUMNS = 8

# In pixels.
_TILE = 128
_GAP = 8
_NAME_HEIGHT = 16

_INK = "#333333"
_PAPER = "#ffffff"
_FRAME = "#1a1a1a"

_LONGEST_NAME = 60


def sheet_png(sheet: Image.Image) -> bytes:
    """Return the PNG file of a contact sheet."""
    file = BytesIO()
    sheet.save(file, "PNG", optimize=True)
    return file.getvalue()


def contact_sheet(root: Path, images: pd.DataFrame, *, seed: int = 0) -> Image.Image:
    """Draw some images of one class with their names, in the order of their paths.

    Args:
        root: the folder that paths are relative to.
        images: readable images; if there are more than `SHEET_IMAGES`, a random sample is drawn.
        seed: seed of the sample.
    """
    from concurrent.futures import ThreadPoolExecutor

    from PIL import Image, ImageDraw, ImageFont

    # A fixed seed and sorted paths: the same images always give the same sheet.
    n = min(len(images), SHEET_IMAGES)
    chosen = np.sort(np.random.default_rng(seed).choice(len(images), n, replace=False))
    paths = [str(images["path"].iloc[row]) for row in chosen]
    columns = min(n, SHEET_COLUMNS)
    rows = -(-n // SHEET_COLUMNS)
    step = _TILE + _GAP
    line = _TILE + _NAME_HEIGHT + _GAP
    sheet = Image.new("RGB", (_GAP + columns * step, _GAP + rows * line), _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.truetype(_font_file(), 11, layout_engine=ImageFont.Layout.BASIC)
    # Decoding releases the interpreter lock, so threads make it faster.
    with ThreadPoolExecutor(4) as pool:
        tiles = pool.map(_tile, [root / path for path in paths])
        for number, (path, tile) in enumerate(zip(paths, tiles, strict=True)):
            left = _GAP + number % SHEET_COLUMNS * step
            top = _GAP + number // SHEET_COLUMNS * line
            sheet.paste(tile, (left, top))
            name = _shorten(Path(path).name, font)
            draw.text((left, top + _TILE + 1), name, fill=_INK, font=font)
    return sheet


def _tile(path: Path) -> Image.Image:
    """Return a picture within a square; an empty square if the file cannot be read any more."""
    from PIL import Image

    tile = Image.new("RGB", (_TILE, _TILE), _FRAME)
    try:
        picture = Image.fromarray(read_image(path))
    except FreezeframeError:
        return tile
    scale = _TILE / max(picture.size)
    width, height = (max(1, round(scale * side)) for side in picture.size)
    # Enlarged pixels stay visible as squares.
    resampling = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.NEAREST
    picture = picture.resize((width, height), resampling)
    tile.paste(picture, ((_TILE - width) // 2, (_TILE - height) // 2))
    return tile


def _shorten(name: str, font: Any) -> str:
    """Shorten a name to the width of a tile: drop its middle, since its ends identify a file."""
    name = printable(name)
    if len(name) > _LONGEST_NAME:
        half = _LONGEST_NAME // 2
        name = f"{name[:half]}…{name[-half:]}"
    text = name
    for length in range(len(name), 1, -1):
        if font.getlength(text) <= _TILE:
            break
        text = f"{name[: (length + 1) // 2]}…{name[len(name) - length // 2 :]}"
    return text


def _font_file() -> str:
    """Return the path of a font that matplotlib ships: Latin, Greek, Cyrillic and more."""
    from matplotlib import get_data_path

    return str(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")
