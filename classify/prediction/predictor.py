"""Predictions of new images with a fitted head and the backbone that it needs."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...data.fingerprints import Fingerprint
from ...errors import FreezeframeError
from ...features.rows.pooling import pool
from ..runs.model_file import FittedHead, load_model
from ..runs.training_file import load_lookup
from ..trust.explanation.explanation import Explanation
from ..trust.guards.training_lookup import TrainingCopy, TrainingLookup
from .explainer import Explainer, finite_probabilities_of
from .image_input import DecodedImage, ImageInput, decode_input
from .image_stream import check_several, decoded_batches
from .model_place import find_model
from .model_settings import model_settings
from .prediction import Prediction
from .shared_engine import SharedEngine, shared_engines

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
        # None when the predictor is closed.
        self._engine: SharedEngine | None = SharedEngine(self._settings, self.model.provenance)
        # No head is safe to run in two threads at once.
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def shared_engine(self) -> SharedEngine:
        """The engine, which predictors of one backbone share.

        Raises:
            FreezeframeError: the predictor is closed.
        """
        if self._engine is None:
            raise FreezeframeError(CLOSED)
        return self._engine

    def close(self) -> None:
        """Free the backbone. Closing twice does no harm; predicting afterwards is an error."""
        self._engine = None

    def load(self) -> None:
        """Load the backbone now, so that the first prediction does not wait for it.

        Raises:
            WeightsError: the weights are missing, or differ from those that the head was fitted
                with.
            FreezeframeError: the predictor is closed.
        """
        if self._lookup is not None:
            self._lookup.load()
        self.shared_engine.load()

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
        """Yield the predictions of `predict` one by one; only few images are in memory at once.

        Args:
            images: as for `predict`.
        """
        return self._stream(images, self.predict_decoded)

    def explain(
        self, images: Iterable[ImageInput], *, class_name: str | None = None
    ) -> list[Explanation]:
        """Explain predictions: how much each cell of the image speaks for or against a class.

        Cells are the squares of a coarse grid over the image, 7 x 7 for block5_pool.

        Args:
            images: as for `predict`.
            class_name: the class to explain; None takes the predicted one of each image.

        Returns:
            One `Explanation` for each image; see it for its attributes. If an image cannot be
            read, `error` says why, and `contributions` is None.

        Raises:
            ParameterError: `images` is a single image, or the model has no such class.
            ModelFileError: the model was written by an earlier version, which kept no mean of the
                training images, or its numbers are not finite; fit it again.
            WeightsError: as for `predict`.
            FreezeframeError: the predictor is closed.

        Examples:
            >>> explanation = predictor.explain(["scan.png"])[0]           # doctest: +SKIP
            >>> explanation.base + explanation.contributions.sum()         # doctest: +SKIP
            2.4106
            >>> explanation.logit  # equal for linear heads; see `method`  # doctest: +SKIP
            2.4106
            >>> Path("why.png").write_bytes(explanation.overlay())         # doctest: +SKIP
        """
        return list(self.explain_stream(images, class_name=class_name))

    def explain_stream(
        self, images: Iterable[ImageInput], *, class_name: str | None = None
    ) -> Iterator[Explanation]:
        """Yield the explanations of `explain` one by one; only few images are in memory at once.

        Args:
            images: as for `predict`.
            class_name: as for `explain`.
        """
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
        work: Callable[[Sequence[DecodedImage]], Iterable[Answer]],
        *,
        with_picture: bool = False,
    ) -> Iterator[Answer]:
        """Check the images, then decode ahead, and work whenever the engine's batch is full."""
        # A generator would raise only when its first answer is requested.
        check_several(images)
        batch_size = self.shared_engine.batch_size
        decode = partial(
            decode_input,
            input_size=self.input_size,
            resize=self.resize,
            with_picture=with_picture,
        )
        batches = decoded_batches(images, decode, batch_size)
        return (answer for batch in batches for answer in work(batch))

    def predict_decoded(self, images: Sequence[DecodedImage]) -> list[Prediction]:
        """Predict images that `decode_input` decoded for `input_size` and `resize`, in order.

        Args:
            images: at most `batch_size` readable ones, and any number of unreadable ones.

        Raises:
            WeightsError, FreezeframeError: as `predict`.
        """
        return predict_together([(self, image) for image in images])

    def _start_lookup(self, image: DecodedImage) -> Future[TrainingCopy] | None:
        """Look an image up among the training images in a thread; None if that is impossible."""
        if self._lookup is None or image.thumbnail is None:
            return None
        return self._lookup.start(image.sha256, Fingerprint(image.fingerprint, image.thumbnail))

    def _explain_batch(
        self, explainer: Explainer, batch: Sequence[DecodedImage]
    ) -> Iterator[Explanation]:
        """Yield the explanations of a batch, whose features the engine computes at once."""
        pixels = [image.pixels for image in batch if image.pixels is not None]
        lookups = [self._start_lookup(image) for image in batch]
        results: list[Explanation] = []
        if pixels:
            maps = self.shared_engine.forward(pixels)[self.model.layer]
            with self._lock:
                results = explainer.explain(maps)
        explanations = iter(results)
        for image, lookup in zip(batch, lookups, strict=True):
            if image.pixels is None:
                yield Explanation(image.path, error=image.error)
            else:
                yield replace(
                    next(explanations),
                    path=image.path,
                    size=image.size,
                    picture=image.picture,
                    training_copy=lookup.result() if lookup else None,
                )

    def _score(self, maps: NDArray[np.float32]) -> Prediction:
        """Run the head and the guard on the maps of an image, (1, height, width, channels)."""
        model = self.model
        features = pool(maps, model.pooling)
        with self._lock:
            proba = finite_probabilities_of(model, features)
            (number,) = model.head.calibration.decide(proba).tolist()
        return Prediction(
            "",
            model.classes[number],
            dict(zip(model.classes, proba[0].tolist(), strict=True)),
            # A copy, so that one prediction does not keep the features of its whole batch.
            features=features[0].copy(),
            familiarity=model.familiarity(maps),
            prediction_set=model.prediction_set(proba),
        )


def predict_together(jobs: Sequence[tuple[Predictor, DecodedImage]]) -> list[Prediction]:
    """Predict images with predictors that share an engine, which computes each picture once.

    Images are looked up among the training images beside the engine, in threads. An answer depends
    on its image alone, to the last bit.

    Args:
        jobs: each image with its predictor; at most as many different readable pictures as the
            engine computes at once, and any number of unreadable ones.

    Raises:
        WeightsError, FreezeframeError: as `Predictor.predict`.
    """
    lookups = [predictor._start_lookup(image) for predictor, image in jobs]
    pixels = {image.digest: image.pixels for _, image in jobs if image.pixels is not None}
    maps = jobs[0][0].shared_engine.forward(list(pixels.values())) if pixels else {}
    places = {digest: place for place, digest in enumerate(pixels)}
    predictions = []
    for (predictor, image), lookup in zip(jobs, lookups, strict=True):
        if image.pixels is None:
            predictions.append(Prediction(image.path, "", {}, image.error))
            continue
        place = places[image.digest]
        # One image at a time, so that its answer does not depend on others.
        prediction = predictor._score(maps[predictor.model.layer][place : place + 1])
        predictions.append(
            replace(
                prediction,
                path=image.path,
                fingerprint=image.fingerprint,
                frames=image.frames,
                training_copy=lookup.result() if lookup else None,
            )
        )
    return predictions


def share_engines(predictors: Sequence[Predictor]) -> None:
    """Let open predictors of one backbone share one engine, and those of one fit one lookup.

    Engines that were started are started again if they lack a layer.
    """
    engines = shared_engines(predictor.shared_engine for predictor in predictors)
    lookups: dict[Hashable, TrainingLookup | None] = {}
    for predictor, engine in zip(predictors, engines, strict=True):
        predictor._engine = engine
        # The file of the training images has class numbers; the model has the names.
        fit = (predictor.model.training_images, predictor.model.classes)
        predictor._lookup = predictor._lookup and lookups.setdefault(fit, predictor._lookup)
