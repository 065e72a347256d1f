"""Measure how well near-duplicates are separated from look-alikes, and the time to group many.

usage: python scripts/checks/duplicate_check.py FOLDER [--originals 500] [--threshold 0.85]
       python scripts/checks/duplicate_check.py --synthetic [--sizes 10000,20000,50000,100000]

With FOLDER: the script edits --originals of its images, one per group, in known ways. Recall is the
share of an edit's images that are paired with their original. A pair from two originals counts as
false, though some of these show the next slice of the same head. With --synthetic: fingerprints of
drawn heads, half of them edits of the other half.
"""

from __future__ import annotations

import io
import resource
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from rich.console import Console
from rich.progress import track

from freezeframe.data.duplicates.index import ThumbnailIndex
from freezeframe.data.duplicates.pairs import (
    THRESHOLD,
    NearPairs,
    duplicate_groups,
    merge_groups,
    near_pairs,
)
from freezeframe.data.duplicates.symmetries import apply_symmetry
from freezeframe.data.fingerprints import fingerprint
from freezeframe.data.formats.image_file import read_image
from freezeframe.data.inspection.inspect import inspect_images
from freezeframe.data.manifest import read_manifest

Edit = Callable[[Image.Image, np.random.Generator], Image.Image]


def saved(kind: str, quality: int) -> Edit:
    """Return an edit that saves an image in a lossy format."""

    def edit(image: Image.Image, rng: np.random.Generator) -> Image.Image:
        image.save(file := io.BytesIO(), kind, quality=quality)
        return Image.open(file).convert("RGB")

    return edit


def resized(factor: float, method: Image.Resampling) -> Edit:
    """Return an edit that changes the size of an image by a factor."""
    return lambda image, rng: image.resize(
        tuple(max(1, round(factor * side)) for side in image.size), method
    )


def square(side: int, method: Image.Resampling) -> Edit:
    """Return an edit that resizes an image to a square."""
    return lambda image, rng: image.resize((side, side), method)


def cropped(share: float, centred: bool = False) -> Edit:
    """Return an edit that cuts off a share of the width and of the height.

    Args:
        share: of the width, and of the height.
        centred: cut equally on all sides, not at a random place.
    """

    def edit(image: Image.Image, rng: np.random.Generator) -> Image.Image:
        width, height = image.size
        rest = 1 - share
        left, top = (0.5, 0.5) if centred else rng.random(2)
        x = round(left * share * width)
        y = round(top * share * height)
        return image.crop((x, y, x + round(rest * width), y + round(rest * height)))

    return edit


def turned(symmetry: Image.Transpose) -> Edit:
    """Return an edit that turns or mirrors an image."""
    return lambda image, rng: image.transpose(symmetry)


def gamma(power: float) -> Edit:
    """Return an edit that raises grey levels to a power."""
    return lambda image, rng: image.point(
        [round(255 * (level / 255) ** power) for level in range(256)] * 3
    )


def chained(*edits: Edit) -> Edit:
    """Return an edit that does several edits, one after the other."""

    def edit(image: Image.Image, rng: np.random.Generator) -> Image.Image:
        for step in edits:
            image = step(image, rng)
        return image

    return edit


def brighter(factor: float) -> Edit:
    """Return an edit that changes the brightness."""
    return lambda image, rng: ImageEnhance.Brightness(image).enhance(factor)


def contrasted(factor: float) -> Edit:
    """Return an edit that changes the contrast."""
    return lambda image, rng: ImageEnhance.Contrast(image).enhance(factor)


TURNS = Image.Transpose
EDITS: dict[str, dict[str, Edit]] = {
    "re-encoded": {
        "JPEG, quality 30": saved("JPEG", 30),
        "JPEG, quality 75": saved("JPEG", 75),
        "WebP, quality 50": saved("WEBP", 50),
    },
    "resized": {
        "to one half": resized(0.5, Image.Resampling.BILINEAR),
        "to three halves": resized(1.5, Image.Resampling.BICUBIC),
        "to 224 x 224": square(224, Image.Resampling.LANCZOS),
        "to 128 x 128, nearest pixel": square(128, Image.Resampling.NEAREST),
    },
    "mirrored": {
        "left to right": turned(TURNS.FLIP_LEFT_RIGHT),
        "top to bottom": turned(TURNS.FLIP_TOP_BOTTOM),
    },
    "quarter turns": {
        "90 degrees": turned(TURNS.ROTATE_90),
        "180 degrees": turned(TURNS.ROTATE_180),
        "270 degrees": turned(TURNS.ROTATE_270),
        "90 degrees and mirrored": turned(TURNS.TRANSPOSE),
    },
    "cropped by 5 %": {
        "of the area": cropped(0.0253),
        "of width and height": cropped(0.05),
        "on each of the four sides": cropped(0.1, centred=True),
    },
    "brightness": {"x 0.6": brighter(0.6), "x 1.2": brighter(1.2), "x 1.5": brighter(1.5)},
    "contrast": {
        "x 0.6": contrasted(0.6),
        "x 1.5": contrasted(1.5),
        "gamma 0.7": gamma(0.7),
        "gamma 1.4": gamma(1.4),
    },
    "several at once": {
        "mirrored, cropped, brighter, JPEG": chained(
            turned(TURNS.FLIP_LEFT_RIGHT), cropped(0.05), brighter(1.2), saved("JPEG", 60)
        ),
        "turned, cropped, less contrast, resized": chained(
            turned(TURNS.ROTATE_90),
            cropped(0.05),
            contrasted(0.8),
            square(200, Image.Resampling.BICUBIC),
        ),
    },
}


def choose_originals(folder: Path, count: int, threshold: float, seed: int = 0) -> list[Path]:
    """Choose one image of each of some groups, at random."""
    manifest = read_manifest(folder)
    readable = [
        (image, facts.fingerprint)
        for image, facts in zip(manifest.images, inspect_images(manifest), strict=True)
        if facts.fingerprint is not None
    ]
    groups = duplicate_groups(
        [image.sha256 for image, _ in readable],
        [fingerprint.pixels for _, fingerprint in readable],
        np.stack([fingerprint.thumbnail for _, fingerprint in readable]),
        threshold=threshold,
    )
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(groups.max() + 1)[:count]
    return [
        manifest.root / readable[rng.choice(np.flatnonzero(groups == group))][0].path
        for group in sorted(chosen)
    ]


def edited(paths: list[Path]) -> NDArray[np.uint8]:
    """Return thumbnails of originals and edits, of shape (n_originals, 1 + n_edits, 64, 64)."""
    edits = [edit for kind in EDITS.values() for edit in kind.values()]
    thumbnails = []
    for number, path in enumerate(
        track(paths, "editing", console=Console(stderr=True), transient=True)
    ):
        original = Image.fromarray(read_image(path))
        rng = np.random.default_rng(number)
        versions = [original, *(edit(original, rng) for edit in edits)]
        thumbnails.append([fingerprint(np.array(version)).thumbnail for version in versions])
    return np.array(thumbnails)


def show_recall(pairs: NearPairs, n_originals: int, n_versions: int) -> None:
    """Print the recall of each edit, and the precision of all pairs."""
    first = pairs.first // n_versions
    second = pairs.second // n_versions
    same = first == second
    # Only pairs with the original itself count.
    direct = np.zeros((n_originals, n_versions), dtype=bool)
    with_original = same & (pairs.first % n_versions == 0)
    direct[first[with_original], pairs.second[with_original] % n_versions] = True
    rows = np.arange(n_originals * n_versions)
    groups = merge_groups(rows, pairs.first, pairs.second).reshape(n_originals, n_versions)
    grouped = groups == groups[:, :1]
    click.echo(f"{'edit':58s} recall  in the same group")
    at = 1
    for kind, edits in EDITS.items():
        for name in edits:
            title = f"{kind}, {name}"
            recall = f"{direct[:, at].mean():6.3f}  {grouped[:, at].mean():6.3f}"
            click.echo(f"  {title:56s} {recall}")
            at += 1
        part = slice(at - len(edits), at)
        click.echo(f"{kind:58s} {direct[:, part].mean():6.3f}  {grouped[:, part].mean():6.3f}")
    click.echo(
        f"precision {same.mean():.4f}: {int(same.sum())} of {len(same)} pairs are of one original; "
        f"{len(np.unique(groups))} groups of {n_originals} originals"
    )


def drawn_heads(n: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw thumbnails of bright ellipses on a dark ground, each with a texture of its own."""
    side = 64
    at = (np.arange(side) - (side - 1) / 2) / (side / 2)
    down = np.fft.fftfreq(side)[:, None] * side
    across = np.fft.rfftfreq(side) * side
    frequency = np.hypot(down, across)
    strength = np.where(frequency < 20, 1 / np.maximum(frequency, 1) ** 1.2, 0)
    thumbnails = np.empty((n, side, side), np.uint8)
    for start in range(0, n, 2048):
        count = min(2048, n - start)
        waves = rng.normal(size=(2, count, *strength.shape))
        texture = np.fft.irfft2((waves[0] + 1j * waves[1]) * strength, s=(side, side))
        texture /= texture.std(axis=(1, 2), keepdims=True)
        height, width, y, x, ring, light, depth = rng.uniform(
            [0.7, 0.55, -0.08, -0.08, 0.04, 50, 15],
            [0.95, 0.85, 0.08, 0.08, 0.15, 110, 40],
            (count, 7),
        ).T[:, :, None, None]
        distance = np.hypot((at[:, None] - y) / height, (at - x) / width)
        skull = (distance < 1) & (distance > 1 - ring)
        picture = (light + depth * texture) * (distance < 1) + 100 * skull
        thumbnails[start : start + count] = np.clip(picture, 0, 255)
    return thumbnails


def synthetic(n: int) -> tuple[NDArray[np.uint8], NDArray[np.intp]]:
    """Return thumbnails, half of them edits of the other half, and the original of each.

    The edits: turned, brighter, another gamma, shifted.
    """
    rng = np.random.default_rng(0)
    originals = drawn_heads(n // 2, rng)
    of = rng.integers(0, n // 2, n - n // 2)
    edits = originals[of]
    kind = rng.integers(0, 4, len(of))
    for number in range(8):
        chosen = (kind == 0) & (of % 8 == number)
        edits[chosen] = apply_symmetry(edits[chosen], number)
    edits[kind == 1] = np.minimum(edits[kind == 1] * 1.3, 255)
    edits[kind == 2] = 255 * (edits[kind == 2] / 255) ** 0.8
    edits[kind == 3] = np.roll(edits[kind == 3], (1, 2), axis=(1, 2))
    order = rng.permutation(n)
    return np.concatenate([originals, edits])[order], np.concatenate([np.arange(n // 2), of])[order]


def show_scale(n: int) -> None:
    """Print the time, memory and precision of grouping n drawn fingerprints."""
    thumbnails, of = synthetic(n)
    start = time.perf_counter()
    n_candidates = len(ThumbnailIndex.fit(thumbnails).candidates(np.arange(n)).pairs)
    indexed = time.perf_counter() - start
    start = time.perf_counter()
    pairs = near_pairs(thumbnails)
    groups = merge_groups(np.arange(n), pairs.first, pairs.second)
    seconds = time.perf_counter() - start
    true = of[pairs.first] == of[pairs.second]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    times = f"{seconds:6.1f} s ({indexed:.1f} of them the index)  {1e6 * seconds / n:5.0f} us each"
    n_groups = f"{groups.max() + 1} groups of {len(np.unique(of))}"
    click.echo(
        f"{n:7d} fingerprints  {times}  {n_candidates:8d} candidates  "
        f"precision {true.mean():.4f}  {n_groups}  peak {peak:.0f} MB"
    )


@click.command(help=__doc__)
@click.argument("folder", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--originals", default=500, show_default=True)
@click.option("--threshold", default=THRESHOLD, show_default=True)
@click.option("--synthetic", "scaling", is_flag=True)
@click.option("--sizes", default="10000,20000,50000,100000", show_default=True)
def main(folder: Path | None, originals: int, threshold: float, scaling: bool, sizes: str) -> None:
    """Run the check on a folder, on drawn heads, or on both."""
    if folder is not None:
        chosen = choose_originals(folder, originals, threshold)
        thumbnails = edited(chosen)
        n, versions = thumbnails.shape[:2]
        start = time.perf_counter()
        flat = thumbnails.reshape(n * versions, *thumbnails.shape[2:])
        pairs = near_pairs(flat, threshold=threshold)
        seconds = time.perf_counter() - start
        images = f"{n} originals, {n * versions} images, threshold {threshold}"
        click.echo(f"{images}: {seconds:.1f} s")
        show_recall(pairs, n, versions)
    if scaling:
        for size in sizes.split(","):
            show_scale(int(size))


if __name__ == "__main__":
    main()
