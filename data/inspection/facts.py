"""The facts about one image file that an inspection collects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..fingerprints import Fingerprint
from ..output.terminal import counted


@dataclass(frozen=True, slots=True, eq=False)
class ImageFacts:
    """Format, size, brightness and fingerprint of one image file, or why it cannot be read.

    Attributes:
        fingerprint: digest and thumbnail of the pixels; None if the file cannot be read.
        kind: format by content ("PNG", "JPEG", ...); "" if it is unknown.
        mode: result of `image_mode`; "" if the file cannot be read.
        height: in pixels, after EXIF orientation is applied; 0 if the file cannot be read.
        width: in pixels, like `height`.
        brightness: mean grey level, from 0 to 255.
        contrast: standard deviation of the grey levels, from 0 to 127.5.
        n_bytes: size of the file.
        frames: number of frames or pages, of which the first is taken; 0 if the file cannot be
            read.
        reason: the reason why the file cannot be read; "" if it can be read.
    """

    fingerprint: Fingerprint | None = None
    kind: str = ""
    mode: str = ""
    height: int = 0
    width: int = 0
    brightness: float = 0.0
    contrast: float = 0.0
    n_bytes: int = 0
    frames: int = 0
    reason: str = ""


def frames_lines(counts: Mapping[int, int]) -> list[str]:
    """Return the line about images of which only the first frame was taken; at most one.

    Args:
        counts: the number of images, by their number of frames.

    Examples:
        >>> frames_lines({1: 90, 3: 24})
        ['first of 3 frames taken: 24 images']
        >>> frames_lines({2: 1, 5: 2})
        ['first of 2 to 5 frames taken: 3 images']
    """
    several = {frames: images for frames, images in counts.items() if frames > 1}
    if not several:
        return []
    least, most = min(several), max(several)
    frames = str(least) if least == most else f"{least} to {most}"
    return [f"first of {frames} frames taken: {counted(sum(several.values()), 'image')}"]
