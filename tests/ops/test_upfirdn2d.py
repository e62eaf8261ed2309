"""upfirdn2d: known answers, forward, gradient, second gradient, opcheck, compile, errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fastgan.ops import downsample2d, filter2d, provider, setup_filter, upfirdn2d, upsample2d
from tests.ops import cases_upfirdn2d
from tests.ops.cases import DTYPE_IDS, DTYPES, FORMATS, arranged, assert_close_to, poison_allocator

provider_context = provider  # the fixture of the same name hides it inside tests
CASES = pytest.mark.parametrize("case", cases_upfirdn2d.CASES.values(), ids=cases_upfirdn2d.CASES)


def inputs(case, dtype, memory_format="contiguous", requires_grad=False):
    shape, taps, arguments = case
    x = arranged(torch.randn(shape, dtype=torch.float64).to(dtype), memory_format).requires_grad_(requires_grad)
    f = None if taps is None else torch.randn(taps, dtype=torch.float64).float()
    return x, f, arguments


def by_definition(x, f, up=1, down=1, padding=0, flip_filter=False, gain=1):
    """The definition, tap by tap in float64 numpy; written from the docstring, not from the reference."""

    def pair(value):
        return (value, value) if isinstance(value, int) else tuple(value)

    (ux, uy), (dx, dy) = pair(up), pair(down)
    p = list(pair(padding))
    px0, px1, py0, py1 = p if len(p) == 4 else (p[0], p[0], p[1], p[1])
    f = np.ones((1, 1)) if f is None else f.double().numpy()
    f = np.outer(f, f) if f.ndim == 1 else f
    if flip_filter:
        f = f[::-1, ::-1]
    n, c, h, w = x.shape
    fh, fw = f.shape
    canvas = np.zeros((n, c, h * uy + abs(py0) + abs(py1), w * ux + abs(px0) + abs(px1)))
    top, left = max(py0, 0), max(px0, 0)
    canvas[:, :, top : top + h * uy : uy, left : left + w * ux : ux] = x.double().numpy()
    top, left = max(-py0, 0), max(-px0, 0)
    canvas = canvas[:, :, top : top + h * uy + py0 + py1, left : left + w * ux + px0 + px1]
    rows, columns = canvas.shape[2] - fh + 1, canvas.shape[3] - fw + 1
    y = np.zeros((n, c, rows, columns))
    for ky in range(fh):
        for kx in range(fw):
            y += f[fh - 1 - ky, fw - 1 - kx] * canvas[:, :, ky : ky + rows, kx : kx + columns]
    y = y[:, :, ::dy, ::dx]
    return torch.from_numpy(y * gain)


# 1. known answers


def test_impulse_gives_the_filter(provider):
    x = torch.zeros(1, 1, 5, 5)
    x[0, 0, 2, 2] = 1
    f = torch.arange(1.0, 7.0).reshape(2, 3)
    y = upfirdn2d(x, f)  # [1, 1, 4, 3]: a convolution carries f itself to where the impulse is
    torch.testing.assert_close(y[0, 0, 1:3, 0:3], f)
    torch.testing.assert_close(upfirdn2d(x, f, flip_filter=True)[0, 0, 1:3, 0:3], f.flip([0, 1]))


def test_two_pixels(provider):
    x, f = torch.tensor([[[[2.0, 5.0]]]]), torch.tensor([[1.0, 10.0, 100.0]])
    # zeros inserted: 2 0 5 0; padded by 2 on both sides: 0 0 2 0 5 0 0 0; convolved with 1 10 100
    full = [[[[2.0, 20.0, 205.0, 50.0, 500.0, 0.0]]]]
    torch.testing.assert_close(upfirdn2d(x, f, up=[2, 1], padding=[2, 2, 0, 0]), torch.tensor(full))
    every_second = torch.tensor([[[[6.0, 615.0, 1500.0]]]])
    torch.testing.assert_close(upfirdn2d(x, f, up=[2, 1], down=[2, 1], padding=[2, 2, 0, 0], gain=3), every_second)
    cropped = torch.tensor([[[[205.0]]]])  # 0 0 2 0 5 without its first two and last zeros
    torch.testing.assert_close(upfirdn2d(x, f, up=[2, 1], padding=[0, -1, 0, 0]), cropped)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("taps", [[1.0, 2.0, 1.0], [1.0, 3.0, 3.0, 1.0], [1.0]])
def test_infinity_stays_inside_the_footprint(compiled_provider, taps, memory_format):
    x = torch.ones(1, 9, 6, 33)
    x[:, :, 2] = math.inf
    y = upfirdn2d(arranged(x, memory_format), torch.tensor(taps), up=[1, 2], padding=[0, 0, len(taps), len(taps)])
    k = len(taps)
    for row in range(y.shape[2]):  # output row o sees the up-sampled rows o - k to o - 1, of which 4 is infinite
        assert y[:, :, row].isfinite().all() == (not row - k <= 4 <= row - 1), row


def test_setup_filter():
    torch.testing.assert_close(setup_filter([1, 3, 3, 1]).sum(), torch.tensor(1.0))
    torch.testing.assert_close(setup_filter([1, 3, 3, 1])[0], torch.tensor([1.0, 3, 3, 1]) / 64)
    assert setup_filter([1.0] * 8).shape == (8,)
    assert setup_filter([1.0] * 7).shape == (7, 7)
    flipped = setup_filter([1, 2], normalize=False, separable=True, flip_filter=True)
    torch.testing.assert_close(flipped, torch.tensor([2.0, 1.0]))
    torch.testing.assert_close(setup_filter([1, 1], gain=4), torch.ones(2, 2))
    torch.testing.assert_close(setup_filter([1, 1], gain=4, separable=True), torch.ones(2))
    torch.testing.assert_close(setup_filter(None), torch.ones(1, 1))


def test_resampling_keeps_size_and_brightness(provider):
    x = torch.ones(1, 2, 8, 6)
    for taps in ([1, 3, 3, 1], [1, 2, 1], [1, 1], None):
        f = None if taps is None else setup_filter(taps)
        up, down, same = upsample2d(x, f), downsample2d(x, f), filter2d(x, f)
        assert up.shape == (1, 2, 16, 12) and down.shape == (1, 2, 4, 3) and same.shape == x.shape
        if taps is not None:  # away from the border, which sees the zeros outside
            inner = (up[:, :, 2:-2, 2:-2], down[:, :, 1:-1, 1:-1], same[:, :, 2:-2, 2:-2])
            for y in inner:
                torch.testing.assert_close(y, torch.ones_like(y))


# 2. forward


@pytest.mark.slow_interpreted(only=["long"])
@CASES
@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES, ids=DTYPE_IDS)
def test_forward(provider, case, dtype, memory_format):
    x, f, arguments = inputs(case, dtype, memory_format)
    poison_allocator(x)
    y = upfirdn2d(x, f, **arguments)
    with provider_context("reference"):
        own = upfirdn2d(x, f, **arguments)
    if memory_format == "channels_last":
        assert y.is_contiguous(memory_format=torch.channels_last) or y.is_contiguous()
    assert y.dtype == dtype
    assert_close_to(y, by_definition(x, f, **arguments), own)


@pytest.mark.parametrize("dtype", DTYPES, ids=DTYPE_IDS)
@pytest.mark.parametrize("name", ["up2", "down2", "separable4", "up3-down2"])
def test_memory_that_is_not_aligned(compiled_provider, name, dtype):
    x, f, arguments = inputs(cases_upfirdn2d.CASES[name], dtype, "unaligned")
    assert torch.equal(upfirdn2d(x, f, **arguments), upfirdn2d(x.clone(), f, **arguments))


def test_outer_product_filter_equals_separable(provider):
    x, f = torch.randn(2, 3, 9, 8), setup_filter([1, 3, 3, 1], separable=True)
    for up, down in ((2, 1), (1, 2), (1, 1)):
        separable = upfirdn2d(x, f, up, down, padding=3)
        torch.testing.assert_close(upfirdn2d(x, setup_filter([1, 3, 3, 1]), up, down, padding=3), separable)


# 3. gradient


@CASES
def test_gradcheck(provider, case):
    x, f, arguments = inputs(case, torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: upfirdn2d(x, f, **arguments), [x], fast_mode=True)


@pytest.mark.slow_interpreted(only=["long"])
@CASES
@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES, ids=DTYPE_IDS)
def test_gradient(provider, case, dtype, memory_format):
    x, f, arguments = inputs(case, dtype, memory_format, requires_grad=True)
    y = upfirdn2d(x, f, **arguments)
    dy = torch.randn(y.shape, dtype=torch.float64).to(dtype)
    poison_allocator(x)
    (mine,) = torch.autograd.grad(y, x, dy)
    with provider_context("reference"):
        (own,) = torch.autograd.grad(upfirdn2d(x, f, **arguments), x, dy)
        exact_x = x.detach().double().requires_grad_()
        (exact,) = torch.autograd.grad(upfirdn2d(exact_x, f, **arguments), exact_x, dy.double())
    assert_close_to(mine, exact, own)


# 4. second gradient


@pytest.mark.slow_interpreted("up2")
@CASES
def test_gradgradcheck(provider, case):
    x, f, arguments = inputs(case, torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: upfirdn2d(x, f, **arguments), [x], fast_mode=True)


def test_third_derivative(provider):
    x = torch.randn(1, 2, 6, 5, dtype=torch.float64, requires_grad=True)
    f = torch.tensor([1.0, 3.0, 2.0])

    def second(x):
        y = upfirdn2d(x, f, up=2, padding=2).pow(3).sum()
        (first,) = torch.autograd.grad(y, x, create_graph=True)
        return torch.autograd.grad(first.square().sum(), x, create_graph=True)[0]

    assert torch.autograd.gradcheck(second, [x], fast_mode=True)


# 5. opcheck


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
@pytest.mark.parametrize("name", ["up2", "down2", "crop-up", "up3-down2"])
def test_opcheck(compiled_provider, name, memory_format):
    x, f, arguments = inputs(cases_upfirdn2d.CASES[name], torch.float32, memory_format, requires_grad=True)
    up, down = arguments.get("up", 1), arguments.get("down", 1)
    padding = arguments["padding"]
    padding = [padding] * 4 if isinstance(padding, int) else padding
    operator = getattr(torch.ops.fastgan, f"upfirdn2d_{compiled_provider}")
    torch.library.opcheck(operator, (x, f, up, up, down, down, *padding, False, 1.5))


# 6. compile


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.needs_compiler)])
def test_compile(provider, backend):
    x, f = torch.randn(2, 3, 6, 5, requires_grad=True), setup_filter([1, 3, 3, 1])

    def layer(x):
        return downsample2d(upsample2d(x, f) * 2, f)

    eager = torch.autograd.grad(layer(x).square().sum(), x)
    compiled = torch.autograd.grad(torch.compile(layer, backend=backend, fullgraph=True)(x).square().sum(), x)
    torch.testing.assert_close(compiled, eager)


def test_export(provider):
    class Layer(torch.nn.Module):
        f = setup_filter([1, 3, 3, 1])

        def forward(self, x):
            return upsample2d(x, self.f)

    x = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(torch.export.export(Layer(), (x,)).module()(x), Layer()(x))


# 7. errors


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"x": torch.zeros(3, 4, 4)}, ValueError, r"x must have shape \[N, C, H, W\], got \[3, 4, 4\]"),
        ({"x": torch.zeros(1, 1, 4, 4, dtype=torch.uint8)}, TypeError, "x must be .* got torch.uint8"),
        ({"f": torch.zeros(2, 2, 2)}, ValueError, r"f must have shape \[taps\] or \[fh, fw\], got \[2, 2, 2\]"),
        ({"f": torch.zeros(0)}, ValueError, r"f must have shape \[taps\] or \[fh, fw\], got \[0\]"),
        ({"f": [1, 2]}, TypeError, "f must be a floating-point tensor .* got list"),
        ({"f": torch.zeros(2, requires_grad=True)}, ValueError, "f must not require grad"),
        ({"f": torch.zeros(2, device="meta")}, ValueError, "f must be on x's device cpu, got meta"),
        ({"up": 0}, ValueError, "up must be an int or .* each from 1 to 4096; got 0"),
        ({"down": [1, 2, 3]}, ValueError, r"down must be an int .* got \[1, 2, 3\]"),
        ({"up": 1.5}, ValueError, "up must be an int"),
        ({"padding": [1, 2, 3]}, ValueError, r"padding must be an int, \[x, y\] or .* got \[1, 2, 3\]"),
        ({"padding": [0, 0, 0, -3]}, ValueError, "padding leaves 1 samples along y, but f has 2 taps"),
    ],
)
def test_errors(provider, arguments, error, message):
    with pytest.raises(error, match=message):
        upfirdn2d(**({"x": torch.zeros(1, 2, 4, 4), "f": torch.ones(2)} | arguments))


def test_setup_filter_errors():
    with pytest.raises(ValueError, match="f must hold taps"):
        setup_filter([])
    with pytest.raises(ValueError, match="cannot be normalised"):
        setup_filter([1, -1])
    with pytest.raises(ValueError, match="must be 1-D to be separable"):
        setup_filter([[1, 2], [3, 4]], separable=True)
