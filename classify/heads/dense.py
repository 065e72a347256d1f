"""Small dense networks on features: trained with Keras on any of its backends, kept and predicted as plain arrays."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ... import FreezeframeError, MissingExtraError
from .arrays import Arrays, checked_array
from .head import Folds, Head, Matrix, Parameters, blocks_of, take, two_columns

COLLAPSED = 0.97
"""A head that predicts one class for this share of its training rows, and 0.1 fewer are of it, has learnt nothing."""

LEAST_BATCHES = 10
"""In an epoch, if there are so many rows."""

Layers = list[NDArray[np.float32]]
"""Kernel, of shape (n_inputs, n_units), and bias, of shape (n_units,), of one layer after the other."""


class _Dense(Head):
    """Dense layers with ReLU and He's start (arXiv:1502.01852), trained by Adam (arXiv:1412.6980) on cross-entropy.

    Two classes share one output, more have one each. Features are read batch by batch. Training stops early on the rows
    that the first fold judges by, and the weights of the best epoch are kept.

    Parameters are `epochs` and `batch_size` (both at most), `learning_rate`, `dropout` (arXiv:1207.0580; the share
    dropped behind the first layer), `patience` (epochs without a better loss before it stops) and `scale` (1: features
    are divided by their root mean square over the training rows; 0: they are taken as they are).

    Attributes:
        units: of the hidden layers.
    """

    units: ClassVar[tuple[int, ...]] = ()
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        "epochs": (1, 10_000),
        "batch_size": (1, 100_000),
        "learning_rate": (1e-12, 1e3),
        "dropout": (0, 0.99),
        "patience": (1, 10_000),
        "scale": (0, 1),
    }

    def fit(self, X: Matrix, y: NDArray[np.intp], n_classes: int, *, seed: int = 0, folds: Folds = ()) -> None:
        fitted, judged = folds[0] if folds else (np.arange(len(y)), np.arange(0))
        self._scale = np.array([_root_mean_square(take(X, fitted)) if self.parameters["scale"] else 1], np.float32)
        least, waited, best, seen = np.inf, 0, Layers(), np.empty((0, n_classes))
        for epoch, model in enumerate(self._epochs(take(X, fitted), y[fitted], n_classes, seed)):
            scores = self._scores_by(model, take(X, judged)) if len(judged) else seen
            loss = _log_loss(scores, y[judged]) if len(judged) else -epoch
            if loss < least:
                # Copies, for PyTorch's arrays go on changing.
                least, waited, best, seen = loss, 0, [np.array(array) for array in model.get_weights()], scores
            elif (waited := waited + 1) == self.parameters["patience"]:
                break
        del model
        gc.collect()  # a network of Keras refers to itself, and Adam's moments are twice its size
        if not best or not all(np.isfinite(array).all() for array in best):
            rate = self.parameters["learning_rate"]
            raise FreezeframeError(f"{self.name}: training diverged with a learning_rate of {rate}; choose a lower one")
        self._layers = best
        if not len(judged):
            epochs = self.parameters["epochs"]
            self.notes.append(f"{self.name} had no images to stop by, and was trained for all its {epochs} epochs")
        # Who collapsed shows it on any rows; most did not, and need not look at all training rows for that.
        if not len(judged) or _commonest(seen)[1] > COLLAPSED - 0.1:
            self._note_collapse(_commonest(self.scores_of(X)), y)

    def cross_validate(
        self, X: Matrix, y: NDArray[np.intp], n_classes: int, folds: Folds, candidates: Sequence[Parameters], seed: int
    ) -> Iterator[tuple[Parameters, NDArray[np.float64]]]:
        """As every head's, but each fold stops early by the rows it judges, as the head itself does by the first."""
        for candidate in candidates:
            scores = np.full((len(y), n_classes), np.nan)
            for fold in folds:
                head = type(self)(**{**self.parameters, **candidate})
                head.fit(X, y, n_classes, seed=seed, folds=[fold])
                scores[fold[1]] = head.scores_of(take(X, fold[1]))
            yield candidate, scores

    def scores(self, X: NDArray[Any]) -> NDArray[np.float64]:
        outputs = np.asarray(X, dtype=np.float32) / self._scale
        for number, (kernel, bias) in enumerate(zip(self._layers[::2], self._layers[1::2], strict=True)):
            outputs = (np.maximum(outputs, 0) if number else outputs) @ kernel + bias
        return two_columns(outputs)

    @property
    def arrays(self) -> Arrays:
        names = [f"{kind}_{number}" for number in range(len(self.units) + 1) for kind in ("kernel", "bias")]
        return dict(zip(names, self._layers, strict=True)) | {"scale": self._scale}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._layers = []
        for number in range(len(self.units) + 1):
            self._layers.append(checked_array(arrays, f"kernel_{number}", 2, np.float32))
            self._layers.append(checked_array(arrays, f"bias_{number}", 1, np.float32))
        self._scale = checked_array(arrays, "scale", 1, np.float32)
        kernels, biases = self._layers[::2], self._layers[1::2]
        widths = [kernel.shape[1] for kernel in kernels]
        if widths[:-1] != list(self.units) or widths[-1] == 2 or [len(bias) for bias in biases] != widths:
            raise ValueError(f"its layers have {widths} units")
        if [len(kernel) for kernel in kernels[1:]] != widths[:-1] or self._scale.shape != (1,) or self._scale[0] <= 0:
            raise ValueError("its layers do not fit together")

    def _epochs(self, X: Matrix, y: NDArray[np.intp], n_classes: int, seed: int) -> Iterator[Any]:
        """The network after each epoch.

        Every batch has one size, so that the network is compiled once; the rows left over differ from epoch to epoch.
        Few rows are cut into as many batches as many are, or an epoch would be but a step or two.
        """
        model = self._network(X.shape[1], n_classes, seed)
        targets = y[:, None].astype(np.float32 if n_classes == 2 else np.int32)
        size = max(1, min(self.parameters["batch_size"], len(y) // LEAST_BATCHES))
        rng = np.random.default_rng(seed)
        for _ in range(self.parameters["epochs"]):
            order = rng.permutation(len(y))
            for start in range(0, len(y) - size + 1, size):
                rows = np.sort(order[start : start + size])
                features = np.asarray(X[rows], dtype=np.float32)
                model.train_on_batch(features / self._scale, targets[rows])
            yield model

    def _network(self, n_features: int, n_classes: int, seed: int) -> Any:
        """An untrained network. Seeds are its own: the program's random numbers stay as they are."""
        keras = _import_keras(self.name)
        seeds = iter((np.random.SeedSequence(seed).generate_state(len(self.units) + 2) >> 1).tolist())  # PyTorch: int32
        layers = [keras.Input((n_features,), dtype="float32")]
        for number, width in enumerate((*self.units, 1 if n_classes == 2 else n_classes)):
            start = keras.initializers.HeUniform(seed=next(seeds))
            activation = "relu" if number < len(self.units) else None
            layers.append(keras.layers.Dense(width, activation, kernel_initializer=start, dtype="float32"))
            if number == 0 and self.parameters["dropout"]:
                layers.append(keras.layers.Dropout(self.parameters["dropout"], seed=next(seeds), dtype="float32"))
        losses = keras.losses
        kind = losses.BinaryCrossentropy if n_classes == 2 else losses.SparseCategoricalCrossentropy
        model = keras.Sequential(layers)
        # XLA takes seconds to compile what is trained in seconds; JAX knows nothing else.
        model.compile(
            optimizer=keras.optimizers.Adam(self.parameters["learning_rate"]),
            loss=kind(from_logits=True, dtype="float32"),
            jit_compile=keras.backend.backend() == "jax",
        )
        return model

    def _scores_by(self, model: Any, X: Matrix) -> NDArray[np.float64]:
        """`scores_of` while it is trained, by Keras, which may have a GPU."""
        blocks = (np.asarray(block, dtype=np.float32) for _, block in blocks_of(X))
        return two_columns(np.concatenate([model.predict_on_batch(block / self._scale) for block in blocks]))

    def _note_collapse(self, commonest: tuple[int, float], y: NDArray[np.intp]) -> None:
        number, predicted = commonest
        share = float(np.mean(y == number))
        if predicted >= COLLAPSED and predicted >= share + 0.1:
            self.notes.append(
                f"{self.name} collapsed: predicts one class for {predicted:.1%} of its training images, though only "
                f"{share:.1%} are of it; a lower learning_rate or scale=1 may help"
            )


class Dense128(_Dense):
    """One hidden layer of 128 units."""

    name = "dense-128"
    proper = True
    units = (128,)
    defaults: ClassVar[Parameters] = {
        "epochs": 15,
        "batch_size": 128,
        "learning_rate": 1e-4,
        "dropout": 0.0,
        "patience": 4,
        "scale": 1,
    }
    spaces: ClassVar = {"wide": {"learning_rate": [1e-5, 3e-5, 1e-4, 3e-4]}}


class Dense128x64x32(_Dense):
    """Hidden layers of 128, 64 and 32 units, with dropout behind the first."""

    name = "dense-128-64-32"
    proper = True
    units = (128, 64, 32)
    defaults: ClassVar[Parameters] = {**Dense128.defaults, "dropout": 0.3}
    spaces: ClassVar = {"wide": {"learning_rate": [3e-5, 1e-4, 3e-4], "dropout": [0.0, 0.3, 0.5]}}


def _log_loss(scores: NDArray[np.float64], y: NDArray[np.intp]) -> float:
    """Mean cross-entropy; not a number once training has diverged."""
    from scipy.special import log_softmax

    with np.errstate(all="ignore"):
        return -float(log_softmax(scores, axis=1)[np.arange(len(y)), y].mean())


def _commonest(scores: NDArray[np.float64]) -> tuple[int, float]:
    """The class that is predicted most often, and for which share of the rows."""
    shares = np.bincount(scores.argmax(axis=1)) / len(scores)
    return int(shares.argmax()), float(shares.max())


def _root_mean_square(X: Matrix) -> float:
    """Of all features of all rows; 1 if there is nothing but zeros."""
    squares = np.zeros(len(X))  # by row, so that the sum does not depend on how rows fall into blocks
    for rows, block in blocks_of(X):
        squares[rows] = np.einsum("ij,ij->i", block, block, dtype=np.float64)
    return float(np.sqrt(squares.mean() / X.shape[1])) or 1.0


def _import_keras(head: str) -> Any:
    from ...extract.keras_engine import import_keras

    try:
        return import_keras()
    except MissingExtraError:
        raise MissingExtraError("Keras with a backend", "cpu", f"the head {head}") from None
    except FreezeframeError:
        raise
    except Exception as error:  # a library that is there but cannot be loaded
        raise FreezeframeError(f"Keras cannot be loaded ({' '.join(str(error).split())[:120]})") from None
