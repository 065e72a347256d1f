"""Frozen features as a scikit-learn transformer.

Images go in, features come out, and a feature store is the cache.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin

from ...errors import ParameterError, StoreError
from ...features.index import read_layout
from ...features.rows.pooling import POOLINGS, pool
from ...features.store import FeatureStore
from ..plan.preflight import check_alike
from ..settings import Settings
from .shards import ADVICE, COMMAND, FeatureCache, Picture, default_path, digest


class FrozenFeatures(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Transformer from image files or arrays to features of a frozen backbone.

    Each image is computed only once. The transformer learns nothing: `fit` only checks, and
    `transform` works without it. The cache finds features by content (a file's bytes, an array's
    pixels). So another process, another order, a renamed file or another `pooling` computes nothing
    again, and cross-validation computes each image once. After a crash, finished images stay.

    Args:
        backbone: the network, "vgg16"; "pixels-N", whose only layer is "pixels", returns the images
            themselves, N x N.
        layer: layer whose features are returned; an unknown name lists all layers.
        pooling: "flat" returns height * width * channels features an image; "avg" and "max" return
            the mean or maximum over the positions, one feature a channel.
        store: path of the feature store that is the cache. A new path becomes a store that grows
            with every new image. It is like any other store, but without labels; the last images
            are in `<store>.shards` beside it for a while. A store of `extract-features` is only
            read; new images go to the default store. None, the default, takes
            `freezeframe/features/<backbone>-<layer>-<digest of the deciding settings>.h5` in the
            user's cache folder (on Linux `$XDG_CACHE_HOME` or `~/.cache`). The user may delete
            these files at any time.
        weights: "imagenet", "random", or the path of a file with ImageNet weights.
        seed: seed of random weights.
        resize: resizing of images to the input size: "nearest", "bilinear", "bicubic" or "lanczos".
        engine: "mnn", "keras" or "auto". "auto" takes the engine of an existing store, or else the
            fastest on this machine ("none" for "pixels-N").
        precision: precision that Keras computes in: "float32", "bfloat16" or "float16".
        batch_size: number of images in one forward pass of Keras; None takes one that fits the
            memory.
        workers: number of processes of mnn; None takes one for each core.

    Examples:
        >>> FrozenFeatures(layer="block3_pool", pooling="avg").n_features_out
        256
        >>> from sklearn.linear_model import LogisticRegression
        >>> from sklearn.model_selection import cross_val_score
        >>> from sklearn.pipeline import make_pipeline
        >>> head = make_pipeline(FrozenFeatures(), LogisticRegression(max_iter=1000))
        >>> cross_val_score(head, ["yes/1.png", "no/2.png", ...], [1, 0, ...])  # doctest: +SKIP
        array([0.96, 0.98, 0.94, 1.  , 0.96])
    """

    def __init__(  # noqa: PLR0913
        self,
        backbone: str = "vgg16",
        layer: str = "block5_pool",
        *,
        pooling: str = "flat",
        store: str | os.PathLike[str] | None = None,
        weights: str = "imagenet",
        seed: int = 0,
        resize: str = "bilinear",
        engine: str = "auto",
        precision: str = "float32",
        batch_size: int | None = None,
        workers: int | None = None,
    ) -> None:
        self.backbone = backbone
        self.layer = layer
        self.pooling = pooling
        self.store = store
        self.weights = weights
        self.seed = seed
        self.resize = resize
        self.engine = engine
        self.precision = precision
        self.batch_size = batch_size
        self.workers = workers

    def fit(self, X: Any, y: Any = None) -> FrozenFeatures:
        """Check the parameters and the form of X; no image is read.

        Args:
            X: images, as for `transform`.
            y: ignored.

        Raises:
            ParameterError: a parameter or X is invalid.
        """
        self._settings()
        _pictures(X)
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Return features of images from the cache; compute missing ones into it.

        Processes that need the same images wait for each other, so each image is computed once. If
        an image is unreadable, all others are computed and kept before the error is raised.

        Args:
            X: n images. Paths, str or Path, of shape (n,) or (n, 1): a list, an array, a pandas
                Series. Or arrays: one of shape (n, height, width) or (n, height, width, 3), or a
                list of arrays of several sizes. Colour is uint8 RGB. Grey is uint8, too; other grey
                levels are scaled so that the image's smallest becomes 0 and its largest 255, like
                those of files.

        Returns:
            float32 of shape (n, n_features_out). It and blocks of about 16 MB take the memory.

        Raises:
            ParameterError: a parameter or X is invalid.
            ImageError: an image cannot be read; the message is one line and begins with its path.
            StoreError: the store is damaged, has another provenance, or cannot be written.
            WeightsError: the weights are missing or not the pinned ones.
            MissingExtraError: the engine is not installed.
        """
        pictures = _pictures(X)
        cache = self._cache()
        sha256s = [digest(picture, cache.settings) for picture in pictures]
        # Another process may be joining stores now. This error does not matter: below, the lock
        # keeps other processes away.
        with suppress(StoreError, OSError):
            if (features := cache.read(sha256s, self.pooling)) is not None:
                return features
        with cache.lock():
            cache.compute(dict(zip(sha256s, pictures, strict=True)), self.workers)
            features = cache.read(sha256s, self.pooling)
        if features is None:
            raise StoreError(
                f"{cache.path}: features disappear as soon as they are written; {ADVICE}"
            )
        return features

    @property
    def n_features_out(self) -> int:
        """Number of features of an image."""
        shape = self._settings().network.layers[self.layer]
        return int(pool(np.empty((0, *shape), np.float32), self.pooling).shape[1])

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Return the names of the features, "block5_pool_0" and so on.

        Args:
            input_features: ignored.

        Returns:
            str of shape (n_features_out,).
        """
        names = [f"{self.layer}_{number}" for number in range(self.n_features_out)]
        return np.array(names, dtype=object)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.no_validation = True
        tags.input_tags.string = tags.input_tags.three_d_array = True
        return tags

    def _settings(self) -> Settings:
        """Check the parameters and return the settings.

        scikit-learn's rules forbid checks in `__init__`.
        """
        if self.workers is not None and (type(self.workers) is not int or self.workers < 1):
            raise ParameterError(f"workers must be None or at least 1, got {self.workers!r}")
        names = ("backbone", "weights", "seed", "resize", "engine", "precision", "batch_size")
        settings = Settings(layers=(self.layer,), **{name: getattr(self, name) for name in names})
        if self.pooling not in POOLINGS:
            raise ParameterError(
                f"pooling must be one of {', '.join(POOLINGS)}, got {self.pooling!r}"
            )
        return settings

    def _cache(self) -> FeatureCache:
        """Open the cache that the parameters name."""
        settings = self._settings()
        provenance = None
        # Renaming a new file onto a link would replace the link, not the store.
        path = Path(self.store).resolve() if self.store is not None else None
        if path is not None and path.exists():
            provenance = read_layout(path).provenance
            # The type is no parameter of this class, so the store decides it.
            settings = replace(settings, dtype=provenance["dtype"])
        settings = settings.resolved(provenance)
        # A store of `extract-features` belongs to the user, so the cache never writes to it.
        if path is None or provenance is None or provenance.get("command") == COMMAND:
            return FeatureCache(path or default_path(settings), settings)
        read_only = FeatureStore(path)
        check_alike(read_only, settings, with_versions=False, advice=ADVICE)
        return FeatureCache(default_path(settings), settings, read_only)


def _pictures(X: Any) -> list[Picture]:
    """Return the images in X as a list of paths and arrays."""
    if isinstance(X, str | bytes | os.PathLike):
        raise ParameterError(
            f"X must be a list of paths or of images, got one path; give [{os.fspath(X)!r}]"
        )
    # A pandas Series or DataFrame would iterate over labels or columns.
    values = X.to_numpy() if hasattr(X, "to_numpy") else X
    shape = getattr(values, "shape", (1,))
    # An array (height, width, 3) could be taken for that many rows of grey images.
    if len(shape) == 3 and shape[-1] == 3:
        raise ParameterError(f"X of shape {shape} is one image; give X[np.newaxis]")
    try:
        items = list(values)
    except TypeError:
        raise ParameterError(
            f"X must be a list of paths or of images, got {type(X).__name__}"
        ) from None
    if not items:
        raise ParameterError("X is empty; at least one image is needed")
    return [_picture(item, number) for number, item in enumerate(items)]


def _picture(item: Any, number: int) -> Picture:
    """Return an item of X as a path or an array of pixels; raise `ParameterError` otherwise."""
    is_row = isinstance(item, list | tuple) or (isinstance(item, np.ndarray) and item.ndim == 1)
    # A column of paths, of shape (n, 1), has rows of one path.
    if is_row and len(item) == 1 and isinstance(item[0], str | os.PathLike):
        item = item[0]
    if isinstance(item, str | os.PathLike):
        return Path(item)
    if not isinstance(item, np.ndarray):
        raise ParameterError(
            f"X[{number}] must be a path or an array of pixels, got {type(item).__name__}"
        )
    colour = item.ndim == 3 and item.shape[2] == 3
    grey = item.ndim == 2 or (item.ndim == 3 and item.shape[2] == 1)
    if item.size == 0 or not (colour or grey):
        raise ParameterError(
            f"X[{number}] must be of shape (height, width) or (height, width, 3), got {item.shape}"
        )
    if colour and item.dtype != np.uint8:
        raise ParameterError(f"X[{number}] is in colour and must be uint8, got {item.dtype}")
    if item.dtype.kind not in "buif":
        raise ParameterError(f"X[{number}] must hold grey levels, got {item.dtype}")
    return item
