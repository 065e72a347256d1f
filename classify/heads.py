"""Heads: classifiers that are fitted on features and can be written as plain arrays."""

from __future__ import annotations

import json
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .. import FreezeframeError, MissingExtraError, ParameterError
from .trees import Trees, checked_array

Arrays = dict[str, NDArray[Any]]


class Head(ABC):
    """A classifier on features X of shape (n_rows, n_features), float32, with classes 0 ... n_classes - 1.

    A head is fitted once and then only predicts. Its `arrays` are all it needs for that, so that what was saved and
    loaded predicts exactly what the fitted one did.

    Attributes:
        name: as given to `fit-classifier --model`.
        pooling: how features are pooled for it unless asked otherwise.
        parameters: the hyper-parameters it was fitted with.
        notes: what the user should know of the fit.
    """

    name: ClassVar[str]
    pooling: ClassVar[str] = "flat"
    defaults: ClassVar[Mapping[str, float | int]] = {}

    def __init__(self) -> None:
        self.parameters = dict(self.defaults)
        self.notes: list[str] = []

    @abstractmethod
    def fit(self, X: NDArray[np.float32], y: NDArray[np.intp], n_classes: int, seed: int) -> None:
        """Fit on features of shape (n_rows, n_features) and class numbers of shape (n_rows,)."""

    @abstractmethod
    def predict_proba(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        """Probability of each class, of shape (n_rows, n_classes); each row sums to 1."""

    @property
    @abstractmethod
    def arrays(self) -> Arrays:
        """What was learnt, as plain arrays by name."""

    @abstractmethod
    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over arrays that were saved. Raises KeyError or ValueError if they are not this head's."""


class Majority(Head):
    """Answers with the class shares of the training rows, whatever it sees: the score every head must beat."""

    name = "majority"
    pooling = "avg"

    def fit(self, X: NDArray[np.float32], y: NDArray[np.intp], n_classes: int, seed: int) -> None:
        self._shares = np.bincount(y, minlength=n_classes) / len(y)

    def predict_proba(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.tile(self._shares, (len(X), 1))

    @property
    def arrays(self) -> Arrays:
        return {"shares": self._shares}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._shares = checked_array(arrays, "shares", 1, np.float64)
        if (self._shares < 0).any() or not np.isclose(self._shares.sum(), 1):
            raise ValueError("shares are not shares")


class LogisticRegression(Head):
    """L2-penalised logistic regression, multinomial for more than two classes (scikit-learn, lbfgs)."""

    name = "logreg"
    defaults: ClassVar[Mapping[str, float | int]] = {"C": 1.0, "max_iter": 1000}

    def fit(self, X: NDArray[np.float32], y: NDArray[np.intp], n_classes: int, seed: int) -> None:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression as Solver

        solver = Solver(**self.parameters, random_state=seed)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            solver.fit(X, y)
        if any(issubclass(warning.category, ConvergenceWarning) for warning in caught):
            self.notes.append(f"logreg had not converged after {self.parameters['max_iter']} iterations")
        self._coef = np.asarray(solver.coef_, dtype=np.float32)
        self._intercept = np.asarray(solver.intercept_, dtype=np.float64)

    def predict_proba(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        from scipy.special import softmax

        scores = (X @ self._coef.T).astype(np.float64) + self._intercept
        if scores.shape[1] == 1:  # two classes: one score, of class 1 against class 0
            scores = np.hstack([np.zeros_like(scores), scores])
        return np.asarray(softmax(scores, axis=1))

    @property
    def arrays(self) -> Arrays:
        return {"coef": self._coef, "intercept": self._intercept}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._coef = checked_array(arrays, "coef", 2, np.float32)
        self._intercept = checked_array(arrays, "intercept", 1, np.float64)
        if len(self._intercept) != len(self._coef):
            raise ValueError("coef and intercept differ in length")


class XGBoost(Head):
    """Gradient-boosted trees (Chen and Guestrin, arXiv:1603.02754), histogram method.

    The fitted trees are kept as plain arrays and walked with NumPy: XGBoost's own loader can be crashed by a hostile
    file, and predicting needs no XGBoost.
    """

    name = "xgboost"
    pooling = "avg"
    defaults: ClassVar[Mapping[str, float | int]] = {"n_estimators": 300, "learning_rate": 0.1, "max_depth": 4}

    def fit(self, X: NDArray[np.float32], y: NDArray[np.intp], n_classes: int, seed: int) -> None:
        xgboost = _import_xgboost()
        options = {"objective": "multi:softprob", "num_class": n_classes, "tree_method": "hist", "seed": seed}
        options |= {"eta": self.parameters["learning_rate"], "max_depth": self.parameters["max_depth"]}
        options["base_score"] = 0.5  # the same for all classes, so that it cancels out
        rounds = int(self.parameters["n_estimators"])
        booster = xgboost.train(options, xgboost.DMatrix(X, label=y), num_boost_round=rounds)
        self._trees = Trees.from_xgboost(json.loads(booster.save_raw("json")))

    def predict_proba(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        from scipy.special import softmax

        return np.asarray(softmax(self._trees.scores(X), axis=1))

    @property
    def arrays(self) -> Arrays:
        return self._trees.arrays

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._trees = Trees(arrays)


HEADS: dict[str, type[Head]] = {head.name: head for head in (LogisticRegression, XGBoost, Majority)}
"""Heads by name."""


def make_head(name: str) -> Head:
    """A new, unfitted head.

    Raises:
        ParameterError: there is no head of this name; the text lists those there are.
    """
    if name not in HEADS:
        raise ParameterError(f"there is no head {name!r}; there are {', '.join(HEADS)}")
    return HEADS[name]()


def _import_xgboost() -> Any:
    try:
        import xgboost
    except ImportError:
        raise MissingExtraError("xgboost", "cpu", "the head xgboost") from None
    except Exception as error:  # a library that is there but cannot be loaded (no OpenMP, say)
        raise FreezeframeError(f"xgboost cannot be loaded ({' '.join(str(error).split())[:120]})") from None
    return xgboost
