"""filtered_lrelu in plain torch: the formula that every other form is compared with."""

from __future__ import annotations

import torch
from torch import Tensor

from fastgan.ops.bias_act.reference import bias_act_reference
from fastgan.ops.filtered_lrelu.geometry import Geometry
from fastgan.ops.upfirdn2d.reference import upfirdn2d_reference


def filtered_lrelu_reference(
    x: Tensor,
    fu: Tensor,
    fd: Tensor,
    b: Tensor | None,
    geometry: Geometry,
    gain: float,
    slope: float,
    clamp: float | None,
    flip_filter: bool,
) -> Tensor:
    """Bias, FIR at the up-sampled rate, leaky ReLU, clamp, FIR and decimation; differentiable to any order; halves are
    computed in float32.

    Arguments as in `fastgan.ops.filtered_lrelu`; fu and fd are [taps] or [fh, fw].
    """
    v = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    if b is not None:
        v = v + b.to(v.dtype).reshape(1, -1, 1, 1)
    up, down = geometry.ups, geometry.downs
    v = upfirdn2d_reference(v, fu, up, (1, 1), geometry.padding, flip_filter, geometry.up**2)
    v = bias_act_reference(v, None, 1, "lrelu", slope, gain, clamp)
    return upfirdn2d_reference(v, fd, (1, 1), down, geometry.inner, flip_filter, 1.0).to(x.dtype)
