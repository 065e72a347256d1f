"""The identity of a training: a text of everything that decides its result."""

from __future__ import annotations

import hashlib
import json
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....data.output.version import VERSION
from ....features.rows.feature_rows import FeatureRows
from ...matrix import Matrix


def training_identity(
    network: list[Any],
    features: tuple[Matrix, Matrix],
    classes: tuple[NDArray[np.intp], NDArray[np.intp]],
    n_classes: int,
    seed: int,
) -> str:
    """Return a text of everything that decides the result of a training.

    Args:
        network: name, parameters and digest of the first weights of the network.
        features: features of the rows to train on, and of the judged rows.
        classes: class numbers of these rows.
        n_classes: number of classes.
        seed: seed of everything that is drawn.
    """
    import keras

    # Other versions may compute other bits.
    backend = keras.backend.backend()
    versions = [VERSION, keras.__version__, backend, import_module(backend).__version__]
    digests = [content_digest(X) for X in features]
    numbers = [array.tobytes().hex() for array in classes]
    return json.dumps([network + versions, n_classes, seed, digests, numbers])


def content_digest(X: Matrix) -> str:
    """Return the SHA-256 of features; for rows of a store, of their stored checksums."""
    digest = hashlib.sha256()
    if isinstance(X, FeatureRows):
        digest.update(f"{X.layer} {X.pooling}\n".encode())
        # The store has a checksum for each row: features need not be read for it.
        digest.update("".join(X.checksums()).encode())
    else:
        digest.update(np.ascontiguousarray(X).tobytes())
    return digest.hexdigest()
