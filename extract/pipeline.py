"""From image files to features inside one process: decoding ahead in threads, forward passes in full batches."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..data.fingerprints import Fingerprint, fingerprint
from ..data.formats.images import decode_image, read_image_bytes, resize_image
from ..errors import ImageError

MOST_A_BATCH = 128
"""Images in a batch, those that need not or cannot be computed among them."""


class Engine(Protocol):
    """Something that computes the features of a batch; see `KerasEngine` and `MnnEngine`."""

    layers: tuple[str, ...]
    batch_size: int

    def forward(self, images: list[NDArray[np.uint8]]) -> dict[str, NDArray[np.float32]]:
        """Features of up to `batch_size` images, by layer."""
        ...


@dataclass(frozen=True, slots=True)
class Source:
    """An image file to be computed: its row, its place, and its SHA-256 ("": not checked)."""

    row: int
    path: Path
    sha256: str = ""


@dataclass(slots=True)
class Seconds:
    """Time spent per stage: reading and decoding (or waiting for it), forward passes, writing."""

    decode: float = 0.0
    forward: float = 0.0
    write: float = 0.0

    def add(self, other: Seconds) -> None:
        """Add another's time to this one's."""
        self.decode += other.decode
        self.forward += other.forward
        self.write += other.write

    def shares(self) -> dict[str, float]:
        """Each stage's share of the time, from 0 to 1, the largest first."""
        stages = {"decode": self.decode, "forward": self.forward, "write": self.write}
        total = sum(stages.values()) or 1.0
        return {
            name: stages[name] / total
            for name in sorted(stages, key=stages.__getitem__, reverse=True)
        }


@dataclass(slots=True)
class Batch:
    """What came of some images.

    Attributes:
        rows: row numbers of the images that were computed, of length b.
        sizes: (height, width) of each as decoded, in pixels.
        features: by layer, of shape (b, height, width, channels); empty if b is 0 or they are in
            the store already.
        checksums: by layer, one dict for each of the rows, if their features are in the store
            already.
        same: (row, an earlier row with the same pixels, size) of images that need not be computed.
        fingerprints: of images that were computed or need not be, by row, unless they are in the
            store already.
        failed: (row, reason) of images that are broken, and will be next time.
        unread: (row, reason) of files that could not be read, but may be next time.
        seconds: time spent on it.
    """

    rows: list[int] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    features: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    checksums: list[dict[str, str]] = field(default_factory=list)
    same: list[tuple[int, int, tuple[int, int]]] = field(default_factory=list)
    fingerprints: dict[int, Fingerprint] = field(default_factory=dict)
    failed: list[tuple[int, str]] = field(default_factory=list)
    unread: list[tuple[int, str]] = field(default_factory=list)
    seconds: Seconds = field(default_factory=Seconds)

    def __len__(self) -> int:
        return len(self.rows) + len(self.same) + len(self.failed) + len(self.unread)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A decoded image.

    Attributes:
        pixels: resized to the input size, uint8 RGB.
        size: the (height, width) it had.
        digest: of `pixels`; images that share it have the same features.
        fingerprint: of the image as it was before it was resized.
    """

    pixels: NDArray[np.uint8]
    size: tuple[int, int]
    digest: bytes
    fingerprint: Fingerprint


class Seen:
    """Which row was the first to show certain pixels, so that an image stored twice is computed once."""

    def __init__(self) -> None:
        self._rows: dict[bytes, int] = {}
        self._lock = threading.Lock()

    def first(self, digest: bytes, row: int) -> int:
        """The first row with these pixels; `row` itself if there was none before."""
        with self._lock:
            return self._rows.setdefault(digest, row)

    def forget(self, digest: bytes) -> None:
        """The first row with these pixels was not computed after all."""
        with self._lock:
            self._rows.pop(digest, None)


def never() -> bool:
    """Do not stop early."""
    return False


def cpu_cores() -> int:
    """Cores that this process may use, by its affinity and its container's quota."""
    from joblib import cpu_count

    return int(cpu_count())


def load_image(source: Source, input_size: tuple[int, int], resize: str) -> Loaded:
    """Read, decode and resize one image.

    Raises:
        ImageError: the file is no image, is broken, or is not the file that was listed.
        OSError: it cannot be read.
        MissingExtraError: it is a DICOM file and the extra `dicom` is not installed.
    """
    image = decode_source(source)
    pixels = resize_image(image, *input_size, resize)
    digest = hashlib.sha256(np.ascontiguousarray(pixels).data).digest()
    return Loaded(pixels, (image.shape[0], image.shape[1]), digest, fingerprint(image))


def decode_source(source: Source) -> NDArray[np.uint8]:
    """Read and decode one image, uint8 RGB of shape (height, width, 3); raises what `load_image` does."""
    data = read_image_bytes(source.path)
    image = decode_image(data)
    if source.sha256 and hashlib.sha256(data).hexdigest() != source.sha256:
        raise ImageError("changed since it was listed")
    return image


def told_unread(error: OSError | MemoryError) -> str:
    """Why a file could not be read this time."""
    reason = "not enough memory" if isinstance(error, MemoryError) else error.strerror or str(error)
    return f"cannot be read ({reason})"


def run(
    engine: Engine,
    sources: Iterable[Source],
    input_size: tuple[int, int],
    resize: str,
    *,
    seen: Seen | None = None,
    stop: Callable[[], bool] = never,
) -> Iterator[Batch]:
    """Compute features of images, in order; a `Batch` whenever the engine's batch is full, and at the end.

    Images that cannot be read take no place in the engine's batch, nor do those whose pixels are in
    `seen`; many of them end a batch before it is full. At most three batches of images are held.

    Args:
        engine: computes the features.
        sources: the images.
        input_size: (height, width) that they are resized to, in pixels.
        resize: how.
        seen: notes pixels, so that the same are computed once; None computes each.
        stop: asked after each image; True ends the run with those that are decoded for the next
            batch.
    """
    batch = Batch()
    images: list[NDArray[np.uint8]] = []
    waited = time.perf_counter()
    for row, future in _decoded_ahead(sources, input_size, resize, ahead=2 * engine.batch_size):
        _sort_in(batch, images, row, future, seen)
        if len(images) == engine.batch_size or len(batch) >= MOST_A_BATCH:
            yield _forward(engine, batch, images, waited)
            batch, images = Batch(), []
            waited = time.perf_counter()
        if stop():
            break
    if len(batch):
        yield _forward(engine, batch, images, waited)


def _sort_in(
    batch: Batch,
    images: list[NDArray[np.uint8]],
    row: int,
    future: Future[Loaded],
    seen: Seen | None,
) -> None:
    """Put a decoded image among those to be computed, or note why it need not or cannot be."""
    try:
        loaded = future.result()
    except ImageError as error:
        batch.failed.append((row, str(error)))
        return
    except (OSError, MemoryError) as error:
        batch.unread.append((row, told_unread(error)))
        return
    batch.fingerprints[row] = loaded.fingerprint
    first = seen.first(loaded.digest, row) if seen is not None else row
    if first != row:
        batch.same.append((row, first, loaded.size))
        return
    batch.rows.append(row)
    batch.sizes.append(loaded.size)
    images.append(loaded.pixels)


def _forward(engine: Engine, batch: Batch, images: list[NDArray[np.uint8]], waited: float) -> Batch:
    """The batch with its features, and the time since `waited`."""
    start = time.perf_counter()
    if images:
        batch.features = engine.forward(images)
    batch.seconds = Seconds(decode=start - waited, forward=time.perf_counter() - start)
    return batch


def _decoded_ahead(
    sources: Iterable[Source], input_size: tuple[int, int], resize: str, ahead: int
) -> Iterator[tuple[int, Future[Loaded]]]:
    """Decode in threads, at most `ahead` images before the one that is taken; in order."""
    waiting: deque[tuple[int, Future[Loaded]]] = deque()
    with ThreadPoolExecutor(max(2, cpu_cores())) as pool:
        try:
            for source in sources:
                waiting.append((source.row, pool.submit(load_image, source, input_size, resize)))
                if len(waiting) > ahead:
                    yield waiting.popleft()
            while waiting:
                yield waiting.popleft()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
