"""Drawings of synthetic head slices, with or without a lesion."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    # One value for each pixel, of shape (height, width).
    Grid = NDArray[np.float32]


class _Tissue(NamedTuple):
    """Brightness of each tissue, 0 (black) to 1 (white)."""

    fat: float
    bone: float
    fluid: float
    grey: float
    white: float


# Roughly as in a T1-, a FLAIR- and a T2-weighted scan.
_CONTRASTS = (
    _Tissue(fat=0.90, bone=0.10, fluid=0.14, grey=0.44, white=0.64),
    _Tissue(fat=0.72, bone=0.08, fluid=0.10, grey=0.60, white=0.46),
    _Tissue(fat=0.70, bone=0.08, fluid=0.92, grey=0.56, white=0.40),
)


class _Blob(NamedTuple):
    """Place and outline of a lesion.

    Attributes:
        x: centre, in units of the head's half axis to the side.
        y: centre, in units of the head's half axis to the back.
        radius: in the same units.
        push: how far it displaces its surroundings, from 0 to 1.
        waves: amplitude and phase of the outline's harmonics 1, 2, ...
    """

    x: float
    y: float
    radius: float
    push: float
    waves: tuple[tuple[float, float], ...]


def draw_slice(
    rng: np.random.Generator, lesion: bool, patient: int | None = None
) -> NDArray[np.uint8]:
    """Draw one head slice.

    Only the lesion depends on the class. Equal generators give the same head, noise and artefacts
    with and without a lesion, and they advance by the same number of draws.

    Args:
        rng: generator of all random choices.
        lesion: True to paint a lesion.
        patient: seed of a patient. All slices of one have the same tissues, skull, scanner and
            lesion; height, folds, marks and noise differ. None: each slice is another head.

    Returns:
        Grey levels of shape (height, width), 160 to 300 pixels a side.
    """
    # One generator for each part, so that the lesion's draws do not shift those of the other parts.
    anatomy, growth, extras, scanner = (
        np.random.default_rng(seed) for seed in rng.integers(2**63, size=4)
    )
    skull, noise = anatomy, scanner
    zoom, growth_share = 1.0, 1.0
    if patient is not None:
        skull, growth, scanner = (
            np.random.default_rng(seed)
            for seed in np.random.default_rng(patient).integers(2**63, size=3)
        )
        # Higher slices cut less of the head, and the rim of a lesion is smaller than its middle.
        zoom, growth_share = anatomy.uniform(1.0, 1.2), anatomy.uniform(0.6, 1.0)
    tissue = _tissue(skull)
    x, y = (zoom * axis for axis in _head_frame(skull))
    rho = _head_radius(skull, x, y)
    blob = _blob(growth)
    blob = blob._replace(radius=growth_share * blob.radius)
    brain_x, brain_y = _displace(blob, x, y, rho) if lesion else (x, y)
    picture = _brain(anatomy, tissue, brain_x, brain_y, rho)
    if lesion:
        picture = _paint_lesion(growth, blob, tissue, picture, x, y, rho)
    picture = _paint_confusers(extras, picture, x, y, rho)
    picture = _paint_skull(skull, tissue, picture, rho)
    return _scan(scanner, picture, noise)


def _ramp(values: Grid, width: float) -> Grid:
    """Return 0 where values are below -width/2, 1 where above width/2, and a line between."""
    return np.asarray(np.clip(values / width + 0.5, 0.0, 1.0))


def _interpolate(value: float, places: list[float], values: list[float]) -> float:
    return float(np.interp(value, places, values))


def _field(rng: np.random.Generator, shape: tuple[int, ...], cells: int) -> Grid:
    """Draw smooth noise of about unit variance, with about `cells` bumps a side."""
    from PIL import Image

    rough = Image.fromarray(rng.standard_normal((cells + 1, cells + 1), dtype=np.float32))
    return np.asarray(
        rough.resize((shape[1], shape[0]), Image.Resampling.BICUBIC), dtype=np.float32
    )


def _tissue(rng: np.random.Generator) -> _Tissue:
    """Draw the brightness of each tissue, around one of the three contrasts."""
    base = _CONTRASTS[rng.choice(3, p=[0.8, 0.15, 0.05])]
    return _Tissue(*(shade * rng.uniform(0.88, 1.12) for shade in base))


def _head_frame(rng: np.random.Generator) -> tuple[Grid, Grid]:
    """Draw a head's size and place; return each pixel's coordinates in it.

    x points to the side and y to the back. The head's outline is about the unit circle.
    """
    height = int(rng.integers(180, 301))
    width = int(np.clip(height * rng.choice([1.0, rng.uniform(0.8, 1.15)]), 160, 300))
    slim = rng.uniform(0.74, 0.9)
    fill = rng.uniform(0.9, 0.97)
    turn = math.radians(rng.normal(0.0, 5.0))
    half = fill * min(height, width / slim) / 2
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    rows -= height / 2 + rng.normal(0.0, 0.015) * height
    columns -= width / 2 + rng.normal(0.0, 0.015) * width
    x = (columns * math.cos(turn) + rows * math.sin(turn)) / (half * slim)
    y = (rows * math.cos(turn) - columns * math.sin(turn)) / half
    return x, y


def _head_radius(rng: np.random.Generator, x: Grid, y: Grid) -> Grid:
    """Return the distance from the head's middle: 0 there, 1 on the outline.

    The outline is an egg, narrower in front, with random bumps.
    """
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
    """Draw noise in polar form: `cells` bumps around the head, `layers` from rim to middle."""
    from scipy.ndimage import map_coordinates

    rough = rng.standard_normal((8, cells))
    turn = np.arctan2(y, x) / (2 * np.pi) * cells
    return np.asarray(
        map_coordinates(rough, [depth * layers, turn], np.float32, order=3, mode="grid-wrap")
    )


def _capsule(
    x: Grid, y: Grid, start: tuple[float, float], end: tuple[float, float], taper: float
) -> Grid:
    """Return each pixel's distance to the line from `start` to `end`.

    `taper` is added at the end of the line, so that the shape is narrower or wider there.
    """
    dx = end[0] - start[0]
    dy = end[1] - start[1]
    along = np.clip(((x - start[0]) * dx + (y - start[1]) * dy) / (dx * dx + dy * dy), 0.0, 1.0)
    distance = np.hypot(x - start[0] - along * dx, y - start[1] - along * dy)
    return np.asarray(distance + taper * along)


def _brain(rng: np.random.Generator, tissue: _Tissue, x: Grid, y: Grid, rho: Grid) -> Grid:
    """Draw white and grey matter, folds, the cleft between the halves, deep grey and ventricles."""
    # Height of the slice: 0 at the deep grey, 1 above the ventricles.
    level = rng.uniform(0.0, 1.0)
    x = x + 0.02 * _field(rng, x.shape, 5)
    y = y + 0.02 * _field(rng, x.shape, 5)
    # Distances to the nearest fluid: at the rim, in the folds, and in the cleft.
    depth = np.maximum(rng.uniform(0.82, 0.86) - rho, 0.0)
    fold = _around(rng, x, y, depth, int(rng.integers(44, 64)), rng.uniform(5.0, 9.0))
    slope = np.hypot(*np.gradient(fold)) / np.abs(np.gradient(y, axis=0)).mean()
    reach = np.clip(0.2 + 0.1 * _field(rng, x.shape, 7), 0.0, 0.42)
    sulcus = np.hypot(np.abs(fold) / (slope + 3.0), np.maximum(depth - reach, 0.0))
    gap = _interpolate(level, [0.0, 0.75, 1.0], [0.46, 0.36, 0.0])
    cleft = np.hypot(x, np.maximum(gap - np.abs(y - 0.03), 0.0))
    if level < 0.5:
        cleft = np.minimum(cleft, _capsule(np.abs(x), y, (0.9, -0.1), (0.55, 0.02), 0.02))
    near = np.minimum(np.minimum(depth, sulcus), cleft)
    # Grey matter is a layer below the fluid; white matter begins below it.
    thickness = rng.uniform(0.045, 0.075)
    fluid_width = rng.uniform(-0.008, 0.01)
    picture = tissue.grey + (tissue.white - tissue.grey) * _ramp(near - thickness, 0.03)
    picture = _paint_deep(rng, level, tissue, picture, x, y)
    picture = picture + rng.uniform(0.0, 0.025) * _field(rng, x.shape, 20)
    return np.asarray(tissue.fluid + (picture - tissue.fluid) * _ramp(near - fluid_width, 0.02))


def _paint_deep(
    rng: np.random.Generator, level: float, tissue: _Tissue, picture: Grid, x: Grid, y: Grid
) -> Grid:
    """Paint thalamus, putamen and the ventricles, which may differ between the sides."""
    u = np.abs(x)
    swell = rng.uniform(0.025, 0.075)
    grey = np.maximum(
        1 - np.hypot((u - 0.15) / 0.11, (y - 0.12) / 0.18),
        1 - np.hypot((u - 0.36) / 0.09, y / 0.24),
    )
    opacity = _interpolate(level, [0.3, 0.5], [0.85, 0.0])
    picture = picture + (tissue.grey - picture) * _ramp(grey, 0.3) * opacity
    left = swell * rng.uniform(0.65, 1.35)
    right = swell * rng.uniform(0.65, 1.35)
    half_width = right + (left - right) * _ramp(x, 0.02)
    bent = u - rng.uniform(0.5, 1.0) * (y - 0.02) ** 2
    # Low slices cut both horns of the ventricles and the third one; high slices cut their bodies.
    if level < 0.45:
        front = _capsule(bent, y, (0.05, -0.17), (0.08, -0.33), rng.uniform(-0.02, 0.0))
        back = _capsule(bent, y, (0.17, 0.3), (0.14, 0.45), rng.uniform(-0.02, 0.01))
        third = _capsule(x, y, (0.0, -0.06), (0.0, 0.2), 0.0) - 0.4 * swell
        fluid = np.maximum(half_width - np.minimum(front, back), -third)
    else:
        length = _interpolate(level, [0.45, 0.85], [0.36, 0.15])
        taper = rng.uniform(-0.02, 0.02)
        fluid = half_width - _capsule(bent, y, (0.08, -length), (0.1, 1.1 * length), taper)
        fluid -= _interpolate(level, [0.75, 0.9], [0.0, 0.1])
    return np.asarray(picture + (tissue.fluid - picture) * _ramp(fluid, 0.025))


def _paint_skull(rng: np.random.Generator, tissue: _Tissue, picture: Grid, rho: Grid) -> Grid:
    """Paint bone with its marrow, the scalp and the air outside."""
    inner = rng.uniform(0.855, 0.885)
    outer = rng.uniform(0.935, 0.96)
    marrow: Grid = np.exp(-(((rho - (inner + outer) / 2) / 0.014) ** 2)).astype(np.float32)
    bone: Grid = np.asarray(tissue.bone + rng.uniform(0.0, 0.5) * tissue.fat * marrow, np.float32)
    picture = picture + (bone - picture) * _ramp(rho - inner, 0.02)
    scalp = tissue.fat * rng.uniform(0.5, 1.0) * (1 + 0.15 * _field(rng, rho.shape, 6))
    picture = picture + (scalp - picture) * _ramp(rho - outer, 0.025)
    return picture * (1 - _ramp(rho - 1.0, 0.03))


def _blob(rng: np.random.Generator) -> _Blob:
    """Draw place and outline of a lesion."""
    angle = rng.uniform(0.0, 2 * np.pi)
    distance = 0.64 * math.sqrt(rng.uniform(0.03, 1.0))
    waves = tuple(
        (rng.normal(0.0, 0.16) / wave**0.5, rng.uniform(0.0, 6.3)) for wave in range(1, 6)
    )
    radius = rng.uniform(0.24, 0.44)
    push = rng.uniform(0.2, 0.6)
    return _Blob(distance * math.cos(angle), distance * math.sin(angle), radius, push, waves)


def _displace(blob: _Blob, x: Grid, y: Grid, rho: Grid) -> tuple[Grid, Grid]:
    """Return the coordinates of the anatomy that a growing lesion displaces; the skull stays."""
    distance = np.hypot(x - blob.x, y - blob.y) / (1.5 * blob.radius)
    shrink = 1 - blob.push * np.exp(-(distance**2)) * np.clip((0.86 - rho) / 0.25, 0.0, 1.0)
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
    """Paint a lesion that is bright, dark, ring-shaped or like grey matter, maybe with oedema."""
    angle = np.arctan2(y - blob.y, x - blob.x)
    outline = 1 + sum(
        size * np.cos(wave * angle + phase)
        for wave, (size, phase) in enumerate(blob.waves, start=1)
    )
    # 1 on the outline, less inside.
    distance = np.hypot(x - blob.x, y - blob.y) / (blob.radius * np.clip(outline, 0.4, 2.0))
    distance = distance + 0.1 * _field(rng, x.shape, 24)
    inside = _ramp(0.85 - rho, 0.02)
    kind = rng.choice(["bright", "dark", "ring", "like grey"], p=[0.42, 0.13, 0.35, 0.1])
    # One lesion in eight is hardly visible, so that no classifier can score 100 %.
    strength = rng.uniform(0.05, 0.2) if rng.random() < 1 / 8 else rng.uniform(0.8, 1.0)
    body = _ramp(1 - distance, rng.uniform(0.1, 0.5)) * inside
    # Oedema is fluid: bright where grey matter is brighter than white, dark elsewhere.
    oedema = strength * rng.uniform(0.12, 0.3) * (rng.random() < 0.7)
    swollen = _ramp(rng.uniform(1.3, 1.9) - distance, 0.6) * inside
    picture = picture + (oedema if tissue.grey > tissue.white else -oedema) * swollen
    level = {"bright": 1.0, "dark": 0.18, "ring": 1.0}.get(str(kind), tissue.grey)
    shade = level + 0.18 * _field(rng, x.shape, 16)
    if kind == "ring":
        shade = shade - 0.8 * _ramp(rng.uniform(0.55, 0.8) - distance, 0.25)
    return np.asarray(picture + (shade - picture) * strength * body)


def _paint_confusers(rng: np.random.Generator, picture: Grid, x: Grid, y: Grid, rho: Grid) -> Grid:
    """Paint marks that resemble lesions, in both classes: vessels, calcified spots and smudges."""
    inside = _ramp(0.86 - rho, 0.03)
    # Brightness and size of vessels, calcified spots, and smudges without an outline.
    marks = [(rng.uniform(0.2, 0.6), rng.uniform(0.008, 0.02)) for _ in range(rng.poisson(5.0))]
    marks += [(rng.uniform(-0.5, 0.7), rng.uniform(0.015, 0.04)) for _ in range(rng.poisson(1.0))]
    marks += [(rng.uniform(-0.2, 0.25), rng.uniform(0.06, 0.18)) for _ in range(rng.poisson(0.6))]
    for gain, size in marks:
        angle = rng.uniform(0.0, 2 * np.pi)
        distance = 0.8 * math.sqrt(rng.random())
        u = x - distance * math.cos(angle)
        v = y - distance * math.sin(angle)
        turn = rng.uniform(0.0, np.pi)
        stretch = rng.uniform(1.0, 2.0)
        along = u * math.cos(turn) + v * math.sin(turn)
        across = v * math.cos(turn) - u * math.sin(turn)
        spot = np.exp(-((along / stretch) ** 2 + across**2) / (2 * size**2))
        picture = picture + gain * spot * inside
    return picture


def _scan(
    rng: np.random.Generator, picture: Grid, noise_rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Add the traces of a scanner: uneven sensitivity, a ghost, blur, Rician noise, a window.

    Args:
        rng: generator of what the scanner does to all of its slices.
        picture: brightness of each pixel.
        noise_rng: generator of the noise; it may be `rng`.
    """
    from scipy.ndimage import gaussian_filter

    sensitivity = np.exp(rng.uniform(0.03, 0.16) * _field(rng, picture.shape, 1))
    picture = np.clip(picture, 0.0, 1.2) * sensitivity
    if rng.random() < 0.25:
        strength = rng.uniform(0.02, 0.08)
        ghost = np.roll(picture, picture.shape[0] // int(rng.integers(2, 5)), 0)
        picture = picture + strength * ghost
    picture = gaussian_filter(picture, rng.uniform(0.6, 1.1))
    # Both channels of the signal are noisy, and the scanner shows its magnitude.
    shape = (2, *picture.shape)
    noise = rng.uniform(0.005, 0.025) * noise_rng.standard_normal(shape, dtype=np.float32)
    picture = np.hypot(picture + noise[0], noise[1])
    picture = rng.uniform(0.8, 1.1) * picture ** rng.uniform(0.85, 1.2)
    return (np.clip(picture, 0.0, 1.0) * 255).round().astype(np.uint8)
