"""The way from image files to features: decoding ahead in threads, forward passes in full batches."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .. import ImageError
from ..data.images import decode_image, read_image_bytes, resize_image

DECODE_THREADS = 2


class Engine(Protocol):
    """Something that computes the features of a batch; see `KerasEngine`."""

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
class Batch:
    """What came of some images: rows with features, and rows that failed with the reason.

    Attributes:
        rows: row numbers, of length b.
        sizes: (height, width) of each as decoded, in pixels.
        features: by layer, of shape (b, height, width, channels); empty if b is 0.
        failed: (row, reason) of images that are broken, and will be next time.
        unread: (row, reason) of files that could not be read, but may be next time.
    """

    rows: list[int] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    features: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    failed: list[tuple[int, str]] = field(default_factory=list)
    unread: list[tuple[int, str]] = field(default_factory=list)


def load_image(source: Source, input_size: tuple[int, int], resize: str) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Read, decode and resize one image.

    Returns:
        uint8 RGB of shape (*input_size, 3), and the (height, width) it had.

    Raises:
        ImageError: the file is no image, is broken, or is not the file that was listed.
        OSError: it cannot be read.
        MissingExtraError: it is a DICOM file and the extra `dicom` is not installed.
    """
    data = read_image_bytes(source.path)
    image = decode_image(data)
    if source.sha256 and hashlib.sha256(data).hexdigest() != source.sha256:
        raise ImageError("changed since it was listed")
    return resize_image(image, *input_size, resize), (image.shape[0], image.shape[1])


def run(engine: Engine, sources: Iterable[Source], input_size: tuple[int, int], resize: str) -> Iterator[Batch]:
    """Compute features of images, in order; a `Batch` whenever the engine's batch is full, and at the end.

    Images that cannot be read take no place in a batch. At most two batches of images are held.
    """
    batch = Batch()
    images: list[NDArray[np.uint8]] = []
    for row, future in _decoded_ahead(sources, input_size, resize, ahead=2 * engine.batch_size):
        try:
            image, size = future.result()
        except ImageError as error:
            batch.failed.append((row, str(error)))
            continue
        except (OSError, MemoryError) as error:
            batch.unread.append((row, f"cannot be read ({getattr(error, 'strerror', None) or 'not enough memory'})"))
            continue
        batch.rows.append(row)
        batch.sizes.append(size)
        images.append(image)
        if len(images) == engine.batch_size:
            batch.features = engine.forward(images)
            yield batch
            batch, images = Batch(), []
    if images:
        batch.features = engine.forward(images)
    if batch.rows or batch.failed or batch.unread:
        yield batch


Decoded = Future[tuple[NDArray[np.uint8], tuple[int, int]]]


def _decoded_ahead(
    sources: Iterable[Source], input_size: tuple[int, int], resize: str, ahead: int
) -> Iterator[tuple[int, Decoded]]:
    """Decode in threads, at most `ahead` images before the one that is taken; in order."""
    waiting: deque[tuple[int, Decoded]] = deque()
    with ThreadPoolExecutor(DECODE_THREADS) as pool:
        try:
            for source in sources:
                waiting.append((source.row, pool.submit(load_image, source, input_size, resize)))
                if len(waiting) > ahead:
                    yield waiting.popleft()
            while waiting:
                yield waiting.popleft()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
