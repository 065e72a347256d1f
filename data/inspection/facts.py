"""The facts about one image file that an inspection collects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import ManifestError
from ..fingerprints import Fingerprint
from ..output.terminal import counted

REASONS_SHOWN = 3
"""Most reasons in a sentence on images that cannot be read."""


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


def check_readable(source: Path, facts: Sequence[ImageFacts]) -> None:
    """Raise ManifestError if no image of a folder or list can be read.

    Args:
        source: the folder or list, for the message.
        facts: of each image.
    """
    if any(fact.fingerprint for fact in facts):
        return
    reasons = reasons_text(fact.reason for fact in facts)
    raise ManifestError(
        f"{source}: none of its {counted(len(facts), 'image')} can be read ({reasons}); "
        "check the paths and files"
    )


def reasons_text(reasons: Iterable[str]) -> str:
    """Count the reasons why images cannot be read, the most frequent first.

    Examples:
        >>> reasons_text(["PNG that is truncated", "No such file", "No such file"])
        '2 No such file, 1 PNG that is truncated'
    """
    # The text behind a colon is about a single file.
    counts = Counter(reason.partition(":")[0] for reason in reasons)
    listed = [f"{n} {reason}" for reason, n in counts.most_common(REASONS_SHOWN)]
    return ", ".join(listed + ["..."] * (len(counts) > REASONS_SHOWN))


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
