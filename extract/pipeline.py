"""The pipeline from images to features in one process: threads decode while the engine computes."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..data.fingerprints import Fingerprint, fingerprint
from ..data.formats.image_file import open_image
from ..data.formats.images import resize_image
from ..errors import ImageError
from .engines import Engine
from .engines.devices import cpu_cores

MOST_A_BATCH = 128
"""Most images in a batch, including those that are not computed."""


@dataclass(frozen=True, slots=True)
class ImageSource:
    """An image file to compute.

    Attributes:
        row: number of its row in the store.
        path: the file.
        sha256: SHA-256 that the file must have; with "" the file is not checked.
    """

    row: int
    path: Path
    sha256: str = ""


@dataclass(slots=True)
class Seconds:
    """Time spent in each stage, in seconds.

    Attributes:
        decode: time for reading and decoding, or for waiting for them.
        forward: time for forward passes.
        write: time for writing.
    """

    decode: float = 0.0
    forward: float = 0.0
    write: float = 0.0

    def add(self, more: Seconds) -> None:
        """Add the time of another batch."""
        self.decode += more.decode
        self.forward += more.forward
        self.write += more.write

    def shares(self) -> dict[str, float]:
        """Return each stage's share of the time, from 0 to 1, the largest first."""
        stages = {"decode": self.decode, "forward": self.forward, "write": self.write}
        # Before the first batch all times are zero.
        total = sum(stages.values()) or 1.0
        largest_first = sorted(stages, key=stages.__getitem__, reverse=True)
        return {name: stages[name] / total for name in largest_first}


@dataclass(slots=True)
class Batch:
    """The outcome of some images.

    Attributes:
        rows: row numbers of the images that were computed, of length b.
        sizes: (height, width) of each as decoded, in pixels.
        features: features by layer, of shape (b, height, width, channels); empty if b is 0 or they
            are in the store already.
        checksums: by layer, one dict for each of the rows, if their features are in the store
            already.
        same: (row, an earlier row with the same pixels, size) of images that need no computing.
        fingerprints: fingerprints by row, of images that were read, unless they are in the store
            already.
        frames: number of images that were read, by their number of frames.
        failed: (row, reason) of images that are broken, and will be broken next time.
        unread: (row, reason) of files that could not be read, but may be readable next time.
        seconds: time spent on the batch.
    """

    rows: list[int] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    features: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    checksums: list[dict[str, str]] = field(default_factory=list)
    same: list[tuple[int, int, tuple[int, int]]] = field(default_factory=list)
    fingerprints: dict[int, Fingerprint] = field(default_factory=dict)
    frames: Counter[int] = field(default_factory=Counter)
    failed: list[tuple[int, str]] = field(default_factory=list)
    unread: list[tuple[int, str]] = field(default_factory=list)
    seconds: Seconds = field(default_factory=Seconds)

    def __len__(self) -> int:
        return len(self.rows) + len(self.same) + len(self.failed) + len(self.unread)


@dataclass(frozen=True, slots=True)
class LoadedImage:
    """A decoded image.

    Attributes:
        pixels: the image resized to the input size, uint8 RGB of shape (height, width, 3).
        size: (height, width) before it was resized, in pixels.
        digest: digest of `pixels`; images that share it have the same features.
        fingerprint: fingerprint of the image before it was resized.
        frames: number of frames in the file, of which this is the first.
    """

    pixels: NDArray[np.uint8]
    size: tuple[int, int]
    digest: bytes
    fingerprint: Fingerprint
    frames: int


class SeenPixels:
    """A table of the first row with each picture, so that copies are computed once.

    Threads may share it.
    """

    def __init__(self) -> None:
        self._rows: dict[bytes, int] = {}
        self._lock = threading.Lock()

    def first(self, digest: bytes, row: int) -> int:
        """Return the first row with these pixels: an earlier one, or else `row` itself."""
        with self._lock:
            # Under the lock, only one of two threads can become the first.
            return self._rows.setdefault(digest, row)

    def forget(self, digest: bytes) -> None:
        """Remove pixels whose first row could not be computed."""
        with self._lock:
            self._rows.pop(digest, None)


def never() -> bool:
    """Return False: do not stop early."""
    return False


def load_image(source: ImageSource, input_size: tuple[int, int], resize: str) -> LoadedImage:
    """Read, decode and resize one image.

    Args:
        source: the image file.
        input_size: (height, width) to resize to, in pixels.
        resize: resizing method, as in `Settings`.

    Raises:
        ImageError: the file is no image, is broken, or changed since it was listed.
        OSError: the file cannot be read.
        MissingExtraError: it is a DICOM file and the extra `dicom` is not installed.
    """
    image, frames = decode_source(source)
    pixels = resize_image(image, *input_size, resize)
    # The digest is of the resized pixels, because only they decide the features.
    digest = hashlib.sha256(np.ascontiguousarray(pixels).data).digest()
    return LoadedImage(pixels, (image.shape[0], image.shape[1]), digest, fingerprint(image), frames)


def decode_source(source: ImageSource) -> tuple[NDArray[np.uint8], int]:
    """Read and decode the first frame of one image.

    Returns:
        uint8 RGB of shape (height, width, 3), and the number of frames.

    Raises:
        ImageError, OSError, MissingExtraError: as `load_image`.
    """
    opened = open_image(source.path)
    # Decoding comes first: its error describes a broken file better than a changed checksum.
    image = opened.pixels()
    if source.sha256 and opened.sha256 != source.sha256:
        raise ImageError("changed since it was listed")
    return image, opened.frames()


def unread_reason(error: OSError | MemoryError) -> str:
    """Return the reason why a file could not be read this time, as one line."""
    reason = "not enough memory" if isinstance(error, MemoryError) else error.strerror or str(error)
    return f"cannot be read ({reason})"


def run(
    engine: Engine,
    sources: Iterable[ImageSource],
    resize: str,
    *,
    seen: SeenPixels | None = None,
    stop: Callable[[], bool] = never,
) -> Iterator[Batch]:
    """Compute features of images, in order; yield a `Batch` whenever the engine's batch is full.

    Images that cannot be read take no place in the engine's batch. Images whose pixels are in
    `seen` take none either. Many such images end a batch before it is full. At most three batches
    of images are in memory.

    Args:
        engine: the engine that computes the features.
        sources: the images.
        resize: resizing method, as in `Settings`.
        seen: pixels of earlier rows, so that the same pixels are computed once; None computes each
            image.
        stop: called after each image; True ends the run after a last batch of the images that are
            decoded already.
    """
    batch = Batch()
    images: list[NDArray[np.uint8]] = []
    waiting_since = time.perf_counter()
    for row, future in _decoded_ahead(engine, sources, resize):
        _sort_in(batch, images, row, future, seen)
        # A long series of copies or broken files fills no batch of the engine, but must be
        # written, too.
        if len(images) == engine.batch_size or len(batch) >= MOST_A_BATCH:
            yield _forward(engine, batch, images, waiting_since)
            batch = Batch()
            images = []
            waiting_since = time.perf_counter()
        if stop():
            break
    if len(batch):
        yield _forward(engine, batch, images, waiting_since)


def _sort_in(
    batch: Batch,
    images: list[NDArray[np.uint8]],
    row: int,
    future: Future[LoadedImage],
    seen: SeenPixels | None,
) -> None:
    """Add a decoded image to `images`, or record in the batch why it is not computed."""
    try:
        loaded = future.result()
    # A broken file is a lasting failure; an unreadable one may be readable next time.
    except ImageError as error:
        batch.failed.append((row, str(error)))
        return
    except (OSError, MemoryError) as error:
        batch.unread.append((row, unread_reason(error)))
        return
    batch.fingerprints[row] = loaded.fingerprint
    batch.frames[loaded.frames] += 1
    first = seen.first(loaded.digest, row) if seen is not None else row
    if first != row:
        batch.same.append((row, first, loaded.size))
        return
    batch.rows.append(row)
    batch.sizes.append(loaded.size)
    images.append(loaded.pixels)


def _forward(
    engine: Engine, batch: Batch, images: list[NDArray[np.uint8]], waiting_since: float
) -> Batch:
    """Compute the features of a batch, and record the time since `waiting_since`."""
    start = time.perf_counter()
    # A batch of copies and broken files has no image to compute.
    if images:
        batch.features = engine.forward(images)
    batch.seconds = Seconds(decode=start - waiting_since, forward=time.perf_counter() - start)
    return batch


def _decoded_ahead(
    engine: Engine, sources: Iterable[ImageSource], resize: str
) -> Iterator[tuple[int, Future[LoadedImage]]]:
    """Decode in threads, in order, at most two batches ahead of the image that is taken."""
    waiting: deque[tuple[int, Future[LoadedImage]]] = deque()
    with ThreadPoolExecutor(max(2, cpu_cores())) as pool:
        try:
            for source in sources:
                future = pool.submit(load_image, source, engine.input_size, resize)
                waiting.append((source.row, future))
                # Decoding further ahead would take memory without saving time.
                if len(waiting) > 2 * engine.batch_size:
                    yield waiting.popleft()
            while waiting:
                yield waiting.popleft()
        finally:
            # If the run stops early, it does not wait for images that are not needed.
            pool.shutdown(wait=False, cancel_futures=True)
