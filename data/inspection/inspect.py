"""What the images of a list are like: format, mode, size, brightness, contrast, fingerprint; or why one is unreadable.

Each content is read and decoded once, by as many threads as there are cores, and kept for the next
time.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...errors import FreezeframeError, ImageError
from ..fingerprints import Fingerprint, fingerprint
from ..formats.images import HEAD_BYTES, decode_image, image_kind, image_mode, read_image_bytes
from ..manifest import Manifest

if TYPE_CHECKING:
    from .cache import InspectionCache

Progress = Callable[[int, int], None]
"""Told how many images are inspected, and how many there are."""

AHEAD = 4
"""Images in work or waiting to be taken, for each thread."""

MOST_THREADS = 16
"""However many cores there are: each may unpack an image of `MAX_PIXELS`."""


@dataclass(frozen=True, slots=True, eq=False)
class Inspected:
    """What one image file is like.

    Attributes:
        fingerprint: of its pixels; None if it could not be read.
        kind: its format by content ("PNG", "JPEG", ...), "" if it is none that is known.
        mode: how its pixels are kept, see `image_mode`; "" if it could not be read.
        height, width: in pixels, as seen (EXIF orientation applied); 0 if it could not be read.
        brightness: mean grey level, from 0 to 255.
        contrast: standard deviation of the grey levels, from 0 to 127.5.
        n_bytes: size of the file.
        reason: why it could not be read; "" if it could.
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


def inspect_images(
    manifest: Manifest, *, cache: bool = True, progress: Progress | None = None
) -> list[Inspected]:
    """What the images of a manifest are like, in its order; see `inspect_files`."""
    files = [(manifest.root / image.path, image.sha256) for image in manifest.images]
    return inspect_files(files, cache=cache, progress=progress)


def inspect_files(
    files: Sequence[tuple[str | os.PathLike[str], str]],
    *,
    cache: bool = True,
    progress: Progress | None = None,
) -> list[Inspected]:
    """What image files are like.

    Args:
        files: path and SHA-256 (hexadecimal, "" if not known) of each; those of one SHA-256 are
            read once.
        cache: take what was found before from the user's cache folder, and keep there what is
            found.
        progress: told after each content.

    Returns:
        In the order of `files`. Files that cannot be read have a `reason`; none raises an error.

    >>> [found.reason for found in inspect_files([("scan.png", "")], cache=False)]
    ['No such file or directory']
    """
    # A file whose SHA-256 is not known is a content of its own.
    contents = [sha256 or f"file {number}" for number, (_, sha256) in enumerate(files)]
    copies = defaultdict[str, list[Path]](list)
    for content, (path, _) in zip(contents, files, strict=True):
        copies[content].append(Path(path))
    found: dict[str, Inspected] = {}
    with _cache(cache) as kept:
        if kept:
            found.update(kept.load(copies))
        finished = sum(len(copies[content]) for content in found)
        missing = {content: paths for content, paths in copies.items() if content not in found}
        for content, inspected, lasting in _inspected(missing):
            found[content] = inspected
            if kept and lasting:
                kept.keep(content, inspected)
            finished += len(copies[content])
            if progress:
                progress(finished, len(files))
    return [found[content] for content in contents]


def _cache(wanted: bool) -> AbstractContextManager[InspectionCache | None]:
    if not wanted:
        return nullcontext()
    from .cache import InspectionCache, cache_path

    return closing(InspectionCache(cache_path()))


def _inspected(contents: dict[str, list[Path]]) -> Iterator[tuple[str, Inspected, bool]]:
    """Each content, what it is like, and whether that will be so the next time; a few are read ahead."""
    from concurrent.futures import Future, ThreadPoolExecutor

    from joblib import cpu_count

    threads = min(int(cpu_count()), MOST_THREADS)
    pending: deque[tuple[str, Future[tuple[Inspected, bool]]]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for content, paths in contents.items():
            pending.append((content, pool.submit(_inspect_content, paths, content)))
            if len(pending) >= AHEAD * threads:
                done, future = pending.popleft()
                yield done, *future.result()
        for done, future in pending:
            yield done, *future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _inspect_content(paths: list[Path], sha256: str) -> tuple[Inspected, bool]:
    """The first of several copies that is still there."""
    for path in paths:
        inspected, lasting = _inspect_file(path, sha256)
        if lasting or not inspected.reason:
            break
    return inspected, lasting


def _inspect_file(path: Path, sha256: str) -> tuple[Inspected, bool]:
    """What a file is like, and whether a file of that SHA-256 is always like that."""
    kind, n_bytes = "", 0
    try:
        n_bytes = path.stat().st_size
        data = read_image_bytes(path)
        kind = image_kind(data[:HEAD_BYTES]) or ""
        image, mode = decode_image(data), image_mode(data)
    except (FreezeframeError, OSError, ValueError, MemoryError) as error:
        reason = (
            (error.strerror if isinstance(error, OSError) else None)
            or str(error)
            or "not enough memory"
        )
        # What can be read of DICOM depends on the plugins that are installed.
        lasting = (
            isinstance(error, ImageError)
            and not isinstance(error.__cause__, MemoryError)
            and kind != "DICOM"
        )
        inspected = Inspected(kind=kind, n_bytes=n_bytes, reason=reason)
        return inspected, lasting and bool(kind) and _is(data, sha256)
    brightness, contrast = _grey_levels(image)
    height, width = image.shape[:2]
    inspected = Inspected(
        fingerprint(image), kind, mode, height, width, brightness, contrast, len(data)
    )
    return inspected, _is(data, sha256)


def _is(data: bytes, sha256: str) -> bool:
    """Whether the file has not changed since its SHA-256 was taken."""
    return hashlib.sha256(data).hexdigest() == sha256


def _grey_levels(image: NDArray[np.uint8]) -> tuple[float, float]:
    """Mean and standard deviation of the grey levels of an RGB image."""
    from PIL import Image

    counts = np.array(Image.fromarray(image).convert("L").histogram(), np.float64)
    levels = np.arange(256)
    mean = float(counts @ levels / counts.sum())
    return mean, float(np.sqrt(counts @ (levels - mean) ** 2 / counts.sum()))
