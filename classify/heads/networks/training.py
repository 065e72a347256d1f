"""Training a network: batch by batch, stopped early, gone on with after a kill, the same each time."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from ....data.version import VERSION
from ....errors import FreezeframeError
from ....extract.signals import stop_on_signals
from ....features.rows import FeatureRows
from ...matrix import Matrix, take
from ..base import TrainingRecord
from .checkpoints import Checkpoint, State
from .context import TrainingContext

LEAST_BATCHES = 10
"""In an epoch, if there are so many rows."""

TOLD_EVERY = 0.5
"""Seconds between two words of how far it is."""

WORTH_KEEPING = 10.0
"""Seconds of training that are kept when it is asked to stop."""


class Trainable(Protocol):
    """What a training needs of a network; see `Network`.

    Attributes:
        start_digest: of the weights it starts with, where these are not drawn.
        record: its `earlier_seconds` are those before it was interrupted.
    """

    name: ClassVar[str]
    parameters: dict[str, Any]
    context: TrainingContext
    record: TrainingRecord
    start_digest: str

    def compiled(self, n_classes: int, seed: int) -> Any:
        """An untrained Keras model, ready to be trained."""

    def training_inputs(
        self, features: NDArray[np.float32], draws: Sequence[tuple[int, int, int]]
    ) -> NDArray[np.float32]:
        """What goes into the model, of images that are trained on."""

    def scores_by(self, model: Any, X: Matrix) -> NDArray[np.float64]:
        """Scores of each class, of shape (n_rows, n_classes)."""


@dataclass(frozen=True)
class Trained:
    """What a training came to.

    Attributes:
        weights: of the best epoch by the judged rows, or of the last; none if it diverged.
        diverged: whether it ended in losses that are no numbers.
        scores: of the judged rows at that epoch, of shape (n_judged, n_classes).
        history: see `Head.history`.
    """

    weights: list[NDArray[Any]]
    scores: NDArray[np.float64]
    history: list[dict[str, float]]
    diverged: bool


class Training:
    """One training of one network.

    Args:
        network: the head, whose parameters say how.
        X: features of all rows.
        y: their class numbers.
        n_classes: number of classes.
        seed: of everything that is drawn.
        fitted, judged: numbers of the rows to train on, and of those to stop by.
    """

    def __init__(
        self,
        network: Trainable,
        X: Matrix,
        y: NDArray[np.intp],
        n_classes: int,
        seed: int,
        fitted: NDArray[np.intp],
        judged: NDArray[np.intp],
    ) -> None:
        self.network, self.n_classes, self.seed = network, n_classes, seed
        self.X, self.y = take(X, fitted), y[fitted]
        self.judged, self.judged_y = take(X, judged), y[judged]
        # Every batch has one size, so that the network is compiled once; the rows left over differ
        # from epoch to epoch. Few rows are cut into as many batches as many are, or an epoch would
        # be but a step or two.
        self.size = max(1, min(network.parameters["batch_size"], len(fitted) // LEAST_BATCHES))
        self.model = network.compiled(n_classes, seed)
        self.by_loss = bool(len(judged)) and network.parameters["keep"] == "best"
        self.state = State()
        self.scores = np.empty((0, n_classes))
        self._said = self._begun = 0.0

    def run(self) -> Trained:
        """Train until all epochs are done, or none was better for `patience` epochs.

        Raises:
            KeyboardInterrupt: it was asked to stop; where it stood is kept.
            FreezeframeError: another process is at the same training.
        """
        context = self.network.context
        with (
            Checkpoint(context.checkpoints, self._decides) as checkpoint,
            stop_on_signals() as stop,
        ):
            self._restore(checkpoint)
            written = self._begun = time.monotonic()
            for _ in self._steps():
                waited = time.monotonic() - written
                if waited >= (
                    min(context.checkpoint_seconds, WORTH_KEEPING)
                    if stop()
                    else context.checkpoint_seconds
                ):
                    self._keep(checkpoint)
                    written = time.monotonic()
                if stop():
                    self._log("stopped; the same command goes on" if checkpoint.used else "stopped")
                    raise KeyboardInterrupt
            if checkpoint.used:
                self._keep(
                    checkpoint
                )  # it may have taken hours, and its outcome is not kept elsewhere yet
            if stop():
                raise KeyboardInterrupt
        if not len(self.scores) and len(self.judged_y) and self.state.best:
            self.model.set_weights(self.state.best)
            self.scores = self.network.scores_by(self.model, self.judged)
        diverged = any(not np.isfinite(epoch["loss"]) for epoch in self.state.history)
        return Trained(self.state.best, self.scores, self.state.history, diverged)

    def _steps(self) -> Iterator[None]:
        """Train, one batch or one epoch's end at a time."""
        state, epochs = self.state, self.network.parameters["epochs"]
        rng = np.random.default_rng(self.seed)
        for _ in range(state.epoch):
            rng.permutation(len(self.y))  # drawn before it was interrupted
        while state.epoch < epochs and not state.finished:
            start = time.perf_counter()  # of waiting for a batch, too
            for batch in self._batches(rng.permutation(len(self.y))):
                self.model.reset_metrics()
                state.loss += float(self.model.train_on_batch(*batch))
                state.seconds += time.perf_counter() - start
                state.step += 1
                self._tell()
                yield
                start = time.perf_counter()
            self._end_epoch()
            yield

    def _batches(self, order: NDArray[np.intp]) -> Iterator[tuple[Any, ...]]:
        """Features, targets and weights of the batches that are left in this epoch; the next is read meanwhile."""
        network, state = self.network, self.state
        targets = self.y[:, None].astype(np.float32 if self.n_classes == 2 else np.int32)
        shares = len(self.y) / (
            np.maximum(np.bincount(self.y, minlength=self.n_classes), 1) * self.n_classes
        )
        weights = shares[self.y].astype(np.float32) if network.parameters["class_weights"] else None

        def read(start: int) -> tuple[Any, ...]:
            rows = np.sort(order[start : start + self.size])
            features = np.asarray(self.X[rows], dtype=np.float32)
            batch = network.training_inputs(
                features, [(self.seed, state.epoch, int(row)) for row in rows]
            )
            return (
                (batch, targets[rows]) if weights is None else (batch, targets[rows], weights[rows])
            )

        starts = range(0, len(self.y) - self.size + 1, self.size)[state.step :]
        yield from _ahead(read, starts)

    def _end_epoch(self) -> None:
        """Judge the epoch, note it, and stop if nothing got better."""
        network, state, n_judged = self.network, self.state, len(self.judged_y)
        scores = network.scores_by(self.model, self.judged) if n_judged else self.scores
        judged_loss = log_loss(scores, self.judged_y) if n_judged else float("nan")
        loss = judged_loss if self.by_loss else -float(state.epoch)
        diverged = not np.isfinite(state.loss)
        if loss < state.least and not diverged:
            # Copies, for PyTorch's arrays go on changing.
            state.best = [np.array(array) for array in self.model.get_weights()]
            state.least, state.waited, self.scores = loss, 0, scores
        else:
            state.waited += 1
        if diverged and not self.by_loss:
            state.best = []
        right = scores.argmax(axis=1) == self.judged_y
        state.history.append(
            {
                "epoch": state.epoch + 1,
                "loss": state.loss / max(1, state.step),
                "validation_loss": judged_loss,
                "validation_accuracy": float(right.mean()) if n_judged else float("nan"),
                "seconds": state.seconds,
                "images_per_second": state.step * self.size / max(state.seconds, 1e-9),
            }
        )
        state.epoch, state.step, state.loss, state.seconds = state.epoch + 1, 0, 0.0, 0.0
        state.finished = diverged or state.waited >= network.parameters["patience"]
        state.finished |= state.epoch >= network.parameters["epochs"]
        self._tell_epoch()

    def _restore(self, checkpoint: Checkpoint) -> None:
        """Go on where an interrupted training stood."""
        try:
            state = checkpoint.read()
        except OSError as error:
            self._log(
                f"{checkpoint.path} cannot be read ({error.strerror or error}); the training begins anew"
            )
            return
        if state is None:
            if checkpoint.used:
                self._log(f"{checkpoint.path} is damaged; the training begins anew")
            return
        self.model.optimizer.build(self.model.trainable_variables)
        variables = _variables(self.model)
        if [array.shape for array in state.variables] != [
            tuple(variable.shape) for variable in variables
        ]:
            self._log(f"{checkpoint.path} is of another network; the training begins anew")
            return
        for variable, array in zip(variables, state.variables, strict=True):
            variable.assign(array)
        state.variables = []  # two or three times the network
        self.state = state
        self.network.record.earlier_seconds = state.wall
        self.network.context.on_checkpoint(checkpoint.path)
        self._log(f"goes on after {state.epoch} epochs and {state.step} batches")

    def _keep(self, checkpoint: Checkpoint) -> None:
        if self.network.context.checkpoints is None:
            return
        self.state.wall = self.network.record.earlier_seconds + time.monotonic() - self._begun
        self.state.variables = [np.array(variable.numpy()) for variable in _variables(self.model)]
        try:
            checkpoint.write(self.state)
        except (OSError, FreezeframeError) as error:  # hours of training must not be lost for it
            reason = getattr(error, "strerror", None) or str(error)
            self._log(f"{checkpoint.path} cannot be written ({reason}); the training goes on")
        self.state.variables = []
        self.network.context.on_checkpoint(checkpoint.path)

    def _decides(self) -> str:
        """All that decides the outcome, as a text: what is trained, on what, by what."""
        import keras

        rows = [_content(X) for X in (self.X, self.judged)]
        classes = [array.tobytes().hex() for array in (self.y, self.judged_y)]
        network = self.network
        made = [network.name, network.parameters, network.start_digest]
        backend = keras.backend.backend()
        made += [VERSION, keras.__version__, backend, import_module(backend).__version__]
        return json.dumps([made, self.n_classes, self.seed, rows, classes])

    def _tell(self) -> None:
        """Say now and then how far the epoch is."""
        state = self.state
        if time.monotonic() - self._said < TOLD_EVERY:
            return
        self._said = time.monotonic()
        steps = max(1, len(self.y) // self.size)
        rate = state.step * self.size / state.seconds if state.seconds else 0.0
        left = (steps - state.step) * self.size / rate if rate else 0.0
        self.network.context.status(
            f"epoch {state.epoch + 1} of {self.network.parameters['epochs']}, {state.step / steps:.0%}, "
            f"{rate:.1f} images/s, {left:.0f} s left in it, loss {state.loss / max(1, state.step):.4f}"
        )

    def _log(self, text: str) -> None:
        self.network.context.log(f"{self.network.name}: {text}")

    def _tell_epoch(self) -> None:
        row, state = self.state.history[-1], self.state
        judged = ""
        if len(self.judged_y):
            best = ", the best so far" if self.by_loss and not state.waited else ""
            judged = f", validation loss {row['validation_loss']:.4f}, accuracy {row['validation_accuracy']:.1%}{best}"
        self._log(
            f"epoch {state.epoch} of {self.network.parameters['epochs']}: "
            f"loss {row['loss']:.4f}{judged}; {row['seconds']:.1f} s, {row['images_per_second']:.1f} images/s"
        )


def log_loss(scores: NDArray[np.float64], y: NDArray[np.intp]) -> float:
    """Mean cross-entropy; not a number once training has diverged."""
    from scipy.special import log_softmax

    with np.errstate(all="ignore"):
        return -float(log_softmax(scores, axis=1)[np.arange(len(y)), y].mean())


def _variables(model: Any) -> list[Any]:
    """Everything that training changes: weights, random states, and the optimizer's moments."""
    return [*model.variables, *model.optimizer.variables]


def _content(X: Matrix) -> str:
    """What tells features from others."""
    digest = hashlib.sha256()
    if isinstance(X, FeatureRows):
        digest.update(f"{X.layer} {X.pooling}\n".encode())
        digest.update("".join(X.checksums()).encode())
    else:
        digest.update(np.ascontiguousarray(X).tobytes())
    return digest.hexdigest()


def _ahead(read: Callable[[int], Any], items: Sequence[int]) -> Iterator[Any]:
    """What is read of each item, in order, by a thread that is one item ahead."""
    with ThreadPoolExecutor(1) as pool:
        coming = None
        for item in items:
            following = pool.submit(read, item)
            if coming is not None:
                yield coming.result()
            coming = following
        if coming is not None:
            yield coming.result()
