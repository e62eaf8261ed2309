"""Layers of weight-modulated convolution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

from fastgan.nn.equalized import EqualizedLinear
from fastgan.nn.initial import normal
from fastgan.nn.resampling import Resampling
from fastgan.ops import modulated_conv2d

NOISE_MODES = ("random", "const", "none")
Generators: TypeAlias = "torch.Generator | Sequence[torch.Generator] | None"


def check_generators(generator: Generators, batch: int) -> None:
    """Raises TypeError or ValueError unless generator is None, one, or a list of one for each of the batch."""
    if generator is None or isinstance(generator, torch.Generator):
        return
    if not isinstance(generator, (list, tuple)) or not all(isinstance(each, torch.Generator) for each in generator):
        raise TypeError(f"generator must be a torch.Generator, a list of them or None, got {type(generator).__name__}")
    if len(generator) != batch:
        raise ValueError(f"generator must be one, or one for each of the {batch} samples; got {len(generator)}")


def fresh_noise(batch: int, like: Tensor, generator: Generators = None) -> Tensor:
    """N(0, 1), [batch, 1, H, W].

    Args:
        batch: N.
        like: [H, W], whose dtype and device the noise gets.
        generator: draws float32 numbers on its own device, so that they depend on neither: one for the whole batch, or
            one for each sample. None: torch's global generator of like's device.

    Raises:
        TypeError, ValueError: generator is none of these.
    """
    check_generators(generator, batch)
    h, w = like.shape
    if generator is None:
        return torch.randn(batch, 1, h, w, device=like.device, dtype=like.dtype)
    if isinstance(generator, torch.Generator):
        return _drawn(generator, batch, 1, h, w).to(like)
    noise = torch.empty(batch, 1, h, w, device=like.device, dtype=like.dtype)
    for row, each in enumerate(generator):
        noise[row] = _drawn(each, 1, h, w)
    return noise


def _drawn(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator, device=generator.device, dtype=torch.float32)


class SynthesisLayer(Resampling):
    """y = lrelu(modulated_conv2d(x, weight, styles = A(w)) + noise_strength·noise + b)·√2.

    Args:
        in_channels: I.
        out_channels: O.
        w_dim: length of w.
        size: (H, W) of the output, for the constant noise.
        kernel_size: k, odd.
        up: up-sampling factor; an up-sampling layer is a true convolution, the other a correlation.
        clamp: bound on the output's magnitude; None: none.

    Source: Karras et al. 2020 (StyleGAN2), figure 2.
    """

    noise_const: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        size: tuple[int, int],
        *,
        kernel_size: int = 3,
        up: int = 1,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.up, self.padding, self.clamp, self.act = up, kernel_size // 2, clamp, "lrelu"
        self.affine = EqualizedLinear(w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(normal(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.register_buffer("noise_const", normal(*size))
        self.make_filter(up > 1)

    def noise(self, batch: int, noise_mode: str, generator: Generators = None) -> Tensor | None:
        """noise_strength·n, or None.

        Args:
            batch: N.
            noise_mode: "random": n is fresh, [N, 1, H, W]; "const": the layer's own, [H, W]; "none": there is none.
            generator: as in `fresh_noise`.

        Returns:
            what is added to the convolution's result.

        Raises:
            ValueError: noise_mode is none of these, or generator is no list of N.
            TypeError: generator is no generator.
        """
        if noise_mode not in NOISE_MODES:
            raise ValueError(f"noise_mode must be one of {', '.join(NOISE_MODES)}; got {noise_mode!r}")
        if noise_mode == "random":
            return fresh_noise(batch, self.noise_const, generator) * self.noise_strength
        if noise_mode == "const":
            return self.noise_const * self.noise_strength
        return None

    def forward(self, x: Tensor, w: Tensor, noise_mode: str = "random", generator: Generators = None) -> Tensor:
        """x [N, I, H/up, W/up], w [N, w_dim] -> [N, O, H, W]; noise_mode and generator as in `noise`."""
        return modulated_conv2d(
            x,
            self.weight,
            self.affine(w),
            noise=self.noise(x.shape[0], noise_mode, generator),
            up=self.up,
            padding=self.padding,
            resample_filter=self.f,
            flip_weight=self.up == 1,
            b=self.bias,
            act=self.act,
            clamp=self.clamp,
        )


class ToRGB(nn.Module):
    """y = modulated_conv2d(x, weight [C, I, 1, 1], styles = A(w)/√I, no demodulation) + b.

    Args:
        in_channels: I.
        img_channels: C.
        w_dim: length of w.
        clamp: bound on the output's magnitude; None: none.

    Source: Karras et al. 2020 (StyleGAN2), figure 7.
    """

    def __init__(self, in_channels: int, img_channels: int, w_dim: int, *, clamp: float | None = None) -> None:
        super().__init__()
        self.clamp = clamp
        self.style_gain = 1 / math.sqrt(in_channels)
        self.affine = EqualizedLinear(w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(normal(img_channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(img_channels))

    def forward(self, x: Tensor, w: Tensor, residual: Tensor | None = None) -> Tensor:
        """x [N, I, H, W], w [N, w_dim] -> [N, C, H, W], added to residual [N, C, H, W] in the wider dtype."""
        if residual is not None and residual.dtype != x.dtype:
            return residual + self.forward(x, w)
        styles = self.affine(w) * self.style_gain
        return modulated_conv2d(
            x, self.weight, styles, demodulate=False, b=self.bias, clamp=self.clamp, residual=residual
        )
