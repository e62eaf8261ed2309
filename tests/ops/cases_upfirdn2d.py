"""What the tests run of upfirdn2d; see tests.ops.cases."""

from __future__ import annotations

from collections.abc import Callable

import torch

from fastgan.ops import downsample2d, filter2d, setup_filter, upfirdn2d, upsample2d


def fir(x):
    """StyleGAN2's filter where x is."""
    return setup_filter([1, 3, 3, 1], separable=True, device=x.device)


# x shape, filter shape, arguments
CASES = {
    "identity": ((2, 3, 5, 7), None, {}),
    "filter4": ((2, 3, 9, 11), (4, 4), {"padding": [2, 1, 2, 1]}),
    "separable4": ((2, 3, 9, 11), (4,), {"padding": [2, 1, 2, 1]}),
    "up2": ((2, 3, 7, 6), (4,), {"up": 2, "padding": [2, 1, 2, 1], "gain": 4}),
    "down2": ((2, 3, 8, 10), (4,), {"down": 2, "padding": 1}),
    "up2-full": ((1, 2, 5, 6), (4, 4), {"up": 2, "padding": [2, 1, 2, 1], "gain": 4}),
    "down2-full": ((1, 2, 8, 9), (4, 4), {"down": 2, "padding": 1}),
    "after-transposed": ((2, 3, 17, 17), (4,), {"padding": 1, "gain": 4}),
    "up3-down2": ((1, 2, 7, 5), (5, 3), {"up": 3, "down": 2, "padding": [2, 3, 1, 4]}),
    "up-xy-down-xy": ((2, 1, 6, 5), (3,), {"up": [3, 1], "down": [1, 2], "padding": [1, 2, 0, 1]}),
    "crop": ((2, 2, 9, 8), (3,), {"padding": [-2, -1, -1, 2]}),
    "crop-up": ((1, 2, 6, 7), (4,), {"up": 2, "padding": [-3, 4, -1, -2]}),
    "taps12": ((1, 3, 16, 15), (12,), {"up": 2, "down": 2, "padding": [6, 5, 6, 5]}),
    "taps1": ((1, 2, 4, 4), (1,), {"down": 2}),
    "one-row": ((2, 3, 1, 13), (4,), {"padding": [2, 1, 2, 1]}),
    "one-pixel": ((2, 5, 1, 1), (4,), {"up": 2, "padding": [2, 1, 2, 1]}),
    "flip": ((1, 2, 7, 7), (3, 4), {"flip_filter": True, "padding": 2}),
    "channels33": ((1, 33, 6, 5), (4,), {"padding": [2, 1, 2, 1]}),
    "wide": ((1, 2, 5, 131), (4,), {"down": 2, "padding": 1}),
    "wide-up2": ((1, 1, 37, 134), (4,), {"up": 2, "padding": [2, 1, 2, 1]}),
    "many-planes": ((9, 7, 4, 4), (4,), {"padding": [2, 1, 2, 1]}),
    "channels16": ((1, 16, 9, 6), (4,), {"padding": [2, 1, 2, 1]}),
    "channels16-full": ((1, 16, 5, 9), (4, 4), {"padding": [2, 1, 2, 1]}),
    "channels16-up2": ((2, 16, 33, 3), (4,), {"up": 2, "padding": [2, 1, 2, 1]}),
    "channels16-up2-full": ((1, 16, 4, 5), (4, 4), {"up": 2, "padding": [2, 1, 2, 1]}),
    "long": ((1, 2, 5, 4), (120,), {"padding": 60}),
    "empty": ((0, 3, 8, 8), (4,), {"up": 2, "padding": [2, 1, 2, 1]}),
}
CALLS = {
    "upfirdn2d": lambda x, b, w: upfirdn2d(x * b[:, None, None], fir(x), up=2, padding=[2, 1, 1, 2]),
    "filter2d": lambda x, b, w: filter2d(x * b[:, None, None], fir(x)),
    "upsample2d": lambda x, b, w: upsample2d(x * b[:, None, None], fir(x)),
    "downsample2d": lambda x, b, w: downsample2d(x * b[:, None, None], fir(x)),
}


def launch_all(leaf: Callable[..., torch.Tensor], dtype: torch.dtype, device: str, cuda: bool) -> None:
    for shape in ((2, 16, 9, 8), (1, 5, 7, 67)):
        _launch(leaf(*shape))
    if cuda:  # a filter that fits no tile
        upfirdn2d(leaf(1, 8, 5, 4), torch.ones(120, device=device) / 120, padding=60)


def _launch(x: torch.Tensor) -> None:
    """The filter of StyleGAN2 up, down and in place, separable and full, both ways; and others."""
    taps = setup_filter([1, 3, 3, 1], device=x.device, separable=True)
    for f in (taps, taps.outer(taps)):
        torch.autograd.grad(upfirdn2d(x, f, up=2, padding=[2, 1, 2, 1]).sum(), x)
        torch.autograd.grad(upfirdn2d(x, f, padding=[2, 1, 2, 1]).sum(), x)
        upfirdn2d(x, f, up=3, down=2, padding=3)


def device_call(device: torch.device):
    x, f = torch.randn(2, 32, 64, 64, device=device), setup_filter([1, 3, 3, 1], device=device)
    dy = torch.randn(2, 32, 128, 128, device=device)
    return lambda x: upfirdn2d(x, f, up=2, padding=[2, 1, 2, 1]), [x.requires_grad_()], dy


def large_call(x: torch.Tensor) -> torch.Tensor:
    return upfirdn2d(x, fir(x), padding=[2, 1, 2, 1])
