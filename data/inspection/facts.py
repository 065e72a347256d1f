"""The facts about one image file that an inspection collects."""

from __future__ import annotations

from dataclasses import dataclass

from ..fingerprints import Fingerprint


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
    reason: str = ""
