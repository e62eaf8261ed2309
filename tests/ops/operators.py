"""Every public operator as a function of the same three tensors."""

from __future__ import annotations

import torch

from fastgan.ops import (
    bias_act,
    conv2d_resample,
    downsample2d,
    filter2d,
    modulated_conv2d,
    setup_filter,
    upfirdn2d,
    upsample2d,
)


def fir(x):
    """StyleGAN2's filter where x is."""
    return setup_filter([1, 3, 3, 1], separable=True, device=x.device)


# Every public operator as a function of images [N, 3, H, W], a vector [3] and weights [4, 3, 3, 3].
OPERATORS = {
    "lrelu": lambda x, b, w: bias_act(x, b, act="lrelu", clamp=1.0),
    "swish": lambda x, b, w: bias_act(x, b, act="swish"),
    "upfirdn2d": lambda x, b, w: upfirdn2d(x * b[:, None, None], fir(x), up=2, padding=[2, 1, 1, 2]),
    "filter2d": lambda x, b, w: filter2d(x * b[:, None, None], fir(x)),
    "upsample2d": lambda x, b, w: upsample2d(x * b[:, None, None], fir(x)),
    "downsample2d": lambda x, b, w: downsample2d(x * b[:, None, None], fir(x)),
    "conv2d_resample": lambda x, b, w: conv2d_resample(
        x, w[:3], fir(x), down=2, padding=1, b=b, act="lrelu", clamp=1.0, residual=x[:, :, ::2, ::2]
    ),
    "modulated_conv2d": lambda x, b, w: modulated_conv2d(
        x, w[:3], x.mean(dim=[2, 3]) + 1, noise=x[:, :1], padding=1, b=b, act="lrelu"
    ),
    "modulated_conv2d-up": lambda x, b, w: modulated_conv2d(
        x, w, 1 + x.mean(dim=[2, 3]) * b, up=2, padding=1, resample_filter=fir(x), flip_weight=False, act="swish"
    ),
}


def examples(memory_format="contiguous"):
    return in_memory(torch.randn(2, 3, 6, 4), memory_format), torch.randn(3).double(), torch.randn(4, 3, 3, 3).double()


def in_memory(x, memory_format):
    """x [..., C, H, W] in float64 with the same values in another memory format."""
    x = x.double()
    if memory_format == "channels_last":
        return x.movedim(-3, -1).contiguous().movedim(-1, -3)
    return x.transpose(-3, -1).contiguous().transpose(-3, -1) if memory_format == "strided" else x.contiguous()
