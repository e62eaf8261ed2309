"""filtered_lrelu in plain torch, every way that torch is quick at: what ours is compared with."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from fastgan.bench.case import Inputs


def _composed(planes: bool, separable: bool, filters: Any, i: Inputs) -> Tensor:
    """A transposed convolution, a leaky ReLU, a strided convolution; the filters are symmetric.

    Args:
        planes: each plane is an image of one channel; else each channel is a group.
        separable: an axis after the other, where the filter has no more than one.
        filters: as `fastgan.bench.filtered_lrelu.Filters`.
        i: x and b.
    """
    fu, fd = (f.to(i.x.dtype) for f in filters.filters(i.x))
    v = i.x if i.b is None else i.x + i.b.to(i.x.dtype)[:, None, None]
    n, c, h, w = v.shape
    v = v.reshape(n * c, 1, h, w) if planes else v
    groups = v.shape[1]

    def kernel(f: Tensor) -> Tensor:
        return f.expand(groups, 1, *f.shape)

    up, down, taps = filters.up, filters.down, filters.up_taps
    x0, x1, y0, y1 = filters.padding(h, w)
    if taps > 1:
        f = fu * up
        if separable:
            v = F.conv_transpose2d(v, kernel(f[None]), stride=(1, up), groups=groups)
            v = F.conv_transpose2d(v, kernel(f[:, None]), stride=(up, 1), groups=groups)
        else:
            v = F.conv_transpose2d(v, kernel(f.outer(f)), stride=up, groups=groups)
    before, after = 1 - taps, up - taps  # a transposed convolution begins and ends where the filter meets one sample
    v = F.pad(v, [x0 + before, x1 + after, y0 + before, y1 + after])
    v = (F.leaky_relu(v, 0.2) * math.sqrt(2)).clamp(-256.0, 256.0)
    if fd.ndim == 2:
        v = F.conv2d(v, kernel(fd), stride=down, groups=groups)
    elif separable:
        v = F.conv2d(v, kernel(fd[:, None]), stride=(down, 1), groups=groups)
        v = F.conv2d(v, kernel(fd[None]), stride=(1, down), groups=groups)
    else:
        v = F.conv2d(v, kernel(fd.outer(fd)), stride=down, groups=groups)
    return v.reshape(n, c, *v.shape[2:])


COMPOSITIONS: dict[str, Callable[[Any, Inputs], Tensor]] = {
    "separable, planes": lambda filters, i: _composed(True, True, filters, i),
    "separable, channels": lambda filters, i: _composed(False, True, filters, i),
    "full, planes": lambda filters, i: _composed(True, False, filters, i),
}
