"""affine_warp: known answers, forward, gradient, second gradient, opcheck, compile, errors."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fastgan.ops import affine_warp
from fastgan.ops.affine_warp.reference import SYM6, affine_warp_reference
from tests.ops.cases import DTYPE_IDS, DTYPES, arranged, assert_close_to, poison_allocator
from tests.ops.cases_affine_warp import SHAPES, THETAS, colors, rotation, thetas

FORMATS = ["contiguous", "channels_last"]
FILTERED = list(THETAS)[3:12]


def random(shape, dtype=torch.float64, memory_format="contiguous") -> Tensor:
    return arranged(torch.randn(shape, dtype=torch.float64).to(dtype), memory_format).requires_grad_()


def of_each(theta: list, x: Tensor) -> Tensor:
    return torch.tensor(theta, dtype=torch.float64).expand(len(x), 2, 3)


# 1. known answers


def test_the_filter_is_an_orthogonal_wavelet_of_six_vanishing_moments():
    h = torch.tensor(SYM6, dtype=torch.float64)
    places = torch.arange(12, dtype=torch.float64) - 5.5
    for lag in range(6):
        assert abs(2 * (h[: 12 - 2 * lag] * h[2 * lag :]).sum().item() - (lag == 0)) < 3e-12
    for power in range(6):
        assert abs(((-1) ** torch.arange(12) * places**power * h).sum()) < 1e-10
    assert abs(h.sum() - 1) < 1e-15 and h.argmax() == 5


def test_pixels_are_copied(provider):
    x = random((2, 3, 6, 8)).detach()
    for name, expected in {
        "identity": x,
        "flip": x.flip(3),
        "shift": torch.cat([x[..., 3:], x[..., 4:7].flip(3)], dim=3),
    }.items():
        theta = torch.tensor(THETAS[name], dtype=torch.float64)
        theta[1, 2] = 0
        assert torch.equal(affine_warp(x, theta.expand(2, 2, 3)), expected), name
    down = of_each([[1, 0, 0], [0, 1, 13]], x)  # period 10: three rows further, beyond the last by reflection
    assert torch.equal(affine_warp(x, down), x[:, :, [3, 4, 5, 4, 3, 2]])
    square = random((2, 3, 7, 7)).detach()
    assert torch.equal(affine_warp(square, of_each(THETAS["quarter"], square)), square.rot90(-1, (2, 3)))
    assert torch.equal(affine_warp(square, of_each([[0, -1, 0], [1, 0, 0]], square)), square.rot90(1, (2, 3)))


@pytest.mark.slow_interpreted
def test_a_constant_image_stays_constant(provider):
    x = torch.full((9, 3, 6, 11), 0.75, dtype=torch.float64)
    y = affine_warp(x, thetas(FILTERED, 9))
    torch.testing.assert_close(y, x, rtol=0, atol=1e-11)


def test_what_is_no_copy_by_a_hair_is_hardly_another(provider):
    x = random((1, 1, 9, 8)).detach()
    for name in ("identity", "shift"):
        theta = of_each(THETAS[name], x)
        near = theta + 1e-9
        torch.testing.assert_close(affine_warp(x, near), affine_warp(x, theta), rtol=0, atol=1e-6)


@pytest.mark.slow_interpreted
def test_a_slow_wave_moves_as_it_should(provider):
    """cos of a place, turned, scaled and shifted, inside of an image that is large enough for the reflection."""
    n, period = 96, 16.0
    at = torch.arange(n, dtype=torch.float64) - (n - 1) / 2
    j, i = at.expand(n, n), at[:, None].expand(n, n)
    x = torch.cos(2 * math.pi * (0.6 * j + 0.8 * i) / period)[None, None]
    (a, b, c), (d, e, f) = rotation(25, 0.8, shift=(2.5, -4.25))
    expected = torch.cos(2 * math.pi * (0.6 * (a * j + b * i + c) + 0.8 * (d * j + e * i + f)) / period)
    y = affine_warp(x, torch.tensor([[[a, b, c], [d, e, f]]], dtype=torch.float64))[0, 0]
    inside = slice(24, -24)
    assert (y - expected)[inside, inside].abs().max() < 0.03  # bilinear between samples, a quarter of a pixel


def test_a_layout_of_another_kind(provider):
    x, theta = random((2, 3, 6, 5), memory_format="strided").detach(), thetas(["turn", "flip"], 2)
    assert torch.equal(affine_warp(x, theta), affine_warp(x.contiguous(), theta))
    assert torch.equal(affine_warp(x, theta.transpose(1, 2).contiguous().transpose(1, 2)), affine_warp(x, theta))


def test_colours(provider):
    x = random((2, 3, 4, 5)).detach()
    color = colors(2, 3)
    assert color is not None
    for name in ("identity", "turn"):
        theta = of_each(THETAS[name], x)
        plain = affine_warp(x, theta)
        expected = torch.einsum("nij,njhw->nihw", color[:, :, :3], plain) + color[:, :, 3, None, None]
        torch.testing.assert_close(affine_warp(x, theta, color), expected)


def test_what_cannot_be_reached_is_nan(provider):
    x = torch.randn(5, 3, 6, 6)
    theta = thetas(["identity"], 5, torch.float32)
    theta[1, 0, 2], theta[2, 1, 1], theta[3, 0, 0], theta[4, 1, 2] = math.nan, math.inf, 1e30, -(2.0**24)
    y = affine_warp(x, theta)
    assert torch.equal(y[0], x[0]) and y[1:].isnan().all()


# 2. forward


def maps_for(shape: tuple[int, ...]) -> tuple[list[str], tuple[int, ...]]:
    """All maps, an image each; of large images some."""
    n, _, h, w = shape
    return (list(THETAS), (len(THETAS), *shape[1:])) if n and h * w < 100 else (["turn", "tiny"], shape)


@pytest.mark.slow_interpreted("two-channels-fp32-contiguous", "one-pixel-bf16-channels_last")
@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES, ids=DTYPE_IDS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_forward(provider, shape, dtype, memory_format):
    names, shape = maps_for(shape)
    x, theta = random(shape, dtype, memory_format).detach(), thetas(names, shape[0])
    color, theta = colors(shape[0], shape[1]), theta.to(torch.promote_types(dtype, torch.float32))
    poison_allocator(x)
    y = affine_warp(x, theta, color)
    exact = affine_warp_reference(x.double(), theta, color)
    assert_close(y, exact, affine_warp_reference(x, theta, color))
    assert y.dtype == dtype
    if memory_format == "channels_last" and y.numel():
        assert y.is_contiguous(memory_format=torch.channels_last)


def assert_close(y: Tensor, exact: Tensor, reference: Tensor) -> None:
    """As `assert_close_to`; in float32 places between samples are rounded too, which a steep image makes more of."""
    if y.dtype == torch.float32 and y.numel():
        assert (y.double() - exact).abs().max() <= 2e-4 * exact.abs().max().clamp_min(1e-3)
    else:
        assert_close_to(y, exact, reference)


# 3. gradient


@pytest.mark.slow_interpreted
@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES, ids=DTYPE_IDS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_gradients(provider, shape, dtype, memory_format):
    """The first and the second, which is the operator itself without what colours add."""
    names, shape = maps_for(shape)
    x, dy = (random(shape, dtype, memory_format) for _ in range(2))
    ddx = random(shape, dtype, memory_format).detach()
    theta, color = thetas(names, shape[0]), colors(shape[0], shape[1])
    theta = theta.to(torch.promote_types(dtype, torch.float32))

    def derivatives(call, x, dy, ddx):
        poison_allocator(x)
        (dx,) = torch.autograd.grad(call(x, theta, color), x, dy, create_graph=True)
        return dx.detach(), *torch.autograd.grad(dx, dy, ddx)

    mine = derivatives(affine_warp, x, dy, ddx)
    exact = derivatives(affine_warp_reference, *(t.detach().double().requires_grad_() for t in (x, dy, ddx)))
    own = derivatives(affine_warp_reference, x, dy, ddx)
    for one, true, reference in zip(mine, exact, own, strict=True):
        assert one.dtype == dtype
        assert_close(one, true, reference)


@pytest.mark.parametrize("name", FILTERED)
def test_images_of_several_tiles(kernels, name):
    """With windows, boxes and mirror images of all sizes."""
    x, dy = random((1, 3, 40, 37)), random((1, 3, 40, 37)).detach()
    theta = thetas([name], 1)
    exact = affine_warp_reference(x, theta)
    with kernels():
        y = affine_warp(x, theta)
        (dx,) = torch.autograd.grad(y, x, dy)
    (exact_dx,) = torch.autograd.grad(exact, x, dy)
    assert_close(y, exact, exact)
    assert_close(dx, exact_dx, exact_dx)


@pytest.mark.slow_interpreted
def test_the_gradient_is_the_adjoint(provider):
    """<A x, y> is <x, Aᵀ y>, for random images that are not square."""
    names, n = list(THETAS), len(THETAS)
    x, dy = random((n, 3, 11, 6)), random((n, 3, 11, 6)).detach()
    theta, color = thetas(names, n), colors(n, 3)
    y = affine_warp(x, theta, color) - affine_warp(torch.zeros_like(x), theta, color)
    (dx,) = torch.autograd.grad(y, x, dy)
    torch.testing.assert_close((y * dy).sum((1, 2, 3)), (x * dx).sum((1, 2, 3)))


# 4. second gradient


@pytest.mark.slow_interpreted
def test_gradcheck_and_gradgradcheck(provider):
    fast = provider == "interpreter"  # in one random direction
    for names in (["turn", "smaller"], ["flip", "shift"]):
        x, theta, color = random((2, 2, 5, 4)), thetas(names, 2), colors(2, 2)
        call = lambda x, theta=theta, color=color: affine_warp(x, theta, color)  # noqa: E731
        assert torch.autograd.gradcheck(call, [x], fast_mode=fast)
        assert torch.autograd.gradgradcheck(call, [x], fast_mode=fast)
        assert torch.autograd.gradgradcheck(lambda x, call=call: torch.tanh(call(x)), [x], fast_mode=fast)


@pytest.mark.slow_interpreted
def test_a_penalty_by_finite_differences(provider):
    """R1 taken through the warp to the image before it."""
    x, theta, color = random((2, 2, 4, 3)).detach(), thetas(["turn", "flip"], 2), colors(2, 2)

    def penalty(w):
        image = x.clone().requires_grad_()
        logits = torch.tanh(affine_warp(image, theta, color).flatten(1) @ w).sum()
        (slope,) = torch.autograd.grad(logits, image, create_graph=True)
        return slope.square().sum((1, 2, 3))

    assert torch.autograd.gradcheck(penalty, [random((24, 3))], fast_mode=provider == "interpreter")


def test_results_do_not_depend_on_threads(native_provider):
    x, theta = random((3, 3, 67, 70), torch.float32), thetas(["turn", "smaller", "flip"], 3, torch.float32)
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        y = affine_warp(x, theta)
        results.append([y, *torch.autograd.grad(y.square().sum(), x)])
    torch.set_num_threads(2)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


# 5. opcheck


@pytest.mark.slow_interpreted
@pytest.mark.parametrize("memory_format", FORMATS)
def test_opcheck(compiled_provider, memory_format):
    from fastgan.ops.operator import OPERATORS

    family = OPERATORS["affine_warp"].registered[compiled_provider]
    x, theta = random((2, 3, 5, 4), torch.float32, memory_format), thetas(["turn", "flip"], 2, torch.float32)
    for color in (None, colors(2, 3, torch.float32)):
        torch.library.opcheck(getattr(torch.ops.fastgan, f"affine_warp_{compiled_provider}"), (x, theta, color, False))
        torch.library.opcheck(
            getattr(torch.ops.fastgan, f"affine_warp_backward_{compiled_provider}"), (x, theta, color)
        )
    assert family.warp_op(x, theta, None, True).shape == x.shape


# 6. compile


def test_compile(compiled_provider):
    x, theta = random((2, 3, 6, 5), torch.float32), thetas(["turn", "shift"], 2, torch.float32)
    call = lambda x: affine_warp(x * 2, theta, None).square().sum()  # noqa: E731
    compiled = torch.compile(call, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), call(x))
    torch.testing.assert_close(torch.autograd.grad(compiled(x), x), torch.autograd.grad(call(x), x))


# 7. errors

X, THETA = torch.zeros(2, 3, 4, 4), torch.zeros(2, 2, 3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((X[0], THETA), ValueError, r"x must have shape \[N, C, H, W\], got \[3, 4, 4\]"),
        ((X.long(), THETA), TypeError, "x must be a floating-point tensor, got torch.int64"),
        ((X, THETA[:1]), ValueError, r"theta must have shape \[N, 2, 3\]=\[2, 2, 3\] to match x, got \[1, 2, 3\]"),
        ((X, None), TypeError, "theta must be a floating-point tensor, got NoneType"),
        ((X, THETA, torch.zeros(2, 3, 3)), ValueError, r"color must have shape \[N, C, C \+ 1\]=\[2, 3, 4\]"),
        ((X, THETA, 1.0), TypeError, "color must be a floating-point tensor or None, got float"),
        ((torch.zeros(2, 5, 4, 4), THETA, torch.zeros(2, 5, 6)), ValueError, "color must be None for images of more"),
        ((X, THETA.to("meta")), ValueError, "theta must be on x's device cpu, got meta"),
        ((X, THETA.clone().requires_grad_()), ValueError, "theta must not require grad, for it gets no gradient"),
    ],
)
def test_errors(arguments, error, message):
    with pytest.raises(error, match=message):
        affine_warp(*arguments)
