"""affine_warp in plain torch: the formula that every other form is compared with."""

from __future__ import annotations

import torch
from torch import Tensor

# Low-pass of the wavelet sym6, its sum 1 (Daubechies 1992, section 8.1; ADA, appendix B).
SYM6 = (
    0.01089235016328,
    0.00246830618592,
    -0.08343160770584002,
    -0.03416156079324,
    0.34722898647835,
    0.55694639196396,
    0.23895218566605,
    -0.05136248493090002,
    -0.01489187564922,
    0.03162528132994,
    0.00124996104639,
    -0.005515933754690001,
)
FARTHEST = 2.0**24  # samples from the centre: a warp that reads beyond gives NaN


def affine_warp_reference(x: Tensor, theta: Tensor, color: Tensor | None = None, linear: bool = False) -> Tensor:
    """y of `affine_warp`, by matrices of FIR filters and gathers. Differentiable to any order, for theta and color too.

    Args:
        x, theta, color: as in `fastgan.ops.affine_warp`.
        linear: leave out what color adds.
    """
    n, channels, h, w = x.shape
    wide = torch.promote_types(x.dtype, torch.float32)
    if not x.numel():
        return x.clone()
    theta, source = theta.to(wide), x.to(wide)
    reachable, copies = _reachable(theta, h, w), _copies(theta, h, w)
    doubled = _up_matrix(h, source) @ source @ _up_matrix(w, source).T
    sampled = _sampled(doubled, _places(theta, h, w))
    y = _down_matrix(h, source) @ sampled @ _down_matrix(w, source).T
    y = torch.where(copies[:, None, None, None], _copied(source, theta), y)
    y = y * torch.where(reachable, 1.0, torch.nan)[:, None, None, None].to(wide)
    if color is not None:
        matrix = color.to(wide)
        y = torch.einsum("nij,njhw->nihw", matrix[:, :, :channels], y)
        y = y if linear else y + matrix[:, :, channels, None, None]
    return y.to(x.dtype)


def reflected(place: Tensor, size: int) -> Tensor:
    """Which of `size` pixels an image shows at an integer place, when it goes on by reflection at its outer pixels."""
    if size == 1:
        return torch.zeros_like(place)
    place = place.remainder(2 * size - 2)
    return torch.minimum(place, 2 * size - 2 - place)


def _reachable(theta: Tensor, h: int, w: int) -> Tensor:
    """[N]: whether all that a warp reads lies within FARTHEST samples."""
    a = theta.detach().abs().double()
    return ((a[:, :, 0] * (w + 5) + a[:, :, 1] * (h + 5) + 2 * a[:, :, 2] + w + h) < FARTHEST).all(dim=1)


def _copies(theta: Tensor, h: int, w: int) -> Tensor:
    """[N]: whether a warp maps pixels to pixels, without a filter: flips, quarter turns, whole shifts."""
    a = theta.detach().double()
    turn = a[:, :, :2].abs()
    permutes = ((turn == 0) | (turn == 1)).all(dim=2).all(dim=1) & (turn.sum(dim=1) == 1).all(dim=1)
    permutes &= (turn.sum(dim=2) == 1).all(dim=1)
    first = _first_pixel(a, h, w)
    return permutes & (first == first.floor()).all(dim=1)


def _first_pixel(theta: Tensor, h: int, w: int) -> Tensor:
    """[N, 2]: column and row in x of the pixel in the first column and row of y."""
    centre = theta.new_tensor([(w - 1) / 2, (h - 1) / 2])
    return theta[:, :, 2] - theta[:, :, :2] @ centre + centre


def _copied(x: Tensor, theta: Tensor) -> Tensor:
    """y where pixels are copied; of other warps, pixels that nobody asks for."""
    n, channels, h, w = x.shape
    a = theta.detach().double()
    first, (i, j) = _first_pixel(a, h, w), (torch.arange(size, device=x.device) for size in (h, w))
    place = first[:, :, None, None] + a[:, :, 0, None, None] * j + a[:, :, 1, None, None] * i[:, None]  # [N, 2, H, W]
    place = place.round().nan_to_num(0, 0, 0).clamp(-FARTHEST, FARTHEST).long()
    at = reflected(place[:, 1], h) * w + reflected(place[:, 0], w)
    return x.flatten(2).gather(2, at.flatten(1)[:, None].expand(-1, channels, -1)).view(n, channels, h, w)


def _up_matrix(size: int, like: Tensor) -> Tensor:
    """[2P, size]: samples at twice the rate of one period of P pixels, 4 phases of sym6 that sum to 1.

    Sample m lies at pixel m/2: tap 5, the largest, is the filter's centre.
    """
    period = max(1, 2 * (size - 1))
    matrix = like.new_zeros(2 * period, size)
    for k, tap in enumerate(SYM6):
        mine = torch.arange((k + 1) % 2, 2 * period, 2, device=like.device)
        pixel = reflected(torch.div(mine + 5 - k, 2, rounding_mode="floor"), size)
        matrix.index_put_((mine, pixel), like.new_tensor(2 * tap), accumulate=True)
    return matrix


def _down_matrix(size: int, like: Tensor) -> Tensor:
    """[size, 2 size + 10]: pixels of samples at twice the rate, which begin five before the first pixel's own."""
    matrix = like.new_zeros(size, 2 * size + 10)
    j = torch.arange(size, device=like.device)
    for k, tap in enumerate(SYM6):
        matrix[j, 2 * j + k] = tap
    return matrix


def _places(theta: Tensor, h: int, w: int) -> Tensor:
    """[N, 2, 2H + 10, 2W + 10]: column and row, among x's samples at twice the rate, of y's samples."""
    b, a = (torch.arange(2 * size + 10, device=theta.device) - (size + 4.0) for size in (w, h))
    theta = theta.double()
    centre = theta.new_tensor([w - 1.0, h - 1.0])
    shift = 2 * theta[:, :, 2] + centre
    return shift[:, :, None, None] + theta[:, :, 0, None, None] * b + theta[:, :, 1, None, None] * a[:, None]


def _sampled(doubled: Tensor, places: Tensor) -> Tensor:
    """Bilinear samples [N, C, ...] of periodic planes [N, C, 2P_h, 2P_w] at places [N, 2, ...]."""
    n, channels, rows, columns = doubled.shape
    low = places.detach().nan_to_num(0, 0, 0).clamp(-FARTHEST, FARTHEST).floor()
    right, below = (places - low).to(doubled.dtype).unbind(1)
    column, row = low.long().unbind(1)
    result = torch.zeros((), dtype=doubled.dtype, device=doubled.device)
    for down, of_row in ((0, 1 - below), (1, below)):
        for across, of_column in ((0, 1 - right), (1, right)):
            at = (row + down).remainder(rows) * columns + (column + across).remainder(columns)
            found = doubled.flatten(2).gather(2, at.flatten(1)[:, None].expand(-1, channels, -1))
            result = result + (of_row * of_column)[:, None] * found.view(n, channels, *row.shape[1:])
    return result
