"""Batches: a thread that predicts the images of several requests at once."""

from __future__ import annotations

import queue
import threading
import time
from concurrent.futures import Future

from ..prediction.image_input import DecodedImage
from ..prediction.prediction import Prediction
from ..prediction.predictor import Predictor

_Job = tuple[DecodedImage, "Future[Prediction]"]


class BatchQueue:
    """A queue of decoded images, and the thread that predicts them.

    The thread takes as many images as the engine computes at once, and never waits for more. An
    answer does not depend on the other images of its batch.

    Args:
        predictor: predicts the images.

    Attributes:
        seconds_an_image: time of the last batch, divided by its images.
    """

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self.seconds_an_image = 0.1
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def submit(self, image: DecodedImage) -> Future[Prediction]:
        """Put an image into the queue; the result has its prediction."""
        future: Future[Prediction] = Future()
        self._jobs.put((image, future))
        return future

    def close(self) -> None:
        """End the thread after the images that wait."""
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        """Predict batch after batch, in the thread."""
        while (batch := self._next_batch()) is not None:
            start = time.perf_counter()
            try:
                predictions = self._predictor.predict_decoded([image for image, _ in batch])
            # Whatever it is, the requests that wait get it, and the thread continues.
            except BaseException as error:
                for _, future in batch:
                    future.set_exception(error)
            else:
                for (_, future), prediction in zip(batch, predictions, strict=True):
                    future.set_result(prediction)
            self.seconds_an_image = (time.perf_counter() - start) / len(batch)

    def _next_batch(self) -> list[_Job] | None:
        """Wait for an image, and take those that are already behind it; None at the end."""
        batch = []
        job = self._jobs.get()
        while job is not None:
            batch.append(job)
            if len(batch) == self._predictor.batch_size or self._jobs.empty():
                return batch
            job = self._jobs.get()
        if batch:
            # The end comes after this batch.
            self._jobs.put(None)
        return batch or None
