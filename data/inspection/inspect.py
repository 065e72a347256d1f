"""Inspection of images: format, mode, size, brightness, contrast and fingerprint of each.

Files with the same bytes are read and decoded once. One thread for each core does this work. A
cache keeps the facts for the next run.
"""

from __future__ import annotations

import os
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import FreezeframeError, ImageError
from ..fingerprints import fingerprint
from ..formats.image_file import ImageFile, file_of, open_image
from ..formats.images import error_reason
from ..formats.table import needs_plugins
from ..manifest import Manifest
from ..output.terminal import Progress
from .cache import InspectionCache, cache_path
from .facts import ImageFacts

IMAGES_PER_THREAD = 4
"""Images that are read ahead, for each thread."""

MAX_THREADS = 16
"""Most threads, also with more cores: each may need memory for an image of `MAX_PIXELS`."""


def inspect_images(
    manifest: Manifest, *, cache: bool = True, progress: Progress | None = None
) -> list[ImageFacts]:
    """Collect the facts about the images of a manifest, in its order; see `inspect_files`."""
    files = [(manifest.root / image.path, image.sha256) for image in manifest.images]
    return inspect_files(files, cache=cache, progress=progress)


def inspect_files(
    files: Sequence[tuple[str | os.PathLike[str], str]],
    *,
    cache: bool = True,
    progress: Progress | None = None,
) -> list[ImageFacts]:
    """Collect the facts about image files.

    Args:
        files: path and SHA-256 (hexadecimal, "" if unknown) of each file. Files of one SHA-256 are
            read once.
        cache: read earlier facts from the user's cache folder, and add new ones to it.
        progress: called after each content that is read.

    Returns:
        Facts in the order of `files`. Files that cannot be read have a `reason`; they raise no
        error.

    Examples:
        >>> [facts.reason for facts in inspect_files([("scan.png", "")], cache=False)]
        ['No such file or directory']
    """
    # A file of unknown SHA-256 may differ from all others, so it gets a key that no other has.
    contents = [sha256 or f"file {number}" for number, (_, sha256) in enumerate(files)]
    copies = defaultdict[str, list[Path]](list)
    for content, (path, _) in zip(contents, files, strict=True):
        copies[content].append(Path(path))
    # Facts by content, so that copies share them.
    facts: dict[str, ImageFacts] = {}
    with _open_cache(cache) as store:
        if store:
            facts.update(store.load(copies))
        finished = sum(len(copies[content]) for content in facts)
        remaining = {content: paths for content, paths in copies.items() if content not in facts}
        for content, result, lasting in _inspect_contents(remaining):
            facts[content] = result
            # Facts that a later attempt may change must not be cached.
            if store and lasting:
                store.add(content, result)
            finished += len(copies[content])
            if progress:
                progress(finished, len(files))
    return [facts[content] for content in contents]


def _open_cache(enabled: bool) -> AbstractContextManager[InspectionCache | None]:
    return closing(InspectionCache(cache_path())) if enabled else nullcontext()


def _inspect_contents(
    contents: dict[str, list[Path]],
) -> Iterator[tuple[str, ImageFacts, bool]]:
    """Yield each content with its facts, and True if they may be cached; threads read ahead."""
    from concurrent.futures import Future, ThreadPoolExecutor

    from joblib import cpu_count

    n_threads = min(int(cpu_count()), MAX_THREADS)
    pending: deque[tuple[str, Future[tuple[ImageFacts, bool]]]] = deque()
    pool = ThreadPoolExecutor(n_threads)
    try:
        for content, paths in contents.items():
            pending.append((content, pool.submit(_inspect_content, paths, content)))
            # Results wait in memory, so only some images are read ahead.
            if len(pending) >= IMAGES_PER_THREAD * n_threads:
                finished, future = pending.popleft()
                yield finished, *future.result()
        for finished, future in pending:
            yield finished, *future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _inspect_content(paths: list[Path], sha256: str) -> tuple[ImageFacts, bool]:
    """Inspect the first of several copies that still exists."""
    # A copy may have been deleted or changed since its SHA-256 was computed.
    for path in paths:
        facts, lasting = _inspect_file(path, sha256)
        if lasting or not facts.reason:
            break
    return facts, lasting


def _inspect_file(path: Path, sha256: str) -> tuple[ImageFacts, bool]:
    """Return the facts about a file, and True if every file of that SHA-256 shares them."""
    opened: ImageFile | None = None
    n_bytes = 0
    try:
        n_bytes = Path(file_of(path)).stat().st_size
        opened = open_image(path)
        image = opened.pixels()
        mode = opened.mode()
        frames = opened.frames()
    except (FreezeframeError, OSError, ValueError, MemoryError) as error:
        kind = opened.kind if opened else ""
        facts = ImageFacts(kind=kind, n_bytes=n_bytes, reason=error_reason(error))
        # The next attempt may succeed with more memory, or with a plugin that is installed later.
        lasting = (
            isinstance(error, ImageError)
            and not isinstance(error.__cause__, MemoryError)
            and opened is not None
            and not needs_plugins(kind)
        )
        return facts, bool(lasting and opened and opened.sha256 == sha256)
    brightness, contrast = _grey_levels(image)
    height, width = image.shape[:2]
    facts = ImageFacts(
        fingerprint=fingerprint(image),
        kind=opened.kind,
        mode=mode,
        height=height,
        width=width,
        brightness=brightness,
        contrast=contrast,
        n_bytes=opened.n_bytes,
        frames=frames,
    )
    # The file may have changed since its SHA-256 was computed.
    return facts, opened.sha256 == sha256


def _grey_levels(image: NDArray[np.uint8]) -> tuple[float, float]:
    """Return mean and standard deviation of the grey levels of an RGB image."""
    from PIL import Image

    # A histogram takes less memory than the levels as floats.
    counts = np.array(Image.fromarray(image).convert("L").histogram(), np.float64)
    levels = np.arange(256)
    mean = float(counts @ levels / counts.sum())
    return mean, float(np.sqrt(counts @ (levels - mean) ** 2 / counts.sum()))
