"""An estimator that chooses a linear classifier's penalty on exactly reduced features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.svm import LinearSVC
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from ...features.rows.feature_rows import FeatureRows
from ..matrix import AnyMatrix, ArrayRows, Folds, Matrix, two_columns
from .penalty_path import PenaltyPath, fold_decisions, linear_scores
from .reduction import MAX_GRAM_BYTES, Reduction, reduce

_EXACT_SOLVERS = (
    "lbfgs",
    "newton-cg",
    "newton-cholesky",
    "auto",
    "cholesky",
    "svd",
    "lsqr",
    "sparse_cg",
)

_SUPPORTED: Mapping[str, tuple[Any, ...]] = {
    "penalty": ("l2", "deprecated"),
    "l1_ratio": (None, 0, 0.0),
    "fit_intercept": (True,),
    "class_weight": (None,),
    "loss": ("squared_hinge",),
    "intercept_scaling": (1, 1.0),
    "positive": (False,),
    "solver": _EXACT_SOLVERS,
}
"""Values of options for which the reduction is exact; `dual` depends on the estimator."""


class ReducedSearchCV(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):  # type: ignore[misc]
    """A linear classifier whose penalty is chosen by cross-validation on reduced features.

    The result is that of `GridSearchCV` over one parameter, many times faster where there are more
    features than rows. All folds and values share one exact reduction, from one Gram matrix (see
    `freezeframe.classify.solvers.reduction`). Features that are rows of a store need not fit in
    memory. Features with no more columns than rows are used without a reduction. If neither the
    features nor the Gram matrix fit into `max_bytes`, the features are streamed block by block
    through L-BFGS.

    Args:
        estimator: `LogisticRegression` (the default), `RidgeClassifier` or `LinearSVC` with an L2
            penalty.
        parameter: the parameter to choose, "C" or "alpha".
        values: values to choose from, the simplest model first, as ties go to the first; None: fit
            with the estimator's own value.
        cv: number of folds, stratified, and grouped if groups are passed to `fit`; fewer where a
            class has fewer rows. Or pairs of row numbers, (fitted, judged).
        scoring: score that the values are compared by, "accuracy" or, for logistic regression,
            "neg_log_loss".
        max_bytes: most bytes of the matrix that is held in memory.

    Attributes:
        classes_: of shape (n_classes,).
        coef_: of shape (1, n_features) for two classes, else (n_classes, n_features).
        intercept_: of shape (1,) or (n_classes,).
        best_value_: the chosen value of `parameter`.
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
        max_bytes: int = MAX_GRAM_BYTES,
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
        """Choose the penalty, then fit on all rows.

        Args:
            X: features of shape (n_rows, n_features); rows of a store; or a reduction that several
                searches share.
            y: class labels of shape (n_rows,).
            groups: group of each row, of shape (n_rows,); rows of one group are in one fold.

        Raises:
            ValueError: there is only one class, the reduction is not exact for the estimator, or
                the estimator cannot be scored by `scoring`.
        """
        estimator = LogisticRegression() if self.estimator is None else self.estimator
        self._check_parameters(estimator)
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
        # Too large to reduce in memory: each step of the solver reads the features again.
        matrix = _block_rows(features) if reduction is None else reduction.matrix
        self.best_value_ = self._choose(estimator, matrix, codes, groups)
        path = PenaltyPath(estimator, self.parameter, matrix, codes, np.arange(len(codes)))
        coef, self.intercept_ = path.fit(self.best_value_)
        # The user wants coefficients for features, not for the reduced matrix.
        self.coef_ = coef if reduction is None else reduction.to_features(coef)
        return self

    def _check_parameters(self, estimator: Any) -> None:
        """Raise ValueError if the search is impossible, whatever the features are."""
        by_log_loss = self.scoring == "neg_log_loss" and self._is_logistic()
        if self.scoring != "accuracy" and not by_log_loss:
            raise ValueError(
                "scoring must be accuracy, or neg_log_loss of logistic regression, "
                f"got {self.scoring!r}"
            )
        _check_estimator(estimator)
        if self.values is not None and not len(self.values):
            raise ValueError("values are empty; give None to fit with the estimator's own")

    def _choose(
        self, estimator: Any, X: AnyMatrix, y: NDArray[np.intp], groups: ArrayLike | None
    ) -> float | None:
        """Return the best value; None if there is nothing to choose from."""
        if self.values is None:
            return None
        folds = self._folds(y, groups)
        if not folds:
            return self.values[0]
        scores = []
        for decisions in fold_decisions(estimator, self.parameter, self.values, X, y, folds):
            if self.scoring == "accuracy":
                row_scores = _predicted_numbers(decisions) == y
            else:
                row_scores = _log_probabilities(decisions, y)
            scores.append([row_scores[judged].mean() for _, judged in folds])
        self.cv_scores_ = np.array(scores)
        # argmax takes the first of equal scores, which is the simplest model.
        return self.values[int(self.cv_scores_.mean(axis=1).argmax())]

    def _folds(self, y: NDArray[np.intp], groups: ArrayLike | None) -> Folds:
        if not isinstance(self.cv, int):
            return list(self.cv)
        # Each fold needs a row of each class.
        n_splits = min(self.cv, int(np.bincount(y).min()))
        if n_splits < 2:
            return []
        splitter = StratifiedKFold if groups is None else StratifiedGroupKFold
        return list(splitter(n_splits).split(np.empty((len(y), 0)), y, groups))

    def decision_function(self, X: Matrix) -> NDArray[np.float64]:
        """Return signed distances, of shape (n_rows,) or, for more classes, (n_rows, n_classes).

        Args:
            X: features as for `fit`, of shape (n_rows, n_features).
        """
        check_is_fitted(self)
        # scikit-learn cannot check rows that are not read yet.
        if not isinstance(X, FeatureRows):
            X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        scores = linear_scores(X, self.coef_, self.intercept_)
        return scores[:, 0] if scores.shape[1] == 1 else scores

    def predict(self, X: Matrix) -> NDArray[Any]:
        """Return class labels of shape (n_rows,).

        Args:
            X: features as for `fit`, of shape (n_rows, n_features).
        """
        scores = self.decision_function(X)
        # (n_rows,) or (n_rows, n_classes) -> (n_rows, n_outputs)
        numbers = _predicted_numbers(scores.reshape(len(scores), -1))
        return np.asarray(self.classes_[numbers])

    def _is_logistic(self) -> bool:
        return self.estimator is None or isinstance(self.estimator, LogisticRegression)

    @available_if(_is_logistic)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Matrix) -> NDArray[np.float64]:
        """Return probabilities of shape (n_rows, n_classes); logistic regression only.

        Args:
            X: features as for `fit`, of shape (n_rows, n_features).
        """
        from scipy.special import softmax

        return np.asarray(softmax(two_columns(self.decision_function(X)), axis=1))


def _block_rows(X: Matrix) -> AnyMatrix:
    """Return features as rows that are read block by block."""
    return ArrayRows(X) if isinstance(X, np.ndarray) else X


def _check_estimator(estimator: Any) -> None:
    """Raise ValueError if the reduction is not exact for an estimator or one of its options."""
    if not isinstance(estimator, LogisticRegression | RidgeClassifier | LinearSVC):
        raise ValueError(
            f"the estimator must be a linear classifier with an L2 penalty, got {estimator!r}"
        )
    options = estimator.get_params()
    dual = (False, "auto", True) if isinstance(estimator, LinearSVC) else (False,)
    for name, values in {**_SUPPORTED, "dual": dual}.items():
        if name in options and options[name] not in values:
            raise ValueError(
                f"{name}={options[name]!r} is not supported on reduced features; "
                "leave it at its default"
            )


def _log_probabilities(scores: NDArray[np.float64], y: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the log-probability of the true class of each row, of shape (n_rows,)."""
    from scipy.special import log_softmax

    return np.asarray(log_softmax(two_columns(scores), axis=1)[np.arange(len(y)), y])


def _predicted_numbers(scores: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return class numbers of shape (n_rows,) from scores of shape (n_rows, n_outputs)."""
    return (scores[:, 0] > 0).astype(np.intp) if scores.shape[1] == 1 else scores.argmax(axis=1)
