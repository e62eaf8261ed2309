"""As test_planted_bugs.py, for affine_warp: a bug of each kind in its kernels is caught."""

from __future__ import annotations

import pytest
import torch

from fastgan.ops import affine_warp, provider
from tests.native.building import ROOT
from tests.native.planting import Plant, altered, run_cpp_test
from tests.ops.cases_affine_warp import colors, thetas
from tests.ops.test_planted_bugs import SANITIZER, Guarded, assert_caught, kernel_from

pytestmark = pytest.mark.thorough

KERNEL, PIXELS, PLAN = (f"affine_warp/{name}" for name in ("affine_warp_cuda.cu", "warp_pixels.cuh", "warp_plan.cuh"))
WRONG = r"FAILED: cuda shim \w+{} \[\d+, \d+, \d+\] map \d+ channel \d+ pixel \d+ is "
CUDA_PLANTS = {
    "out-of-bounds: dy goes on beyond its outer pixels": Plant(
        PIXELS,
        "place >= 0 && place < size ? place : -1",
        "place >= 0 && place <= size ? place : -1",
        SANITIZER + r"warp_pixels\.cuh:\d+",
        "address",
    ),
    "missing barrier: rows are halved before all samples are there": Plant(
        KERNEL,
        "      __syncthreads();\n      halve(tile, window.mirrored",
        "      halve(tile, window.mirrored",
        WRONG.format("( adjoint)?"),
    ),
    "wrong stride: a tile of the wrong width": Plant(
        KERNEL,
        "rows[(2 * own[1] + tap) * tile.count[0] + own[0]]",
        "rows[(2 * own[1] + tap) * kSide + own[0]]",
        WRONG.format("( adjoint)?"),
    ),
    "unwritten output: the last column": Plant(
        KERNEL,
        "if (column < a.w && row < a.h) sums.write",
        "if (column + 1 < a.w && row < a.h) sums.write",
        WRONG.format("( adjoint)?"),
    ),
    "mirror images: the outer pixels count twice": Plant(
        KERNEL, "inside = inside && pixel[axis] > 0 && pixel[axis] < size[axis] - 1;", "", WRONG.format(" adjoint")
    ),
    "mirror images: one too few": Plant(PLAN, "0 : to - from + 1;", "0 : to - from;", WRONG.format(" adjoint")),
    "candidates: the box ends too early": Plant(
        KERNEL, "bottom = smaller(height - 1,", "bottom = smaller(height - 3,", WRONG.format(" adjoint")
    ),
    "colours: the adjoint's matrix is not transposed": Plant(
        PIXELS,
        "(adjoint ? c * (all.count + 1) + i :",
        "(!adjoint ? c * (all.count + 1) + i :",
        WRONG.format("( adjoint)?"),
    ),
    "spread: samples of half of a chunk": Plant(
        PIXELS,
        "for (int q = 0; q < kSamples; ++q) {",
        "for (int q = 0; q < kSamples / 2; ++q) {",
        WRONG.format(" adjoint"),
    ),
}
# name -> (snippet, bug, message)
TRITON_PLANTS = {
    "out-of-bounds: samples": (
        "total, mask=inside)\n\n\n@triton.jit\ndef _copies",
        "total)\n\n\n@triton.jit\ndef _copies",
        "beyond samples",
    ),
    "wrong stride: samples lie in rows of pixels": (
        "of_row += weight * tl.load(x + row * stride_h",
        "of_row += weight * tl.load(x + row * stride_w",
        "y is wrong",
    ),
    "unwritten output: the last row": (
        "inside = (c < channels) & (place < h * w)",
        "inside = (c < channels) & (place < h * w - w)",
        "y is not all written",
    ),
    "mirror images: the outer pixels count twice": (
        "inside & (pixel > 0) & (pixel < size - 1)",
        "inside",
        "dx is wrong",
    ),
    "candidates: too few of y's samples": ("tl.floor(2.0 * reach_b) + 1.0", "tl.floor(2.0 * reach_b)", "dx is wrong"),
    "colours: the adjoint's matrix is not transposed": (
        "of * (channels + 1) + into if ADJOINT",
        "of * (channels + 1) + into if not ADJOINT",
        "y is wrong",
    ),
}


@pytest.mark.parametrize("sanitizer", ["", "address"], ids=["plain", "address"])
def test_cuda_kernels_as_they_are(shim_tools, sanitizer):
    run = run_cpp_test("affine_warp", sanitizer)
    assert run.returncode == 0 and run.stdout == "affine_warp: 40 cases\n", run.stdout


@pytest.mark.parametrize("plant", CUDA_PLANTS.values(), ids=CUDA_PLANTS)
def test_cuda_plant(shim_tools, plant):
    assert_caught(plant)


@pytest.fixture
def triton_run(interpreter, tmp_path):
    """Checks the kernels as they are, or with a snippet of their source replaced."""

    def run(snippet: str = "", bug: str = "") -> None:
        text = (ROOT / "kernels/affine_warp.py").read_text()
        text = altered(text, snippet, bug) if snippet else text
        with interpreter.selected():
            check(
                *(kernel_from(text, tmp_path, f"affine_warp{name}") for name in ("_samples", "_gather", "_halve", ""))
            )

    return run


def check(sampled, gathered, halve, pixels) -> None:
    """What the plans' kernels write, forward and back."""
    x, theta, color = torch.randn(1, 2, 4, 3), thetas(["turn"], 1, torch.float32), colors(1, 2, torch.float32)
    assert color is not None
    with provider("reference"):
        leaf = x.clone().requires_grad_()
        y = affine_warp(leaf, theta, color)
        (dx,) = torch.autograd.grad(y, leaf, x)
    inputs = [Guarded.of(tensor) for tensor in (x, theta, color)]
    for name, expected, adjoint in (("y", y, False), ("dx", dx, True)):
        samples, periods = Guarded((1, 2, 18, 16)), Guarded((1, 2, 12, 8))
        sampled(*inputs[:2], samples.tensor, adjoint).launch()
        samples.check("samples", samples.tensor)
        if adjoint:
            gathered(inputs[0], samples.tensor, inputs[1], periods.tensor).launch()
            periods.check("periods", periods.tensor)
        whole = periods if adjoint else samples
        halved, out = Guarded((1, 2, whole.tensor.shape[2], 3)), Guarded((1, 2, 4, 3))
        halve(inputs[0], whole.tensor, inputs[1], halved.tensor, adjoint).launch()
        halved.check("halved", halved.tensor)
        pixels(halved.tensor, *inputs[1:], out.tensor, adjoint, adjoint).launch()
        out.check(name, expected)


def test_the_triton_kernels_as_they_are(triton_run):
    triton_run()


@pytest.mark.parametrize(("snippet", "bug", "caught"), TRITON_PLANTS.values(), ids=TRITON_PLANTS)
def test_triton_plant(triton_run, snippet, bug, caught):
    with pytest.raises(AssertionError, match=caught):
        triton_run(snippet, bug)
