"""What the tests run of conv2d_layer; see tests.ops.cases."""

from __future__ import annotations

from collections.abc import Callable

import torch

from fastgan.ops import conv2d_resample, exact_convolutions, modulated_conv2d, setup_filter
from tests.ops.cases_upfirdn2d import fir
from tests.ops.plans import planned

# x shape, output channels, kernel size, and the arguments of tests.ops.layers.layer
CASES = {
    "plain": ((2, 3, 7, 6), 5, 3, {}),
    "generator": ((2, 3, 5, 7), 4, 3, {"styles": True, "noise": "const", "b": True, "act": "lrelu", "clamp": 1.0}),
    "generator-up": ((2, 3, 5, 4), 4, 3, {"styles": True, "noise": "random", "b": True, "act": "lrelu", "up": 2}),
    "generator-1x1": ((2, 4, 5, 3), 3, 1, {"styles": True, "noise": "const", "b": True, "act": "lrelu"}),
    "to-rgb": ((2, 5, 4, 7), 3, 1, {"styles": True, "demodulate": False, "b": True, "clamp": 0.7, "residual": True}),
    "demodulated-residual": ((1, 3, 4, 4), 2, 3, {"styles": True, "residual": True, "act": "relu"}),
    "discriminator": ((3, 1, 6, 9), 4, 3, {"b": True, "act": "lrelu", "gain": 0.7, "clamp": 0.5}),
    "discriminator-down": ((2, 3, 9, 8), 5, 3, {"b": True, "act": "lrelu", "down": 2, "gain": 1.0}),
    "skip": ((2, 3, 7, 8), 4, 1, {"down": 2, "residual": True, "gain": 0.7}),
    "from-rgb": ((2, 3, 5, 6), 8, 1, {"b": True, "act": "lrelu"}),
    "up-1x1": ((1, 3, 3, 4), 2, 1, {"up": 2, "b": True, "act": "relu"}),
    "modulated-down": ((2, 3, 7, 6), 4, 3, {"styles": True, "down": 2, "noise": "random"}),
    "smooth": ((2, 3, 5, 4), 4, 3, {"styles": True, "noise": "const", "b": True, "act": "swish", "clamp": 1.0}),
    "smooth-up": ((1, 2, 3, 4), 3, 3, {"b": True, "act": "tanh", "up": 2, "residual": True}),
    "no-filter-up": ((1, 2, 3, 4), 2, 3, {"up": 2, "f": None, "act": "lrelu"}),
    "up3": ((1, 2, 3, 2), 3, 3, {"up": 3, "b": True}),
    "flipped": ((1, 2, 5, 4), 3, 3, {"flip_weight": False, "act": "lrelu"}),
    "rectangular": ((1, 2, 6, 5), 3, (2, 3), {"padding": [1, 0, 2, 1], "b": True, "act": "lrelu"}),
    "crop": ((1, 2, 8, 7), 3, 3, {"padding": [-1, 2, 0, -2]}),
    "crop-to-a-pixel": (
        (2, 3, 1, 4),
        4,
        (3, 1),
        {"padding": [-2, -1, 2, 2], "b": True, "act": "lrelu", "residual": True},
    ),
    "one-pixel": ((3, 2, 1, 1), 2, 3, {"styles": True, "b": True, "act": "lrelu"}),
    "one-channel": ((2, 2, 4, 6), 1, 3, {"styles": True, "noise": "const", "act": "lrelu"}),
    "channels24": ((1, 24, 6, 5), 24, 3, {"styles": True, "noise": "const", "b": True, "act": "lrelu", "clamp": 2.0}),
    "empty": ((0, 3, 5, 4), 2, 3, {"styles": True, "noise": "const", "b": True, "act": "lrelu"}),
}
# Of more than 64 channels, whose gradients have wide tiles, and of so few that bytes of the mask are shared.
FORM_CASES = {
    "modulated": ((2, 24, 6, 5), 72, 3, {"styles": True, "noise": "const", "b": True, "act": "lrelu", "clamp": 2.0}),
    "up": ((1, 24, 5, 4), 40, 3, {"styles": True, "b": True, "act": "lrelu", "up": 2}),
    "up-plain": ((1, 24, 5, 4), 40, 3, {"b": True, "act": "lrelu", "up": 2}),
    "down": ((2, 24, 9, 8), 3, 3, {"b": True, "act": "lrelu", "down": 2, "clamp": 1.0}),
    "wide": ((1, 72, 6, 5), 72, 3, {"act": "relu"}),
}
CALLS = {
    "conv2d_resample": lambda x, b, w: conv2d_resample(
        x, w[:3], fir(x), down=2, padding=1, b=b, act="lrelu", clamp=1.0, residual=x[:, :, ::2, ::2]
    ),
    "modulated_conv2d": lambda x, b, w: modulated_conv2d(
        x, w[:3], x.mean(dim=[2, 3]) + 1, noise=x[:, :1], padding=1, b=b, act="lrelu"
    ),
    "modulated_conv2d-up": lambda x, b, w: modulated_conv2d(
        x, w, 1 + x.mean(dim=[2, 3]) * b, up=2, padding=1, resample_filter=fir(x), flip_weight=False, act="swish"
    ),
}
# For images of many blocks and whole tiles, which those above have none of. Of so many results some lie
# within a rounding of a kink, on whose sides gradients differ: there is one where quarters are summed exactly alone.
LAYERS = {
    "generator": {"styles": True, "noise": "const", "b": True},
    "generator-up": {"styles": True, "noise": "random", "b": True, "up": 2},
    "discriminator": {"b": True, "act": "lrelu", "clamp": 40.0},
    "discriminator-down": {"b": True, "down": 2, "residual": True},
}
# Shapes of x, channels of y, kernel size. CUDA sums over the channels of y in steps in the second, has tiles of its own
# for few channels, and for many in the gradients of the last. What else there is for much
# work, and for long sums, is asked for.
_LAUNCHED = [((2, 16, 9, 8), 3, 1), ((2, 8, 5, 6), 40, 3), ((1, 5, 7, 3), 5, 3)]
_MANY_CHANNELS = ((2, 8, 5, 6), 72, 3)
PLANS = [{"form": "warpgroup"}, {"form": "warpgroup64"}, {"form": "wide"}, {"form": "wide", "stages": 3}, {"splits": 2}]


def launch_all(leaf: Callable[..., torch.Tensor], dtype: torch.dtype, device: str, cuda: bool) -> None:
    def launch(shape: tuple[int, ...], channels: int, kernel: int) -> None:
        x, w = leaf(*shape), torch.randn(channels, shape[1], kernel, kernel, device=device).to(dtype).requires_grad_()
        _launch(x, w)
        if dtype == torch.float32:  # without tf32
            with exact_convolutions():
                _launch(x, w)

    for case in _LAUNCHED if cuda else _LAUNCHED[-1:]:
        launch(*case)
    for plan in PLANS if cuda else []:
        with planned(**plan):
            launch(*_MANY_CHANNELS)


def _launch(x: torch.Tensor, w: torch.Tensor) -> None:
    """A generator's layer and a discriminator's, with their gradients, with those of all inputs and of x alone."""
    styles, noise = torch.rand_like(x[:, :, 0, 0]).requires_grad_(), torch.randn(1, device=x.device).requires_grad_()
    b, pad = torch.randn(w.shape[0], device=x.device).to(x.dtype).requires_grad_(), w.shape[2] // 2
    y = modulated_conv2d(x, w, styles, noise, padding=pad, b=b, act="lrelu", clamp=1.0)
    torch.autograd.grad(y.sum(), [x, w, styles, noise, b])
    y = conv2d_resample(x, w, padding=pad, b=b, act="lrelu")
    torch.autograd.grad(y.sum(), [x, w, b])
    for separable in (True, False):
        f = setup_filter([1, 3, 3, 1], device=x.device, separable=separable)
        y = conv2d_resample(x, w.detach(), f, up=2, padding=pad, act="lrelu")
        torch.autograd.grad(y.sum(), x)
    modulated_conv2d(x, w, styles, None, up=2, padding=pad, resample_filter=setup_filter(f.new_ones(4), separable=True))


def device_call(device: torch.device):
    x = torch.randn(2, 32, 64, 64, device=device).contiguous(memory_format=torch.channels_last)
    w, styles = torch.randn(24, 32, 3, 3, device=device), torch.rand(2, 32, device=device)
    settings = {"padding": 1, "b": torch.linspace(-1, 1, 24, device=device), "act": "lrelu"}
    leaves, dy = [leaf.requires_grad_() for leaf in (x, w, styles)], torch.randn(2, 24, 64, 64, device=device)
    return lambda *leaves: modulated_conv2d(*leaves, **settings), leaves, dy


def large_call(x: torch.Tensor) -> torch.Tensor:
    taps = torch.linspace(-0.5, 0.5, 9 * x.shape[1] ** 2, device=x.device).reshape(x.shape[1], -1, 3, 3)
    return conv2d_resample(x, taps, padding=1, act="lrelu", clamp=1.0)
