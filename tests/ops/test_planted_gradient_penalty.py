"""As test_planted_bugs.py, for squared_norm and interpolate: a bug of each kind in their kernels is caught."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tests.native.building import ROOT
from tests.native.planting import Plant, altered, run_cpp_test
from tests.ops.test_planted_bugs import SANITIZER, UNWRITTEN, WRONG, Guarded, assert_caught, kernel_from

pytestmark = pytest.mark.thorough

SOURCE = "gradient_penalty/gradient_penalty_cuda.cu"
CUDA_PLANTS = {
    "out-of-bounds: a sample ends in the next": Plant(
        SOURCE,
        "packet < end ? (sample + 1) * a.inner : i",
        "packet < end ? (sample + 1) * a.inner + 1 : i",
        SANITIZER + r"packet\.h:\d+",
        "address",
    ),
    "missing barrier: a sample is summed before all warps have theirs": Plant(
        SOURCE, "    __syncthreads();\n", "", UNWRITTEN.format("sum of norm")
    ),
    "wrong stride: sums of slices are read transposed": Plant(
        SOURCE,
        "l.a.workspace)[sample * l.slices + slice]",
        "l.a.workspace)[slice * l.a.samples + sample]",
        WRONG.format("sum of norm"),
    ),
    "unwritten output: the first packets of a thread alone": Plant(
        SOURCE, "if (a.out) store_values", "if (a.out && u == 0) store_values", UNWRITTEN.format("backward")
    ),
    "wrong sample: a factor is that of the slice": Plant(
        SOURCE, "(a.factor)[sample]", "(a.factor)[slice]", WRONG.format("backward")
    ),
}
# name -> (snippet, bug, message)
TRITON_PLANTS = {
    "out-of-bounds: out": ("element_ty), mask=inside)", "element_ty))", "beyond out"),
    "out-of-bounds: the sample after": (
        "inside, place = i < inner,",
        "inside, place = i < inner + 1,",
        "sums is not all",
    ),
    "wrong stride: sums": ("tl.store(sums + program", "tl.store(sums + sample", "sums is not all written"),
    "unwritten output: out": ("in range(STEPS):", "in range(STEPS - 1):", "out is not all written"),
}


@pytest.mark.parametrize("sanitizer", ["", "address"], ids=["plain", "address"])
def test_cuda_kernels_as_they_are(shim_tools, sanitizer):
    run = run_cpp_test("gradient_penalty", sanitizer)
    assert run.returncode == 0 and run.stdout == "gradient_penalty: 48 cases\n", run.stdout


@pytest.mark.parametrize("plant", CUDA_PLANTS.values(), ids=CUDA_PLANTS)
def test_cuda_plant(shim_tools, plant):
    assert_caught(plant)


def check(plans) -> None:
    """What the plans' kernel writes, of samples shared by several programs and of samples of one."""
    for shape, steps, slices in (((2, 3, 7, 61), 2, 3), ((3, 5, 7), 1, 1)):
        x, other, factor = torch.randn(shape), torch.randn(shape), torch.rand(shape[0])
        out, between, sums = Guarded(shape), Guarded(shape), Guarded((shape[0], slices))
        assert plans.steps_and_slices(x) == (steps, slices)
        tensors = [Guarded.of(t) for t in (x, other, factor)]
        plans.gradient_penalty(*tensors, out.tensor, sums.tensor).launch()
        plans.gradient_penalty(*tensors, between.tensor, None, between=True).launch()
        column = factor.reshape([-1] + [1] * (x.ndim - 1))
        out.check("out", 2 * column * other)
        sums.check("sums", sums.tensor)
        assert torch.allclose(sums.tensor.sum(1), 2 * (x * other).flatten(1).sum(1), atol=1e-3), "sums are wrong"
        between.check("between", x + column * (other - x))


@pytest.fixture
def triton_run(interpreter, tmp_path, monkeypatch):
    """Checks the kernel as it is, or with a snippet of its source replaced."""
    from fastgan.kernels import gradient_penalty, launch

    for key, tile in launch.TILES.items():
        monkeypatch.setitem(launch.TILES, key, dataclasses.replace(tile, elements=256, programs=8))

    def run(snippet: str = "", bug: str = "") -> None:
        text = (ROOT / "kernels/gradient_penalty.py").read_text()
        text = altered(text, snippet, bug) if snippet else text
        kernel = kernel_from(text, tmp_path, "gradient_penalty_kernel")
        monkeypatch.setattr(gradient_penalty, "gradient_penalty_kernel", kernel)
        with interpreter.selected():
            check(gradient_penalty)

    return run


def test_the_triton_kernel_as_it_is(triton_run):
    triton_run()


@pytest.mark.parametrize(("snippet", "bug", "caught"), TRITON_PLANTS.values(), ids=TRITON_PLANTS)
def test_triton_plant(triton_run, snippet, bug, caught):
    with pytest.raises(AssertionError, match=caught):
        triton_run(snippet, bug)
