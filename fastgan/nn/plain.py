"""Convolution layers with plain weights: what the optimizer updates is what convolves."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastgan.nn.initial import normal
from fastgan.ops import bias_act, conv2d_resample


class PlainConv2d(nn.Module):
    """y = act(w ∗ x + b), w ~ N(0, gain²/fan_in), zero padding k // 2; a layer that is linear has no bias.

    Args:
        in_channels: I.
        out_channels: O.
        kernel_size: k, odd.
        groups: of the convolution. Above 1 it is torch's, which on a CPU is faster than ours group by group
            (`bench/grouped.py`), with bias and activation as one pass over its result.
        act: activation of `fastgan.ops.bias_act`, whose result is not scaled.
        gain: 0: the weights begin at 0.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        groups: int = 1,
        act: str = "linear",
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.groups, self.act, self.padding = groups, act, kernel_size // 2
        shape = (out_channels, in_channels // groups, kernel_size, kernel_size)
        divisor = math.sqrt(math.prod(shape[1:])) / gain if gain else math.inf
        self.weight = nn.Parameter(normal(*shape, divisor=divisor))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if act != "linear" else None

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """x [N, I, H, W] -> [N, O, H, W], added to residual of that shape; in x's dtype and memory format."""
        if self.groups == 1:
            epilogue: dict[str, Any] = {"b": self.bias, "act": self.act, "gain": 1.0, "residual": residual}
            return conv2d_resample(x, self.weight, padding=self.padding, **epilogue)
        y = F.conv2d(x, self.weight.to(x.dtype), padding=self.padding, groups=self.groups)
        y = bias_act(y, self.bias, act=self.act, gain=1.0)
        return y if residual is None else y + residual

    def extra_repr(self) -> str:
        """What repr() shows of the layer."""
        o, i, k, _ = self.weight.shape
        return f"{i * self.groups}, {o}, kernel_size={k}, groups={self.groups}, act={self.act}"
