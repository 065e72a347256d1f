"""The base class of heads: classifiers fitted on features and saved as plain arrays."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ...errors import ParameterError
from ..matrix import Folds, Matrix, blocks_of, take
from .arrays import Arrays
from .calibration import Calibration
from .conformal import Conformal

if TYPE_CHECKING:
    from ..solvers.reduction import Reduction


Parameters = Mapping[str, Any]
"""Hyper-parameters by name."""

COLLAPSED = "collapsed-network"
EDGE = "edge-of-search"
"""Codes of notes: a network predicts one class; the best value is the least or the greatest."""


@dataclass
class TrainingRecord:
    """Outcome of a fit beside the head: epochs of a network, and probabilities of judged rows.

    Attributes:
        history: one row for each epoch: `epoch`, `loss` (mean over the images, weighted if classes
            are), `validation_loss` (mean over the images), `validation_accuracy`, `seconds` of
            training and `images_per_second`.
        earlier_seconds: seconds that the fit took in processes that were killed, up to the
            checkpoint from which this process continued.
        judged: probabilities of the training rows by heads that were not fitted on them, of shape
            (n_rows, n_classes), NaN for rows that no fold judges; None if no such heads were
            fitted.
        codes: code of each note that a report lists as a finding, by the text of the note.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    earlier_seconds: float = 0.0
    judged: NDArray[np.float64] | None = None
    codes: dict[str, str] = field(default_factory=dict)


class Head(ABC):
    """A classifier on features of shape (n_rows, n_features), with classes 0 ... n_classes - 1.

    A head is fitted once and then only predicts. Its `arrays` are all that it needs to predict. A
    head that was saved and loaded therefore predicts exactly what the fitted one did.

    A subclass states its traits as class attributes: `name`, `pooling`, `reducible`, `margins`,
    `proper`, `draws`, `judges`, `layers`, `defaults`, `limits`, `choices` and `spaces`. They are
    documented here only.

    Args:
        parameters: hyper-parameters that differ from `defaults`.

    Attributes:
        name: name of the head, as in `fit-classifier --model`.
        pooling: default pooling of the features.
        reducible: True if the head depends on features through their inner products alone. Such a
            head may be fitted on any matrix with the same inner products; `to_features` then
            converts it.
        margins: True if scores are margins instead of logarithms of probabilities. Such a head
            must be calibrated.
        proper: True if the head minimises the log loss. Its candidates are compared by their own
            probabilities, those of other heads after calibration.
        draws: True if the seed decides a part of the fit. Another seed gives any other head the
            very same bits.
        judges: what the head sees in place of features, a key of `IMAGE_FACTS` in
            `classify.fit.image_facts`; "" for heads that see features. Such a head is a control: it
            is scored and predicts no new image.
        layers: names of the only layers that the head can be fitted on; empty if any layer will
            do.
        defaults: all hyper-parameters with their default values.
        limits: least and greatest value of hyper-parameters that are numbers.
        choices: values of hyper-parameters that are texts.
        spaces: for the searches "default" and "wide", values of hyper-parameters to choose from,
            the simplest head first.
        parameters: the hyper-parameters of this head.
        calibration: the map from scores to probabilities.
        conformal: the rule by which the head says "cannot say"; None if none was chosen.
        notes: what the user should know about the fit.
        record: what the fit leaves beside the head.

    Raises:
        ParameterError: a hyper-parameter is unknown, or its value is impossible.
    """

    name: ClassVar[str]
    pooling: ClassVar[str] = "flat"
    reducible: ClassVar[bool] = False
    margins: ClassVar[bool] = False
    proper: ClassVar[bool] = False
    draws: ClassVar[bool] = False
    judges: ClassVar[str] = ""
    layers: ClassVar[tuple[str, ...]] = ()
    defaults: ClassVar[Parameters] = {}
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {}
    choices: ClassVar[Mapping[str, Sequence[str]]] = {}
    spaces: ClassVar[Mapping[str, Mapping[str, Sequence[Any]]]] = {}

    def __init__(self, **parameters: Any) -> None:
        for name, value in parameters.items():
            self._check_parameter(name, value)
        self.parameters: dict[str, Any] = {**self.defaults, **parameters}
        self.calibration = Calibration()
        self.conformal: Conformal | None = None
        self.notes: list[str] = []
        self.record = TrainingRecord()

    @classmethod
    def _check_parameter(cls, name: str, value: Any) -> None:
        """Raise ParameterError if a hyper-parameter is unknown or its value is impossible."""
        if name not in cls.defaults:
            names = ", ".join(cls.defaults) or "none"
            raise ParameterError(f"{cls.name} has no parameter {name!r}; it has {names}")
        # The default shows the type; a float may be written as an integer.
        required = type(cls.defaults[name])
        accepted = (int, float) if required is float else required
        # True and False are integers in Python, but no numbers to a user.
        if not isinstance(value, accepted) or isinstance(value, bool):
            raise ParameterError(f"{cls.name}: {name} must be {required.__name__}, got {value!r}")
        # Texts have choices; numbers have limits.
        if isinstance(value, str):
            if value not in cls.choices.get(name, (value,)):
                choices = " or ".join(cls.choices[name])
                raise ParameterError(f"{cls.name}: {name} must be {choices}, got {value!r}")
            return
        low, high = cls.limits.get(name, (-math.inf, math.inf))
        # The comparison is False for NaN, which is therefore refused.
        if not low <= value <= high:
            raise ParameterError(
                f"{cls.name}: {name} must lie between {low} and {high}, got {value}; "
                "give another value"
            )

    @classmethod  # noqa: B027 - most heads need no library
    def check_library(cls) -> None:
        """Raise MissingExtraError if the library that predicts is missing or cannot be loaded.

        A library that is installed but cannot be loaded raises another FreezeframeError.
        """

    @abstractmethod
    def fit(
        self, X: Matrix, y: NDArray[np.intp], n_classes: int, *, seed: int = 0, folds: Folds = ()
    ) -> None:
        """Fit the head on features and class numbers.

        Args:
            X: features of shape (n_rows, n_features).
            y: class numbers of shape (n_rows,).
            n_classes: number of classes.
            seed: seed of everything that is drawn.
            folds: pairs of row numbers; heads that stop early use the first pair.
        """

    @abstractmethod
    def scores(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Return a score for each row and class.

        Args:
            X: features of shape (n_rows, n_features).

        Returns:
            Scores of shape (n_rows, n_classes): margins if `margins` is True, else logarithms of
            probabilities up to a constant in each row.
        """

    @property
    @abstractmethod
    def arrays(self) -> Arrays:
        """The fitted arrays by name."""

    @abstractmethod
    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take the fitted arrays from a model file.

        Raises:
            KeyError: an array is missing.
            ValueError: an array cannot be from this head.
        """

    def space(self, search: str, X: Matrix) -> Mapping[str, Sequence[Any]]:
        """Return the values of hyper-parameters to choose from, the simplest head first.

        Args:
            search: "none", "default" or "wide"; "none" gives an empty mapping.
            X: features to fit on, for heads whose parameters depend on the scale of the features.
        """
        return self.spaces.get(search, {})

    def to_features(self, reduction: Reduction) -> None:
        """Convert a head fitted on a reduced matrix to one that predicts from features.

        Only reducible heads can be converted.
        """
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
        """Score, for each candidate, the rows that it was not fitted on.

        Args:
            X: features of shape (n_rows, n_features).
            y: class numbers of shape (n_rows,).
            n_classes: number of classes.
            folds: pairs of row numbers, those to fit on and those to score.
            candidates: hyper-parameters to try, in order.
            seed: seed of everything that is drawn.

        Yields:
            The candidate, completed by what its fits chose (such as the rounds of early stopping).
            Its scores, of shape (n_rows, n_classes), NaN for rows that no fold scores.
        """
        for candidate in candidates:
            scores = np.full((len(y), n_classes), np.nan)
            for fitted, judged in folds:
                # A new head for each fit, so that no fold influences the next one.
                head = self.like(candidate)
                head.fit(take(X, fitted), y[fitted], n_classes, seed=seed)
                scores[judged] = head.scores_of(take(X, judged))
            yield candidate, scores

    def like(self, parameters: Parameters) -> Self:
        """Return a new, unfitted head that differs from this one in some hyper-parameters."""
        return type(self)(**{**self.parameters, **parameters})

    def predict_proba(self, X: Matrix) -> NDArray[np.float64]:
        """Return the probability of each class, of shape (n_rows, n_classes); rows sum to 1."""
        return self.calibration.proba(self.scores_of(X))

    def predict(self, X: Matrix) -> NDArray[np.intp]:
        """Return class numbers of shape (n_rows,), by the threshold if one was chosen."""
        return self.calibration.decide(self.predict_proba(X))

    def scores_of(self, X: Matrix) -> NDArray[np.float64]:
        """Return the `scores` of any matrix, computed block by block.

        One thread of BLAS computes: several share a sum of products, and their number would decide
        its last bits.
        """
        with _blas().limit(limits=1, user_api="blas"):
            return np.concatenate([self.scores(block) for _, block in blocks_of(X)])


@cache
def _blas() -> Any:
    """Return the controller of NumPy's BLAS; looking it up takes milliseconds, so only once."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
