"""Scatter of an estimated difference around the true one: its intervals, and one-sided tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..predictions import Floats
from ..roc_area import ALPHA, Interval


class Scatter(Protocol):
    """Scatter of an estimated difference around the true one."""

    @property
    def center(self) -> float:
        """Middle of the intervals."""

    def interval(self, alpha: float) -> Interval:
        """Return the interval that misses the true difference with a chance of alpha."""

    def tail(self, distance: float) -> float:
        """Return the chance of an estimate that is at least so far above the true difference."""


@dataclass(frozen=True)
class NormalScatter:
    """Normal scatter of a difference of two shares.

    Attributes:
        center: middle of the intervals.
        error: standard error.
    """

    center: float
    error: float

    def interval(self, alpha: float) -> Interval:
        """Return the interval, cut to [-1, 1]."""
        from scipy.special import ndtri

        half = self.error * ndtri(1 - alpha / 2)
        return float(max(-1, self.center - half)), float(min(1, self.center + half))

    def tail(self, distance: float) -> float:
        """Return a normal tail probability; without any scatter it is 0 or 1."""
        from scipy.special import ndtr

        if self.error == 0:
            return float(distance <= 0)
        return float(ndtr(-distance / self.error))


@dataclass(frozen=True)
class ResampledScatter:
    """Scatter of resamples: the same on both sides (Hall 1988).

    Attributes:
        center: the measured difference.
        distances: distance of each resample's difference from it, of shape (n_resamples,).
    """

    center: float
    distances: Floats

    def interval(self, alpha: float) -> Interval:
        """Return the interval that reaches as far as the share 1 - alpha of the distances."""
        half = float(np.quantile(self.distances, 1 - alpha))
        return self.center - half, self.center + half

    def tail(self, distance: float) -> float:
        """Return half the share of distances that are at least as large."""
        if distance < 0:
            return 1 - self.tail(-distance)
        # Differences that differ by rounding alone count as equal.
        n_far = np.count_nonzero(self.distances >= distance - 1e-12)
        return float((n_far + 1) / (self.distances.size + 1) / 2)


@dataclass(frozen=True)
class Equivalence:
    """Two one-sided tests of a difference against a margin.

    Attributes:
        margin: least difference that matters, as a share: 0.02 is two points of per cent.
        low: lower end of the difference's 90 % interval.
        high: its upper end.
        p: the larger p-value of the two tests: of a difference of the margin or more, and of one of
            minus the margin or less. It is below 5 % where the interval is within the margin.
    """

    margin: float
    low: float
    high: float
    p: float


def equivalence(scatters: Sequence[Scatter], difference: float, margin: float) -> Equivalence:
    """Test a difference against a margin (Schuirmann 1987).

    Args:
        scatters: the widest of these counts; none if the difference is not defined.
        difference: the measured difference, which the interval contains.
        margin: least difference that matters, as a share above 0.

    References:
        Schuirmann (1987): A comparison of the two one-sided tests procedure and the power approach
        for assessing the equivalence of average bioavailability. Journal of Pharmacokinetics and
        Biopharmaceutics 15, 657-680.

    Examples:
        >>> tested = equivalence([NormalScatter(0.0, 0.01)], 0.0, 0.02)
        >>> round(tested.low, 4), round(tested.high, 4), round(tested.p, 4)
        (-0.0164, 0.0164, 0.0228)
    """
    if not scatters:
        return Equivalence(margin, *[float("nan")] * 3)
    # Each of the two tests has the whole 5 %, so the interval that matches them is of 90 %.
    lows, highs = zip(*(scatter.interval(2 * ALPHA) for scatter in scatters), strict=True)
    p = max(scatter.tail(margin - abs(scatter.center)) for scatter in scatters)
    return Equivalence(margin, min(*lows, difference), max(*highs, difference), p)
