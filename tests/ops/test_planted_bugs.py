"""What proves the GPU kernels without a GPU catches a bug of each kind: out of bounds, missing barrier, wrong stride,
unwritten output.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fastgan.ops import bias_act, provider, upfirdn2d
from tests.native.building import ROOT
from tests.native.planting import Plant, altered, run_cpp_test

BIAS_ACT, PACKET = "bias_act/bias_act_cuda.cu", "gpu/packet.h"
EPILOGUE, EPILOGUE_PACKET, EPILOGUE_SUMS = (
    f"conv2d_layer/conv2d_epilogue_{name}" for name in ("cuda.cu", "packet.cuh", "sums.cuh")
)
UPFIRDN2D, PLANAR, TILE = (f"upfirdn2d/upfirdn2d_{name}" for name in ("cuda.cu", "planar.cuh", "tile.cuh"))
LRELU, LRELU_BANDS, LRELU_ROWS, LRELU_STREAM, LRELU_TILE = (
    f"filtered_lrelu/filtered_lrelu_{name}" for name in ("cuda.cu", "bands.cuh", "rows.cuh", "stream.cuh", "tile.cuh")
)
SANITIZER = "ERROR: AddressSanitizer: (heap-buffer-overflow|use-after-poison|unknown-crash) .*\n(.*\n)+?.*"
WRONG = r"FAILED: cuda shim \w+ .*: {} is -?[\d.]+, not "
UNWRITTEN = "FAILED: cuda shim .*: {} is -?nan, not "

CUDA_PLANTS = {
    "out-of-bounds: what is left of a tensor is read as a whole packet": Plant(
        PACKET,
        "if (k < count) packet.v[k] = p[k];",
        "packet.v[k] = p[k];",
        SANITIZER + r"packet\.h:\d+",
        "address",
        "bias_act",
    ),
    "out-of-bounds: shared memory for half of the warps": Plant(
        BIAS_ACT,
        "kThreads / 32 * sizeof(A)",
        "kThreads / 64 * sizeof(A)",
        r"shim: a write beyond the \d+ bytes of shared memory",
    ),
    "missing barrier: rows are summed before all warps have theirs": Plant(
        BIAS_ACT,
        "  __syncthreads();\n  if (threadIdx.x > 0) return;",
        "  if (threadIdx.x > 0) return;",
        UNWRITTEN.format("db"),
    ),
    "missing barrier: columns are summed before all rows are there": Plant(
        BIAS_ACT, "  __syncthreads();\n  const int own", "  const int own", UNWRITTEN.format("db")
    ),
    "wrong stride: the workspace is read transposed": Plant(
        BIAS_ACT,
        "sum += static_cast<const A*>(l.a.workspace)[slice * l.a.channels + channel];",
        "sum += static_cast<const A*>(l.a.workspace)[slice + channel * l.slices];",
        WRONG.format("db"),
    ),
    "unwritten output: the last element of a part of a packet": Plant(
        PACKET, "if (k < at.count) narrow", "if (k + 1 < at.count) narrow", UNWRITTEN.format("y"), test="bias_act"
    ),
    "out-of-bounds: channels beyond the last are read": Plant(
        TILE,
        "const bool inside = y >= 0 && y < ay.in && x >= 0 && x < ax.in && channel + c < pixel;",
        "const bool inside = y >= 0 && y < ay.in && x >= 0 && x < ax.in;",
        SANITIZER + r"upfirdn2d_tile\.cuh:\d+",
        "address",
    ),
    "out-of-bounds: shared memory without what precedes the first tile": Plant(
        UPFIRDN2D,
        "const int64_t tile = P::lead + (int64_t(l.rows)",
        "const int64_t tile = (int64_t(l.rows)",
        r"shim: a write beyond the \d+ bytes of shared memory",
    ),
    "missing barrier: a tile is read before it is all there": Plant(
        PLANAR,
        "  const Weights<F, full, A> weights(l.a);\n  __syncthreads();",
        "  const Weights<F, full, A> weights(l.a);",
        UNWRITTEN.format("element \\d+"),
    ),
    "missing barrier: the next row overwrites what other lanes still read": Plant(
        PLANAR,
        "    if (at < left) to[at] = turn[at];\n  }\n  __syncwarp();",
        "    if (at < left) to[at] = turn[at];\n  }",
        WRONG.format("element \\d+"),
    ),
    "wrong stride: rows of the input are as long as it is high": Plant(
        TILE, "in[(y * ax.in + x) * pixel + c]", "in[(y * ay.in + x) * pixel + c]", WRONG.format("element \\d+")
    ),
    "unwritten output: no tile for the last rows": Plant(
        UPFIRDN2D,
        "divide_up(ay.out, P::rows << l.log_y)",
        "std::max<int64_t>(1, ay.out / (P::rows << l.log_y))",
        UNWRITTEN.format("element \\d+"),
    ),
    "out-of-bounds: noise of what lies beyond the last element": Plant(
        EPILOGUE_PACKET,
        "if (o.noise && live)",
        "if (o.noise)",
        SANITIZER + r"conv2d_epilogue_packet\.cuh:\d+",
        "address",
        "conv2d_epilogue",
    ),
    "missing barrier: columns are summed before all threads have theirs": Plant(
        EPILOGUE,
        "  __syncthreads();\n  const int mine",
        "  const int mine",
        UNWRITTEN.format("(dscale|db)"),
        test="conv2d_epilogue",
    ),
    "wrong stride: parts of neighbouring channels overlap": Plant(
        EPILOGUE_SUMS,
        "(n * l.a.channels + o) * l.parts + k",
        "n * l.a.channels + o + k",
        WRONG.format("(dscale|db)"),
        test="conv2d_epilogue",
    ),
    "unwritten output: noise of the last pixel": Plant(
        EPILOGUE,
        "pixel[u] + k < a.pixels)",
        "pixel[u] + k + 1 < a.pixels)",
        UNWRITTEN.format("dnoise"),
        test="conv2d_epilogue",
    ),
    "wrong half: the second number of a word stands for the first": Plant(
        PACKET,
        "memcpy(&packet, &own, sizeof packet);",
        "memcpy(&packet, &own, sizeof packet);\n    if (sizeof(T) == 2) packet.v[0] = packet.v[1];",
        WRONG.format("y"),
        test="conv2d_epilogue",
    ),
    "out-of-bounds: inputs to the right of an image are read": Plant(
        LRELU_ROWS,
        "unsigned(x) < unsigned(width)",
        "x >= 0",
        SANITIZER + r"filtered_lrelu_rows\.cuh:\d+",
        "address",
    ),
    "wrong half: the second columns of a band stand for the first": Plant(
        LRELU_BANDS, "2 * (lane % 4) + 8 * (i % 2)", "2 * (lane % 4)", WRONG.format("element \\d+")
    ),
    "unwritten memory: columns beyond the middle times taps of zero": Plant(
        LRELU_BANDS, "ring[i] = 0;", "continue;", UNWRITTEN.format("element \\d+")
    ),
    "a row off: inputs of the chunk before": Plant(
        LRELU_BANDS, "v + ring_rows - (S::window - 1)", "v + ring_rows - S::window", WRONG.format("element \\d+")
    ),
    "missing barrier: inputs are filtered before they are all there": Plant(
        LRELU_STREAM,
        "input_rows);\n    __syncthreads();",
        "input_rows);",
        UNWRITTEN.format("element \\d+") + "|" + WRONG.format("(element|mask) \\d+"),
    ),
    "missing barrier: a tile's middle is read before it is all there": Plant(
        LRELU_TILE,
        "inputs, rows, middle);\n  __syncthreads();",
        "inputs, rows, middle);",
        UNWRITTEN.format("element \\d+"),
    ),
    "wrong stride: classes of the mask lie in each other": Plant(
        LRELU_TILE, "s * words + word", "s + word * classes", WRONG.format("(element|mask) \\d+")
    ),
    "wrong lane: rows of the mask are not turned into columns": Plant(
        LRELU_STREAM, "bits = transpose_bits(bits);", "", WRONG.format("element \\d+")
    ),
    "unwritten output: no strip for the last columns": Plant(
        LRELU,
        "unsigned(divide_up(extent, l.own))",
        "unsigned(std::max<int64_t>(1, extent / l.own))",
        UNWRITTEN.format("element \\d+") + "|" + WRONG.format("(element|mask) \\d+"),
    ),
    "part of a sum: db of the first warp alone": Plant(
        LRELU_ROWS, "w < int(blockDim.x) / 32; ++w", "w < 1; ++w", WRONG.format("db \\d+")
    ),
}


@pytest.mark.slow  # builds; make native-check runs the kernels as they are
@pytest.mark.parametrize("sanitizer", ["", "address"], ids=["plain", "address"])
@pytest.mark.parametrize("op", ["bias_act", "upfirdn2d", "filtered_lrelu", "conv2d_epilogue", "conv2d"])
def test_cuda_kernels_as_they_are(shim_tools, op, sanitizer):
    run = run_cpp_test(op, sanitizer)
    assert run.returncode == 0 and re.fullmatch(rf"{op}: \d+ cases\n", run.stdout), run.stdout


def assert_caught(plant: Plant) -> None:
    run = run_cpp_test(plant.test or plant.source.split("/")[0], plant.sanitizer, plant)
    assert run.returncode != 0 and re.search(plant.caught, run.stdout), run.stdout


@pytest.mark.slow  # builds a kernel for each
@pytest.mark.parametrize("plant", [pytest.param(p, id=f"{p.source}-{name}") for name, p in CUDA_PLANTS.items()])
def test_cuda_plant(shim_tools, plant):
    assert_caught(plant)


class Guarded:
    """A tensor of NaN between guards that nothing may write, in one piece of memory."""

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype = torch.float32):
        self.poison = float("nan") if dtype.is_floating_point else 255
        numel = torch.Size(shape).numel()
        self.all = torch.full((numel + 512,), self.poison, dtype=dtype)
        self.tensor = self.all[256 : 256 + numel].view(shape)

    @classmethod
    def of(cls, values: Tensor) -> Tensor:
        guarded = cls(tuple(values.shape), values.dtype)
        return guarded.tensor.copy_(values)

    def check(self, name: str, expected: Tensor) -> None:
        for guard in (self.all[:256], self.all[-256:]):
            assert bool((guard.isnan() if guard.is_floating_point() else guard == self.poison).all()), f"beyond {name}"
        assert self.tensor.isfinite().all(), f"{name} is not all written"
        assert torch.allclose(self.tensor, expected, atol=1e-5), f"{name} is wrong"


def check_forward(launch) -> None:
    x, b, y = torch.randn(2, 5, 7, 3), torch.randn(5), Guarded((2, 5, 7, 3))
    mask = Guarded((53,), torch.uint8)
    launch.bias_act_forward(Guarded.of(x), Guarded.of(b), y.tensor, mask.tensor, 1, "lrelu", 0.2, 1.5, 1.0).launch()
    with provider("reference"):
        y.check("y", bias_act(x, b, act="lrelu", gain=1.5, clamp=1.0))
    v = torch.nn.functional.pad((x + b[:, None, None]).flatten(), (0, 2)).view(-1, 4)
    codes = (v > 0) + 2 * (torch.where(v > 0, v, 0.2 * v).abs() * 1.5 > 1.0)
    mask.check("mask", (codes << 2 * torch.arange(4)).sum(1).to(torch.uint8))


def check_backward(launch) -> None:
    for shape, steps in ((2, 5, 7, 93), 2), ((1, 5, 7, 14), 1):  # several tiles a row; several rows a tile
        dy, dx, db = torch.randn(shape), Guarded(shape), Guarded((5,))
        matrix = launch.Matrix.of(dy, 1, by_channel=True)
        partial = Guarded(matrix.partial_sums())
        assert (matrix.steps, matrix.tile_rows) == (steps, 3 - steps)
        tensors = {"dy": Guarded.of(dy), "dx": dx.tensor, "partial": partial.tensor}
        launch.bias_act_backward(matrix, tensors, "linear", 0.0, 1.5, -1.0).launch()
        launch.bias_act_sum(partial.tensor, db.tensor).launch()
        dx.check("dx", 1.5 * dy)
        partial.check("partial", partial.tensor)
        db.check("db", (1.5 * dy).sum((0, 2, 3)))


def check_upfirdn2d(launch) -> None:
    x, f, y = torch.randn(1, 3, 3, 4), torch.randn(4), Guarded((1, 3, 6, 8))
    launch.upfirdn2d(Guarded.of(x), Guarded.of(f), y.tensor, (2, 2), (1, 1), (2, 2), False, 4.0).launch()
    with provider("reference"):
        y.check("y", upfirdn2d(x, f, up=2, padding=[2, 1, 2, 1], gain=4))


# kernel -> what checks it, and its plants: name -> (snippet, bug, message)
TRITON_PLANTS = {
    "bias_act_forward_kernel": (
        check_forward,
        {
            "out-of-bounds: y": (
                "tl.store(y + i, result.to(y.dtype.element_ty), mask=inside)",
                "tl.store(y + i, result.to(y.dtype.element_ty))",
                "beyond y",
            ),
            "wrong stride: bias": ("channel = i // inner % channels\n", "channel = i % channels\n", "y is wrong"),
            "unwritten output: mask": (
                "to(tl.uint8), mask=group * 4 < numel)",
                "to(tl.uint8), mask=group * 4 + 3 < numel)",
                "mask is wrong",
            ),
        },
    ),
    "bias_act_backward_kernel": (
        check_backward,
        {
            "out-of-bounds: partial": ("sums, mask=r < rows)", "sums)", "beyond partial"),
            "wrong stride: partial": ("r * chunks + group_block", "r + group_block * rows", "db is wrong"),
            "unwritten output: dx": ("for _ in range(STEPS):", "for _ in range(STEPS - 1):", "dx is not all written"),
        },
    ),
    "bias_act_sum_kernel": (
        check_backward,
        {
            "out-of-bounds: partial": (
                "mask=(c < channels) & (term < outer * chunks)",
                "mask=c < channels",
                "db is not all written",
            )
        },
    ),
    "upfirdn2d_kernel": (
        check_upfirdn2d,
        {
            "out-of-bounds: y": (
                "mask=inside & (row < out_y) & (column < out_x)",
                "mask=(number < pixel) & (row < out_y) & (column < out_x)",
                "beyond y",
            ),
            "wrong stride: x": ("in_y + sample_y) * in_x", "in_y + sample_y) * in_y", "y is wrong"),
            "unwritten output: y": (
                "mask=inside & (row < out_y)",
                "mask=inside & (row < out_y - 1)",
                "y is not all written",
            ),
        },
    ),
}


def kernel_from(text: str, folder: Path, name: str):
    """The kernel of a module's source, which Triton wants to find in a file."""
    path = folder / "planted.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location("planted", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)


@pytest.fixture
def triton_run(interpreter, tmp_path, monkeypatch):
    """Checks a kernel as it is, or with a snippet of its source replaced."""
    from fastgan.kernels import launch

    for key, tile in launch.TILES.items():
        monkeypatch.setitem(launch.TILES, key, dataclasses.replace(tile, elements=256, programs=8))

    def run(kernel: str, snippet: str = "", bug: str = "") -> None:
        op = "bias_act" if kernel.startswith("bias_act") else "upfirdn2d"
        text = (ROOT / "kernels" / f"{op}.py").read_text()
        if snippet:
            text = altered(text, snippet, bug)
        monkeypatch.setattr(launch, kernel, kernel_from(text, tmp_path, kernel))
        with interpreter.selected():
            TRITON_PLANTS[kernel][0](launch)

    return run


@pytest.mark.parametrize("kernel", TRITON_PLANTS)
def test_triton_kernels_as_they_are(triton_run, kernel):
    triton_run(kernel)


@pytest.mark.parametrize(
    ("kernel", "plant"), [(kernel, plant) for kernel, (_, plants) in TRITON_PLANTS.items() for plant in plants]
)
def test_triton_plant(triton_run, kernel, plant):
    snippet, bug, caught = TRITON_PLANTS[kernel][1][plant]
    with pytest.raises(AssertionError, match=caught):
        triton_run(kernel, snippet, bug)
