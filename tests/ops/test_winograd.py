"""Winograd's convolutions, of stride 1, 2 and transposed: known answers, sizes and paddings, exchanged channels, weight
gradients, epilogues, threads, errors."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fastgan.ops.conv2d_layer import op  # noqa: F401  defines the operators
from tests.ops.cases import poison_allocator

pytestmark = pytest.mark.usefixtures("native_provider")

LINEAR, RELU, LRELU = range(3)


class Form(NamedTuple):
    """How often an image is met, and by which tiles.

    Attributes:
        error, weight_error: largest differences, as shares of the largest number, of random normal numbers.
    """

    stride: int
    transposed: bool
    tile: int
    error: float
    weight_error: float


FORMS = {
    "F2": Form(1, False, 2, 1e-6, 2e-6),
    "F4": Form(1, False, 4, 4e-6, 5e-6),
    "F2-transposed": Form(1, True, 2, 1e-6, 2e-6),
    "F4-transposed": Form(1, True, 4, 4e-6, 5e-6),
    "down": Form(2, False, 4, 2e-6, 2e-6),
    "up": Form(2, True, 3, 1e-6, 2e-6),
}
ALL = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
FEW = pytest.mark.parametrize("form", [f for f in FORMS.values() if f[:2] != (1, True)], ids=["F2", "F4", "down", "up"])
# (stride, transposed) -> padding that is usual, or cropping
PADDINGS = {(1, False): (1, 1, 1, 1), (2, False): (0, 1, 1, 0), (2, True): (0, 1, 2, 1)}
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
    x: Tensor, w: Tensor, padding, form: Form, exchanged=False, in_scale=None, **epilogue
) -> tuple[Tensor, Tensor]:
    settings = dict(scale=None, noise=None, b=None, residual=None, act=LINEAR, alpha=0.2, gain=1.0, clamp=-1.0)
    settings |= {"keep_mask": False, **epilogue}
    winograd = torch.ops.fastgan.conv2d_winograd_native
    return winograd(x, w, exchanged, in_scale, *form[:2], *padding, *settings.values(), form.tile)


def gradient(x: Tensor, dy: Tensor, padding, form: Form, in_scale: Tensor | None = None) -> Tensor:
    winograd = torch.ops.fastgan.conv2d_winograd_weight_gradient_native
    return winograd(x, dy, in_scale, *form[:2], *padding, form.tile)


def exact(x: Tensor, w: Tensor, padding, form: Form, in_scale: Tensor | None = None) -> Tensor:
    """In float64, w [O, I, 3, 3]."""
    x, w = x.double() if in_scale is None else x.double() * in_scale.double()[:, :, None, None], w.double()
    if not form.transposed:
        return F.conv2d(F.pad(x, padding), w, stride=form.stride)
    return F.pad(F.conv_transpose2d(x, w.transpose(0, 1), stride=form.stride), [-side for side in padding])


def exact_gradient(x: Tensor, dy: Tensor, padding, form: Form, in_scale: Tensor | None = None) -> Tensor:
    w = torch.zeros(dy.shape[1], x.shape[1], 3, 3, dtype=torch.float64, requires_grad=True)
    return torch.autograd.grad(exact(x, w, padding, form, in_scale), w, dy.double())[0]


def error(got: Tensor, want: Tensor) -> float:
    """The largest difference, as a share of the largest number wanted."""
    assert got.shape == want.shape
    if got.numel() == 0:
        return 0.0
    assert got.isfinite().all(), "not every element was written"
    return ((got.double() - want).abs().max() / want.abs().max().clamp_min(1e-3)).item()


def inputs(case, form: Form, exchanged=False) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """x, w, and what is padded or, of what is transposed, cropped."""
    (n, i, h, width), out, padding = case
    if form.transposed:
        padding = (-2, 3, 2, -1) if min(padding) < 0 else (2, 1, 0, 1) if min(h, width) > 1 else (0, 0, 0, 0)
    channels = (i, out) if exchanged else (out, i)
    return torch.randn(n, i, h, width), torch.randn(*channels, 3, 3), padding


# Known answers


@FEW
def test_impulse_gives_the_kernel(form):
    x, w = torch.zeros(1, 1, 5, 5), torch.arange(1.0, 10.0).reshape(1, 1, 3, 3)
    x[0, 0, 2, 2] = 1
    y, mask = convolve(x, w, (0, 0, 0, 0), form)
    want = torch.zeros_like(y)
    if form.transposed:  # of the image with zeros between
        want[0, 0, 4:7, 4:7] = w
    elif form.stride == 2:  # seen by the corners of four kernels
        want[0, 0] = torch.tensor([[9.0, 7.0], [3.0, 1.0]])
    else:
        want[0, 0] = w.flip(2, 3)
    torch.testing.assert_close(y, want, rtol=1e-5, atol=1e-5)
    assert mask.numel() == 0


@FEW
def test_constant_gives_the_sum_of_the_taps(form):
    x, w = torch.full((1, 2, 7, 7), 2.0), torch.arange(36.0).reshape(2, 2, 3, 3)
    y, _ = convolve(x, w, (0, 0, 0, 0), form)
    taps = 2 * w.sum(dim=1)
    if form.transposed:  # a pixel with zeros around it, and one between four pixels
        torch.testing.assert_close(y[0, :, 3, 3], taps[:, 1, 1], rtol=1e-5, atol=0)
        torch.testing.assert_close(y[0, :, 4, 4], taps[:, ::2, ::2].sum(dim=(1, 2)), rtol=1e-5, atol=0)
    else:
        torch.testing.assert_close(y[0], taps.sum(dim=(1, 2), keepdim=True).expand_as(y[0]), rtol=1e-5, atol=0)


# Convolutions and gradients


@ALL
@SIZES
@pytest.mark.parametrize("exchanged", [False, True], ids=["", "exchanged"])
def test_convolution(case, exchanged, form):
    x, w, padding = inputs(case, form, exchanged)
    in_scale = torch.rand(x.shape[:2]) + 0.5
    poison_allocator(x)
    y, _ = convolve(x, w, padding, form, exchanged, in_scale)
    assert error(y, exact(x, w.transpose(0, 1) if exchanged else w, padding, form, in_scale)) < form.error


@pytest.mark.parametrize("padding", [0, 1, 2])
@FEW
def test_adjoint_is_the_gradient(padding, form):
    """The opposite direction with the same weight, its channels exchanged, and as much cropped as was padded."""
    if form.transposed:
        padding *= 2
    x, w = torch.randn(2, 6, 9, 13, dtype=torch.float64, requires_grad=True), torch.randn(19, 6, 3, 3)
    y = exact(x, w, (padding,) * 4, form)
    dy = torch.randn(y.shape)
    (want,) = torch.autograd.grad(y, x, dy.double())
    back = form._replace(transposed=not form.transposed, tile=form.tile if form.stride == 1 else 7 - form.tile)
    if back.transposed and back.stride == 2 and padding % 2:
        with pytest.raises(RuntimeError, match="an odd number of rows or columns cannot be cropped"):
            convolve(dy, w, (padding,) * 4, back, exchanged=True)
        return
    dx, _ = convolve(dy, w, (padding,) * 4, back, exchanged=True)
    assert error(dx, want) < form.error


@FEW
@pytest.mark.parametrize("shape", [(1, 128, 64, 64), (8, 256, 16, 16), (8, 256, 8, 8)], ids=str)
def test_error_of_many_channels(shape, form):
    x, w = torch.randn(shape), torch.randn(shape[1], shape[1], 3, 3)
    y, _ = convolve(x, w, (0, 0, 0, 0), form)
    want = exact(x, w, (0, 0, 0, 0), form)
    plain = (
        F.conv_transpose2d(x, w.transpose(0, 1), stride=2) if form.transposed else F.conv2d(x, w, stride=form.stride)
    )
    assert error(y, want) < (9 if form[1:3] == (False, 4) and form.stride == 1 else 3) * error(plain, want)


@FEW
def test_weight_gradient_of_an_impulse(form):
    x, want = torch.zeros(1, 1, 5, 5), torch.zeros(1, 1, 3, 3)
    dy = torch.zeros(exact(x, want, (0, 0, 0, 0), form).shape)
    pixel, tap = {(1, False): ((1, 2), (0, 1)), (2, False): ((0, 1), (1, 1)), (2, True): ((4, 7), (2, 1))}[form[:2]]
    x[0, 0, 1, 3], dy[0, 0][pixel], want[0, 0][tap] = 2, 5, 10
    torch.testing.assert_close(gradient(x, dy, (0, 0, 0, 0), form), want, rtol=1e-5, atol=2e-5)


@ALL
@SIZES
def test_weight_gradient(case, form):
    x, w, padding = inputs(case, form)
    in_scale = torch.rand(x.shape[:2]) + 0.5
    dy = torch.randn(exact(x, w, padding, form).shape)
    poison_allocator(w)
    dw = gradient(x, dy, padding, form, in_scale)
    assert error(dw, exact_gradient(x, dy, padding, form, in_scale)) < form.weight_error
    if x.shape[0] == 0:
        assert torch.equal(dw, torch.zeros_like(w))


@FEW
@pytest.mark.parametrize("shape", [(4, 128, 64, 64), (8, 256, 16, 16), (8, 256, 8, 8)], ids=str)
def test_weight_gradient_of_many_channels(shape, form):
    x = torch.randn(shape)
    dy = torch.randn(*shape[:2], *exact(x[:1, :1], torch.zeros(1, 1, 3, 3), (0, 0, 0, 0), form).shape[2:])
    want = exact_gradient(x, dy, (0, 0, 0, 0), form)
    assert error(gradient(x, dy, (0, 0, 0, 0), form), want) < form.weight_error


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


@FEW
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
def test_epilogue(used, act, width, form):
    n, i, o, h = 3, 5, 18, 6
    x, w, padding = torch.randn(n, i, h, width), torch.randn(o, i, 3, 3), PADDINGS[form[:2]]
    h, width = exact(x[:, :1], w[:, :1], padding, form).shape[2:]
    clamp = 5.0 if act != RELU else -1.0
    options: dict[str, Any] = {
        "scale": torch.rand(n, o) + 0.5 if "scale" in used else None,
        "noise": torch.randn(n if act == LRELU else 1, 1, h, width) if "noise" in used else None,
        "b": torch.randn(o) if "b" in used else None,
        "residual": torch.randn(n, o, h, width) if "residual" in used else None,
    } | {"act": act, "gain": 1.4, "clamp": clamp, "alpha": 0.3}
    poison_allocator(x)
    y, mask = convolve(x, w, padding, form, **options, keep_mask="mask" in used)
    want, v, value = finished(exact(x, w, padding, form), **options)
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


@FEW
@pytest.mark.parametrize("width", [8, 9])
def test_nan_and_infinity_reach_what_they_reach(width, form):
    x, w = torch.randn(2, 3, 12, width), torch.randn(4, 3, 3, 3)
    x[1, 2, 0, 0] = math.nan
    y, _ = convolve(x, w, PADDINGS[form[:2]], form, act=LRELU, clamp=3.0, keep_mask=True)
    reached = exact(x, w, PADDINGS[form[:2]], form).isnan()
    assert y[0].isfinite().all() and y[reached].isnan().all()
    tile = form.tile * (2 if form.transposed else 1)
    assert y[1, :, tile:].isfinite().all() and y[1, :, :, tile:].isfinite().all()


# Threads and errors


@FEW
@pytest.mark.parametrize("shape", [(5, 24, 30, 30), (4, 64, 8, 8)], ids=str)
def test_threads_do_not_matter(shape, form):
    x, w, padding = torch.randn(shape), torch.randn(130, shape[1], 3, 3), (0, 0, 0, 0)
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        y, mask = convolve(x, w, padding, form, act=LRELU, b=torch.zeros(130), keep_mask=True)
        results.append((y, mask, gradient(x, y, padding, form)))
    for result in results[1:]:
        assert all(map(torch.equal, result, results[0]))


def test_errors_name_the_argument():
    x, w, same, form = torch.randn(2, 3, 8, 8), torch.randn(4, 3, 3, 3), (1, 1, 1, 1), FORMS["F4"]
    for match, call in {
        "tile must be 2 or 4 at stride 1": lambda: convolve(x, w, same, form._replace(tile=3)),
        "tile must be 4 at stride 2, 3 if transposed": lambda: convolve(x, w, same, FORMS["down"]._replace(tile=3)),
        "stride must be 1 or 2": lambda: convolve(x, w, same, form._replace(stride=3)),
        "an odd number of rows or columns cannot be cropped": lambda: convolve(x, w, (0, 1, 1, 0), FORMS["up"]),
        r"w must be contiguous float32 of shape \[4, 3, 3, 3\]": lambda: convolve(x, w[..., :2], same, form),
        "x must be contiguous": lambda: convolve(x.double(), w, same, form),
        r"b must be contiguous, of shape \[4\], with the dtype of x": lambda: convolve(
            x, w, same, form, b=torch.randn(3)
        ),
        "output would be empty": lambda: convolve(x, w, (-3, -3, 1, 1), form),
        "output would be empty ": lambda: convolve(x, w, (-3, -3, 1, 1), FORMS["down"]),
        "dy must be contiguous": lambda: gradient(x, torch.randn(2, 4, 8, 7), same, form),
        "act must be": lambda: convolve(x, w, same, form, act=3),
    }.items():
        with pytest.raises(RuntimeError, match=match.strip()):
            call()
