"""Products of upfirdn2d, as torch counts those of the convolutions that the reference is composed of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def upfirdn2d_flops(x: Any, f: Any, upx, upy, downx, downy, padx0, padx1, pady0, pady1, *_: Any, **__: Any) -> int:
    """Of the compiled operator's arguments: those with inserted zeros and with padding among them."""
    return fir_flops(x.shape, f.shape, (upx, upy), (downx, downy), (padx0, padx1, pady0, pady1))


def fir_flops(
    x: Sequence[int], f: Sequence[int], up: tuple[int, int], down: tuple[int, int], padding: tuple[int, int, int, int]
) -> int:
    """Of images of shape x [N, C, H, W] and a filter of shape f: one pass in two dimensions, or x's axis, then y's."""
    n, c, h, w = x
    height, width = h * up[1] + padding[2] + padding[3], w * up[0] + padding[0] + padding[1]
    size = (height - f[0]) // down[1] + 1, (width - f[-1]) // down[0] + 1
    if len(f) == 2:
        return 2 * n * c * f[0] * f[1] * size[0] * size[1]
    return 2 * n * c * f[0] * (height + size[0]) * size[1]
