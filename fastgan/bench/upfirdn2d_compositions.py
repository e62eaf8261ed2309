"""upfirdn2d in plain torch, every way that torch is quick at: what ours is compared with.

Each composition gives the numbers of the operator (tests compare them with the reference) with the filter [1, 3, 3, 1]
alone: some hold for no other, like bilinear interpolation of a zero-bordered image.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

Composition = Callable[[Tensor], Tensor]


@cache
def fir_kernel(name: str, gain: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A constant of the compositions, kept where x is: a copy to the device would be timed too."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    edge = torch.zeros(2, 3)
    edge[0, :2] = torch.tensor([0.25, 0.75])  # output 2 i of up 2 sees inputs i - 1 and i
    edge[1, 1:] = torch.tensor([0.75, 0.25])  # output 2 i + 1 sees inputs i and i + 1
    kernels = {
        "row": taps[None],
        "column": taps[:, None],
        "full": torch.outer(taps, taps),
        "phases": torch.einsum("ai,bj->abij", edge, edge).reshape(4, 1, 3, 3),
    }
    return (gain * kernels[name]).to(device, dtype)


def _depthwise(name: str, x: Tensor, gain: float = 1) -> Tensor:
    kernel = fir_kernel(name, gain, x.dtype, x.device)
    return kernel.expand(x.shape[1], 1, *kernel.shape)


def _planes(x: Tensor) -> Tensor:
    return x.reshape(-1, 1, *x.shape[2:])


def _conv(x: Tensor, stride: int, planes: bool) -> Tensor:
    v = _planes(x) if planes else x
    v = F.conv2d(v, _depthwise("full", v), stride=stride, groups=v.shape[1])
    return v.reshape(*x.shape[:2], *v.shape[2:]) if planes else v


def _conv_twice(x: Tensor, stride: int, planes: bool) -> Tensor:
    v = _planes(x) if planes else x
    c = v.shape[1]
    v = F.conv2d(v, _depthwise("column", v), stride=(stride, 1), groups=c)
    v = F.conv2d(v, _depthwise("row", v), stride=(1, stride), groups=c)
    return v.reshape(*x.shape[:2], *v.shape[2:]) if planes else v


def _transposed(x: Tensor, planes: bool) -> Tensor:
    v = _planes(x) if planes else x
    v = F.conv_transpose2d(v, _depthwise("full", v, 4), stride=2, padding=1, groups=v.shape[1])
    return v.reshape(*x.shape[:2], *v.shape[2:]) if planes else v


def _transposed_twice(x: Tensor, planes: bool) -> Tensor:
    v = _planes(x) if planes else x
    c = v.shape[1]
    v = F.conv_transpose2d(v, _depthwise("column", v, 2), stride=(2, 1), padding=(1, 0), groups=c)
    v = F.conv_transpose2d(v, _depthwise("row", v, 2), stride=(1, 2), padding=(0, 1), groups=c)
    return v.reshape(*x.shape[:2], *v.shape[2:]) if planes else v


def _phases(x: Tensor) -> Tensor:
    """Up 2 as four convolutions, one for each position in a 2x2 block, then a pixel shuffle."""
    y = F.pixel_shuffle(F.conv2d(_planes(x), fir_kernel("phases", 1, x.dtype, x.device), padding=1), 2)
    return y.reshape(*x.shape[:2], *y.shape[2:])


def _boxes(x: Tensor, stride: int) -> Tensor:
    return F.avg_pool2d(F.avg_pool2d(F.avg_pool2d(x, 2, 1), 2, 1), 2, stride)


def _bilinear_up(x: Tensor) -> Tensor:
    v = F.interpolate(F.pad(x, [1] * 4), scale_factor=2, mode="bilinear", align_corners=False)
    return v[:, :, 2:-2, 2:-2].contiguous(memory_format=format_of(x))


def _bilinear_down(x: Tensor) -> Tensor:
    v = F.interpolate(F.pad(x, [2] * 4), scale_factor=0.5, mode="bilinear", align_corners=False, antialias=True)
    return v[:, :, 1:-1, 1:-1].contiguous(memory_format=format_of(x))


def format_of(x: Tensor) -> torch.memory_format:
    return torch.contiguous_format if x.is_contiguous() else torch.channels_last


def _filter_pad(x: Tensor) -> Tensor:
    return F.pad(x, [2, 1, 2, 1])


# The filter at every place of images that are padded already: way -> composition.
FILTERS: dict[str, Composition] = {
    "conv2d": lambda x: _conv(x, 1, False),
    "conv2d, planes": lambda x: _conv(x, 1, True),
    "separable conv2d": lambda x: _conv_twice(x, 1, False),
    "separable conv2d, planes": lambda x: _conv_twice(x, 1, True),
    "average pools": lambda x: _boxes(x, 1),
}

# What is computed -> way -> composition.
COMPOSITIONS: dict[str, dict[str, Composition]] = {
    "up 2": {
        "conv_transpose2d": lambda x: _transposed(x, False),
        "conv_transpose2d, planes": lambda x: _transposed(x, True),
        "separable conv_transpose2d": lambda x: _transposed_twice(x, False),
        "separable conv_transpose2d, planes": lambda x: _transposed_twice(x, True),
        "phases and pixel_shuffle": _phases,
        "bilinear interpolate": _bilinear_up,
    },
    "down 2": {
        "conv2d": lambda x: _conv(F.pad(x, [1] * 4), 2, False),
        "conv2d, planes": lambda x: _conv(F.pad(x, [1] * 4), 2, True),
        "separable conv2d": lambda x: _conv_twice(F.pad(x, [1] * 4), 2, False),
        "separable conv2d, planes": lambda x: _conv_twice(F.pad(x, [1] * 4), 2, True),
        "average pools": lambda x: _boxes(F.pad(x, [1] * 4), 2),
        "antialiased interpolate": _bilinear_down,
    },
    "filter": {way: lambda x, fir=fir: fir(_filter_pad(x)) for way, fir in FILTERS.items()},
}
