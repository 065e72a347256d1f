"""Predictions of new images with a fitted head and the backbone that it needs."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..data.fingerprints import fingerprint
from ..data.formats.images import count_frames, decode_image, read_image_bytes, resize_image
from ..errors import (
    FreezeframeError,
    ImageError,
    MissingExtraError,
    ModelFileError,
    ParameterError,
)
from ..extract.backbones.weights import reload_weights
from ..extract.devices import cpu_cores
from ..extract.engines import Engine
from ..extract.filling import start_engine
from ..extract.pipeline import MOST_A_BATCH, unread_reason
from ..extract.settings import Settings
from ..features.pooling import pool
from .runs.model_file import FittedHead, load_model

ImageInput = str | os.PathLike[str] | bytes | NDArray[np.uint8]
"""A path, the content of an image file, or pixels: RGB (height, width, 3), grey (height, width)."""

MOST_NAMED = 5
"""Most model files that an error names."""

CLOSED = "the predictor is closed; make another one"


@dataclass(frozen=True, eq=False)
class Prediction:
    """The prediction of one image.

    Attributes:
        path: path of the image file, as passed; "" for bytes and arrays.
        label: the likeliest class, or the one that the head's threshold decides for; "" if the
            image could not be read.
        probabilities: probability of each class, by name.
        error: why the image could not be read; "" if it could.
        features: float32 of shape (n_features,), pooled, as the head takes them; None if the image
            could not be read.
        fingerprint: SHA-256 of the decoded image's size and pixels, in hexadecimal digits, as in a
            feature store: copies saved without loss share it. "" if the image could not be read.
        frames: number of frames in the file, of which the first is predicted.
    """

    path: str
    label: str
    probabilities: dict[str, float]
    error: str = ""
    features: NDArray[np.float32] | None = field(default=None, repr=False)
    fingerprint: str = ""
    frames: int = 1


@dataclass(frozen=True, eq=False)
class _Decoded:
    """An image after decoding: pixels resized to the backbone's input, or an error."""

    path: str
    pixels: NDArray[np.uint8] | None = None
    fingerprint: str = ""
    error: str = ""
    frames: int = 1


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
        self.model = model if isinstance(model, FittedHead) else load_model(find_model(model))
        self._settings = _settings(self.model, weights, engine)
        self.engine = self._settings.engine
        self._input_size = self._settings.network.input_size
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
        # A generator would raise only when its first prediction is requested.
        _check_several(images)
        if self._closed:
            raise FreezeframeError(CLOSED)
        return self._stream(images)

    def _stream(self, images: Iterable[ImageInput]) -> Iterator[Prediction]:
        """Decode ahead, and predict whenever the engine's batch is full."""
        batch: list[_Decoded] = []
        n_readable = 0
        for image in self._decode_ahead(images):
            batch.append(image)
            n_readable += image.pixels is not None
            # Many unreadable images end a batch early, so that memory stays bounded.
            if n_readable == self._settings.batch_size or len(batch) >= MOST_A_BATCH:
                yield from self._predict_batch(batch)
                batch = []
                n_readable = 0
        yield from self._predict_batch(batch)

    def _decode_ahead(self, images: Iterable[ImageInput]) -> Iterator[_Decoded]:
        """Yield decoded images in order, while threads decode two batches ahead."""
        ahead = 2 * (self._settings.batch_size or 1)
        waiting: deque[Future[_Decoded]] = deque()
        with ThreadPoolExecutor(max(2, cpu_cores())) as threads:
            try:
                for image in images:
                    waiting.append(threads.submit(self._decode, image))
                    if len(waiting) > ahead:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                # A consumer that stops early must not wait for images that nobody needs.
                threads.shutdown(wait=False, cancel_futures=True)

    def _decode(self, image: ImageInput) -> _Decoded:
        """Decode one image; an image that cannot be read has an error."""
        path = os.fspath(image) if isinstance(image, str | os.PathLike) else ""
        try:
            rgb, frames = _rgb_pixels(image)
            pixels = resize_image(rgb, *self._input_size, self._settings.resize)
            return _Decoded(path, pixels, fingerprint(rgb).pixels, frames=frames)
        # The same kinds of errors as `read_image` expects.
        except (ImageError, MissingExtraError, ValueError) as error:
            return _Decoded(path, error=" ".join(str(error).split()))
        except (OSError, MemoryError) as error:
            return _Decoded(path, error=unread_reason(error))

    def _predict_batch(self, batch: Sequence[_Decoded]) -> Iterator[Prediction]:
        """Yield the predictions of a batch, which the engine computes at once."""
        pixels = [image.pixels for image in batch if image.pixels is not None]
        rows = iter(self._predict_pixels(pixels))
        for image in batch:
            if image.pixels is None:
                yield Prediction(image.path, "", {}, image.error)
            else:
                yield replace(
                    next(rows), path=image.path, fingerprint=image.fingerprint, frames=image.frames
                )

    def _predict_pixels(self, pixels: list[NDArray[np.uint8]]) -> list[Prediction]:
        """Run the backbone and the head on images of the input size."""
        if not pixels:
            return []
        model = self.model
        with self._lock:
            maps = self._loaded_engine().forward(pixels)
            features = pool(maps[model.layer], model.pooling)
            proba = model.head.predict_proba(features)
            # Only a forged or damaged model computes such a share.
            if not np.isfinite(proba).all():
                raise ModelFileError(
                    f"model of run {model.run_id}: its probabilities are not numbers; "
                    "fit the head again"
                )
            classes = model.head.calibration.decide(proba)
        predictions = []
        for vector, shares, number in zip(features, proba.tolist(), classes.tolist(), strict=True):
            probabilities = dict(zip(model.classes, shares, strict=True))
            # A copy, so that one kept prediction does not keep the features of its whole batch.
            label = model.classes[number]
            predictions.append(Prediction("", label, probabilities, features=vector.copy()))
        return predictions

    def _loaded_engine(self) -> Engine:
        """Return the engine, made on first use; the caller holds the lock."""
        if self._closed:
            raise FreezeframeError(CLOSED)
        if self._engine is None:
            weights = reload_weights(self.model.provenance, self._settings.weights)
            self._engine = start_engine(self._settings, weights, self._settings.layers)
        return self._engine


def find_model(place: str | os.PathLike[str]) -> Path:
    """Return the path of a model file; a run's folder, or a folder of one run, has it inside.

    Raises:
        ModelFileError: a folder has no model file, or several; the text lists them.
    """
    path = Path(place)
    if not path.is_dir():
        return path
    # The folder of a run first: its own model is meant, whatever else is below.
    for pattern in ("*.safetensors", "*/*.safetensors"):
        models = sorted(path.glob(pattern))
        if len(models) == 1:
            return models[0]
        if models:
            names = ", ".join(str(model.relative_to(path)) for model in models[:MOST_NAMED])
            more = f" and {len(models) - MOST_NAMED} more" if len(models) > MOST_NAMED else ""
            raise ModelFileError(f"{path}: holds several model files, {names}{more}; give one")
    raise ModelFileError(
        f"{path}: no model file in this folder; fit-classifier writes runs/<run id>"
    )


def _settings(model: FittedHead, weights: str, engine: str) -> Settings:
    """Return the settings by which the features of a head's training images were computed.

    Args:
        model: the fitted head.
        weights: source of the weights.
        engine: engine that computes instead; "auto" takes that of the training images.
    """
    provenance = model.provenance
    try:
        random = str(provenance["weights_source"]).startswith("random")
        settings = Settings(
            layers=(model.layer,),
            backbone=provenance["backbone"],
            weights="random" if random else weights,
            seed=provenance["weights_seed"],
            resize=provenance["resize"],
            # Another engine or batch size would change the low bits of the features.
            engine=provenance["engine"],
            precision=provenance["precision"],
            batch_size=provenance["batch_size"],
        )
    except (KeyError, TypeError, AttributeError, ParameterError) as error:
        raise ModelFileError(
            f"model of run {model.run_id}: its provenance is damaged or unknown here ({error}); "
            "fit the head again"
        ) from None
    if engine not in ("auto", settings.engine):
        # Precision and batch size are settings of Keras alone.
        precision = settings.precision if engine == "keras" else "float32"
        settings = replace(settings, engine=engine, precision=precision, batch_size=None)
    return settings.resolved()


def _check_several(images: Any) -> None:
    """Raise ParameterError for a single image, whose letters or rows would count as images."""
    single = isinstance(images, str | bytes | os.PathLike)
    # A four-dimensional array is a list of images.
    if single or (isinstance(images, np.ndarray) and images.ndim != 4):
        raise ParameterError("images must be a list; put a single image into one: [image]")


def _rgb_pixels(image: ImageInput) -> tuple[NDArray[np.uint8], int]:
    """Read or convert one image into uint8 RGB of shape (height, width, 3), and count its frames.

    Raises:
        ImageError: the image is missing, damaged, or of another kind or shape.
        OSError: the file cannot be read.
    """
    if isinstance(image, str | os.PathLike):
        # A pipe or a device could block for ever.
        if not Path(image).is_file():
            raise ImageError("no such file")
        image = read_image_bytes(image)
    if isinstance(image, bytes):
        return decode_image(image), count_frames(image)
    if not isinstance(image, np.ndarray):
        raise ImageError(f"an image must be a path, bytes or an array, got {type(image).__name__}")
    shape = image.shape
    if image.dtype != np.uint8 or image.size == 0:
        raise ImageError(f"pixels must be uint8, got {image.dtype} of shape {shape}")
    if image.ndim == 2:
        # A grey file is decoded into three equal channels, too.
        return np.repeat(image[..., np.newaxis], 3, axis=2), 1
    if image.ndim != 3 or shape[2] != 3:
        raise ImageError(
            f"pixels must be of shape (height, width, 3) or (height, width), got {shape}"
        )
    return np.ascontiguousarray(image), 1
