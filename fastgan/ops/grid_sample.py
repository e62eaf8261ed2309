"""Bilinear samples of images at places, differentiable to any order by images and places.

Values and first derivatives are those of torch's kernels, whose own derivative stands here: torch has none before 2.12.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fastgan.ops.arguments import check_dense, dense_format, flag, in_format, sizes
from fastgan.ops.gradients import needed
from fastgan.ops.registration import LIBRARY, register

_ATEN: Any = torch.ops.aten
_BILINEAR = 0
_PADDINGS = ("zeros", "border", "reflection")  # as torch numbers them


def grid_sample(x: Tensor, grid: Tensor, padding_mode: str = "zeros", align_corners: bool = False) -> Tensor:
    """y[n, c, i, j] = x[n, c] at the place grid[n, i, j], linearly between the nearest four pixels.

    Args:
        x: images [N, C, H, W], float64, float32, float16 or bfloat16, in any layout.
        grid: places [N, H', W', 2], (column, row), -1 and 1 at opposite edges; of x's dtype.
        padding_mode: what lies beyond x: "zeros", "border" (the outer pixels go on), or "reflection".
        align_corners: whether -1 and 1 are the centres of the outer pixels, else the edges of the image; there it is
            reflected.

    Returns:
        [N, C, H', W'], in x's dtype and memory format.

    Raises:
        ValueError, TypeError: an argument that does not fit, named with what was expected and what came.

    Gradients: any order, for x and grid; at kinks those of torch. On a GPU torch's kernels sum x's in no fixed order.
    Keeps for backward: x and grid. Derivatives of grid's gradient gather four values a sample: 4 times y's memory.

    >>> place = torch.tensor([[[[0.5, 0.0]]]])
    >>> grid_sample(torch.tensor([[[[1.0, 3.0]]]]), place), grid_sample(torch.ones(1, 1, 1, 1), place, "border")
    (tensor([[[[3.]]]]), tensor([[[[1.]]]]))
    """
    check_dense("x", x)
    check_dense("grid", grid)
    if x.ndim != 4 or 0 in sizes(x)[2:]:
        raise ValueError(f"x must have shape [N, C, H, W], H and W at least 1, got {list(sizes(x))}")
    n = sizes(x)[0]
    if grid.ndim != 4 or sizes(grid)[0] != n or sizes(grid)[3] != 2:
        raise ValueError(f"grid must have shape [N, H', W', 2]=[{n}, H', W', 2] to match x, got {list(sizes(grid))}")
    if grid.dtype != x.dtype:
        raise TypeError(f"grid must have x's dtype {x.dtype}, got {grid.dtype}")
    if grid.device != x.device:
        raise ValueError(f"grid must be on x's device {x.device}, got {grid.device}")
    if padding_mode not in _PADDINGS:
        raise ValueError(f"padding_mode must be one of {', '.join(_PADDINGS)}; got {padding_mode!r}")
    y = _sample(x, grid, _PADDINGS.index(padding_mode), flag("align_corners", align_corners))
    return in_format(y, dense_format(x))


def _save(ctx: Any, inputs: tuple, output: Any) -> None:
    ctx.set_materialize_grads(False)
    tensors = [each for each in inputs if isinstance(each, Tensor)]
    ctx.save_for_backward(*tensors)
    ctx.how = inputs[len(tensors) :]


def _sample_backward(ctx: Any, dy: Tensor | None) -> tuple:
    if dy is None:
        return None, None, None, None
    wants_x, wants_grid, *_ = needed(ctx)
    dx, dgrid = _gradients(dy, *ctx.saved_tensors, *ctx.how, wants_x)
    return dx if wants_x else None, dgrid if wants_grid else None, None, None


def _gradients_backward(ctx: Any, ddx: Tensor | None, ddgrid: Tensor | None) -> tuple:
    """What dy, x and grid get. dx is the adjoint of sampling, so that its derivatives are sampling's with ddx in x's
    place; those of grid's gradient are written out.
    """
    (dy, x, grid), (*how, of_x) = ctx.saved_tensors, ctx.how
    wants_dy, wants_x, wants_grid, *_ = needed(ctx)
    dy2 = x2 = grid2 = None
    if of_x and ddx is not None and wants_dy:
        dy2 = _sample(ddx, grid, *how)
    if of_x and ddx is not None and wants_grid:
        _, grid2 = _gradients(dy, ddx, grid, *how, False)
    if ddgrid is not None:
        cells = _Cells.of(grid, sizes(x)[2:], *how)
        if wants_dy:
            dy2 = _sum(dy2, cells.change(x, ddgrid))
        if wants_x:
            x2 = cells.change_adjoint(dy, ddgrid, x)
        if wants_grid:
            grid2 = _sum(grid2, cells.twist(dy, x, ddgrid))
    return dy2, x2, grid2, None, None, None


def _sum(a: Tensor | None, b: Tensor) -> Tensor:
    return b if a is None else a + b


class _Cells(NamedTuple):
    """The four pixels about each of L = H'·W' places: x at a place is Σ over them of x·weight_row·weight_column.

    Attributes:
        index: int64 [N, 1, 4·L], where they lie in an image.
        weights: [N, 4, L] of rows and of columns, 0 outside of the image; differentiable by the places.
        slopes: [N, 4, L], what weights change with grid's rows and columns.
    """

    index: Tensor
    weights: tuple[Tensor, Tensor]
    slopes: tuple[Tensor, Tensor]

    @staticmethod
    def of(grid: Tensor, size: Sequence[int], padding: int, align_corners: bool) -> _Cells:
        wide = torch.promote_types(grid.dtype, torch.float32)
        numbers, weights, slopes = [], [], []
        for axis, (length, further) in enumerate(zip(size, ((0, 0, 1, 1), (0, 1, 0, 1)), strict=True)):
            g = grid[..., 1 - axis].flatten(1).to(wide)[:, None]  # [N, 1, L]
            place, slope = _place(g.detach(), length, padding, align_corners)
            first = place.floor()
            second = torch.tensor(further, device=grid.device)[:, None]
            number = first + second
            inside = (number >= 0) & (number < length)
            sign = torch.where(inside, 2 * second - 1, 0).to(wide)
            part = place - first + slope * (g - g.detach())
            weights.append(inside * (1 - second) + sign * part)
            slopes.append(sign * slope)
            numbers.append(number.clamp(0, length - 1).long())
        return _Cells((numbers[0] * size[1] + numbers[1]).flatten(1)[:, None], tuple(weights), tuple(slopes))

    def change(self, x: Tensor, u: Tensor) -> Tensor:
        """How y [N, C, H', W'] changes along u [N, H', W', 2]."""
        y = (self._taken(x) * self._along(u)).sum(2)
        return y.unflatten(2, sizes(u)[1:3]).to(x.dtype)

    def change_adjoint(self, dy: Tensor, u: Tensor, x: Tensor) -> Tensor:
        """What x gets of dy by `change`, which is linear in x."""
        given = (dy.flatten(2)[:, :, None] * self._along(u)).flatten(2)
        zeros = torch.zeros(sizes(x), dtype=given.dtype, device=x.device).flatten(2)
        return zeros.scatter_add(2, self.index.expand_as(given), given).unflatten(2, sizes(x)[2:]).to(x.dtype)

    def twist(self, dy: Tensor, x: Tensor, u: Tensor) -> Tensor:
        """What grid gets of dy by `change`: x is linear along a row and along a column, so only their product stays."""
        mixed = (self._taken(x) * (self.slopes[0] * self.slopes[1])[:, None]).sum(2)
        mixed = (mixed * dy.flatten(2)).sum(1).unflatten(1, sizes(u)[1:3])
        return (mixed[..., None] * u.flip(3)).to(u.dtype)

    def _taken(self, x: Tensor) -> Tensor:
        """[N, C, 4, L]."""
        return x.flatten(2).gather(2, self.index.expand(-1, sizes(x)[1], -1)).unflatten(2, (4, -1))

    def _along(self, u: Tensor) -> Tensor:
        """[N, 1, 4, L]: how the product of weights changes along u."""
        across, down = u.flatten(1, 2).to(self.slopes[0].dtype)[:, None].unbind(3)  # [N, 1, L]
        (rows, columns), (row_slopes, column_slopes) = self.weights, self.slopes
        return (down * row_slopes * columns + across * rows * column_slopes)[:, None]


def _place(g: Tensor, length: int, padding: int, align_corners: bool) -> tuple[Tensor, Tensor]:
    """Where g in [-1, 1] lies in pixels, and how fast that changes with g."""
    scale = (length - 1 if align_corners else length) / 2
    place = (g + 1) * scale - (0 if align_corners else 0.5)
    slope = torch.full_like(g, scale)
    if _PADDINGS[padding] == "reflection":
        low, span = (0.0, length - 1.0) if align_corners else (-0.5, float(length))
        turned = (place - low).remainder(2 * span) if span > 0 else torch.zeros_like(place)
        place = torch.minimum(turned, 2 * span - turned) + low
        slope = torch.where(turned < span, slope, -slope)
    if _PADDINGS[padding] != "zeros":
        slope = torch.where((place > 0) & (place < length - 1), slope, 0)
        place = place.clamp(0, length - 1)
    return place, slope


def _sample_by_torch(x: Tensor, grid: Tensor, padding: int, align_corners: bool) -> Tensor:
    return _ATEN.grid_sampler_2d(x, grid, _BILINEAR, padding, align_corners).contiguous()


def _gradients_by_torch(
    dy: Tensor, x: Tensor, grid: Tensor, padding: int, align_corners: bool, of_x: bool
) -> tuple[Tensor, Tensor]:
    dx, dgrid = _ATEN.grid_sampler_2d_backward(dy, x, grid, _BILINEAR, padding, align_corners, [of_x, True])
    return dx.contiguous() if of_x else x.new_empty(0), dgrid.contiguous()


_sample = register(
    "grid_sample",
    "(Tensor x, Tensor grid, int padding, bool align_corners) -> Tensor",
    lambda x, grid, padding, align_corners: x.new_empty((*x.shape[:2], *grid.shape[1:3])),
    _save,
    _sample_backward,
)
_gradients = register(  # dx is empty where it is not wanted
    "grid_sample_backward",
    "(Tensor dy, Tensor x, Tensor grid, int padding, bool align_corners, bool of_x) -> (Tensor, Tensor)",
    lambda dy, x, grid, padding, align_corners, of_x: (
        x.new_empty(x.shape if of_x else 0),
        grid.new_empty(grid.shape),
    ),
    _save,
    _gradients_backward,
)
LIBRARY.impl("grid_sample", _sample_by_torch, "CompositeExplicitAutograd")
LIBRARY.impl("grid_sample_backward", _gradients_by_torch, "CompositeExplicitAutograd")
