"""Times of several calls that take turns, so that a busy machine slows all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one call.

    Attributes:
        median: of all rounds.
        low: 20th percentile.
        high: 80th percentile.
        rounds: how often it ran.
    """

    median: float
    low: float
    high: float
    rounds: int


def interleaved(
    calls: Mapping[str, Callable[[], object]],
    *,
    seconds: float = 1.0,
    least_rounds: int = 5,
    synchronize: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Timing]:
    """Runs each call once a round, beginning each round with another, until the time is over.

    Args:
        calls: what to time, by name; each is run twice before, untimed.
        seconds: how long to go on, all calls together.
        least_rounds: rounds made even if they take longer.
        synchronize: waits until a device has finished.
        clock: seconds that only grow; for tests.

    Returns:
        timings by name.
    """
    names = list(calls)
    for name in names * 2:
        calls[name]()
    synchronize()
    times: dict[str, list[float]] = {name: [] for name in names}
    begin, rounds = clock(), 0
    while rounds < least_rounds or clock() - begin < seconds:
        shift = rounds % len(names)
        for name in names[shift:] + names[:shift]:
            before = clock()
            calls[name]()
            synchronize()
            times[name].append(1e3 * (clock() - before))
        rounds += 1
    quantiles = torch.tensor([0.5, 0.2, 0.8], dtype=torch.float64)
    spread = {
        name: torch.tensor(some, dtype=torch.float64).quantile(quantiles).tolist() for name, some in times.items()
    }
    return {name: Timing(median, low, high, rounds) for name, (median, low, high) in spread.items()}
