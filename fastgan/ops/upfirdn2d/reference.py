"""upfirdn2d in plain torch: the formula that every other form is compared with."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fastgan.ops.arguments import sizes


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
    if up != (1, 1):
        v = F.pad(v.reshape(n, c, h, 1, w, 1), [0, up[0] - 1, 0, 0, 0, up[1] - 1])  # zeros after every sample
        v = v.reshape(n, c, h * up[1], w * up[0])
    v = F.pad(v, [max(side, 0) for side in padding])
    if min(padding) < 0:
        x0, x1, y0, y1 = (max(-side, 0) for side in padding)  # what they crop, of the other side's padding too
        v = v[:, :, y0 : v.shape[2] - y1, x0 : v.shape[3] - x1]
    f = f.to(v.dtype)
    if not flip_filter:
        f = f.flip(list(range(f.ndim)))  # conv2d correlates
    if f.ndim == 1:
        v = _filter(v, f.reshape(1, -1), (1, down[0]))
        v = _filter(v, f.reshape(-1, 1), (down[1], 1))
    else:
        v = _filter(v, f, (down[1], down[0]))
    return (v * gain).to(x.dtype)


def _filter(v: Tensor, f: Tensor, stride: tuple[int, int]) -> Tensor:
    """Correlate every channel with f [fh, fw], at every stride-th place."""
    if 0 in sizes(v):  # torch's convolution has no double backward of nothing
        return v[:, :, : v.shape[2] - f.shape[0] + 1 : stride[0], : v.shape[3] - f.shape[1] + 1 : stride[1]]
    channels = sizes(v)[1]
    return F.conv2d(v, f.expand(channels, 1, *sizes(f)), stride=stride, groups=channels)
