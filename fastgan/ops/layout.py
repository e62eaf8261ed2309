"""Memory formats that the operators take as they are; anything else is copied."""

from __future__ import annotations

import torch
from torch import Tensor


def dense_format(x: Tensor, dim: int = 1) -> torch.memory_format:
    """Memory format in which an operator over channel axis `dim` will read and write x.

    channels_last is kept for 4-D tensors with dim 1; every other layout is treated as (or copied to) contiguous.
    """
    if x.ndim == 4 and dim == 1 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format
