"""bias_act in plain torch: the formula that every other form is compared with."""

from __future__ import annotations

import torch
from torch import Tensor

from fastgan.ops.bias_act.activations import ACTIVATIONS


def bias_act_reference(
    x: Tensor, b: Tensor | None, dim: int, act: str, alpha: float, gain: float, clamp: float | None
) -> Tensor:
    """y = clamp(act(x + b) · gain, ±clamp), differentiable to any order; halves are computed in float32.

    Arguments as in `fastgan.ops.bias_act`, with every default resolved.
    """
    v = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    if b is not None:
        shape = [1] * x.ndim
        shape[dim] = -1
        v = v + b.to(v.dtype).reshape(shape)
    v = ACTIVATIONS[act].function(v, alpha) * gain
    if clamp is not None:
        v = v.clamp(-clamp, clamp)
    return v.to(x.dtype)
