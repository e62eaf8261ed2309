"""Layers with an equalised learning rate."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastgan.nn.initial import normal
from fastgan.nn.resampling import Resampling
from fastgan.ops import bias_act, conv2d_resample


class EqualizedLinear(nn.Module):
    """y = act(x Wᵀ·(m/√in) + b·m), with W ~ N(0, 1)/m and m the learning-rate multiplier.

    Args:
        in_features: length of x's rows.
        out_features: length of y's rows.
        bias: whether there is a bias.
        act: activation of `fastgan.ops.bias_act`, with its default gain.
        lr_multiplier: m; the layer learns m times as fast as the optimizer's rate says.
        bias_init: the initial value of b·m.

    Source: Karras et al. 2018 (ProGAN), section 4.1.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        act: str = "linear",
        lr_multiplier: float = 1.0,
        bias_init: float = 0.0,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.act = act
        self.lr_multiplier = lr_multiplier
        self.weight = nn.Parameter(normal(out_features, in_features, divisor=lr_multiplier))
        self.bias = nn.Parameter(torch.full([out_features], bias_init / lr_multiplier)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """x [N, in_features] -> [N, out_features]."""
        w = self.weight * (self.lr_multiplier / math.sqrt(self.in_features))
        b = self.bias
        if b is not None and self.lr_multiplier != 1:
            b = b * self.lr_multiplier
        if self.act == "linear":
            return F.linear(x, w, b)
        return bias_act(F.linear(x, w), b, act=self.act)

    def extra_repr(self) -> str:
        """What repr() shows of the layer."""
        return f"{self.in_features}, {self.out_features}, act={self.act}, lr_multiplier={self.lr_multiplier:g}"


class EqualizedConv2d(Resampling):
    """y = clamp(act(w/√(in·k²) ∗ x + b)·gain, ±clamp·gain), w ~ N(0, 1), with optional FIR resampling.

    The activation's own gain (√2 for lrelu) comes on top of `gain`. Without bias, activation and clamp, `gain`
    multiplies the weight and costs no pass over the images.

    Args:
        in_channels: I.
        out_channels: O.
        kernel_size: k, odd; zero padding k // 2.
        bias: whether there is a bias.
        act: activation of `fastgan.ops.bias_act`.
        up: up-sampling factor.
        down: down-sampling factor.
        gain: factor on the output.
        clamp: bound on the output's magnitude before `gain`; None: none.

    Raises:
        ValueError: kernel_size is even.

    Source: Karras et al. 2018 (ProGAN), section 4.1; Karras et al. 2020 (StyleGAN2), appendix B.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        bias: bool = True,
        act: str = "linear",
        up: int = 1,
        down: int = 1,
        gain: float = 1.0,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {kernel_size}")
        self.act, self.up, self.down, self.padding = act, up, down, kernel_size // 2
        self.act_gain = gain * (math.sqrt(2) if act in ("relu", "lrelu", "swish") else 1.0)
        self.clamp = None if clamp is None else clamp * gain
        self.weight_gain = 1 / math.sqrt(in_channels * kernel_size**2)
        self.weight = nn.Parameter(normal(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.make_filter(up > 1 or down > 1)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """x [N, I, H, W] -> [N, O, H·up/down, W·up/down], added to residual of that shape; in x's memory format."""
        plain = self.bias is None and self.act == "linear" and self.clamp is None
        return conv2d_resample(
            x,
            self.weight * (self.weight_gain * self.act_gain if plain else self.weight_gain),
            self.f,
            up=self.up,
            down=self.down,
            padding=self.padding,
            flip_weight=self.up == 1,  # up-sampling layers are true convolutions, the others correlations
            b=self.bias,
            act=self.act,
            gain=1.0 if plain else self.act_gain,
            clamp=self.clamp,
            residual=residual,
        )

    def extra_repr(self) -> str:
        """What repr() shows of the layer."""
        o, i, k, _ = self.weight.shape
        return f"{i}, {o}, kernel_size={k}, act={self.act}, up={self.up}, down={self.down}"
