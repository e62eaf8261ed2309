"""upfirdn2d in plain torch: the formula that every other form is compared with."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def upfirdn2d_reference(
    x: Tensor,
    f: Tensor,
    up: tuple[int, int],
    down: tuple[int, int],
    padding: tuple[int, int, int, int],
    flip_filter: bool,
    gain: float,
) -> Tensor:
    """Insert zeros, pad, convolve, keep every down-th sample; differentiable to any order; halves in float32.

    Arguments as in `fastgan.ops.upfirdn2d`: up and down as (x, y), padding as (x0, x1, y0, y1), f [taps] or [fh, fw].
    """
    n, c, h, w = x.shape
    v = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    v = v.reshape(n * c, 1, h, 1, w, 1)
    v = F.pad(v, [0, up[0] - 1, 0, 0, 0, up[1] - 1])  # zeros after every sample
    v = v.reshape(n * c, 1, h * up[1], w * up[0])
    v = F.pad(v, list(padding))  # negative values crop
    f = f.to(v.dtype)
    if not flip_filter:
        f = f.flip(list(range(f.ndim)))  # conv2d correlates
    kernels = [f.reshape(1, 1, 1, -1), f.reshape(1, 1, -1, 1)] if f.ndim == 1 else [f.reshape(1, 1, *f.shape)]
    for kernel in kernels:
        v = F.conv2d(v, kernel) if v.shape[0] else v[..., kernel.shape[2] - 1 :, kernel.shape[3] - 1 :]
    v = v[:, :, :: down[1], :: down[0]] * gain
    return v.reshape(n, c, v.shape[2], v.shape[3]).to(x.dtype)
