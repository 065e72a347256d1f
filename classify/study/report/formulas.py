"""Formulas of a report: calibration's line, net benefit, predictive values at a prevalence.

References:
    Vickers AJ, Elkin EB (2006): Decision curve analysis: a novel method for evaluating prediction
    models. Medical Decision Making 26, 565-574.
    Van Calster B, McLernon DJ, van Smeden M, Wynants L, Steyerberg EW (2019): Calibration: the
    Achilles heel of predictive analytics. BMC Medicine 17, 230.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...scores.predictions import Floats

LEAST_PROBABILITY_OF_LOGIT = 1e-10
"""Smaller probabilities count as this one, since the logit of 0 is infinite."""


@dataclass(frozen=True)
class CalibrationLine:
    """Two numbers that say how probabilities differ from shares, each with its 95 % interval.

    Attributes:
        intercept: 0 if the mean probability is right, above 0 if probabilities are too low.
        slope: 1 if they are right; below 1 if they are too extreme, above 1 if too timid.
    """

    intercept: tuple[float, float, float]
    slope: tuple[float, float, float]


def calibration_line(
    outcomes: NDArray[np.bool_], probabilities: Floats, groups: NDArray[np.intp]
) -> CalibrationLine | None:
    """Compute the intercept ("in the large") and the slope of calibration (Van Calster 2019).

    The slope is that of a logistic regression of the outcome on the logit of the probability. The
    intercept is that of another one, in which the slope is fixed at 1. The intervals are those of
    statsmodels' GLM; images of one group count as one cluster.

    Args:
        outcomes: True for images of the class, of shape (n,).
        probabilities: probability of the class, of shape (n,).
        groups: group number of each image, of shape (n,).

    Returns:
        None where the numbers are not defined: one class is missing, a threshold separates the
        classes, or all probabilities are equal.
    """
    from scipy.optimize import brentq
    from scipy.special import expit

    inside = np.clip(probabilities, LEAST_PROBABILITY_OF_LOGIT, 1 - LEAST_PROBABILITY_OF_LOGIT)
    logits = np.log(inside / (1 - inside))
    if outcomes.all() or not outcomes.any() or np.ptp(logits) == 0:
        return None
    # A line through separated classes would be infinitely steep.
    ends = logits[outcomes], logits[~outcomes]
    if ends[0].min() >= ends[1].max() or ends[0].max() <= ends[1].min():
        return None
    y = outcomes.astype(float)
    with_slope = np.column_stack([np.ones(len(y)), logits])
    slope = _coefficient(y, with_slope, groups)
    # Probabilities of nearly 0 and 1 that are wrong lead the steps of the fit astray; the sum of
    # the shifted probabilities has its root within these ends.
    start = brentq(lambda shift: (expit(logits + shift) - y).sum(), -100, 100)
    ones = np.ones((len(y), 1))
    intercept = _coefficient(y, ones, groups, offset=logits, start=[start])
    return CalibrationLine(intercept, slope) if slope and intercept else None


def _coefficient(
    y: Floats,
    columns: Floats,
    groups: NDArray[np.intp],
    offset: Floats | None = None,
    start: list[float] | None = None,
) -> tuple[float, float, float] | None:
    """Return the last coefficient of a logistic regression, and its 95 % interval."""
    import statsmodels.api as sm

    with warnings.catch_warnings():
        # A fit without a solution is recognised by its numbers below.
        warnings.simplefilter("ignore")
        try:
            model = sm.GLM(y, columns, family=sm.families.Binomial(), offset=offset)
            clusters = {"groups": groups}
            fit = model.fit(start_params=start, cov_type="cluster", cov_kwds=clusters)
            low, high = fit.conf_int()[-1]
            values = (float(fit.params[-1]), float(low), float(high))
        except (ValueError, ArithmeticError, np.linalg.LinAlgError):
            return None
    return values if np.isfinite(values).all() else None


def net_benefit(outcomes: NDArray[np.bool_], probabilities: Floats, thresholds: Floats) -> Floats:
    """Compute the net benefit of acting where the probability reaches a threshold.

    It is TP / n - FP / n * t / (1 - t): right actions, less wrong ones weighted by the odds of the
    threshold, each a share of all images (Vickers and Elkin 2006).

    Args:
        outcomes: True for images of the class, of shape (n,).
        probabilities: probability of the class, of shape (n,).
        thresholds: from 0 on, below 1, of shape (n_thresholds,).

    Returns:
        Of shape (n_thresholds,).

    Examples:
        >>> y = np.array([True, True, False, False])
        >>> net_benefit(y, np.array([0.9, 0.4, 0.6, 0.1]), np.array([0.25, 0.5]))
        array([0.41666667, 0.        ])
    """
    # Of shape (n_thresholds, n).
    acts = probabilities >= thresholds[:, None]
    right = (acts & outcomes).mean(axis=1)
    wrong = (acts & ~outcomes).mean(axis=1)
    return np.asarray(right - wrong * thresholds / (1 - thresholds))


def predictive_values(
    sensitivity: float, specificity: float, prevalence: Floats
) -> tuple[Floats, Floats]:
    """Compute PPV and NPV at other shares of the positive class, by Bayes' rule.

    Args:
        sensitivity: of the head, at its own threshold.
        specificity: likewise.
        prevalence: shares of the positive class, between 0 and 1, of shape (n,).

    Returns:
        Both of shape (n,), NaN where no image would get that answer.

    Examples:
        >>> predictive_values(0.9, 0.8, np.array([0.5]))
        (array([0.81818182]), array([0.88888889]))
    """
    with np.errstate(invalid="ignore"):
        hits = sensitivity * prevalence
        false_alarms = (1 - specificity) * (1 - prevalence)
        misses = (1 - sensitivity) * prevalence
        rejections = specificity * (1 - prevalence)
        return hits / (hits + false_alarms), rejections / (rejections + misses)
