"""Predictions of new images with a fitted head and the backbone that it needs."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...data.fingerprints import Fingerprint
from ...errors import FreezeframeError, ParameterError
from ...extract.backbones.weights import reload_weights
from ...extract.devices import cpu_cores
from ...extract.engines import Engine
from ...extract.filling import start_engine
from ...extract.pipeline import MOST_A_BATCH
from ...features.rows.pooling import pool
from ..explanation.explanation import Explanation
from ..guards.familiarity import Familiarity, guard_features
from ..guards.training_lookup import TrainingCopy
from ..runs.model_file import FittedHead, load_model
from ..runs.training_file import load_lookup
from .explainer import Explainer, finite_probabilities_of
from .image_input import DecodedImage, ImageInput, decode_input
from .model_place import find_model
from .model_settings import model_settings
from .prediction import Prediction

Answer = TypeVar("Answer", Prediction, Explanation)

CLOSED = "the predictor is closed; make another one"


class Predictor:
    """A fitted head with its backbone, kept in memory to predict any number of images.

    The backbone is loaded with the first image, or by `load`: its weights are read and their
    digest is checked once. Several threads may call `predict` at once: they decode side by side
    and take turns at the backbone.

    Args:
        model: path of a model file or of a run's folder, or a head from `load_model`.
        weights: source of the backbone's weights, as for `Settings`; ignored for a random backbone.
        engine: "keras" or "mnn", as for `Settings`; "auto" takes the engine that computed the
            features of the training images. Another one changes the low bits of the features.

    Attributes:
        model: the fitted head, with its classes, layer, pooling and provenance.
        engine: name of the engine in use.
        input_size: height and width of the backbone's input, in pixels.
        resize: name of the resizing, see `resize_image`.
        batch_size: most images that the engine computes at once.

    Raises:
        ModelFileError: the file is no model file, was changed, or names an unknown backbone,
            layer or resizing; or a folder holds no model file, or several.
        ParameterError: the engine is unknown, or cannot compute the backbone.
        MissingExtraError: a library of the head or of the backbone's engine is not installed.

    Examples:
        >>> with Predictor("runs/RUN/model.safetensors") as predictor:     # doctest: +SKIP
        ...     predictions = predictor.predict(["scan.png", pixels])
        >>> predictions[0].label, predictions[0].probabilities["lesion"]   # doctest: +SKIP
        ('lesion', 0.93)
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | FittedHead,
        *,
        weights: str = "imagenet",
        engine: str = "auto",
    ) -> None:
        if isinstance(model, FittedHead):
            self.model = model
            self._lookup, self.not_looked_up = None, "the head was loaded without its run's folder"
        else:
            path = find_model(model)
            self.model = load_model(path)
            self._lookup, self.not_looked_up = load_lookup(path.parent, self.model)
        self._settings = model_settings(self.model, weights, engine)
        self.engine = self._settings.engine
        self.input_size = self._settings.network.input_size
        self.resize = self._settings.resize
        # Resolved settings have a size.
        self.batch_size = self._settings.batch_size or 1
        self._engine: Engine | None = None
        self._closed = False
        # Neither engines nor heads are safe to run in two threads at once.
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the backbone. Closing twice does no harm; predicting afterwards is an error."""
        with self._lock:
            self._engine = None
            self._closed = True

    def load(self) -> None:
        """Load the backbone now, so that the first prediction does not wait for it.

        Raises:
            WeightsError: the weights are missing, or differ from those that the head was fitted
                with.
            FreezeframeError: the predictor is closed.
        """
        if self._lookup is not None:
            self._lookup.load()
        with self._lock:
            self._loaded_engine()

    def predict(self, images: Iterable[ImageInput]) -> list[Prediction]:
        """Predict images, in order.

        Args:
            images: paths, contents of image files as bytes, or arrays of uint8 pixels: RGB of
                shape (height, width, 3), grey of shape (height, width). Kinds may be mixed.

        Returns:
            One prediction for each image. An image that cannot be read has a prediction with
            `error` set.

        Raises:
            ParameterError: `images` is a single image.
            WeightsError: the weights are missing, or differ from those that the head was fitted
                with.
            FreezeframeError: the predictor is closed.
        """
        return list(self.stream(images))

    def stream(self, images: Iterable[ImageInput]) -> Iterator[Prediction]:
        """Yield the predictions of `predict` one by one; only few images are in memory at once."""
        return self._stream(images, self._predict_batch)

    def explain(
        self, images: Iterable[ImageInput], *, class_name: str | None = None
    ) -> list[Explanation]:
        """Explain predictions: how much each cell of the features speaks for or against a class.

        Args:
            images: as for `predict`.
            class_name: the class to explain; None takes the predicted one of each image.

        Returns:
            One explanation for each image. An image that cannot be read has one with `error` set.

        Raises:
            ParameterError: `images` is a single image, or the model has no such class.
            ModelFileError: the model was written by an earlier version, which kept no mean of the
                training images; or its numbers are not finite.
            WeightsError: as for `predict`.
            FreezeframeError: the predictor is closed.

        Examples:
            >>> explanation = predictor.explain(["scan.png"])[0]           # doctest: +SKIP
            >>> explanation.base + explanation.contributions.sum()         # doctest: +SKIP
            2.4106
            >>> Path("why.png").write_bytes(explanation.overlay())         # doctest: +SKIP
        """
        return list(self.explain_stream(images, class_name=class_name))

    def explain_stream(
        self, images: Iterable[ImageInput], *, class_name: str | None = None
    ) -> Iterator[Explanation]:
        """Yield the explanations of `explain` one by one; only few images are in memory at once."""
        explainer = Explainer(self.model, self._settings.network, class_name)
        return self._stream(images, partial(self._explain_batch, explainer), with_picture=True)

    def explain_decoded(
        self, images: Sequence[DecodedImage], *, class_name: str | None = None
    ) -> list[Explanation]:
        """Explain images that `decode_input` decoded with their pictures, in order.

        Args:
            images: at most as many readable ones as the engine computes at once.
            class_name: as for `explain`.
        """
        explainer = Explainer(self.model, self._settings.network, class_name)
        return list(self._explain_batch(explainer, images))

    def _stream(
        self,
        images: Iterable[ImageInput],
        work: Callable[[Sequence[DecodedImage]], Iterator[Answer]],
        *,
        with_picture: bool = False,
    ) -> Iterator[Answer]:
        """Check the images, then decode ahead, and work whenever the engine's batch is full."""
        # A generator would raise only when its first answer is requested.
        _check_several(images)
        if self._closed:
            raise FreezeframeError(CLOSED)
        decode = partial(
            decode_input,
            input_size=self.input_size,
            resize=self.resize,
            with_picture=with_picture,
        )
        return self._batches(self._decode_ahead(images, decode), work)

    def _batches(
        self,
        images: Iterable[DecodedImage],
        work: Callable[[Sequence[DecodedImage]], Iterator[Answer]],
    ) -> Iterator[Answer]:
        batch: list[DecodedImage] = []
        n_readable = 0
        for image in images:
            batch.append(image)
            n_readable += image.pixels is not None
            # Many unreadable images end a batch early, so that memory stays bounded.
            if n_readable == self._settings.batch_size or len(batch) >= MOST_A_BATCH:
                yield from work(batch)
                batch = []
                n_readable = 0
        yield from work(batch)

    def _decode_ahead(
        self, images: Iterable[ImageInput], decode: Callable[[ImageInput], DecodedImage]
    ) -> Iterator[DecodedImage]:
        """Yield decoded images in order, while threads decode two batches ahead."""
        ahead = 2 * (self._settings.batch_size or 1)
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

    def predict_decoded(self, images: Sequence[DecodedImage]) -> list[Prediction]:
        """Predict images that `decode_input` decoded for `input_size` and `resize`, in order.

        Args:
            images: at most `batch_size` readable ones, and any number of unreadable ones.

        Raises:
            WeightsError, FreezeframeError: as `predict`.
        """
        return list(self._predict_batch(images))

    def _predict_batch(self, batch: Sequence[DecodedImage]) -> Iterator[Prediction]:
        """Yield the predictions of a batch, which the engine computes at once."""
        pixels = [image.pixels for image in batch if image.pixels is not None]
        rows = iter(self._predict_pixels(pixels))
        for image in batch:
            if image.pixels is None:
                yield Prediction(image.path, "", {}, image.error)
            else:
                yield replace(
                    next(rows),
                    path=image.path,
                    fingerprint=image.fingerprint,
                    frames=image.frames,
                    training_copy=self._training_copy(image),
                )

    def _training_copy(self, image: DecodedImage) -> TrainingCopy | None:
        """Look a readable image up among the training images; None if they are not there."""
        if self._lookup is None or image.thumbnail is None:
            return None
        return self._lookup.find(image.sha256, Fingerprint(image.fingerprint, image.thumbnail))

    def _explain_batch(
        self, explainer: Explainer, batch: Sequence[DecodedImage]
    ) -> Iterator[Explanation]:
        """Yield the explanations of a batch, whose features the engine computes at once."""
        pixels = [image.pixels for image in batch if image.pixels is not None]
        results: list[Explanation] = []
        if pixels:
            with self._lock:
                maps = self._loaded_engine().forward(pixels)[self.model.layer]
                results = explainer.explain(maps)
        explanations = iter(results)
        for image in batch:
            if image.pixels is None:
                yield Explanation(image.path, error=image.error)
            else:
                yield replace(
                    next(explanations), path=image.path, size=image.size, picture=image.picture
                )

    def _predict_pixels(self, pixels: list[NDArray[np.uint8]]) -> list[Prediction]:
        """Run the backbone and the head on images of the input size."""
        if not pixels:
            return []
        model = self.model
        with self._lock:
            maps = self._loaded_engine().forward(pixels)
            features = pool(maps[model.layer], model.pooling)
            proba = finite_probabilities_of(model, features)
            classes = model.head.calibration.decide(proba)
        answers = zip(features, proba.tolist(), classes.tolist(), self._familiar(maps), strict=True)
        return [
            Prediction(
                "",
                model.classes[number],
                dict(zip(model.classes, shares, strict=True)),
                # A copy, so that one prediction does not keep the features of its whole batch.
                features=vector.copy(),
                familiarity=familiarity,
            )
            for vector, shares, number, familiarity in answers
        ]

    def _familiar(self, maps: Mapping[str, NDArray[np.float32]]) -> list[Familiarity | None]:
        """Return how like the training images some images are, by their features."""
        features = maps[self.model.layer]
        if self.model.distribution is None:
            return [None] * len(features)
        return list(map(self.model.distribution.familiarity, guard_features(features)))

    def _loaded_engine(self) -> Engine:
        """Return the engine, made on first use; the caller holds the lock."""
        if self._closed:
            raise FreezeframeError(CLOSED)
        if self._engine is None:
            weights = reload_weights(self.model.provenance, self._settings.weights)
            self._engine = start_engine(self._settings, weights, self._settings.layers)
        return self._engine


def _check_several(images: Any) -> None:
    """Raise ParameterError for a single image, whose letters or rows would count as images."""
    single = isinstance(images, str | bytes | os.PathLike)
    # A four-dimensional array is a list of images.
    if single or (isinstance(images, np.ndarray) and images.ndim != 4):
        raise ParameterError("images must be a list; put a single image into one: [image]")
