"""The passes conv2d_epilogue, conv2d_epilogue_backward and conv2d_style_gradient: compiled, by their raw operators."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fastgan.ops.conv2d_layer import schemas
from tests.ops.cases import DTYPE_IDS, DTYPES, arranged, assert_close_to, poison_allocator

FORMATS = ["contiguous", "channels_last", "unaligned"]
SHAPES = {
    "odd": (2, 5, 7, 3),
    "one-pixel": (3, 20, 1, 1),
    "one-channel": (2, 1, 5, 4),
    "wide": (1, 33, 4, 67),
    "whole": (2, 32, 4, 8),
    "rgb": (3, 3, 9, 8),
    "many-pixels": (2, 3, 40, 129),
    "many-channels": (2, 70, 5, 6),
    "empty": (0, 4, 3, 3),
}
ACTS = {"linear": 0, "relu": 1, "lrelu": 2}
ALPHA, GAIN = 0.25, 1.5
OPERANDS = ("scale", "noise", "b", "residual")
# every one, none, and each alone
SUBSETS = [OPERANDS, (), *((name,) for name in OPERANDS)]


@pytest.fixture
def passes(request, kernels):
    """The passes of one provider."""
    name = request.node.callspec.params["kernels"]
    return SimpleNamespace(
        **{op: getattr(torch.ops.fastgan, f"{op}_{name}") for op in (*schemas.SCHEMAS, "bias_act", "bias_act_backward")}
    )


def wide(dtype):
    """The dtype of scale and dscale."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def inputs(shape, dtype, memory_format="contiguous", subset=OPERANDS, shared_noise=False, draw=torch.randn) -> Any:
    """u, dy and the operands of `subset`; the others are None."""
    n, o, h, w = shape

    def image():
        return arranged(draw(shape, dtype=torch.float64).to(dtype), memory_format)

    operands = {
        "scale": (draw((n, o), dtype=torch.float64).abs() + 0.5).to(wide(dtype)),
        "noise": draw((1 if shared_noise else n, 1, h, w), dtype=torch.float64).to(dtype),
        "b": draw((o,), dtype=torch.float64).to(dtype),
        "residual": image(),
    }
    return image(), image(), {name: value if name in subset else None for name, value in operands.items()}


def eighths(shape, dtype):
    """Numbers that all sums and products here are exact with."""
    return torch.randint(-24, 25, shape).to(dtype) / 8


def pre_activation(u, scale, noise, b):
    """scale·u + noise + b in float64."""
    v = u.double()
    if scale is not None:
        v = v * scale.double()[:, :, None, None]
    if noise is not None:
        v = v + noise.double()
    return v if b is None else v + b.double()[:, None, None]


def slope_of(v, act, clamp):
    """gain·act'(v), 0 where clamped."""
    negative = {"linear": 1.0, "relu": 0.0, "lrelu": ALPHA}[act]
    slope = torch.where(v > 0, GAIN, GAIN * negative).to(torch.float64)
    return slope if clamp < 0 else torch.where((slope * v).abs() > clamp, 0.0, slope)


def unpacked(mask, like):
    """The two bits of every element, [N, O, H, W]."""
    bits = torch.stack([mask >> shift & 3 for shift in (0, 2, 4, 6)], dim=-1).flatten()[: like.numel()]
    order = like.permute(0, 2, 3, 1) if not like.is_contiguous() else like
    placed = bits.view(order.shape)
    return placed.permute(0, 3, 1, 2) if not like.is_contiguous() else placed


cases = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=DTYPE_IDS)
formats = pytest.mark.parametrize("memory_format", FORMATS)


# 1. known answers


def test_known_values(passes):
    u = torch.tensor([[[[1.0, -2.0]], [[3.0, 8.0]]]])  # [1, 2, 1, 2]
    scale, noise = torch.tensor([[2.0, 0.5]]), torch.tensor([[[[1.0, -1.0]]]])
    b, residual = torch.tensor([0.5, -1.0]), torch.full((1, 2, 1, 2), 10.0)
    # v = [[3.5, -4.5], [1.5, 2]]
    y, mask = passes.conv2d_epilogue(u, scale, noise, b, residual, 2, 0.5, 2.0, 3.5, True)
    torch.testing.assert_close(y, torch.tensor([[[[13.5, 6.5]], [[13.0, 13.5]]]]))
    assert mask.tolist() == [0b11_01_10_11]
    y, mask = passes.conv2d_epilogue(u, None, None, None, None, 0, 0.0, 1.0, -1.0, False)
    assert torch.equal(y, u) and mask.numel() == 0


def test_known_gradients(passes):
    # scale 2, noise 1 and 0, b -1; u = 2, -3: v = 4, -7; gain 2, alpha 0.5: y = 8, -7
    y, dy = torch.tensor([[[[8.0, -7.0]]]]), torch.tensor([[[[1.0, 3.0]]]])
    scale, noise, b = torch.tensor([[2.0]]), torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([-1.0])
    mask = torch.tensor([0b00_01], dtype=torch.uint8)
    du, dscale, dnoise, db = passes.conv2d_epilogue_backward(
        dy, mask, y, scale, noise, b, 2, 0.5, 2.0, -1.0, True, True, True
    )
    torch.testing.assert_close(du, torch.tensor([[[[4.0, 6.0]]]]))
    torch.testing.assert_close(dscale, torch.tensor([[2.0 * 2 + 3.0 * -3]]))
    torch.testing.assert_close(dnoise, torch.tensor([[[[2.0, 3.0]]]]))
    torch.testing.assert_close(db, torch.tensor([5.0]))


# 2. forward


@formats
@dtypes
@cases
def test_forward(passes, shape, dtype, memory_format):
    acts = itertools.cycle([("lrelu", 1.0), ("linear", -1.0), ("relu", 0.75), ("lrelu", -1.0), ("linear", 2.0)])
    for shared, subset in itertools.product([False, True], SUBSETS):
        act, clamp = next(acts)
        u, _, operands = inputs(shape, dtype, memory_format, subset, shared)
        v = pre_activation(u, *(operands[name] for name in ("scale", "noise", "b")))
        negative = {"linear": 1.0, "relu": 0.0, "lrelu": ALPHA}[act]
        exact = GAIN * torch.where(v > 0, v, negative * v)
        exact = exact.clamp(-clamp, clamp) if clamp >= 0 else exact
        exact = exact if operands["residual"] is None else exact + operands["residual"].double()
        poison_allocator(u)
        for keep_mask in (False, True):
            y, mask = passes.conv2d_epilogue(u, *operands.values(), ACTS[act], ALPHA, GAIN, clamp, keep_mask)
            assert y.stride() == u.stride() and y.dtype == dtype
            assert_close_to(y, exact)
        assert mask.shape == ((u.numel() + 3) // 4,)


@formats
@pytest.mark.parametrize("dtype", DTYPES[:2], ids=DTYPE_IDS[:2])
@cases
def test_forward_and_mask_are_those_of_bias_act(passes, shape, dtype, memory_format):
    for act, clamp in itertools.product(ACTS.values(), [-1.0, 1.5]):
        u, _, operands = inputs(shape, dtype, memory_format, OPERANDS[:3], draw=eighths)
        v = pre_activation(u, *(operands[name] for name in OPERANDS[:3])).to(dtype)
        y, mask = passes.conv2d_epilogue(u, *operands.values(), act, ALPHA, GAIN, clamp, True)
        same, same_mask = passes.bias_act(arranged(v, memory_format), None, 1, act, ALPHA, GAIN, clamp, True)
        assert torch.equal(y, same)
        assert torch.equal(unpacked(mask, y), unpacked(same_mask, y))


@formats
def test_infinities_and_nan(passes, memory_format):
    special = torch.tensor([math.inf, -math.inf, math.nan, 0.0, -0.0, 1.0, -3.0])
    u = arranged(special[torch.randint(0, 7, (2, 20, 3, 9))], memory_format)
    dy = arranged(special[torch.randint(0, 2, (2, 20, 3, 9))], memory_format)
    for act, clamp in itertools.product(ACTS.values(), [-1.0, 2.0]):
        y, mask = passes.conv2d_epilogue(u, None, None, None, None, act, ALPHA, GAIN, clamp, True)
        same, same_mask = passes.bias_act(u, None, 1, act, ALPHA, GAIN, clamp, True)
        torch.testing.assert_close(y, same, rtol=0, atol=0, equal_nan=True)
        assert torch.equal(unpacked(mask, y), unpacked(same_mask, y))
        du, *_ = passes.conv2d_epilogue_backward(
            dy, mask, None, None, None, None, act, ALPHA, GAIN, clamp, False, False, True
        )
        same, _ = passes.bias_act_backward(dy, None, None, mask, 1, act, ALPHA, GAIN, clamp, True)
        torch.testing.assert_close(du, same, rtol=0, atol=0, equal_nan=True)


def test_a_slope_of_zero_stops_infinite_gradients(passes):
    u, dy = torch.full((1, 3, 5, 5), -2.0), torch.full((1, 3, 5, 5), math.inf)
    y, mask = passes.conv2d_epilogue(u, None, None, None, None, 1, 0.0, 1.0, -1.0, True)
    for result in passes.conv2d_epilogue_backward(
        dy, mask, torch.full_like(y, math.nan), torch.ones(1, 3), None, None, 1, 0.0, 1.0, -1.0, True, True, True
    ):
        assert result.numel() and (result == 0).all()


# 3. gradients


@formats
@dtypes
@cases
def test_backward(passes, shape, dtype, memory_format):
    n, o, h, w = shape
    acts = itertools.cycle([("lrelu", 1.5), ("relu", -1.0), ("linear", -1.0), ("lrelu", -1.0), ("relu", 0.75)])
    for subset, shared in itertools.product([OPERANDS[:3], (), ("scale",), ("noise",), ("b",)], [False, True]):
        act, clamp = next(acts)
        u, dy, operands = inputs(shape, dtype, memory_format, subset, shared)
        scale, noise, b = (operands[name] for name in OPERANDS[:3])
        numbers = (ACTS[act], ALPHA, GAIN, clamp)
        y, mask = passes.conv2d_epilogue(u, scale, noise, b, None, *numbers, True)
        y = arranged(y, memory_format)
        bits = unpacked(mask, y)
        slope = torch.where(bits & 1 > 0, GAIN, GAIN * {"linear": 1.0, "relu": 0.0, "lrelu": ALPHA}[act])
        slope = torch.where(bits & 2 > 0, 0.0, slope.double())
        g = slope * dy.double()
        factor = torch.ones(n, o, 1, 1).double() if scale is None else scale.double()[:, :, None, None]
        shift = pre_activation(torch.zeros_like(u), None, noise, b)
        from_y = torch.where(slope == 0, 0.0, (y.double() / torch.where(slope == 0, 1.0, slope) - shift) / factor)
        exact = (factor * g, (g * from_y).sum([2, 3]), g.sum(1, keepdim=True), g.sum([0, 2, 3]))
        kept = None if act == "linear" and clamp < 0 else mask
        poison_allocator(u)
        for needs in [
            (True, True, True),
            (False, False, True),
            (True, False, False),
            (False, True, False),
            (False,) * 3,
        ]:
            results = passes.conv2d_epilogue_backward(dy, kept, y, scale, noise, b, *numbers, *needs)
            types = (dtype, wide(dtype), dtype, dtype)
            for result, expected, type_, needed in zip(results, exact, types, (True, *needs), strict=True):
                assert result.dtype == type_
                if needed:
                    assert_close_to(result, expected)
                else:
                    assert result.shape == (0,)
            assert results[0].stride() == dy.stride()


def test_gradients_are_those_of_the_formula(passes):
    for act, clamp, shape in itertools.product(ACTS, [-1.0, 1.5], [(2, 5, 7, 3), (2, 20, 6, 6)]):
        u, dy, operands = inputs(shape, torch.float64, subset=OPERANDS[:3])
        leaves = [value.requires_grad_() for value in (u, *(operands[name] for name in OPERANDS[:3]))]
        v = pre_activation(*leaves)
        exact = torch.autograd.grad(slope_of(v.detach(), act, clamp) * v, leaves, dy)  # clamped: no gradient
        y, mask = passes.conv2d_epilogue(*(t.detach() for t in leaves), None, ACTS[act], ALPHA, GAIN, clamp, True)
        scale, noise, b = (t.detach() for t in leaves[1:])
        results = passes.conv2d_epilogue_backward(
            dy, mask, y, scale, noise, b, ACTS[act], ALPHA, GAIN, clamp, True, True, True
        )
        for result, expected in zip(results, exact, strict=True):
            assert_close_to(result, expected)


@formats
@dtypes
@cases
def test_style_gradient(passes, shape, dtype, memory_format):
    x, dz, operands = inputs(shape, dtype, memory_format)
    styles = operands["scale"]
    poison_allocator(x)
    dx, dstyles = passes.conv2d_style_gradient(dz, x, styles)
    assert dx.stride() == dz.stride() and dx.dtype == dtype and dstyles.dtype == wide(dtype)
    assert_close_to(dx, dz.double() * styles.double()[:, :, None, None])
    assert_close_to(dstyles, (x.double() * dz.double()).sum([2, 3]))


# 4. threads, errors


@pytest.mark.parametrize("memory_format", FORMATS[:2])
@dtypes
def test_any_number_of_threads_gives_the_same_bits(passes, dtype, memory_format):
    u, dy, operands = inputs((2, 70, 40, 129), dtype, memory_format)
    scale, noise, b = (operands[name] for name in OPERANDS[:3])
    results = []
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        y, mask = passes.conv2d_epilogue(u, *operands.values(), 2, ALPHA, GAIN, 1.0, True)
        gradients = passes.conv2d_epilogue_backward(dy, mask, y, scale, noise, b, 2, ALPHA, GAIN, 1.0, True, True, True)
        results.append([y, mask, *gradients, *passes.conv2d_style_gradient(dy, u, scale)])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_direct_calls_are_guarded(passes):
    u, dy, operands = inputs((2, 5, 7, 3), torch.float32)
    numbers = (2, ALPHA, GAIN, -1.0)
    bad = {
        "scale": torch.ones(2, 4),
        "noise": torch.ones(3, 1, 7, 3),
        "b": torch.ones(5, dtype=torch.float64),
        "residual": arranged(torch.ones(2, 5, 7, 3), "channels_last"),
    }
    for name, value in bad.items():
        with pytest.raises(RuntimeError, match=name):
            passes.conv2d_epilogue(u, *{**operands, name: value}.values(), *numbers, True)
    with pytest.raises(RuntimeError, match="act"):
        passes.conv2d_epilogue(u, None, None, None, None, 3, ALPHA, GAIN, -1.0, True)
    with pytest.raises(RuntimeError, match="contiguous or channels_last"):
        passes.conv2d_epilogue(u[:, :, ::2], None, None, None, None, *numbers, True)
    with pytest.raises(RuntimeError, match="mask"):
        passes.conv2d_epilogue_backward(dy, None, None, None, None, None, *numbers, False, False, True)
    with pytest.raises(RuntimeError, match="needs y"):
        passes.conv2d_epilogue_backward(dy, None, None, None, None, None, 0, 0.0, 1.0, -1.0, True, False, False)
    with pytest.raises(RuntimeError, match="styles"):
        passes.conv2d_style_gradient(dy, u, torch.ones(2, 5, dtype=torch.float64))
