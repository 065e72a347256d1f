"""The choice of hyper-parameters, calibration and threshold, within the training part alone."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.splits import grouped_folds
from ...errors import FreezeframeError, ParameterError
from ..heads.base import EDGE, Head
from ..heads.calibration import Calibration, fit_calibration, threshold_for
from ..heads.networks.context import TrainingContext
from ..heads.table import HEADS, make_head
from ..matrix import Folds, Matrix

SEARCHES = ("none", "default", "wide")
N_FOLDS = 5
LEAST_PROBABILITY = 1e-15
"""Smaller probabilities count as this one in the log loss."""


@dataclass(frozen=True)
class FitOptions:
    """Options of a fit, for all heads.

    Attributes:
        search: size of the search for hyper-parameters: "none", "default" or "wide".
        parameters: fixed hyper-parameters, by "name", or by "head.name" for one head alone.
        calibrate: True to calibrate probabilities on images that were not fitted on.
        sensitivity: share of the positive images that the threshold must find; None keeps the
            likeliest class.
        error_rate: greatest share of new images whose class is not in their prediction set; other
            answers are withheld.
        n_seeds: number of seeds that heads which draw are fitted with; the first is the task's.

    Raises:
        ParameterError: a value is impossible.
    """

    search: str = "default"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    calibrate: bool = False
    sensitivity: float | None = None
    n_seeds: int = 1
    error_rate: float = 0.1

    def __post_init__(self) -> None:
        if self.search not in SEARCHES:
            raise ParameterError(
                f"search must be one of {', '.join(SEARCHES)}, got {self.search!r}"
            )
        if self.sensitivity is not None and not 0 < self.sensitivity <= 1:
            raise ParameterError(f"sensitivity must be between 0 and 1, got {self.sensitivity}")
        if not 0 < self.error_rate < 1:
            raise ParameterError(f"error_rate must be between 0 and 1, got {self.error_rate}")
        if self.n_seeds < 1:
            raise ParameterError(f"n_seeds must be 1 or more, got {self.n_seeds}")

    def fixed_for(self, name: str) -> dict[str, Any]:
        """Return the fixed hyper-parameters of one head; its own override those for all heads."""
        defaults = HEADS[name].defaults if name in HEADS else {}
        fixed = {}
        own = {}
        for key, value in self.parameters.items():
            head, dot, parameter = key.partition(".")
            if dot and head == name:
                own[parameter] = value
            elif not dot and key in defaults:
                # A hyper-parameter for all heads concerns those that have it.
                fixed[key] = value
        return fixed | own

    def check(self, names: Sequence[str]) -> None:
        """Raise ParameterError if a head is unknown, or a fixed hyper-parameter fits none of them.

        Args:
            names: names of the heads that will be fitted.
        """
        for name in names:
            make_head(name)
        for key in self.parameters:
            head, dot, _ = key.rpartition(".")
            if dot and head not in names:
                raise ParameterError(
                    f"parameter {key}: {head!r} is not among the heads to fit: {', '.join(names)}"
                )
            if not dot and not any(key in HEADS[name].defaults for name in names):
                parameters = {parameter for name in names for parameter in HEADS[name].defaults}
                raise ParameterError(
                    f"parameter {key!r}: no head to fit has it; "
                    f"they have {', '.join(sorted(parameters)) or 'none'}"
                )
        # A head refuses values that it cannot have.
        for name in names:
            make_head(name, **self.fixed_for(name))

    def check_sensitivity(self, positive: str | int | None) -> None:
        """Raise ParameterError if a sensitivity is set but there is no positive class."""
        if self.sensitivity is not None and positive is None:
            raise ParameterError("sensitivity is for two classes only; leave it out")


def fit_head(
    name: str,
    X: Matrix,
    y: NDArray[np.intp],
    n_classes: int,
    folds: Folds,
    options: FitOptions,
    *,
    positive: int | None = None,
    seed: int = 0,
    context: TrainingContext | None = None,
    judge: bool = False,
) -> tuple[Head, int]:
    """Choose hyper-parameters by folds, then fit on all rows.

    The candidate with the least mean log loss over the folds is chosen, the simplest of equal
    ones. Accuracy would not do: only a few images decide it, it is nearly constant over wide
    ranges, and it ignores probabilities. Heads that do not minimise the log loss are compared
    after calibration.

    Args:
        name: name of a head in `HEADS`.
        X: features of shape (n_rows, n_features), or their reduction for a reducible head.
        y: class numbers of shape (n_rows,).
        n_classes: number of classes.
        folds: from `inner_folds`; without any, nothing is chosen.
        options: search, fixed hyper-parameters, calibration, threshold.
        positive: number of the class that `options.sensitivity` is about.
        seed: seed of the fits.
        context: what networks need beside features.
        judge: True to judge the rows by heads that were not fitted on them, even if there is
            nothing to choose; `head.record.judged` has the probabilities.

    Returns:
        The fitted head, and the number of candidates.

    Raises:
        ParameterError: a sensitivity is set, but there are more than two classes.
    """
    from threadpoolctl import threadpool_limits

    options.check_sensitivity(positive)
    fixed = options.fixed_for(name)
    head = make_head(name, context=context, **fixed)
    candidates = candidates_of(head, X, options.search, fixed)
    needs_scores = head.margins or options.calibrate or options.sensitivity is not None
    # Solvers are bound by memory: more BLAS threads would only wait for each other (see
    # `penalty_path.fold_decisions`).
    with threadpool_limits(1, "blas"):
        # A single candidate is chosen without folds, unless its scores are needed.
        choice = len(candidates) > 1 or needs_scores
        compared = candidates if choice or judge else []
        try:
            chosen, scores = _choose(head, X, y, n_classes, folds, compared, seed)
        except FreezeframeError:
            # The fit itself needs no rows that are judged: it only may not say "cannot say".
            if choice:
                raise
            chosen, scores = {}, None
        # Judging alone must not change the head.
        chosen = chosen if choice else {}
        # Fixed values win over those that a candidate found, by early stopping for example.
        earlier_seconds = head.record.earlier_seconds
        head = head.like({**chosen, **fixed})
        head.fit(X, y, n_classes, seed=seed, folds=folds)
    head.record.earlier_seconds += earlier_seconds
    if scores is not None:
        _calibrate(head, scores, y, options, positive)
        head.record.judged = head.calibration.proba(scores)
    elif needs_scores:
        head.notes.append(
            f"{name}: too few independent images to calibrate it; its probabilities mean little"
        )
    return head, len(candidates) if folds else 1


def note_edges(head: Head, X: Matrix, options: FitOptions) -> None:
    """Note each hyper-parameter of a fitted head that is the least or the greatest value tried.

    A better value may be beyond. A search of two values has nothing but edges, and nothing is
    beyond the limit of a head: these are not noted.

    Args:
        head: from `fit_head`.
        X: the matrix that it was fitted on, which scales the values.
        options: those of the fit.
    """
    space = head.space(options.search, X)
    for name, values in space.items():
        value = head.parameters[name]
        if name in options.fixed_for(head.name) or len(values) < 3 or isinstance(value, str):
            continue
        if value in (min(values), max(values)) and value not in head.limits.get(name, ()):
            end = "least" if value == min(values) else "greatest"
            note = (
                f"{head.name}: {name} = {value:g} is the {end} of the {len(values)} values tried, "
                "and a better one may be beyond"
            )
            head.notes.append(note)
            head.record.codes[note] = EDGE


def inner_folds(
    labels: NDArray[Any], groups: NDArray[np.intp], validation: NDArray[np.bool_] | None, seed: int
) -> Folds:
    """Return the folds that hyper-parameters are chosen by.

    A validation split is the only fold if there is one. Otherwise there are 5 folds that keep
    groups together, fewer if a class is rare, or none.

    Args:
        labels: class of each training row, of shape (n_rows,).
        groups: group number of each row, of shape (n_rows,).
        validation: True for rows of the validation split, of shape (n_rows,).
        seed: seed of the folds.
    """
    if validation is not None and validation.any():
        # A head cannot be fitted without an example of each class.
        if set(labels[~validation]) == set(labels):
            return [(np.flatnonzero(~validation), np.flatnonzero(validation))]
        return []
    # A class of few groups cannot be in every fold; fewer folds may still be possible.
    for n_folds in range(N_FOLDS, 1, -1):
        try:
            return grouped_folds(labels, groups, n_folds=n_folds, seed=seed)
        except FreezeframeError:
            continue
    return []


def candidates_of(
    head: Head, X: Matrix, search: str, fixed: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """List all combinations of the hyper-parameters that are not fixed, the simplest head first."""
    space = {key: values for key, values in head.space(search, X).items() if key not in fixed}
    combinations = itertools.product(*space.values())
    return [dict(zip(space, values, strict=True)) for values in combinations]


def _choose(
    head: Head,
    X: Matrix,
    y: NDArray[np.intp],
    n_classes: int,
    folds: Folds,
    candidates: Sequence[Mapping[str, Any]],
    seed: int,
) -> tuple[Mapping[str, Any], NDArray[np.float64] | None]:
    """Return the best candidate, and its scores of the rows that it was not fitted on.

    Without folds or candidates the hyper-parameters are the head's own, and there are no scores.
    """
    if not folds or not candidates:
        return {}, None
    least_loss = np.inf
    chosen: dict[str, Any] = {}
    chosen_scores = None
    for candidate, scores in head.cross_validate(X, y, n_classes, folds, candidates, seed):
        # Margins are no probabilities before they are calibrated.
        calibration = Calibration() if head.proper else fit_calibration(scores, y)
        loss = mean_log_loss(calibration.proba(scores), y, folds)
        # Equal candidates leave the first, which is the simplest. A loss of NaN is never less.
        if loss < least_loss:
            least_loss = loss
            chosen = dict(candidate)
            chosen_scores = scores
    if chosen_scores is None:
        raise FreezeframeError(
            f"{head.name}: no candidate gives finite probabilities; fix other hyper-parameters"
        )
    return chosen, chosen_scores


def mean_log_loss(proba: NDArray[np.float64], y: NDArray[np.intp], folds: Folds) -> float:
    """Return the log loss of each fold's judged rows, averaged over the folds."""
    losses = -np.log(np.maximum(proba[np.arange(len(y)), y], LEAST_PROBABILITY))
    return float(np.mean([losses[judged].mean() for _, judged in folds]))


def _calibrate(
    head: Head,
    scores: NDArray[np.float64],
    y: NDArray[np.intp],
    options: FitOptions,
    positive: int | None,
) -> None:
    """Calibrate a head and set its threshold, by scores of rows that it was not fitted on."""
    if head.margins or options.calibrate:
        head.calibration = fit_calibration(scores, y)
    if options.sensitivity is not None and positive is not None:
        # A validation split judges some of the rows only; the others have no scores.
        judged = ~np.isnan(scores).any(axis=1)
        proba = head.calibration.proba(scores[judged])[:, positive]
        threshold = threshold_for(proba, y[judged], options.sensitivity, positive)
        head.calibration = replace(head.calibration, threshold=threshold, positive=positive)
