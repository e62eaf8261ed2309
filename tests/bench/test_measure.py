"""What is right is timed, what is wrong is not; a fake clock tells how fast."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fastgan.bench import measure
from fastgan.bench.case import DIRECTIONS
from fastgan.bench.cases import cases
from fastgan.bench.conv2d_layer import cases as layer_cases
from fastgan.bench.measure import Bench, distance
from fastgan.bench.memory import peak_bytes
from fastgan.bench.roofline import Roofs
from fastgan.ops import providers
from fastgan.ops.operator import OPERATORS

CPU = torch.device("cpu")
ROOFS = Roofs(1e6, 1 << 20, {"float32": 1e9, "bfloat16": 1e9, "float64": 1e9}, 64)


def small(op: str = "bias_act"):
    """A case of an operator, small enough for tests."""
    if op == "conv2d_layer":
        return next(iter(layer_cases((2, 4, 6, 4))))
    case = cases("cpu", (op,), quick=True)[0]
    return replace(case, x_shape=(2, 3, 6, 4), y_shape=(2, 3, 12, 8) if op == "upfirdn2d" else (2, 3, 6, 4))


def stopwatch(call) -> float:
    """Milliseconds: every call takes two."""
    call()
    return 2.0


def measured(case, direction="forward", dtype="fp32"):
    bench = Bench(CPU, ROOFS, seconds=0.0, stopwatch=stopwatch, compiled=False)
    return {row.implementation: row for row in bench.measure(case, dtype, "nchw", direction)}


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp64"])
@pytest.mark.parametrize("op", OPERATORS)
def test_every_implementation_is_right(op, dtype, direction):
    rows = measured(small(op), direction, dtype)
    assert list(rows)[:2] == ["reference", "torch"] and "native" in rows
    for row in rows.values():
        assert row.status == (
            "timed" if row.implementation in ("reference", "torch") or serves(op, row) else "left out"
        )


def serves(op, row) -> bool:
    names = {"fp32": "float32", "bf16": "bfloat16", "fp64": "float64"}
    return any(
        (r.op, r.provider, r.dtype) == (op, row.implementation, names[row.dtype]) and r.serves
        for r in providers.report(("cpu",))
    )


def test_figures_follow_from_the_time():
    row = measured(small())["torch"]
    assert row.bytes == 2 * 2 * 3 * 6 * 4 * 4 + 3 * 4  # x, y and b
    assert row.time is not None and row.time.median == 2.0
    assert row.bytes_per_second == pytest.approx(row.bytes / 2e-3) and row.share == pytest.approx(
        row.bytes / 2e-3 / 1e6
    )
    assert row.speedup == 1.0 and row.peak_bytes is not None and row.peak_bytes >= 576


def off(result_of, change):
    return lambda inputs: change(result_of(inputs))


@pytest.mark.parametrize(
    "change",
    [
        lambda y: y * 1.001,
        lambda y: torch.where(torch.arange(y.numel()).reshape(y.shape) == 100, float("nan"), y),
        lambda y: y[:, :, :-1],
        lambda y: y.flip(0),
    ],
    ids=["imprecise", "not finite", "misshapen", "misplaced"],
)
def test_what_is_wrong_is_reported_and_not_timed(change):
    case = small()
    case = replace(case, compositions={"wrong": off(case.function, change)})
    row = measured(case)["torch"]
    assert row.status == "wrong" and row.time is None and row.share is None and "from float64" in row.detail


def test_a_wrong_gradient_alone_is_found():
    class Careless(torch.autograd.Function):
        @staticmethod
        def forward(ctx, y):
            return y.view_as(y)

        @staticmethod
        def backward(ctx, dy):
            return dy * 0.999

    case = small()
    case = replace(case, compositions={"careless": off(case.function, Careless.apply)})
    assert measured(case, "forward")["torch"].status == "timed"
    assert measured(case, "forward+backward")["torch"].status == "wrong"
    assert measured(case, "double backward")["torch"].status == "wrong"


def test_elements_that_nothing_wrote_are_found():
    """The memory of a result may hold the right one of the call before: it is poisoned."""
    case = small()

    def lazy(inputs):
        y = torch.empty_like(inputs.x)
        y[1:] = case.function(inputs)[1:]
        return y

    assert measured(replace(case, compositions={"lazy": lazy}))["torch"].status == "wrong"


def test_the_right_one_of_several_is_taken_and_what_raises_is_left_out():
    def broken(inputs):
        raise NotImplementedError("no kernel for this")

    case = small()
    wrong = off(case.function, lambda y: y + 1)
    row = measured(replace(case, compositions={"a": wrong, "b": case.function, "c": broken}))["torch"]
    assert (row.status, row.detail) == ("timed", "b")
    row = measured(replace(case, compositions={"c": broken}))["torch"]
    assert (row.status, row.detail, row.error) == ("left out", "NotImplementedError: no kernel for this", None)


def test_a_failing_reference_is_an_error():
    def broken(inputs):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        measured(replace(small(), function=broken))


def raising(case, name, message):
    """The case, whose function raises where a provider runs it."""

    def function(inputs):
        if providers._named.get() == name:
            raise RuntimeError(message)
        return case.function(inputs)

    return replace(case, function=function)


def test_a_provider_that_serves_and_raises_has_failed(native_provider):
    with providers.provider("reference"):
        rows = measured(raising(small(), "native", "invalid configuration\nmore"))
    assert (rows["native"].status, rows["native"].detail) == ("failed", "RuntimeError: invalid configuration")
    assert rows["native"].time is None and rows["reference"].status == "timed"
    rows = measured(raising(small(), "native", "CUDA out of memory\nhere"))
    assert (rows["native"].status, rows["native"].detail) == ("left out", "RuntimeError: CUDA out of memory")


def test_what_fails_while_it_is_timed_is_told(native_provider):
    bench, calls = Bench(CPU, ROOFS, 0.0, stopwatch, compiled=False), []

    def late(call):
        calls.append(call)
        if len(calls) == 2:
            raise RuntimeError("an illegal access")
        return stopwatch(call)

    rows = replace(bench, stopwatch=late).measure(replace(small(), compositions={}), "fp32", "nchw", "forward")
    found = {row.implementation: (row.status, row.detail) for row in rows}
    assert found["reference"] == found["native"] == ("failed", "while all were timed: RuntimeError: an illegal access")
    assert found["torch"] == ("left out", "")


def test_nothing_is_computed_after_the_device_is_lost(native_provider, monkeypatch):
    monkeypatch.setattr(measure, "lost", lambda device: True)
    rows = measured(raising(small(), "native", "an illegal access"))
    assert list(rows) == ["reference", "torch", "native"] and rows["native"].status == "failed"
    assert rows["torch"].detail == "the device was lost to native before this was timed" and rows["torch"].time is None


@pytest.mark.needs_compiler
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_compiled_reference_is_measured():
    bench = Bench(CPU, ROOFS, seconds=0.0, stopwatch=stopwatch)
    rows = {row.implementation: row for row in bench.measure(small(), "fp32", "nchw", "forward")}
    assert rows["torch.compile"].status == "timed", rows["torch.compile"].detail
    rows = {row.implementation: row for row in bench.measure(small(), "fp32", "nchw", "double backward")}
    assert rows["torch.compile"].detail == "torch.compile has no double backward"


def test_distance_is_relative_and_covers_every_result():
    exact = {"y": torch.tensor([3.0, 4.0]).double(), "dx": torch.tensor([1.0]).double()}
    assert distance({"y": torch.tensor([3.0, 4.5]), "dx": torch.tensor([1.0])}, exact) == pytest.approx(0.1)
    assert distance({"y": torch.tensor([3.0, 4.0])}, exact) == float("inf")


def test_the_peak_counts_what_lives_at_once():
    def call():
        a = torch.ones(1000)
        b = a + 1
        del a
        return b * 2  # b and the result

    assert 8000 <= peak_bytes(call, CPU) < 8100  # the numbers 1 and 2 are tensors too, for a while
