"""What the tests run of bias_act; see tests.ops.cases."""

from __future__ import annotations

from collections.abc import Callable

import torch

from fastgan.ops import bias_act

SHAPES = {
    "odd": (2, 5, 7, 3),
    "one-pixel": (3, 4, 1, 1),
    "one-channel": (2, 1, 5, 4),
    "wide": (1, 33, 4, 67),
    "flat": (6, 11),
    "long": (2, 3, 40, 1031),
    "empty": (0, 4, 3, 3),
}
CALLS = {
    "lrelu": lambda x, b, w: bias_act(x, b, act="lrelu", clamp=1.0),
    "swish": lambda x, b, w: bias_act(x, b, act="swish"),
}
# Shapes of x. CUDA sums db in one step of the first two, in several of the third in channels_last, and of the last.
_LAUNCHED = [(2, 5, 7, 3), (2, 8, 3, 3), (2, 8, 40, 40), (8, 3, 65, 129)]


def launch_all(leaf: Callable[..., torch.Tensor], dtype: torch.dtype, device: str, cuda: bool) -> None:
    for shape in _LAUNCHED if cuda else _LAUNCHED[:-1]:
        _launch(leaf(*shape), torch.randn(shape[1], device=device).to(dtype).requires_grad_())


def _launch(x: torch.Tensor, b: torch.Tensor) -> None:
    """Forward, backward and double backward with and without db."""
    for act, clamp in (("lrelu", 1.0), ("swish", None)):
        y = bias_act(x, b, act=act, clamp=clamp)
        torch.autograd.grad(y.sum(), [x, b], retain_graph=True)
        (dx,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        torch.autograd.grad(dx.square().sum(), [x, b])
    (dx,) = torch.autograd.grad(bias_act(x, act="swish").sum(), x, create_graph=True)
    torch.autograd.grad(dx.square().sum(), x)


def device_call(device: torch.device):
    x, dy = (torch.randn(2, 32, 64, 64, device=device) for _ in range(2))
    b = torch.randn(32, device=device)
    return lambda x, b: bias_act(x, b, act="lrelu", clamp=1.0), [x.requires_grad_(), b.requires_grad_()], dy


def large_call(x: torch.Tensor) -> torch.Tensor:
    return bias_act(x, act="lrelu", clamp=1.0)
