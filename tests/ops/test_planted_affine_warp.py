"""As test_planted_bugs.py, for affine_warp: a bug of each kind in its CUDA kernels is caught."""

from __future__ import annotations

import pytest

from tests.native.planting import Plant, run_cpp_test
from tests.ops.test_planted_bugs import SANITIZER, assert_caught

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


@pytest.mark.parametrize("sanitizer", ["", "address"], ids=["plain", "address"])
def test_cuda_kernels_as_they_are(shim_tools, sanitizer):
    run = run_cpp_test("affine_warp", sanitizer)
    assert run.returncode == 0 and run.stdout == "affine_warp: 40 cases\n", run.stdout


@pytest.mark.parametrize("plant", CUDA_PLANTS.values(), ids=CUDA_PLANTS)
def test_cuda_plant(shim_tools, plant):
    assert_caught(plant)
