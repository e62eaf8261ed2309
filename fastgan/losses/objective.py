"""What a player minimises: a sum of terms, some of them evaluated lazily."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import Tensor

_T = TypeVar("_T")


def _unheard(name: str, values: Tensor) -> None:
    """Reports of a move that no one keeps statistics of."""


@dataclass
class Move:
    """One micro-batch's part in an update: what the terms that share a backward pass look at.

    Attributes:
        batch: what the player's source yields.
        first: whether it is the first micro-batch of its update: moving averages inside networks follow that alone.
        report: (name, values) -> None, takes values into the running mean of a statistic.
    """

    batch: Any = field(repr=False)
    first: bool = True
    report: Callable[[str, Tensor], None] = _unheard
    _made: dict[str, Any] = field(default_factory=dict, repr=False)

    def once(self, name: str, make: Callable[[], _T]) -> _T:
        """What `make` gives, made for the first term that asks for `name` and shared by the others."""
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]


@dataclass(frozen=True)
class Term:
    """weight · mean(loss), added to a player's objective every `interval` steps.

    Attributes:
        name: what statistics and the progress display call it.
        loss: move → [N] or scalar.
        weight: factor of the mean; a 0-dimensional tensor where a schedule writes into it.
        interval: 1 shares one backward and optimizer step with the player's other terms of interval 1; those of k > 1
            (lazy regularisation, Karras et al. 2020, app. B) share one every k-th step, weighted ×k. That terms of one
            interval share it keeps the pace of a player with several discriminators, of which each has a penalty.

    Raises:
        ValueError: an interval below 1.
    """

    name: str
    loss: Callable[[Move], Tensor]
    weight: float | Tensor = 1.0
    interval: int = 1

    def __post_init__(self):
        if self.interval < 1:
            raise ValueError(f"interval of term {self.name!r} must be at least 1, got {self.interval}")


def lazy_correction(terms: tuple[Term, ...]) -> float:
    """c = 1 / (1 + Σ 1/k) over the different intervals k of lazy terms: k/(k + 1) for one, 1 for none.

    A player with lazy terms takes 1/c optimizer steps a training step; lr·c and β^c keep Adam's pace unchanged.
    Source: Karras et al. 2020, app. B.
    """
    return 1 / (1 + sum(1 / k for k in {term.interval for term in terms} - {1}))
