"""conv2d_layer composed of torch's convolutions, upfirdn2d and bias_act: what every other form is compared with."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fastgan.ops.arguments import sizes
from fastgan.ops.bias_act.op import bias_act
from fastgan.ops.fir import Padding, Sampling
from fastgan.ops.upfirdn2d.op import upfirdn2d


def conv2d_layer_reference(
    x: Tensor,
    w: Tensor,
    in_scale: Tensor | None,
    scale: Tensor | None,
    noise: Tensor | None,
    b: Tensor | None,
    residual: Tensor | None,
    f: Tensor | None,
    sampling: Sampling,
    groups: int,
    act: str,
    alpha: float,
    gain: float,
    clamp: float | None,
) -> Tensor:
    """y = residual + clamp(act(scale·R(w, in_scale·x) + noise + b)·gain, ±clamp), differentiable to any order.

    Arguments as in `op._layer`, with every default resolved.
    """
    if in_scale is not None:
        x = x * in_scale[:, :, None, None].to(x.dtype)
    y = _resampled_convolution(x, w, f, sampling, groups)
    if scale is not None:
        column = scale[:, :, None, None].to(y.dtype)
        y = y * column if noise is None else torch.addcmul(noise, y, column)
    elif noise is not None:
        y = y + noise
    if b is not None or act != "linear" or gain != 1 or clamp is not None:
        y = bias_act(y, b, act=act, alpha=alpha, gain=gain, clamp=clamp)
    return y if residual is None else y + residual


def _resampled_convolution(x: Tensor, w: Tensor, f: Tensor | None, sampling: Sampling, groups: int) -> Tensor:
    up, down, padding = sampling
    o, i, kh, kw = sizes(w)
    pointwise = kh == kw == 1
    if up == down == 1:
        return _convolution(x, w, padding, groups)
    if up == 1 and pointwise:
        return F.conv2d(upfirdn2d(x, f, down=down, padding=padding), w, groups=groups)
    if up == 1:
        return F.conv2d(upfirdn2d(x, f, padding=padding), w, stride=down, groups=groups)
    if pointwise:
        return upfirdn2d(F.conv2d(x, w, groups=groups), f, up=up, padding=padding, gain=up**2)
    w = w.reshape(groups, o // groups, i, kh, kw).transpose(1, 2).reshape(groups * i, o // groups, kh, kw)
    x = F.conv_transpose2d(x, w, stride=up, groups=groups)
    return upfirdn2d(x, f, padding=sampling.crop((kh, kw)), gain=up**2)


def _convolution(x: Tensor, w: Tensor, padding: Padding, groups: int) -> Tensor:
    px0, px1, py0, py1 = padding
    if px0 == px1 and py0 == py1 and min(px0, py0) >= 0:
        return F.conv2d(x, w, padding=(py0, px0), groups=groups)
    return F.conv2d(F.pad(x, padding), w, groups=groups)
