"""What changes with progress: a tensor, and its value after so many images."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch


class Target(Protocol):
    """What a schedule writes into: a tensor, or a number that the host hands on."""

    def fill_(self, value: float, /) -> object: ...


class BetaTwo:
    """The decay of Adam's second moving average. Its fused step takes it from the host.

    Args:
        optimizer: Adam.
        group: index of one of its groups of parameters.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, group: int) -> None:
        self.optimizer, self.group = optimizer, group

    def fill_(self, value: float, /) -> None:
        """Let the next steps use `value`."""
        group = self.optimizer.param_groups[self.group]
        group["betas"] = (group["betas"][0], value)


class Schedule(NamedTuple):
    """target ← at(images seen), before every step, in place: what reads the tensor may have been captured in a graph.

    It needs no state: a run that goes on sets the same value from how far it has come.

    Attributes:
        target: a 0-dimensional tensor on the device of its reader, or what else can be filled.
        at: images seen before the step -> value.
        name: what statistics call it; None: they do not tell it.
    """

    target: Target
    at: Callable[[int], float]
    name: str | None = None

    def set(self, images: int) -> float:
        """Set the target for the step that begins after `images`; what it is then."""
        value = self.at(images)
        self.target.fill_(value)
        return value


def linear_decay(start: float, end: float) -> Callable[[int], float]:
    """images -> factor 1 up to `start` images, then in a straight line to 0 at `end`.

    Example:
        >>> [linear_decay(100, 200)(images) for images in (0, 100, 150, 200, 300)]
        [1.0, 1.0, 0.5, 0.0, 0.0]
    """
    return lambda images: 1.0 if images <= start else max(0.0, (end - images) / max(end - start, 1e-9))


def half_cosine(first: float, last: float, over: float) -> Callable[[int], float]:
    """images -> from `first` to `last` along half a cosine over so many images; `last` from there on.

    Example:
        >>> [half_cosine(4.0, 2.0, 200)(images) for images in (0, 100, 200, 300)]
        [4.0, 3.0, 2.0, 2.0]
    """

    def at(images: int) -> float:
        if images >= over:
            return last
        return last + (first - last) * (1 + math.cos(math.pi * images / over)) / 2

    return at
