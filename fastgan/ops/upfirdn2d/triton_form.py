"""upfirdn2d's raw operator by Triton's kernel: allocates y, and launches it."""

from __future__ import annotations

import torch
from torch import Tensor

from fastgan.ops.layout import dense_format
from fastgan.ops.registration import LIBRARY


def implement(provider: str, key: str) -> None:
    """Implement the operator `upfirdn2d_<provider>` for one dispatch key ("CUDA")."""
    LIBRARY.impl(f"upfirdn2d_{provider}", _upfirdn2d, key)


def _upfirdn2d(
    x: Tensor,
    f: Tensor,
    upx: int,
    upy: int,
    downx: int,
    downy: int,
    padx0: int,
    padx1: int,
    pady0: int,
    pady1: int,
    flip_filter: bool,
    gain: float,
) -> Tensor:
    from fastgan.kernels import launch

    height = (x.shape[2] * upy + pady0 + pady1 - f.shape[0]) // downy + 1
    width = (x.shape[3] * upx + padx0 + padx1 - f.shape[-1]) // downx + 1
    shape = (x.shape[0], x.shape[1], height, width)
    y = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=dense_format(x))
    if y.numel():
        with torch.cuda.device_of(x):
            launch.upfirdn2d(x, f, y, (upx, upy), (downx, downy), (padx0, pady0), flip_filter, gain).launch()
    return y
