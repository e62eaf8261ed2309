"""Random affine maps and colour matrices, as `fastgan.ops.affine_warp` takes them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fastgan.augment.chance import Chance


def identity(n: int, device: torch.device) -> Tensor:
    """theta [N, 2, 3] of maps that change nothing."""
    return torch.eye(2, 3, device=device).expand(n, 2, 3)


def turned(theta: Tensor, matrix: Tensor) -> Tensor:
    """theta of images to which another transform was applied, whose inverse is `matrix` [N, 2, 2]."""
    # Not by matmul, which may round to ten bits.
    return torch.cat([(theta[:, :, :2, None] * matrix[:, None]).sum(2), theta[:, :, 2:]], dim=2)


def shifted(theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """theta of images that were shifted to the right and down, x, y [N] in pixels."""
    shift = theta[:, :, 0] * x[:, None] + theta[:, :, 1] * y[:, None]
    return torch.cat([theta[:, :, :2], (theta[:, :, 2] - shift)[:, :, None]], dim=2)


def blit(theta: Tensor, chance: Chance, size: tuple[int, int]) -> Tensor:
    """theta after what copies pixels: flips, quarter turns, whole shifts of up to an eighth of the (H, W) of `size`."""
    flip = chance.apply(chance.integer(2).float(), 0)
    theta = turned(theta, _matrix(1 - 2 * flip, 0 * flip, 0 * flip, 0 * flip + 1))
    quarter = chance.apply(chance.integer(4).float(), 0)
    theta = turned(theta, _rotation((quarter - 2).abs() - 1, 1 - (quarter - 1).abs()))  # cos and sin, exactly
    shift = chance.apply(chance.uniform(-0.125, 0.125, 2), 0)
    return shifted(theta, (shift[:, 0] * size[1]).round(), (shift[:, 1] * size[0]).round())


def geometry(theta: Tensor, chance: Chance, size: tuple[int, int]) -> Tensor:
    """theta after scaling by 2^N(0, 0.2²), rotation, scaling by s along x and 1/s along y, rotation, and a shift of
    N(0, ⅛²) of the (H, W) of `size`; one of the rotations at least with probability p.
    """
    p = 1 - (1 - chance.p).clamp_min(0).sqrt()
    scale = chance.apply(torch.exp2(chance.normal(0.2)), 1)
    theta = turned(theta, _matrix(1 / scale, 0 * scale, 0 * scale, 1 / scale))
    theta = turned(theta, _any_rotation(chance, p))
    scale = chance.apply(torch.exp2(chance.normal(0.2)), 1)
    theta = turned(theta, _matrix(1 / scale, 0 * scale, 0 * scale, scale))
    theta = turned(theta, _any_rotation(chance, p))
    shift = chance.apply(chance.normal(0.125, 2), 0)
    return shifted(theta, shift[:, 0] * size[1], shift[:, 1] * size[0])


def _any_rotation(chance: Chance, p: Tensor) -> Tensor:
    angle = chance.apply(chance.uniform(-math.pi, math.pi), 0, p)
    return _rotation(angle.cos(), angle.sin())


def _rotation(cos: Tensor, sin: Tensor) -> Tensor:
    return _matrix(cos, -sin, sin, cos)


def _matrix(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    return torch.stack([a, b, c, d], dim=1).view(-1, 2, 2)


def recolored(chance: Chance) -> tuple[Tensor, Tensor]:
    """color [N, 3, 4] of RGB images and [N, 1, 2] of grey ones: brightness N(0, 0.2²), contrast 2^N(0, 0.5²), the flip
    of luma, a rotation of hue, saturation 2^N(0, 1).
    """
    brightness = chance.apply(chance.normal(0.2), 0)
    contrast = chance.apply(torch.exp2(chance.normal(0.5)), 1)
    luma = 1 - 2 * chance.apply(chance.integer(2).float(), 0)
    hue = chance.apply(chance.uniform(-math.pi, math.pi), 0)
    saturation = chance.apply(torch.exp2(chance.normal(1.0)), 1)
    grey = torch.stack([contrast, contrast * brightness], dim=1)[:, None] * luma[:, None, None]
    return _rgb(contrast, contrast * luma * brightness, luma, saturation * hue.cos(), saturation * hue.sin()), grey


def _rgb(contrast: Tensor, offset: Tensor, luma: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """[N, 3, 4]: what lies along grey by luma, what lies across it by a rotation times saturation; all of it times
    contrast. Where nothing is drawn it is the identity to the bit.
    """
    eye = torch.eye(3, device=contrast.device)
    grey = torch.full([3, 3], 1 / 3, device=contrast.device)  # v·vᵀ, v = (1, 1, 1)/√3
    turn = (eye.roll(1, 0) - eye.roll(-1, 0)) / 3**0.5  # u -> v × u
    contrast, offset, luma, cos, sin = (each[:, None, None] for each in (contrast, offset, luma, cos, sin))
    matrix = contrast * (eye + (luma - 1) * grey + (cos - 1) * (eye - grey) + sin * turn)
    return torch.cat([matrix, offset.expand(-1, 3, 1)], dim=2)
