"""What is measured of squared_norm and interpolate, and the same in plain torch, every way that torch is quick at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fastgan.bench.case import Case, Inputs, Shape, leaf
from fastgan.ops import interpolate, squared_norm

# Batches of images, whose gradients R1 and WGAN-GP penalise; the last holds ws of a StyleGAN2 1024², for path lengths.
SHAPES: dict[str, list[Shape]] = {
    "cpu": [(8, 3, 256, 256), (16, 18, 512, 1)],
    "cuda": [(16, 3, 256, 256), (4, 3, 1024, 1024), (16, 18, 512, 1)],
}
_PASSES = {  # times that a tensor as large as x is read or written
    "squared_norm": {"forward": 1, "forward+backward": 3, "double backward": 5},
    "interpolate": {"forward": 3, "forward+backward": 8, "double backward": 7},
}


@dataclass(frozen=True)
class PenaltyCase(Case):
    """One call. Of `interpolate`, x is real, residual fake and b epsilon [N]; y_shape is x's, of norms [N] too."""

    def inputs(self, dtype: torch.dtype, layout: str, device: torch.device) -> Inputs:
        """New random inputs; epsilon is in [0, 1]."""
        wide, n = torch.promote_types(dtype, torch.float32), self.x_shape[0]

        def some() -> Tensor:
            return leaf(torch.randn(self.x_shape, device=device), dtype, layout)

        if self.kind == "squared_norm":
            dy = leaf(torch.randn(n, device=device).add_(1.0), wide, layout)
            return Inputs(some(), None, None, dy, some())
        epsilon = leaf(torch.rand(n, device=device), wide, layout)
        return Inputs(some(), epsilon, None, some(), some(), residual=some())

    def moved(self, direction: str, dtype: torch.dtype) -> int:
        """Bytes of images that must be read and written; what has one number a sample is not counted."""
        return _PASSES[self.kind][direction] * torch.Size(self.x_shape).numel() * dtype.itemsize


def _between(i: Inputs) -> Tensor:
    assert i.residual is not None and i.b is not None
    return interpolate(i.x, i.residual, i.b)


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _column(i: Inputs) -> Tensor:
    assert i.b is not None
    return i.b[:, None, None, None]


def _lerp(i: Inputs) -> Tensor:
    assert i.residual is not None
    return _wide(i.x).lerp(_wide(i.residual), _column(i)).to(i.x.dtype)


def _sum(i: Inputs) -> Tensor:
    assert i.residual is not None
    return (i.x + _column(i) * (i.residual - i.x)).to(i.x.dtype)


NORMS = {
    "square": lambda i: _wide(i.x).square().sum(dim=(1, 2, 3)),
    "vector_norm": lambda i: torch.linalg.vector_norm(_wide(i.x), dim=(1, 2, 3)).square(),
    "product": lambda i: torch.bmm(_wide(i.x).flatten(1)[:, None, :], _wide(i.x).flatten(1)[:, :, None]).flatten(),
}
POINTS = {"lerp": _lerp, "sum": _sum}


def cases(shape: Shape) -> Iterator[Case]:
    """Both, at [N, C, H, W]."""
    for kind, function, compositions in (
        ("squared_norm", lambda i: squared_norm(i.x), NORMS),
        ("interpolate", _between, POINTS),
    ):
        yield PenaltyCase("gradient_penalty", kind, shape, shape, function, compositions)
