"""Drawing one synthetic head slice, with or without a lesion; see `freezeframe.data.demo.images` for what it is for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Grid = NDArray[np.float32]  # of shape (height, width)


class _Tissue(NamedTuple):
    """Brightness of each tissue, 0 (black) to 1 (white)."""

    fat: float
    bone: float
    fluid: float
    grey: float
    white: float


# The looks of a T1-, a FLAIR- and a T2-weighted scan, roughly.
_CONTRASTS = (
    _Tissue(fat=0.90, bone=0.10, fluid=0.14, grey=0.44, white=0.64),
    _Tissue(fat=0.72, bone=0.08, fluid=0.10, grey=0.60, white=0.46),
    _Tissue(fat=0.70, bone=0.08, fluid=0.92, grey=0.56, white=0.40),
)


class _Blob(NamedTuple):
    """A lesion's place and outline: centre and radius in units of the head's half axes, push on its surroundings."""

    x: float
    y: float
    radius: float
    push: float
    waves: tuple[
        tuple[float, float], ...
    ]  # amplitude and phase of the outline's harmonics 1, 2, ...


def draw_slice(rng: np.random.Generator, lesion: bool) -> NDArray[np.uint8]:
    """Draw one head slice of shape (height, width), 160 to 300 pixels a side.

    The class decides nothing but whether the lesion is painted: from equal generators come the same
    head, noise and artefacts, with and without it, and as much of the generator is used up.
    """
    anatomy, growth, extras, scanner = (
        np.random.default_rng(seed) for seed in rng.integers(2**63, size=4)
    )
    tissue = _tissue(anatomy)
    x, y = _head_frame(anatomy)
    rho = _head_radius(anatomy, x, y)
    blob = _blob(growth)
    picture = _brain(anatomy, tissue, *(_pushed(blob, x, y, rho) if lesion else (x, y)), rho)
    if lesion:
        picture = _paint_lesion(growth, blob, tissue, picture, x, y, rho)
    picture = _confusers(extras, picture, x, y, rho)
    picture = _skull(anatomy, tissue, picture, rho)
    return _scan(scanner, picture)


def _ramp(values: Grid, width: float) -> Grid:
    """0 where `values` are below -width/2, 1 above width/2, straight between."""
    return np.asarray(np.clip(values / width + 0.5, 0.0, 1.0))


def _between(value: float, places: list[float], values: list[float]) -> float:
    return float(np.interp(value, places, values))


def _field(rng: np.random.Generator, shape: tuple[int, ...], cells: int) -> Grid:
    """Smooth noise of that shape, about unit variance, with some `cells` bumps a side."""
    from PIL import Image

    rough = Image.fromarray(rng.standard_normal((cells + 1, cells + 1), dtype=np.float32))
    return np.asarray(
        rough.resize((shape[1], shape[0]), Image.Resampling.BICUBIC), dtype=np.float32
    )


def _tissue(rng: np.random.Generator) -> _Tissue:
    base = _CONTRASTS[rng.choice(3, p=[0.8, 0.15, 0.05])]
    return _Tissue(*(shade * rng.uniform(0.88, 1.12) for shade in base))


def _head_frame(rng: np.random.Generator) -> tuple[Grid, Grid]:
    """Each pixel's place (x to the side, y to the back) in a head whose outline is about the unit circle."""
    height = int(rng.integers(180, 301))
    width = int(np.clip(height * rng.choice([1.0, rng.uniform(0.8, 1.15)]), 160, 300))
    slim, fill, turn = (
        rng.uniform(0.74, 0.9),
        rng.uniform(0.9, 0.97),
        math.radians(rng.normal(0.0, 5.0)),
    )
    half = fill * min(height, width / slim) / 2
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    rows -= height / 2 + rng.normal(0.0, 0.015) * height
    columns -= width / 2 + rng.normal(0.0, 0.015) * width
    x = (columns * math.cos(turn) + rows * math.sin(turn)) / (half * slim)
    y = (rows * math.cos(turn) - columns * math.sin(turn)) / half
    return x, y


def _head_radius(rng: np.random.Generator, x: Grid, y: Grid) -> Grid:
    """0 in the middle of the head, 1 on its outline: an egg, narrower in front, with some bumps of its own."""
    power = rng.uniform(1.95, 2.35)
    rho = (np.abs(x) ** power + np.abs(y) ** power) ** (1 / power)
    angle = np.arctan2(y, x)
    outline = 1 + rng.uniform(0.0, 0.06) * (np.sin(angle) - 1) * np.abs(np.cos(angle))
    for wave in range(2, 6):
        outline += rng.normal(0.0, 0.03 / wave) * np.cos(wave * angle + rng.uniform(0.0, 6.3))
    return np.asarray(rho / outline)


def _around(
    rng: np.random.Generator, x: Grid, y: Grid, depth: Grid, cells: int, layers: float
) -> Grid:
    """Noise in polar form: `cells` bumps once around the head, `layers` of them from rim to middle."""
    from scipy.ndimage import map_coordinates

    rough = rng.standard_normal((8, cells))
    turn = np.arctan2(y, x) / (2 * np.pi) * cells
    return np.asarray(
        map_coordinates(rough, [depth * layers, turn], np.float32, order=3, mode="grid-wrap")
    )


def _capsule(
    x: Grid, y: Grid, start: tuple[float, float], end: tuple[float, float], taper: float
) -> Grid:
    """Distance to the line from `start` to `end`; the line's end counts as `taper` nearer or farther."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    along = np.clip(((x - start[0]) * dx + (y - start[1]) * dy) / (dx * dx + dy * dy), 0.0, 1.0)
    return np.asarray(
        np.hypot(x - start[0] - along * dx, y - start[1] - along * dy) + taper * along
    )


def _brain(rng: np.random.Generator, tissue: _Tissue, x: Grid, y: Grid, rho: Grid) -> Grid:
    """White and grey matter, folds, the cleft between the halves, deep grey and ventricles; no skull yet."""
    level = rng.uniform(0.0, 1.0)  # of the slice: 0 at the deep grey, 1 above the ventricles
    x = x + 0.02 * _field(rng, x.shape, 5)
    y = y + 0.02 * _field(rng, x.shape, 5)
    depth = np.maximum(rng.uniform(0.82, 0.86) - rho, 0.0)
    fold = _around(rng, x, y, depth, int(rng.integers(44, 64)), rng.uniform(5.0, 9.0))
    slope = np.hypot(*np.gradient(fold)) / np.abs(np.gradient(y, axis=0)).mean()
    reach = np.clip(0.2 + 0.1 * _field(rng, x.shape, 7), 0.0, 0.42)
    sulcus = np.hypot(np.abs(fold) / (slope + 3.0), np.maximum(depth - reach, 0.0))
    gap = _between(level, [0.0, 0.75, 1.0], [0.46, 0.36, 0.0])
    cleft = np.hypot(x, np.maximum(gap - np.abs(y - 0.03), 0.0))
    if level < 0.5:
        cleft = np.minimum(cleft, _capsule(np.abs(x), y, (0.9, -0.1), (0.55, 0.02), 0.02))
    near = np.minimum(np.minimum(depth, sulcus), cleft)
    thick, wide = rng.uniform(0.045, 0.075), rng.uniform(-0.008, 0.01)
    picture = tissue.grey + (tissue.white - tissue.grey) * _ramp(near - thick, 0.03)
    picture = _deep(rng, level, tissue, picture, x, y) + rng.uniform(0.0, 0.025) * _field(
        rng, x.shape, 20
    )
    return np.asarray(tissue.fluid + (picture - tissue.fluid) * _ramp(near - wide, 0.02))


def _deep(
    rng: np.random.Generator, level: float, tissue: _Tissue, picture: Grid, x: Grid, y: Grid
) -> Grid:
    """Thalamus, putamen and the ventricles, which need not be alike on both sides."""
    u, swell = np.abs(x), rng.uniform(0.025, 0.075)
    grey = np.maximum(
        1 - np.hypot((u - 0.15) / 0.11, (y - 0.12) / 0.18),
        1 - np.hypot((u - 0.36) / 0.09, y / 0.24),
    )
    picture = picture + (tissue.grey - picture) * _ramp(grey, 0.3) * _between(
        level, [0.3, 0.5], [0.85, 0.0]
    )
    left, right = swell * rng.uniform(0.65, 1.35), swell * rng.uniform(0.65, 1.35)
    wide = right + (left - right) * _ramp(x, 0.02)
    bent = u - rng.uniform(0.5, 1.0) * (y - 0.02) ** 2
    if level < 0.45:
        front = _capsule(bent, y, (0.05, -0.17), (0.08, -0.33), rng.uniform(-0.02, 0.0))
        back = _capsule(bent, y, (0.17, 0.3), (0.14, 0.45), rng.uniform(-0.02, 0.01))
        third = _capsule(x, y, (0.0, -0.06), (0.0, 0.2), 0.0) - 0.4 * swell
        fluid = np.maximum(wide - np.minimum(front, back), -third)
    else:
        length = _between(level, [0.45, 0.85], [0.36, 0.15])
        fluid = wide - _capsule(
            bent, y, (0.08, -length), (0.1, 1.1 * length), rng.uniform(-0.02, 0.02)
        )
        fluid -= _between(level, [0.75, 0.9], [0.0, 0.1])
    return np.asarray(picture + (tissue.fluid - picture) * _ramp(fluid, 0.025))


def _skull(rng: np.random.Generator, tissue: _Tissue, picture: Grid, rho: Grid) -> Grid:
    """Fluid around the brain, bone with its marrow, scalp and the air outside."""
    inner, outer = rng.uniform(0.855, 0.885), rng.uniform(0.935, 0.96)
    marrow: Grid = np.exp(-(((rho - (inner + outer) / 2) / 0.014) ** 2)).astype(np.float32)
    bone: Grid = np.asarray(tissue.bone + rng.uniform(0.0, 0.5) * tissue.fat * marrow, np.float32)
    picture = picture + (bone - picture) * _ramp(rho - inner, 0.02)
    scalp = tissue.fat * rng.uniform(0.5, 1.0) * (1 + 0.15 * _field(rng, rho.shape, 6))
    picture = picture + (scalp - picture) * _ramp(rho - outer, 0.025)
    return picture * (1 - _ramp(rho - 1.0, 0.03))


def _blob(rng: np.random.Generator) -> _Blob:
    """Where a lesion grows; drawn for every slice, painted only where there is one."""
    angle, away = rng.uniform(0.0, 2 * np.pi), 0.64 * math.sqrt(rng.uniform(0.03, 1.0))
    waves = tuple(
        (rng.normal(0.0, 0.16) / wave**0.5, rng.uniform(0.0, 6.3)) for wave in range(1, 6)
    )
    radius = rng.uniform(0.24, 0.44)
    return _Blob(
        away * math.cos(angle), away * math.sin(angle), radius, rng.uniform(0.2, 0.6), waves
    )


def _pushed(blob: _Blob, x: Grid, y: Grid, rho: Grid) -> tuple[Grid, Grid]:
    """Where to look up the anatomy that a growing lesion pushed aside; the skull stays."""
    away = np.hypot(x - blob.x, y - blob.y) / (1.5 * blob.radius)
    shrink = 1 - blob.push * np.exp(-(away**2)) * np.clip((0.86 - rho) / 0.25, 0.0, 1.0)
    return blob.x + (x - blob.x) * shrink, blob.y + (y - blob.y) * shrink


def _paint_lesion(
    rng: np.random.Generator,
    blob: _Blob,
    tissue: _Tissue,
    picture: Grid,
    x: Grid,
    y: Grid,
    rho: Grid,
) -> Grid:
    """Paint it bright, dark, ring-shaped or like grey matter; maybe with oedema around; at times hardly visible."""
    angle = np.arctan2(y - blob.y, x - blob.x)
    outline = 1 + sum(
        size * np.cos(wave * angle + phase)
        for wave, (size, phase) in enumerate(blob.waves, start=1)
    )
    away = np.hypot(x - blob.x, y - blob.y) / (blob.radius * np.clip(outline, 0.4, 2.0))
    away = away + 0.1 * _field(rng, x.shape, 24)
    inside = _ramp(0.85 - rho, 0.02)
    kind = rng.choice(["bright", "dark", "ring", "like grey"], p=[0.42, 0.13, 0.35, 0.1])
    # One in eight is hardly there: no classifier shall ever score 100 %.
    strength = rng.uniform(0.05, 0.2) if rng.random() < 1 / 8 else rng.uniform(0.8, 1.0)
    body = _ramp(1 - away, rng.uniform(0.1, 0.5)) * inside
    wet = strength * rng.uniform(0.12, 0.3) * (rng.random() < 0.7)
    swollen = _ramp(rng.uniform(1.3, 1.9) - away, 0.6) * inside
    picture = picture + (wet if tissue.grey > tissue.white else -wet) * swollen
    shade = {"bright": 1.0, "dark": 0.18, "ring": 1.0}.get(str(kind), tissue.grey) + 0.18 * _field(
        rng, x.shape, 16
    )
    if kind == "ring":
        shade = shade - 0.8 * _ramp(rng.uniform(0.55, 0.8) - away, 0.25)
    return np.asarray(picture + (shade - picture) * strength * body)


def _confusers(rng: np.random.Generator, picture: Grid, x: Grid, y: Grid, rho: Grid) -> Grid:
    """What may be taken for a lesion: vessels, calcified spots, smudges without an outline. Both classes have them."""
    inside = _ramp(0.86 - rho, 0.03)
    marks = [(rng.uniform(0.2, 0.6), rng.uniform(0.008, 0.02)) for _ in range(rng.poisson(5.0))]
    marks += [(rng.uniform(-0.5, 0.7), rng.uniform(0.015, 0.04)) for _ in range(rng.poisson(1.0))]
    marks += [(rng.uniform(-0.2, 0.25), rng.uniform(0.06, 0.18)) for _ in range(rng.poisson(0.6))]
    for gain, size in marks:
        angle, away = rng.uniform(0.0, 2 * np.pi), 0.8 * math.sqrt(rng.random())
        u, v = x - away * math.cos(angle), y - away * math.sin(angle)
        turn, long = rng.uniform(0.0, np.pi), rng.uniform(1.0, 2.0)
        along, across = (
            u * math.cos(turn) + v * math.sin(turn),
            v * math.cos(turn) - u * math.sin(turn),
        )
        picture = (
            picture + gain * np.exp(-((along / long) ** 2 + across**2) / (2 * size**2)) * inside
        )
    return picture


def _scan(rng: np.random.Generator, picture: Grid) -> NDArray[np.uint8]:
    """What the scanner adds: uneven sensitivity, a ghost, blur, Rician noise, a window."""
    from scipy.ndimage import gaussian_filter

    picture = np.clip(picture, 0.0, 1.2) * np.exp(
        rng.uniform(0.03, 0.16) * _field(rng, picture.shape, 1)
    )
    if rng.random() < 0.25:
        picture = picture + rng.uniform(0.02, 0.08) * np.roll(
            picture, picture.shape[0] // int(rng.integers(2, 5)), 0
        )
    picture = gaussian_filter(picture, rng.uniform(0.6, 1.1))
    noise = rng.uniform(0.005, 0.025) * rng.standard_normal((2, *picture.shape), dtype=np.float32)
    picture = np.hypot(picture + noise[0], noise[1])
    picture = rng.uniform(0.8, 1.1) * picture ** rng.uniform(0.85, 1.2)
    return (np.clip(picture, 0.0, 1.0) * 255).round().astype(np.uint8)
