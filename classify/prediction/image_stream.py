"""Streams of images: threads decode them ahead, and they are cut into batches of an engine."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from ...errors import ParameterError
from ...extract.engines.devices import cpu_cores
from ...extract.pipeline import MOST_A_BATCH
from .image_input import DecodedImage, ImageInput


def check_several(images: Any) -> None:
    """Raise ParameterError for a single image, whose letters or rows would count as images."""
    single = isinstance(images, str | bytes | os.PathLike)
    # A four-dimensional array is a list of images.
    if single or (isinstance(images, np.ndarray) and images.ndim != 4):
        raise ParameterError("images must be a list; put a single image into one: [image]")


def decoded_batches(
    images: Iterable[ImageInput], decode: Callable[[ImageInput], DecodedImage], batch_size: int
) -> Iterator[list[DecodedImage]]:
    """Yield decoded images in order, in batches of up to `batch_size` readable ones.

    Args:
        images: the images.
        decode: decodes one of them, in a thread.
        batch_size: most images that the engine computes at once.
    """
    batch: list[DecodedImage] = []
    n_readable = 0
    for image in _decoded_ahead(images, decode, 2 * batch_size):
        batch.append(image)
        n_readable += image.pixels is not None
        # Many unreadable images end a batch early, so that memory stays bounded.
        if n_readable == batch_size or len(batch) >= MOST_A_BATCH:
            yield batch
            batch = []
            n_readable = 0
    if batch:
        yield batch


def _decoded_ahead(
    images: Iterable[ImageInput], decode: Callable[[ImageInput], DecodedImage], ahead: int
) -> Iterator[DecodedImage]:
    """Yield decoded images in order, while threads decode up to `ahead` further ones."""
    waiting: deque[Future[DecodedImage]] = deque()
    with ThreadPoolExecutor(max(2, cpu_cores())) as threads:
        try:
            for image in images:
                waiting.append(threads.submit(decode, image))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            # A consumer that stops early must not wait for images that nobody needs.
            threads.shutdown(wait=False, cancel_futures=True)
