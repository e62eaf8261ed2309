"""Winograd's convolutions: known answers, sizes and paddings, adjoint, weight gradient, epilogues, threads, errors."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fastgan.ops.conv2d_layer import op  # noqa: F401  defines the operators
from tests.ops.cases import poison_allocator

pytestmark = pytest.mark.usefixtures("native_provider")

LINEAR, RELU, LRELU = range(3)
TILES = pytest.mark.parametrize("tile", [2, 4], ids=["F2", "F4"])
# x shape, output channels, padx0, padx1, pady0, pady1
CASES = {
    "one-pixel": ((1, 1, 1, 1), 1, (1, 1, 1, 1)),
    "one-channel": ((2, 1, 5, 4), 1, (1, 1, 1, 1)),
    "no-padding": ((2, 3, 7, 6), 5, (0, 0, 0, 0)),
    "padding2": ((2, 5, 4, 9), 3, (2, 2, 2, 2)),
    "asymmetric": ((1, 24, 9, 13), 3, (2, 0, 1, 3)),
    "crop": ((2, 4, 9, 11), 17, (-2, 1, 3, -1)),
    "wide-padding": ((1, 2, 3, 2), 4, (7, 0, 0, 9)),
    "one-row": ((3, 2, 1, 70), 24, (1, 1, 1, 1)),
    "one-column": ((1, 33, 37, 1), 9, (1, 1, 1, 1)),
    "small-images": ((9, 24, 4, 4), 40, (1, 1, 1, 1)),
    "many-channels": ((3, 40, 8, 8), 200, (1, 1, 1, 1)),  # more than tiles
    "wide": ((1, 3, 6, 261), 3, (1, 1, 1, 1)),
    "whole-vectors": ((2, 5, 16, 128), 16, (1, 1, 1, 1)),
    "many-tiles": ((5, 70, 33, 40), 20, (1, 1, 1, 1)),
    "empty": ((0, 3, 8, 8), 4, (1, 1, 1, 1)),
}
SIZES = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def convolve(
    x: Tensor, w: Tensor, padding, tile: int, adjoint=False, in_scale=None, **epilogue
) -> tuple[Tensor, Tensor]:
    settings = dict(scale=None, noise=None, b=None, residual=None, act=LINEAR, alpha=0.2, gain=1.0, clamp=-1.0)
    settings |= {"keep_mask": False, **epilogue}
    return torch.ops.fastgan.conv2d_winograd_native(x, w, adjoint, in_scale, *padding, *settings.values(), tile)


def exact(x: Tensor, w: Tensor, padding, in_scale: Tensor | None = None) -> Tensor:
    x = x.double() if in_scale is None else x.double() * in_scale.double()[:, :, None, None]
    return F.conv2d(F.pad(x, padding), w.double())


def error(got: Tensor, want: Tensor) -> float:
    """The largest difference, as a share of the largest number wanted."""
    assert got.shape == want.shape
    if got.numel() == 0:
        return 0.0
    assert got.isfinite().all(), "not every element was written"
    return ((got.double() - want).abs().max() / want.abs().max().clamp_min(1e-3)).item()


def inputs(case, adjoint=False) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    shape, out, padding = case
    channels = (shape[1], out) if adjoint else (out, shape[1])
    return torch.randn(shape), torch.randn(*channels, 3, 3), padding


# Known answers


@TILES
def test_impulse_gives_the_turned_kernel(tile):
    x, w = torch.zeros(1, 1, 5, 5), torch.arange(1.0, 10.0).reshape(1, 1, 3, 3)
    x[0, 0, 2, 2] = 1
    y, mask = convolve(x, w, (1, 1, 1, 1), tile)
    torch.testing.assert_close(y[:, :, 1:4, 1:4], w.flip(2, 3), rtol=1e-5, atol=1e-5)
    y[:, :, 1:4, 1:4] = 0
    torch.testing.assert_close(y, torch.zeros_like(y), rtol=0, atol=1e-5)
    assert mask.numel() == 0
    y, _ = convolve(x, w, (1, 1, 1, 1), tile, adjoint=True)
    torch.testing.assert_close(y[:, :, 1:4, 1:4], w, rtol=1e-5, atol=1e-5)


@TILES
def test_constant_gives_the_sum_of_the_taps(tile):
    x, w = torch.full((1, 2, 6, 6), 2.0), torch.arange(36.0).reshape(2, 2, 3, 3)
    y, _ = convolve(x, w, (0, 0, 0, 0), tile)
    want = torch.tensor([2.0 * sum(range(18)), 2.0 * sum(range(18, 36))])
    torch.testing.assert_close(y, want[None, :, None, None].expand(1, 2, 4, 4), rtol=1e-5, atol=0)


# Forward and adjoint


@TILES
@SIZES
@pytest.mark.parametrize("adjoint", [False, True], ids=["forward", "adjoint"])
def test_convolution(case, adjoint, tile):
    x, w, padding = inputs(case, adjoint)
    in_scale = torch.rand(x.shape[:2]) + 0.5
    poison_allocator(x)
    y, _ = convolve(x, w, padding, tile, adjoint, in_scale)
    kernel = w.transpose(0, 1).flip(2, 3) if adjoint else w
    assert error(y, exact(x, kernel, padding, in_scale)) < (1e-6 if tile == 2 else 4e-6)


@TILES
@pytest.mark.parametrize("padding", [0, 1, 2])
def test_adjoint_is_the_gradient(padding, tile):
    x, w = torch.randn(2, 6, 9, 12, dtype=torch.float64, requires_grad=True), torch.randn(19, 6, 3, 3)
    y = F.conv2d(x, w.double(), padding=padding)
    dy = torch.randn(y.shape)
    (want,) = torch.autograd.grad(y, x, dy.double())
    dx, _ = convolve(dy, w, (2 - padding,) * 4, tile, adjoint=True)
    assert error(dx, want) < (1e-6 if tile == 2 else 3e-6)


@TILES
@pytest.mark.parametrize("shape", [(1, 128, 64, 64), (8, 256, 16, 16), (8, 256, 8, 8)], ids=str)
def test_error_of_many_channels(shape, tile):
    x, w = torch.randn(shape), torch.randn(shape[1], shape[1], 3, 3)
    y, _ = convolve(x, w, (1, 1, 1, 1), tile)
    want = exact(x, w, (1, 1, 1, 1))
    own = error(F.conv2d(x, w, padding=1), want)
    assert error(y, want) < (2 if tile == 2 else 9) * own  # measured: 1.2 and 5.7


# Weight gradient


def gradient(x: Tensor, dy: Tensor, padding, tile: int, in_scale: Tensor | None = None) -> Tensor:
    return torch.ops.fastgan.conv2d_winograd_weight_gradient_native(x, dy, in_scale, *padding, tile)


def exact_gradient(x: Tensor, dy: Tensor, padding, in_scale: Tensor | None = None) -> Tensor:
    w = torch.zeros(dy.shape[1], x.shape[1], 3, 3, dtype=torch.float64, requires_grad=True)
    return torch.autograd.grad(exact(x, w, padding, in_scale), w, dy.double())[0]


@TILES
def test_weight_gradient_of_an_impulse(tile):
    x, dy = torch.zeros(1, 1, 5, 5), torch.zeros(1, 1, 5, 5)
    x[0, 0, 1, 3] = 2
    dy[0, 0, 2, 2] = 5  # its kernel reaches from row 1 to 3, column 1 to 3
    dw = gradient(x, dy, (1, 1, 1, 1), tile)
    want = torch.zeros(1, 1, 3, 3)
    want[0, 0, 0, 2] = 10
    torch.testing.assert_close(dw, want, rtol=1e-5, atol=2e-5)


@TILES
@SIZES
def test_weight_gradient(case, tile):
    x, w, padding = inputs(case)
    in_scale = torch.rand(x.shape[:2]) + 0.5
    dy = torch.randn(exact(x, w, padding).shape)
    poison_allocator(w)
    dw = gradient(x, dy, padding, tile, in_scale)
    assert error(dw, exact_gradient(x, dy, padding, in_scale)) < (2e-6 if tile == 2 else 4e-6)
    if x.shape[0] == 0:
        assert torch.equal(dw, torch.zeros_like(w))


@TILES
@pytest.mark.parametrize("shape", [(4, 128, 64, 64), (8, 256, 16, 16), (8, 256, 8, 8)], ids=str)
def test_weight_gradient_of_many_channels(shape, tile):
    x, dy = torch.randn(shape), torch.randn(shape)
    want = exact_gradient(x, dy, (1, 1, 1, 1))
    assert error(gradient(x, dy, (1, 1, 1, 1), tile), want) < (1.2e-6 if tile == 2 else 5e-6)  # measured: 6e-7, 3.3e-6


# Epilogue


def finished(u: Tensor, scale, noise, b, residual, act, gain, clamp, alpha) -> tuple[Tensor, Tensor, Tensor]:
    """y, v and the values before clamping, in float64."""
    v = u if scale is None else u * scale.double()[:, :, None, None]
    v = v if noise is None else v + noise
    v = v if b is None else v + b.double()[:, None, None]
    value = {LINEAR: v, RELU: v.clamp_min(0), LRELU: torch.where(v > 0, v, alpha * v)}[act] * gain
    y = value if clamp < 0 else value.clamp(-clamp, clamp)
    return y if residual is None else y + residual, v, value


def bits_of(mask: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    assert mask.shape == ((like.numel() + 3) // 4,)
    bits = torch.stack([mask >> shift & 1 for shift in range(8)], -1).bool().flatten()
    return bits[0::2][: like.numel()].view(like.shape), bits[1::2][: like.numel()].view(like.shape)


@TILES
@pytest.mark.parametrize("width", [3, 8, 20, 61, 64])
@pytest.mark.parametrize(
    "used",
    [
        {"b", "mask"},
        {"scale", "mask"},
        {"scale", "noise", "b", "residual", "mask"},
        {"noise", "b"},
        {"residual"},
        {"mask"},
    ],
    ids=lambda used: "+".join(sorted(used)),
)
@pytest.mark.parametrize("act", [LINEAR, RELU, LRELU])
def test_epilogue(used, act, width, tile):
    n, i, o, h = 3, 5, 18, 6
    x, w, padding = torch.randn(n, i, h, width), torch.randn(o, i, 3, 3), (1, 1, 1, 1)
    clamp = 5.0 if act != RELU else -1.0
    options: dict[str, Any] = {
        "scale": torch.rand(n, o) + 0.5 if "scale" in used else None,
        "noise": torch.randn(n if act == LRELU else 1, 1, h, width) if "noise" in used else None,
        "b": torch.randn(o) if "b" in used else None,
        "residual": torch.randn(n, o, h, width) if "residual" in used else None,
    } | {"act": act, "gain": 1.4, "clamp": clamp, "alpha": 0.3}
    poison_allocator(x)
    y, mask = convolve(x, w, padding, tile, **options, keep_mask="mask" in used)
    want, v, value = finished(exact(x, w, padding), **options)
    assert y.isfinite().all() and (y - want).abs().max() < 4e-6 * value.abs().max()
    if "mask" not in used:
        assert mask.numel() == 0
        return
    positive, clamped = bits_of(mask, y)
    near = 1e-4
    sure = v.abs() > near
    assert torch.equal(positive[sure], (v > 0)[sure]) and sure.double().mean() > 0.99
    sure = (value.abs() - clamp).abs() > near
    assert torch.equal(clamped[sure], (value.abs() > clamp)[sure] & (clamp >= 0)) and sure.double().mean() > 0.99
    assert clamped.any() == (clamp >= 0)


@TILES
@pytest.mark.parametrize("width", [8, 9])
def test_nan_and_infinity_reach_what_they_reach(width, tile):
    x, w = torch.randn(2, 3, 8, width), torch.randn(4, 3, 3, 3)
    x[1, 2, 0, 0] = math.nan
    y, _ = convolve(x, w, (1, 1, 1, 1), tile, act=LRELU, clamp=3.0, keep_mask=True)
    assert y[0].isfinite().all() and y[1, :, :2, :2].isnan().all() and y[1, :, 4:, 4:].isfinite().all()


# Threads and errors


@TILES
@pytest.mark.parametrize("shape", [(5, 24, 30, 30), (4, 64, 8, 8)], ids=str)
def test_threads_do_not_matter(shape, tile):
    x, w, padding = torch.randn(shape), torch.randn(130, shape[1], 3, 3), (1, 1, 1, 1)
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        y, mask = convolve(x, w, padding, tile, act=LRELU, b=torch.zeros(130), keep_mask=True)
        results.append((y, mask, gradient(x, y, padding, tile)))
    for result in results[1:]:
        assert all(map(torch.equal, result, results[0]))


def test_errors_name_the_argument():
    x, w = torch.randn(2, 3, 8, 8), torch.randn(4, 3, 3, 3)
    for match, call in {
        "tile must be 2 or 4": lambda: convolve(x, w, (1, 1, 1, 1), 3),
        r"w must be contiguous float32 of shape \[4, 3, 3, 3\]": lambda: convolve(x, w[..., :2], (1, 1, 1, 1), 4),
        "x must be contiguous": lambda: convolve(x.double(), w, (1, 1, 1, 1), 4),
        r"b must be contiguous, of shape \[4\], with the dtype of x": lambda: convolve(
            x, w, (1, 1, 1, 1), 4, b=torch.randn(3)
        ),
        "output would be empty": lambda: convolve(x, w, (-3, -3, 1, 1), 4),
        "dy must be contiguous": lambda: gradient(x, torch.randn(2, 4, 8, 7), (1, 1, 1, 1), 4),
        "act must be": lambda: convolve(x, w, (1, 1, 1, 1), 4, act=3),
    }.items():
        with pytest.raises(RuntimeError, match=match):
            call()
