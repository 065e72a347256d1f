"""The training pictures that are nearest to an image, in the space of the features."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from ...errors import ParameterError
from ...features.store import FeatureStore
from ..runs.model_file import FittedHead

NEAREST = 4
"""Pictures of each class."""

NEAREST_OF_ALL = 3
"""Pictures without regard to their class; not more than `NEAREST`."""

MANY_CHANNELS = 64
"""Least number of channels that describe a picture without their places; pixels have three."""


@dataclass(frozen=True)
class Neighbour:
    """A training picture.

    Attributes:
        path: its path in the store.
        label: its class.
        similarity: cosine of the angle between its features and those of the image.
        thumbnail: a small PNG in grey levels, as the address of an image; "" without one.
    """

    path: str
    label: str
    similarity: float
    thumbnail: str


class TrainingPictures:
    """The pictures of the store that a head was fitted on.

    Features of many channels are averaged over the places of the picture, also for a head that
    takes them flat: a picture then takes 2 kB of memory, and similar ones need not be aligned.

    Args:
        store: the store.
        head: the head.
        held_out: paths of images that the head was not fitted on.

    Raises:
        StoreError: the store is damaged.
    """

    def __init__(
        self, store: FeatureStore, head: FittedHead, held_out: frozenset[str] = frozenset()
    ) -> None:
        self._store = store
        self._channels = store.layers[head.layer][-1]
        self._averaged = head.pooling == "flat" and self._channels >= MANY_CHANNELS
        # A store with splits trains on one of them.
        split = "train" if "train" in set(store.splits) else None
        rows = store.rows(split=split)
        self._rows = rows[~np.isin(store.paths[rows], sorted(held_out))]
        pooling = "avg" if self._averaged else head.pooling
        blocks = store.blocks(head.layer, self._rows, pooling)
        self._features = np.concatenate([_unit(block) for _, block in blocks])
        self._labels = np.asarray(store.labels)[self._rows]

    def nearest(self, features: NDArray[np.float32]) -> dict[str, list[Neighbour]]:
        """Return the nearest pictures of each class, the nearest first.

        Args:
            features: of the image, pooled as the head takes them.
        """
        if self._averaged:
            features = features.reshape(-1, self._channels).mean(axis=0)
        similarities = self._features @ _unit(features[np.newaxis])[0]
        nearest = {}
        for label in sorted(set(self._labels.tolist())):
            places = np.flatnonzero(self._labels == label)
            order = places[np.argsort(-similarities[places], kind="stable")][:NEAREST]
            nearest[label] = self._neighbours(order, similarities)
        return nearest

    def nearest_of_all(self, features: NDArray[np.float32]) -> list[Neighbour]:
        """Return the nearest pictures of all classes together, the nearest first.

        Args:
            features: of the image, pooled as the head takes them.
        """
        pictures = chain.from_iterable(self.nearest(features).values())
        return sorted(pictures, key=lambda picture: -picture.similarity)[:NEAREST_OF_ALL]

    def _neighbours(
        self, places: NDArray[np.intp], similarities: NDArray[np.float32]
    ) -> list[Neighbour]:
        rows = self._rows[places]
        has_pictures = self._store.fingerprinted
        pictures = self._store.thumbnails(rows) if has_pictures else [None] * len(rows)
        return [
            Neighbour(
                str(self._store.paths[row]),
                str(self._labels[place]),
                float(similarities[place]),
                png_address(picture),
            )
            for row, place, picture in zip(rows, places, pictures, strict=True)
        ]


def training_pictures(
    store: FeatureStore,
    heads: Sequence[FittedHead],
    held_out: Callable[[str], frozenset[str]],
) -> dict[str, TrainingPictures]:
    """Return the pictures of a store by the names of the models that were fitted on it.

    Args:
        store: the store.
        heads: the models.
        held_out: function from a run to the paths of images that it held out.

    Raises:
        ParameterError: no model was.
        StoreError: the store is damaged.
    """
    fingerprint = store.fingerprint
    fitted = [head for head in heads if head.training_fingerprint == fingerprint]
    if not fitted:
        raise ParameterError(
            f"{store.path}: no model was fitted on this store; "
            "give the store of a model, or leave the option out"
        )
    return {head.run_id: TrainingPictures(store, head, held_out(head.run_id)) for head in fitted}


def png_address(picture: NDArray[np.uint8] | None) -> str:
    """Return grey pixels as the address of a PNG image; "" for None."""
    from PIL import Image

    if picture is None:
        return ""
    Image.fromarray(picture).save(file := io.BytesIO(), "PNG")
    return f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale rows to length 1; a row of zeros stays."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, np.finfo(np.float32).tiny))
