"""The training of a network, with early stopping and checkpoints that survive a kill."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from ....errors import FreezeframeError
from ....extract.signals import stop_on_signals
from ...matrix import Matrix, take
from ..base import TrainingRecord
from .batches import Batches
from .checkpoints import Checkpoint, TrainingState
from .context import TrainingContext
from .epochs import epoch_line, history_row, log_loss, status_line, validation_accuracy
from .identity import training_identity

STATUS_SECONDS = 0.5
"""Seconds between two status lines."""

MIN_SECONDS_WORTH_SAVING = 10.0
"""Least seconds of training that are saved when the user stops it."""


class Trainable(Protocol):
    """The part of a network that a training uses; see `Network`.

    Attributes:
        record: its `earlier_seconds` are set when a training continues.
        start_digest: digest of the weights that training starts with, if they are not drawn.
    """

    name: ClassVar[str]
    parameters: dict[str, Any]
    context: TrainingContext
    record: TrainingRecord
    start_digest: str

    def compiled_model(self, n_classes: int, seed: int) -> Any:
        """Return an untrained Keras model, ready for training."""

    def training_inputs(
        self, features: NDArray[np.float32], draws: Sequence[tuple[int, int, int]]
    ) -> NDArray[np.float32]:
        """Return the inputs of training images."""

    def model_scores(self, model: Any, X: Matrix) -> NDArray[np.float64]:
        """Return the scores of a Keras model, of shape (n_rows, n_classes)."""


@dataclass(frozen=True)
class TrainingResult:
    """The result of a training.

    Attributes:
        weights: weights of the best epoch by the judged rows, or of the last epoch; empty if the
            training diverged.
        scores: scores of the judged rows at that epoch, of shape (n_judged, n_classes).
        history: a row for each epoch; see `TrainingRecord.history`.
        diverged: True if the training ended in losses that are not finite.
    """

    weights: list[NDArray[Any]]
    scores: NDArray[np.float64]
    history: list[dict[str, float]]
    diverged: bool


class Training:
    """One training of one network.

    Args:
        network: the head to train, with its parameters and its context.
        X: features of all rows.
        y: class numbers of all rows.
        n_classes: number of classes.
        seed: seed of everything that is drawn.
        fitted: numbers of the rows to train on.
        judged: numbers of the rows to stop early by.
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
        self.network = network
        self.n_classes = n_classes
        self.seed = seed
        self.X = take(X, fitted)
        self.y = y[fitted]
        self.judged = take(X, judged)
        self.judged_y = y[judged]
        inputs = network.training_inputs
        self.batches = Batches(inputs, network.parameters, self.X, self.y, n_classes, seed)
        self.model = network.compiled_model(n_classes, seed)
        self.by_loss = bool(len(judged)) and network.parameters["keep"] == "best"
        self.state = TrainingState()
        self.scores = np.empty((0, n_classes))
        self._last_status = 0.0
        self._start = 0.0

    def run(self) -> TrainingResult:
        """Train until all epochs are done, or no epoch was better for `patience` epochs.

        Raises:
            KeyboardInterrupt: the user stopped the training; its state is saved if it took long.
            FreezeframeError: another process runs the same training.
        """
        context = self.network.context
        with (
            Checkpoint(context.checkpoints, self._identity) as checkpoint,
            stop_on_signals() as stop,
        ):
            self._restore(checkpoint)
            self._start = time.monotonic()
            saved = self._start
            for _ in self._steps():
                interval = context.checkpoint_seconds
                # Asked to stop, the training saves what would take long to repeat.
                if stop():
                    interval = min(interval, MIN_SECONDS_WORTH_SAVING)
                if time.monotonic() - saved >= interval:
                    self._save(checkpoint)
                    saved = time.monotonic()
                if stop():
                    advice = "; run the same command again to continue" if checkpoint.used else ""
                    self._log(f"stopped{advice}")
                    raise KeyboardInterrupt
            # The training may have taken hours, and its result is not saved elsewhere yet.
            if checkpoint.used:
                self._save(checkpoint)
            if stop():
                raise KeyboardInterrupt
        return self._result()

    def _result(self) -> TrainingResult:
        # A training that continued after its best epoch has no scores of that epoch.
        if not len(self.scores) and len(self.judged_y) and self.state.best:
            self.model.set_weights(self.state.best)
            self.scores = self.network.model_scores(self.model, self.judged)
        diverged = any(not np.isfinite(epoch["loss"]) for epoch in self.state.history)
        return TrainingResult(self.state.best, self.scores, self.state.history, diverged)

    def _steps(self) -> Iterator[None]:
        """Train; yield after each batch and after each end of an epoch."""
        state = self.state
        for _ in range(state.epoch):
            self.batches.skip_epoch()
        while state.epoch < self.network.parameters["epochs"] and not state.finished:
            # The clock starts before the batch is read: waiting for data counts, too.
            start = time.perf_counter()
            for batch in self._batches():
                self.model.reset_metrics()
                state.loss += float(self.model.train_on_batch(*batch))
                state.seconds += time.perf_counter() - start
                state.step += 1
                self._report_status()
                yield
                start = time.perf_counter()
            self._end_epoch()
            yield

    def _batches(self) -> Iterator[tuple[Any, ...]]:
        """Yield the remaining batches of this epoch."""
        return self.batches.epoch(self.state.epoch, self.state.step)

    def _end_epoch(self) -> None:
        """Judge the epoch, add it to the history, and stop if the loss did not improve."""
        state = self.state
        scores = self.scores
        validation_loss = float("nan")
        if len(self.judged_y):
            scores = self.network.model_scores(self.model, self.judged)
            validation_loss = log_loss(scores, self.judged_y)
        diverged = not np.isfinite(state.loss)
        self._keep_best(validation_loss, scores, diverged)
        accuracy = validation_accuracy(scores, self.judged_y)
        size = self.batches.size
        state.history.append(history_row(state, size, validation_loss, accuracy))
        state.epoch += 1
        state.step = 0
        state.loss = 0.0
        state.seconds = 0.0
        parameters = self.network.parameters
        is_last = state.epoch >= parameters["epochs"]
        state.finished = diverged or is_last or state.waited >= parameters["patience"]
        self._log(
            epoch_line(state, parameters["epochs"], is_best=self.by_loss and not state.waited)
        )

    def _keep_best(
        self, validation_loss: float, scores: NDArray[np.float64], diverged: bool
    ) -> None:
        """Keep the weights of this epoch if it is the best one, or if `keep` is "last"."""
        state = self.state
        # Without a loss to judge by, each epoch is better than the one before.
        loss = validation_loss if self.by_loss else -float(state.epoch)
        if loss < state.least and not diverged:
            # Copies, since PyTorch's arrays change as training continues.
            state.best = [np.array(array) for array in self.model.get_weights()]
            state.least = loss
            state.waited = 0
            self.scores = scores
        else:
            state.waited += 1
        if diverged and not self.by_loss:
            state.best = []

    def _restore(self, checkpoint: Checkpoint) -> None:
        """Continue from the checkpoint of an interrupted training, if there is a sound one."""
        try:
            state = checkpoint.read()
        except OSError as error:
            reason = error.strerror or error
            self._log(f"{checkpoint.path} cannot be read ({reason}); training starts again")
            return
        if state is None:
            if checkpoint.used:
                self._log(f"{checkpoint.path} is damaged; training starts again")
            return
        variables = model_variables(self.model)
        shapes = [tuple(variable.shape) for variable in variables]
        if [array.shape for array in state.variables] != shapes:
            self._log(f"{checkpoint.path} is of another network; training starts again")
            return
        for variable, array in zip(variables, state.variables, strict=True):
            variable.assign(array)
        # Two or three times the size of the network.
        state.variables = []
        self.state = state
        self.network.record.earlier_seconds = state.wall
        self.network.context.on_checkpoint(checkpoint.path)
        self._log(f"continues after {state.epoch} epochs and {state.step} batches")

    def _save(self, checkpoint: Checkpoint) -> None:
        """Write the state of the training; log it if that is impossible."""
        context = self.network.context
        if context.checkpoints is None:
            return
        seconds = time.monotonic() - self._start
        self.state.wall = self.network.record.earlier_seconds + seconds
        self.state.variables = [
            np.array(variable.numpy()) for variable in model_variables(self.model)
        ]
        try:
            checkpoint.write(self.state)
        except (OSError, FreezeframeError) as error:
            # A full disk, for example, must not end hours of training.
            reason = getattr(error, "strerror", None) or str(error)
            self._log(f"{checkpoint.path} cannot be written ({reason}); training continues")
        self.state.variables = []
        context.on_checkpoint(checkpoint.path)

    def _identity(self) -> str:
        network = self.network
        return training_identity(
            [network.name, network.parameters, network.start_digest],
            (self.X, self.judged),
            (self.y, self.judged_y),
            self.n_classes,
            self.seed,
        )

    def _report_status(self) -> None:
        """Report now and then how far the epoch is."""
        if time.monotonic() - self._last_status < STATUS_SECONDS:
            return
        # Lines for each batch would be too fast to read, and slow.
        self._last_status = time.monotonic()
        epochs = self.network.parameters["epochs"]
        self.network.context.status(
            status_line(self.state, epochs, len(self.batches), self.batches.size)
        )

    def _log(self, text: str) -> None:
        self.network.context.log(f"{self.network.name}: {text}")


def model_variables(model: Any) -> list[Any]:
    """Return everything that training changes: weights, random states, optimizer's moments."""
    return [*model.variables, *model.optimizer.variables]
