"""What the tests run of filtered_lrelu; see tests.ops.cases."""

from __future__ import annotations

from collections.abc import Callable

import torch

from fastgan.ops import filtered_lrelu, setup_filter

# x shape, shapes of fu and fd, arguments
CASES: dict[str, tuple] = {
    "identity": ((2, 3, 5, 7), None, None, {}),
    "stylegan3": ((2, 3, 9, 10), (12,), (12,), {"up": 2, "down": 2, "padding": [9, 8, 9, 8]}),
    "stylegan3-up": ((1, 3, 8, 7), (24,), (12,), {"up": 4, "down": 2, "padding": [13, 12, 12, 13]}),
    "radial": ((1, 2, 8, 9), (12,), (12, 12), {"up": 2, "down": 2, "padding": [9, 8, 9, 8], "clamp": 0.8}),
    "full-up": ((1, 2, 6, 5), (6, 6), (6,), {"up": 2, "down": 2, "padding": 5}),
    "both-full": ((1, 2, 5, 6), (3, 4), (2, 5), {"up": 2, "down": 1, "padding": [2, 3, 1, 2]}),
    "up1-down2": ((2, 3, 12, 11), (5,), (8,), {"down": 2, "padding": [3, 2, 4, 1]}),
    "up2-down1": ((1, 3, 5, 4), (8,), (3,), {"up": 2, "padding": 4}),
    "up2-down4": ((1, 2, 9, 8), (8,), (12,), {"up": 2, "down": 4, "padding": 6}),
    "up3-down2": ((1, 2, 7, 5), (7,), (4,), {"up": 3, "down": 2, "padding": [2, 3, 1, 4]}),
    "up4-down3": ((1, 2, 4, 5), (9,), (5,), {"up": 4, "down": 3, "padding": [4, 3, 5, 2]}),
    "up1-down1": ((2, 3, 6, 7), (3,), (4,), {"padding": 2, "slope": 0.5, "gain": 0.7}),
    "even-odd": ((1, 2, 6, 6), (3, 2), (4, 1), {"up": 2, "down": 2, "padding": [1, 2, 0, 3]}),
    "crop": ((1, 2, 12, 11), (4,), (4,), {"up": 2, "down": 2, "padding": [-3, -2, -1, 2]}),
    "wide-padding": ((1, 2, 3, 2), (4,), (4,), {"up": 2, "down": 2, "padding": [9, 14, 11, 8]}),
    "clamp": ((2, 3, 6, 7), (4,), (4,), {"up": 2, "down": 2, "padding": 3, "clamp": 0.3}),
    "flip": ((1, 2, 7, 7), (3, 4), (5,), {"up": 2, "down": 2, "flip_filter": True, "padding": 4}),
    "taps1": ((1, 2, 4, 4), (1,), (1,), {"down": 2}),
    "taps32": ((1, 1, 8, 9), (32,), (31,), {"up": 2, "down": 2, "padding": [26, 25, 27, 24]}),
    "one-pixel": ((2, 5, 1, 1), (12,), (12,), {"up": 2, "down": 2, "padding": 12}),
    "one-row": ((1, 3, 1, 40), (4,), (4,), {"up": 2, "down": 2, "padding": 4}),
    "channels33": ((1, 33, 5, 4), (4,), (4,), {"up": 2, "down": 2, "padding": 3}),
    "wide": ((1, 2, 5, 131), (12,), (12,), {"up": 2, "down": 2, "padding": [9, 8, 9, 8]}),
    "tall": ((1, 2, 70, 6), (12,), (12,), {"up": 2, "down": 2, "padding": [9, 8, 9, 8]}),
    "empty": ((0, 3, 8, 8), (4,), (4,), {"up": 2, "down": 2, "padding": 3}),
}


def fir(x):
    """A separable low-pass where x is."""
    return setup_filter([1, 3, 3, 1], separable=True, device=x.device)


def _layer(x, b, w):
    return filtered_lrelu(x, fir(x), fir(x), b, up=2, down=2, padding=3, clamp=1.0)


CALLS = {"filtered_lrelu": _layer}


def launch_all(leaf: Callable[..., torch.Tensor], dtype: torch.dtype, device: str, cuda: bool) -> None:
    if not cuda:  # one kernel, whose constants its filters are
        x, b, f = leaf(2, 16, 5, 4), leaf(16), fir(leaf(1))
        torch.autograd.grad(filtered_lrelu(x, f, f, b, up=2, down=2, padding=3).sum(), [x, b])
        return
    taps, long = (torch.rand(count, device=device) + 0.1 for count in (12, 24))
    full, long_full = taps.outer(taps), long.outer(long)
    calls = [
        *((fu, fd, 2, 2) for fu, fd in ((taps, taps), (taps, full), (full, taps))),
        *((long, fd, 4, 2) for fd in (taps, full)),
        *((taps, taps, up, down) for up, down in ((1, 2), (1, 1), (3, 2))),
        (long_full, taps, 4, 2),
        (None, None, 1, 1),
    ]
    for shape in ((2, 16, 9, 8), (1, 5, 7, 67)):
        x, b = leaf(*shape), leaf(shape[1])
        for fu, fd, up, down in calls:
            y = filtered_lrelu(x, fu, fd, b, up, down, padding=0 if fu is None else 18)
            torch.autograd.grad(y.sum(), [x, b])
    x = leaf(1, 1, 3, 2)  # a filter that fits no tile
    torch.autograd.grad(filtered_lrelu(x, fd=torch.rand(160, 160, device=device), padding=80).sum(), x)


def device_call(device: torch.device):
    x, f = torch.randn(2, 32, 64, 64, device=device), torch.rand(12, device=device) / 6
    dy = torch.randn(2, 32, 64, 64, device=device)
    return lambda x: filtered_lrelu(x, f, f, up=2, down=2, padding=[11, 10, 11, 10]), [x.requires_grad_()], dy


def large_call(x: torch.Tensor) -> torch.Tensor:
    return filtered_lrelu(x, None, fir(x), padding=[2, 1, 2, 1])
