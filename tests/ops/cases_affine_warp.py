"""What the tests run of affine_warp; see tests.ops.cases."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from fastgan.ops import affine_warp

SHAPES = {
    "odd": (2, 3, 9, 7),
    "wide": (2, 3, 5, 70),  # more than a tile of either machine
    "high": (1, 3, 75, 6),
    "grey": (3, 1, 8, 8),
    "two-channels": (2, 2, 6, 11),
    "rgba": (1, 4, 12, 10),
    "many-channels": (2, 9, 7, 8),
    "one-row": (2, 3, 1, 13),
    "one-column": (2, 3, 6, 1),
    "one-pixel": (2, 3, 1, 1),
    "empty": (0, 3, 8, 8),
}


def rotation(degrees: float, scale: float = 1.0, stretch: float = 1.0, shift: tuple[float, float] = (0.0, 0.0)) -> list:
    """A theta that turns, scales, and stretches along x."""
    c, s = (f(math.radians(degrees)) * scale for f in (math.cos, math.sin))
    return [[c * stretch, -s, shift[0]], [s * stretch, c, shift[1]]]


# From y to x: rows of [2, 3].
THETAS = {
    "identity": [[1, 0, 0], [0, 1, 0]],
    "flip": [[-1, 0, 0], [0, 1, 0]],
    "shift": [[1, 0, 3], [0, 1, -20]],
    "part-of-a-pixel": [[1, 0, 0.3], [0, 1, -0.75]],
    "turn": rotation(31, shift=(0.4, 1.7)),
    "turn-back": rotation(-158, 1.2, 0.8),
    "larger": rotation(10, 0.4),
    "smaller": rotation(-45, 2.5, 1.5, (30.0, -11.0)),
    "tiny": rotation(77, 40.0),  # what a tile reads fits no buffer
    "a-point": [[0, 0, 1.25], [0, 0, 0.5]],
    "a-line": [[1, 0, 0], [0.5, 0, 0]],
    "mirror-line": [[1, 0, 0], [0, -1, 0.25]],
    "quarter": [[0, 1, 0], [-1, 0, 0]],  # copies where H and W are both even or both odd
    "far": [[1, 0, 1e5], [0, 1, -3e4]],
}


def thetas(names: list[str], n: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """[n, 2, 3]: one map after the other."""
    return torch.tensor([THETAS[names[i % len(names)]] for i in range(n)], dtype=torch.float64).view(n, 2, 3).to(dtype)


def colors(n: int, channels: int, dtype: torch.dtype = torch.float64) -> Tensor | None:
    """[n, channels, channels + 1]; None for more channels than a matrix takes."""
    if channels > 4:
        return None
    matrix = torch.randn(n, channels, channels + 1, dtype=torch.float64) / 2
    return (matrix + torch.eye(channels, channels + 1)).to(dtype)


def _turned(x: Tensor, scale: Tensor) -> Tensor:
    """A map and colours of each image's own, on x's device."""
    n, channels = x.shape[:2]
    names = list(THETAS)[3:8]
    matrix = torch.eye(channels, channels + 1, device=x.device).expand(n, -1, -1) * 0.75
    return affine_warp(x * scale.to(x.dtype)[:, None, None], thetas(names, n).to(x.device), matrix.to(x.dtype))


CALLS = {
    "affine_warp": lambda x, b, w: _turned(x, b),
    "affine_warp copies": lambda x, b, w: affine_warp(
        x * b.to(x.dtype)[:, None, None], thetas(["flip", "shift"], len(x)).to(x.device)
    ),
}


def launch_all(leaf: Callable[..., Tensor], dtype: torch.dtype, device: str, cuda: bool) -> None:
    for shape in ((2, 3, 9, 20), (3, 1, 5, 4)) if cuda else ((1, 1, 5, 4),):
        x = leaf(*shape)
        theta = thetas(["turn", "tiny" if cuda else "flip", "flip"], len(x)).to(device)
        color = torch.ones(shape[0], shape[1], shape[1] + 1, device=device)
        (dx,) = torch.autograd.grad(
            affine_warp(x, theta, color), x, torch.ones_like(x).requires_grad_(), create_graph=True
        )
        dx.sum().backward()


def device_call(device: torch.device):
    x = torch.randn(4, 3, 64, 64, device=device)
    theta, color = thetas(["turn", "smaller", "flip", "larger"], 4).to(device), torch.randn(4, 3, 4, device=device)
    return lambda x: affine_warp(x, theta, color), [x.requires_grad_()], torch.randn(4, 3, 64, 64, device=device)


def large_call(x: Tensor) -> Tensor:
    return affine_warp(x, torch.tensor(THETAS["flip"], device=x.device, dtype=torch.float32).expand(len(x), 2, 3))
