"""upfirdn2d's raw operator by Triton's kernel: allocates y, and launches it."""

from __future__ import annotations

import torch
from torch import Tensor

from fastgan.ops import fir
from fastgan.ops.arguments import dense_format


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

    up, down, padding = (upx, upy), (downx, downy), (padx0, padx1, pady0, pady1)
    size = fir.output_size(x.shape[2:], (f.shape[0], f.shape[-1]), up, down, padding)
    shape = (x.shape[0], x.shape[1], *size)
    y = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=dense_format(x))
    if y.numel():
        with torch.cuda.device_of(x):
            launch.upfirdn2d(x, f, y, up, down, (padx0, pady0), flip_filter, gain).launch()
    return y


# Torch operator, less its provider -> what launches the kernel.
LAUNCHES = {"upfirdn2d": _upfirdn2d}
