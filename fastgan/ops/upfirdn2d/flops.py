"""Products of upfirdn2d, as torch counts those of the convolutions that the reference is composed of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastgan.ops.fir import Factors, Padding, output_size


def upfirdn2d_flops(x: Any, f: Any, upx, upy, downx, downy, padx0, padx1, pady0, pady1, *_: Any, **__: Any) -> int:
    """Of the compiled operator's arguments: those with inserted zeros and with padding among them."""
    return fir_flops(x.shape, f.shape, (upx, upy), (downx, downy), (padx0, padx1, pady0, pady1))


def fir_flops(x: Sequence[int], f: Sequence[int], up: Factors, down: Factors, padding: Padding) -> int:
    """Of images of shape x [N, C, H, W] and a filter of shape f: one pass in two dimensions, or x's axis, then y's."""
    n, c, h, w = x
    size = output_size((h, w), (f[0], f[-1]), up, down, padding)
    if len(f) == 2:
        return 2 * n * c * f[0] * f[1] * size[0] * size[1]
    rows, _ = output_size((h, w), (1, 1), up, (1, 1), padding)
    return 2 * n * c * f[0] * (rows + size[0]) * size[1]
