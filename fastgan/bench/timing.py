"""Times of several calls that take turns, so that a busy machine slows all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

Call = Callable[[], object]


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


class CudaStopwatch:
    """Milliseconds that a call takes on a CUDA device, from a cold cache and without the host's time to launch it.

    Before each call the device reads a buffer of four times its L2 cache (reads leave nothing to be written back) and
    then waits, while the host queues the whole call between two events. If the device was done waiting before the
    host had queued all, the time would hold gaps of the host's making: it is thrown away and the wait doubled. A call
    that waits for the device itself is late each time; its last time is taken.

    Args:
        device: where the calls run, on its current stream.
    """

    def __init__(self, device: torch.device) -> None:
        size = max(4 * torch.cuda.get_device_properties(device).L2_cache_size, 1 << 28)  # bytes
        self._device = device
        self._other = torch.zeros(size // 4, device=device)
        self._cycles = 1 << 20

    def __call__(self, call: Call) -> float:
        with torch.cuda.device(self._device):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            for _ in range(7):
                self._other.sum()
                torch.cuda._sleep(self._cycles)
                begin.record()
                call()
                end.record()
                late = begin.query()
                end.synchronize()
                if not late:
                    break
                self._cycles = min(2 * self._cycles, 1 << 26)
            return begin.elapsed_time(end)


def interleaved(
    calls: Mapping[str, Call],
    *,
    seconds: float = 1.0,
    least_rounds: int = 5,
    stopwatch: Callable[[Call], float] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Timing]:
    """Runs each call once a round, beginning each round with another, until the time is over.

    Args:
        calls: what to time, by name; each is run twice before, untimed.
        seconds: how long to go on, all calls together.
        least_rounds: rounds made even if they take longer.
        stopwatch: runs a call and gives its milliseconds; None takes the host's clock, for calls that return when
            their work is done.
        clock: seconds that only grow; for tests.

    Returns:
        timings by name.
    """

    def host(call: Call) -> float:
        before = clock()
        call()
        return 1e3 * (clock() - before)

    measure, names = stopwatch or host, list(calls)
    for name in names * 2:
        calls[name]()
    times: dict[str, list[float]] = {name: [] for name in names}
    begin, rounds = clock(), 0
    while rounds < least_rounds or clock() - begin < seconds:
        shift = rounds % len(names)
        for name in names[shift:] + names[:shift]:
            times[name].append(measure(calls[name]))
        rounds += 1
    quantiles = torch.tensor([0.5, 0.2, 0.8], dtype=torch.float64)
    spread = {
        name: torch.tensor(some, dtype=torch.float64).quantile(quantiles).tolist() for name, some in times.items()
    }
    return {name: Timing(median, low, high, rounds) for name, (median, low, high) in spread.items()}


def quickest(
    calls: Mapping[str, Call], *, seconds: float = 0.5, stopwatch: Callable[[Call], float] | None = None
) -> str:
    """Name of the fastest of many calls, by a short run of all and a second one of the best three.

    Args:
        calls: by name.
        seconds: of each of the two runs.
        stopwatch: as in `interleaved`.
    """
    best = list(calls)
    for _ in range(2):
        times = interleaved({name: calls[name] for name in best}, seconds=seconds, stopwatch=stopwatch)
        best = sorted(best, key=lambda name: times[name].median)[:3]
    return best[0]
