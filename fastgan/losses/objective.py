"""What a player minimises: a sum of terms, some of them evaluated lazily."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Term:
    """weight · mean(loss), added to a player's objective every `interval` steps.

    Attributes:
        name: what statistics and the progress display call it.
        loss: (batch, micro) → [N] or scalar. `batch` is what the player's source yields, `micro` the index of the
            micro-batch within the step, 0 for the first: moving averages inside networks update at 0 only.
        weight: factor of the mean.
        interval: 1 shares one backward and optimizer step with the player's other terms of interval 1; k > 1 (lazy
            regularisation, Karras et al. 2020, app. B) has its own every k-th step, weighted ×k.

    Raises:
        ValueError: an interval below 1.
    """

    name: str
    loss: Callable[[Any, int], Tensor]
    weight: float = 1.0
    interval: int = 1

    def __post_init__(self):
        if self.interval < 1:
            raise ValueError(f"interval of term {self.name!r} must be at least 1, got {self.interval}")


def lazy_correction(terms: tuple[Term, ...]) -> float:
    """c = 1 / (1 + Σ 1/k) over the lazy terms' intervals k: k/(k + 1) for one lazy term, 1 for none.

    A player with lazy terms takes 1/c optimizer steps a training step; lr·c and β^c keep Adam's pace unchanged.
    Source: Karras et al. 2020, app. B.
    """
    return 1 / (1 + sum(1 / term.interval for term in terms if term.interval > 1))
