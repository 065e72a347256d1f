"""Gradient-boosted trees."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...errors import FreezeframeError, MissingExtraError
from ...features.rows import FeatureRows
from ..matrix import Folds, Matrix, take, two_columns
from .arrays import Arrays
from .base import Head, Parameters
from .trees import Trees

IN_MEMORY_BYTES = 2**30
"""Features of more bytes are read from the store block by block, twice, and only their bins are held."""


class XGBoost(Head):
    """Gradient-boosted trees (Chen and Guestrin, arXiv:1603.02754), histogram method.

    The fitted trees are kept as plain arrays and walked with NumPy: XGBoost's own loader can be
    crashed by a hostile file, and predicting needs no XGBoost. Two classes share one tree a round,
    more have one each.

    Parameters are `n_estimators` (rounds, at most), `learning_rate`, `max_depth`,
    `colsample_bytree` (the share of the features that a tree is chosen from) and `early_stopping`:
    the number of rounds without a better loss after which no more are tried, 0 for all rounds. What
    the first fold says of the rounds, all rows are then fitted with.
    """

    name = "xgboost"
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
            rounds = _best_rounds(self._stopped_early(options, *_matrices(X, y, folds[0], options)))
        booster = import_xgboost().train(options, _matrix(X, y, options), rounds)
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
        """As every head's, but each fold stops early by the rows it judges.

        A candidate is yielded with the mean over the folds of the rounds that were best, for all
        rows to be fitted with as many, and it is judged after as many in each fold.
        """
        heads = [type(self)(**{**self.parameters, **candidate}) for candidate in candidates]
        X = _in_memory(X)
        options = [head._options(n_classes, seed, _threads(X, len(folds))) for head in heads]

        def boosted(fold: tuple[NDArray[np.intp], NDArray[np.intp]]) -> tuple[Any, list[Any]]:
            fitted, judged = _matrices(X, y, fold, options[0])
            return judged, [
                head._stopped_early(own, fitted, judged)
                for head, own in zip(heads, options, strict=True)
            ]

        alone = options[0]["device"] != "cpu" or not isinstance(X, np.ndarray)
        with ThreadPoolExecutor(1 if alone else min(len(folds), _cores())) as threads:
            boosters = list(threads.map(boosted, folds))
        for number, candidate in enumerate(candidates):
            rounds = round(float(np.mean([_best_rounds(found[number]) for _, found in boosters])))
            scores = np.full((len(y), n_classes), np.nan)
            for (_, rows), (judged, found) in zip(folds, boosters, strict=True):
                last = min(rounds, found[number].num_boosted_rounds())
                margin = found[number].predict(
                    judged, output_margin=True, iteration_range=(0, last)
                )
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
        """XGBoost's own parameters."""
        names = {
            "learning_rate": "eta",
            "max_depth": "max_depth",
            "colsample_bytree": "colsample_bytree",
        }
        options = {theirs: self.parameters[ours] for ours, theirs in names.items()}
        if n_classes == 2:
            options |= {"objective": "binary:logistic", "eval_metric": "logloss"}
        else:
            options |= {
                "objective": "multi:softprob",
                "num_class": n_classes,
                "eval_metric": "mlogloss",
            }
        options["base_score"] = (
            0.5  # of two classes that is a score of 0, of more the same for all: it cancels out
        )
        return options | {
            "tree_method": "hist",
            "seed": seed,
            "nthread": n_threads,
            "device": _device(),
        }

    def _stopped_early(self, options: dict[str, Any], fitted: Any, judged: Any) -> Any:
        """A booster that stopped when its log loss on what it is judged by had not been better for a while."""
        patience = self.parameters["early_stopping"] or None
        rounds = self.parameters["n_estimators"]
        return import_xgboost().train(
            options,
            fitted,
            rounds,
            evals=[(judged, "judged")],
            early_stopping_rounds=patience,
            verbose_eval=False,
        )


def import_xgboost() -> Any:
    """XGBoost.

    Raises:
        MissingExtraError: it is not installed.
        FreezeframeError: it is, but cannot be loaded (without OpenMP, say).
    """
    try:
        import xgboost
    except ImportError:
        raise MissingExtraError("xgboost", "cpu", "the head xgboost") from None
    except Exception as error:
        raise FreezeframeError(
            f"xgboost cannot be loaded ({' '.join(str(error).split())[:120]})"
        ) from None
    return xgboost


def _best_rounds(booster: Any) -> int:
    """The rounds after which the log loss was least; all if it did not stop early."""
    best = booster.attr("best_iteration")
    return int(best) + 1 if best else int(booster.num_boosted_rounds())


def _in_memory(X: Matrix) -> Matrix:
    """The features as an array, unless they are too large for one."""
    if isinstance(X, FeatureRows) and 4 * X.shape[0] * X.shape[1] > IN_MEMORY_BYTES:
        return X
    return np.asarray(X, dtype=np.float32)


def _matrices(
    X: Matrix,
    y: NDArray[np.intp],
    fold: tuple[NDArray[np.intp], NDArray[np.intp]],
    options: Mapping[str, Any],
) -> tuple[Any, Any]:
    """The rows to fit on, and those to judge by in the bins of the first, as XGBoost's matrices."""
    fitted = _matrix(take(X, fold[0]), y[fold[0]], options)
    return fitted, _matrix(take(X, fold[1]), y[fold[1]], options, fitted)


def _matrix(
    X: Matrix, y: NDArray[np.intp], options: Mapping[str, Any], binned_as: Any = None
) -> Any:
    """Features in bins, a byte each: XGBoost's `QuantileDMatrix`."""
    xgboost = import_xgboost()
    data = {"data": X, "label": y} if isinstance(X, np.ndarray) else {"data": _blocks(X, y)}
    return xgboost.QuantileDMatrix(**data, ref=binned_as, nthread=options["nthread"])


def _blocks(X: FeatureRows, y: NDArray[np.intp]) -> Any:
    """Features of a store as XGBoost asks for them, block by block, from the start several times."""
    base: Any = import_xgboost().DataIter

    class Blocks(base):  # type: ignore[misc]
        def reset(self) -> None:
            self.left = X.blocks()

        def next(self, input_data: Callable[..., Any]) -> bool:
            for rows, block in self.left:
                input_data(data=block, label=y[rows])
                return True
            return False

    return Blocks()


def _threads(X: Matrix, n_fits: int = 1) -> int:
    """For each of several fits at a time: more on few features wait for each other longer than they work."""
    return max(1, min(_cores() // n_fits, X.shape[0] * X.shape[1] // 2**22))


def _cores() -> int:
    from joblib import cpu_count

    return int(cpu_count())


def _device() -> str:
    """ "cuda" where there is an NVIDIA GPU and XGBoost was built for it, else "cpu"."""
    from ...extract.devices import gpu_megabytes

    return "cuda" if import_xgboost().build_info().get("USE_CUDA") and gpu_megabytes() else "cpu"
