"""What every head is: a classifier that is fitted on features and can be written as plain arrays."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ...errors import ParameterError
from ..matrix import Folds, Matrix, blocks_of, take
from .arrays import Arrays
from .calibration import Calibration

if TYPE_CHECKING:
    from ..solvers.reduction import Reduction


Parameters = Mapping[str, Any]


def _silent(text: str) -> None:
    """Nobody is to be told."""


@dataclass(frozen=True)
class Context:
    """What a head that trains a network has beside features and classes.

    Attributes:
        shape: (height, width, channels) of an image's features before they were flattened; None:
            they have none.
        weights: loads the weights of the backbone that the features come from, by name.
        checkpoints: folder where a training keeps how far it is, to go on there after it was
            killed; None: nowhere.
        every: seconds between two checkpoints.
        tell: told how far a training is, now and then.
        log: told what came of each epoch, in one line.
        kept: files in `checkpoints` that were written or used.
    """

    shape: tuple[int, int, int] | None = None
    weights: Callable[[], Mapping[str, NDArray[Any]]] = dict
    checkpoints: Path | None = None
    every: float = 60.0
    tell: Callable[[str], None] = _silent
    log: Callable[[str], None] = _silent
    kept: list[Path] = field(default_factory=list)


class Head(ABC):
    """A classifier on features of shape (n_rows, n_features), with classes 0 ... n_classes - 1.

    A head is fitted once and then only predicts. Its `arrays` are all it needs for that, so that
    what was saved and loaded predicts exactly what the fitted one did.

    Args:
        parameters: hyper-parameters that differ from `defaults`.

    Attributes:
        name: as given to `fit-classifier --model`.
        pooling: how features are pooled for it unless asked otherwise.
        reducible: it depends on features through their inner products alone, so that it may be
            fitted on any matrix with the same inner products and brought back to features by
            `to_features`.
        margins: its scores are margins, not logarithms of probabilities, so that it must be
            calibrated.
        proper: it is fitted to the log loss, so that candidates are judged by its probabilities as
            they are; others are judged after calibration.
        defaults: all hyper-parameters, with the values they have unless asked otherwise.
        limits: least and greatest value of hyper-parameters that are numbers.
        choices: values of hyper-parameters that are texts.
        layers: names of the only layers it can be fitted on; none: on any.
        spaces: for "default" and "wide", values of hyper-parameters to choose from, the simplest
            head first.
        parameters: the hyper-parameters it has.
        calibration: turns scores into probabilities.
        notes: what the user should know of the fit.
        context: what a network needs beside features.
        history: of each epoch that a network was trained for: `epoch`, `loss` (mean over the
            images, weighted if classes are), `validation_loss` (mean over the images),
            `validation_accuracy`, `seconds` of training and `images_per_second`.
        earlier_seconds: that its fit took in processes that were killed, up to where this one went
            on.

    Raises:
        ParameterError: there is no hyper-parameter of that name, or it has a value it cannot have.
    """

    name: ClassVar[str]
    pooling: ClassVar[str] = "flat"
    reducible: ClassVar[bool] = False
    margins: ClassVar[bool] = False
    proper: ClassVar[bool] = False
    layers: ClassVar[tuple[str, ...]] = ()
    defaults: ClassVar[Parameters] = {}
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {}
    choices: ClassVar[Mapping[str, Sequence[str]]] = {}
    spaces: ClassVar[Mapping[str, Mapping[str, Sequence[Any]]]] = {}

    def __init__(self, **parameters: Any) -> None:
        for name, value in parameters.items():
            if name not in self.defaults:
                known = ", ".join(self.defaults) or "none"
                raise ParameterError(f"{self.name} has no parameter {name!r}; it has {known}")
            wanted = type(self.defaults[name])
            if not isinstance(value, (int, float) if wanted is float else wanted) or isinstance(
                value, bool
            ):
                raise ParameterError(
                    f"{self.name}: {name} must be {wanted.__name__}, got {value!r}"
                )
            if isinstance(value, str) and value not in self.choices.get(name, (value,)):
                raise ParameterError(
                    f"{self.name}: {name} must be {' or '.join(self.choices[name])}, got {value!r}"
                )
            low, high = self.limits.get(name, (-math.inf, math.inf))
            if (
                not isinstance(value, str) and not low <= value <= high
            ):  # NaN is between no two numbers
                raise ParameterError(
                    f"{self.name}: {name} must lie between {low} and {high}, got {value}"
                )
        self.parameters: dict[str, Any] = {**self.defaults, **parameters}
        self.calibration = Calibration()
        self.notes: list[str] = []
        self.context = Context()
        self.history: list[dict[str, float]] = []
        self.earlier_seconds = 0.0

    @classmethod  # noqa: B027 - most need none
    def check_library(cls) -> None:
        """Raise MissingExtraError, or another FreezeframeError, if it cannot predict for want of a library."""

    @abstractmethod
    def fit(
        self, X: Matrix, y: NDArray[np.intp], n_classes: int, *, seed: int = 0, folds: Folds = ()
    ) -> None:
        """Fit on features of shape (n_rows, n_features) and class numbers of shape (n_rows,).

        Args:
            folds: the first serves heads that stop early.
        """

    @abstractmethod
    def scores(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Of each class, of shape (n_rows, n_classes): log-probabilities but for a constant a row, or `margins`."""

    @property
    @abstractmethod
    def arrays(self) -> Arrays:
        """What was learnt, as plain arrays by name."""

    @abstractmethod
    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over arrays that were saved. Raises KeyError or ValueError if they are not this head's."""

    def space(self, search: str, X: Matrix) -> Mapping[str, Sequence[Any]]:
        """Values of hyper-parameters to choose from, the simplest head first; none if `search` is "none".

        Args:
            search: "none", "default" or "wide".
            X: what is to be fitted on, for heads whose parameters depend on the scale of the
                features.
        """
        return self.spaces.get(search, {})

    def to_features(self, reduction: Reduction) -> None:
        """Turn what was learnt on a reduced matrix into what predicts from features themselves (reducible heads)."""
        raise NotImplementedError

    def cross_validate(
        self,
        X: Matrix,
        y: NDArray[np.intp],
        n_classes: int,
        folds: Folds,
        candidates: Sequence[Parameters],
        seed: int,
    ) -> Iterator[tuple[Parameters, NDArray[np.float64]]]:
        """Scores of the rows that each candidate was not fitted on.

        Args:
            candidates: hyper-parameters to try, in order.

        Yields:
            The candidate, with what was learnt of it (rounds of early stopping, say), and scores of
            shape (n_rows, n_classes), NaN for rows that no fold judges by.
        """
        for candidate in candidates:
            scores = np.full((len(y), n_classes), np.nan)
            for fitted, judged in folds:
                head = self.like(candidate)
                head.fit(take(X, fitted), y[fitted], n_classes, seed=seed)
                scores[judged] = head.scores_of(take(X, judged))
            yield candidate, scores

    def like(self, parameters: Parameters) -> Self:
        """A new, unfitted head of this kind, with these hyper-parameters and otherwise its own."""
        head = type(self)(**{**self.parameters, **parameters})
        head.context = self.context
        return head

    def predict_proba(self, X: Matrix) -> NDArray[np.float64]:
        """Probability of each class, of shape (n_rows, n_classes); each row sums to 1."""
        return self.calibration.proba(self.scores_of(X))

    def predict(self, X: Matrix) -> NDArray[np.intp]:
        """Class numbers, of shape (n_rows,): the likeliest, or what the chosen threshold says."""
        return self.calibration.decide(self.predict_proba(X))

    def scores_of(self, X: Matrix) -> NDArray[np.float64]:
        """`scores` of any matrix, block by block."""
        return np.concatenate([self.scores(block) for _, block in blocks_of(X)])
