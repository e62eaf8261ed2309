from __future__ import annotations

import pytest

from fastgan.bench.timing import interleaved


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
