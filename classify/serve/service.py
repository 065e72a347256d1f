"""The work behind the pages: loaded models, and uploads in decoders and queues."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

from ...errors import ImageError, ParameterError
from ..prediction.neighbours import Neighbour, TrainingPictures
from ..prediction.prediction import Prediction
from ..prediction.predictor import Predictor, share_engines
from ..prediction.shared_engine import SharedEngine
from ..trust.explanation.explanation import Explanation
from .batches import BatchQueue
from .decoders.pool import DecoderPool
from .gate.limits import BusyError, ServerLimits
from .gate.uploads import Upload

Answer = TypeVar("Answer")


class ServedModel:
    """A model that is loaded, with its queue.

    Attributes:
        name: name in the API: the id of its run.
        predictor: the model with its engine.
        queue: the images that wait for the engine, also those of other models that share it.
        pictures: its training pictures; None without their store.
    """

    def __init__(
        self, predictor: Predictor, queue: BatchQueue, pictures: TrainingPictures | None
    ) -> None:
        predictor.load()
        self.name = predictor.model.run_id
        self.predictor = predictor
        self.queue = queue
        self.pictures = pictures

    @property
    def explains(self) -> bool:
        """True if the model has a scale for maps; files of earlier versions do not."""
        return self.predictor.model.background is not None


class Admission:
    """The door of the server: it counts the images inside, and refuses more than a limit.

    Args:
        most: most images inside.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self.inside = 0

    @contextmanager
    def admit(self, n_images: int, seconds_an_image: float) -> Iterator[None]:
        """Count images while the block runs.

        Raises:
            BusyError: too many are inside.
        """
        with self._lock:
            if self.inside + n_images > self._most:
                raise BusyError(self.inside * seconds_an_image)
            self.inside += n_images
        try:
            yield
        finally:
            with self._lock:
                self.inside -= n_images


class Service:
    """Everything that the server loads once: models, engines, and processes that decode.

    Args:
        predictors: the models, the default one first.
        limits: limits of the server.
        pictures: training pictures, by the name of each model that has some.

    Attributes:
        models: the loaded models by their names.
        maps: the door for maps of evidence, which are computed apart from the queues.

    Raises:
        ParameterError: two models are of one run.
        WeightsError: the weights of a backbone are missing or wrong.
    """

    def __init__(
        self,
        predictors: Sequence[Predictor],
        limits: ServerLimits,
        pictures: Mapping[str, TrainingPictures],
    ) -> None:
        names = [predictor.model.run_id for predictor in predictors]
        for name in names:
            if names.count(name) > 1:
                raise ParameterError(f"{name}: this model is there twice; give it once")
        self.limits = limits
        self.admission = Admission(limits.waiting)
        self.maps = Admission(limits.maps)
        # Matplotlib is not safe in several threads, and keeps fonts for each.
        self._map_thread = ThreadPoolExecutor(1)
        self._seconds_a_map = 1.0
        # The pool starts first: its processes get ready while the models are loaded.
        self.decoders = DecoderPool(limits)
        share_engines(predictors)
        # Models that share an engine share its queue.
        queues: dict[SharedEngine, BatchQueue] = {}
        self.models = {}
        for name, predictor in zip(names, predictors, strict=True):
            engine = predictor.shared_engine
            queue = queues.get(engine) or queues.setdefault(engine, BatchQueue(engine.batch_size))
            self.models[name] = ServedModel(predictor, queue, pictures.get(name))

    @property
    def default_model(self) -> ServedModel:
        """The first model."""
        return next(iter(self.models.values()))

    def close(self) -> None:
        """End the processes and free the engines."""
        self.decoders.close()
        self._map_thread.shutdown(cancel_futures=True)
        for model in self.models.values():
            model.queue.close()
            model.predictor.close()

    def classify(self, model: ServedModel, uploads: Sequence[Upload]) -> list[Prediction]:
        """Predict images; an unreadable one has an error.

        Raises:
            BusyError: too many images wait, or the answer took too long.
        """
        until = time.monotonic() + self.limits.answer_seconds
        with self.admission.admit(len(uploads), model.queue.seconds_an_image):
            futures = []
            for upload in uploads:
                # Images that decode slowly would keep their places for minutes.
                if time.monotonic() > until:
                    raise BusyError(self.limits.decode_seconds)
                image = self.decoders.decode(
                    upload.content, model.predictor.input_size, model.predictor.resize
                )
                image = replace(image, path=upload.name)
                # The engine computes one image while the next one is decoded.
                futures.append(model.queue.submit(model.predictor, image))
            return [self._result(future, until) for future in futures]

    def _result(self, future: Future[Answer], until: float) -> Answer:
        try:
            return future.result(max(0.0, until - time.monotonic()))
        except TimeoutError:
            raise BusyError(self.limits.decode_seconds) from None

    def nearest(self, model: ServedModel, upload: Upload) -> dict[str, list[Neighbour]]:
        """Return the training pictures of each class that are nearest to an image.

        Raises:
            ImageError: the image cannot be read.
            BusyError: too many images wait, or the answer took too long.
        """
        (prediction,) = self.classify(model, [upload])
        if prediction.error:
            raise ImageError(prediction.error)
        assert model.pictures is not None
        assert prediction.features is not None
        return model.pictures.nearest(prediction.features)

    def explain(
        self,
        model: ServedModel,
        upload: Upload,
        class_name: str | None,
        answer: Callable[[Explanation], Answer],
    ) -> Answer:
        """Explain the answer on an image. Maps are computed one by one.

        Args:
            model: a model that explains.
            upload: the image.
            class_name: one of the model's classes; None takes the predicted one.
            answer: function from the explanation to the result, which may draw it.

        Raises:
            ImageError: the image cannot be read.
            BusyError: too many images or maps wait, or the map took too long.
        """
        predictor = model.predictor
        until = time.monotonic() + self.limits.answer_seconds
        with (
            self.maps.admit(1, self._seconds_a_map),
            self.admission.admit(1, model.queue.seconds_an_image),
        ):
            image = self.decoders.decode(
                upload.content, predictor.input_size, predictor.resize, with_picture=True
            )
            if image.error:
                raise ImageError(image.error)
            image = replace(image, path=upload.name)

            def explained() -> Answer:
                start = time.monotonic()
                result = answer(predictor.explain_decoded([image], class_name=class_name)[0])
                self._seconds_a_map = time.monotonic() - start
                return result

            work = self._map_thread.submit(explained)
            try:
                return self._result(work, until)
            finally:
                # A map that no request waits for any more is not computed.
                work.cancel()

    def picture(self, upload: Upload) -> bytes:
        """Return an image as PNG for the page.

        Raises:
            ImageError: the image cannot be read.
            BusyError: too many images wait.
        """
        with self.admission.admit(1, self.limits.decode_seconds / self.limits.waiting):
            return self.decoders.picture(upload.content)
