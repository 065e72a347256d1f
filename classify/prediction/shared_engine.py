"""The engine of a predictor, or of several predictors of one backbone."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...extract.backbones.weights import reload_weights
from ...extract.engines import Engine
from ...extract.filling import start_engine
from ...extract.settings import Settings


class SharedEngine:
    """An engine that starts with its first images, and that several predictors may share.

    Its weights are read, and their digest is checked, once. Several threads may call `forward`:
    they take turns.

    Args:
        settings: resolved settings, with the layers of one predictor.
        provenance: provenance of the features that the weights must have computed.

    Attributes:
        batch_size: most images that the engine computes at once.
    """

    def __init__(self, settings: Settings, provenance: Mapping[str, Any]) -> None:
        self._settings = settings
        self._provenance = provenance
        self._layers = set(settings.layers)
        # Resolved settings have a size.
        self.batch_size = settings.batch_size or 1
        self._engine: Engine | None = None
        # No engine is safe to run in two threads at once.
        self._lock = threading.Lock()

    @property
    def identity(self) -> Hashable:
        """All that decides the features of a layer; equal for engines that can be one."""
        settings = self._settings
        return (
            settings.engine,
            settings.backbone,
            settings.weights,
            settings.seed,
            settings.precision,
            settings.batch_size,
            self._provenance.get("weights_digest"),
        )

    def join(self, engine: SharedEngine) -> None:
        """Compute the layers of another engine, too: its predictors may use this one then."""
        with self._lock:
            if not engine._layers <= self._layers:
                self._layers |= engine._layers
                # An engine computes the layers that it was started for.
                self._engine = None

    def load(self) -> None:
        """Start the engine now, so that the first images do not wait for it.

        Raises:
            WeightsError: the weights are missing, or differ from those of the features.
        """
        with self._lock:
            self._started()

    def forward(self, images: Sequence[NDArray[np.uint8]]) -> dict[str, NDArray[np.float32]]:
        """Compute the features of 1 to `batch_size` images; see `Engine.forward`.

        Returns:
            For each layer of each predictor float32 of shape (n_images, height, width, channels).

        Raises:
            WeightsError: as `load`.
        """
        with self._lock:
            return self._started().forward(images)

    def _started(self) -> Engine:
        """Return the engine, started on first use; the caller holds the lock."""
        if self._engine is None:
            weights = reload_weights(self._provenance, self._settings.weights)
            self._engine = start_engine(self._settings, weights, sorted(self._layers))
        return self._engine


def shared_engines(engines: Iterable[SharedEngine]) -> list[SharedEngine]:
    """Return for each engine the one that can take its place: the first that is like it."""
    firsts: dict[Hashable, SharedEngine] = {}
    shared = []
    for engine in engines:
        first = firsts.setdefault(engine.identity, engine)
        first.join(engine)
        shared.append(first)
    return shared
