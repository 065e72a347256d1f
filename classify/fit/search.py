"""Choosing a head's hyper-parameters, its calibration and its threshold inside the training part alone."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.splits import grouped_folds
from ...errors import FreezeframeError, ParameterError
from ..heads.base import Head
from ..heads.calibration import Calibration, fit_calibration, threshold_for
from ..heads.networks.context import TrainingContext
from ..heads.table import HEADS, make_head
from ..matrix import Folds, Matrix

SEARCHES = ("none", "default", "wide")
N_FOLDS = 5
LEAST = 1e-15
"""Probabilities are taken to be no less in the log loss."""


@dataclass(frozen=True)
class Wanted:
    """What is asked of every head.

    Attributes:
        search: how many hyper-parameters are tried: "none", "default" or "wide".
        parameters: hyper-parameters that are fixed, by "name", or by "head.name" for one head
            alone.
        calibrate: fit probabilities to what was seen of images that were not fitted on.
        sensitivity: choose the threshold at which this share of the positive images are found.

    Raises:
        ParameterError: a value is impossible.
    """

    search: str = "default"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    calibrate: bool = False
    sensitivity: float | None = None

    def __post_init__(self) -> None:
        if self.search not in SEARCHES:
            raise ParameterError(
                f"search must be one of {', '.join(SEARCHES)}, got {self.search!r}"
            )
        if self.sensitivity is not None and not 0 < self.sensitivity <= 1:
            raise ParameterError(f"sensitivity must lie between 0 and 1, got {self.sensitivity}")

    def fixed_for(self, name: str) -> dict[str, Any]:
        """The fixed hyper-parameters of one head."""
        known = HEADS[name].defaults if name in HEADS else {}
        general = {
            key: value for key, value in self.parameters.items() if "." not in key and key in known
        }
        own = {
            key.partition(".")[2]: value
            for key, value in self.parameters.items()
            if key.startswith(f"{name}.")
        }
        return {**general, **own}

    def check(self, names: list[str]) -> None:
        """Raise ParameterError if a head or a fixed hyper-parameter does not exist, or is of no head asked for."""
        for name in names:
            make_head(name)
        for key in self.parameters:
            head, dot, _ = key.rpartition(".")
            if dot and head not in names:
                raise ParameterError(
                    f"parameter {key}: {head!r} is none of the heads asked for: {', '.join(names)}"
                )
            if not dot and not any(key in HEADS[name].defaults for name in names):
                known = sorted({parameter for name in names for parameter in HEADS[name].defaults})
                raise ParameterError(
                    f"no head asked for has a parameter {key!r}; there are {', '.join(known) or 'none'}"
                )
        for name in names:
            make_head(name, **self.fixed_for(name))


def fit_head(
    name: str,
    X: Matrix,
    y: NDArray[np.intp],
    n_classes: int,
    folds: Folds,
    wanted: Wanted,
    *,
    positive: int | None = None,
    seed: int = 0,
    context: TrainingContext | None = None,
) -> tuple[Head, int]:
    """Choose by folds, then fit on all rows.

    The candidate of the least mean log loss over the folds is taken, the simplest of several:
    accuracy, which only a few images decide, is all but the same over wide ranges, and says nothing
    of probabilities. Heads that are not fitted to the log loss are judged after calibration.

    Args:
        X: features of shape (n_rows, n_features), or their reduction for a reducible head.
        y: class numbers of shape (n_rows,).
        folds: from `folds_within`; without any nothing is chosen.
        positive: number of the class that a wanted sensitivity speaks of.
        context: what networks need beside features.

    Returns:
        The fitted head, and how many candidates were tried.

    Raises:
        ParameterError: a sensitivity is wanted, but there are more than two classes.
    """
    from threadpoolctl import threadpool_limits

    if wanted.sensitivity is not None and positive is None:
        raise ParameterError("a sensitivity can be asked for with two classes only")
    fixed = wanted.fixed_for(name)
    head = make_head(name, context=context, **fixed)
    space = {
        key: values for key, values in head.space(wanted.search, X).items() if key not in fixed
    }
    candidates = [
        dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())
    ]
    unseen = head.margins or wanted.calibrate or wanted.sensitivity is not None
    with threadpool_limits(1, "blas"):  # see `penalty_path.fold_decisions`
        tried = candidates if len(candidates) > 1 or unseen else []
        chosen, scores = _choose(head, X, y, n_classes, folds, tried, seed)
        earlier, head = head.record.earlier_seconds, head.like({**chosen, **fixed})
        head.fit(X, y, n_classes, seed=seed, folds=folds)
    head.record.earlier_seconds += earlier
    if unseen and scores is None:
        head.notes.append(
            f"{name}: too few independent images to calibrate it; its probabilities mean little"
        )
    elif scores is not None:
        _calibrate(head, scores, y, wanted, positive)
    return head, len(candidates) if folds else 1


def _choose(
    head: Head,
    X: Matrix,
    y: NDArray[np.intp],
    n_classes: int,
    folds: Folds,
    candidates: list[dict[str, Any]],
    seed: int,
) -> tuple[Mapping[str, Any], NDArray[np.float64] | None]:
    """The best candidate, and its scores of the rows that it was not fitted on; none without folds or candidates."""
    best, chosen, scores = np.inf, {}, None
    if folds and candidates:
        for candidate, found in head.cross_validate(X, y, n_classes, folds, candidates, seed):
            proba = (Calibration() if head.proper else fit_calibration(found, y)).proba(found)
            losses = -np.log(np.maximum(proba[np.arange(len(y)), y], LEAST))
            loss = float(np.mean([losses[judged].mean() for _, judged in folds]))
            if loss < best:
                best, chosen, scores = loss, dict(candidate), found
        if scores is None:
            raise FreezeframeError(
                f"{head.name}: no candidate gives probabilities that are numbers"
            )
    return chosen, scores


def _calibrate(
    head: Head,
    scores: NDArray[np.float64],
    y: NDArray[np.intp],
    wanted: Wanted,
    positive: int | None,
) -> None:
    if head.margins or wanted.calibrate:
        head.calibration = fit_calibration(scores, y)
    if wanted.sensitivity is not None and positive is not None:
        judged = ~np.isnan(scores).any(axis=1)
        proba = head.calibration.proba(scores[judged])[:, positive]
        threshold = threshold_for(proba, y[judged], wanted.sensitivity, positive)
        head.calibration = replace(head.calibration, threshold=threshold, positive=positive)


def folds_within(
    labels: NDArray[Any], groups: NDArray[np.intp], validation: NDArray[np.bool_] | None, seed: int
) -> Folds:
    """What hyper-parameters are chosen by: rows that validate, else 5 grouped folds, fewer of a rare class, or none.

    Args:
        labels: class of each training row, of shape (n_rows,).
        groups: group number of each, of shape (n_rows,).
        validation: which rows validate, of shape (n_rows,).
    """
    if validation is not None and validation.any():
        if set(labels[~validation]) == set(labels):
            return [(np.flatnonzero(~validation), np.flatnonzero(validation))]
        return []
    for n_folds in range(N_FOLDS, 1, -1):
        try:
            return grouped_folds(labels, groups, n_folds=n_folds, seed=seed)
        except FreezeframeError:
            continue
    return []
