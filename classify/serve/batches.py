"""Batches: a thread that predicts the images of several requests at once."""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import Future

from ..prediction.image_input import DecodedImage
from ..prediction.prediction import Prediction
from ..prediction.predictor import Predictor, predict_together

_Job = tuple[Predictor, DecodedImage, "Future[Prediction]"]


class BatchQueue:
    """A queue of decoded images, and the thread that predicts them.

    The thread takes as many images as the engine computes at once, and never waits for more. It
    takes a picture once for all who wait for it, with whichever of the engine's models. An answer
    does not depend on the other images of its batch.

    Args:
        batch_size: most different pictures that the engine computes at once.

    Attributes:
        seconds_an_image: time of the last batch, divided by its images.
    """

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._jobs: deque[_Job] = deque()
        self._closed = False
        self._changed = threading.Condition()
        self.seconds_an_image = 0.1
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def submit(self, predictor: Predictor, image: DecodedImage) -> Future[Prediction]:
        """Put an image into the queue; the result has its prediction.

        Args:
            predictor: one of those that share the engine of this queue.
            image: the image, decoded for the predictor.
        """
        future: Future[Prediction] = Future()
        with self._changed:
            self._jobs.append((predictor, image, future))
            self._changed.notify()
        return future

    def close(self) -> None:
        """End the thread after the images that wait."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        """Predict batch after batch, in the thread."""
        while batch := self._next_batch():
            start = time.perf_counter()
            try:
                predictions = predict_together([job[:2] for job in batch])
            # Whatever it is, the requests that wait get it, and the thread continues.
            except BaseException as error:
                for _, _, future in batch:
                    future.set_exception(error)
            else:
                for (_, _, future), prediction in zip(batch, predictions, strict=True):
                    future.set_result(prediction)
            self.seconds_an_image = (time.perf_counter() - start) / len(batch)

    def _next_batch(self) -> list[_Job]:
        """Wait for an image, and take those that are already behind it; empty at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closed)
            pictures: set[bytes] = set()
            batch: list[_Job] = []
            rest: deque[_Job] = deque()
            for job in self._jobs:
                digest = job[1].digest
                if digest in pictures or len(pictures) < self._batch_size:
                    pictures.add(digest)
                    batch.append(job)
                else:
                    rest.append(job)
            self._jobs = rest
            return batch
