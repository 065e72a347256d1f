"""Pictures that no model of brain scans was trained on: photographs, noise, pages of text.

Photographs are those that scikit-learn, matplotlib and a folder hold (that of scikit-image, say);
each is taken whole and as crops, in colour and in grey. Noise and pages are drawn here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Picture = NDArray[np.uint8]

N_CROPS = 6
"""Crops of a photograph, of 30 to 90 % of its sides, besides the whole."""

N_NOISE = 20
"""Pictures of each kind of noise."""

N_PAGES = 120
"""Pages of text."""

PHOTOGRAPHS = (
    "astronaut",
    "brick",
    "camera",
    "chelsea",
    "coffee",
    "coins",
    "grass",
    "gravel",
    "hubble_deep_field",
    "moon",
    "motorcycle_left",
    "rocket",
)
"""Photographs of scikit-image that show no tissue."""

WORDS = [
    "the",
    "patient",
    "was",
    "seen",
    "again",
    "after",
    "two",
    "weeks",
    "and",
    "reports",
    "no",
    "pain",
    "on",
    "the",
    "left",
    "side",
    "of",
    "the",
    "head",
    "findings",
    "no",
    "sign",
    "of",
    "a",
    "bleeding",
    "ventricles",
    "of",
    "normal",
    "width",
    "conclusion",
    "a",
    "follow",
    "up",
    "in",
    "six",
    "months",
]


def photographs(folder: Path | None) -> Iterator[tuple[str, Image.Image]]:
    """Yield the names and pixels of photographs.

    Args:
        folder: folder `skimage/data` of scikit-image; None leaves its photographs out.
    """
    import matplotlib
    import sklearn.datasets

    scikit_learn = Path(sklearn.datasets.__file__).parent / "images"
    paths = [scikit_learn / "china.jpg", scikit_learn / "flower.jpg"]
    paths.append(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg")
    for name in PHOTOGRAPHS if folder else ():
        paths += [path for path in sorted(folder.glob(f"{name}.*")) if path.suffix != ".npz"]
    for path in paths:
        with Image.open(path) as image:
            yield path.stem, image.convert("RGB")


def natural_pictures(folder: Path | None) -> Iterator[Picture]:
    """Yield photographs and their crops, each in colour and in grey."""
    rng = np.random.default_rng(0)
    for _, image in photographs(folder):
        pictures = [image]
        for _ in range(N_CROPS):
            share = rng.uniform(0.3, 0.9)
            width = int(share * image.width)
            height = int(share * image.height)
            left = int(rng.integers(0, image.width - width + 1))
            top = int(rng.integers(0, image.height - height + 1))
            pictures.append(image.crop((left, top, left + width, top + height)))
        for picture in pictures:
            yield np.asarray(picture)
            yield np.asarray(picture.convert("L").convert("RGB"))


def noise(side: int = 256) -> Iterator[tuple[str, Picture]]:
    """Yield the kinds and pixels of noise."""
    rng = np.random.default_rng(1)

    def grey(values: NDArray[np.floating]) -> Picture:
        return np.repeat(np.clip(values, 0, 255).astype(np.uint8)[..., None], 3, axis=2)

    for number in range(N_NOISE):
        yield "white", grey(rng.uniform(0, 255, (side, side)))
        yield "colours", rng.integers(0, 256, (side, side, 3)).astype(np.uint8)
        yield "normal", grey(rng.normal(rng.uniform(20, 200), 30, (side, side)))
        yield "sparse", grey(255.0 * (rng.random((side, side)) < rng.uniform(0.01, 0.3)))
        white = Image.fromarray(grey(rng.uniform(0, 255, (side, side))))
        soft = np.asarray(white.filter(ImageFilter.GaussianBlur(2 + number % 8)), float)[..., 0]
        yield "blurred", grey(255 * (soft - soft.min()) / np.ptp(soft))
        frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
        wave = np.fft.rfft2(rng.normal(size=(side, side))) / np.maximum(frequency, 1 / side)
        clouds = np.fft.irfft2(wave, s=(side, side))
        yield "1/f", grey(255 * (clouds - clouds.min()) / np.ptp(clouds))


def pages() -> Iterator[Picture]:
    """Yield pages of text in several sizes, dark on bright and bright on dark."""
    import matplotlib

    rng = np.random.default_rng(2)
    fonts = sorted((Path(matplotlib.get_data_path()) / "fonts" / "ttf").glob("DejaVuS*.ttf"))
    for number in range(N_PAGES):
        size = int(rng.integers(10, 40))
        font = ImageFont.truetype(fonts[int(rng.integers(len(fonts)))], size)
        paper, ink = ("white", "black") if number % 2 else ("black", "white")
        page = Image.new("RGB", (int(rng.integers(300, 700)), int(rng.integers(300, 700))), paper)
        draw = ImageDraw.Draw(page)
        for top in range(10, page.height - size, int(1.3 * size)):
            line = " ".join(rng.choice(WORDS, 60))
            draw.text((12, top), line[: page.width // (size // 2) - 3], fill=ink, font=font)
        yield np.asarray(page)
