"""The head of gradient-boosted trees, fitted by XGBoost."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...errors import FreezeframeError, MissingExtraError
from ...features.rows.feature_rows import FeatureRows
from ..matrix import Folds, Matrix, take, two_columns
from .arrays import Arrays
from .base import Head, Parameters
from .trees import Trees

IN_MEMORY_BYTES = 2**30
"""Features of more bytes are read block by block, twice, and only their bins are held in memory."""

Fold = tuple[NDArray[np.intp], NDArray[np.intp]]
"""Numbers of the rows to fit on, and of those to score."""


class XGBoost(Head):
    """Gradient-boosted trees (Chen and Guestrin, arXiv:1603.02754), histogram method.

    The fitted trees are saved as plain arrays and walked with NumPy. A hostile file can crash
    XGBoost's own loader, and prediction then needs no XGBoost. Two classes share one tree a round,
    more classes have one each.

    Hyper-parameters:
        n_estimators: most rounds.
        learning_rate: share of each tree's correction that is applied.
        max_depth: greatest depth of a tree.
        colsample_bytree: share of the features that a tree is chosen from.
        early_stopping: rounds without a lower loss after which boosting stops; 0: all rounds. The
            first fold decides the number of rounds; all rows are then fitted with as many.
    """

    name = "xgboost"
    draws = True
    pooling = "avg"
    proper = True
    defaults: ClassVar[Parameters] = {
        "n_estimators": 300,
        "learning_rate": 0.2,
        "max_depth": 4,
        "colsample_bytree": 0.3,
        "early_stopping": 20,
    }
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        "n_estimators": (1, 100_000),
        "learning_rate": (1e-6, 1),
        "max_depth": (1, 30),
        "colsample_bytree": (1e-6, 1),
        "early_stopping": (0, 100_000),
    }
    spaces: ClassVar = {
        "default": {"max_depth": [2, 4, 6]},
        "wide": {
            "max_depth": [2, 3, 4, 6],
            "colsample_bytree": [0.1, 0.3, 1.0],
            "learning_rate": [0.1, 0.2],
        },
    }

    def fit(
        self, X: Matrix, y: NDArray[np.intp], n_classes: int, *, seed: int = 0, folds: Folds = ()
    ) -> None:
        X = _in_memory(X)
        options = self._options(n_classes, seed, _threads(X))
        rounds = self.parameters["n_estimators"]
        if folds and self.parameters["early_stopping"]:
            fitted, judged = _fold_matrices(X, y, folds[0], options)
            rounds = _best_rounds(self._boost_until_worse(options, fitted, judged))
        # No rows are left to stop by: the number of rounds is fixed.
        booster = import_xgboost().train(options, _binned_matrix(X, y, options), rounds)
        self._trees = Trees.from_xgboost(json.loads(booster.save_raw("json")))

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

        Each fold stops by the rows that it scores. The best rounds of all folds are averaged. Each
        fold is scored after that many rounds. The candidate is yielded with that number, so that
        all rows can be fitted with as many.
        """
        heads = [self.like(candidate) for candidate in candidates]
        boosted_folds = _boost_folds(heads, _in_memory(X), y, n_classes, folds, seed)
        for number, candidate in enumerate(candidates):
            matrices = [judged for judged, _ in boosted_folds]
            boosters = [by_candidate[number] for _, by_candidate in boosted_folds]
            # One number for all folds, since all rows are later fitted with one.
            rounds = round(float(np.mean([_best_rounds(booster) for booster in boosters])))
            scores = np.full((len(y), n_classes), np.nan)
            for (_, rows), matrix, booster in zip(folds, matrices, boosters, strict=True):
                # A fold that stopped early has fewer rounds than the mean.
                last = min(rounds, booster.num_boosted_rounds())
                margin = booster.predict(matrix, output_margin=True, iteration_range=(0, last))
                scores[rows] = two_columns(margin)
            yield {**candidate, "n_estimators": rounds, "early_stopping": 0}, scores

    def scores(self, X: NDArray[Any]) -> NDArray[np.float64]:
        return two_columns(self._trees.scores(X))

    @property
    def arrays(self) -> Arrays:
        return self._trees.arrays

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._trees = Trees(arrays)

    def _options(self, n_classes: int, seed: int, n_threads: int) -> dict[str, Any]:
        """Return XGBoost's own parameters."""
        objective: dict[str, Any]
        if n_classes == 2:
            objective = {"objective": "binary:logistic", "eval_metric": "logloss"}
        else:
            objective = {
                "objective": "multi:softprob",
                "num_class": n_classes,
                "eval_metric": "mlogloss",
            }
        return {
            "eta": self.parameters["learning_rate"],
            "max_depth": self.parameters["max_depth"],
            "colsample_bytree": self.parameters["colsample_bytree"],
            **objective,
            # A score of 0 for two classes; the same score for each of more, so that it cancels.
            "base_score": 0.5,
            "tree_method": "hist",
            "seed": seed,
            "nthread": n_threads,
            "device": _device(),
        }

    def _boost_until_worse(self, options: dict[str, Any], fitted: Any, judged: Any) -> Any:
        """Return a booster that stopped once the log loss of the judged rows fell no more."""
        return import_xgboost().train(
            options,
            fitted,
            self.parameters["n_estimators"],
            evals=[(judged, "judged")],
            early_stopping_rounds=self.parameters["early_stopping"] or None,
            verbose_eval=False,
        )


def import_xgboost() -> Any:
    """Import XGBoost.

    Raises:
        MissingExtraError: XGBoost is not installed.
        FreezeframeError: XGBoost is installed but cannot be loaded (without OpenMP, say).
    """
    try:
        import xgboost
    except ImportError:
        raise MissingExtraError("xgboost", "cpu", "the head xgboost") from None
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        raise FreezeframeError(f"xgboost cannot be loaded ({reason}); install it again") from None
    return xgboost


def _boost_folds(
    heads: Sequence[XGBoost],
    X: Matrix,
    y: NDArray[np.intp],
    n_classes: int,
    folds: Folds,
    seed: int,
) -> list[tuple[Any, list[Any]]]:
    """Boost each head in each fold until the fold's judged rows are scored worse.

    Returns:
        For each fold, XGBoost's matrix of the judged rows, and a booster for each head.
    """
    options = [head._options(n_classes, seed, _threads(X, len(folds))) for head in heads]

    def boost(fold: Fold) -> tuple[Any, list[Any]]:
        # The bins do not depend on the head: they are computed once for all.
        fitted, judged = _fold_matrices(X, y, fold, options[0])
        boosters = [
            head._boost_until_worse(head_options, fitted, judged)
            for head, head_options in zip(heads, options, strict=True)
        ]
        return judged, boosters

    # A GPU has room for one fit, and a store is read by one fit at a time.
    serial = options[0]["device"] != "cpu" or not isinstance(X, np.ndarray)
    n_threads = 1 if serial else min(len(folds), _cores())
    with ThreadPoolExecutor(n_threads) as threads:
        return list(threads.map(boost, folds))


def _best_rounds(booster: Any) -> int:
    """Return the rounds of the least log loss; all rounds if boosting did not stop early."""
    best = booster.attr("best_iteration")
    # XGBoost counts iterations from 0.
    return int(best) + 1 if best else int(booster.num_boosted_rounds())


def _in_memory(X: Matrix) -> Matrix:
    """Return the features as an array, unless they are too large for one."""
    if isinstance(X, FeatureRows) and 4 * X.shape[0] * X.shape[1] > IN_MEMORY_BYTES:
        return X
    return np.asarray(X, dtype=np.float32)


def _fold_matrices(
    X: Matrix, y: NDArray[np.intp], fold: Fold, options: Mapping[str, Any]
) -> tuple[Any, Any]:
    """Return XGBoost's matrices of a fold: the rows to fit on, and those to score in their bins."""
    fitted, judged = fold
    fitted_matrix = _binned_matrix(take(X, fitted), y[fitted], options)
    return fitted_matrix, _binned_matrix(take(X, judged), y[judged], options, fitted_matrix)


def _binned_matrix(
    X: Matrix, y: NDArray[np.intp], options: Mapping[str, Any], reference: Any = None
) -> Any:
    """Return features in bins of one byte each: XGBoost's `QuantileDMatrix`.

    Args:
        X: features of shape (n_rows, n_features).
        y: class numbers of shape (n_rows,).
        options: XGBoost's own parameters.
        reference: a matrix whose bins are used.
    """
    xgboost = import_xgboost()
    # The iterator over a store passes labels with each block; an array needs them here.
    data = {"data": X, "label": y} if isinstance(X, np.ndarray) else {"data": _blocks(X, y)}
    return xgboost.QuantileDMatrix(**data, ref=reference, nthread=options["nthread"])


def _blocks(X: FeatureRows, y: NDArray[np.intp]) -> Any:
    """Return an iterator that XGBoost reads several times: features of a store, block by block."""
    base: Any = import_xgboost().DataIter

    class Blocks(base):  # type: ignore[misc]
        def reset(self) -> None:
            self.remaining = X.blocks()

        def next(self, input_data: Callable[..., Any]) -> bool:
            # One block a call; False when none is left.
            for rows, block in self.remaining:
                input_data(data=block, label=y[rows])
                return True
            return False

    return Blocks()


def _threads(X: Matrix, n_fits: int = 1) -> int:
    """Return the number of threads for each of several fits at a time.

    On few features, more threads wait for each other longer than they work.
    """
    return max(1, min(_cores() // n_fits, X.shape[0] * X.shape[1] // 2**22))


def _cores() -> int:
    from joblib import cpu_count

    return int(cpu_count())


def _device() -> str:
    """Return "cuda" if there is an NVIDIA GPU and XGBoost was built for it, else "cpu"."""
    from ...extract.engines.devices import gpu_megabytes

    return "cuda" if import_xgboost().build_info().get("USE_CUDA") and gpu_megabytes() else "cpu"
