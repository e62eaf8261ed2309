"""What the tests run of cube; see tests.ops.cases."""

from __future__ import annotations

from collections.abc import Callable

import torch

from tests.ops.cube.op import cube

CALLS = {"cube": lambda x, b, w: cube(x * b[:, None, None], gain=0.5)}


def launch_all(leaf: Callable[..., torch.Tensor], dtype: torch.dtype, device: str, cuda: bool) -> None:
    x = leaf(2, 5, 7, 3)
    torch.autograd.grad(cube(x).sum(), x)


def device_call(device: torch.device):
    x, dy = (torch.randn(2, 32, 64, 64, device=device) for _ in range(2))
    return lambda x: cube(x, 0.5), [x.requires_grad_()], dy


def large_call(x: torch.Tensor) -> torch.Tensor:
    return cube(x)
