"""The base class of heads that Keras trains: layers, a training, and fitted arrays."""

from __future__ import annotations

import gc
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ....errors import FreezeframeError, MissingExtraError
from ...matrix import Folds, Matrix, blocks_of, take, two_columns
from ..base import COLLAPSED, Head, Parameters
from .context import TrainingContext
from .layers import Layers, Shape, build
from .training import Training, TrainingResult

COLLAPSED_SHARE = 0.97
"""A head may have collapsed if it predicts one class for this share of the training rows or more.

It has collapsed if the true share of that class is smaller by at least 0.1.
"""

MAX_FORWARD_ROWS = 1024
"""Most rows in a forward pass of a dense network."""


class Network(Head):
    """A network that is trained by Adam (arXiv:1412.6980) on cross-entropy.

    Layers have He's start (arXiv:1502.01852). The outputs have `outputs_start`, by default that of
    Keras (Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", 2010). Two classes share one output, more classes have one each. Features are read
    batch by batch. Training stops early by the rows that the first fold judges, and the weights of
    the best epoch are kept.

    Hyper-parameters:
        epochs: most epochs.
        batch_size: most images in a batch.
        learning_rate: learning rate of Adam.
        patience: epochs without a lower loss after which training stops.
        keep: "best" or "last". With "last", the network trains for all epochs, whatever the loss,
            and keeps the last weights.
        class_weights: 1 if images of a rare class count more, so that all classes count alike.
        precision: type of the computation. Weights are float32 with "bfloat16" and "float16", too
            (arXiv:1710.03740).

    Args:
        context: shape of the features, first weights, checkpoints and callbacks.
        parameters: hyper-parameters that differ from `defaults`.

    Attributes:
        outputs_start: start of the outputs' kernel, one of Keras's initializers.
        remedy: advice to a user whose network collapsed.
        n_features: number of features of a row; set by `fit`.
        start_digest: digest of the weights that training starts with, if they are not drawn.
    """

    proper = True
    draws = True
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        "epochs": (1, 10_000),
        "batch_size": (1, 100_000),
        "learning_rate": (1e-12, 1e3),
        "patience": (1, 10_000),
        "class_weights": (0, 1),
    }
    choices: ClassVar[Mapping[str, Sequence[str]]] = {
        "keep": ("best", "last"),
        "precision": ("float32", "bfloat16", "float16"),
    }
    defaults: ClassVar[Parameters] = {
        "epochs": 10,
        "batch_size": 32,
        "learning_rate": 1e-3,
        "patience": 3,
        "keep": "best",
        "class_weights": 0,
        "precision": "float32",
    }
    outputs_start: ClassVar[str] = "GlorotUniform"
    remedy: ClassVar[str] = "a lower learning_rate"
    n_features: int
    start_digest = ""

    def __init__(self, *, context: TrainingContext | None = None, **parameters: Any) -> None:
        super().__init__(**parameters)
        self.context = context or TrainingContext()

    @abstractmethod
    def hidden_layers(self) -> Layers:
        """Return all layers but the outputs."""

    @abstractmethod
    def input_shape(self, n_features: int) -> Shape:
        """Return the shape of one image's input to the first layer."""

    @abstractmethod
    def inputs(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the inputs of the first layer.

        Args:
            features: of shape (n_rows, n_features).

        Returns:
            Inputs of shape (n_rows, *input_shape).
        """

    @abstractmethod
    def set_weights(self, weights: list[NDArray[np.float32]]) -> None:
        """Take the fitted weights: kernel and bias of one layer after the other."""

    @abstractmethod
    def gradient(
        self, X: NDArray[Any], direction: NDArray[np.float64]
    ) -> NDArray[np.floating[Any]]:
        """Return the gradient of a sum of scores by the features.

        Args:
            X: features of shape (n_rows, n_features).
            direction: weight of each class's score in the sum, of shape (n_classes,).

        Returns:
            The gradient of `scores(X) @ direction`, of shape (n_rows, n_features).
        """

    def mean_gradient(
        self, ends: NDArray[np.float32], n_steps: int, direction: NDArray[np.float64]
    ) -> NDArray[np.floating[Any]]:
        """Return the mean of the gradient at points spread evenly between two images.

        Args:
            ends: features of both images, of shape (2, n_features).
            n_steps: number of points.
            direction: as for `gradient`.

        Returns:
            An array of shape (n_features,).
        """
        way = ends[0] + way_shares(n_steps) * (ends[1] - ends[0])
        return np.asarray(self.gradient(way, direction).mean(axis=0))

    def prepare(self, X: Matrix) -> None:
        """Look at the rows to train on before the first epoch."""

    def training_inputs(
        self, features: NDArray[np.float32], draws: Sequence[tuple[int, int, int]]
    ) -> NDArray[np.float32]:
        """Return the inputs of training images, which may be changed at random.

        Args:
            features: of shape (n_rows, n_features).
            draws: (seed, epoch, row) of each image, which alone decide its random changes.

        Returns:
            Inputs of shape (n_rows, *input_shape).
        """
        return self.inputs(features)

    def set_first_weights(self, model: Any) -> None:
        """Set the weights of a new Keras model that are not drawn."""

    def like(self, parameters: Parameters) -> Self:
        return type(self)(context=self.context, **{**self.parameters, **parameters})

    def fit(
        self, X: Matrix, y: NDArray[np.intp], n_classes: int, *, seed: int = 0, folds: Folds = ()
    ) -> None:
        # Without folds, all rows are trained on and none is judged.
        fitted, judged = folds[0] if folds else (np.arange(len(y)), np.arange(0))
        self.prepare(take(X, fitted))
        self.n_features = int(X.shape[1])
        training = Training(self, X, y, n_classes, seed, fitted, judged)
        result = training.run()
        # A Keras model refers to itself, and Adam's moments are twice its size.
        del training
        gc.collect()
        self._check_divergence(result)
        self.record.history = result.history
        self.set_weights(result.weights)
        if not len(judged):
            self.notes.append(
                f"{self.name} had no images to stop early by; "
                f"it was trained for all its {self.parameters['epochs']} epochs"
            )
        # A collapsed head shows on any rows. Most heads did not collapse, so that the judged rows
        # save a pass over all training rows.
        if not len(judged) or _commonest_class(result.scores)[1] > COLLAPSED_SHARE - 0.1:
            self._note_collapse(self.scores_of(X), y)

    def _check_divergence(self, result: TrainingResult) -> None:
        """Raise FreezeframeError if no epoch has usable weights; note a later divergence."""
        if not result.weights or not all(np.isfinite(array).all() for array in result.weights):
            rate = self.parameters["learning_rate"]
            raise FreezeframeError(
                f"{self.name}: training diverged with a learning_rate of {rate}; choose a lower one"
            )
        if result.diverged:
            self.notes.append(
                f"{self.name} diverged in epoch {len(result.history)}; "
                "its weights are those of the best epoch before"
            )

    def _note_collapse(self, scores: NDArray[np.float64], y: NDArray[np.intp]) -> None:
        """Note if one class is predicted for nearly all rows, far more often than it occurs."""
        number, predicted = _commonest_class(scores)
        share = float(np.mean(y == number))
        if predicted >= COLLAPSED_SHARE and predicted >= share + 0.1:
            note = (
                f"{self.name} collapsed: predicts one class for {predicted:.1%} of its training "
                f"images, though only {share:.1%} belong to it; {self.remedy} may help"
            )
            self.notes.append(note)
            self.record.codes[note] = COLLAPSED

    def cross_validate(
        self,
        X: Matrix,
        y: NDArray[np.intp],
        n_classes: int,
        folds: Folds,
        candidates: Sequence[Parameters],
        seed: int,
    ) -> Iterator[tuple[Parameters, NDArray[np.float64]]]:
        """Score candidates as `Head.cross_validate` does, with early stopping in each fold.

        Each fold stops by the rows that it scores, as `fit` stops by the first fold.
        """
        for candidate in candidates:
            scores = np.full((len(y), n_classes), np.nan)
            for fold in folds:
                head = self.like(candidate)
                # All rows of X: the fold says which of them are trained on.
                head.fit(X, y, n_classes, seed=seed, folds=[fold])
                self.record.earlier_seconds += head.record.earlier_seconds
                _, judged = fold
                scores[judged] = head.scores_of(take(X, judged))
            yield candidate, scores

    def compiled_model(self, n_classes: int, seed: int) -> Any:
        """Return an untrained Keras model, ready for training."""
        keras = import_keras(self.name)
        n_outputs = 1 if n_classes == 2 else n_classes
        model = self.new_model(keras, self.input_shape(self.n_features), n_outputs, seed)
        self.set_first_weights(model)
        if n_classes == 2:
            loss = keras.losses.BinaryCrossentropy(from_logits=True, dtype="float32")
        else:
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, dtype="float32")
        optimizer = keras.optimizers.Adam(self.parameters["learning_rate"])
        if self.parameters["precision"] == "float16":
            # Small gradients would be zeros in float16.
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        # XLA takes seconds to compile a network that is trained in seconds; JAX requires it.
        model.compile(optimizer=optimizer, loss=loss, jit_compile=keras.backend.backend() == "jax")
        # TensorFlow would trace a first batch that creates the moments twice.
        optimizer.build(model.trainable_variables)
        return model

    def new_model(self, keras: Any, shape: Shape, n_outputs: int, seed: int) -> Any:
        """Return the Keras model of its layers.

        The model has seeds of its own. The program's random numbers stay unchanged.
        """
        layers = self.hidden_layers()
        # Shifted to 31 bits, since PyTorch takes int32 seeds.
        seeds = np.random.SeedSequence(seed).generate_state(2 * len(layers) + 1) >> 1
        precision = self.parameters["precision"]
        return build(
            keras, layers, shape, n_outputs, self.outputs_start, iter(seeds.tolist()), precision
        )

    def model_scores(self, model: Any, X: Matrix) -> NDArray[np.float64]:
        """Return the scores that a Keras model computes, of shape (n_rows, n_classes).

        Unlike `scores_of`, it may use a GPU. Every forward pass has one size, so that Keras
        compiles the model once.
        """
        # An empty block, so that no rows give no scores.
        outputs = [np.empty((0, *model.output_shape[1:]), np.float32)]
        for _, block in blocks_of(X):
            size = self.rows_at_once(len(block))
            for start in range(0, len(block), size):
                inputs = self.inputs(np.asarray(block[start : start + size], dtype=np.float32))
                # (n, *input_shape) -> (size, *input_shape), the rest zeros
                padded = np.zeros((size, *inputs.shape[1:]), np.float32)
                padded[: len(inputs)] = inputs
                outputs.append(np.asarray(model.predict_on_batch(padded))[: len(inputs)])
        return two_columns(np.concatenate(outputs))

    def rows_at_once(self, n_rows: int) -> int:
        """Return the number of rows in a forward pass, for a block of `n_rows`."""
        return max(1, min(n_rows, MAX_FORWARD_ROWS))


def way_shares(n_steps: int) -> NDArray[np.float32]:
    """Return the middles of equal steps from 0 to 1, of shape (n_steps, 1)."""
    # (n_steps,) -> (n_steps, 1)
    return np.asarray((np.arange(n_steps) + 0.5) / n_steps, np.float32)[:, np.newaxis]


def _commonest_class(scores: NDArray[np.float64]) -> tuple[int, float]:
    """Return the class that is predicted most often, and the share of the rows predicted so."""
    shares = np.bincount(scores.argmax(axis=1)) / len(scores)
    return int(shares.argmax()), float(shares.max())


def import_keras(head: str) -> Any:
    """Import Keras for a head.

    Args:
        head: name of the head, for the message.

    Raises:
        MissingExtraError: Keras is not installed.
        FreezeframeError: Keras is installed but cannot be loaded.
    """
    from ....extract.engines.keras import import_keras

    try:
        return import_keras()
    except MissingExtraError:
        raise MissingExtraError("Keras with a backend", "cpu", f"the head {head}") from None
    except FreezeframeError:
        raise
    except Exception as error:
        # A backend that cannot be loaded may raise anything.
        reason = " ".join(str(error).split())[:120]
        raise FreezeframeError(f"Keras cannot be loaded ({reason}); install it again") from None
