"""What is measured of affine_warp, and the same in plain torch, every way that torch is quick at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fastgan.bench.case import Case, Inputs, Shape, leaf
from fastgan.ops import affine_warp
from fastgan.ops.affine_warp.op import COLORS
from fastgan.ops.affine_warp.reference import SYM6, reflected

# Batches that a discriminator sees through an augmentation.
SHAPES: dict[str, list[Shape]] = {
    "cpu": [(16, 3, 64, 64), (8, 3, 256, 256)],
    "cuda": [(64, 3, 256, 256), (16, 3, 1024, 1024), (64, 3, 64, 64)],
}
_PASSES = {"forward": 2, "forward+backward": 4, "double backward": 6}  # times that images are read or written
_TURN, _SCALE, _SHIFT = 0.35, 0.2, 0.125  # standard deviations: radians, octaves, of the size


@dataclass(frozen=True)
class WarpCase(Case):
    """One call. f holds theta and color, [N, 6 + C·(C + 1)]; color is left out for more channels than it takes."""

    def inputs(self, dtype: torch.dtype, layout: str, device: torch.device) -> Inputs:
        """New random images, turned, scaled and shifted each in a way of its own."""
        n, channels, h, w = self.x_shape
        generator = torch.Generator().manual_seed(0)
        angle, scale, across, down = torch.randn(4, n, generator=generator)
        scale = torch.exp2(scale * _SCALE)
        cosine, sine = (angle * _TURN).cos() * scale, (angle * _TURN).sin() * scale
        theta = torch.stack([cosine, -sine, across * _SHIFT * w, sine, cosine, down * _SHIFT * h], dim=1)
        color = torch.eye(channels, channels + 1) + torch.randn(n, channels, channels + 1, generator=generator) / 8
        f = torch.cat([theta, color.flatten(1)] if channels <= COLORS else [theta], dim=1)
        x, dy, ddx = (leaf(torch.randn(self.x_shape, device=device), dtype, layout) for _ in range(3))
        return Inputs(x, None, f.to(device, torch.promote_types(dtype, torch.float32)), dy, ddx)

    def moved(self, direction: str, dtype: torch.dtype) -> int:
        """Bytes of images that must be read and written."""
        return _PASSES[direction] * torch.Size(self.x_shape).numel() * dtype.itemsize


def _parts(i: Inputs) -> tuple[Tensor, Tensor | None]:
    """theta and color."""
    assert i.f is not None
    n, channels = i.x.shape[:2]
    color = i.f[:, 6:].reshape(n, channels, channels + 1) if channels <= COLORS else None
    return i.f[:, :6].reshape(n, 2, 3), color


def _warp(i: Inputs) -> Tensor:
    return affine_warp(i.x, *_parts(i))


class _Sample(torch.autograd.Function):
    """grid_sample with a gradient, and a second one, for images alone: torch's own has no second."""

    @staticmethod
    def forward(ctx, x, grid):
        ctx.save_for_backward(grid)
        ctx.shape = x.shape
        return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

    @staticmethod
    def backward(ctx, dy):
        return _SampleBackward.apply(dy, *ctx.saved_tensors, ctx.shape), None


class _SampleBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, dy, grid, shape):
        ctx.save_for_backward(grid)
        x = dy.new_empty(1).expand(shape)  # whose values count for the gradient of places alone
        return torch.ops.aten.grid_sampler_2d_backward(dy, x, grid, 0, 0, False, (True, False))[0]

    @staticmethod
    def backward(ctx, ddx):
        return _Sample.apply(ddx, *ctx.saved_tensors), None, None


def _filters(x: Tensor, gain: float) -> tuple[Tensor, Tensor]:
    taps = torch.tensor(SYM6, dtype=x.dtype, device=x.device) * gain
    return taps.view(1, 1, 12, 1).repeat(x.shape[1], 1, 1, 1), taps.view(1, 1, 1, 12).repeat(x.shape[1], 1, 1, 1)


def _extended(x: Tensor, m_w: int, m_h: int) -> Tensor:
    """x with margins by reflection, of any width."""
    h, w = x.shape[2:]
    if m_w < w and m_h < h:
        return F.pad(x, (m_w, m_w, m_h, m_h), mode="reflect")
    rows, columns = (reflected(torch.arange(-m, size + m, device=x.device), size) for m, size in ((m_h, h), (m_w, w)))
    return x[:, :, rows][:, :, :, columns]


def _grid_sample(i: Inputs) -> Tensor:
    """Reflection as far as theta reaches, FIR filters of a row and of a column, grid_sample, a product for colours."""
    theta, color = _parts(i)
    n, channels, h, w = i.x.shape
    reach = theta[:, :, 0].abs() * (w + 5) + theta[:, :, 1].abs() * (h + 5) + 2 * theta[:, :, 2].abs()  # of samples
    size = torch.tensor([w, h], device=i.x.device)
    m_w, m_h = ((reach - size) / 2 + 8).amax(0).ceil().int().clamp(min=0).tolist()
    x = _extended(i.x.to(theta.dtype), m_w, m_h)
    down, across = _filters(x, 2.0)
    x = F.conv_transpose2d(x, across, stride=(1, 2), padding=(0, 5), groups=channels)
    x = F.conv_transpose2d(x, down, stride=(2, 1), padding=(5, 0), groups=channels)  # sample m at pixel m / 2
    rows, columns = x.shape[2:]
    b, a = (torch.arange(2 * each + 10, device=x.device) - (each + 4.0) for each in (w, h))
    places = theta[:, :, 0, None, None] * b + theta[:, :, 1, None, None] * a[:, None] + 2 * theta[:, :, 2, None, None]
    middle, scale = theta.new_tensor([[w - 0.5 + 2 * m_w, h - 0.5 + 2 * m_h], [2 / columns, 2 / rows]]).view(2, 2, 1, 1)
    grid = (places + middle) * scale - 1
    x = _Sample.apply(x, grid.permute(0, 2, 3, 1))
    down, across = _filters(x, 1.0)
    x = F.conv2d(F.conv2d(x, across, stride=(1, 2), groups=channels), down, stride=(2, 1), groups=channels)
    if color is not None:
        x = torch.baddbmm(color[:, :, channels:], color[:, :, :channels], x.flatten(2)).view(n, channels, h, w)
    return x.to(i.x.dtype)


def cases(shape: Shape) -> Iterator[Case]:
    """A map and colours of every image's own."""
    ways = {"grid_sample": _grid_sample}
    # torch takes places as shares of the image, in float32: coarser than our places, which count samples.
    yield WarpCase("affine_warp", "turned", shape, shape, _warp, ways, coarse=2e-4)
