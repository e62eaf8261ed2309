"""upfirdn2d with the filter [1, 3, 3, 1] in plain torch, every way that torch is quick at: what ours is compared with.

Each composition takes x and gives the same numbers (tests compare them with the reference). Some hold for this filter
only: bilinear interpolation of a zero-bordered image, averages of neighbours.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

TAPS = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
FULL = torch.outer(TAPS, TAPS)

Composition = Callable[[Tensor], Tensor]


def _depthwise(kernel: Tensor, channels: int) -> Tensor:
    return kernel.expand(channels, 1, *kernel.shape)


def _planes(x: Tensor) -> Tensor:
    return x.reshape(-1, 1, *x.shape[2:])


def _conv(x: Tensor, kernel: Tensor, stride: int, planes: bool) -> Tensor:
    v = _planes(x) if planes else x
    v = F.conv2d(v, _depthwise(kernel, v.shape[1]), stride=stride, groups=v.shape[1])
    return v.reshape(*x.shape[:2], *v.shape[2:]) if planes else v


def _conv_twice(x: Tensor, stride: int, planes: bool) -> Tensor:
    v = _planes(x) if planes else x
    c = v.shape[1]
    v = F.conv2d(v, _depthwise(TAPS[:, None], c), stride=(stride, 1), groups=c)
    v = F.conv2d(v, _depthwise(TAPS[None], c), stride=(1, stride), groups=c)
    return v.reshape(*x.shape[:2], *v.shape[2:]) if planes else v


def _transposed(x: Tensor, planes: bool) -> Tensor:
    v = _planes(x) if planes else x
    v = F.conv_transpose2d(v, _depthwise(4 * FULL, v.shape[1]), stride=2, padding=1, groups=v.shape[1])
    return v.reshape(*x.shape[:2], *v.shape[2:]) if planes else v


def _transposed_twice(x: Tensor, planes: bool) -> Tensor:
    v = _planes(x) if planes else x
    c = v.shape[1]
    v = F.conv_transpose2d(v, _depthwise(2 * TAPS[:, None], c), stride=(2, 1), padding=(1, 0), groups=c)
    v = F.conv_transpose2d(v, _depthwise(2 * TAPS[None], c), stride=(1, 2), padding=(0, 1), groups=c)
    return v.reshape(*x.shape[:2], *v.shape[2:]) if planes else v


def _phases(x: Tensor) -> Tensor:
    """Up 2 as four convolutions, one for each position in a 2x2 block, then a pixel shuffle."""
    edge = torch.zeros(2, 3)
    edge[0, :2] = torch.tensor([0.25, 0.75])  # output 2 i sees inputs i - 1 and i
    edge[1, 1:] = torch.tensor([0.75, 0.25])  # output 2 i + 1 sees inputs i and i + 1
    kernel = torch.einsum("ai,bj->abij", edge, edge).reshape(4, 1, 3, 3)
    y = F.pixel_shuffle(F.conv2d(_planes(x), kernel, padding=1), 2)
    return y.reshape(*x.shape[:2], *y.shape[2:])


def _boxes(x: Tensor, stride: int) -> Tensor:
    return F.avg_pool2d(F.avg_pool2d(F.avg_pool2d(x, 2, 1), 2, 1), 2, stride)


def _bilinear_up(x: Tensor) -> Tensor:
    v = F.interpolate(F.pad(x, [1] * 4), scale_factor=2, mode="bilinear", align_corners=False)
    return v[:, :, 2:-2, 2:-2].contiguous(memory_format=_format(x))


def _bilinear_down(x: Tensor) -> Tensor:
    v = F.interpolate(F.pad(x, [2] * 4), scale_factor=0.5, mode="bilinear", align_corners=False, antialias=True)
    return v[:, :, 1:-1, 1:-1].contiguous(memory_format=_format(x))


def _format(x: Tensor) -> torch.memory_format:
    return torch.contiguous_format if x.is_contiguous() else torch.channels_last


def _filter_pad(x: Tensor) -> Tensor:
    return F.pad(x, [2, 1, 2, 1])


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
        "conv2d": lambda x: _conv(F.pad(x, [1] * 4), FULL, 2, False),
        "conv2d, planes": lambda x: _conv(F.pad(x, [1] * 4), FULL, 2, True),
        "separable conv2d": lambda x: _conv_twice(F.pad(x, [1] * 4), 2, False),
        "separable conv2d, planes": lambda x: _conv_twice(F.pad(x, [1] * 4), 2, True),
        "average pools": lambda x: _boxes(F.pad(x, [1] * 4), 2),
        "antialiased interpolate": _bilinear_down,
    },
    "filter": {
        "conv2d": lambda x: _conv(_filter_pad(x), FULL, 1, False),
        "conv2d, planes": lambda x: _conv(_filter_pad(x), FULL, 1, True),
        "separable conv2d": lambda x: _conv_twice(_filter_pad(x), 1, False),
        "separable conv2d, planes": lambda x: _conv_twice(_filter_pad(x), 1, True),
        "average pools": lambda x: _boxes(_filter_pad(x), 1),
    },
}
