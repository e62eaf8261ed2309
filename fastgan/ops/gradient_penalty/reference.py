"""squared_norm and interpolate in plain torch: the formulas that every other form is compared with."""

from __future__ import annotations

import torch
from torch import Tensor


def sum_dtype(x: Tensor) -> torch.dtype:
    """In which x's values are multiplied and summed: float32, or float64 where x is."""
    return torch.promote_types(x.dtype, torch.float32)


def squared_norm_reference(x: Tensor) -> Tensor:
    """s_n = Σ x_n², differentiable to any order. Arguments as in `fastgan.ops.squared_norm`."""
    return x.to(sum_dtype(x)).square().sum(dim=tuple(range(1, x.ndim)))


def interpolate_reference(real: Tensor, fake: Tensor, epsilon: Tensor) -> Tensor:
    """x̂ = real + ε_n·(fake - real), differentiable to any order. Arguments as in `fastgan.ops.interpolate`."""
    wide = sum_dtype(real)
    e = epsilon.to(wide).reshape([-1] + [1] * (real.ndim - 1))
    return (real.to(wide) + e * (fake.to(wide) - real.to(wide))).to(real.dtype)
