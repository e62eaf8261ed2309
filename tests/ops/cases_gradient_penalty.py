"""What the tests run of squared_norm and interpolate; see tests.ops.cases."""

from __future__ import annotations

from collections.abc import Callable

import torch

from fastgan.ops import interpolate, squared_norm

SHAPES = {
    "odd": (2, 5, 7, 3),
    "one-pixel": (3, 4, 1, 1),
    "one-channel": (2, 1, 5, 4),
    "packets": (3, 8, 4, 6),
    "flat": (6, 11),
    "ws": (3, 14, 40),
    "long": (2, 3, 67, 173),  # several chunks of a sample on a CPU, several blocks on a GPU
    "empty": (0, 4, 3, 3),
    "nothing": (2, 0, 3, 3),
}
# Images of them, as the tests of all operators want.
CALLS = {
    "squared_norm": lambda x, b, w: interpolate(x, x.square(), squared_norm(x * b.to(x.dtype)[:, None, None]) / 100),
    "interpolate": lambda x, b, w: interpolate(x, x.square(), b[:2]),
}
# Shapes of x: one block a sample, and several.
_LAUNCHED = [(2, 5, 7, 3), (2, 8, 3, 3), (1, 3, 67, 173)]


def launch_all(leaf: Callable[..., torch.Tensor], dtype: torch.dtype, device: str, cuda: bool) -> None:
    for shape in _LAUNCHED:
        x, fake = leaf(*shape), leaf(*shape)
        interpolate(x, fake, torch.rand(shape[0], device=device))
        norms = squared_norm(x)
        dy = torch.ones_like(norms, requires_grad=True)
        (dx,) = torch.autograd.grad(norms, x, dy, create_graph=True)
        torch.autograd.grad(dx.square().sum(), [x, dy])


def device_call(device: torch.device):
    x, fake, dy = (torch.randn(2, 32, 64, 64, device=device) for _ in range(3))
    epsilon = torch.rand(2, device=device)

    def call(x, fake, epsilon):
        return interpolate(x, fake, epsilon * squared_norm(interpolate(x, fake, epsilon)) / x[0].numel())

    return call, [x.requires_grad_(), fake.requires_grad_(), epsilon.requires_grad_()], dy


def large_call(x: torch.Tensor) -> torch.Tensor:
    return interpolate(x, x, x.new_full([len(x)], 0.5))
