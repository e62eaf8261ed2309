"""Weight-modulated convolutions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fastgan.nn.equalized import EqualizedLinear
from fastgan.nn.resample import BINOMIAL_TAPS, conv2d_resample
from fastgan.ops import bias_act, setup_filter

NOISE_MODES = ("random", "const", "none")


def demodulation_coefficients(weight: Tensor, styles: Tensor, eps: float = 1e-8) -> Tensor:
    """dcoefs[n, o] = 1 / sqrt(Σ_i styles[n, i]² · Σ_k weight[o, i, k]² + eps).

    Args:
        weight: [O, I, kh, kw].
        styles: [N, I].
        eps: added to the squared norm.

    Returns:
        [N, O]. The modulated weights [N, O, I, kh, kw] are never formed.

    Source: Karras et al. 2020 (StyleGAN2), eq. 3.
    """
    return (styles.square() @ weight.square().sum(dim=[2, 3]).t() + eps).rsqrt()


def modulated_conv2d(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    noise: Tensor | None = None,
    up: int = 1,
    down: int = 1,
    padding: int | Sequence[int] = 0,
    resample_filter: Tensor | None = None,
    demodulate: bool = True,
    flip_weight: bool = True,
    input_gain: Tensor | None = None,
) -> Tensor:
    """y[n, o] = Σ_i (weight[o, i]·styles[n, i]·dcoefs[n, o]) ∗ x[n, i] + noise.

    Styles scale the input, dcoefs the output, and one convolution with shared weights serves the batch.

    Args:
        x: input [N, I, H, W].
        weight: [O, I, kh, kw].
        styles: factor on every input channel [N, I].
        noise: added to the result, broadcastable to it ([N, 1, H', W'] or [H', W']), already scaled. None: none.
        up: up-sampling factor.
        down: down-sampling factor.
        padding: as `conv2d_resample`.
        resample_filter: FIR for up- and down-sampling, 1-D or 2-D, sum 1.
        demodulate: scale each modulated filter to unit norm.
        flip_weight: True: correlation. False: true convolution.
        input_gain: scalar or [I] factor on the input channels, applied after demodulation. None: 1.

    Returns:
        [N, O, H', W'], in x's memory format.

    Raises:
        ValueError: styles do not fit x or weight.

    Gradients: any order.
    Source: Karras et al. 2020 (StyleGAN2), section 2.2.
    """
    if styles.shape != (x.shape[0], weight.shape[1]):
        raise ValueError(f"styles must have shape [N, I]=[{x.shape[0]}, {weight.shape[1]}], got {list(styles.shape)}")
    dcoefs = demodulation_coefficients(weight, styles)[:, :, None, None] if demodulate else None
    if input_gain is not None:
        styles = styles * input_gain
    x = conv2d_resample(
        x * styles[:, :, None, None],
        weight,
        resample_filter,
        up=up,
        down=down,
        padding=padding,
        flip_weight=flip_weight,
    )
    if dcoefs is None:
        return x if noise is None else x + noise
    return x * dcoefs if noise is None else torch.addcmul(noise, x, dcoefs)


class SynthesisLayer(nn.Module):
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
    f: Tensor | None

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
        self.up, self.clamp, self.act = up, clamp, "lrelu"
        self.affine = EqualizedLinear(w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.register_buffer("noise_const", torch.randn(size))
        self.register_buffer("f", setup_filter(BINOMIAL_TAPS, separable=True) if up > 1 else None, persistent=False)

    def noise(self, batch: int, noise_mode: str) -> Tensor | None:
        """noise_strength·n: n fresh [batch, 1, H, W] ("random"), the layer's own [H, W] ("const"), or None ("none")."""
        if noise_mode == "random":
            h, w = self.noise_const.shape
            fresh = torch.randn(batch, 1, h, w, device=self.noise_const.device, dtype=self.noise_const.dtype)
            return fresh * self.noise_strength
        if noise_mode == "const":
            return self.noise_const * self.noise_strength
        return None

    def forward(self, x: Tensor, w: Tensor, noise_mode: str = "random") -> Tensor:
        """x [N, I, H/up, W/up], w [N, w_dim] -> [N, O, H, W]."""
        x = modulated_conv2d(
            x,
            self.weight,
            self.affine(w),
            noise=self.noise(x.shape[0], noise_mode),
            up=self.up,
            padding=self.weight.shape[-1] // 2,
            resample_filter=self.f,
            flip_weight=self.up == 1,
        )
        return bias_act(x, self.bias, act=self.act, clamp=self.clamp)


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
        self.weight = nn.Parameter(torch.randn(img_channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(img_channels))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """x [N, I, H, W], w [N, w_dim] -> [N, C, H, W]."""
        x = modulated_conv2d(x, self.weight, self.affine(w) * self.style_gain, demodulate=False)
        return bias_act(x, self.bias, clamp=self.clamp)
