from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fastgan.bench.affine_warp import SHAPES as WARP_SHAPES
from fastgan.bench.case import CLAMP, CPU_SHAPES, CUDA_SHAPES, DIRECTIONS, DTYPES, run
from fastgan.bench.cases import cases
from fastgan.bench.conv2d_layer import CPU_LAYERS, CUDA_LAYERS, LAYERS
from fastgan.bench.conv2d_layer import cases as layer_cases
from fastgan.bench.filtered_lrelu import SHAPES as FILTERED_SHAPES
from fastgan.bench.filtered_lrelu import FilteredCase
from fastgan.bench.filtered_lrelu import cases as filtered_cases
from fastgan.bench.gradient_penalty import SHAPES as PENALTY_SHAPES
from fastgan.ops import provider


def case(kind: str, device: str = "cpu"):
    return next(case for case in cases(device) if case.kind == kind)


def test_shapes_are_those_of_stylegan2():
    assert sorted(CUDA_SHAPES) == [(4, 32, 1024, 1024), (4, 64, 512, 512), (4, 128, 256, 256)]
    assert case("up 2 full", "cuda").x_shape == (4, 128, 128, 128)
    assert case("up 2 full", "cuda").y_shape == case("down 2 separable", "cuda").x_shape == (4, 128, 256, 256)
    assert all(c == min((16384 if n == 16 else 32768) // h, 512) for n, c, h, _ in CUDA_LAYERS)
    of_64 = [case for case in cases("cuda", ("conv2d_layer",)) if 256 in (case.x_shape[2], case.y_shape[2])]
    assert {case.kind: (case.x_shape[1], case.y_shape[1]) for case in of_64} == {
        "G 3x3": (64, 64), "G up 2": (128, 64), "to-RGB": (64, 3),
        "D 3x3": (64, 64), "D down 2": (64, 128), "skip down 2": (64, 128), "from-RGB": (3, 64),
    }  # fmt: skip


def test_every_case_is_measured_once():
    names = [case.name for case in cases("cuda")]
    rest = {device: 4 * len(shapes) + 2 * len(PENALTY_SHAPES[device]) for device, shapes in FILTERED_SHAPES.items()}
    rest = {device: count + len(WARP_SHAPES[device]) for device, count in rest.items()}
    assert len(names) == len(set(names)) == 3 * (3 + 6) + len(CUDA_LAYERS) * 7 + rest["cuda"]
    assert len(cases("cpu")) == len(CPU_SHAPES) * 9 + len(CPU_LAYERS) * 7 + rest["cpu"]
    quick = [(case.op, case.kind) for case in cases("cpu", quick=True)]
    resampling = [("upfirdn2d", f"{kind} separable") for kind in ("up 2", "down 2", "filter")]
    layers = [("conv2d_layer", kind) for kind in LAYERS]
    both = [("filtered_lrelu", "T"), ("filtered_lrelu", "R")]
    penalties = [("gradient_penalty", "squared_norm"), ("gradient_penalty", "interpolate")]
    assert quick == [
        ("affine_warp", "turned"),
        ("bias_act", "lrelu bias clamp"),
        *resampling,
        *layers,
        *both,
        *penalties,
    ]
    assert [case.op for case in cases("cpu", ("upfirdn2d",), quick=True)] == ["upfirdn2d"] * 3


# Worked out by hand, elements: [8, 64, 64, 64] has 2,097,152; a mask of two bits an element 524,288 bytes; up 2 makes
# them of 524,288, down 2 makes 524,288 of them.
@pytest.mark.parametrize(
    ("kind", "dtype", "direction", "expected"),
    [
        ("lrelu", "fp32", "forward", 2 * 8_388_608),
        ("lrelu bias", "fp32", "forward", 2 * 8_388_608 + 256),
        ("lrelu bias", "bf16", "forward", 2 * 4_194_304 + 128),
        ("lrelu", "fp32", "forward+backward", 4 * 8_388_608 + 2 * 524_288),
        ("lrelu bias clamp", "fp32", "forward+backward", 4 * 8_388_608 + 2 * 524_288 + 2 * 256),
        ("lrelu bias", "fp16", "double backward", 6 * 4_194_304 + 3 * 524_288 + 128),
        ("up 2 full", "fp32", "forward", 2_097_152 + 8_388_608),
        ("down 2 separable", "fp32", "forward", 8_388_608 + 2_097_152),
        ("filter separable", "bf16", "forward+backward", 4 * 4_194_304),
        ("down 2 full", "fp32", "double backward", 3 * (8_388_608 + 2_097_152)),
        ("squared_norm", "fp32", "forward+backward", 3 * 6_291_456),  # [8, 3, 256, 256]: x; x and dx
        ("squared_norm", "bf16", "double backward", 5 * 3_145_728),
        ("interpolate", "fp32", "forward", 3 * 6_291_456),
    ],
)
def test_bytes_that_must_move(kind, dtype, direction, expected):
    assert case(kind).moved(direction, DTYPES[dtype]) == expected


def test_bytes_and_products_of_filtered_lrelu():
    """By hand at [1, 2, 4, 4]: 12 taps each, 18x18 numbers between the filters, for T up 2 24 taps and 26x26."""
    made = {case.kind: case for case in filtered_cases((1, 2, 4, 4))}
    assert {kind: case.y_shape[2:] for kind, case in made.items()} == {
        "T": (4, 4), "R": (4, 4), "T up 2": (8, 8), "R up 2": (8, 8),
    }  # fmt: skip
    case = made["T"]
    assert isinstance(case, FilteredCase) and case.middle == 2 * 18 * 18
    assert case.moved("forward", torch.float32) == 128 + 8 + 128
    assert case.moved("forward+backward", torch.float16) == 2 * (64 + 4 + 64 + 162)
    # along x 4 rows of 18 numbers of 6 taps, along y 18 rows; then 4 rows of 12 taps, and 4x4 of them; two planes
    assert case.multiplied("forward") == 2 * 2 * (4 * 18 * 6 + 18 * 18 * 6 + 4 * 18 * 12 + 4 * 4 * 12)
    assert made["R"].multiplied("double backward") == 3 * 2 * 2 * (4 * 18 * 6 + 18 * 18 * 6 + 4 * 4 * 144)
    assert made["T up 2"].multiplied("forward") == 2 * 2 * (4 * 26 * 6 + 26 * 26 * 6 + 8 * 26 * 12 + 8 * 8 * 12)
    assert case.product_dtype(torch.bfloat16) == torch.float32 and case.product_dtype(torch.float64) == torch.float64


# By hand at [1, 4, 4, 4]. G 3x3 in float32: x and y have 256 bytes, w 576, styles and b 16, noise 64, the mask 16.
# D down 2 in halves: x 128, y [1, 8, 2, 2] 64, w in float32 1152, b 32, the mask 8.
@pytest.mark.parametrize(
    ("kind", "dtype", "direction", "moved", "multiplied"),
    [
        ("G 3x3", "fp32", "forward", 1184, 2 * 4 * 4 * 9 * 16),
        ("G 3x3", "fp32", "forward+backward", 1184 + 16 + 1120 + 928, 3 * 4608),
        ("G 3x3", "fp32", "double backward", 1184 + 16 + (1120 + 272) + (1392 + 1104), 6 * 4608),
        ("D down 2", "bf16", "forward", 1376, 2 * 8 * 4 * 9 * 4),
        ("D down 2", "bf16", "double backward", 1376 + 8 + (1224 + 128) + (1352 + 1216), 4 * 2304),
        ("G up 2", "fp32", "forward", 8 * 4 * 4 + 288 * 4 + 32 + 16 + 64 + 256, 2 * 4 * 8 * 9 * 4),
        ("to-RGB", "fp32", "forward+backward", 256 + 48 + 16 + 12 + 2 * 192 + 12 + (192 + 12 + 320) + 332, 3 * 384),
        ("skip down 2", "fp16", "double backward", 128 + 128 + 64 + 64 + (64 + 128 + 128) + (320 + 192), 4 * 256),
    ],
)
def test_bytes_and_products_of_a_layer(kind, dtype, direction, moved, multiplied):
    layer = next(case for case in layer_cases((1, 4, 4, 4)) if case.kind == kind)
    assert layer.moved(direction, DTYPES[dtype]) == moved and layer.multiplied(direction) == multiplied


@pytest.mark.parametrize("kind", ["G 3x3", "to-RGB"])
def test_where_the_result_is_near_a_kink_its_gradient_is_left_out(kind):
    """A change of the size of rounding crosses no kink where the result is `decided`."""
    torch.manual_seed(0)
    layer = next(case for case in layer_cases((4, 16, 16, 16)) if case.kind == kind)
    inputs = layer.inputs(torch.bfloat16, "nchw", torch.device("cpu"))
    assert inputs.decided is not None and 0.8 < float(inputs.decided.double().mean()) < 1
    assert not inputs.dy[~inputs.decided].any() and inputs.dy[inputs.decided].all()
    with provider("reference"):
        exact, rounded = (run(layer.function, i, "double backward")["ddy"] for i in (inputs.double(), inputs))
    off = (exact - rounded.double()).abs() / exact.abs().mean()
    assert float(off[inputs.decided].max()) < 0.1  # a derivative that jumps is off by a multiple of itself


def test_no_value_lies_near_a_kink():
    inputs = case("lrelu bias clamp").inputs(torch.bfloat16, "channels_last", torch.device("cpu"))
    assert inputs.x.is_contiguous(memory_format=torch.channels_last) and inputs.x.requires_grad
    x, b = inputs.x.detach(), inputs.b.detach()
    v = (x + b[:, None, None]).double()
    assert torch.equal(v, x.double() + b.double()[:, None, None])  # the sum of halves is exact
    y = torch.nn.functional.leaky_relu(v, 0.2).mul(2**0.5).abs()
    assert float((y - CLAMP).abs().min() / CLAMP) > torch.finfo(torch.bfloat16).eps
    assert y.max() > CLAMP and y.min() > 0


@pytest.mark.parametrize("kind", LAYERS)
def test_second_derivatives_of_layers(kind):
    """float64: the gradient of ⟨ddx, dx⟩ + ⟨ddstyles, dstyles⟩ along a random direction, against differences."""
    torch.manual_seed(0)
    layer = next(case for case in layer_cases((2, 4, 6, 4)) if case.kind == kind)
    inputs = layer.inputs(torch.float64, "nchw", torch.device("cpu"))

    def penalty(i) -> torch.Tensor:
        results = run(layer.function, i, "double backward")
        pairs = [(results["dx"], i.ddx), *([(results["dstyles"], i.ddstyles)] if "dstyles" in results else [])]
        return torch.stack([(first * cotangent).sum() for first, cotangent in pairs]).sum()

    second = {
        name: t for name, t in run(layer.function, inputs, "double backward").items() if name not in ("dx", "dstyles")
    }
    assert set(second) == {"ddy", "dw2"} | ({"dx2", "dstyles2"} if inputs.styles is not None else set())
    for name, grad in second.items():
        leaf = name.removesuffix("2").removeprefix("d")
        way, values = torch.randn_like(grad), getattr(inputs, leaf).detach()
        ends = [penalty(replace(inputs, **{leaf: (values + h * way).requires_grad_()})) for h in (1e-5, -1e-5)]
        torch.testing.assert_close((ends[0] - ends[1]) / 2e-5, (grad * way).sum(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["lrelu bias clamp", "down 2 full"])
def test_results_are_the_derivatives(kind):
    """float64, against autograd through the function as a whole."""
    small = case(kind)
    inputs = small.inputs(torch.float64, "nchw", torch.device("cpu")).double()
    with provider("reference"):
        results = {name: t for direction in DIRECTIONS for name, t in run(small.function, inputs, direction).items()}
        y = small.function(inputs)
        (dx,) = torch.autograd.grad(y, inputs.x, inputs.dy, retain_graph=True)
        with torch.no_grad():
            step = small.function(type(inputs)(inputs.x + 1e-7 * inputs.ddx, *list(vars(inputs).values())[1:]))
    torch.testing.assert_close(results["y"], y.detach())
    torch.testing.assert_close(results["dx"], dx)
    torch.testing.assert_close(results["ddy"], (step - y.detach()) / 1e-7, rtol=1e-4, atol=1e-6)  # ddy = J·ddx
    if inputs.b is not None:
        torch.testing.assert_close(results["db"], dx.sum([0, 2, 3]))
