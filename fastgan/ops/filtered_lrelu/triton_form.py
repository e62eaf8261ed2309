"""filtered_lrelu's raw operators by Triton's kernels: allocates what they write, and launches them.

Two launches with the middle in memory between them: its second FIR is upfirdn2d's kernel.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fastgan.ops import fir
from fastgan.ops.arguments import dense_format
from fastgan.ops.filtered_lrelu.geometry import Geometry, columns_of_class, mask_shape


def _forward(
    x: Tensor,
    fu: Tensor,
    fd: Tensor,
    b: Tensor | None,
    up: int,
    down: int,
    padx0: int,
    padx1: int,
    pady0: int,
    pady1: int,
    gain: float,
    slope: float,
    clamp: float,
    flip_filter: bool,
    keep_mask: bool,
) -> tuple[Tensor, Tensor]:
    geometry = Geometry(up, down, (padx0, padx1, pady0, pady1))
    n, c, height, width = x.shape
    middle = geometry.middle((height, width), fir.taps_of(fu))
    shape = mask_shape(n, c, middle, up, down) if keep_mask else (0,)
    mask = torch.empty(shape, dtype=torch.uint8, device=x.device)
    formula = (float(up**2), gain, slope, clamp)
    y = _launch(x, fu, fd, b, mask if keep_mask else None, geometry, middle, formula, flip_filter, False, x.dtype)
    return y, mask


def _masked(
    x: Tensor,
    mask: Tensor,
    fu: Tensor,
    fd: Tensor,
    up: int,
    down: int,
    padx0: int,
    padx1: int,
    pady0: int,
    pady1: int,
    inner_padx0: int,
    inner_padx1: int,
    inner_pady0: int,
    inner_pady1: int,
    height: int,
    width: int,
    gain: float,
    slope: float,
    flip_filter: bool,
    need_db: bool,
) -> tuple[Tensor, Tensor]:
    inner = (inner_padx0, inner_padx1, inner_pady0, inner_pady1)
    geometry = Geometry(up, down, (padx0, padx1, pady0, pady1), inner)
    wide = torch.promote_types(x.dtype, torch.float32) if need_db else x.dtype
    y = _launch(x, fu, fd, None, mask, geometry, (height, width), (1.0, gain, slope, -1.0), flip_filter, True, wide)
    db = y.sum(dim=(0, 2, 3)).to(x.dtype) if need_db else x.new_empty([0])
    return y.to(x.dtype), db


def _launch(
    x: Tensor,
    fu: Tensor,
    fd: Tensor,
    b: Tensor | None,
    mask: Tensor | None,
    geometry: Geometry,
    middle_size: fir.Size,
    formula: tuple[float, float, float, float],
    flip_filter: bool,
    masked: bool,
    dtype: torch.dtype,
) -> Tensor:
    """y, in dtype."""
    from fastgan.kernels import launch
    from fastgan.kernels.filtered_lrelu import filtered_lrelu_middle

    n, c = x.shape[:2]
    wide, form = torch.promote_types(x.dtype, torch.float32), dense_format(x)
    size = geometry.output(middle_size, fir.taps_of(fd))
    y = torch.empty((n, c, *size), dtype=dtype, device=x.device, memory_format=form)
    if not y.numel():
        return y
    middle = torch.empty((n, c, *middle_size), dtype=wide, device=x.device, memory_format=form)
    words = None if mask is None else mask.view(torch.int32)
    classes = columns_of_class(middle_size[1], geometry.up, geometry.down)
    first, second = geometry.padding, geometry.inner
    with torch.cuda.device_of(x):
        place = (first[0], first[2])
        filtered_lrelu_middle(
            x, fu, b, middle, words, geometry.up, place, classes, formula, flip_filter, masked
        ).launch()
        place = (second[0], second[2])
        launch.upfirdn2d(middle, fd, y, (1, 1), geometry.downs, place, flip_filter, 1.0).launch()
    return y


# Torch operators, less their provider -> what launches the kernels.
LAUNCHES = {"filtered_lrelu": _forward, "filtered_lrelu_masked": _masked}
