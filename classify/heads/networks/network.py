"""What every head is that Keras trains: a table of layers, a training, and what was learnt as arrays."""

from __future__ import annotations

import gc
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ....errors import FreezeframeError, MissingExtraError
from ...matrix import Folds, Matrix, blocks_of, take, two_columns
from ..base import Head, Parameters
from .context import TrainingContext
from .layers import Layers, Shape, build
from .training import Training

COLLAPSED = 0.97
"""A head that predicts one class for this share of its training rows, and 0.1 fewer are of it, has learnt nothing."""

MOST_ROWS = 1024
"""In a forward pass of a dense network."""


class Network(Head):
    """A network that is trained by Adam (arXiv:1412.6980) on cross-entropy.

    Layers start as He has it (arXiv:1502.01852), the outputs as `outputs_start` says: Keras's own
    start (Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", 2010) if not otherwise asked. Two classes share one output, more have one each.
    Features are read batch by batch. Training stops early on the rows that the first fold judges
    by, and the weights of the best epoch are kept.

    Parameters are `epochs` and `batch_size` (both at most), `learning_rate`, `patience` (epochs
    without a better loss before it stops), `keep` ("last": it is trained for all its epochs,
    whatever the loss, and the last weights are kept), `class_weights` (1: images of a rare class
    count more, so that each class counts alike) and `precision` ("bfloat16", "float16": it computes
    in that, and keeps float32 weights, arXiv:1710.03740).
    """

    proper = True
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
    cure: ClassVar[str] = ""
    start_digest = ""

    def __init__(self, *, context: TrainingContext | None = None, **parameters: Any) -> None:
        super().__init__(**parameters)
        self.context = context or TrainingContext()

    def like(self, parameters: Parameters) -> Self:
        return type(self)(context=self.context, **{**self.parameters, **parameters})

    @abstractmethod
    def table(self) -> Layers:
        """Its layers, all but the outputs."""

    @abstractmethod
    def input_shape(self, n_features: int) -> Shape:
        """Of what goes into its first layer, for one image."""

    @abstractmethod
    def inputs(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """What goes into its first layer, (n_rows, *input_shape), of features of shape (n_rows, n_features)."""

    @abstractmethod
    def take_over(self, weights: list[NDArray[np.float32]]) -> None:
        """Keep what was learnt: kernel and bias of one layer after the other."""

    def begin(self, X: Matrix) -> None:
        """Look at the rows that are to be trained on before the first epoch."""

    def training_inputs(
        self, features: NDArray[np.float32], draws: Sequence[tuple[int, int, int]]
    ) -> NDArray[np.float32]:
        """As `inputs`, of images that are trained on.

        Args:
            draws: (seed, epoch, row) of each: what is drawn for it depends on them alone.
        """
        return self.inputs(features)

    def start(self, model: Any) -> None:
        """Give layers of a new Keras model the weights that they start with."""

    def fit(
        self, X: Matrix, y: NDArray[np.intp], n_classes: int, *, seed: int = 0, folds: Folds = ()
    ) -> None:
        fitted, judged = folds[0] if folds else (np.arange(len(y)), np.arange(0))
        self.begin(take(X, fitted))
        self.n_features = int(X.shape[1])
        training = Training(self, X, y, n_classes, seed, fitted, judged)
        trained = training.run()
        del training
        gc.collect()  # a network of Keras refers to itself, and Adam's moments are twice its size
        if not trained.weights or not all(np.isfinite(array).all() for array in trained.weights):
            rate = self.parameters["learning_rate"]
            raise FreezeframeError(
                f"{self.name}: training diverged with a learning_rate of {rate}; choose a lower one"
            )
        if trained.diverged:
            self.notes.append(
                f"{self.name} diverged in epoch {len(trained.history)}, and is what it was before that"
            )
        self.record.history = trained.history
        self.take_over(trained.weights)
        if not len(judged):
            epochs = self.parameters["epochs"]
            self.notes.append(
                f"{self.name} had no images to stop by, and was trained for all its {epochs} epochs"
            )
        # Who collapsed shows it on any rows; most did not, and need not look at all training rows
        # for that.
        if not len(judged) or _commonest(trained.scores)[1] > COLLAPSED - 0.1:
            self._note_collapse(_commonest(self.scores_of(X)), y)

    def cross_validate(
        self,
        X: Matrix,
        y: NDArray[np.intp],
        n_classes: int,
        folds: Folds,
        candidates: Sequence[Parameters],
        seed: int,
    ) -> Iterator[tuple[Parameters, NDArray[np.float64]]]:
        """As every head's, but each fold stops early by the rows it judges, as the head itself does by the first."""
        for candidate in candidates:
            scores = np.full((len(y), n_classes), np.nan)
            for fold in folds:
                head = self.like(candidate)
                head.fit(X, y, n_classes, seed=seed, folds=[fold])
                self.record.earlier_seconds += head.record.earlier_seconds
                scores[fold[1]] = head.scores_of(take(X, fold[1]))
            yield candidate, scores

    def compiled(self, n_classes: int, seed: int) -> Any:
        """An untrained network, ready to be trained."""
        keras = import_keras(self.name)
        n_outputs = 1 if n_classes == 2 else n_classes
        model = self.built(keras, self.input_shape(self.n_features), n_outputs, seed)
        self.start(model)
        losses = keras.losses
        kind = losses.BinaryCrossentropy if n_classes == 2 else losses.SparseCategoricalCrossentropy
        adam = keras.optimizers.Adam(self.parameters["learning_rate"])
        scaled = self.parameters["precision"] == "float16"  # whose small gradients would be zeros
        # XLA takes seconds to compile what is trained in seconds; JAX knows nothing else.
        model.compile(
            optimizer=keras.optimizers.LossScaleOptimizer(adam) if scaled else adam,
            loss=kind(from_logits=True, dtype="float32"),
            jit_compile=keras.backend.backend() == "jax",
        )
        return model

    def built(self, keras: Any, shape: Shape, n_outputs: int, seed: int) -> Any:
        """The Keras model of its table. Seeds are its own: the program's random numbers stay as they are."""
        table = self.table()
        drawn = (
            np.random.SeedSequence(seed).generate_state(2 * len(table) + 1) >> 1
        )  # PyTorch wants int32
        seeds, precision = iter(drawn.tolist()), self.parameters["precision"]
        return build(keras, table, shape, n_outputs, self.outputs_start, seeds, precision)

    def scores_by(self, model: Any, X: Matrix) -> NDArray[np.float64]:
        """`scores_of` by a Keras model, which may have a GPU; every forward pass has one size."""
        outputs = [np.empty((0, *model.output_shape[1:]), np.float32)]
        for _, block in blocks_of(X):
            size = self.forward_size(len(block))
            for start in range(0, len(block), size):
                inputs = self.inputs(np.asarray(block[start : start + size], dtype=np.float32))
                padded = np.zeros((size, *inputs.shape[1:]), np.float32)
                padded[: len(inputs)] = inputs
                outputs.append(np.asarray(model.predict_on_batch(padded))[: len(inputs)])
        return two_columns(np.concatenate(outputs))

    def forward_size(self, n_rows: int) -> int:
        """How many rows of a block of n go through the network at once."""
        return max(1, min(n_rows, MOST_ROWS))

    def _note_collapse(self, commonest: tuple[int, float], y: NDArray[np.intp]) -> None:
        number, predicted = commonest
        share = float(np.mean(y == number))
        if predicted >= COLLAPSED and predicted >= share + 0.1:
            self.notes.append(
                f"{self.name} collapsed: predicts one class for {predicted:.1%} of its training images, though only "
                f"{share:.1%} are of it; a lower learning_rate{self.cure} may help"
            )


def _commonest(scores: NDArray[np.float64]) -> tuple[int, float]:
    """The class that is predicted most often, and for which share of the rows."""
    shares = np.bincount(scores.argmax(axis=1)) / len(scores)
    return int(shares.argmax()), float(shares.max())


def import_keras(head: str) -> Any:
    """Keras, for one of the heads.

    Raises:
        MissingExtraError: it is not installed.
        FreezeframeError: it is, but cannot be loaded.
    """
    from ....extract.engines.keras import import_keras

    try:
        return import_keras()
    except MissingExtraError:
        raise MissingExtraError("Keras with a backend", "cpu", f"the head {head}") from None
    except FreezeframeError:
        raise
    except Exception as error:  # a library that is there but cannot be loaded
        raise FreezeframeError(
            f"Keras cannot be loaded ({' '.join(str(error).split())[:120]})"
        ) from None
