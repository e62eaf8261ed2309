"""conv2d_resample and modulated_conv2d: known answers, forward, errors."""

from __future__ import annotations

import math

import pytest
import torch

from fastgan.ops import conv2d_resample, exact_convolutions, modulated_conv2d, provider
from tests.ops import cases_conv2d_layer
from tests.ops.cases import DTYPE_IDS, DTYPES, assert_close_to, poison_allocator
from tests.ops.layers import DOUBLE, TAPS, by_definition, inputs, layer

provider_context = provider  # the fixture of the same name hides it inside tests
CASES = pytest.mark.parametrize("case", cases_conv2d_layer.CASES.values(), ids=cases_conv2d_layer.CASES)
FORMATS = pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])


@pytest.fixture(autouse=True)
def exact():
    """Products as their formulas say; what Winograd's algorithm adds is tested by itself."""
    with exact_convolutions():
        yield


# 1. known answers


def test_one_pixel_by_hand(provider):
    # 3·2 + 4·1, demodulated by 1/sqrt((3·2)² + (4·1)²), plus noise 1 and bias -4, lrelu 0.2, gain 5, clamp 2
    x, w = torch.ones(1, 2, 1, 1), torch.tensor([3.0, 4.0]).view(1, 2, 1, 1)
    styles, noise, b = torch.tensor([[2.0, 1.0]]), torch.tensor([[1.0]]), torch.tensor([-4.0])
    v = 10 / math.sqrt(52) + 1 - 4
    for clamp, expected in ((None, v), (1.5, -1.5)):
        y = modulated_conv2d(x, w, styles, noise, b=b, act="lrelu", gain=5.0, clamp=clamp)
        assert y.item() == pytest.approx(expected, rel=1e-6)
    y = modulated_conv2d(
        x, w, styles, noise, b=b, act="lrelu", gain=5.0, clamp=1.5, residual=torch.full_like(x, 9.0)[:, :1]
    )
    assert y.item() == pytest.approx(7.5)


def test_impulse_gives_the_kernel(provider):
    x, w = torch.zeros(1, 1, 5, 5), torch.arange(1.0, 10.0).view(1, 1, 3, 3)
    x[0, 0, 2, 2] = 1
    y = conv2d_resample(x, w, padding=1)[0, 0, 1:4, 1:4]
    torch.testing.assert_close(y, w[0, 0].flip([0, 1]))  # a correlation turns an impulse's kernel round
    y = conv2d_resample(x, w, padding=1, flip_weight=False)[0, 0, 1:4, 1:4]
    torch.testing.assert_close(y, w[0, 0])
    y = conv2d_resample(x, w, None, up=2, padding=1, flip_weight=False)[0, 0, 3:6, 3:6]
    torch.testing.assert_close(y, 4 * w[0, 0])  # around the impulse's place, with the gain of zeros inserted
    y = conv2d_resample(x, w, None, down=2, padding=1)
    torch.testing.assert_close(y[0, 0, 1, 1], w[0, 0, 1, 1])
    assert y.sum() == w[0, 0, 1, 1]


def test_two_pixels_up(provider):
    # 2 5 with zeros inserted: 2 0 5 0; FIR (1, 3) / 4 with gain 2 on this axis: 1 3 2.5 7.5; kernel 10 at the middle
    x, w = torch.tensor([[[[2.0, 5.0]]]]), torch.zeros(1, 1, 1, 3)
    w[..., 1] = 10
    f = torch.tensor([[1.0, 3.0]]) / 4
    y = conv2d_resample(x, w, f, up=2, padding=[1, 1, 0, 0], flip_weight=False)
    assert y.shape == (1, 1, 2, 4)
    torch.testing.assert_close(y[0, 0].sum(dim=0), 2 * torch.tensor([10.0, 30.0, 25.0, 75.0]))


def test_input_gain_is_not_demodulated(provider):
    x, w, s = torch.randn(2, 3, 4, 4), torch.randn(4, 3, 3, 3), torch.randn(2, 3)
    doubled = modulated_conv2d(x, w, s, padding=1, input_gain=torch.tensor(2.0))
    torch.testing.assert_close(doubled, 2 * modulated_conv2d(x, w, s, padding=1))
    torch.testing.assert_close(modulated_conv2d(x, w, 2 * s, padding=1), doubled / 2)


# 2. forward


@CASES
@FORMATS
@pytest.mark.parametrize("dtype", DTYPES, ids=DTYPE_IDS)
def test_forward(provider, case, dtype, memory_format):
    tensors, arguments = inputs(case, dtype, memory_format)
    exact = by_definition(tensors, arguments)
    poison_allocator(exact)
    y = layer(tensors, arguments)
    with provider_context("reference"):
        own = layer(tensors, arguments)
    assert y.dtype == dtype
    if memory_format == "channels_last":
        assert y.is_contiguous(memory_format=torch.channels_last) or y.is_contiguous()
    assert_close_to(y, exact, own)


@pytest.mark.parametrize("memory_format", ["strided", "unaligned"])
@pytest.mark.parametrize("name", ["generator", "generator-up", "discriminator-down", "to-rgb"])
def test_memory_that_is_not_dense_or_not_aligned(compiled_provider, name, memory_format):
    tensors, arguments = inputs(cases_conv2d_layer.CASES[name], torch.float32, memory_format)
    assert_close_to(layer(tensors, arguments), by_definition(tensors, arguments))


def test_many_channels(provider):
    tensors, arguments = inputs(((1, 512, 2, 3), 20, 3, {"styles": True, "b": True, "act": "lrelu"}), torch.float32)
    assert_close_to(layer(tensors, arguments), by_definition(tensors, arguments))


def test_float16_does_not_overflow(compiled_provider):
    x, w = 100 * torch.randn(2, 64, 4, 4).half(), 50 * torch.randn(8, 64, 3, 3)
    y = modulated_conv2d(x, w, 40 * torch.randn(2, 64), padding=1)
    assert y.isfinite().all() and 10 < y.float().std() < 1000


def test_styles_of_any_layout_and_dtype(compiled_provider):
    x, w = torch.randn(2, 3, 4, 5), torch.randn(4, 3, 3, 3)
    row = torch.rand(1, 3) + 0.5
    expected = modulated_conv2d(x, w, row.repeat(2, 1), padding=1)
    torch.testing.assert_close(modulated_conv2d(x, w, row.expand(2, 3), padding=1), expected)
    transposed = row.repeat(2, 1).t().contiguous().t()
    torch.testing.assert_close(modulated_conv2d(x, w, transposed, padding=1), expected)
    one = torch.ones(3, dtype=DOUBLE)
    torch.testing.assert_close(modulated_conv2d(x, w, row.repeat(2, 1), padding=1, input_gain=one), expected)


@pytest.mark.parametrize("demodulate", [True, False])
def test_autocast_does_not_reach_inside(provider, demodulate):
    x, w, s = torch.randn(2, 4, 4, 5, requires_grad=True), torch.randn(3, 4, 1, 1), torch.rand(2, 4)
    y = modulated_conv2d(x, w, s, demodulate=demodulate, b=torch.randn(3))
    expected = torch.autograd.grad(y.sum(), x, retain_graph=True)
    with torch.autocast("cpu", torch.bfloat16):
        same = modulated_conv2d(x, w, s, demodulate=demodulate, b=torch.zeros(3))
        dx = torch.autograd.grad(y.sum(), x)
    assert same.dtype == torch.float32
    torch.testing.assert_close(dx, expected)


def test_a_result_may_be_changed_in_place(provider):
    x, w = torch.randn(2, 4, 4, 5, requires_grad=True), torch.randn(3, 4, 1, 1)
    y = modulated_conv2d(x, w, torch.rand(2, 4), demodulate=False)
    y.add_(1).sum().backward()
    assert x.grad is not None


# 3. errors


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"x": torch.zeros(2, 4, 4)}, ValueError, r"x and w must be 4-dimensional, got \[2, 4, 4\] and"),
        ({"x": torch.zeros(1, 2, 4, 4).int()}, TypeError, "x must be a floating-point tensor, got torch.int32"),
        (
            {"x": torch.zeros(1, 5, 4, 4)},
            ValueError,
            r"x must have shape \[N, 2, H, W\] to match w, got \[1, 5, 4, 4\]",
        ),
        ({"w": torch.zeros(3, 2, 3, 3, device="meta")}, ValueError, "w must be on x's device cpu, got meta"),
        ({"w": torch.zeros(0, 2, 3, 3)}, ValueError, r"w must not be empty, got shape \[0, 2, 3, 3\]"),
        ({"groups": 2}, ValueError, "groups must divide w's 3 output channels, got 2"),
        ({"up": 2, "down": 2}, ValueError, "up and down must not both exceed 1, got 2 and 2"),
        ({"up": 1.5}, ValueError, "up must be an int of at least 1, got 1.5"),
        ({"down": 0}, ValueError, "down must be an int of at least 1, got 0"),
        ({"padding": [1, 2, 3]}, ValueError, r"padding must be an int, \[x, y\] or .* got \[1, 2, 3\]"),
        (
            {"padding": -1},
            ValueError,
            "padding -1 leaves images of 4x4 no output under a kernel of 3x3: it would be 0x0",
        ),
        ({"b": torch.zeros(2)}, ValueError, r"b must have shape \[O\]=\[3\], got \[2\]"),
        ({"act": "gelu"}, ValueError, "act must be one of"),
        ({"clamp": -1}, ValueError, "clamp must be None or at least 0, got -1"),
        (
            {"residual": torch.zeros(1, 3, 4, 4)},
            ValueError,
            r"residual must have the result's shape \[1, 3, 2, 2\], got",
        ),
        ({"f": torch.zeros(2, requires_grad=True), "up": 2}, ValueError, "f must not require grad"),
    ],
)
def test_errors(provider, arguments, error, message):
    with pytest.raises(error, match=message):
        conv2d_resample(**({"x": torch.zeros(1, 2, 4, 4), "w": torch.zeros(3, 2, 3, 3)} | arguments))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"styles": torch.zeros(2, 4)}, r"styles must have shape \[N, I\]=\[2, 3\], got \[2, 4\]"),
        ({"noise": torch.zeros(2, 5, 2, 2)}, r"noise must be broadcastable to \[N, 1, H', W'\]=\[2, 1, 2, 2\], got"),
        ({"weight": torch.zeros(5, 3, 3)}, "x and weight must be 4-dimensional"),
        ({"styles": torch.zeros(2, 3, device="meta")}, "styles must be on x's device cpu, got meta"),
        ({"input_gain": torch.zeros(3, device="meta")}, "input_gain must be on x's device cpu, got meta"),
        ({"input_gain": torch.zeros(5)}, r"input_gain must be a scalar or \[I\]=\[3\], got \[5\]"),
        ({"resample_filter": torch.zeros(1, 2, 2)}, r"resample_filter must have shape \[taps\] or \[fh, fw\], got"),
    ],
)
def test_errors_of_modulation(arguments, message):
    given = {"x": torch.zeros(2, 3, 4, 4), "weight": torch.zeros(5, 3, 3, 3), "styles": torch.zeros(2, 3)}
    with pytest.raises(ValueError, match=message):
        modulated_conv2d(**(given | arguments))


def test_groups_are_independent_convolutions():
    x, w = torch.randn(2, 4, 6, 6, dtype=DOUBLE), torch.randn(6, 2, 3, 3, dtype=DOUBLE)
    for up, down in ((2, 1), (1, 2), (1, 1)):
        y = conv2d_resample(x, w, TAPS, up, down, padding=1, groups=2)
        halves = [
            conv2d_resample(x[:, 2 * g : 2 * g + 2], w[3 * g : 3 * g + 3], TAPS, up, down, padding=1) for g in range(2)
        ]
        torch.testing.assert_close(y, torch.cat(halves, dim=1))
    with provider_context("native"), pytest.raises(ValueError, match="groups above 1 are composed of other operators"):
        conv2d_resample(x, w, groups=2)
