"""Conformal prediction: sets of classes with a stated error rate, and answers that are withheld.

From images that a head was not fitted on, a threshold is chosen. The set of a new image has each
class whose probability reaches it. Of images like these, at most the error rate have a set without
their class. The head answers only where the set is its answer alone.

References:
    Vovk V, Gammerman A, Shafer G (2005): Algorithmic learning in a random world. Springer.
    Sadinle M, Lei J, Wasserman L (2019): Least ambiguous set-valued classifiers with bounded error
    levels. JASA 114, 223-234.
    Angelopoulos AN, Bates S (2021): A gentle introduction to conformal prediction and
    distribution-free uncertainty quantification. arXiv:2107.07511.
    Dunn R, Wasserman L, Ramdas A (2022): Distribution-free prediction sets for two-layer
    hierarchical models. JASA 118, 2491-2502.
    Lee Y, Barber RF, Willett R (2023): Distribution-free inference with hierarchical data.
    arXiv:2306.06342.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

OUT_OF_FOLD = "out of fold"
HELD_OUT = "held out"

_ROUNDING = 1e-9
"""Sums of weights may be this much too small."""


@dataclass(frozen=True)
class Conformal:
    """The rule by which a head says "cannot say".

    The prediction set of an image has each class whose probability reaches the threshold. The head
    answers if its answer alone is in the set. It cannot say if the set has several classes, or none
    because no class is likely enough.

    Attributes:
        error_rate: greatest share of new images whose class is not in their set.
        threshold: least probability of a class in a set; None if there are too few groups for this
            error rate, so that nothing can be claimed.
        n_groups: number of groups of images that the threshold was chosen by.
        source: whose probabilities chose it. `OUT_OF_FOLD`: heads that were not fitted on the image
            or its group, beside this head. `HELD_OUT`: this head, on images held out of its fit.
    """

    error_rate: float
    threshold: float | None
    n_groups: int
    source: str = OUT_OF_FOLD

    def sets(self, proba: NDArray[np.float64]) -> NDArray[np.bool_] | None:
        """Return True for each class in the set of each row, of the shape of `proba`."""
        return None if self.threshold is None else np.asarray(proba >= self.threshold)

    @property
    def problem(self) -> str:
        """Say that nothing can be claimed, and why; "" if there is a threshold."""
        if self.threshold is not None:
            return ""
        return (
            f"no answer is withheld: an error rate of {100 * self.error_rate:g} % needs "
            f"{least_groups(self.error_rate)} independent training images that the head was not "
            f"fitted on, and there are {self.n_groups}"
        )


def least_groups(error_rate: float) -> int:
    """Return the least number of groups for which there is a threshold.

    Examples:
        >>> least_groups(0.1), least_groups(0.05)
        (9, 19)
    """
    return math.ceil((1 - error_rate) / error_rate - _ROUNDING)


def fit_conformal(
    proba: NDArray[np.float64],
    y: NDArray[np.intp],
    groups: NDArray[np.intp],
    error_rate: float,
    source: str = OUT_OF_FOLD,
) -> Conformal:
    """Choose the threshold of prediction sets, by images that the head was not fitted on.

    This is split-conformal prediction with the score 1 - p(class) (Vovk 2005; Sadinle 2019). Images
    of one group, one patient's say, are not exchangeable with others: each group has a weight of 1,
    which its images share (hierarchical conformal prediction, Lee 2023; pooled distributions, Dunn
    2022). Where each image is its own group, the threshold is the usual one: of n probabilities of
    the true class in falling order, that of place ceil((n + 1) (1 - error_rate)).

    A random image of a new group has its class in its set with a probability of at least
    1 - error_rate. This holds on average over new groups and over draws of the groups here, if all
    groups are exchangeable and the head was fitted without them (`HELD_OUT`). The images here also
    choose a network's epoch and, with `--calibrate` or `--sensitivity`, a head's calibration and
    its threshold for answers: the guarantee is then approximate. With `OUT_OF_FOLD`, a head fitted
    on all groups takes the place of those that gave the probabilities. Then there is no such
    guarantee for small samples: it holds as far as heads change little when a fold is left out.

    Args:
        proba: probabilities of shape (n_rows, n_classes); rows with NaN are skipped.
        y: class numbers of shape (n_rows,).
        groups: group number of each row, of shape (n_rows,).
        error_rate: between 0 and 1.
        source: whose probabilities these are, see `Conformal`.

    Examples:
        >>> p = np.linspace(0.99, 0.91, 9)
        >>> proba = np.column_stack([p, 1 - p])
        >>> fit_conformal(proba, np.zeros(9, np.intp), np.arange(9), 0.1).threshold
        0.91
        >>> fit_conformal(proba, np.zeros(9, np.intp), np.arange(9) // 2, 0.1).threshold is None
        True
    """
    complete = ~np.isnan(proba).any(axis=1)
    of_class = proba[complete, y[complete]]
    _, numbers, sizes = np.unique(groups[complete], return_inverse=True, return_counts=True)
    n_groups = len(sizes)
    falling = np.argsort(-of_class, kind="stable")
    reached = np.cumsum(1 / sizes[numbers.reshape(-1)[falling]])
    # The new group counts, too, as one whose probability might be 0.
    needed = (1 - error_rate) * (n_groups + 1) - _ROUNDING
    place = int(np.searchsorted(reached, needed))
    # Rounding must not let the last group fall short of a whole number of groups.
    if n_groups < least_groups(error_rate):
        return Conformal(error_rate, None, n_groups, source)
    return Conformal(error_rate, float(of_class[falling[place]]), n_groups, source)
