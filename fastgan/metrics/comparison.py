"""Whether a figure of two sides differs by more than chance."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

Better = Literal["lower", "higher"]
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)


class Interval(NamedTuple):
    """A figure, and the ends of its interval.

    Attributes:
        value: the figure.
        low, high: between which the true one lies in 95 % of such intervals.
    """

    value: float
    low: float
    high: float

    @property
    def shows(self) -> bool:
        """Whether 0 lies outside."""
        return self.low > 0 or self.high < 0

    def verdict(self, better: Better) -> Literal["better", "worse", "not shown"]:
        """What this, as the difference of b's figure less a's, says of b."""
        if not self.shows:
            return "not shown"
        return "better" if (self.value < 0) == (better == "lower") else "worse"

    def loss(self, better: Better) -> float:
        """By how much b may be worse, at most; below 0 where it is better by at least that."""
        return self.high if better == "lower" else -self.low


def student_quantile(share: float, dof: float) -> float:
    """t with P(T <= t) = share, of Student's distribution.

    With t = √ν tan θ its density is c cosᵛ⁻¹ θ, without tails, which Gauss-Legendre's rule integrates.

    Args:
        share: from 0.5 on, below 1.
        dof: ν, at least 1, not only whole.

    Raises:
        ValueError: another share or number.

    >>> round(student_quantile(0.975, 4), 4)
    2.7764
    """
    if not 0.5 <= share < 1:
        raise ValueError(f"share must lie in [0.5, 1), got {share}")
    if not dof >= 1:
        raise ValueError(f"dof must be at least 1, got {dof}")
    c = math.exp(math.lgamma((dof + 1) / 2) - math.lgamma(dof / 2)) / math.sqrt(math.pi)
    # The quantile falls as ν grows, from tan(π (share - ½)) at 1.
    low, high = 0.0, math.atan(math.tan(math.pi * (share - 0.5)) / math.sqrt(dof))
    for _ in range(60):
        middle = (low + high) / 2
        densities = np.cos((_NODES + 1) * middle / 2) ** (dof - 1)
        if 0.5 + c * middle / 2 * (_WEIGHTS @ densities) < share:
            low = middle
        else:
            high = middle
    return math.sqrt(dof) * math.tan(low)


def welch(a: Sequence[float], b: Sequence[float]) -> Interval:
    """The mean of b less that of a, with its 95 % interval: variances of the two may differ. Source: Welch 1947.

    Args:
        a, b: figures of independent runs, two of each at least.

    Raises:
        ValueError: fewer.
    """
    for name, values in (("a", a), ("b", b)):
        if len(values) < 2:
            raise ValueError(f"{name} must have at least 2 figures, got {len(values)}")
    of_a, of_b = (statistics.variance(values) / len(values) for values in (a, b))
    part = of_a / (of_a + of_b) if of_a + of_b else 0.5
    dof = 1 / (part**2 / (len(a) - 1) + (1 - part) ** 2 / (len(b) - 1))
    difference = statistics.fmean(b) - statistics.fmean(a)
    width = student_quantile(0.975, dof) * math.sqrt(of_a + of_b)
    return Interval(difference, difference - width, difference + width)


def between(a: Interval, b: Interval) -> Interval:
    """b less a, with the interval that theirs make, of independent figures. Source: Zou & Donner 2008."""
    difference = b.value - a.value
    low = difference - math.hypot(b.value - b.low, a.high - a.value)
    high = difference + math.hypot(b.high - b.value, a.value - a.low)
    return Interval(difference, low, high)
