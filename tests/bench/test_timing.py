from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from fastgan.bench.timing import CudaStopwatch, interleaved, quickest


class Clock:
    """Time that passes only when a call says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_calls_take_turns_and_medians_are_in_milliseconds() -> None:
    clock, order = Clock(), []
    durations = {"a": iter([9, 9, 1, 2, 3, 4, 100]), "b": iter([9, 9, 5, 5, 5, 5, 5])}

    def call(name: str):
        def run() -> None:
            order.append(name)
            clock.now += next(durations[name])

        return run

    timings = interleaved({name: call(name) for name in durations}, seconds=1, least_rounds=5, clock=clock)
    assert order == ["a", "b", "a", "b"] + ["a", "b", "b", "a"] * 2 + ["a", "b"]
    assert timings["a"].median == pytest.approx(3000) and timings["b"].median == pytest.approx(5000)
    assert timings["a"].low == pytest.approx(1800) and timings["a"].high == pytest.approx(23200)
    assert timings["a"].rounds == 5


def test_it_goes_on_until_the_time_is_over() -> None:
    clock = Clock()

    def run() -> None:
        clock.now += 0.25

    assert interleaved({"a": run}, seconds=10, least_rounds=2, clock=clock)["a"].rounds == 40


class Device:
    """A device beside a host, in milliseconds: work is queued by the host and done in order."""

    def __init__(self) -> None:
        self.host = self.free = 0.0

    def work(self, milliseconds: float) -> None:
        self.free = max(self.free, self.host) + milliseconds

    def events(self) -> type:
        device = self

        class Event:
            def __init__(self, enable_timing: bool) -> None:
                self.at = 0.0

            def record(self) -> None:
                self.at = max(device.free, device.host)

            def query(self) -> bool:
                return device.host >= self.at

            def synchronize(self) -> None:
                device.host = max(device.host, self.at)

            def elapsed_time(self, other: Event) -> float:
                return other.at - self.at

        return Event


def test_the_host_does_not_enter_a_time_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    device, waits = Device(), []

    def sleep(cycles: int) -> None:
        waits.append(cycles / 2**20)
        device.work(waits[-1])  # a millisecond in 2^20 cycles

    def call() -> None:
        for _ in range(3):  # launches that take the host longer than the device
            device.host += 0.9
            device.work(0.1)

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(L2_cache_size=1 << 20))
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(torch.cuda, "Event", device.events())
    monkeypatch.setattr(torch.cuda, "_sleep", sleep)
    stopwatch = CudaStopwatch(torch.device("cpu"))
    assert stopwatch(call) == pytest.approx(0.3)
    assert waits == [1, 2, 4]  # the host takes 2.7 ms to queue the call
    assert stopwatch(call) == pytest.approx(0.3)
    assert waits == [1, 2, 4, 4]


def test_the_fastest_is_found_among_many() -> None:
    calls = {name: lambda name=name: name for name in "abcdef"}
    times = dict(zip("abcdef", [5.0, 3.0, 9.0, 2.0, 7.0, 4.0], strict=True))
    assert quickest(calls, seconds=0.0, stopwatch=lambda call: times[str(call())]) == "d"
