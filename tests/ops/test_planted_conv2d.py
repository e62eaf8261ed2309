"""As test_planted_bugs.py, for convolutions: the shim and the interpreter catch a bug of each kind in their kernels."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from tests.native.building import ROOT
from tests.native.planting import Plant, altered
from tests.ops.test_planted_bugs import SANITIZER, UNWRITTEN, WRONG, Guarded, assert_caught, kernel_from

CONV2D = "conv2d_layer/conv2d_cuda.cu"
CONV2D_TILE, LOAD, FINISH = (f"conv2d_layer/conv2d_{name}.cuh" for name in ("tile", "load", "finish"))
WEIGHT_GRADIENT = "conv2d_layer/conv2d_weight_gradient_cuda.cu"

CUDA_PLANTS = {
    "missing wait: a chunk is multiplied before its copies are there": Plant(
        CONV2D_TILE, "wait_copies<most - 1>();", "{}", UNWRITTEN.format("y"), test="conv2d"
    ),
    "missing barrier: a chunk is multiplied before it is there for all": Plant(
        CONV2D_TILE,
        "    sums.publish();\n    __syncthreads();",
        "    sums.publish();",
        UNWRITTEN.format("y"),
        test="conv2d",
    ),
    "late wait: products still read what a later chunk overwrites": Plant(
        CONV2D_TILE,
        "wait_products<in_flight>();",
        "wait_products<in_flight + 2>();",
        WRONG.format("y"),
        test="conv2d",
    ),
    "out-of-bounds: pixels beyond the image are read": Plant(
        LOAD,
        "if (inside) held = ",
        "held = ",
        r"ERROR: AddressSanitizer: .*\n(.*\n)+?.*(packet|gpu)\.h:\d+",
        "address",
        "conv2d",
    ),
    "wrong half: the second number of a word stands for the first": Plant(
        LOAD,
        "  x = x.of(packet);",
        "  if (sizeof(T) == 2) packet.v[0] = packet.v[1];\n  x = x.of(packet);",
        WRONG.format("d?[yw]"),
        test="conv2d",
    ),
    "forgotten rounding: what was copied": Plant(
        LOAD, "  round_operands<true>(held);\n", "", "FAILED: cuda shim tf32 .*: y is .*, not ", test="conv2d"
    ),
    "forgotten rounding: what goes through registers": Plant(
        LOAD, "      round_operands<tf32>(held[i]);\n", "", "FAILED: cuda shim tf32 .*: y is .*, not ", test="conv2d"
    ),
    "wrong stride: pixels of a row are counted by its height": Plant(
        LOAD,
        "((of_image * l.a.axis_y.in + at_y) * l.a.axis_x.in + at_x)",
        "((of_image * l.a.axis_y.in + at_y) * l.a.axis_y.in + at_x)",
        WRONG.format("y"),
        test="conv2d",
    ),
    "unwritten output: the last channel of a part of a packet": Plant(
        FINISH,
        "count = left < kPacket<T> ? left : kPacket<T>;",
        "count = left < kPacket<T> ? left - 1 : kPacket<T>;",
        UNWRITTEN.format("y"),
        test="conv2d",
    ),
    "wrong rows: those of a group of warps are taken for a warp's": Plant(
        FINISH,
        "of_warp / 16 * Tile::rows_apart",
        "of_warp / 16 * 16",
        WRONG.format("y"),
        test="conv2d",
    ),
    "dropped: what the last split has of a sum": Plant(
        CONV2D, "split < l.splits; ++split", "split + 1 < l.splits; ++split", WRONG.format("y"), test="conv2d"
    ),
    "wrong order: splits are added from the last on": Plant(
        CONV2D,
        "sums.partial + split * sums.size + i",
        "sums.partial + (l.splits - 1 - split) * sums.size + i",
        "splits are not added in order",
        test="conv2d",
    ),
    "wrong range: splits begin where others have not ended": Plant(
        CONV2D,
        "first_chunk = int(split) * each;",
        "first_chunk = int(split) * (each - 1);",
        WRONG.format("y"),
        test="conv2d",
    ),
    "out-of-bounds: no room for the sums of the last split": Plant(
        CONV2D,
        "grid.partial_bytes = grid.splits *",
        "grid.partial_bytes = (grid.splits - 1) *",
        SANITIZER + r"conv2d_finish\.cuh:\d+",
        "address",
        "conv2d",
    ),
    "wrong stride: slices of dw overlap": Plant(
        WEIGHT_GRADIENT, "from[slice * slice_size]", "from[slice * pitch]", WRONG.format("dw"), test="conv2d"
    ),
}

FORMULA = (2, 0.2, 1.5, 1.0)  # lrelu, clamped


def check_conv2d(launch) -> None:
    x, w, b, y, mask = (
        torch.randn(2, 3, 4, 6),
        torch.randn(5, 3, 2, 3),
        torch.randn(5),
        Guarded((2, 5, 3, 4)),
        Guarded((30,), torch.uint8),
    )
    operands = {"scale": None, "noise": None, "b": Guarded.of(b), "residual": None}
    taps, geometry = Guarded.of(w.permute(0, 2, 3, 1).contiguous()), launch.Geometry(1, False, (0, 0))
    launch.conv2d(Guarded.of(x), taps, None, operands, y.tensor, mask.tensor, False, geometry, FORMULA, False).launch()
    v = F.conv2d(x, w, b)
    activated = 1.5 * F.leaky_relu(v, 0.2)
    y.check("y", activated.clamp(-1, 1))
    codes = ((v > 0) + 2 * (activated.abs() > 1)).view(-1, 4)
    mask.check("mask", (codes << 2 * torch.arange(4)).sum(1).to(torch.uint8))


def check_weight_gradient(launch) -> None:
    x, w, dy, dw = (
        torch.randn(2, 3, 4, 6),
        torch.zeros(5, 3, 2, 3, requires_grad=True),
        torch.randn(2, 5, 3, 4),
        Guarded((5, 3, 2, 3)),
    )
    slices = launch.Slices.of(dy, x, 6, False)
    assert slices.number > 1
    partial, geometry = Guarded((slices.number, 5, 2, 3, 3)), launch.Geometry(1, False, (0, 0))
    launch.conv2d_weight_gradient(
        slices, Guarded.of(dy), Guarded.of(x), None, partial.tensor, False, geometry, False
    ).launch()
    launch.conv2d_weight_gradient_sum(partial.tensor, dw.tensor).launch()
    partial.check("partial", partial.tensor)
    dw.check("dw", torch.autograd.grad(F.conv2d(x, w), w, dy)[0])


def check_epilogue(launch) -> None:
    u, scale, noise, y = torch.randn(2, 5, 3, 3), torch.rand(2, 5), torch.randn(2, 1, 3, 3), Guarded((2, 5, 3, 3))
    mask = Guarded((23,), torch.uint8)
    operands = {"scale": Guarded.of(scale), "noise": Guarded.of(noise), "b": None, "residual": None}
    launch.conv2d_epilogue(Guarded.of(u), operands, y.tensor, mask.tensor, False, FORMULA).launch()
    v = scale[:, :, None, None] * u + noise
    activated = 1.5 * F.leaky_relu(v, 0.2)
    y.check("y", activated.clamp(-1, 1))
    codes = F.pad(((v > 0) + 2 * (activated.abs() > 1)).flatten(), (0, 2)).view(-1, 4)
    mask.check("mask", (codes << 2 * torch.arange(4)).sum(1).to(torch.uint8))


def check_backward(launch) -> None:
    dy, u, scale, du = torch.randn(2, 5, 3, 130), torch.randn(2, 5, 3, 130), torch.rand(2, 5), Guarded((2, 5, 3, 130))
    walk = launch.Walk.of(dy, False)
    assert walk.chunks > 1 and walk.channel_blocks > 1
    products, sums = Guarded((2, 5, walk.chunks)), Guarded((2, 390, walk.channel_blocks))
    tensors = {"dy": Guarded.of(dy), "u": Guarded.of(u), "scale": Guarded.of(scale), "du": du.tensor}
    tensors |= {"products": products.tensor, "noise_sums": sums.tensor}
    launch.conv2d_epilogue_backward(walk, tensors, (0, 0.0, 1.5, -1.0)).launch()
    du.check("du", 1.5 * dy * scale[:, :, None, None])
    products.check("products", products.tensor)
    sums.check("noise_sums", sums.tensor)
    assert torch.allclose(products.tensor.sum(2), (1.5 * dy * u).sum([2, 3]), atol=1e-4), "dscale is wrong"
    assert torch.allclose(sums.tensor.sum(2), (1.5 * dy).sum(1).view(2, -1), atol=1e-4), "dnoise is wrong"


# kernel -> its file, what checks it, and its plants: name -> (snippet, bug, message)
PLANTS = {
    "conv2d_kernel": (
        "conv2d",
        check_conv2d,
        {
            "out-of-bounds: y": (
                "inside = pixel_place + o_place, real & (o < channels)",
                "inside = pixel_place + o_place, real",
                "beyond y",
            ),
            "wrong stride: w": ("(first_y + tap_y * UP) * TAPS_X", "(first_y + tap_y * UP) * TAPS_Y", "y is wrong"),
            "unwritten output: mask": (
                "mask=real_outer & (first >= 0)",
                "mask=real_outer & (first > 0)",
                "mask is wrong",
            ),
        },
    ),
    "conv2d_weight_gradient_kernel": (
        "conv2d",
        check_weight_gradient,
        {
            "out-of-bounds: partial": (
                "mask=(s < still_channels) & (m < moved_channels)",
                "mask=m < moved_channels",
                "beyond partial",
            ),
            "wrong stride: x": (
                "tap // TAPS_X - pad_y, tap % TAPS_X",
                "tap // TAPS_Y - pad_y, tap % TAPS_Y",
                "dw is wrong",
            ),
            "unwritten output: the last pixels": ("range(steps)", "range(steps - 1)", "dw is wrong"),
        },
    ),
    "conv2d_weight_gradient_sum_kernel": (
        "conv2d",
        check_weight_gradient,
        {
            "out-of-bounds: dw": (
                "total.to(dw.dtype.element_ty), mask=e < numel)",
                "total.to(dw.dtype.element_ty))",
                "beyond dw",
            ),
            "wrong stride: dw": (
                "* taps + e // inputs % taps",
                "+ e // inputs % taps * inputs",
                "dw is not all written",
            ),
        },
    ),
    "conv2d_epilogue_kernel": (
        "conv2d_epilogue",
        check_epilogue,
        {
            "out-of-bounds: y": (
                "tl.store(y + i, result.to(y.dtype.element_ty), mask=inside)",
                "tl.store(y + i, result.to(y.dtype.element_ty))",
                "beyond y",
            ),
            "wrong stride: scale": (
                "n * channels + channel, n * noise_step",
                "n + channel, n * noise_step",
                "y is wrong",
            ),
            "unwritten output: mask": ("mask=group * 4 < numel)", "mask=group * 4 + 3 < numel)", "mask is wrong"),
        },
    ),
    "conv2d_epilogue_backward_kernel": (
        "conv2d_epilogue",
        check_backward,
        {
            "out-of-bounds: products": (
                "products + place * chunks + chunk, found, mask=channel < channels)",
                "products + place * chunks + chunk, found)",
                "beyond products",
            ),
            "wrong stride: products": (
                "products + place * chunks + chunk",
                "products + place + chunk * 10",
                "dscale is wrong",
            ),
            "unwritten output: du": ("for _ in range(STEPS):", "for _ in range(STEPS - 1):", "du is not all written"),
        },
    ),
}


@pytest.fixture
def run(interpreter, tmp_path, monkeypatch):
    """Checks a kernel as it is, or with a snippet of its source replaced."""
    from fastgan.kernels import conv2d_launch, launch

    for key, tile in launch.TILES.items():
        monkeypatch.setitem(launch.TILES, key, dataclasses.replace(tile, elements=256, programs=8))
    for key, block in conv2d_launch.BLOCKS.items():
        monkeypatch.setitem(conv2d_launch.BLOCKS, key, dataclasses.replace(block, rows=16, columns=16, depth=16))
    monkeypatch.setattr(conv2d_launch, "_FEWEST_TERMS", 16)
    monkeypatch.setattr(conv2d_launch, "_SUM_ELEMENTS", 128)

    def check(kernel: str, snippet: str = "", bug: str = "") -> None:
        text = (ROOT / "kernels" / f"{PLANTS[kernel][0]}.py").read_text()
        if snippet:
            text = altered(text, snippet, bug)
        monkeypatch.setattr(conv2d_launch, kernel, kernel_from(text, tmp_path, kernel))
        with interpreter.selected():
            PLANTS[kernel][1](conv2d_launch)

    return check


@pytest.mark.parametrize("kernel", PLANTS)
def test_kernels_as_they_are(run, kernel):
    run(kernel)


@pytest.mark.parametrize(
    ("kernel", "plant"), [(kernel, plant) for kernel, found in PLANTS.items() for plant in found[2]]
)
def test_plant(run, kernel, plant):
    snippet, bug, caught = PLANTS[kernel][2][plant]
    with pytest.raises(AssertionError, match=caught):
        run(kernel, snippet, bug)


@pytest.mark.slow  # builds a kernel for each
@pytest.mark.parametrize("plant", [pytest.param(p, id=f"{p.source}-{name}") for name, p in CUDA_PLANTS.items()])
def test_cuda_plant(shim_tools, plant):
    assert_caught(plant)
