"""Memory formats that the operators take as they are; anything else is copied."""

from __future__ import annotations

import torch
from torch import Tensor

from fastgan.ops.exporting import sizes


def dense_format(x: Tensor, dim: int = 1) -> torch.memory_format:
    """Memory format in which an operator over channel axis `dim` will read and write x.

    channels_last is kept for 4-D tensors with dim 1; every other layout is treated as (or copied to) contiguous.
    """
    if x.ndim == 4 and dim == 1 and not x.is_contiguous() and _is_channels_last(x):
        return torch.channels_last
    return torch.contiguous_format


def in_format(x: Tensor, memory_format: torch.memory_format) -> Tensor:
    """x itself where it lies so, else a copy that does."""
    if memory_format == torch.contiguous_format:
        return x.contiguous()
    return x if _is_channels_last(x) else x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


def stacked(parts: tuple[Tensor, ...] | list[Tensor]) -> Tensor:
    """The tensors along a new first axis, each in the memory format that it has."""
    if dense_format(parts[0]) == torch.channels_last:
        return torch.stack([part.permute(0, 2, 3, 1) for part in parts]).permute(0, 1, 4, 2, 3)
    return torch.stack(parts)


def _is_channels_last(x: Tensor) -> bool:
    """Whether x [N, C, H, W] is, by its strides: vmap answers no question about memory formats."""
    step, shape = 1, sizes(x)
    for axis in (1, 3, 2, 0):
        if x.stride(axis) != step and shape[axis] != 1:
            return False
        step *= shape[axis]
    return True
