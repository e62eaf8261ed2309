"""The layers of StyleGAN2 in plain torch, with as few passes over the images as it allows.

Each composition is a function of the inputs of a `LayerCase` and gives the layer's numbers (tests compare them with the
reference). The gain of √2 is folded into what comes before it: lrelu(√2·v) = √2·lrelu(v). The filter is [1, 3, 3, 1].
"""

from __future__ import annotations

from functools import partial
from math import sqrt
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fastgan.bench.case import CLAMP, Function
from fastgan.bench.upfirdn2d_compositions import COMPOSITIONS as FIRS
from fastgan.bench.upfirdn2d_compositions import FILTERS, Composition, fir_kernel, format_of

Inputs = Any  # of a LayerCase: x, w and what the layer has of styles, noise, b and residual are there


def _activated(v: Tensor) -> Tensor:
    return F.leaky_relu(v, 0.2, inplace=True).clamp(-CLAMP, CLAMP)


def _scaled(i: Inputs) -> Tensor:
    return i.x * i.styles[:, :, None, None].to(i.x.dtype)


def _demodulated(u: Tensor, i: Inputs, gain: float) -> Tensor:
    """act(dcoefs·u·gain + noise + b), in place after the first pass."""
    dcoefs = (i.styles.square() @ i.w.square().sum(dim=[2, 3]).t() + 1e-8).rsqrt()
    factor = (dcoefs * (gain * sqrt(2))).to(u.dtype)[:, :, None, None]
    v = torch.addcmul(i.noise * sqrt(2), u, factor).add_((i.b * sqrt(2)).to(u.dtype)[:, None, None])
    return _activated(v)


def _modulated_weight(i: Inputs) -> Tensor:
    """√2·w·styles·dcoefs for every sample [N, O, I, 3, 3]."""
    w = i.w[None] * i.styles[:, None, :, None, None]
    return (w * ((w.square().sum(dim=[2, 3, 4], keepdim=True) + 1e-8).rsqrt() * sqrt(2))).to(i.x.dtype)


def _scaled_input(i: Inputs) -> Tensor:
    return _demodulated(F.conv2d(_scaled(i), i.w.to(i.x.dtype), padding=1), i, 1)


def _grouped(i: Inputs) -> Tensor:
    """One group a sample, as Karras et al. 2020, appendix B, have it."""
    n, c, h, w = i.x.shape
    weight, b = _modulated_weight(i).flatten(0, 1), (i.b * sqrt(2)).to(i.x.dtype).repeat(n)
    v = F.conv2d(i.x.reshape(1, n * c, h, w), weight, b, padding=1, groups=n).reshape(n, -1, h, w)
    return _activated(v.add_(i.noise * sqrt(2))).contiguous(memory_format=format_of(i.x))


def _up(i: Inputs, fir: Composition) -> Tensor:
    u = F.conv_transpose2d(_scaled(i), i.w.to(i.x.dtype).transpose(0, 1), stride=2)
    return _demodulated(fir(F.pad(u, [1] * 4)).contiguous(memory_format=format_of(i.x)), i, 4)


def _up_folded(i: Inputs) -> Tensor:
    u = F.conv_transpose2d(_scaled(i), _with_filter(i.w).to(i.x.dtype).transpose(0, 1), stride=2, padding=2)
    return _demodulated(u, i, 4)


def _up_grouped(i: Inputs, fir: Composition) -> Tensor:
    n, c, h, w = i.x.shape
    weight = _modulated_weight(i).transpose(1, 2).flatten(0, 1)  # [N·I, O, 3, 3]
    u = F.conv_transpose2d(i.x.reshape(1, n * c, h, w), 4 * weight, stride=2, groups=n)
    u = u.reshape(n, -1, 2 * h + 1, 2 * w + 1).contiguous(memory_format=format_of(i.x))
    added = i.noise * sqrt(2) + (i.b * sqrt(2)).to(u.dtype)[:, None, None]
    return _activated((fir(F.pad(u, [1] * 4)) + added).contiguous(memory_format=format_of(i.x)))


def _with_filter(w: Tensor) -> Tensor:
    """w ∗ f: [O, I, 3, 3] -> [O, I, 6, 6]."""
    f = fir_kernel("full", 1, w.dtype, w.device)
    return F.conv2d(w.reshape(-1, 1, 3, 3), f[None, None], padding=3).reshape(*w.shape[:2], 6, 6)


def _plain(i: Inputs, gain: float, padding: int) -> Tensor:
    w, b = ((t * gain).to(i.x.dtype) for t in (i.w, i.b))
    return _activated(F.conv2d(i.x, w, b, padding=padding))


def _down(i: Inputs, fir: Composition) -> Tensor:
    return _activated(F.conv2d(fir(F.pad(i.x, [2] * 4)), i.w.to(i.x.dtype), i.b.to(i.x.dtype), stride=2))


def _down_folded(i: Inputs) -> Tensor:
    w = _with_filter(i.w).to(i.x.dtype)
    return _activated(F.conv2d(i.x, w, i.b.to(i.x.dtype), stride=2, padding=2))


def _skip(i: Inputs, fir: Composition) -> Tensor:
    v = fir(i.x).contiguous(memory_format=format_of(i.x))
    return F.conv2d(v, i.w.to(i.x.dtype)).add_(i.residual)


def _rgb_of_scaled(i: Inputs) -> Tensor:
    y = F.conv2d(_scaled(i), i.w.to(i.x.dtype), i.b.to(i.x.dtype))
    return y.clamp(-CLAMP, CLAMP).add_(i.residual)


def _rgb_product(i: Inputs) -> Tensor:
    """A matrix for every sample, which reads x once."""
    weight = (i.w[None, :, :, 0, 0] * i.styles[:, None]).to(i.x.dtype)
    y = torch.baddbmm(i.b.to(i.x.dtype)[None, :, None], weight, i.x.flatten(2)).clamp(-CLAMP, CLAMP)
    return (y.reshape(i.residual.shape) + i.residual).contiguous(memory_format=format_of(i.x))


# Kind of layer -> way -> composition.
COMPOSITIONS: dict[str, dict[str, Function]] = {
    "G 3x3": {"conv2d of the scaled input": _scaled_input, "grouped conv2d": _grouped},
    "G up 2": {
        **{f"conv_transpose2d of the scaled input, {way}": partial(_up, fir=fir) for way, fir in FILTERS.items()},
        "grouped conv_transpose2d, conv2d": partial(_up_grouped, fir=FILTERS["conv2d"]),
        "grouped conv_transpose2d, separable conv2d": partial(_up_grouped, fir=FILTERS["separable conv2d"]),
        "filter folded into conv_transpose2d": _up_folded,
    },
    "to-RGB": {"conv2d of the scaled input": _rgb_of_scaled, "matrix product": _rgb_product},
    "D 3x3": {"conv2d, gain folded": partial(_plain, gain=sqrt(2), padding=1)},
    "D down 2": {
        **{f"{way}, then conv2d": partial(_down, fir=fir) for way, fir in FILTERS.items()},
        "filter folded into conv2d": _down_folded,
    },
    "skip down 2": {f"{way}, then conv2d": partial(_skip, fir=fir) for way, fir in FIRS["down 2"].items()},
    "from-RGB": {"conv2d, gain folded": partial(_plain, gain=sqrt(2), padding=0)},
}
