"""Linear classifiers with their penalty chosen by cross-validation, on one exact reduction of the features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.svm import LinearSVC
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from threadpoolctl import threadpool_limits

from ...features.rows import FeatureRows
from ..matrix import Folds, Matrix, blocks_of, take, two_columns
from .reduction import MAX_BYTES, Reduction, reduce
from .streamed import ArrayRows, fit_streamed

Source = Matrix | ArrayRows
"""A matrix in memory, or one that is streamed."""


def decisions(
    estimator: Any,
    parameter: str,
    values: Sequence[float],
    X: Source,
    y: NDArray[Any],
    folds: Folds,
) -> Iterator[NDArray[np.float64]]:
    """Decision values, for each value of a parameter, of the rows that each fold judges by.

    Folds are fitted beside each other, each with one BLAS thread: solvers are bound by memory, and
    threads that wait for each other within a small factorisation cost far more than they save as
    soon as another program wants a core.

    Args:
        estimator: a linear classifier of scikit-learn; one that can starts from the solution for
            the value before.
        values: to be tried, in such an order that neighbours are alike.
        X: a reduced matrix, or rows of a store, which are then streamed.

    Yields:
        Arrays of shape (n_rows, n_outputs), one a value, NaN for rows that no fold judges by.
    """
    models = [Path(estimator, parameter, X, y, fitted) for fitted, _ in folds]
    beside = Parallel(effective_n_jobs(-1), prefer="threads")
    for value in values:
        with threadpool_limits(1, "blas"):
            fits = beside(delayed(model.fit)(value) for model in models)
        found = np.full((len(y), len(fits[0][0])), np.nan)
        for (coef, intercept), (_, judged) in zip(fits, folds, strict=True):
            found[judged] = linear_scores(take(X, judged), coef, intercept)
        yield found


class Path:
    """Fits of one linear classifier to some rows of a matrix, one penalty after the other."""

    def __init__(
        self, estimator: Any, parameter: str, X: Source, y: NDArray[Any], rows: NDArray[np.intp]
    ) -> None:
        self.model, self.parameter = clone(estimator), parameter
        self._X, self._y = take(X, rows), y[rows]
        in_memory = isinstance(self._X, np.ndarray)
        self._ridge = (
            _Ridge(self._X, self._y)
            if in_memory and isinstance(estimator, RidgeClassifier)
            else None
        )
        if "warm_start" in self.model.get_params():
            self.model.set_params(warm_start=True)

    def fit(self, value: float | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Coefficients of shape (n_outputs, n_columns) and intercepts of shape (n_outputs,)."""
        if value is not None:
            self.model.set_params(**{self.parameter: value})
        if not isinstance(self._X, np.ndarray):
            return fit_streamed(self.model, self._X, self._y)
        if self._ridge is not None:
            return self._ridge.fit(self.model.alpha)
        self.model.fit(self._X, self._y)
        return np.atleast_2d(self.model.coef_), np.atleast_1d(self.model.intercept_)


class _Ridge:
    """Ridge regression on class indicators for many penalties, in the dual: the Gram matrix of the rows is made once.

    Saunders, Gammerman and Vovk, "Ridge regression learning algorithm in dual variables", ICML
    1998. What `RidgeClassifier` finds, which makes the Gram matrix anew for each penalty.
    """

    def __init__(self, X: NDArray[Any], y: NDArray[Any]) -> None:
        classes = np.unique(y)
        self._mean = X.mean(axis=0, dtype=np.float64)
        self._X = (X - self._mean.astype(X.dtype)).astype(X.dtype)
        wanted = np.where(y[:, None] == (classes[1:] if len(classes) == 2 else classes), 1.0, -1.0)
        self._offset = wanted.mean(axis=0)
        self._y = wanted - self._offset
        self._K = (self._X @ self._X.T).astype(np.float64)

    def fit(self, alpha: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        from scipy.linalg import LinAlgError, cho_factor, cho_solve, eigh

        K = self._K.copy()
        K[np.diag_indices_from(K)] += alpha
        try:
            dual = cho_solve(cho_factor(K, check_finite=False), self._y)
        except (
            LinAlgError
        ):  # the centred matrix is singular, and so small a penalty does not help it over rounding
            values, vectors = eigh(K, check_finite=False)
            kept = values > len(K) * np.finfo(self._X.dtype).eps * values[-1]
            dual = vectors[:, kept] @ (vectors[:, kept].T @ self._y / values[kept, None])
        coef = dual.T @ self._X
        return coef, self._offset - coef @ self._mean


class ReducedSearchCV(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):  # type: ignore[misc]
    """Choose a linear classifier's penalty by cross-validation, and fit it, on an exact reduction of wide features.

    What `GridSearchCV` over one parameter finds, many times faster where there are more features
    than rows: all folds and values share one Gram matrix (see
    `freezeframe.classify.solvers.reduction`). Features need not fit in memory when they are rows of
    a store. Where they have no more columns than rows the solver runs on them as they are, and
    where neither they nor the Gram matrix fit into `max_bytes` they are streamed block by block
    through L-BFGS.

    Args:
        estimator: `LogisticRegression` (the default), `RidgeClassifier` or `LinearSVC` with an L2
            penalty.
        parameter: to be chosen, "C" or "alpha".
        values: to choose from, the simplest model first, as ties go to the first; None: the
            estimator's own.
        cv: folds, stratified, and grouped if groups are given; fewer where a class has fewer rows.
            Or pairs of row numbers, (fitted, judged).
        scoring: what the values are judged by, "accuracy" or, for logistic regression,
            "neg_log_loss".
        max_bytes: of what is held in memory.

    Attributes:
        classes_: of shape (n_classes,).
        coef_: of shape (1, n_features) for two classes, else (n_classes, n_features).
        intercept_: of shape (1,) or (n_classes,).
        best_value_: of `parameter`.
        cv_scores_: score in each fold for each value, of shape (n_values, n_folds).
        n_features_in_: number of features.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> X, y = rng.normal(size=(60, 2000)), np.arange(60) % 2
        >>> X[y == 1, :20] += 1
        >>> search = ReducedSearchCV(values=[1e-4, 1e-2, 1.0], cv=3).fit(X, y)
        >>> search.coef_.shape, float(search.score(X, y))
        ((1, 2000), 1.0)
    """

    def __init__(
        self,
        estimator: Any = None,
        *,
        parameter: str = "C",
        values: Sequence[float] | None = None,
        cv: int | Folds = 5,
        scoring: str = "accuracy",
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self.estimator = estimator
        self.parameter = parameter
        self.values = values
        self.cv = cv
        self.scoring = scoring
        self.max_bytes = max_bytes

    def fit(
        self, X: Matrix | Reduction, y: ArrayLike, groups: ArrayLike | None = None
    ) -> ReducedSearchCV:
        """Choose and fit.

        Args:
            X: of shape (n_rows, n_features); rows of a store; or a reduction made before, to be
                shared.
            y: class labels of shape (n_rows,).
            groups: of shape (n_rows,); rows of one are in one fold.

        Raises:
            ValueError: there is one class only, the estimator is none that the reduction is exact
                for, or scoring is unknown or of no use for it.
        """
        if self.scoring != "accuracy" and not (
            self.scoring == "neg_log_loss" and self._is_logistic()
        ):
            raise ValueError(
                f"scoring must be accuracy, or neg_log_loss of logistic regression, got {self.scoring!r}"
            )
        estimator = LogisticRegression() if self.estimator is None else self.estimator
        _check_estimator(estimator)
        if self.values is not None and not len(self.values):
            raise ValueError("values are empty; give None to fit with the estimator's own")
        if not isinstance(X, Reduction | FeatureRows):
            X, y = validate_data(self, X, y, dtype=[np.float64, np.float32])
        y = np.asarray(y)
        check_classification_targets(y)
        features = X.X if isinstance(X, Reduction) else X
        self.n_features_in_ = features.shape[1]
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"ReducedSearchCV needs two classes, but y has one class: {self.classes_[0]!r}"
            )
        reduction = X if isinstance(X, Reduction) else reduce(X, self.max_bytes)
        matrix = _streamed(features) if reduction is None else reduction.matrix
        self.best_value_ = self._choose(estimator, matrix, codes, groups)
        path = Path(estimator, self.parameter, matrix, codes, np.arange(len(codes)))
        coef, self.intercept_ = path.fit(self.best_value_)
        self.coef_ = coef if reduction is None else reduction.to_features(coef)
        return self

    def _choose(
        self, estimator: Any, X: Source, y: NDArray[np.intp], groups: ArrayLike | None
    ) -> float | None:
        if self.values is None:
            return None
        folds = self._folds(y, groups)
        if not folds:
            return self.values[0]
        scores = []
        for found in decisions(estimator, self.parameter, self.values, X, y, folds):
            good = (
                _predicted(found) == y
                if self.scoring == "accuracy"
                else _log_probabilities(found, y)
            )
            scores.append([good[judged].mean() for _, judged in folds])
        self.cv_scores_ = np.array(scores)
        return self.values[int(self.cv_scores_.mean(axis=1).argmax())]

    def _folds(self, y: NDArray[np.intp], groups: ArrayLike | None) -> Folds:
        if not isinstance(self.cv, int):
            return list(self.cv)
        n_splits = min(self.cv, int(np.bincount(y).min()))
        if n_splits < 2:
            return []
        kind = StratifiedKFold if groups is None else StratifiedGroupKFold
        return list(kind(n_splits).split(np.empty((len(y), 0)), y, groups))

    def decision_function(self, X: Matrix) -> NDArray[np.float64]:
        """Signed distances, of shape (n_rows,) for two classes, else (n_rows, n_classes)."""
        check_is_fitted(self)
        if not isinstance(X, FeatureRows):
            X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        scores = linear_scores(X, self.coef_, self.intercept_)
        return scores[:, 0] if scores.shape[1] == 1 else scores

    def predict(self, X: Matrix) -> NDArray[Any]:
        """Class labels, of shape (n_rows,)."""
        scores = self.decision_function(X)
        return np.asarray(self.classes_[_predicted(scores.reshape(len(scores), -1))])

    def _is_logistic(self) -> bool:
        return self.estimator is None or isinstance(self.estimator, LogisticRegression)

    @available_if(_is_logistic)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Matrix) -> NDArray[np.float64]:
        """Probability of each class, of shape (n_rows, n_classes); of logistic regression only."""
        from scipy.special import softmax

        return np.asarray(softmax(two_columns(self.decision_function(X)), axis=1))


def _streamed(X: Matrix) -> Source:
    return ArrayRows(X) if isinstance(X, np.ndarray) else X


def _check_estimator(estimator: Any) -> None:
    """Refuse what is not a function of inner products, and options that are not heeded here."""
    if not isinstance(estimator, LogisticRegression | RidgeClassifier | LinearSVC):
        raise ValueError(
            f"the estimator must be a linear classifier with an L2 penalty, got {estimator!r}"
        )
    options = estimator.get_params()
    heeded = {
        "penalty": ("l2", "deprecated"),
        "l1_ratio": (None, 0, 0.0),
        "fit_intercept": (True,),
        "class_weight": (None,),
        "dual": (False, "auto", True) if isinstance(estimator, LinearSVC) else (False,),
        "loss": ("squared_hinge",),
        "intercept_scaling": (1, 1.0),
        "positive": (False,),
        "solver": (
            "lbfgs",
            "newton-cg",
            "newton-cholesky",
            "auto",
            "cholesky",
            "svd",
            "lsqr",
            "sparse_cg",
        ),
    }
    for name, values in heeded.items():
        if name in options and options[name] not in values:
            raise ValueError(
                f"{name}={options[name]!r} is not heeded on reduced features; leave it as it is by default"
            )


def linear_scores(X: Source, coef: NDArray[Any], intercept: NDArray[Any]) -> NDArray[np.float64]:
    """X @ coef.T + intercept, of shape (n_rows, n_outputs), block by block."""
    return np.asarray(
        np.concatenate([block @ coef.T.astype(block.dtype) for _, block in blocks_of(X)])
        + intercept
    )


def _log_probabilities(scores: NDArray[np.float64], y: NDArray[np.intp]) -> NDArray[np.float64]:
    """Of the true classes, of shape (n_rows,)."""
    from scipy.special import log_softmax

    return np.asarray(log_softmax(two_columns(scores), axis=1)[np.arange(len(y)), y])


def _predicted(scores: NDArray[np.float64]) -> NDArray[np.intp]:
    return (scores[:, 0] > 0).astype(np.intp) if scores.shape[1] == 1 else scores.argmax(axis=1)
