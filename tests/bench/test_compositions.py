"""The plain torch compositions that the operators are timed against compute what the operators compute."""

from __future__ import annotations

import pytest
import torch

from fastgan.bench.bias_act import compositions as bias_act_lrelu
from fastgan.bench.case import DIRECTIONS, run
from fastgan.bench.conv2d_layer import cases as layer_cases
from fastgan.bench.conv2d_layer_compositions import COMPOSITIONS
from fastgan.bench.filtered_lrelu import cases as filtered_cases
from fastgan.bench.gradient_penalty import cases as penalty_cases
from fastgan.bench.measure import distance
from fastgan.bench.upfirdn2d import RESAMPLING
from fastgan.bench.upfirdn2d_compositions import COMPOSITIONS as UPFIRDN2D
from fastgan.ops import bias_act, provider, setup_filter, upfirdn2d

LAYOUTS = pytest.mark.parametrize(
    "memory_format", [torch.contiguous_format, torch.channels_last], ids=["nchw", "channels_last"]
)
WAYS = [(kind, way) for kind, ways in UPFIRDN2D.items() for way in ways]


@LAYOUTS
@pytest.mark.parametrize(("kind", "way"), WAYS, ids=[f"{kind}-{way}" for kind, way in WAYS])
def test_a_composition_gives_what_upfirdn2d_gives(kind, way, memory_format):
    x = torch.randn(2, 3, 6, 10, generator=torch.Generator().manual_seed(0)).contiguous(memory_format=memory_format)
    with provider("reference"):
        expected = upfirdn2d(x, setup_filter([1, 3, 3, 1]), **RESAMPLING[kind])
    torch.testing.assert_close(UPFIRDN2D[kind][way](x), expected, rtol=1e-5, atol=1e-6)


@LAYOUTS
@pytest.mark.parametrize("clamp", [None, 0.5])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("way", bias_act_lrelu(None))
def test_a_composition_gives_what_bias_act_gives(way, bias, clamp, memory_format):
    x = torch.randn(2, 3, 4, 5).contiguous(memory_format=memory_format)
    b = torch.randn(3) if bias else None
    before = x.clone()
    with provider("reference"):
        expected = bias_act(x, b, act="lrelu", clamp=clamp)
    torch.testing.assert_close(bias_act_lrelu(clamp)[way](x, b), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(x, before)  # in place is only what the composition made itself


@pytest.mark.parametrize("layout", ["nchw", "channels_last"])
@pytest.mark.parametrize(
    "case", [*filtered_cases((2, 3, 7, 6)), *penalty_cases((2, 3, 7, 6))], ids=lambda case: case.kind
)
def test_a_composition_gives_what_the_operator_gives(case, layout):
    torch.manual_seed(0)
    inputs = case.inputs(torch.float64, layout, torch.device("cpu"))
    with provider("reference"):
        expected = run(case.function, inputs, DIRECTIONS[1])
    assert case.compositions
    for way, composition in case.compositions.items():
        assert distance(run(composition, inputs, DIRECTIONS[1]), expected, inputs.decided) < 1e-12, way


@pytest.mark.parametrize("layout", ["nchw", "channels_last"])
@pytest.mark.parametrize("kind", COMPOSITIONS)
def test_a_composition_gives_what_a_layer_gives(kind, layout):
    """With all derivatives, and in the layout of its input."""
    torch.manual_seed(0)
    case = next(case for case in layer_cases((2, 4, 8, 6)) if case.kind == kind)
    inputs = case.inputs(torch.float32, layout, torch.device("cpu"))
    form = torch.contiguous_format if layout == "nchw" else torch.channels_last
    assert case.compositions
    for direction in DIRECTIONS:
        with provider("reference"):
            expected = {name: t.double() for name, t in run(case.function, inputs.double(), direction).items()}
        for way, composition in case.compositions.items():
            results = run(composition, inputs, direction)
            assert distance(results, expected, inputs.decided) < 3e-6, (way, direction)
            assert "y" not in results or results["y"].is_contiguous(memory_format=form), way
