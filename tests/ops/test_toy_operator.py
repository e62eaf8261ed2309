"""An operator added by CONTRIBUTING.md alone, with no edit inside of the package: tests/ops/cube."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import pytest
import torch

from fastgan.bench.case import DIRECTIONS
from fastgan.bench.cases import cases
from fastgan.bench.measure import Bench
from fastgan.bench.ops import _checked
from fastgan.bench.options import OpsOptions
from fastgan.bench.roofline import Roofs
from fastgan.cli.main import main
from fastgan.ops import provider, providers
from fastgan.ops.operator import OPERATORS
from tests.ops import coverage
from tests.ops.operators import cases_of, examples, in_memory

SHAPES = {"odd": (2, 5, 7, 3), "one": (1,), "empty": (0, 3, 2, 2), "long": (3, 1100)}


@pytest.fixture
def cube(interpreter, monkeypatch):
    """The public function, and its description in OPERATORS while the test runs."""
    loaded = "tests.ops.cube.op" in sys.modules
    op: Any = importlib.import_module("tests.ops.cube.op")
    if not loaded:
        op.DESCRIPTION = OPERATORS.pop("cube")
    monkeypatch.setitem(OPERATORS, "cube", op.DESCRIPTION)
    return op.cube


def test_who_serves(cube, interpreter):
    assert providers.choose("cube", "cpu", torch.float32) == "reference"
    with interpreter.selected():
        assert providers.choose("cube", "cpu", torch.float32) == "interpreter"
    with provider("native"), pytest.raises(ValueError, match="cannot serve cube .*: cube has no native form"):
        cube(torch.ones(2))
    with provider("triton"), pytest.raises(ValueError, match="Triton kernels need a CUDA tensor|not installed"):
        cube(torch.ones(2))
    with pytest.raises(TypeError, match="x must be a floating-point tensor, got list"):
        cube([1.0])


def test_known_answer(cube, interpreter):
    with interpreter.selected():
        assert cube(torch.tensor([-2.0, 0.0, 3.0]), gain=0.5).tolist() == [-4.0, 0.0, 13.5]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_forward_and_gradients(cube, interpreter, shape):
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    dy, ddx = torch.randn(2, *shape, dtype=torch.float64)
    dy.requires_grad_()

    def results():
        y = cube(x, gain=0.7)
        (dx,) = torch.autograd.grad(y, x, dy, create_graph=True)
        return y, dx, *torch.autograd.grad(dx, [x, dy], ddx)

    with interpreter.selected():
        mine = results()
    torch.testing.assert_close(mine, results())


def test_by_finite_differences(cube, interpreter):
    x = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    with interpreter.selected():
        assert torch.autograd.gradcheck(cube, x)
        assert torch.autograd.gradgradcheck(cube, x)


def test_opcheck(cube, interpreter):
    x, dy = (torch.randn(2, 3, 4, requires_grad=True) for _ in range(2))
    torch.library.opcheck(torch.ops.fastgan.cube_interpreter, (x, 0.5))
    torch.library.opcheck(torch.ops.fastgan.cube_backward_interpreter, (dy, x, 0.5))


def test_compile(cube, interpreter):
    x = torch.randn(2, 3, requires_grad=True)
    with interpreter.selected():
        compiled = torch.compile(lambda x: cube(x, 2.0), backend="aot_eager", fullgraph=True)
        torch.testing.assert_close(torch.autograd.grad(compiled(x).sum(), x)[0], 6 * x.detach() ** 2)


def test_batches_and_no_values(cube, interpreter):
    """What tests/ops/test_transforms.py and test_meta.py go over all operators for."""
    (call,), (x, b, w) = cases_of("cube").CALLS.values(), examples()
    batch = in_memory(torch.randn(3, *x.shape), "channels_last")
    with interpreter.selected():
        expected = torch.stack([call(each, b, w) for each in batch])
        torch.testing.assert_close(torch.func.vmap(call, (0, None, None))(batch, b, w), expected)
    assert call(x.to("meta"), b.to("meta"), w).shape == x.shape


def test_every_kernel_is_launched(cube, interpreter):
    with interpreter.selected(), torch.profiler.profile() as profile:
        cases_of("cube").launch_all(lambda *s: torch.randn(s, requires_grad=True), torch.float32, "cpu", False)
    launched = {event.name for event in profile.events() if event.name.startswith("fastgan::cube")}
    assert launched == {f"fastgan::{name}_interpreter" for name in OPERATORS["cube"].triton}
    with interpreter.selected():
        coverage.calls(torch.float32, "n", cuda=False)  # with all other operators


def test_a_gpu_would_call_it(cube):
    call, leaves, dy = cases_of("cube").device_call(torch.device("cpu"))
    assert torch.autograd.grad(call(*leaves), leaves, dy)[0].shape == leaves[0].shape
    assert torch.equal(cases_of("cube").large_call(torch.full((2,), 2.0)), torch.full((2,), 8.0))


def test_it_is_measured(cube):
    _checked(OpsOptions(op=("cube",), device="cpu"))
    (case,) = cases("cpu", ("cube",), quick=True)
    assert case.name in [each.name for each in cases("cpu", quick=True)]
    roofs = Roofs(1e6, 1 << 20, {"float32": 1e9, "bfloat16": 1e9, "float64": 1e9}, 64)

    def stopwatch(call) -> float:
        call()
        return 1.0

    bench = Bench(torch.device("cpu"), roofs, seconds=0.0, stopwatch=stopwatch, compiled=False)
    for direction in DIRECTIONS:
        rows = {row.implementation: row.status for row in bench.measure(case, "fp32", "nchw", direction)}
        assert rows == {"reference": "timed", "torch": "timed", "native": "left out", "triton": "left out"}


def test_doctor_has_its_row(cube, capsys):
    assert main(["doctor"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("cube ")]
    assert len(lines) == 2 * len(providers.NAMES)  # on a CPU and with CUDA
