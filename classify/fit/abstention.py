"""The choice of when a head says "cannot say", within the training part alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..heads.base import Head
from ..heads.conformal import HELD_OUT, OUT_OF_FOLD, Conformal, fit_conformal
from ..heads.networks.network import Network
from ..heads.table import find_head
from ..matrix import Folds, Matrix, take


def judges_rows(name: str) -> bool:
    """Return True if a head must judge its training rows by folds to choose the threshold.

    Networks would be trained again for each fold: the rows that they stop early by take the place.
    Controls predict no new image.
    """
    kind = find_head(name)
    return not issubclass(kind, Network) and not kind.judges


def choose_conformal(
    head: Head,
    X: Matrix,
    y: NDArray[np.intp],
    groups: NDArray[np.intp],
    folds: Folds,
    error_rate: float,
) -> Conformal | None:
    """Choose the rule by which a fitted head says "cannot say".

    Args:
        head: fitted on these rows.
        X: their features, of shape (n_rows, n_features).
        y: their class numbers, of shape (n_rows,).
        groups: their group numbers, of shape (n_rows,).
        folds: those that the head was chosen by, which cut no group.
        error_rate: see `Conformal`.

    Returns:
        None for a control, and where no row was judged.
    """
    if head.judges:
        return None
    if head.record.judged is not None:
        return fit_conformal(head.record.judged, y, groups, error_rate, OUT_OF_FOLD)
    if not folds or not isinstance(head, Network):
        return None
    # A network is never trained on the rows that it stops early by.
    _, held_out = folds[0]
    proba = head.predict_proba(take(X, held_out))
    return fit_conformal(proba, y[held_out], groups[held_out], error_rate, HELD_OUT)
