from __future__ import annotations

import pytest
import torch

from fastgan.bench.cases import CLAMP, CPU_SHAPES, CUDA_SHAPES, DIRECTIONS, DTYPES, cases, run
from fastgan.ops import provider


def case(kind: str, device: str = "cpu"):
    return next(case for case in cases(device) if case.kind == kind)


def test_shapes_are_those_of_stylegan2():
    assert CUDA_SHAPES == {256: (4, 128, 256, 256), 512: (4, 64, 512, 512), 1024: (4, 32, 1024, 1024)}
    assert case("up 2 full", "cuda").x_shape == (4, 128, 128, 128)
    assert case("up 2 full", "cuda").y_shape == case("down 2 separable", "cuda").x_shape == (4, 128, 256, 256)


def test_every_case_is_measured_once():
    names = [case.name for case in cases("cuda")]
    assert len(names) == len(set(names)) == 3 * (3 + 6)
    assert len(cases("cpu")) == len(CPU_SHAPES) * 9
    quick = [(case.op, case.kind) for case in cases("cpu", quick=True)]
    resampling = [("upfirdn2d", f"{kind} separable") for kind in ("up 2", "down 2", "filter")]
    assert quick == [("bias_act", "lrelu bias clamp"), *resampling]
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
    ],
)
def test_bytes_that_must_move(kind, dtype, direction, expected):
    assert case(kind).moved(direction, DTYPES[dtype]) == expected


def test_no_value_lies_near_a_kink():
    inputs = case("lrelu bias clamp").inputs(torch.bfloat16, "channels_last", torch.device("cpu"))
    assert inputs.x.is_contiguous(memory_format=torch.channels_last) and inputs.x.requires_grad
    x, b = inputs.x.detach(), inputs.b.detach()
    v = (x + b[:, None, None]).double()
    assert torch.equal(v, x.double() + b.double()[:, None, None])  # the sum of halves is exact
    y = torch.nn.functional.leaky_relu(v, 0.2).mul(2**0.5).abs()
    assert float((y - CLAMP).abs().min() / CLAMP) > torch.finfo(torch.bfloat16).eps
    assert y.max() > CLAMP and y.min() > 0


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
